"""Corners that can't be right: a reason to look at a film before believing its angles.

The rules know only geometry. They find vertebrae whose corners are in the wrong order, that are
listed out of order, lie on top of another or outside of the film, one that was skipped, and
outlines that are too flat for bodies. A wedged or half vertebra is not doubted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.measure.cobb import LOWER, UPPER, checked_corners

__all__ = ["Doubt", "corner_doubts", "doubt_texts"]

Floats = NDArray[np.float64]
_ON_ANOTHER = 0.3  # of the usual distance between neighbours
_SKIPPED = 1.6  # of the distance that the neighbours on both sides have
_OUTSIDE = 0.01  # of the film's height
_FLAT = 0.42  # height of the middle one of all outlines, as a share of the way to the next


@dataclass(frozen=True)
class Doubt:
    """What is wrong with which vertebra.

    Attributes
    ----------
    vertebra : int or None
        Its place from the top; None where it is about the film as a whole.
    reason : str
        As a part of a sentence.
    """

    vertebra: int | None
    reason: str


def corner_doubts(corners_px: ArrayLike, size_px: tuple[float, float] | None = None) -> list[Doubt]:
    """Return what can't be right in the corners of a frontal film.

    Parameters
    ----------
    corners_px : (n, 4, 2) array_like
        Upper left, upper right, lower left, lower right of each vertebra from the top, (x, y).
    size_px : (width, height), optional
        Of the film.

    Raises
    ------
    InputError
        As `spineseg.measure.cobb.checked_corners`.
    """
    corners = checked_corners(corners_px)
    found = [Doubt(int(n), "its corners are in the wrong order") for n in _crossed(corners)]
    found += _misplaced(corners)
    if size_px is not None:
        limit = _OUTSIDE * size_px[1]
        beyond = (corners < -limit) | (corners > np.asarray(size_px, dtype=float) + limit)
        places = np.flatnonzero(beyond.any(axis=(1, 2)))
        found += [Doubt(int(n), "it reaches outside of the film") for n in places]
    heights = np.linalg.norm(
        corners[:, UPPER].mean(axis=1) - corners[:, LOWER].mean(axis=1), axis=1
    )
    if np.median(heights[:-1] / _steps(corners)) < _FLAT:
        found.append(Doubt(None, "the outlines are too flat for whole vertebral bodies"))
    return found


def doubt_texts(doubts: Sequence[Doubt], levels: Sequence[str]) -> tuple[str, ...]:
    """Return doubts as sentences for a user."""
    return tuple(
        f"{d.reason[0].upper()}{d.reason[1:]}."
        if d.vertebra is None
        else f"{levels[d.vertebra]} is doubtful: {d.reason}."
        for d in doubts
    )


def _steps(corners: Floats) -> Floats:
    """Return the distances (n − 1,) between the middles of neighbours, never 0."""
    steps = np.linalg.norm(np.diff(corners.mean(axis=1), axis=0), axis=1)
    return np.asarray(np.maximum(steps, 1e-6))


def _crossed(corners: Floats) -> NDArray[np.intp]:
    """Return the vertebrae whose four corners are no convex outline, turning clockwise."""
    outline = corners[:, [0, 1, 3, 2]]
    edges = np.roll(outline, -1, axis=1) - outline
    following = np.roll(edges, -1, axis=1)
    turns = edges[..., 0] * following[..., 1] - edges[..., 1] * following[..., 0]
    return np.flatnonzero((turns <= 0).any(axis=1))


def _misplaced(corners: Floats) -> list[Doubt]:
    centres, steps = corners.mean(axis=1), _steps(corners)
    usual = float(np.median(steps))
    # Down is where the upper half's middles go to reach the lower half's: sound with one odd row.
    half = len(centres) // 2
    down = np.median(centres[-half:], axis=0) - np.median(centres[:half], axis=0)
    down /= max(float(np.linalg.norm(down)), 1e-6)
    found = []
    for n in range(len(centres)):
        away = np.linalg.norm(centres - centres[n], axis=1)
        away[n] = np.inf
        if n > away.argmin() and away.min() < _ON_ANOTHER * usual:
            found.append(Doubt(n, "it lies on top of another vertebra"))
        elif n and (centres[n] - centres[n - 1]) @ down <= 0:
            found.append(Doubt(n, "it lies above the one before it"))
    wrong = {d.vertebra for d in found}
    for n in range(1, len(steps) - 1):
        near = (steps[n - 1] + steps[n + 1]) / 2
        if steps[n] > _SKIPPED * near and not wrong & {n - 1, n, n + 1, n + 2}:
            found.append(Doubt(n + 1, "one seems to be skipped above it"))
    return found
