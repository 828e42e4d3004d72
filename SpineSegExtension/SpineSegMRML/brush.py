"""The brush on vertebrae: the one under the cursor is edited, its neighbours are protected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from SpineSegMRML.picking import segmentAt

__all__ = ["CursorSelection", "protect"]


def protect(editorNode: Any, protected: bool) -> None:
    """Let strokes change no voxel of other segments, or let them take those over.

    Parameters
    ----------
    editorNode : vtkMRMLSegmentEditorNode
    protected : bool
        Paint only where no segment is; the eraser still takes from the selected one alone.
    """
    modes = slicer.vtkMRMLSegmentationNode
    editorNode.SetMaskMode(
        modes.EditAllowedOutsideAllSegments if protected else modes.EditAllowedEverywhere
    )
    editorNode.SetOverwriteMode(
        editorNode.OverwriteNone if protected else editorNode.OverwriteAllSegments
    )


class CursorSelection:
    """Selects the segment under the cursor in the Segment Editor, until `stop`.

    Between strokes only: a stroke that runs over the border goes on with the vertebra that it
    began on. Over the background the selection stays.

    Parameters
    ----------
    editorNode : vtkMRMLSegmentEditorNode
    isStroking : callable
        Whether a mouse button is down.
    """

    def __init__(self, editorNode: Any, isStroking: Callable[[], bool] = lambda: False) -> None:
        self._editorNode = editorNode
        self._isStroking = isStroking
        self._cursor: Any = None
        self._tag = 0

    def start(self) -> None:
        """Follow the cursor of the editor's scene."""
        scene = self._editorNode.GetScene()
        cursor = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode") if scene else None
        if cursor is None or cursor is self._cursor:
            return
        self.stop()
        self._cursor = cursor
        self._tag = cursor.AddObserver(cursor.CursorPositionModifiedEvent, self._onMoved)

    def stop(self) -> None:
        """Leave the selection to the user."""
        if self._cursor is not None:
            self._cursor.RemoveObserver(self._tag)
        self._cursor = None

    def _onMoved(self, caller: Any, event: str) -> None:
        position = [0.0, 0.0, 0.0]
        segmentation = self._editorNode.GetSegmentationNode()
        source = self._editorNode.GetSourceVolumeNode()
        if self._isStroking() or segmentation is None or source is None:
            return
        if source.GetImageData() is None or not caller.GetCursorPositionRAS(position):
            return  # it is over no slice view
        found = segmentAt(segmentation, source, tuple(position))
        if found and found != self._editorNode.GetSelectedSegmentID():
            self._editorNode.SetSelectedSegmentID(found)
