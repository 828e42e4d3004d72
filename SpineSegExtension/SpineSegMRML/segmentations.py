"""Label maps to segmentation nodes, with names, colours and terminology, and back.

All segments of a result share one label map (one layer), as Slicer's own import makes them: adding
them one by one would cost most of a second each on a large CT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import slicer
from spineseg import labels
from spineseg.errors import InputError
from spineseg.volume import Volume

from SpineSegMRML.i18n import tr as _
from SpineSegMRML.layers import BINARY_LABELMAP, Mask, boxesOf, masks
from SpineSegMRML.names import METHOD, VERTEBRA, dress, mark, meaningOf
from SpineSegMRML.volumes import (
    affineFromNode,
    arrayToMatrix,
    imageFromArray,
    requireShape,
)

__all__ = [
    "SegmentationGrid",
    "addSegmentationNode",
    "fingerprintOf",
    "labelFor",
    "labelVolumeFromNode",
    "placeBeside",
    "remember",
    "removeNode",
    "restore",
    "segmentEditorNode",
    "segmentationFromVolume",
    "setSegmentation",
    "showSurfaces",
    "vertebraOf",
    "vertebraVolumeFromNode",
    "vertebraeIn",
]

COLOR_TABLE_TAG = "SpineSegVertebrae"


def orderOfLabels(present: list[int]) -> list[int]:
    """Return labels from the head down; unsure levels follow, and other bone is last."""
    known = [level.verse for level in (*labels.VERTEBRAE, labels.SACRUM)]
    unknown = [label for label in sorted(present) if label not in known]
    unknown.sort(key=lambda label: label == labels.OTHER_BONE)
    return [label for label in known if label in present] + unknown


def segmentationFromVolume(
    volume: Volume, part: str = VERTEBRA, start: Sequence[int] = (0, 0, 0)
) -> Any:
    """Return a vtkSegmentation with one segment for each label, all in one shared layer.

    Parameters
    ----------
    volume : Volume
        Label map (k, j, i) of integers; its affine is to the RAS of the node that will hold the
        segmentation.
    part : str
        What of the vertebrae the labels are: one of `names.TARGETS`.
    start : sequence of int
        (i, j, k) from which the affine counts the first voxel: where a node's image extent begins.
    """
    segmentation = slicer.vtkSegmentation()
    segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    boxes = boxesOf(volume.array)
    if not boxes:
        return segmentation
    image = _croppedImage(volume, list(boxes.values()), start)
    for label in orderOfLabels(list(boxes)):
        box = boxes[label]
        segment = slicer.vtkSegment()
        dress(segment, label, part)
        segment.SetLabelValue(label)
        segment.AddRepresentation(BINARY_LABELMAP, image)
        mask = Mask(tuple(s.start for s in box), volume.array[box] == label)
        mark(segment, mask, METHOD)
        segmentation.AddSegment(segment, segment.GetName())
    return segmentation


def _croppedImage(volume: Volume, boxes: list[tuple[slice, ...]], start: Sequence[int]) -> Any:
    """Return the label map as oriented image data, cut to the labels' bounding boxes (k, j, i)."""
    low = [min(box[axis].start for box in boxes) for axis in range(3)]
    high = [max(box[axis].stop for box in boxes) for axis in range(3)]
    block = volume.array[tuple(slice(a, b) for a, b in zip(low, high))]
    image = imageFromArray(block, slicer.vtkOrientedImageData())
    extent = [
        bound + first for a, b, first in zip(low[::-1], high[::-1], start) for bound in (a, b - 1)
    ]
    image.SetExtent(extent)
    image.SetGeometryFromImageToWorldMatrix(arrayToMatrix(volume.affine))
    return image


def setSegmentation(
    segmentationNode: Any, labelVolume: Volume, sourceNode: Any, part: str = VERTEBRA
) -> None:
    """Replace what a segmentation node holds by a label map on its source volume's grid.

    The node gets the source's parent transform, so that the two lie on each other, and the
    source's geometry as its reference.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
        In the same scene as `sourceNode`.
    labelVolume : Volume
        Label map with the source's shape; its affine is not used, the source's own is.
    sourceNode : vtkMRMLScalarVolumeNode
    part : str
        What of the vertebrae the labels are: one of `names.TARGETS`.

    Raises
    ------
    InputError
        The two have different shapes.
    """
    requireShape(labelVolume, sourceNode)
    affine = affineFromNode(sourceNode, world=False)
    start = sourceNode.GetImageData().GetExtent()[::2]
    segmentation = segmentationFromVolume(Volume(labelVolume.array, affine), part, start)
    segmentationNode.SetAndObserveTransformNodeID(sourceNode.GetTransformNodeID())
    segmentationNode.SetAndObserveSegmentation(segmentation)
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(sourceNode)
    table = vertebraColorTable(segmentationNode.GetScene())
    segmentationNode.SetLabelmapConversionColorTableNodeID(table.GetID())


