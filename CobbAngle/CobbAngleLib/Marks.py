"""What a method saw on a film, drawn there: centreline, boxes, boundary or saliency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from spineseg.methods.film_result import Mark
from SpineSegMRML import segmentations
from SpineSegMRML.endplates import FILM_ROLE, putInFolder
from SpineSegMRML.films import FilmPlace

__all__ = ["SEEN", "drawMarks", "marksOn"]

SEEN = "SpineSeg.Seen"
"""Attribute of the models that show what a method saw."""
COLORS = ((0.35, 0.8, 1.0), (1.0, 0.85, 0.3), (0.48, 0.88, 0.48), (1.0, 0.62, 0.94))


def drawMarks(filmNode: Any, marks: Sequence[Mark], shown: bool = True) -> None:
    """Draw what a method saw on a film, each kind as one model of lines and points.

    What was drawn before is moved, and removed where it was not seen any more.

    Parameters
    ----------
    filmNode : vtkMRMLScalarVolumeNode
    marks : sequence of Mark
    shown : bool
    """
    there = marksOn(filmNode)
    wanted = {mark.name: mark for mark in marks} if shown else {}
    for name, node in there.items():
        if name not in wanted:
            segmentations.removeNode(node)
    if not wanted:
        return
    place = FilmPlace(filmNode)
    for number, (name, mark) in enumerate(wanted.items()):
        node = there.get(name) or _added(filmNode, name, COLORS[number % len(COLORS)])
        node.SetAndObservePolyData(_lines(mark, place))


def marksOn(filmNode: Any) -> dict[str, Any]:
    """Return the models of what was seen on a film, by name."""
    nodes = filmNode.GetScene().GetNodesByClass("vtkMRMLModelNode")
    every = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
    return {
        node.GetAttribute(SEEN): node
        for node in every
        if node.GetAttribute(SEEN) and node.GetNodeReferenceID(FILM_ROLE) == filmNode.GetID()
    }


def _added(filmNode: Any, name: str, color: tuple[float, float, float]) -> Any:
    node = slicer.vtkMRMLModelNode()
    node.SetName(name.capitalize())
    node.SetAttribute(SEEN, name)
    node = filmNode.GetScene().AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.SetNodeReferenceID(FILM_ROLE, filmNode.GetID())
    display = node.GetDisplayNode()
    display.SetColor(*color)
    display.SetVisibility2D(True)
    display.SetSliceDisplayModeToProjection()  # lines in the film's own plane have no section
    display.SetSliceIntersectionThickness(2)
    display.SetPointSize(4)
    putInFolder(node, filmNode)
    return node


def _lines(mark: Mark, place: FilmPlace) -> Any:
    """Return the mark as lines and points in RAS millimetres of the world."""
    points, cells, single = vtk.vtkPoints(), vtk.vtkCellArray(), vtk.vtkCellArray()
    for line in mark.lines():
        cells.InsertNextCell(len(line))
        for position in place.ras(line):
            cells.InsertCellPoint(points.InsertNextPoint(*position))
    if mark.kind == "points":
        for position in place.ras(np.asarray(mark.points_px)):
            single.InsertNextCell(1)
            single.InsertCellPoint(points.InsertNextPoint(*position))
    found = vtk.vtkPolyData()
    found.SetPoints(points)
    found.SetLines(cells)
    found.SetVerts(single)
    return found
