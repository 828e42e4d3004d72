"""Single segments of a segmentation node: adding, replacing, renaming.

What is added gets a layer of its own, so that no voxel of another segment changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import slicer
from spineseg import labels
from spineseg.errors import InputError
from spineseg.volume import Volume

from SpineSegMRML.i18n import tr as _
from SpineSegMRML.layers import BINARY_LABELMAP, Mask, masks
from SpineSegMRML.names import (
    CLICK,
    METHOD,
    TARGETS,
    VERTEBRA,
    VOXELS_TAG,
    dress,
    freeUnsure,
    mark,
    meaningOf,
    rankOf,
    tagOf,
    wasEdited,
    wasPainted,
    wasTouched,
)
from SpineSegMRML.segmentations import labelFor
from SpineSegMRML.volumes import (
    affineFromNode,
    arrayToMatrix,
    imageFromArray,
    parentMatrix,
    volumeFromNode,
)

__all__ = [
    "addMask",
    "addMasks",
    "calledAfter",
    "edited",
    "known",
    "maskOf",
    "nameIn",
    "overlapping",
    "painted",
    "removeSegments",
    "rename",
    "requireSource",
    "touched",
]


def nameIn(segmentationNode: Any, segmentId: str) -> str:
    """Return a segment's name; "" if there is no such segment."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    return segment.GetName() if segment else ""


def requireSource(segmentationNode: Any, sourceNode: Any) -> None:
    """Refuse a segmentation that was made on another volume.

    Raises
    ------
    InputError
        Its reference volume has another grid in the world than `sourceNode`.
    """
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    other = segmentationNode.GetNodeReference(role)
    if other is None or other is sourceNode or other.GetImageData() is None:
        return
    if segmentationNode.GetSegmentation().GetNumberOfSegments() == 0:
        return
    if not volumeFromNode(other).grid.same_as(volumeFromNode(sourceNode).grid):
        raise InputError(
            _("“{segmentation}” belongs to “{other}”, not to “{volume}”.").format(
                segmentation=segmentationNode.GetName(),
                other=other.GetName(),
                volume=sourceNode.GetName(),
            ),
            _("Choose that volume, or a new segmentation."),
        )


def maskOf(block: Volume, scan: Volume) -> Mask | None:
    """Return the voxels of a mask that is a part of a scan; None if it is empty.

    Parameters
    ----------
    block : Volume
        Non-zero inside; a crop of the scan's grid.
    scan : Volume

    Raises
    ------
    InputError
        Its voxels do not lie on voxels of the scan.
    """
    low = np.rint(scan.ras_to_ijk(block.ijk_to_ras(np.zeros((1, 3))))[0][::-1]).astype(int)
    high = low + block.shape
    inside = bool((low >= 0).all() and (high <= scan.shape).all())
    if not inside or not scan.grid.shifted(low.tolist(), block.shape).same_as(block.grid, 1e-2):
        raise InputError(_("The vertebra does not lie on the scan's grid."))
    return Mask.trimmed(low.tolist(), block.array)


def known(
    segmentationNode: Any, sourceNode: Any, first: Sequence[str] = (), parts: bool = True
) -> tuple[Volume, dict[int, str]]:
    """Return the vertebrae of a segmentation as one label map, and the segment of each label.

    A part of a vertebra ("L1 body") stands for its vertebra where that one is not there. A user's
    own segments ("screw") are left out, unless the program made them and they were renamed.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode or None
    sourceNode : vtkMRMLVolumeNode
        Gives the grid.
    first : sequence of str
        Segments that get the label that their name says also if others are called the same; a
        second one gets a free number from 255 down.
    parts : bool
        Whether parts may stand for their vertebrae.

    Returns
    -------
    volume : Volume
        uint8 (k, j, i), affine to the world's RAS; numbers as in the label table.
    ids : dict of int to str
        Vertebrae's own segments only, not their parts.
    """
    scan = volumeFromNode(sourceNode)
    array = np.zeros(scan.shape, np.uint8)
    ids: dict[int, str] = {}
    if segmentationNode is None or segmentationNode.GetSegmentation() is None:
        return scan.like(array), ids
    found = masks(segmentationNode, sourceNode)
    order = sorted(found, key=lambda segmentId: segmentId not in first)
    for part in reversed(TARGETS) if parts else [VERTEBRA]:
        for segmentId in order:
            segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
            meaning = meaningOf(segment.GetName())
            isOurs = tagOf(segment, VOXELS_TAG) != ""
            label, itsPart = meaning or (0, VERTEBRA)
            if itsPart != part or (meaning is None and not isOurs):
                continue
            if part == VERTEBRA:
                label = labelFor(labels.display_name(label), ids)
                ids[label] = segmentId
            mask = found[segmentId]
            array[mask.box][mask.array] = label
    return scan.like(array), ids


