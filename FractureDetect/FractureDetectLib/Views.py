"""Bringing the slice views to a vertebra, and colouring what a search has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spineseg.fracture import VertebraFinding
from SpineSegMRML.segmentations import vertebraOf
from SpineSegMRML.volumes import arrayToMatrix

__all__ = [
    "GRADE_COLORS", "colorOf", "colorSegments", "isLaidOver", "jumpTo", "layOver", "takeOff",
]  # fmt: skip

Floats = NDArray[np.float64]
Color = tuple[float, float, float]

SOUND: Color = (0.0, 0.62, 0.45)
UNSURE: Color = (0.34, 0.71, 0.91)
GRADE_COLORS: tuple[Color, ...] = (SOUND, (0.94, 0.89, 0.26), (0.90, 0.62, 0.0), (0.84, 0.37, 0.0))
"""Of grades 0 to 3. Okabe and Ito's colours, which colour-blind readers tell apart."""
SAGITTAL = "Sagittal"
OVERLAY_OPACITY = 0.6


def colorOf(finding: VertebraFinding) -> Color:
    """Return a vertebra's colour: its grade's, or that of a suspect without a grade."""
    grade = finding.graded.grade or 0
    return UNSURE if finding.suspect and not grade else GRADE_COLORS[grade]


def colorSegments(segmentationNode: Any, findings: Sequence[VertebraFinding], shown: bool) -> None:
    """Show suspects in their colours, over those of their segments, which stay what they are.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    findings : sequence of VertebraFinding
    shown : bool
        False shows every segment in its own colour again.
    """
    display = segmentationNode.GetDisplayNode()
    if display is None:
        return
    colors: Mapping[int, Color] = {
        f.graded.body.label: colorOf(f) for f in findings if f.suspect and shown
    }
    segmentation = segmentationNode.GetSegmentation()
    wasModified = display.StartModify()
    for segmentId in segmentation.GetSegmentIDs():
        label = vertebraOf(segmentation.GetSegment(segmentId).GetName())
        if label in colors:
            display.SetSegmentOverrideColor(segmentId, *colors[label])
        else:
            display.UnsetSegmentOverrideColor(segmentId)
    display.EndModify(wasModified)


def jumpTo(scene: Any, centre: Floats, axes: Floats | None = None) -> None:
    """Bring all slice views and the crosshair to a place, the sagittal one into a body's own plane.

    Parameters
    ----------
    scene : vtkMRMLScene
    centre : (3,) float64
        RAS mm of the world.
    axes : (3, 3) float64, optional
        Columns to the patient's right, forwards and up, unit vectors; None for a plain sagittal
        plane.
    """
    for node in _nodes(scene, "vtkMRMLSliceNode"):
        if not _isSagittal(node):
            node.JumpSliceByCentering(*centre)
            continue
        right, front, up = (np.eye(3) if axes is None else axes).T
        matrix = np.eye(4)
        # As in Slicer's sagittal views: the front is on the left, the head is up.
        matrix[:3, :3] = np.stack([-front, up, -right], axis=1)
        matrix[:3, 3] = centre
        node.GetSliceToRAS().DeepCopy(arrayToMatrix(matrix))
        node.UpdateMatrices()
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*centre)


def _isSagittal(node: Any) -> bool:
    # A view that was turned already has no orientation of its own; its default is what it was for.
    return SAGITTAL in (node.GetDefaultOrientation(), node.GetOrientation()) or (
        node.GetLayoutName() == "Yellow"
    )


def layOver(scene: Any, scanNode: Any, overNode: Any) -> None:
    """Show a volume over a CT in all slice views."""
    for node in _nodes(scene, "vtkMRMLSliceCompositeNode"):
        node.SetBackgroundVolumeID(scanNode.GetID())
        node.SetForegroundVolumeID(overNode.GetID())
        node.SetForegroundOpacity(OVERLAY_OPACITY)


def takeOff(scene: Any, overNode: Any) -> None:
    """Show a volume no more where it lies over another."""
    for node in _nodes(scene, "vtkMRMLSliceCompositeNode"):
        if node.GetForegroundVolumeID() == overNode.GetID():
            node.SetForegroundVolumeID(None)


def isLaidOver(scene: Any, overNode: Any) -> bool:
    """Whether a volume lies over another in any slice view."""
    composites = _nodes(scene, "vtkMRMLSliceCompositeNode")
    return any(node.GetForegroundVolumeID() == overNode.GetID() for node in composites)


def _nodes(scene: Any, kind: str) -> list[Any]:
    nodes = scene.GetNodesByClass(kind)
    return [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
