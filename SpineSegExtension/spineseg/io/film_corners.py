"""Reading the corners of one film from a file: a result, or a table of landmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from spineseg.errors import InputError, SpineSegError
from spineseg.io.film_tables import find_film_truths
from spineseg.io.films import Film
from spineseg.methods.film_result import FilmResult

__all__ = ["read_corners"]

_KNOWN = "Give a result.json of spineseg cobb, or a landmarks.csv (docs/cobb.md)."


def read_corners(path: str | Path, film: Film) -> FilmResult:
    """Return the corners that a file has for a film.

    Parameters
    ----------
    path : path
        ``result.json`` of ``spineseg cobb``, or ``landmarks.csv`` beside its films, in which the
        film is found by its name.
    film : Film

    Raises
    ------
    InputError
        The file can't be read, is no such file, or has no corners for this film.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        return _result(path, film)
    if path.suffix.lower() != ".csv":
        raise InputError(f"{path.name} is no file of corners.", _KNOWN)
    for truth in find_film_truths(path.parent):
        if truth.path.name == film.name and truth.known.any():
            corners = truth.corners_on(film.width_px, film.height_px)
            return FilmResult(truth.levels, corners, view=truth.view)
    raise InputError(f"{path.name} has no row for {film.name}.", _KNOWN)


def _result(path: Path, film: Film) -> FilmResult:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        if content["kind"] != "film" or content["corners_px"] is None:
            raise ValueError("no corners")
        found = FilmResult(
            levels=tuple(content["levels"]),
            corners_px=np.array(content["corners_px"], dtype=np.float64),
            confidence=tuple(content["confidence"]),
            view=content["view"],
        )
    except (OSError, KeyError, TypeError, ValueError, SpineSegError) as error:
        raise InputError(f"{path.name} holds no corners of a film.", _KNOWN, repr(error)) from error
    assert found.corners_px is not None
    if np.nanmax(found.corners_px) > 2 * max(film.width_px, film.height_px):
        raise InputError(
            f"The corners in {path.name} lie outside of {film.name}.",
            "Choose the result of this film.",
        )
    return found