def touched(segmentationNode: Any, sourceNode: Any) -> list[str]:
    """Return the segments that hold a user's work (see `names.wasTouched`)."""
    segmentation = segmentationNode.GetSegmentation()
    found = masks(segmentationNode, sourceNode)
    return [
        segmentId
        for segmentId in segmentation.GetSegmentIDs()
        if wasTouched(segmentation.GetSegment(segmentId), found.get(segmentId))
    ]


def painted(segmentationNode: Any, sourceNode: Any) -> list[str]:
    """Return the segments whose voxels are a user's: painted, clicked, or made by hand.

    Those that only have another name are not among them.
    """
    segmentation = segmentationNode.GetSegmentation()
    found = masks(segmentationNode, sourceNode)
    return [
        segmentId
        for segmentId in segmentation.GetSegmentIDs()
        if wasPainted(segmentation.GetSegment(segmentId), found.get(segmentId))
    ]


def edited(segmentationNode: Any, sourceNode: Any) -> list[str]:
    """Return the segments that a user has painted, renamed or made (see `names.wasEdited`)."""
    segmentation = segmentationNode.GetSegmentation()
    found = masks(segmentationNode, sourceNode)
    return [
        segmentId
        for segmentId in segmentation.GetSegmentIDs()
        if wasEdited(segmentation.GetSegment(segmentId), found.get(segmentId))
    ]


def overlapping(mask: Mask, others: Mapping[str, Mask]) -> str | None:
    """Return which of the others shares most with a mask, if that is half of the smaller one."""
    best, most = None, 0.5
    for segmentId, other in others.items():
        low = np.maximum(mask.low, other.low)
        high = np.minimum(np.add(mask.low, mask.array.shape), np.add(other.low, other.array.shape))
        if (high <= low).any():
            continue
        views = [
            one.array[tuple(slice(a - o, b - o) for a, b, o in zip(low, high, one.low))]
            for one in (mask, other)
        ]
        shared = np.count_nonzero(views[0] & views[1])
        part = shared / min(np.count_nonzero(mask.array), np.count_nonzero(other.array))
        if part > most:
            best, most = segmentId, part
    return best


def addMask(
    segmentationNode: Any,
    sourceNode: Any,
    mask: Mask,
    label: int,
    part: str,
    replaces: str | None = None,
    keepName: bool = False,
) -> str:
    """Add the segment of a click, or put it in the place of another, and return its id.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    sourceNode : vtkMRMLVolumeNode
        Its grid is the mask's.
    mask : Mask
    label : int
        Of the label table.
    part : str
        One of `names.TARGETS`.
    replaces : str, optional
        Segment whose id and place in the list the new one gets.
    keepName : bool
        Also its name and looks.
    """
    segmentation = segmentationNode.GetSegmentation()
    segment = slicer.vtkSegment()
    index = None
    if replaces is not None:
        index = segmentation.GetSegmentIndex(replaces)
        # With the name comes a colour that a user may have chosen.
        segment.DeepCopyMetadata(segmentation.GetSegment(replaces))
    if replaces is None or not keepName:
        dress(segment, label, part)
    image = _imageOf(mask.array.astype(np.uint8), mask.low, segmentationNode, sourceNode)
    segment.SetLabelValue(1)
    segment.AddRepresentation(BINARY_LABELMAP, image)
    mark(segment, mask, CLICK)
    if replaces is not None:
        removeSegments(segmentationNode, [replaces])
    return _insert(segmentation, segment, replaces, index)


