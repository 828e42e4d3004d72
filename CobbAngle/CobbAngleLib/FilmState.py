"""A film's node as it is now: what was found on it, what a user made of it, what that measures."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from spineseg import cobb_tables
from spineseg.errors import InputError
from spineseg.io.films import Film
from spineseg.measure.film import FilmMeasurement, measure_film
from spineseg.methods.film_result import AP, FilmResult
from SpineSegMRML import endplates, films
from SpineSegMRML.endplates import Key, Plates
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.names import levelNames

__all__ = ["FOUND", "VIEW", "FilmOutcome", "FilmState", "namesOf", "predictedOn", "stateOf"]

FOUND = "SpineSeg.Found"
"""Attribute of a film's node: JSON of what a method or a file has found on it."""
VIEW = "SpineSeg.View"
"""Attribute of a film's node: "ap" or "lateral", where the user has said so."""


@dataclass(frozen=True)
class FilmState:
    """A film as its lines are now.

    Attributes
    ----------
    film : Film
    method : str
        What found the endplates; empty if they were placed by hand.
    measured : FilmMeasurement or None
        None where there is too little to measure; `problem` says why.
    result : FilmResult
        What was measured.
    edited : frozenset of (str, str)
        Endplates that a user has placed or moved.
    problem : str
    """

    film: Film
    method: str
    measured: FilmMeasurement | None
    result: FilmResult
    edited: frozenset[Key]
    problem: str = ""


@dataclass(frozen=True)
class FilmOutcome:
    """What a measurement has put into the scene."""

    state: FilmState
    anglesNode: Any
    platesNode: Any
    seconds: float = 0.0

    @property
    def warnings(self) -> list[str]:
        """One sentence for everything that makes the result doubtful."""
        return list(self.state.measured.warnings) if self.state.measured else []

    def summary(self) -> str:
        """Return one sentence for a user."""
        measured = self.state.measured
        if measured is None:
            return self.state.problem
        rows = cobb_tables.film_angles(measured)
        parts = [f"{r['measure']} {r['value']:.1f}{r['unit']}" for r in rows if r["value"]]
        return (", ".join(parts) or _("No curve of 5° or more")) + "."


def stateOf(filmNode: Any, film: Film) -> FilmState:
    """Return a film as its lines are now.

    Parameters
    ----------
    filmNode : vtkMRMLScalarVolumeNode
    film : Film
        What it holds.
    """
    method, found, predicted = predictedOn(filmNode, film)
    lines = endplates.linesOf(filmNode)
    plates = endplates.cornersOf(lines, predicted, films.FilmPlace(filmNode), found.view)
    result = _asEdited(found, predicted, plates)
    if result is None:
        text = _("Measure the film, or place endplates by hand.")
        return FilmState(film, method, None, found, plates.edited, text)
    try:
        measured = measure_film(result, film)
    except InputError as error:
        return FilmState(film, method, None, result, plates.edited, str(error))
    if plates.edited and method:
        text = _("Placed or moved by hand: {names}.").format(names=namesOf(plates.edited))
        measured = replace(measured, warnings=(*measured.warnings, text))
    return FilmState(film, method, measured, result, plates.edited)


def predictedOn(filmNode: Any, film: Film | None = None) -> tuple[str, FilmResult, dict[Key, Any]]:
    """Return what found the endplates of a film, what it found, and the endplates (2, 2)."""
    film = film or films.filmFromNode(filmNode)
    text = filmNode.GetAttribute(FOUND)
    if not text:
        return "", FilmResult(view=filmNode.GetAttribute(VIEW) or film.view or AP), {}
    content = json.loads(text)
    method = str(content.pop("method"))
    found = FilmResult.from_json(content)
    if found.corners_px is not None:
        return method, found, endplates.platesOf(found.levels, found.corners_px)
    measured = measure_film(found, film)
    if measured.corners_px is None:
        return method, found, {}
    return method, found, endplates.platesOf(measured.levels, measured.corners_px)


def _asEdited(found: FilmResult, predicted: Mapping[Key, Any], plates: Plates) -> FilmResult | None:
    """Return what was found with the endplates as they are now; None if there is nothing."""
    now = set(endplates.platesOf(plates.levels, plates.corners))
    if not plates.edited and now == set(predicted):
        there = found.corners_px, found.centreline_px, found.angles_deg
        return found if any(part is not None for part in there) else None
    if not now:
        return None
    sure = dict(zip(found.levels, found.confidence, strict=False))
    return replace(
        found,
        levels=plates.levels,
        corners_px=plates.corners,
        centreline_px=None,
        angles_deg=None,
        # A reader is sure of what a method has not seen at all.
        confidence=tuple(sure.get(n, 1.0) for n in plates.levels) if sure else (),
    )


def namesOf(keys: Collection[Key]) -> str:
    """Return endplates as a list in words, from the top."""
    order = levelNames()
    inOrder = sorted(keys, key=lambda k: (order.index(k[0]), k[1] != endplates.SUPERIOR))
    return ", ".join(f"{level} {which}" for level, which in inOrder)
