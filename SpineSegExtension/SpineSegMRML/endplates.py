"""Endplates on a film as Markups lines, one each, that a user may drag: to corners and back.

A line belongs to a film by a node reference and knows its endplate ("T1 superior") by an
attribute, so all of it is saved with the scene. What a method has found is kept apart, on the
film's node: a line that is not where the method saw it is a user's work.

Of a line's two points the first is the left one in the upright picture (on a lateral film the back
one). On a frontal film a user may place or drag them either way round.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from spineseg.measure.upright import quarters_to_upright
from spineseg.methods.film_result import AP

from SpineSegMRML import segmentations
from SpineSegMRML.films import FilmPlace
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.names import levelNames
from SpineSegMRML.overlays import confidenceColor

__all__ = [
    "FILM_ROLE",
    "INFERIOR",
    "SUPERIOR",
    "Key",
    "Plates",
    "addLine",
    "colorLines",
    "cornersOf",
    "folderOf",
    "linesOf",
    "platesOf",
    "pointsOf",
    "putInFolder",
    "putPoints",
    "remember",
    "restore",
    "setLines",
]

SUPERIOR, INFERIOR = "superior", "inferior"
FILM_ROLE = "SpineSegFilm"
"""Role of a line's reference to its film; of what is drawn on a film, too."""
ENDPLATE = "SpineSeg.Endplate"
STILL_PX = 0.01
"""A line that lies so near to what was found was not moved."""
BY_HAND = (0.35, 0.75, 1.0)
UNKNOWN = (1.0, 0.85, 0.3)  # of a method that does not say how sure it is

Key = tuple[str, str]
"""Level, and SUPERIOR or INFERIOR."""
Points = NDArray[np.float64]
_ORDER = {name: place for place, name in enumerate(levelNames())}
_ROWS = {SUPERIOR: slice(0, 2), INFERIOR: slice(2, 4)}


@dataclass(frozen=True)
class Plates:
    """The endplates of a film as they are now.

    Attributes
    ----------
    levels : tuple of str
        From the top.
    corners : (n, 4, 2) float64
        In pixels, as in `spineseg.methods.film_result.FilmResult`; NaN where one is not placed.
    edited : frozenset of (str, str)
        Endplates that a user has placed or moved.
    """

    levels: tuple[str, ...]
    corners: Points
    edited: frozenset[Key]


def linesOf(filmNode: Any) -> dict[Key, Any]:
    """Return the endplates' lines on a film, from the top; of two for one endplate the first."""
    found: dict[Key, Any] = {}
    for node in _referring(filmNode, "vtkMRMLMarkupsLineNode"):
        level, _space, which = (node.GetAttribute(ENDPLATE) or "").rpartition(" ")
        if level in _ORDER and which in _ROWS:
            found.setdefault((level, which), node)
    return dict(sorted(found.items(), key=lambda item: _rank(item[0])))


def _rank(key: Key) -> tuple[int, int]:
    return _ORDER[key[0]], (SUPERIOR, INFERIOR).index(key[1])


def _referring(filmNode: Any, className: str) -> list[Any]:
    """Return the nodes of a class that belong to a film."""
    scene, filmId = filmNode.GetScene(), filmNode.GetID()
    if scene is None:
        return []
    nodes = scene.GetNodesByClass(className)
    every = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
    return [node for node in every if node.GetNodeReferenceID(FILM_ROLE) == filmId]


def pointsOf(lineNode: Any, place: FilmPlace) -> Points | None:
    """Return a line's points (2, 2) in pixels; None while they are not both placed."""
    if lineNode.GetNumberOfControlPoints() < 2:
        return None
    world = []
    for index in range(2):
        if lineNode.GetNthControlPointPositionStatus(index) != lineNode.PositionDefined:
            return None
        position = [0.0, 0.0, 0.0]
        lineNode.GetNthControlPointPositionWorld(index, position)
        world.append(position)
    return place.pixels(np.array(world))


def putPoints(lineNode: Any, points: Points, place: FilmPlace) -> None:
    """Bring a line to two places (2, 2) in pixels."""
    wasModified = lineNode.StartModify()
    for index, position in enumerate(place.ras(points)):
        if index < lineNode.GetNumberOfControlPoints():
            lineNode.SetNthControlPointPositionWorld(index, *position)
        else:
            lineNode.AddControlPointWorld(*position)
    lineNode.EndModify(wasModified)


def cornersOf(
    lines: Mapping[Key, Any], predicted: Mapping[Key, Points], place: FilmPlace, view: str = AP
) -> Plates:
    """Return lines as corners.

    Parameters
    ----------
    lines : mapping
        As `linesOf` gives them; those that are not placed yet are left out.
    predicted : mapping of (str, str) to (2, 2) ndarray
        What a method has found, in pixels. A line that was not moved is taken as it was found, to
        the last digit.
    place : FilmPlace
    view : {"ap", "lateral"}
    """
    rows: dict[str, Points] = {}
    edited = set()
    there = {key: pointsOf(node, place) for key, node in lines.items()}
    placed = {key: points for key, points in there.items() if points is not None}
    right = _rightOf(list(placed.values()))
    for (level, which), points in placed.items():
        found = predicted.get((level, which))
        if found is not None and np.abs(points - found).max() < STILL_PX:
            points = found
        else:
            edited.add((level, which))
            if view == AP:
                points = points[np.argsort(points @ right, kind="stable")]
        rows.setdefault(level, np.full((4, 2), np.nan))[_ROWS[which]] = points
    corners = np.array(list(rows.values()), dtype=float).reshape(-1, 4, 2)
    return Plates(tuple(rows), corners, frozenset(edited))


