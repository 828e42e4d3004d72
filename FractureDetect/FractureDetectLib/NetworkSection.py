"""The panel's part on what the networks see: a map over the CT, and pictures of one vertebra.

It knows widgets only by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spineseg.fracture_look import NOT_ANATOMY
from spineseg.fracture_look_pictures import amount_words
from SpineSegMRML.fracturelookjobs import PreviewDrawn
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.panel import Panel

__all__ = ["NetworkSection"]


class NetworkSection:
    """Shows and hides the map, draws the chosen vertebra, and shows its pictures.

    Parameters
    ----------
    panel : Panel
        Its `ui` has `mapButton`, `previewButton`, `previewFrame`, `previewSlider`,
        `previewLabel`, `swaysPictureLabel`, `stepPictureLabel` and `networksNoteLabel`.
    logic : FractureLogic
    parameters : callable
        Returns the parameter node, or None.
    level : callable
        Returns the level of the vertebra that is chosen in the table, "" if none is.
    pixmap : callable
        Returns the picture of a file, as a label shows it.
    """

    def __init__(
        self,
        panel: Panel,
        logic: Any,
        parameters: Callable[[], Any],
        level: Callable[[], str],
        pixmap: Callable[[str], Any],
    ) -> None:
        self._panel = panel
        self._logic = logic
        self._parameters = parameters
        self._level = level
        self._pixmap = pixmap
        self._shown: PreviewDrawn | None = None
        ui = panel.ui
        ui.networksNoteLabel.text = _(NOT_ANATOMY)
        ui.previewFrame.visible = False
        ui.mapButton.clicked.connect(self.onMapButton)
        ui.previewButton.clicked.connect(self.onPreviewButton)
        ui.previewSlider.valueChanged.connect(self.onSlider)

    def update(self) -> None:
        """Bring buttons and pictures up to date with what is searched and chosen."""
        parameters, ui = self._parameters(), self._panel.ui
        if parameters is None or not ui or self._logic.running:
            return
        node, networks = parameters.segmentation, self._logic.networks
        if networks.isShown(node):
            ui.mapButton.text = _("Hide where it looks fractured")
            self._panel.offer(ui.mapButton, "", _("Take the colours off the CT."))
        else:
            ui.mapButton.text = _("Show where it looks fractured")
            reason = "" if networks.isFresh(node) else networks.validateMap(node)
            toolTip = _(
                "Lay over the CT what the voxel classifier takes for fractured, in colours."
            )
            self._panel.offer(ui.mapButton, reason, toolTip)
        level = self._level()
        toolTip = _("Let Spine-VAE draw {level} from cured to more fractured.")
        reason = networks.validatePreview(node, level)
        self._panel.offer(ui.previewButton, reason, toolTip.format(level=level))
        self._show(networks.previewOf(node, level))

    def _show(self, drawn: PreviewDrawn | None) -> None:
        """Show other pictures, or none."""
        if drawn is self._shown:
            return
        self._shown, ui = drawn, self._panel.ui
        ui.previewFrame.visible = drawn is not None
        if drawn is None:
            ui.swaysPictureLabel.clear()
            ui.stepPictureLabel.clear()
            return
        ui.swaysPictureLabel.setPixmap(self._pixmap(str(drawn.sways)))
        ui.previewSlider.value = 0.0
        self.onSlider(0.0)

    def onSlider(self, amount: float) -> None:
        """Show the picture that is nearest to an amount."""
        ui, drawn = self._panel.ui, self._shown
        if not ui or drawn is None:
            return
        step = drawn.nearest(amount)
        ui.stepPictureLabel.setPixmap(self._pixmap(str(drawn.step(step))))
        text = _("{level}, {what}: to the network a fracture is {percent:.0f} % probable.")
        ui.previewLabel.text = text.format(
            level=drawn.level,
            what=amount_words(drawn.amounts[step]),
            percent=100 * drawn.probabilities[step],
        )

    def onMapButton(self) -> None:
        """Show the map, made anew where there is none that fits, or hide it."""
        parameters, networks = self._parameters(), self._logic.networks
        if parameters is None or self._logic.running:
            return
        node = parameters.segmentation
        if networks.isShown(node) or networks.isFresh(node):
            networks.setShown(node, not networks.isShown(node))
            self.update()
            return
        device, onProgress = parameters.device.value, self._panel.onProgress
        self._panel.run(lambda: networks.makeMap(node, device, onProgress))

    def onPreviewButton(self) -> None:
        """Draw the chosen vertebra."""
        parameters, networks = self._parameters(), self._logic.networks
        level = self._level()
        if parameters is None or self._logic.running or not level:
            return
        node, device = parameters.segmentation, parameters.device.value
        onProgress = self._panel.onProgress
        self._panel.run(lambda: networks.makePreview(node, level, device, onProgress))