def addSegmentationNode(
    labelVolume: Volume, sourceNode: Any, name: str, part: str = VERTEBRA
) -> Any:
    """Add a segmentation node with a label map to its source's scene, beside the source.

    If it fails the scene is left without the node. Parameters are as in `setSegmentation`.
    """
    scene = sourceNode.GetScene()
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(scene.GenerateUniqueName(name))
    node = scene.AddNode(node)
    try:
        node.CreateDefaultDisplayNodes()
        setSegmentation(node, labelVolume, sourceNode, part)
        placeBeside(node, sourceNode)
    except Exception:
        removeNode(node)
        raise
    return node


def showSurfaces(segmentationNode: Any) -> None:
    """Make the closed surfaces of a segmentation node, and let 3D views know of them."""
    segmentationNode.CreateClosedSurfaceRepresentation()
    # Where an editor is on the node, a view does not notice that all segments were replaced.
    display = segmentationNode.GetDisplayNode()
    if display is not None:
        display.Modified()


def removeNode(node: Any) -> None:
    """Remove a node, its display nodes if it has such, and its subject-hierarchy item."""
    scene = node.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.RemoveItem(item, False, True)
    count = node.GetNumberOfDisplayNodes() if node.IsA("vtkMRMLDisplayableNode") else 0
    for index in reversed(range(count)):
        if node.GetNthDisplayNode(index) is not None:
            scene.RemoveNode(node.GetNthDisplayNode(index))
    scene.RemoveNode(node)


def remember(node: Any) -> dict[str, Any]:
    """Return what `restore` needs to undo a `setSegmentation` of `node`."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return {
        "segmentation": node.GetSegmentation(),
        "transform": node.GetTransformNodeID(),
        "role": role,
        "source": node.GetNodeReferenceID(role),
        "table": node.GetLabelmapConversionColorTableNodeID(),
    }


def restore(node: Any, before: dict[str, Any]) -> None:
    """Give a segmentation node back what it held when `remember` was called."""
    node.SetAndObserveSegmentation(before["segmentation"])
    node.SetAndObserveTransformNodeID(before["transform"])
    node.SetNodeReferenceID(before["role"], before["source"])
    node.SetLabelmapConversionColorTableNodeID(before["table"])


def placeBeside(node: Any, siblingNode: Any) -> None:
    """Put `node` beside `siblingNode` in the subject hierarchy: same patient, study or folder."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    sibling = hierarchy.GetItemByDataNode(siblingNode)
    parent = hierarchy.GetItemParent(sibling) if sibling else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


def segmentEditorNode(scene: Any, tag: str) -> Any:
    """Return the scene's Segment Editor settings with a singleton tag; new ones if need be."""
    node = scene.GetSingletonNode(tag, "vtkMRMLSegmentEditorNode")
    if node is not None:
        return node
    node = slicer.vtkMRMLSegmentEditorNode()
    node.SetSingletonTag(tag)
    return scene.AddNode(node)


def vertebraColorTable(scene: Any) -> Any:
    """Return the scene's colour table of the labels, which keeps their numbers on export."""
    node = scene.GetSingletonNode(COLOR_TABLE_TAG, "vtkMRMLColorTableNode")
    if node is not None:
        return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetName("SpineSeg vertebrae")
    node.SetSingletonTag(COLOR_TABLE_TAG)
    node.SetTypeToUser()
    node.HideFromEditorsOn()
    node.SetNumberOfColors(labels.LAST_UNSURE + 1)
    for label in range(labels.LAST_UNSURE + 1):
        rgb = [part / 255 for part in labels.color_of(label)]
        opacity = 0.0 if label == labels.BACKGROUND else 1.0
        node.SetColor(label, labels.display_name(label), *rgb, opacity)
    return scene.AddNode(node)


