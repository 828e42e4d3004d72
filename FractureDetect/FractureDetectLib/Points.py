"""The six points of each vertebra as point lists that a user may drag, and the twelve beside them.

A list belongs to a segmentation by a node reference and knows its vertebra by an attribute, so all
of it is saved with the scene. Positions are RAS mm of the list's own, (upper and lower endplate,
from front to back, 3): a list lies under the CT's transform and moves with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from spineseg import labels
from spineseg.measure.vertebra_body import PLACES, PLANES
from SpineSegMRML import segmentations
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.names import rankOf

__all__ = [
    "KIND", "SPINE_ROLE", "colorLists", "listsOf", "setLists", "setSides", "showLists", "sidesOf",
    "sixOf", "sixesOf",
]  # fmt: skip

SPINE_ROLE = "SpineSegSegmentation"
"""Role of a point list's reference to its segmentation."""
HEIGHTS = "SpineSeg.HeightPoints"
"""Attribute of a list of six: the label of its vertebra."""
SIDES = "SpineSeg.SidePoints"
"""Attribute of the list of all points beside the middle planes."""
ENDPLATES = ("upper", "lower")
POINT_MM, SIDE_MM = 2.5, 1.5
SIDE_COLOR = (0.62, 0.66, 0.70)

Points = NDArray[np.float64]
KIND = "vtkMRMLMarkupsFiducialNode"


def listsOf(segmentationNode: Any) -> dict[int, Any]:
    """Return the lists of six of a segmentation by label, from the top; of two the first."""
    found: dict[int, Any] = {}
    for node in _belonging(segmentationNode):
        text = node.GetAttribute(HEIGHTS) or ""
        if text.isdigit():
            found.setdefault(int(text), node)
    return dict(sorted(found.items(), key=lambda item: rankOf(labels.display_name(item[0]))))


def sidesOf(segmentationNode: Any) -> Any:
    """Return the list of the points beside the middle planes; None if there is none."""
    return next((n for n in _belonging(segmentationNode) if n.GetAttribute(SIDES)), None)


def _belonging(segmentationNode: Any) -> list[Any]:
    scene, mine = segmentationNode.GetScene(), segmentationNode.GetID()
    if scene is None:
        return []
    nodes = scene.GetNodesByClass(KIND)
    every = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
    return [node for node in every if node.GetNodeReferenceID(SPINE_ROLE) == mine]


def sixOf(node: Any) -> Points | None:
    """Return a list's points (2, 3, 3), its own RAS; None while it has not its six."""
    if node.GetNumberOfControlPoints() != 2 * len(PLACES):
        return None
    found = np.zeros((2 * len(PLACES), 3))
    for index in range(len(found)):
        if node.GetNthControlPointPositionStatus(index) != node.PositionDefined:
            return None
        node.GetNthControlPointPosition(index, found[index])
    return found.reshape(2, len(PLACES), 3)


def sixesOf(segmentationNode: Any) -> dict[int, Points]:
    """Return the points of all lists that have their six."""
    found = {label: sixOf(node) for label, node in listsOf(segmentationNode).items()}
    return {label: six for label, six in found.items() if six is not None}


def setLists(
    segmentationNode: Any, sixes: Mapping[int, Points], transformId: str | None = None
) -> None:
    """Make a segmentation's lists show points; add and remove lists where need be.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    sixes : mapping of int to (2, 3, 3) ndarray
        By label.
    transformId : str, optional
        Of the transform that the lists lie under.
    """
    there = listsOf(segmentationNode)
    for label, node in there.items():
        if label not in sixes:
            segmentations.removeNode(node)
    made = []
    for label, six in sixes.items():
        node = there.get(label)
        if node is None:
            name = labels.display_name(label)
            node = _addList(segmentationNode, name, (HEIGHTS, str(label)), POINT_MM)
            made.append(node)
        node.SetAndObserveTransformNodeID(transformId)
        words = [f"{labels.display_name(label)} {e} {p}" for e in ENDPLATES for p in PLACES]
        if sixOf(node) is None or not np.array_equal(sixOf(node), six):
            _fill(node, np.reshape(six, (-1, 3)), words)
    _putTogether(segmentationNode, made)


