"""The panel's part on landmarks: they are loaded, and measured against the vertebrae.

It knows widgets only by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from SpineSegMRML.i18n import tr as _
from SpineSegMRML.panel import Panel

__all__ = ["LandmarkSection"]


class LandmarkSection:
    """Loads landmarks and measures them, and says why either is not possible.

    Parameters
    ----------
    panel : Panel
        Its `ui` has `loadButton` and `measureButton`.
    logic : TranslateLogic
    scene : vtkMRMLScene
        Where loaded landmarks are put.
    parameters : callable
        Returns the parameter node.
    """

    def __init__(self, panel: Panel, logic: Any, scene: Any, parameters: Callable[[], Any]) -> None:
        self._panel = panel
        self._logic = logic
        self._scene = scene
        self._parameters = parameters
        panel.ui.loadButton.clicked.connect(lambda: panel.attempt(self._load))
        panel.ui.measureButton.clicked.connect(self.onMeasureButton)

    def update(self) -> None:
        """Bring the buttons up to date."""
        parameters, ui, landmarks = self._parameters(), self._panel.ui, self._logic.landmarks
        reason = landmarks.validateFile(parameters.landmarkFile)
        self._panel.offer(ui.loadButton, reason, _("Load the file's landmarks as points."))
        reason = landmarks.validate(
            parameters.segmentation, parameters.inputVolume, parameters.landmarks
        )
        toolTip = _("Bring each vertebra's landmarks to its surface, and measure what remains.")
        self._panel.offer(ui.measureButton, reason, toolTip)

    def onMeasureButton(self) -> None:
        """Register the landmarks and show their distances."""
        parameters = self._parameters()
        self._panel.run(
            lambda: self._logic.landmarks.measure(
                parameters.segmentation,
                parameters.inputVolume,
                parameters.landmarks,
                parameters.validationTable,
                self._panel.onProgress,
            ),
            self._take,
        )

    def _take(self, outcome: Any) -> None:
        parameters = self._parameters()
        parameters.validationTable = outcome.tableNode
        # The coloured models lie where the segments' own surfaces are.
        parameters.segmentation.GetDisplayNode().SetVisibility3D(False)

    def _load(self) -> None:
        parameters = self._parameters()
        parameters.landmarks = self._logic.landmarks.load(self._scene, parameters.landmarkFile)
