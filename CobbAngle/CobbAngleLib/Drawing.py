"""What is drawn from a measurement: the curves on a film, and endplate planes in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from spineseg.measure.cobb import LOWER, UPPER, middles
from spineseg.measure.endplates import BodyFrame, Endplate
from spineseg.measure.film import FilmMeasurement
from spineseg.measure.spine_angles import SpineAngles
from SpineSegMRML import segmentations
from SpineSegMRML.endplates import FILM_ROLE, putInFolder
from SpineSegMRML.films import FilmPlace
from SpineSegMRML.i18n import tr as _

__all__ = ["ALL", "ENDS", "NOTHING", "drawCurves", "planesOf", "showPlanes"]

DRAWN = "SpineSeg.Drawn"
"""Attribute of what is drawn on a film, which the user does not move."""
CENTRELINE = "centreline"
SPINE_ROLE = "SpineSegSegmentation"
ENDS, ALL, NOTHING = "ends", "all", "nothing"
"""Which endplates are shown as planes: those that angles lie between, all, or none."""
END_COLOR, PLATE_COLOR, LINE_COLOR = (1.0, 0.35, 0.21), (1.0, 0.85, 0.3), (0.35, 0.8, 1.0)
BEYOND = 1.2  # of an endplate's width: how far the lines of an angle reach out to each side
USUAL_HALF_MM = (22.0, 16.0)  # width and depth, where a body could not be measured

Points = NDArray[np.float64]


def drawCurves(filmNode: Any, measured: FilmMeasurement | None, shown: bool = True) -> None:
    """Draw the curves of a film: long lines along their end plates, and the spine's own line.

    What was drawn before is moved, and removed where it is no curve any more.

    Parameters
    ----------
    filmNode : vtkMRMLScalarVolumeNode
    measured : FilmMeasurement or None
        None removes all.
    shown : bool
    """
    wanted = _wanted(measured) if measured is not None and shown else {}
    there = _drawnOn(filmNode)
    place = FilmPlace(filmNode) if wanted else None
    for key, node in there.items():
        if key not in wanted:
            segmentations.removeNode(node)
    for key, (text, points) in wanted.items():
        node = there.get(key) or _added(filmNode, key)
        if node.GetName() != text:
            node.SetName(text)
        _bring(node, place.ras(points))  # type: ignore[union-attr]


def _wanted(measured: FilmMeasurement) -> dict[str, tuple[str, Points]]:
    """Return what is to be drawn: by key, its name and its points (n, 2) in pixels."""
    corners = measured.corners_px
    if corners is None:
        return {}
    found: dict[str, tuple[str, Points]] = {}
    rows = measured.curves()
    for number, (curve, row) in enumerate(
        zip(measured.clinical.curves if measured.clinical else (), rows, strict=True)
    ):
        region = (row["region"] or _("curve")).upper()
        for which, vertebra, part, plate in (
            ("upper", curve.upper_end, UPPER, _("superior")),
            ("lower", curve.lower_end, LOWER, _("inferior")),
        ):
            first, last = corners[vertebra, list(part)]
            reach = BEYOND * (last - first)
            level = measured.levels[vertebra]
            text = f"{region} {curve.angle_deg:.1f}° {level} {plate}"
            found[f"{number} {which}"] = (text, np.stack([first - reach, last + reach]))
    line = middles(corners)
    line = line[np.isfinite(line).all(axis=1)]
    if len(line) > 2:
        found[CENTRELINE] = (_("Spine's line"), line)
    return found


def _drawnOn(filmNode: Any) -> dict[str, Any]:
    nodes = filmNode.GetScene().GetNodesByClass("vtkMRMLMarkupsNode")
    every = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
    return {
        node.GetAttribute(DRAWN): node
        for node in every
        if node.GetAttribute(DRAWN) and node.GetNodeReferenceID(FILM_ROLE) == filmNode.GetID()
    }


def _added(filmNode: Any, key: str) -> Any:
    isLine = key != CENTRELINE
    kind = slicer.vtkMRMLMarkupsLineNode if isLine else slicer.vtkMRMLMarkupsCurveNode
    node = kind()
    node.SetAttribute(DRAWN, key)
    node.SetLocked(True)
    node = filmNode.GetScene().AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.SetNodeReferenceID(FILM_ROLE, filmNode.GetID())
    node.SetAndObserveTransformNodeID(filmNode.GetTransformNodeID())
    if node.GetMeasurement("length") is not None:
        node.GetMeasurement("length").SetEnabled(False)
    display = node.GetDisplayNode()
    display.SetPointLabelsVisibility(False)
    # The name of the upper line says region and angle; a second one beside it would say it twice.
    display.SetPropertiesLabelVisibility(key.endswith("upper"))
    display.SetSelectedColor(*(END_COLOR if isLine else LINE_COLOR))
    display.SetGlyphScale(0.1)
    display.SetTextScale(3.0)
    putInFolder(node, filmNode)
    return node


def _bring(node: Any, positions: Points) -> None:
    wasModified = node.StartModify()
    while node.GetNumberOfControlPoints() > len(positions):
        node.RemoveNthControlPoint(node.GetNumberOfControlPoints() - 1)
    for index, position in enumerate(positions):
        if index < node.GetNumberOfControlPoints():
            node.SetNthControlPointPositionWorld(index, *position)
        else:
            node.AddControlPointWorld(*position)
    node.EndModify(wasModified)


def planesOf(segmentationNode: Any) -> dict[str, Any]:
    """Return the endplate planes of a segmentation by their names, such as "T5 superior"."""
    scene = segmentationNode.GetScene()
    nodes = scene.GetNodesByClass("vtkMRMLMarkupsPlaneNode")
    every = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
    mine = segmentationNode.GetID()
    return {n.GetName(): n for n in every if n.GetNodeReferenceID(SPINE_ROLE) == mine}


def showPlanes(segmentationNode: Any, angles: SpineAngles | None, which: str = ENDS) -> list[Any]:
    """Show endplates as planes in 3D, in place of those that are shown; return the planes.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    angles : SpineAngles or None
        Of it, in RAS of the world; None removes the planes.
    which : str
        ENDS, ALL or NOTHING.
    """
    before = planesOf(segmentationNode)
    made = []
    ends = set() if angles is None else _endsOf(angles)
    for number, frame in enumerate(angles.vertebrae if angles is not None else ()):
        for name, plate in (("superior", frame.upper), ("inferior", frame.lower)):
            isEnd = (number, name) in ends
            if plate is not None and (which == ALL or (which == ENDS and isEnd)):
                made.append(_plane(segmentationNode, frame, name, plate, isEnd))
    for node in before.values():
        segmentations.removeNode(node)
    _putTogether(made, segmentationNode)
    return made


def _endsOf(angles: SpineAngles) -> set[tuple[int, str]]:
    found = set()
    for curve in (*angles.curves, *([angles.coronal] if angles.coronal else [])):
        found.add((angles.measured[curve.upper_end], "superior"))
        found.add((angles.measured[curve.lower_end], "inferior"))
    return found


def _plane(segmentationNode: Any, frame: BodyFrame, name: str, plate: Endplate, isEnd: bool) -> Any:
    node = slicer.vtkMRMLMarkupsPlaneNode()
    node.SetName(f"{frame.name} {name}")
    node = segmentationNode.GetScene().AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.SetNodeReferenceID(SPINE_ROLE, segmentationNode.GetID())
    node.SetAndObserveTransformNodeID(segmentationNode.GetTransformNodeID())
    right = np.array([1.0, 0.0, 0.0]) if frame.axes is None else frame.axes[:, 0]
    normal = plate.normal
    right = right - (right @ normal) * normal
    right /= np.linalg.norm(right)
    half = USUAL_HALF_MM if frame.half_mm is None else frame.half_mm[:2]
    node.SetPlaneType(node.PlaneTypePointNormal)
    node.SetSizeMode(node.SizeModeAbsolute)
    node.SetAxesWorld(right, np.cross(normal, right), normal)
    node.SetOriginWorld(plate.centre)
    node.SetSizeWorld(2 * float(half[0]), 2 * float(half[1]))
    node.SetLocked(True)
    display = node.GetDisplayNode()
    display.SetSelectedColor(*(END_COLOR if isEnd else PLATE_COLOR))
    display.SetPointLabelsVisibility(False)
    display.SetPropertiesLabelVisibility(isEnd)
    display.SetHandlesInteractive(False)
    return node


def _putTogether(nodes: Sequence[Any], segmentationNode: Any) -> None:
    """Put the planes into one folder beside the segmentation; an empty one goes."""
    scene = segmentationNode.GetScene()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    name = _("{name} endplate planes").format(name=segmentationNode.GetName())
    item = hierarchy.GetItemByDataNode(segmentationNode)
    parent = hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID()
    folder = hierarchy.GetItemChildWithName(parent, name)
    if nodes and not folder:
        folder = hierarchy.CreateFolderItem(parent, name)
    for node in nodes:
        own = hierarchy.GetItemByDataNode(node)
        if own:
            hierarchy.SetItemParent(own, folder)
        else:
            hierarchy.CreateItem(folder, node)
    if folder and not nodes and not hierarchy.GetNumberOfItemChildren(folder):
        hierarchy.RemoveItem(folder)
