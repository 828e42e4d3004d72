"""Films with landmarks to learn from: reading them, and folds that keep a patient together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.film_tables import FilmTruth, find_film_truths
from ..io.films import read_film
from ..methods.film_chain import frames_of
from ..methods.film_picture import Picture, prepare
from ..methods.film_prior import plate_tilts, tilt_statistics
from ..methods.film_result import AP, LATERAL
from ..progress import Progress

Floats = NDArray[np.float64]
FOLDS = 5
#: Where the films of each view lie in a data folder.
PLACES = {AP: "xray_ap", LATERAL: "xray_lateral"}
_LAYOUT = "Known layouts are in docs/cobb.md; lateral films are learned from with --view lateral."


@dataclass(frozen=True, eq=False)
class FilmItem:
    """A prepared film and its landmarks.

    Attributes
    ----------
    name, patient : str
    picture : Picture
    corners : (n, 4, 2) float64
        On the prepared film; NaN where an endplate is not known.
    fold : int
        From 0, of the folds that are learned from: a member of an ensemble leaves one out.
    """

    name: str
    patient: str
    picture: Picture
    corners: Floats
    fold: int = 0


def film_cases(folder: Path, view: str = AP) -> list[FilmTruth]:
    """Return the films of a folder (or of the one above `PLACES`) that show a view.

    Raises
    ------
    InputError
        A table is missing or damaged, or there is no film of this view whose vertebrae are known.
    """
    found = view_cases(folder, view)
    # A vertebra of which nothing is known breaks the chain: such a film can't be learned from.
    whole = [t for t in found if t.known.all()]
    if not whole:
        raise InputError(
            f"There are no {view} films with all their landmarks in {folder}.", _LAYOUT
        )
    return whole


def view_cases(folder: Path, view: str) -> list[FilmTruth]:
    """Return the films of a folder with a vertebra that is known and that show a view.

    One without a patient is one of its own.
    """
    folder = folder / PLACES[view] if (folder / PLACES[view]).is_dir() else folder
    every = find_film_truths(folder)
    found = [truth for truth in every if truth.view == view and truth.known.any()]
    return [t if t.patient else replace(t, patient=t.path.stem) for t in found]


def centres_of(corners: Floats) -> Floats:
    """Return the vertebrae's centres (n, 2): the means of what is known of their corners."""
    return np.asarray(np.nanmean(corners, axis=1))


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


def read_items(cases: Sequence[FilmTruth], progress: Progress) -> list[FilmItem]:
    """Read and prepare films, uint8 in memory (some 0.4 MB each)."""
    items = []
    for number, case in enumerate(cases):
        progress("reading films", number / len(cases), case.path.name)
        film = read_film(case.path)
        picture = prepare(film)
        corners = picture.from_film(case.corners_on(*film.array.shape[::-1]))
        items.append(FilmItem(case.path.stem, case.patient, picture, corners))
    return items


def proportions(items: Sequence[FilmItem]) -> tuple[Floats, Floats]:
    """Return the mean distances between neighbours (n − 1,) and widths (n,) of vertebrae.

    The distances are fractions of a film's mean distance, the widths of the distance to the
    neighbours, as `spineseg.methods.film_chain` takes them.
    """
    steps, widths = [], []
    for item in items:
        chain = centres_of(item.corners)
        step = np.linalg.norm(np.diff(chain, axis=0), axis=1)
        steps.append(step / step.mean())
        across = np.linalg.norm(item.corners[:, [1, 3]] - item.corners[:, [0, 2]], axis=2)
        width = np.nanmean(across, axis=1)
        widths.append(width / frames_of(chain, np.ones(len(chain))).width)
    return np.median(steps, axis=0), np.median(widths, axis=0)


def tilts(
    items: Sequence[FilmItem], digital: Sequence[FilmItem], mirrored: bool
) -> tuple[Floats, Floats]:
    """Return mean and covariance of the endplates' tilts, real and rendered films alike."""
    groups = [np.array([plate_tilts(item.corners) for item in part]) for part in (items, digital)]
    return tilt_statistics([group for group in groups if len(group)], mirrored)


def wrong_films(folder: Path, view: str, progress: Progress, every: int = 4) -> list[Picture]:
    """Read films of the other view, where the data folder has some, as what is none of this one.

    Each `every`-th is left out, to see whether others are recognised; more than 60 are not needed.
    """
    other = PLACES[AP if view == LATERAL else LATERAL]
    images = sorted((folder / other / "images").glob("*"))
    chosen = [path for number, path in enumerate(images) if number % every][:60]
    pictures = []
    for number, path in enumerate(chosen):
        progress("reading films", number / len(chosen), path.name)
        pictures.append(prepare(read_film(path)))
    return pictures