def _rightOf(plates: Sequence[Points]) -> Points:
    """Return where the right of an upright picture is on a film, of endplates from the top."""
    middles = [points.mean(axis=0) for points in plates]
    quarters = quarters_to_upright(np.array(middles).reshape(-1, 2))
    return np.array([(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][quarters])


def platesOf(levels: Collection[str], corners: Points) -> dict[Key, Points]:
    """Return the endplates (2, 2) in corners (n, 4, 2), those that are there."""
    found = {
        (level, which): np.array(row[part])
        for level, row in zip(levels, corners, strict=True)
        for which, part in _ROWS.items()
    }
    return {key: points for key, points in found.items() if np.isfinite(points).all()}


def addLine(filmNode: Any, key: Key, points: Points | None = None) -> Any:
    """Add the line of an endplate to a film, in its folder; without points it is yet to be placed.

    Parameters
    ----------
    filmNode : vtkMRMLScalarVolumeNode
    key : (str, str)
        Level, and SUPERIOR or INFERIOR.
    points : (2, 2) ndarray, optional
        In pixels.
    """
    scene = filmNode.GetScene()
    node = slicer.vtkMRMLMarkupsLineNode()
    node.SetName(" ".join(key))
    node.SetAttribute(ENDPLATE, " ".join(key))
    node = scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.SetNodeReferenceID(FILM_ROLE, filmNode.GetID())
    node.SetAndObserveTransformNodeID(filmNode.GetTransformNodeID())
    # A length in mm beside each name would hide the spine, and be wrong where the pixels have none.
    if node.GetMeasurement("length") is not None:
        node.GetMeasurement("length").SetEnabled(False)
    display = node.GetDisplayNode()
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(False)
    display.SetGlyphScale(1.2)
    display.SetTextScale(2.0)
    display.SetLineThickness(0.3)
    if points is not None:
        putPoints(node, points, FilmPlace(filmNode))
    putInFolder(node, filmNode)
    return node


def folderOf(filmNode: Any) -> int:
    """Return the subject-hierarchy folder of a film's endplates, 0 if there is none yet."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(filmNode.GetScene())
    for node in _referring(filmNode, "vtkMRMLMarkupsNode"):
        item = hierarchy.GetItemByDataNode(node)
        parent = hierarchy.GetItemParent(item) if item else 0
        if parent and hierarchy.GetItemLevel(parent) == "Folder":
            return int(parent)
    return 0


def putInFolder(node: Any, filmNode: Any) -> None:
    """Put a node that belongs to a film into the film's folder; make that if need be."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(filmNode.GetScene())
    folder = folderOf(filmNode)
    if not folder:
        film = hierarchy.GetItemByDataNode(filmNode)
        parent = hierarchy.GetItemParent(film) if film else hierarchy.GetSceneItemID()
        name = _("{film} endplates").format(film=filmNode.GetName())
        folder = hierarchy.CreateFolderItem(parent, name)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, folder)
    else:
        hierarchy.CreateItem(folder, node)


def setLines(
    filmNode: Any, plates: Mapping[Key, Points], keep: Collection[Key] = frozenset()
) -> None:
    """Make a film's lines show endplates; add and remove lines where need be.

    Parameters
    ----------
    filmNode : vtkMRMLScalarVolumeNode
    plates : mapping of (str, str) to (2, 2) ndarray
        In pixels.
    keep : collection of (str, str)
        Endplates whose lines stay as they are.
    """
    place, lines = FilmPlace(filmNode), linesOf(filmNode)
    for key, node in lines.items():
        if key not in plates and key not in keep:
            segmentations.removeNode(node)
    for key, points in plates.items():
        if key not in lines:
            addLine(filmNode, key, points)
        elif key not in keep:
            putPoints(lines[key], points, place)


def colorLines(
    filmNode: Any, confidence: Mapping[str, float], edited: Collection[Key], names: bool = False
) -> None:
    """Colour a film's lines: from red (unsure) to green (sure), and blue where a user was at work.

    Parameters
    ----------
    filmNode : vtkMRMLScalarVolumeNode
    confidence : mapping of str to float
        0 to 1, by level.
    edited : collection of (str, str)
    names : bool
        Whether the views show the superior endplates' names.
    """
    for key, node in linesOf(filmNode).items():
        sure = confidence.get(key[0])
        color = UNKNOWN if sure is None else confidenceColor(sure)
        display = node.GetDisplayNode()
        if display is not None:
            display.SetSelectedColor(*(BY_HAND if key in edited else color))
            display.SetPropertiesLabelVisibility(names and key[1] == SUPERIOR)


def remember(filmNode: Any) -> dict[Key, Points]:
    """Return where a film's lines are now, for `restore`."""
    place = FilmPlace(filmNode)
    found = {key: pointsOf(node, place) for key, node in linesOf(filmNode).items()}
    return {key: points for key, points in found.items() if points is not None}


def restore(filmNode: Any, before: Mapping[Key, Points]) -> None:
    """Bring a film's lines back to where they were; lines that came since are removed."""
    setLines(filmNode, before)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(filmNode.GetScene())
    if not linesOf(filmNode):
        name = _("{film} endplates").format(film=filmNode.GetName())
        item = hierarchy.GetItemByDataNode(filmNode)
        parent = hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID()
        folder = hierarchy.GetItemChildWithName(parent, name)
        if folder and not hierarchy.GetNumberOfItemChildren(folder):
            hierarchy.RemoveItem(folder)
