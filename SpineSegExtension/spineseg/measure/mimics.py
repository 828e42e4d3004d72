"""What looks like a fractured vertebra and is none: named, and the grade lowered by stated rules.

Each `Mimic` looks at one vertebra among its neighbours. What it finds lowers the grade by one, and
only where the loss of height is below the mimic's own limit: no mimic hides a clear fracture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from spineseg.measure.deformity import GRADES, WEDGE, grade_of, kind_of, loss_of
from spineseg.measure.genant import Graded

__all__ = ["MIMICS", "Mimic", "lowered"]

_SHORT = 0.08  # lost at all three places against the usual heights
_EVEN = 0.11  # largest difference between the three losses of a short vertebra
_FLAT = 0.07  # more lost in the middle than at the rims: the endplate is depressed
_SHARED = 0.6  # of its loss, that a neighbour has too
_SORENSEN_DEG, _SORENSEN = 5.0, 3  # wedging, and how many vertebrae in a row have it
_IRREGULAR_MM = 1.8  # focal depression of an endplate
_NODE_MM = 2.2
_WEDGED = 0.08  # lost in front
_THICK_MM = 4.0  # slices
_JUNCTION = ("T11", "T12", "T13", "L1")


@dataclass(frozen=True)
class Mimic:
    """A rule that names what is no fracture.

    Attributes
    ----------
    name : str
        For people.
    source : str
    below : float
        It lowers the grade only of a loss below this; 0 where it never does.
    found : callable
        Of all vertebrae and a number: the evidence, or "" where it is not this.
    """

    name: str
    source: str
    below: float
    found: Callable[[Sequence[Graded], int], str]


def _beside(graded: Sequence[Graded], n: int) -> list[Graded]:
    return [
        graded[m] for m in (n - 1, n + 1) if 0 <= m < len(graded) and graded[m].loss is not None
    ]


def _depressed(one: Graded) -> float:
    """Return how much more is lost in the middle than at the rims."""
    assert one.loss is not None
    return float(one.loss[1] - (one.loss[0] + one.loss[2]) / 2)


def _short(graded: Sequence[Graded], n: int) -> str:
    own = graded[n].by_reference.get("level")
    if own is None or own.min() < _SHORT or np.ptp(own) > _EVEN or _depressed(graded[n]) > _FLAT:
        return ""
    for other in _beside(graded, n):
        its = other.by_reference.get("level")
        if its is not None and its.mean() >= _SHARED * own.mean() and np.ptp(its) <= 1.5 * _EVEN:
            return f"low at all three places, as {other.body.name} is, with flat endplates"
    return ""


def _wedged(one: Graded) -> bool:
    wedge = one.body.wedge_deg
    return one.loss is not None and wedge is not None and wedge >= _SORENSEN_DEG


def _rough(one: Graded) -> bool:
    return one.body.node_mm is not None and max(one.body.node_mm) >= _IRREGULAR_MM


def _scheuermann(graded: Sequence[Graded], n: int) -> str:
    if not _wedged(graded[n]):
        return ""
    first = last = n
    while first > 0 and _wedged(graded[first - 1]):
        first -= 1
    while last + 1 < len(graded) and _wedged(graded[last + 1]):
        last += 1
    row = graded[first : last + 1]
    if len(row) < _SORENSEN or not any(_rough(one) for one in row):
        return ""
    return (
        f"{len(row)} vertebrae in a row ({row[0].body.name} to {row[-1].body.name}) wedged by 5° or"
        " more, with irregular endplates"
    )


def _schmorl(graded: Sequence[Graded], n: int) -> str:
    nodes = graded[n].body.node_mm
    if nodes is None or max(nodes) < _NODE_MM or _depressed(graded[n]) > 2 * _FLAT:
        return ""
    which = "upper" if nodes[0] >= nodes[1] else "lower"
    return (
        f"focal depression of {max(nodes):.1f} mm in the {which} endplate, left out of the heights"
    )


def _junction(graded: Sequence[Graded], n: int) -> str:
    one = graded[n]
    if one.loss is None or one.body.name not in _JUNCTION or one.loss[0] < _WEDGED:
        return ""
    if kind_of(one.loss) != WEDGE or _depressed(one) > _FLAT / 2:
        return ""
    return "even wedging at the thoracolumbar junction, where vertebrae are lower in front"


def _degenerative(graded: Sequence[Graded], n: int) -> str:
    one = graded[n]
    if one.loss is None or one.loss[0] < _WEDGED or kind_of(one.loss) != WEDGE:
        return ""
    if _depressed(one) > _FLAT / 2:
        return ""
    for other in _beside(graded, n):
        assert other.loss is not None
        if other.loss[0] >= _WEDGED and other.loss.max() < GRADES[1]:
            return f"even wedging, as in {other.body.name}, with flat endplates"
    return ""


def _thick(graded: Sequence[Graded], n: int) -> str:
    body = graded[n].body
    if body.step_mm is None or body.step_mm < _THICK_MM or body.heights is None:
        return ""
    share = 100 * body.step_mm / float(body.heights.max())
    return f"slices {body.step_mm:.1f} mm apart, of which one is {share:.0f} % of its height"


MIMICS = (
    Mimic("short vertebral height", "Jiang et al., Osteoporos Int 2004;15:887–896 (ABQ)",
          GRADES[1], _short),
    Mimic("Scheuermann's disease", "Sørensen 1964: three adjacent vertebrae wedged by 5° or more",
          0.30, _scheuermann),
    Mimic("Schmorl's node", "Schmorl & Junghanns 1971; Jiang et al. 2004: focal, not the whole"
          " endplate", GRADES[1], _schmorl),
    Mimic("physiological wedging", "Lauridsen et al., Acta Radiol Diagn 1984;25:29–32: T11–L1 are"
          " 5–10 % lower in front", 0.22, _junction),
    Mimic("degenerative wedging", "Abdel-Hamid Osman et al., Bone 1994;15:437–442: in spinal"
          " osteoarthritis T6–T9 are 13 % lower in front than behind, in controls 8 %",
          0.22, _degenerative),
    Mimic("thick slices", "this program's own, on CTs with slices of 5 mm (2026): one slice more or"
          " less in a mask is a sixth of a lumbar height", GRADES[2], _thick),
)  # fmt: skip
"""The rules, in the order in which they are told; the first that applies lowers the grade."""


def lowered(graded: Sequence[Graded], mimics: Sequence[Mimic] = MIMICS) -> list[Graded]:
    """Return the vertebrae with their mimics named and, by those, their grades lowered."""
    return [_lowered(graded, n, mimics) for n in range(len(graded))]


def _lowered(graded: Sequence[Graded], n: int, mimics: Sequence[Mimic]) -> Graded:
    one = graded[n]
    if one.loss is None or one.grade is None:
        return one
    loss = loss_of(one.loss)
    told = [(mimic, text) for mimic in mimics if (text := mimic.found(graded, n))]
    names = tuple(mimic.name for mimic, _ in told)
    evidence = [*one.evidence, *(f"{mimic.name}: {text}" for mimic, text in told)]
    grade = one.grade
    if grade and any(loss < mimic.below for mimic, _ in told):
        grade -= 1
        evidence.append(f"so grade {grade} instead of {grade_of(loss)}")
    kind = one.kind if grade else None
    return replace(one, grade=grade, kind=kind, mimics=names, evidence=tuple(evidence))
