"""What a loss of height is called: Genant's grades and the kinds of deformity, as stated rules.

A loss is the share of the height that front, middle and back have lost; where the height should
have been comes from the references of `spineseg.measure.genant`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BICONCAVE", "CRUSH", "CRUSHED", "GRADES", "GRADE_RULES", "KINDS", "WEDGE", "GradeRule", "Kind",
    "grade_of", "kind_of", "loss_of",
]  # fmt: skip

Floats = NDArray[np.float64]

WEDGE, BICONCAVE, CRUSH = "wedge", "biconcave", "crush"
_SHARED = 0.5  # of the greatest loss, lost behind too: the whole body is crushed
CRUSHED = 0.12
"""The least loss at the back of a crush."""
_GENANT = "Genant et al., J Bone Miner Res 1993;8:1137–1148"


@dataclass(frozen=True)
class GradeRule:
    """A grade and what it needs.

    Attributes
    ----------
    grade : int
    name, source : str
    least : float
        Share of the height in front or in the middle that is lost.
    area : float
        Share of the area in the middle plane that goes with it; it is told, and grades nothing.
    """

    grade: int
    name: str
    source: str
    least: float
    area: float


GRADE_RULES = (
    GradeRule(1, "mild", f"{_GENANT}: 20–25 % of a height, 10–20 % of the area", 0.20, 0.10),
    GradeRule(2, "moderate", f"{_GENANT}: 25–40 % of a height, 20–40 % of the area", 0.25, 0.20),
    GradeRule(3, "severe", f"{_GENANT}: 40 % of a height and of the area", 0.40, 0.40),
)
GRADES = tuple(rule.least for rule in GRADE_RULES)
"""The least loss of height of grade 1, 2 and 3."""


@dataclass(frozen=True)
class Kind:
    """A kind of deformity.

    Attributes
    ----------
    name, source : str
    text : str
        When it is this, for people.
    applies : callable
        Of a loss in front, in the middle and behind.
    """

    name: str
    text: str
    source: str
    applies: Callable[[float, float, float], bool]


KINDS = (
    Kind(
        CRUSH,
        f"the back lost {100 * CRUSHED:.0f} % or more, and at least half as much as the place that"
        " lost most",
        f"{_GENANT}, figure 1: all heights are lower; the limits are this program's own",
        lambda front, middle, back: back >= max(CRUSHED, _SHARED * max(front, middle)),
    ),
    Kind(
        BICONCAVE,
        "the middle lost more than the front",
        f"{_GENANT}, figure 1",
        lambda front, middle, back: middle > front,
    ),
    Kind(
        WEDGE,
        "the front lost most",
        f"{_GENANT}, figure 1",
        lambda front, middle, back: True,
    ),
)
"""The first that applies; any may be left out, or joined by another."""


def grade_of(loss: float) -> int:
    """Return Genant's grade of a loss of height, a share."""
    return sum(loss >= least for least in GRADES)


def loss_of(loss: Sequence[float] | Floats) -> float:
    """Return the loss that gives the grade: the greater one of front and middle.

    The back is only lower where those are, too (a crush); where it alone seems lower, a slanting or
    ragged wall was measured.
    """
    return float(max(loss[0], loss[1]))


def kind_of(loss: Sequence[float] | Floats, kinds: Sequence[Kind] = KINDS) -> str:
    """Return what a loss (front, middle, back) is, "" where no kind applies."""
    front, middle, back = (float(share) for share in loss)
    return next((kind.name for kind in kinds if kind.applies(front, middle, back)), "")