def addMasks(segmentationNode: Any, sourceNode: Any, found: Mapping[int, Mask]) -> None:
    """Add a method's segments, by label, all in one layer; none of them overlap."""
    if not found:
        return
    low = np.min([mask.low for mask in found.values()], axis=0)
    high = np.max([np.add(mask.low, mask.array.shape) for mask in found.values()], axis=0)
    block = np.zeros(high - low, np.uint8)
    for label, mask in found.items():
        box = tuple(slice(s.start - a, s.stop - a) for s, a in zip(mask.box, low))
        block[box][mask.array] = label
    image = _imageOf(block, low, segmentationNode, sourceNode)
    for label, mask in found.items():
        segment = slicer.vtkSegment()
        dress(segment, label)
        segment.SetLabelValue(label)
        segment.AddRepresentation(BINARY_LABELMAP, image)
        mark(segment, mask, METHOD)
        _insert(segmentationNode.GetSegmentation(), segment)


def _insert(
    segmentation: Any, segment: Any, segmentId: str | None = None, index: int | None = None
) -> str:
    segmentId = segmentId or segmentation.GenerateUniqueSegmentID(segment.GetName())
    index = placeOf(segmentation, segment.GetName()) if index is None else index
    segmentation.AddSegment(segment, segmentId)
    segmentation.SetSegmentIndex(segmentId, index)
    return str(segmentId)


def placeOf(segmentation: Any, name: str) -> int:
    """Return where a segment of this name belongs in the list: from the head down."""
    names = [
        segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())
    ]
    rank = rankOf(name)
    return next((n for n, other in enumerate(names) if rankOf(other) > rank), len(names))


def _imageOf(array: np.ndarray, low: Sequence[int], segmentationNode: Any, sourceNode: Any) -> Any:
    """Return a block (k, j, i) of the source's grid as an image in the RAS of the segmentation."""
    between = np.linalg.inv(parentMatrix(segmentationNode)) @ parentMatrix(sourceNode)
    affine = affineFromNode(sourceNode, world=False)
    if not np.allclose(between, np.eye(4), atol=1e-9):
        affine = between @ affine
    image = imageFromArray(array, slicer.vtkOrientedImageData())
    start = np.array(low[::-1]) + sourceNode.GetImageData().GetExtent()[::2]
    image.SetExtent([int(v) for a, n in zip(start, array.shape[::-1]) for v in (a, a + n - 1)])
    image.SetGeometryFromImageToWorldMatrix(arrayToMatrix(affine))
    return image


def calledAfter(segmentationNode: Any, segmentId: str) -> list[str]:
    """Return a segment, and after a vertebra the parts that are called after it alone."""
    segmentation = segmentationNode.GetSegmentation()
    meanings = {i: meaningOf(nameIn(segmentationNode, i)) for i in segmentation.GetSegmentIDs()}
    meaning = meanings[segmentId]
    if meaning is None or meaning[1] != VERTEBRA or list(meanings.values()).count(meaning) > 1:
        return [segmentId]
    parts = [(meaning[0], part) for part in TARGETS if part != VERTEBRA]
    return [segmentId, *(other for other, m in meanings.items() if m in parts)]


def rename(segmentationNode: Any, ids: Sequence[str], label: int | None) -> None:
    """Give segments the name and looks of a label; parts of a vertebra stay parts.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    ids : sequence of str
        Their ids stay.
    label : int or None
        None for a level that is unsure: the first free label of that kind.
    """
    segmentation = segmentationNode.GetSegmentation()
    if label is None:
        everything = (nameIn(segmentationNode, i) for i in segmentation.GetSegmentIDs())
        label = freeUnsure({m[0] for m in map(meaningOf, everything) if m})
    for segmentId in ids:
        segment = segmentation.GetSegment(segmentId)
        dress(segment, label, (meaningOf(segment.GetName()) or (label, VERTEBRA))[1])


def removeSegments(segmentationNode: Any, ids: Collection[str]) -> None:
    """Remove segments; the others keep their voxels."""
    for segmentId in ids:
        segmentationNode.GetSegmentation().RemoveSegment(segmentId)
