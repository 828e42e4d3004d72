"""The level of one vertebra, counted from those beside it whose level is known.

The distance to a neighbour tells whether it is the next one or the next but one: body centres of
real spines are as far apart as `level_statistics` says, give or take the patient's size. Where
the distance fits neither, or two neighbours contradict each other, the level stays unsure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.labels import USUAL_VERTEBRAE, VERTEBRAE, Level, by_verse, is_vertebra
from spineseg.methods.level_statistics import SPACING

__all__ = ["Guess", "level_beside"]

Point = tuple[float, float, float]

_FARTHEST = 2  # levels that are counted without seeing those between
# Largest deviation, as a log of the ratio: half the way to the next count, less a little.
_TOLERANCE = {1: 0.3, 2: 0.17}
_AS_T12_L1 = ("T12", "L1")


@dataclass(frozen=True)
class Guess:
    """A level's name, or None; and what a user should know about it, or nothing."""

    level: str | None = None
    warning: str = ""


def level_beside(centers: Sequence[ArrayLike], known: Mapping[int, Point]) -> Guess:
    """Name a vertebra by the known ones above and below it.

    Parameters
    ----------
    centers : sequence of array_like (3,)
        The vertebra's centre, RAS mm: of its body, and of the whole. Known ones may be either.
    known : mapping of int to tuple
        Centroid of each label that is known, RAS mm; those of unsure level are passed over.
    """
    named = {by_verse(n): np.asarray(p) for n, p in known.items() if _has_level(n)}
    if not named:
        return Guess()
    order = [v for v in VERTEBRAE if v in USUAL_VERTEBRAE or v in named]
    own = [np.asarray(center, dtype=float) for center in centers]
    scale = _scale(order, named)
    guesses: list[Guess] = []
    for down in (1, -1):  # from the neighbour above downwards, and from the one below upwards
        side = [v for v in named if down * (named[v][2] - own[0][2]) > 0]
        if side:
            nearest = min(side, key=lambda v: _away(own, named[v]))
            away = _away(own, named[nearest])
            guesses.append(_count(order, nearest, down, away, scale))
    return _agreed(guesses)


def _has_level(label: int) -> bool:
    return is_vertebra(label) and label <= max(v.verse for v in VERTEBRAE)


def _away(own: Sequence[NDArray[np.float64]], other: NDArray[np.float64]) -> float:
    return float(min(np.linalg.norm(center - other) for center in own))


def _pitch(upper: Level, lower: Level) -> float:
    """Return the usual distance between two neighbours, mm; T13's are those of T12 and L1."""
    return SPACING.get((upper.name, lower.name), SPACING[_AS_T12_L1])[0]


def _scale(order: Sequence[Level], named: Mapping[Level, NDArray[np.float64]]) -> float:
    """Return how large the patient is beside the usual one, by the pairs that are known."""
    ratios = [
        float(np.linalg.norm(named[a] - named[b])) / _pitch(a, b)
        for a, b in zip(order, order[1:])
        if a in named and b in named
    ]
    # A single pair may be odd; no grown-up is half or twice the usual size.
    return float(np.clip(np.median(ratios), 0.7, 1.3)) if ratios else 1.0


def _count(order: Sequence[Level], start: Level, down: int, away: float, scale: float) -> Guess:
    """Count from a neighbour: how many steps fit the distance, and which level that is."""
    at, usual = order.index(start), 0.0
    where = "below" if down > 0 else "above"
    ahead = order[at + 1 :] if down > 0 else order[:at][::-1]
    if not ahead:
        what = "may be an additional vertebra or part of the sacrum" if down > 0 else "has no name"
        return Guess(None, f"Its level is unsure: what lies {where} {start.name} {what}.")
    chain = [start, *ahead[:_FARTHEST]]
    for steps in range(1, len(chain)):
        one, other = sorted(chain[steps - 1 : steps + 1], key=order.index)
        usual += _pitch(one, other) * scale
        if abs(np.log(away / usual)) > _TOLERANCE[steps]:
            continue
        name = chain[steps].name
        if steps == 1:
            return Guess(name)
        return Guess(
            name,
            f"It was named {name} by its distance from {start.name}, with {chain[1].name} between"
            " them not segmented: check the level.",
        )
    return Guess(
        None,
        f"Its level is unsure: it lies {away:.0f} mm {where} {start.name}, which fits no whole"
        " number of levels or is too far to count.",
    )


def _agreed(guesses: Sequence[Guess]) -> Guess:
    sure = [g for g in guesses if g.level is not None]
    names = {g.level for g in sure}
    if len(names) > 1:
        above, below = (g.level for g in sure)
        return Guess(
            None,
            f"Its level is unsure: counted from the vertebra above it is {above}, from the one"
            f" below {below}.",
        )
    if sure:
        return min(sure, key=lambda g: len(g.warning))  # a neighbour counts more than the next one
    return guesses[0]
