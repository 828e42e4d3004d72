"""Which segment lies at a point, and where a segment lies."""

from __future__ import annotations

from typing import Any

import numpy as np

from SpineSegMRML.layers import masks, onGrid
from SpineSegMRML.volumes import gridFromNode

__all__ = ["centerOf", "segmentAt"]

Point = tuple[float, float, float]


def segmentAt(segmentationNode: Any, sourceNode: Any, point: Point) -> str:
    """Return the segment that holds a point; "" if none does, the last one if several do.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode or None
    sourceNode : vtkMRMLVolumeNode
        Gives the grid.
    point : tuple of float
        RAS mm of the world.
    """
    if segmentationNode is None:
        return ""
    grid = gridFromNode(sourceNode)
    kji = np.rint(grid.ras_to_ijk(np.array([point]))[0][::-1]).astype(int)
    found = ""
    for array, low, values in onGrid(segmentationNode, sourceNode):
        at = kji - low
        if (at < 0).any() or (at >= array.shape).any():
            continue
        value = int(array[tuple(at)])
        found = next((i for i, number in values.items() if value and number == value), found)
    return found


def centerOf(segmentationNode: Any, sourceNode: Any, segmentId: str) -> Point | None:
    """Return the centroid of a segment, RAS mm of the world; None if it is empty."""
    mask = masks(segmentationNode, sourceNode, [segmentId]).get(segmentId)
    if mask is None:
        return None
    middle = np.argwhere(mask.array).mean(axis=0) + mask.low
    r, a, s = gridFromNode(sourceNode).ijk_to_ras(middle[None, ::-1])[0].tolist()
    return r, a, s
