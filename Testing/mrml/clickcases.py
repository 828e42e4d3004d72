"""What the tests of clicks and of updates look at in a segmentation node."""

from __future__ import annotations

from typing import Any

import clickworker
import numpy as np
import slicer
from clickworker import truth
from SpineSegMRML import names, volumes
from SpineSegMRML.layers import masks
from vtk.util.numpy_support import vtk_to_numpy

TERMINOLOGY = slicer.vtkSegment.GetTerminologyEntryTagName()


def middle(ct: Any, level: str) -> tuple[float, float, float]:
    """Return the centre of a level, RAS mm of the world."""
    scan = volumes.volumeFromNode(ct)
    return tuple(scan.ijk_to_ras(np.argwhere(truth(level))[:, ::-1]).mean(axis=0).tolist())


def arrayOf(node: Any, ct: Any, segmentId: str) -> np.ndarray:
    """Return where (k, j, i) a segment is, on the volume's whole grid."""
    result = np.zeros(clickworker.SHAPE, bool)
    mask = masks(node, ct, [segmentId]).get(segmentId)
    if mask is not None:
        result[mask.box] = mask.array
    return result


def everything(node: Any, ct: Any) -> list[tuple]:
    """Return what a user would notice of a segmentation: order, names, looks and voxels."""
    segmentation = node.GetSegmentation()
    rows = []
    for segmentId in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        look = (segment.GetName(), segment.GetColor(), names.tagOf(segment, TERMINOLOGY))
        rows.append((segmentId, *look, arrayOf(node, ct, segmentId).tobytes()))
    return rows


def paint(node: Any, segmentId: str, box: tuple[slice, ...], erase: bool = False) -> None:
    """Change a box (k, j, i) inside a segment's bounds, as the brush does."""
    segmentation = node.GetSegmentation()
    segmentation.SeparateSegmentLabelmap(segmentId)
    segment = segmentation.GetSegment(segmentId)
    image = segment.GetRepresentation("Binary labelmap")
    scalars = image.GetPointData().GetScalars()
    array = vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1])
    low = image.GetExtent()[::2][::-1]
    inside = tuple(slice(s.start - a, s.stop - a) for s, a in zip(box, low))
    assert array[inside].size == np.prod([s.stop - s.start for s in box])
    array[inside] = 0 if erase else segment.GetLabelValue()
    scalars.Modified()
    image.Modified()
