"""Films and what the tests of the CobbAngle module do with them, as a user would."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tinycobb
import tinycobbworker
from spineseg.io.films import Film
from spineseg.methods.film_result import FilmResult
from SpineSegMRML import endplates, films
from SpineSegMRML.cobbjobs import FilmFound

WORKER = [sys.executable, str(Path(tinycobbworker.__file__))]
UPPER = ("T1", "superior")


def found(angle: float, **more: Any) -> FilmResult:
    """Return what the tiny method finds on a film that says this angle."""
    values = {"confidence": (0.9,) * 17, "warnings": ("Metal.",), **more}
    return FilmResult(tinycobb.LEVELS, tinycobb.corners(angle), **values)


def atOnce(film, method, **_):
    """Answer like the child, without one."""
    return FilmFound(tinycobb.NAME, found(float(film.array[0, 0])), 1.0)


def addFilm(scene, angle=40, **about):
    """Add a film that says its angle, upright."""
    return films.addFilmNode(scene, Film(tinycobb.picture(angle), name="film.png", **about))


def contents(application):
    """Return what a user would notice in the scene: nodes, their names, and the hierarchy."""
    scene = application.scene
    nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
    shown = [n for n in nodes if not n.GetHideFromEditors() or n.IsA("vtkMRMLVolumeNode")]
    items = application.subjectHierarchy().GetNumberOfItems()
    return sorted((n.GetClassName(), n.GetName()) for n in shown), items


def pixels(filmNode, key):
    """Return where an endplate's line is, in pixels."""
    return endplates.pointsOf(endplates.linesOf(filmNode)[key], films.FilmPlace(filmNode))


def drag(filmNode, key, point, by):
    """Move one point of an endplate's line by (x, y) pixels, as a view does: in the world."""
    node, place = endplates.linesOf(filmNode)[key], films.FilmPlace(filmNode)
    (position,) = place.ras(pixels(filmNode, key)[point] + np.array(by, float))
    # Not exactly on the film: a view's plane may lie beside it.
    position = position + 0.3 * np.cross(*np.diff(place.ras(np.eye(3)[:, :2]), axis=0))
    node.SetNthControlPointPositionWorld(point, *position)


def rows(tableNode):
    """Return a table's rows as mappings of texts."""
    names = [tableNode.GetColumnName(c) for c in range(tableNode.GetNumberOfColumns())]
    return [
        {name: tableNode.GetCellText(r, c) for c, name in enumerate(names)}
        for r in range(tableNode.GetNumberOfRows())
    ]
