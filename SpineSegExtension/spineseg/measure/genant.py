"""Which vertebrae are compressed, how much and in what way: Genant's grades by stated rules.

Each reference (`REFERENCES`) says how high a vertebra should be in front, in the middle and behind,
if it can. What is lost at each place is the median of what the references say, and the greater loss
of front and middle gives the grade: 1 from 20 %, 2 from 25 %, 3 from 40 % (Genant et al., J Bone
Miner Res 1993;8:1137–1148). Fractured vertebrae are no reference for others: they are left out, and
all is measured again until the choice of those stays the same.

`spineseg.measure.mimics` then says what looks like a fracture and is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spineseg import labels
from spineseg.measure.deformity import (
    BICONCAVE,
    CRUSH,
    CRUSHED,
    GRADES,
    WEDGE,
    grade_of,
    kind_of,
    loss_of,
)
from spineseg.measure.extent import EXTENTS, extent_words, extents_of, usual_extent
from spineseg.measure.vertebra_body import PLACES, VertebraBody
from spineseg.phantom.morphometry import SIZES

__all__ = [
    "BICONCAVE", "CRUSH", "GRADES", "REFERENCES", "WEDGE", "Graded", "Reference", "Spine",
    "grade_of", "grade_spine", "kind_of", "loss_of", "norm_of",
]  # fmt: skip

Floats = NDArray[np.float64]

ANTERIOR, MIDDLE, POSTERIOR = range(3)
_AROUND = 2  # neighbours on each side
_FARTHEST = 4  # levels
_FARTHEST_ALONE = 2  # the same, where it is the only sound one
_FOR_SCALE = 4  # vertebrae that the patient's own scale needs
_ROUNDS = 6
_HOLLOW = 0.90  # middle height of a mask, of the mean of its front and back height
#: Front height of sound vertebrae, of the back one. Thoracic ones are a little lower in front,
#: those of the thoracolumbar junction most, lumbar ones higher the lower they are. Rounded by hand
#: from what phantom/chain.py draws (Panjabi 1991, 1992) and what CT masks of lordotic spines show.
_FRONT = {"T11": 0.95, "T12": 0.95, "L1": 0.98, "L2": 1.01, "L3": 1.04, "L4": 1.06, "L5": 1.16,
          "L6": 1.16}  # fmt: skip
_FRONT_THORACIC = 0.96


@dataclass(frozen=True, eq=False)
class Spine:
    """What references look at.

    Attributes
    ----------
    names : tuple of str
        Of the vertebrae with heights, from the top.
    at : tuple of int
        Each one's place in the spine, in levels: gaps count.
    heights : (N, 3) float64
        Front, middle and back heights in the middle plane, mm; (N, 1) where areas or
        volumes are compared in the same way.
    norms : (N, 3) float64
        The same of an average adult; of unsure levels, the shape alone.
    known : bool
        Whether all levels are known.
    out : (N,) bool
        Taken for fractured, so no reference for others.
    """

    names: tuple[str, ...]
    at: tuple[int, ...]
    heights: Floats
    norms: Floats
    known: bool
    out: NDArray[np.bool_]


@dataclass(frozen=True)
class Reference:
    """A rule that says how high a vertebra should be.

    Attributes
    ----------
    name : str
    text : str
        For evidence: "against …".
    source : str
        Who compares so.
    expected : callable
        Of a `Spine` and a vertebra's number in it: (3,) mm, NaN where the rule says nothing.
    by_back : bool
        It rests on the vertebra's own back height: it has no say where the others find that low.
    """

    name: str
    text: str
    source: str
    expected: Callable[[Spine, int], Floats]
    by_back: bool = False


@dataclass(frozen=True, eq=False)
class Graded:
    """One vertebra's grade and what it rests on.

    Attributes
    ----------
    body : VertebraBody
    problem : str
        Why it is not evaluable; empty where it is.
    grade : int or None
        Genant's, 0 to 3; None where not evaluable.
    kind : str or None
        wedge, biconcave or crush; None for grade 0.
    loss : (3,) float64 or None
        Share of the height lost in front, in the middle and behind; negative where higher.
    by_reference : mapping of str to (3,) float64
        The same by each reference that applies.
    lost : mapping of str to float
        Share of the area and of the volume that is lost (`spineseg.measure.extent.EXTENTS`), the
        median over neighbours and levels; what is not known is left out.
    mimics : tuple of str
        Names of what looks like a fracture here and is none.
    evidence : tuple of str
        Sentences for people.
    """

    body: VertebraBody
    problem: str = ""
    grade: int | None = None
    kind: str | None = None
    loss: Floats | None = None
    by_reference: Mapping[str, Floats] = field(default_factory=dict)
    lost: Mapping[str, float] = field(default_factory=dict)
    mimics: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()


def norm_of(name: str) -> Floats | None:
    """Return front, middle and back height (3,) of an average adult's mask, mm; None if unknown."""
    size = SIZES.get(name)
    if size is None:
        return None
    front = size.height * _FRONT.get(name, _FRONT_THORACIC if name[0] == "T" else 1.0)
    return np.array([front, _HOLLOW * (front + size.height) / 2, size.height])


