"""Steadies the directions of the vertebrae of a label map, whose endplates are rough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spineseg.measure.endplates import BodyFrame
from spineseg.measure.genant import norm_of
from spineseg.phantom.morphometry import SIZES

__all__ = ["normals", "steadied", "usual_half_wedge"]

Floats = NDArray[np.float64]

# How well a vertebra's direction is known, degrees, one standard deviation; on digital patients.
_PLATES_DEG = 0.6  # from the mean of its endplates
_MIRROR_DEG = 1.5  # sideways, from its plane of symmetry
_LINE_DEG = 2.0  # from the line to its neighbours' middles
_FAR = 2.0  # standard deviations; a slipped vertebra is on no line
# A half wedge (half the angle between both endplates) that is up to about this away from the usual
# one of its level is mostly bumps: sideways, where vertebrae are usually even, and forwards.
_WEDGE_DEG = (1.0, 1.5)


def steadied(frames: Sequence[BodyFrame]) -> list[BodyFrame]:
    """Weigh each vertebra's endplates with its symmetry and with the line through the bodies.

    Three things say which way a vertebra points: the mean of its endplates; its plane of symmetry,
    which contains its axis and whose lever, the processes, is long; and the line to its neighbours'
    middles, on which both point on average. They are joined by least squares, where a neighbour
    that has slipped counts less. The angle between its two endplates is kept where it is far from
    what is usual at its level, and drawn to that where bumps make as much of a difference.

    Parameters
    ----------
    frames : sequence of BodyFrame
        Neighbours in order, as `fit_bodies` gives them; those without both endplates stay as
        they are.
    """
    rows = [n for n, f in enumerate(frames) if f.upper is not None and f.lower is not None]
    if not rows:
        return list(frames)
    upper, lower = normals(frames, rows)
    mean = _unit(upper + lower)
    axes = _joined(frames, rows, mean)
    out = list(frames)
    for n, axis, half in zip(rows, axes, (upper - lower) / 2, strict=True):
        out[n] = _turned(frames[n], axis, half)
    return out


def _joined(frames: Sequence[BodyFrame], rows: Sequence[int], mean: Floats) -> Floats:
    """Return the axes (n, 3) of vertebrae by least squares."""
    count = len(rows)
    weight = 1.0 / np.radians([_PLATES_DEG, _MIRROR_DEG, _LINE_DEG])
    fixed = [np.kron(np.eye(count), np.eye(3)) * weight[0]]
    known = [mean.ravel() * weight[0]]
    for place, n in enumerate(rows):
        own = frames[n].axes
        if own is not None:
            row = np.zeros((1, 3 * count))
            row[0, 3 * place : 3 * place + 3] = own[:, 0] * weight[1]
            fixed.append(row)
            known.append(np.zeros(1))
    lines = [_line(frames, rows, place) for place in range(count - 1)]
    trust = np.ones(count - 1)
    found = mean
    for _ in range(3):
        matrix, wanted = list(fixed), list(known)
        for place, line in enumerate(lines):
            if line is not None:
                share, direction = line
                part = np.zeros((3, 3 * count))
                part[:, 3 * place : 3 * place + 3] = share * np.eye(3)
                part[:, 3 * place + 3 : 3 * place + 6] = (1 - share) * np.eye(3)
                matrix.append(part * weight[2] * trust[place])
                wanted.append(direction * weight[2] * trust[place])
        solved = np.linalg.lstsq(np.vstack(matrix), np.concatenate(wanted), rcond=None)[0]
        found = solved.reshape(-1, 3)
        for place, line in enumerate(lines):
            if line is not None:
                share, direction = line
                away = share * found[place] + (1 - share) * found[place + 1] - direction
                trust[place] = min(1.0, _FAR / max(weight[2] * float(np.linalg.norm(away)), 1e-9))
    return _unit(found)


def _line(
    frames: Sequence[BodyFrame], rows: Sequence[int], place: int
) -> tuple[float, Floats] | None:
    """Return a vertebra's share of, and the direction up, the line to it from the next one down."""
    first, second = rows[place], rows[place + 1]
    if second != first + 1:  # a neighbour in between is missing
        return None
    above, below = frames[first], frames[second]
    step = above.centre - below.centre
    heights = [f.half_mm[2] if f.half_mm is not None else 1.0 for f in (above, below)]
    return float(heights[0] / sum(heights)), step / np.linalg.norm(step)


def _turned(frame: BodyFrame, axis: Floats, half: Floats) -> BodyFrame:
    """Return a vertebra with this axis, and its half wedge drawn to the usual one."""
    right = frame.axes[:, 0] if frame.axes is not None else np.array([1.0, 0.0, 0.0])
    right = _unit(right - float(right @ axis) * axis)
    front = np.cross(axis, right)
    wedge = np.zeros(3)
    usual = (0.0, usual_half_wedge(frame.name))
    for side, mean, bump in zip((right, front), usual, np.radians(_WEDGE_DEG), strict=True):
        away = float(half @ side) - mean
        wedge += side * (mean + away**3 / (away**2 + bump**2))
    assert frame.upper is not None
    assert frame.lower is not None
    return replace(
        frame,
        upper=replace(frame.upper, normal=_unit(axis + wedge)),
        lower=replace(frame.lower, normal=_unit(axis - wedge)),
        axes=None if frame.axes is None else np.stack([right, front, axis], axis=1),
    )


def usual_half_wedge(name: str) -> float:
    """Return half the usual angle between a level's endplates, radians, positive if low in front.

    Of the heights that fractures are graded by (`spineseg.measure.genant`); 0 where the level is
    unsure.
    """
    heights = norm_of(name)
    if heights is None:
        return 0.0
    return float(np.arctan2((heights[-1] - heights[0]) / 2, SIZES[name].depth))


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def normals(frames: Sequence[BodyFrame], rows: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the normals (n, 3) of the upper and of the lower endplates of these rows."""
    upper = [p.normal for p in (frames[n].upper for n in rows) if p is not None]
    lower = [p.normal for p in (frames[n].lower for n in rows) if p is not None]
    return np.array(upper), np.array(lower)
