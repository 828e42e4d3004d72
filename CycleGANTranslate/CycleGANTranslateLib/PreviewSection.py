"""The panel's part on the threshold: its preview, which follows the sliders.

It knows widgets only by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spineseg.errors import InputError
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.panel import Panel

__all__ = ["DELAY_MS", "PreviewSection"]

DELAY_MS = 200
"""How long a slider rests before its value is shown."""


class PreviewSection:
    """Shows what a threshold calls bone, and says why it or its use is not possible.

    Parameters
    ----------
    panel : Panel
        Its `ui` has `previewButton`, `thresholdLabel` and `thresholdButton`.
    logic : TranslateLogic
    parameters : callable
        Returns the parameter node, or None.
    bone : callable
        Returns the `BoneSettings` that are chosen.
    timer : QTimer
        A slider moves faster than a volume is thresholded: only where it rests counts.
    update : callable
        Brings the whole panel up to date.
    """

    def __init__(
        self,
        panel: Panel,
        logic: Any,
        parameters: Callable[[], Any],
        bone: Callable[[], Any],
        timer: Any,
        update: Callable[[], None],
    ) -> None:
        self.node: Any = None
        self._panel = panel
        self._logic = logic
        self._parameters = parameters
        self._bone = bone
        self._timer = timer
        self._updateAll = update
        self._previewed: Any = None
        timer.setSingleShot(True)
        timer.setInterval(DELAY_MS)
        timer.timeout.connect(self.show)
        panel.ui.previewButton.toggled.connect(self.onToggled)

    def update(self) -> None:
        """Bring the preview and its buttons up to date."""
        parameters, ui, threshold = self._parameters(), self._panel.ui, self._logic.threshold
        bone = self._bone()
        if parameters.syntheticCt is None:
            ui.previewButton.checked = False
        reason = threshold.validatePreview(parameters.syntheticCt, bone)
        on = ui.previewButton.checked
        toolTip = _("Show what this threshold calls bone, and follow the sliders.")
        self._panel.offer(ui.previewButton, "" if on else reason, toolTip)
        ui.thresholdLabel.text = reason if on else ""
        reason = threshold.validate(
            parameters.syntheticCt, parameters.bodies, parameters.segmentation, bone
        )
        toolTip = _("Find the bone around the bodies again. What you have painted stays as it is.")
        self._panel.offer(ui.thresholdButton, reason, toolTip)
        if on and self._previewed != (bone, parameters.syntheticCt):
            self._timer.start()

    def onToggled(self, on: bool) -> None:
        """Show a preview of the threshold, or remove it."""
        if on:
            self.show()
            return
        self._timer.stop()
        self._logic.threshold.removePreview(self.node)
        self.node = self._previewed = None
        self._updateAll()

    def show(self) -> None:
        """Show what the threshold that is chosen calls bone, if a preview is wanted."""
        parameters, ui = self._parameters(), self._panel.ui
        if not ui or parameters is None or not ui.previewButton.checked:
            return
        bone = self._bone()
        self._previewed = (bone, parameters.syntheticCt)
        try:
            shown = self._logic.threshold.preview(parameters.syntheticCt, bone, self.node)
        except InputError as error:
            ui.thresholdLabel.text = str(error)
        else:
            self.node = shown.previewNode
            ui.thresholdLabel.text = "\n".join([shown.summary(), *shown.warnings])

    def forget(self) -> None:
        """Let go of a preview whose scene is closed."""
        self._timer.stop()
        self.node = self._previewed = None
        self._panel.ui.previewButton.checked = False

    def close(self) -> None:
        """Take the preview away, and answer no more."""
        self._timer.stop()
        self._panel.ui.previewButton.checked = False