# -- references -----------------------------------------------------------------------------------


def _own_back(spine: Spine, n: int) -> Floats:
    norm = spine.norms[n]
    expected = spine.heights[n, POSTERIOR] * norm / norm[POSTERIOR]
    expected[POSTERIOR] = np.nan
    return np.asarray(expected)


def _neighbours(spine: Spine, n: int) -> Floats:
    sides = []
    for step in (-1, 1):
        near = [
            m for m in range(n + step, len(spine.names) if step > 0 else -1, step)
            if not spine.out[m] and abs(spine.at[m] - spine.at[n]) <= _FARTHEST
        ][:_AROUND]  # fmt: skip
        if near:
            weight = [1.0 / abs(spine.at[m] - spine.at[n]) for m in near]
            shares = spine.heights[near] / spine.norms[near]
            sides.append((np.average(shares, axis=0, weights=weight), near))
    near = [m for _, both in sides for m in both]
    if not near or (len(near) == 1 and abs(spine.at[near[0]] - spine.at[n]) > _FARTHEST_ALONE):
        return np.full(spine.heights.shape[1], np.nan)
    return np.asarray(np.mean([share for share, _ in sides], axis=0) * spine.norms[n])


def _level(spine: Spine, n: int) -> Floats:
    use = [m for m in range(len(spine.names)) if m != n and not spine.out[m]]
    if not spine.known or len(use) < _FOR_SCALE:
        return np.full(spine.heights.shape[1], np.nan)
    share = (spine.heights[use] / spine.norms[use]).mean(axis=1)
    at = np.asarray(spine.at)[use]
    slope, base = _line(at.astype(float), share)
    return np.asarray((base + slope * spine.at[n]) * spine.norms[n])


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Return slope and base of Theil's and Sen's line: the median of all pairs' slopes."""
    a, b = np.triu_indices(len(x), 1)
    apart = x[b] != x[a]
    slopes = (y[b] - y[a])[apart] / (x[b] - x[a])[apart]
    slope = float(np.median(slopes)) if len(slopes) else 0.0
    return slope, float(np.median(y - slope * x))


REFERENCES = (
    Reference(
        "own",
        "its own back height",
        "Genant et al., J Bone Miner Res 1993;8:1137–1148: heights of the same vertebra; with the"
        " usual shape of its level, as in Eastell et al., J Bone Miner Res 1991;6:207–215",
        _own_back,
        by_back=True,
    ),
    Reference(
        "neighbours",
        "its neighbours",
        "Genant et al. 1993: adjacent vertebrae; two above and two below, as in McCloskey et al.,"
        " Osteoporos Int 1993;3:138–147, each by the usual height of its level",
        _neighbours,
    ),
    Reference(
        "level",
        "the usual heights of the patient's other levels",
        "Minne et al., Bone Miner 1988;3:335–349: heights by level over the patient's own scale;"
        " phantom/morphometry.py's heights (Panjabi et al. 1991, 1992, corrected by CT)",
        _level,
    ),
)
"""The rules, any of which may be left out or joined by another."""


# -- grading --------------------------------------------------------------------------------------


def grade_spine(
    bodies: Sequence[VertebraBody], references: Sequence[Reference] = REFERENCES
) -> list[Graded]:
    """Grade the vertebrae of a spine, from the top.

    Parameters
    ----------
    bodies : sequence of VertebraBody
        From `spineseg.measure.vertebra_body.measure_bodies`, some perhaps with moved points.
    references : sequence of Reference
        What they are compared with.

    Returns
    -------
    list of Graded
        One for each body, in their order; those that can't be graded say why.
    """
    from spineseg.measure.mimics import lowered

    graded = [Graded(body, _problem(body)) for body in bodies]
    use = [n for n, one in enumerate(graded) if not one.problem]
    if not use:
        return graded
    spine = _spine(bodies, use)
    losses: list[dict[str, Floats]] = []
    for _ in range(_ROUNDS):
        losses = [_losses(spine, m, references) for m in range(len(use))]
        out = np.array([loss_of(_median(one, references)) >= GRADES[0] for one in losses])
        if (out == spine.out).all():
            break
        spine = Spine(spine.names, spine.at, spine.heights, spine.norms, spine.known, out)
    lost = _extents_lost(spine, [bodies[n] for n in use], references)
    for m, n in enumerate(use):
        loss = _median(losses[m], references)
        grade = grade_of(loss_of(loss))
        extent = extent_words(lost[m], grade) if grade else ""
        graded[n] = Graded(
            bodies[n],
            grade=grade,
            kind=kind_of(loss) if grade else None,
            loss=loss,
            by_reference=losses[m],
            lost=lost[m],
            evidence=(*_evidence(loss, losses[m], references), *([extent] if extent else [])),
        )
    return lowered(graded)