def labelVolumeFromNode(
    segmentationNode: Any, sourceNode: Any, world: bool = True
) -> tuple[Volume, dict[int, str]]:
    """Return what a segmentation node holds now, brush strokes included, as one label map.

    A segment called as in the label table gets that label; other segments, and a second one of the
    same name, get free numbers from 255 down. Where segments overlap, the later one wins; parts of
    vertebrae (“L1 body”) are left out.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    sourceNode : vtkMRMLVolumeNode
        Gives the grid.
    world : bool
        Affine of the result: the world's RAS (default) or the source's own.

    Returns
    -------
    volume : Volume
        uint8 label map (k, j, i) on the source's grid.
    names : dict of int to str
        Segment name of each label present as a segment.
    """
    array = np.zeros(sourceNode.GetImageData().GetDimensions()[::-1], dtype=np.uint8)
    names: dict[int, str] = {}
    for segmentId, mask in masks(segmentationNode, sourceNode).items():
        name = segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()
        if (meaningOf(name) or (0, VERTEBRA))[1] != VERTEBRA:
            continue
        label = labelFor(name, names)
        names[label] = name
        array[mask.box][mask.array] = label
    affine = affineFromNode(sourceNode, world)
    affine[:3, 3] += affine[:3, :3] @ np.array(sourceNode.GetImageData().GetExtent()[::2], float)
    return Volume(array, affine), names


def vertebraVolumeFromNode(segmentationNode: Any, sourceNode: Any) -> Volume:
    """Return the vertebrae and the sacrum of a segmentation as it is now: uint8, world's RAS.

    Segments of other names do not count; `sourceNode` gives the grid, as in `labelVolumeFromNode`.
    """
    volume, named = labelVolumeFromNode(segmentationNode, sourceNode)
    # A segment of another name, and a second one of the same, has a number that means nothing.
    wanted = [label for label, name in named.items() if vertebraOf(name) == label]
    return volume.like(np.where(np.isin(volume.array, wanted), volume.array, 0).astype(np.uint8))


def vertebraOf(name: str) -> int:
    """Return the label of the whole vertebra, or sacrum, that a name says; 0 if it says none."""
    label, part = meaningOf(name) or (0, VERTEBRA)
    known = labels.is_vertebra(label) or label == labels.SACRUM.verse
    return label if known and part == VERTEBRA else 0


def vertebraeIn(segmentationNode: Any) -> list[str]:
    """Return the names of the segments that are whole vertebrae, without the sacrum."""
    segmentation = segmentationNode.GetSegmentation()
    named = [segmentation.GetSegment(i).GetName() for i in segmentation.GetSegmentIDs()]
    return [name for name in named if labels.is_vertebra(vertebraOf(name))]


def fingerprintOf(volume: Volume) -> str:
    """Return a short text that changes when a voxel does, or the place of all."""
    place = np.round(volume.affine, 3) + 0.0  # no negative zeros
    return f"{crc32(volume.array.tobytes(), crc32(place.tobytes())):08x} {volume.shape}"


def labelFor(name: str, taken: Mapping[int, Any]) -> int:
    """Return the label that a name says if it is free, else a free number from 255 down."""
    try:
        label = labels.label_by_display_name(name)
        if label not in taken and label != labels.BACKGROUND:
            return label
    except KeyError:
        pass
    for label in range(labels.LAST_UNSURE, labels.BACKGROUND, -1):
        if label not in taken:
            return label
    raise InputError(_("There are more segments than a label map has numbers."))


class SegmentationGrid:
    """Stands for a volume with a segmentation's own geometry, where there is no such volume.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
        Its reference geometry is the grid, or else the segments' own.

    Raises
    ------
    InputError
        It is empty.
    """

    def __init__(self, segmentationNode: Any) -> None:
        self._node = segmentationNode
        segmentation = segmentationNode.GetSegmentation()
        image = slicer.vtkOrientedImageData()
        if segmentation is not None and segmentation.GetNumberOfSegments():
            if not segmentation.ContainsRepresentation(BINARY_LABELMAP):
                segmentation.CreateRepresentation(BINARY_LABELMAP)
            role = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
            text = segmentation.GetConversionParameter(role)
            extent = segmentation.EXTENT_REFERENCE_GEOMETRY
            if not text:
                extent = segmentation.EXTENT_UNION_OF_SEGMENTS_PADDED
            text = segmentation.DetermineCommonLabelmapGeometry(extent, None)
            slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False)
        if image.IsEmpty():
            raise InputError(
                _("“{name}” is empty.").format(name=segmentationNode.GetName()),
                _("Choose a segmentation of vertebrae."),
            )
        self._image = image

    def GetName(self) -> str:
        """Return the segmentation's name."""
        return str(self._node.GetName())

    def GetScene(self) -> Any:
        """Return the segmentation's scene."""
        return self._node.GetScene()

    def GetImageData(self) -> Any:
        """Return an image with the extent; it holds no voxels."""
        return self._image

    def GetIJKToRASMatrix(self, matrix: Any) -> None:
        """Fill a vtkMatrix4x4 with the way from voxels to the segmentation's own RAS."""
        self._image.GetImageToWorldMatrix(matrix)

    def GetParentTransformNode(self) -> Any:
        """Return the transform that the segmentation is under."""
        return self._node.GetParentTransformNode()
