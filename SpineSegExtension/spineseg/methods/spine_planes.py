"""Planes between neighbouring vertebral bodies, tilted to fit the disc."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["split_at_planes"]

Floats = NDArray[np.float64]

_RADIUS = 28.0  # mm around the curve in which a disc is looked for
_HALF_DISC = 8.0  # mm
_STEEPEST = 0.7  # a disc's tilt to the curve, as a slope
_RIDGE = 20.0  # mm²; flat discs need little reason, steep ones much
_OVERHANG = 6.0  # mm that a body may reach past the ends of the spine's profile


def split_at_planes(
    body: Floats, votes: Floats, disc: Floats, spans: Sequence[tuple[float, float]]
) -> NDArray[np.int64]:
    """Share out body voxels to the spans between the discs.

    Parameters
    ----------
    body, disc : (n, 3), (m, 3) float64
        Positions by the curve: mm along, to the right, behind (`SpineCurve.project`).
    votes : (n,) float64
        Position along the curve that each body voxel votes for, mm.
    spans : sequence of (float, float)
        Begin and end of each vertebra along the curve, mm, from the top.

    Returns
    -------
    (n,) int64
        Index of the span, or -1 where the voxel is in none.
    """
    edges = np.array([(a[1] + b[0]) / 2 for a, b in zip(spans[:-1], spans[1:], strict=True)])
    owner = np.searchsorted(edges, body[:, 0]).astype(np.int64)
    for index, edge in enumerate(edges):
        reach = 0.6 * min(_length(spans[index]), _length(spans[index + 1]))
        beside = np.flatnonzero(
            ((owner == index) | (owner == index + 1)) & (np.abs(body[:, 0] - edge) < reach)
        )
        plane = _disc_plane(disc, edge, min(_HALF_DISC, reach))
        if plane is None:
            plane = _vote_plane(body[beside], votes[beside], edge)
        height = body[beside, 0] - _plane_at(plane, body[beside])
        owner[beside] = np.where(height < 0, index, index + 1)
    begins = np.array([span[0] for span in spans])[owner]
    ends = np.array([span[1] for span in spans])[owner]
    far = (body[:, 0] < begins - _OVERHANG - 15.0) | (body[:, 0] > ends + _OVERHANG + 15.0)
    owner[far] = -1
    return owner


def _length(span: tuple[float, float]) -> float:
    return span[1] - span[0]


def _plane_at(plane: Floats, points: Floats) -> Floats:
    return np.asarray(plane[0] + points[:, 1] * plane[1] + points[:, 2] * plane[2])


def _disc_plane(disc: Floats, edge: float, half: float) -> Floats | None:
    plane = np.array([edge, 0.0, 0.0])
    close = np.hypot(disc[:, 1], disc[:, 2]) < _RADIUS
    for _ in range(3):
        inside = disc[close & (np.abs(disc[:, 0] - _plane_at(plane, disc)) < half)]
        if len(inside) < 60:
            return None
        plane = _fitted(inside)
        # A disc fitted far from the cut is another one, or noise.
        plane[0] = np.clip(plane[0], edge - half, edge + half)
    return plane


def _fitted(points: Floats) -> Floats:
    """Least-squares plane of the first column over the other two, drawn to the flat one."""
    n = len(points)
    design = np.column_stack([np.ones(n), points[:, 1:]])
    normal = design.T @ design + np.diag([0.0, _RIDGE * n, _RIDGE * n])
    plane: Floats = np.linalg.solve(normal, design.T @ points[:, 0])
    plane[1:] = np.clip(plane[1:], -_STEEPEST, _STEEPEST)
    return plane


def _vote_plane(body: Floats, votes: Floats, edge: float) -> Floats:
    """Plane that best parts voxels which vote up from those which vote down."""
    flat = np.array([edge, 0.0, 0.0])
    side = np.where(votes < edge, -1.0, 1.0)
    if len(body) < 100 or min((side < 0).mean(), (side > 0).mean()) < 0.1:
        return flat
    design = np.column_stack([np.ones(len(body)), body - [edge, 0.0, 0.0]])
    weights = np.linalg.solve(design.T @ design + 1e-3 * np.eye(4), design.T @ side)
    if weights[1] <= 1e-6:
        return flat
    slopes = np.clip(-weights[2:] / weights[1], -_STEEPEST, _STEEPEST)
    shift = np.clip(-weights[0] / weights[1], -5.0, 5.0)
    return np.array([edge + shift, *slopes])