def setSides(
    segmentationNode: Any, sides: Mapping[int, Points], transformId: str | None = None
) -> None:
    """Show the points beside the middle planes, (left and right, 2, 3, 3) by label, in one list."""
    node = sidesOf(segmentationNode)
    if not sides:
        if node is not None:
            segmentations.removeNode(node)
        _putTogether(segmentationNode, [])
        return
    if node is None:
        name = _("{name} points beside").format(name=segmentationNode.GetName())
        node = _addList(segmentationNode, name, (SIDES, "yes"), SIDE_MM)
        _putTogether(segmentationNode, [node])
    node.SetAndObserveTransformNodeID(transformId)
    words = [
        f"{labels.display_name(label)} {plane} {endplate} {place}"
        for label in sides
        for plane in (PLANES[0], PLANES[2])
        for endplate in ENDPLATES
        for place in PLACES
    ]
    _fill(node, np.concatenate([np.reshape(part, (-1, 3)) for part in sides.values()]), words)
    node.SetLocked(True)
    node.GetDisplayNode().SetSelectedColor(*SIDE_COLOR)


def _addList(segmentationNode: Any, name: str, mark: tuple[str, str], size: float) -> Any:
    node = slicer.vtkMRMLMarkupsFiducialNode()
    node.SetName(name)
    node.SetAttribute(*mark)
    node = segmentationNode.GetScene().AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.SetNodeReferenceID(SPINE_ROLE, segmentationNode.GetID())
    display = node.GetDisplayNode()
    # A hundred names would hide the spine; the table and the data tree have them.
    display.SetPointLabelsVisibility(False)
    display.SetUseGlyphScale(False)
    display.SetGlyphSize(size)
    display.SetOccludedVisibility(True)  # inside the bone, in 3D
    return node


def _fill(node: Any, positions: Points, words: Collection[str]) -> None:
    wasModified = node.StartModify()
    node.SetFixedNumberOfControlPoints(False)
    while node.GetNumberOfControlPoints() > len(positions):
        node.RemoveNthControlPoint(node.GetNumberOfControlPoints() - 1)
    for index, (position, word) in enumerate(zip(positions, words)):
        if index < node.GetNumberOfControlPoints():
            node.SetNthControlPointPosition(index, *position)
        else:
            node.AddControlPoint(*position)
        node.SetNthControlPointLabel(index, word)
    node.SetFixedNumberOfControlPoints(True)
    node.EndModify(wasModified)


def colorLists(segmentationNode: Any, colors: Mapping[int, tuple[float, float, float]]) -> None:
    """Colour the lists of six, by label; colours 0 to 1."""
    for label, node in listsOf(segmentationNode).items():
        display = node.GetDisplayNode()
        if display is not None and label in colors:
            display.SetSelectedColor(*colors[label])
            display.SetColor(*colors[label])


def showLists(segmentationNode: Any, six: bool, sides: bool) -> None:
    """Show or hide the lists of six, and the points beside."""
    for node in listsOf(segmentationNode).values():
        node.SetDisplayVisibility(six)
    beside = sidesOf(segmentationNode)
    if beside is not None:
        beside.SetDisplayVisibility(sides)


def _putTogether(segmentationNode: Any, nodes: Collection[Any]) -> None:
    """Put lists into the segmentation's folder of points, beside it; an empty one goes."""
    scene = segmentationNode.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    own = hierarchy.GetItemByDataNode(segmentationNode)
    parent = hierarchy.GetItemParent(own) if own else hierarchy.GetSceneItemID()
    name = _("{name} height points").format(name=segmentationNode.GetName())
    folder = _folderOf(hierarchy, segmentationNode) or hierarchy.GetItemChildWithName(parent, name)
    if nodes and not folder:
        folder = hierarchy.CreateFolderItem(parent, name)
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.SetItemParent(item, folder)
        else:
            hierarchy.CreateItem(folder, node)
    if folder and not hierarchy.GetNumberOfItemChildren(folder):
        hierarchy.RemoveItem(folder)


def _folderOf(hierarchy: Any, segmentationNode: Any) -> int:
    """Return the folder that some list lies in already, also where a user has renamed it."""
    for node in _belonging(segmentationNode):
        item = hierarchy.GetItemByDataNode(node)
        parent = hierarchy.GetItemParent(item) if item else 0
        if parent and hierarchy.GetItemLevel(parent) == "Folder":
            return int(parent)
    return 0
