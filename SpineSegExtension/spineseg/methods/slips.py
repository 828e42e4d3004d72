"""Notices where a walk slipped: a vertebra overlooked, or one that was counted twice.

The distances between neighbours are laid on the spacing of real spines, with every first level and
every slip between them weighed at once (a hidden Markov model whose states are levels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spineseg.labels import USUAL_VERTEBRAE
from spineseg.methods.level_statistics import SIZE_SD
from spineseg.methods.levels import spacing

__all__ = ["Slip", "find_slips"]

Floats = NDArray[np.float64]

_CHANCE = {0: 0.004, 1: 0.985, 2: 0.01, 3: 0.001}  # of a step over so many levels (assumed)
_HALVES = (0.5, 0.25)  # distance of two halves' centres over a spacing, and SD of its log
_CENTER_SD = 0.06  # of a log distance, from the centres' errors
_CUT_SD = 0.3
_TAIL = 4.0  # degrees of freedom of Student's t, as in `levels`
_SIZES = np.linspace(-0.6, 0.3, 13)  # log of a patient's size; the small ones are children
# Two more at the end: a T13 or an L6 is no slip.
_NAMES = (*(level.name for level in USUAL_VERTEBRAE), "L6", "L6")


@dataclass(frozen=True)
class Slip:
    """A doubtful distance.

    Attributes
    ----------
    upper : int
        Index of the vertebra above it.
    missing : int
        How many vertebrae seem to be missing there: 1 or 2; -1 where the two beside it seem to be
        one.
    chance : float
        Probability (0–1) of this, given all distances and regions.
    """

    upper: int
    missing: int
    chance: float


def find_slips(
    centers: Floats,
    cut: Sequence[bool],
    regions: Sequence[Floats | None] | None = None,
    least: float = 0.2,
) -> list[Slip]:
    """Return where the distances do not fit a spine.

    Parameters
    ----------
    centers : (n, 3) float64
        Of the bodies, RAS mm, from the top.
    cut : sequence of bool
        Which vertebrae the field of view cuts: their centres are rough.
    regions : sequence of (4,) float64 or None, optional
        Shares of C1–C2, C3–C7, thoracic and lumbar in each, as in `levels.Evidence`.
    least : float
        Probability from which on a slip is told.

    Returns
    -------
    list of Slip
        From the top.
    """
    n = len(centers)
    if n < 3:
        return []  # one distance has nothing to be compared with
    gaps = np.log(np.maximum(np.linalg.norm(np.diff(centers, axis=0), axis=1), 1.0))
    blur = np.array([_CUT_SD if a or b else 0.0 for a, b in zip(cut[:-1], cut[1:], strict=True)])
    seen = _seen(n, regions)
    steps = list(_CHANCE)
    chance = np.full((len(_SIZES), n - 1, len(steps)), -np.inf)
    total = np.full(len(_SIZES), -np.inf)
    for number, size in enumerate(_SIZES):
        moves = _moves(gaps, blur, float(size))
        chance[number], total[number] = _marginals(moves, seen)
        total[number] -= 0.5 * (size / (SIZE_SD + 0.1)) ** 2
    if not np.isfinite(total).any():
        return []  # more than a spine has
    weight = np.exp(total - np.logaddexp.reduce(total))
    share = np.einsum("s,sgk->gk", weight, np.exp(chance))
    slips = []
    for gap, row in enumerate(share):
        likeliest = max((k for k in range(len(steps)) if steps[k] != 1), key=lambda k: row[k])
        if 1 - row[steps.index(1)] >= least:
            slips.append(Slip(gap, steps[likeliest] - 1, float(row[likeliest])))
    return slips


def _seen(n: int, regions: Sequence[Floats | None] | None) -> Floats:
    """Log likelihood (vertebra, level) of the regions."""
    own = np.array(["CTL".index(name[0]) + (name not in ("C1", "C2")) for name in _NAMES])
    result = np.zeros((n, len(_NAMES)))
    for row, share in zip(result, regions or [None] * n, strict=True):
        if share is not None:
            row += np.log(0.05 + 0.95 * np.asarray(share)[own])
    return result


def _moves(gaps: Floats, blur: Floats, size: float) -> Floats:
    """Log weight (gap, step, upper level) of each step; -inf beyond the lowest level."""
    pairs = [spacing(a, b) for a, b in zip(_NAMES[:-1], _NAMES[1:], strict=True)]
    m = len(_NAMES)
    result = np.full((len(gaps), len(_CHANCE), m), -np.inf)
    for number, (step, chance) in enumerate(_CHANCE.items()):
        for upper in range(m - step):
            if step == 0:
                mm, sd = _HALVES[0] * pairs[min(upper, m - 2)][0], _HALVES[1]
            else:
                mm = sum(pair[0] for pair in pairs[upper : upper + step])
                sd = max(pair[1] for pair in pairs[upper : upper + step])
            scale = np.sqrt(sd**2 + _CENTER_SD**2 + blur**2)
            off = (gaps - np.log(mm) - size) / scale
            fit = -(_TAIL + 1) / 2 * np.log1p(off**2 / _TAIL) - np.log(scale)
            result[:, number, upper] = fit + np.log(chance)
    return result


def _marginals(moves: Floats, seen: Floats) -> tuple[Floats, float]:
    """Return log P (gap, step), and the log likelihood of all, by forward and backward sums."""
    n, m = seen.shape
    before, after = np.full((n, m), -np.inf), np.zeros((n, m))
    before[0] = seen[0]
    for gap in range(n - 1):
        for number, step in enumerate(_CHANCE):
            came = before[gap, : m - step] + moves[gap, number, : m - step]
            before[gap + 1, step:] = np.logaddexp(before[gap + 1, step:], came)
        before[gap + 1] += seen[gap + 1]
    total = float(np.logaddexp.reduce(before[-1]))
    result = np.full((n - 1, len(_CHANCE)), -np.inf)
    for gap in range(n - 2, -1, -1):
        after[gap] = -np.inf
        for number, step in enumerate(_CHANCE):
            goes = moves[gap, number, : m - step] + (seen[gap + 1] + after[gap + 1])[step:]
            after[gap, : m - step] = np.logaddexp(after[gap, : m - step], goes)
            result[gap, number] = np.logaddexp.reduce(before[gap, : m - step] + goes) - total
    return result, total
