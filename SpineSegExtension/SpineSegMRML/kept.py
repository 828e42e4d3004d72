"""Copies of segments as they were, and putting them back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from SpineSegMRML.layers import BINARY_LABELMAP, arrayOf, boxesOf, layersOf
from SpineSegMRML.segments import nameIn
from SpineSegMRML.volumes import imageFromArray

__all__ = ["Kept", "dressAsKept", "keep", "putBack", "sameAsNow", "sameVoxels"]


@dataclass(frozen=True)
class Kept:
    """A copy of a segment as it was, with its place in the list.

    Attributes
    ----------
    segmentId : str
    index : int
    segment : vtkSegment
        Name, colour, tags, and its voxels in an image of its own, in the node's RAS.
    """

    segmentId: str
    index: int
    segment: Any

    @property
    def name(self) -> str:
        """The segment's name."""
        return str(self.segment.GetName())

    @property
    def image(self) -> Any:
        """Its oriented image; None if it is empty."""
        return self.segment.GetRepresentation(BINARY_LABELMAP)


def keep(segmentationNode: Any, ids: Collection[str]) -> list[Kept]:
    """Return copies of segments; those that are not there are left out."""
    segmentation = segmentationNode.GetSegmentation()
    present = [segmentId for segmentId in segmentation.GetSegmentIDs() if segmentId in ids]
    images = {}
    for layer, values in layersOf(segmentation, present):
        array = arrayOf(layer)
        boxes = boxesOf(array)
        for segmentId, value in values.items():
            if value in boxes:
                images[segmentId] = _cut(layer, array, boxes[value], value)
    result = []
    for segmentId in present:
        copy = slicer.vtkSegment()
        copy.DeepCopyMetadata(segmentation.GetSegment(segmentId))
        copy.SetLabelValue(1)
        if segmentId in images:
            copy.AddRepresentation(BINARY_LABELMAP, images[segmentId])
        result.append(Kept(segmentId, segmentation.GetSegmentIndex(segmentId), copy))
    return result


def _cut(layer: Any, array: np.ndarray, box: tuple[slice, ...], value: int) -> Any:
    """Return one value's voxels of a layer as an image of ones, on the layer's own grid."""
    image = imageFromArray((array[box] == value).astype(np.uint8), slicer.vtkOrientedImageData())
    start = layer.GetExtent()[::2]
    image.SetExtent([
        int(bound)
        for axis, s in enumerate(box[::-1])
        for bound in (start[axis] + s.start, start[axis] + s.stop - 1)
    ])  # fmt: skip
    matrix = vtk.vtkMatrix4x4()
    layer.GetImageToWorldMatrix(matrix)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    return image


def sameVoxels(one: Kept, other: Kept) -> bool:
    """Whether two copies hold the same voxels."""
    if one.image is None or other.image is None:
        return one.image is other.image
    sameGrid = slicer.vtkOrientedImageDataResample.DoGeometriesMatch
    return (
        bool(sameGrid(one.image, other.image))
        and one.image.GetExtent() == other.image.GetExtent()
        and np.array_equal(arrayOf(one.image), arrayOf(other.image))
    )


def sameAsNow(segmentationNode: Any, kept: Kept, onlyName: bool = False) -> bool:
    """Whether the segment is there with the name and the voxels that it had when it was kept."""
    if onlyName:
        return nameIn(segmentationNode, kept.segmentId) == kept.name
    now = keep(segmentationNode, [kept.segmentId])
    return bool(now) and now[0].name == kept.name and sameVoxels(now[0], kept)


def dressAsKept(segmentationNode: Any, kept: Kept) -> None:
    """Give a segment the name, colour and tags that it had; its voxels stay as they are."""
    segment = segmentationNode.GetSegmentation().GetSegment(kept.segmentId)
    value = segment.GetLabelValue()
    segment.DeepCopyMetadata(kept.segment)
    segment.SetLabelValue(value)


def putBack(segmentationNode: Any, kept: Sequence[Kept]) -> None:
    """Add segments as they were when they were kept, in their places."""
    segmentation = segmentationNode.GetSegmentation()
    for one in sorted(kept, key=lambda k: k.index):
        # A copy: what is painted on it later must not change what was kept.
        segment = slicer.vtkSegment()
        segment.DeepCopy(one.segment)
        segmentation.AddSegment(segment, one.segmentId)
        segmentation.SetSegmentIndex(one.segmentId, one.index)
