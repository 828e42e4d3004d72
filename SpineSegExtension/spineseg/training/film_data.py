"""Films with landmarks to learn from: reading them, and folds that keep a patient together."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.films import Film, read_film
from ..methods.film_chain import LEVELS, frames_of
from ..methods.film_picture import Picture, prepare
from ..progress import Progress

Floats = NDArray[np.float64]
FOLDS = 5
#: Where the films lie in the project's data folder.
PLACE = "xray_ap"
_CORNERS = ("ul", "ur", "ll", "lr")
_LAYOUT = "A folder needs films.csv, landmarks.csv and images/: see docs/cobb-landmarks.md."


@dataclass(frozen=True)
class FilmCase:
    """A film on disk and what is known of it.

    Attributes
    ----------
    path : Path
    patient : str
        Films of one patient have the same.
    corners_px : (17, 4, 2) float64
        Upper left, upper right, lower left, lower right as seen in the picture; (x, y), pixels.
    angles_deg : tuple of float or None
        Major, upper and lower, as published with the film.
    """

    path: Path
    patient: str
    corners_px: Floats
    angles_deg: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class FilmItem:
    """A prepared film and its landmarks.

    Attributes
    ----------
    name, patient : str
    picture : Picture
    corners : (17, 4, 2) float64
        On the prepared film.
    """

    name: str
    patient: str
    picture: Picture
    corners: Floats


def film_cases(folder: Path) -> list[FilmCase]:
    """Read the tables of a folder of films (or of the folder above ``xray_ap``).

    Raises
    ------
    InputError
        A table is missing or damaged, or names no film that is there.
    """
    folder = folder / PLACE if (folder / PLACE).is_dir() else folder
    try:
        films = _rows(folder / "films.csv")
        landmarks = {row["file"]: row for row in _rows(folder / "landmarks.csv")}
        cases = [
            FilmCase(
                folder / "images" / row["file"],
                row["patient"],
                _corners(landmarks[row["file"]]),
                _angles(row),
            )
            for row in films
            if row["file"] in landmarks
        ]
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"The tables of films in {folder} can't be read.", _LAYOUT, repr(error)
        ) from error
    cases = [case for case in cases if case.path.is_file()]
    if not cases:
        raise InputError(f"There are no films with landmarks in {folder}.", _LAYOUT)
    return cases


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"There is no table {path}.", _LAYOUT, str(error)) from error


def _corners(row: dict[str, str]) -> Floats:
    return np.array(
        [
            [[float(row[f"v{n:02d}_{c}_{axis}"]) for axis in "xy"] for c in _CORNERS]
            for n in range(1, len(LEVELS) + 1)
        ]
    )


def _angles(row: dict[str, str]) -> tuple[float, float, float] | None:
    names = ("cobb_major_deg", "cobb_upper_deg", "cobb_lower_deg")
    if not all(row.get(name) for name in names):
        return None
    major, upper, lower = (float(row[name]) for name in names)
    return major, upper, lower


def folds_of(patients: Sequence[str], folds: int = FOLDS) -> NDArray[np.int64]:
    """Share films among folds of about one size, all films of a patient in one.

    The largest patients first, each into the emptiest fold; so the same films always give the
    same folds.
    """
    names, counts = np.unique(np.asarray(patients), return_counts=True)
    order = sorted(range(len(names)), key=lambda n: (-counts[n], names[n]))
    filled, chosen = [0] * folds, {}
    for n in order:
        fold = filled.index(min(filled))
        chosen[names[n]] = fold
        filled[fold] += int(counts[n])
    return np.array([chosen[p] for p in patients], dtype=np.int64)


def read_items(cases: Sequence[FilmCase], progress: Progress) -> list[FilmItem]:
    """Read and prepare films, uint8 in memory (some 0.4 MB each)."""
    items = []
    for number, case in enumerate(cases):
        progress("reading films", number / len(cases), case.path.name)
        picture = prepare(read_film(case.path))
        items.append(
            FilmItem(case.path.stem, case.patient, picture, picture.from_film(case.corners_px))
        )
    return items


def proportions(items: Sequence[FilmItem]) -> tuple[Floats, Floats]:
    """Return the mean distances between neighbours (16,) and widths (17,) of vertebrae.

    The distances are fractions of a film's mean distance, the widths of the distance to the
    neighbours, as `spineseg.methods.film_chain` takes them.
    """
    steps, widths = [], []
    for item in items:
        chain = item.corners.mean(axis=1)
        step = np.linalg.norm(np.diff(chain, axis=0), axis=1)
        steps.append(step / step.mean())
        across = np.linalg.norm(
            item.corners[:, [1, 3]].mean(axis=1) - item.corners[:, [0, 2]].mean(axis=1), axis=1
        )
        widths.append(across / frames_of(chain, np.ones(len(chain))).width)
    return np.median(steps, axis=0), np.median(widths, axis=0)


def wrong_films(folder: Path, progress: Progress, every: int = 4) -> list[Picture]:
    """Read lateral films, where the data folder has some, as what is no frontal film.

    Each `every`-th is left out, to see whether others are recognised.
    """
    images = sorted((folder / "xray_lateral" / "images").glob("*"))
    pictures = []
    for number, path in enumerate(images):
        progress("reading films", number / len(images), path.name)
        if number % every:
            film: Film = read_film(path)
            pictures.append(prepare(film))
    return pictures
