"""The panel's part on corrections: brush, levels, what an edit makes old, and training pairs.

It knows widgets only by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from SpineSegMRML.brush import CursorSelection, protect
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.names import levelNames
from SpineSegMRML.panel import Panel
from SpineSegMRML.stale import FreshLine

from VertebraSegmentLib.Clicks import UNSURE

__all__ = ["CorrectSection"]


class CorrectSection:
    """Follows the cursor with the selection, and offers to update and to save.

    Parameters
    ----------
    panel : Panel
        Its `ui` has `staleLabel`, `refreshButton`, `savePairButton` and both choosers of levels.
    logic : SegmentLogic
    scene : vtkMRMLScene
    parameters : callable
        Returns the parameter node, or None.
    isStroking : callable
        Whether a mouse button is down.
    waiting : callable
        Gives a context in which the cursor shows that work is done.
    """

    def __init__(
        self,
        panel: Panel,
        logic: Any,
        scene: Any,
        parameters: Callable[[], Any],
        isStroking: Callable[[], bool],
        waiting: Callable[[], Any],
    ) -> None:
        self._panel = panel
        self._logic = logic
        self._parameters = parameters
        self._isStroking = isStroking
        self._waiting = waiting
        self._selection: CursorSelection | None = None
        self._editorNode: Any = None
        module = logic.corrections.module
        self._fresh = FreshLine(panel.ui, scene, module, self._segmentation, self.refresh)
        panel.ui.savePairButton.clicked.connect(self.savePair)
        choosers = (panel.ui.clickLevelComboBox, panel.ui.levelComboBox)
        self._choosers = [(combo, combo.toolTip) for combo in choosers]
        for combo in choosers:
            for level in levelNames():
                combo.addItem(level, level)
            combo.addItem(_("unsure"), UNSURE)
            combo.connect("activated(int)", self.onLevelChosen)

    def setEditor(self, editorNode: Any) -> None:
        """Work with these settings of the Segment Editor."""
        if editorNode is self._editorNode:
            return
        self.leave()
        self._editorNode = editorNode
        self._selection = CursorSelection(editorNode, self._isStroking)

    def enter(self) -> None:
        """Look whether results still fit, for edits may have been made elsewhere."""
        self._fresh.verify()

    def leave(self) -> None:
        """Follow the cursor no more."""
        if self._selection is not None:
            self._selection.stop()

    def show(self) -> None:
        """Open the part of the panel with the brush."""
        self._panel.ui.editCollapsibleButton.collapsed = False

    def close(self) -> None:
        """Touch the widgets no more."""
        self.leave()
        self._fresh.close()

    def update(self) -> None:
        """Bring brush, line and button up to date with the parameters."""
        parameters = self._parameters()
        if parameters is None or self._selection is None:
            return
        protect(self._editorNode, parameters.protectOthers)
        if parameters.followCursor:
            self._selection.start()
        else:
            self._selection.stop()
        self._fresh.update()
        reason = self._logic.corrections.validatePair(
            parameters.segmentation, parameters.inputVolume, parameters.trainingFolder
        )
        toolTip = _(
            "Save the scan and its corrected vertebrae, to train a network on. All vertebrae of "
            "the scan should be right: what is left out is learned as background."
        )
        self._panel.offer(self._panel.ui.savePairButton, reason, toolTip)

    def showLevel(self, level: str) -> None:
        """Show the level of the selected segment in both choosers; "" if it has none."""
        reason = "" if level else _("Select the segment of a vertebra first.")
        for combo, toolTip in self._choosers:
            self._panel.offer(combo, reason, toolTip)
            combo.setCurrentIndex(combo.findData(level))

    def onLevelChosen(self, index: int) -> None:
        """Name the selected segment."""
        level = self._panel.ui.levelComboBox.itemData(index)
        self._panel.attempt(
            lambda: self._logic.clicks.rename(
                self._segmentation(),
                self._editorNode.GetSelectedSegmentID() or "",
                None if level == UNSURE else level,
            )
        )

    def refresh(self) -> None:
        """Make again what is out of date."""
        parameters = self._parameters()
        if parameters is None or self._logic.running:
            return
        with self._waiting():
            self._panel.attempt(
                lambda: self._logic.corrections.refresh(
                    parameters.segmentation, parameters.inputVolume
                )
            )

    def savePair(self) -> None:
        """Save a training pair."""
        with self._waiting():
            self._panel.attempt(self._savePair)

    def _savePair(self) -> list[str]:
        parameters = self._parameters()
        corrected = self._logic.corrections.corrected(
            parameters.segmentation, parameters.inputVolume
        )
        folder = self._logic.corrections.savePair(
            parameters.segmentation, parameters.inputVolume, parameters.trainingFolder
        )
        text = _("Saved as {folder}; corrected by hand: {names}.")
        return [text.format(folder=folder, names=", ".join(corrected) or _("nothing"))]

    def _segmentation(self) -> Any:
        parameters = self._parameters()
        return None if parameters is None else parameters.segmentation
