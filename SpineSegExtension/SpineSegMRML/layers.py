"""The label maps inside a segmentation node: which voxels of a volume each segment holds.

Segments that do not overlap may share one image (a layer), each with a value of its own in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import slicer
import vtk
from scipy import ndimage
from spineseg.errors import InputError
from vtk.util.numpy_support import vtk_to_numpy

from SpineSegMRML.i18n import tr as _
from SpineSegMRML.volumes import arrayToMatrix, parentMatrix

__all__ = [
    "BINARY_LABELMAP",
    "Mask",
    "fingerprint",
    "layersOf",
    "masks",
    "onGrid",
    "overlap",
    "transformToSource",
]

BINARY_LABELMAP = "Binary labelmap"
Box = tuple[slice, ...]


@dataclass(frozen=True)
class Mask:
    """The voxels of one segment, cut to their bounding box.

    Attributes
    ----------
    low : tuple of int
        First voxel (k, j, i) of the box, in the array of the volume.
    array : ndarray of bool
        Axes (k, j, i).
    """

    low: tuple[int, int, int]
    array: np.ndarray

    @property
    def box(self) -> Box:
        """Slices (k, j, i) of the volume's array."""
        return tuple(slice(a, a + n) for a, n in zip(self.low, self.array.shape))

    @classmethod
    def trimmed(cls, low: Sequence[int], array: np.ndarray) -> Mask | None:
        """Return the non-zero voxels of a block that begins at `low`; None if there are none."""
        box = ndimage.find_objects((array != 0).astype(np.uint8))
        if not box:
            return None
        first = tuple(int(a) + s.start for a, s in zip(low, box[0]))
        return cls(first, array[box[0]] != 0)


def fingerprint(mask: Mask | None) -> str:
    """Return a short text that changes when a voxel of the mask does; for a segment's tag."""
    if mask is None:
        return "empty"
    numbers = " ".join(str(n) for n in (*mask.low, *mask.array.shape))
    return f"{crc32(np.packbits(mask.array).tobytes()):08x} {numbers}"


def layersOf(segmentation: Any, ids: Sequence[str] | None = None) -> list[tuple[Any, dict]]:
    """Return each image of a vtkSegmentation with the value of each segment that lies in it.

    Parameters
    ----------
    segmentation : vtkSegmentation
    ids : sequence of str, optional
        Segments that are asked for; by default all.

    Returns
    -------
    list of (vtkOrientedImageData, dict of str to int)
        Empty segments are left out.
    """
    found: dict[str, tuple[Any, dict[str, int]]] = {}
    if segmentation is None or segmentation.GetNumberOfSegments() == 0:
        return []
    if not segmentation.ContainsRepresentation(BINARY_LABELMAP):
        segmentation.CreateRepresentation(BINARY_LABELMAP)
    for segmentId in segmentation.GetSegmentIDs() if ids is None else ids:
        segment = segmentation.GetSegment(segmentId)
        image = segment.GetRepresentation(BINARY_LABELMAP)
        if image is None or image.IsEmpty():
            continue
        key = image.GetAddressAsString("vtkOrientedImageData")
        found.setdefault(key, (image, {}))[1][segmentId] = segment.GetLabelValue()
    return list(found.values())


def arrayOf(image: Any) -> np.ndarray:
    """Return the voxels (k, j, i) of an oriented image, shared with it."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def boxesOf(array: np.ndarray) -> dict[int, Box]:
    """Return the bounding box (k, j, i) of each value that occurs, background excepted."""
    found = ndimage.find_objects(array)
    return {n + 1: box for n, box in enumerate(found) if box is not None}


def masks(
    segmentationNode: Any, sourceNode: Any, ids: Sequence[str] | None = None
) -> dict[str, Mask]:
    """Return the voxels of segments as they are now, on the grid of a volume.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    sourceNode : vtkMRMLVolumeNode
        Gives the grid; the two may be under different linear transforms.
    ids : sequence of str, optional
        Segments that are asked for; by default all.

    Returns
    -------
    dict of str to Mask
        By segment, in the order of the segments; empty ones are left out.
    """
    result: dict[str, Mask] = {}
    for array, low, values in onGrid(segmentationNode, sourceNode, ids):
        boxes = boxesOf(array)
        for segmentId, value in values.items():
            if value in boxes:
                box = boxes[value]
                first = [int(a) + s.start for a, s in zip(low, box)]
                result[segmentId] = Mask(tuple(first), array[box] == value)
    order = segmentationNode.GetSegmentation().GetSegmentIDs()
    return {segmentId: result[segmentId] for segmentId in order if segmentId in result}


def onGrid(
    segmentationNode: Any, sourceNode: Any, ids: Sequence[str] | None = None
) -> Iterator[tuple[np.ndarray, tuple[int, ...], dict[str, int]]]:
    """Yield each layer's part that lies in a volume: array (k, j, i), first voxel, values.

    Parameters are as in `masks`. The arrays are views of the layers where the grids agree.
    """
    reference = _emptyImage(sourceNode)
    toSource = transformToSource(segmentationNode, sourceNode)
    sameGrid = slicer.vtkOrientedImageDataResample.DoGeometriesMatch
    for image, values in layersOf(segmentationNode.GetSegmentation(), ids):
        if toSource is not None or not sameGrid(image, reference):
            image = _resampled(image, reference, toSource)
        target, part = overlap(reference.GetExtent(), image.GetExtent())
        array = arrayOf(image)[part]
        if array.size:
            yield array, tuple(s.start for s in target), values


def overlap(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[Box, Box]:
    """Return where two VTK extents overlap: slices (k, j, i) of each one's own array."""
    slices: tuple[list[slice], list[slice]] = ([], [])
    for axis in (2, 1, 0):
        low = max(first[2 * axis], second[2 * axis])
        high = max(low, 1 + min(first[2 * axis + 1], second[2 * axis + 1]))
        for one, extent in zip(slices, (first, second)):
            one.append(slice(low - extent[2 * axis], high - extent[2 * axis]))
    return tuple(slices[0]), tuple(slices[1])


def _emptyImage(sourceNode: Any) -> Any:
    """Return oriented image data with the source's geometry and no voxels."""
    image = slicer.vtkOrientedImageData()
    image.SetExtent(sourceNode.GetImageData().GetExtent())
    matrix = vtk.vtkMatrix4x4()
    sourceNode.GetIJKToRASMatrix(matrix)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    return image


def transformToSource(segmentationNode: Any, sourceNode: Any) -> Any:
    """Return the transform from the segmentation's own RAS to the source's; None if the same."""
    between = np.linalg.inv(parentMatrix(sourceNode)) @ parentMatrix(segmentationNode)
    if np.allclose(between, np.eye(4), atol=1e-9):
        return None
    transform = vtk.vtkTransform()
    transform.SetMatrix(arrayToMatrix(between))
    return transform


def _resampled(image: Any, reference: Any, transform: Any) -> Any:
    """Return a layer on the reference's grid, by nearest neighbour."""
    output = slicer.vtkOrientedImageData()
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    if not resample(image, reference, output, False, False, transform):
        raise InputError(_("The segmentation could not be brought onto the volume's grid."))
    return output
