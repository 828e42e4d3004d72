"""Lines through the spine, for the systems that measure along one: where, how tilted, which angles.

A line is (m, 2), (x, y) on the canvas from the top, evenly spaced; places along it go from 0, its
top, to 1. A tilt is in radians, that of the direction from the left to the right corners.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spineseg.measure.cobb import challenge_angles

__all__ = ["TURN", "WIDTH", "along", "angles_of", "length_of", "line_of", "resampled", "tilts_of"]

Floats = NDArray[np.float64]

WIDTH = (0.062, 0.1)
"""Of a vertebra at the top and at the bottom, as parts of the line's length; medians."""
TURN = np.radians(75.0)
"""No more tilt is believed of a film's annotations."""
_SAMPLES = 401


def along(at: Floats, values: Floats) -> Floats:
    """Return values (m, k) that are evenly spaced along a line at places (n,) of it: (n, k)."""
    where = np.linspace(0.0, 1.0, len(values))
    return np.stack([np.interp(at, where, v) for v in values.T], axis=1)


def length_of(points: Floats) -> Floats:
    """Return how far along a line each of its points (m, 2) lies, in pixels: (m,)."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def resampled(points: Floats, samples: int = _SAMPLES) -> Floats:
    """Return a line through points (m, 2), evenly spaced."""
    length = length_of(points)
    at = np.linspace(0.0, length[-1], samples)
    return np.stack([np.interp(at, length, v) for v in points.T], axis=1)


def line_of(corners: Floats) -> tuple[Floats, Floats]:
    """Return the line through the middles of vertebrae (n, 4, 2), and where each lies along it.

    It begins at the upper endplate of the first and ends at the lower one of the last.
    """
    ends = corners[:1, :2].mean(axis=1), corners[-1:, 2:].mean(axis=1)
    points = np.concatenate([ends[0], corners.mean(axis=1), ends[1]])
    length = length_of(points)
    return resampled(points), length[1:-1] / length[-1]


def tilts_of(corners: Floats) -> Floats:
    """Return the tilt of each vertebra (n,), not more than `TURN`."""
    across = corners[:, [1, 3]].mean(axis=1) - corners[:, [0, 2]].mean(axis=1)
    return np.asarray(np.clip(np.arctan2(across[:, 1], across[:, 0]), -TURN, TURN))


def angles_of(points: Floats, tilts: Floats, rows: int) -> Floats:
    """Return the challenge's angles (3,) of tilts (n,) at points (n, 2) along a line.

    `spineseg.measure.cobb` measures them on little squares; `rows` is the canvas' height.
    """
    half = np.linalg.norm(points[-1] - points[0]) / len(points) / 4
    right = np.stack([np.cos(tilts), np.sin(tilts)], axis=1) * half
    down = np.stack([-right[:, 1], right[:, 0]], axis=1)
    away = np.stack([a * right + b * down for b in (-1, 1) for a in (-1, 1)], axis=1)
    found = challenge_angles(points[:, None] + away, rows)
    return np.array([found.major_deg, found.upper_deg, found.lower_deg])