def _problem(body: VertebraBody) -> str:
    if body.points is None:
        return body.problem
    if body.name[0] == "C":
        return "the grades are for thoracic and lumbar vertebrae"
    return ""


def _spine(bodies: Sequence[VertebraBody], use: Sequence[int]) -> Spine:
    heights = np.array([list((bodies[n].heights_mm or {}).values()) for n in use])
    names = tuple(bodies[n].name for n in use)
    order = [level.name for level in labels.VERTEBRAE]
    known = all(name in order for name in names)
    if known:
        # T13 and L6, where there are any, stand between their neighbours: count what is there.
        there = [name for name in order if name in {b.name for b in bodies} or name in _usual()]
        at = tuple(there.index(name) for name in names)
        norms = np.array([norm_of(name) for name in names])
    else:
        at = tuple(bodies[n].label for n in use)
        norms = np.tile([1.0, _HOLLOW, 1.0], (len(use), 1))
    # To begin with, a vertebra much lower than the line through all is no reference.
    share = (heights / norms).min(axis=1)
    slope, base = _line(np.asarray(at, dtype=float), share)
    line = base + slope * np.asarray(at)
    out = share < 0.8 * line if len(use) >= _FOR_SCALE else np.zeros(len(use), dtype=bool)
    return Spine(names, at, heights, norms, known, np.asarray(out))


def _usual() -> set[str]:
    return {level.name for level in labels.USUAL_VERTEBRAE}


def _losses(spine: Spine, n: int, references: Sequence[Reference]) -> dict[str, Floats]:
    found = {}
    for reference in references:
        expected = reference.expected(spine, n)
        if np.isfinite(expected).any():
            found[reference.name] = 1.0 - spine.heights[n] / expected
    return found


def _extents_lost(
    spine: Spine, bodies: Sequence[VertebraBody], references: Sequence[Reference]
) -> list[dict[str, float]]:
    """Return the shares of area and volume that each lost, by the references but its own back."""
    values = np.array([extents_of(body) for body in bodies])
    usual = np.ones(values.shape)
    if spine.known:
        means = spine.norms.mean(axis=1)
        usual = np.array([usual_extent(b.name, m) for b, m in zip(bodies, means, strict=True)])
    others = [reference for reference in references if not reference.by_back]
    lost: list[dict[str, float]] = [{} for _ in bodies]
    for column, name in enumerate(EXTENTS):
        one = slice(column, column + 1)
        sizes = replace(spine, heights=values[:, one], norms=usual[:, one])
        for n, found in enumerate(lost):
            said = [float(share[0]) for share in _losses(sizes, n, others).values()]
            if said:
                found[name] = float(np.median(said))
    return lost


def _median(losses: Mapping[str, Floats], references: Sequence[Reference]) -> Floats:
    """Return the median loss (3,) over the references that have a say; 0 where none has."""
    own = {r.name for r in references if r.by_back}
    others = [loss for name, loss in losses.items() if name not in own]
    if others and float(np.nanmedian([loss[POSTERIOR] for loss in others])) >= CRUSHED:
        stack = np.stack(others)
    else:
        stack = np.stack([*losses.values(), np.full(3, np.nan)])
    known = np.isfinite(stack).any(axis=0)
    return np.where(known, np.nanmedian(np.where(known, stack, 0.0), axis=0), 0.0)


def _evidence(
    loss: Floats, by_reference: Mapping[str, Floats], references: Sequence[Reference]
) -> list[str]:
    worst = int(loss[:POSTERIOR].argmax())
    parts = [
        f"{100 * by_reference[r.name][worst]:.0f} % against {r.text}"
        for r in references
        if r.name in by_reference and np.isfinite(by_reference[r.name][worst])
    ]
    text = f"{PLACES[worst]} height lost: {100 * loss[worst]:.0f} %"
    told = [f"{text} ({', '.join(parts)})" if parts else text]
    if not {"neighbours", "level"} & set(by_reference):
        told.append("no sound neighbours to compare with: a crushed vertebra would not be seen")
    return told
