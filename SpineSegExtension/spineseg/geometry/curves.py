"""A smooth curve through a few ordered points, measured in millimetres along it.

For a curve fitted to a cloud of voxels see `spineseg.geometry.spine_curve`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline, make_interp_spline
from scipy.spatial import cKDTree

from spineseg.errors import InputError

__all__ = ["Curve"]

Floats = NDArray[np.float64]

_STEP = 0.5  # mm between the samples that carry the curve
_SAMPLES_A_SPAN = 64  # for measuring the length between two given points
_CLOSEST = 1e-3  # mm; nearer neighbours give the curve no direction
_NEWTON_ROUNDS = 8


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve whose parameter is the distance along it, in mm from its first point.

    Made by `Curve.through`. Beyond its ends the curve goes on straight.

    Attributes
    ----------
    length : float
        mm from the first to the last point.
    knots : (n, ) float64
        Where the given points lie, in mm along the curve.
    """

    length: float
    knots: Floats
    _spline: CubicSpline
    _tree: cKDTree

    @classmethod
    def through(cls, points: ArrayLike) -> Curve:
        """Lay a curve through points.

        The spline is cubic with straight ends (a line for two points, a parabola for three),
        over the centripetal parameter of Lee (Comput. Aided Des. 21, 1989), which does not
        overshoot where the points are unevenly spaced.

        Parameters
        ----------
        points : (n, 3) array_like
            In order along the curve, n ≥ 2, RAS (or any one frame) in mm.

        Raises
        ------
        InputError
            There are fewer than two points, neighbours coincide, or a number is not finite.
        """
        given = np.asarray(points, dtype=np.float64)
        if given.ndim != 2 or given.shape[1:] != (3,) or len(given) < 2:
            raise InputError("A curve needs at least two points, each of three coordinates.")
        steps = np.linalg.norm(np.diff(given, axis=0), axis=1)
        if not np.isfinite(given).all() or steps.min() < _CLOSEST:
            raise InputError(
                "No curve can be laid through these points: two neighbours coincide, or one is"
                " not a finite place."
            )
        u = np.concatenate([[0.0], np.cumsum(np.sqrt(steps))])
        degree = min(3, len(given) - 1)
        rough = make_interp_spline(u, given, degree, bc_type="natural" if degree == 3 else None)
        dense = np.concatenate(
            [
                np.linspace(a, b, _SAMPLES_A_SPAN, endpoint=False)
                for a, b in zip(u[:-1], u[1:], strict=True)
            ]
            + [u[-1:]]
        )
        along = _distances(rough, dense)
        knots = along[::_SAMPLES_A_SPAN]
        length = float(along[-1])
        count = max(5, int(np.ceil(length / _STEP)) + 1)
        samples = np.linspace(0, length, count)
        # The map from distance to parameter is smooth and rises, so a cubic inverts it well.
        places = rough(CubicSpline(along, dense)(samples))
        return cls(length, knots, CubicSpline(samples, places, bc_type="natural"), cKDTree(places))

    def at(self, along: ArrayLike) -> Floats:
        """Return the places (…, 3) at these mm along the curve (any shape)."""
        s = np.asarray(along, dtype=np.float64)
        inside = np.clip(s, 0, self.length)
        beyond = (s - inside)[..., None]
        return np.asarray(self._spline(inside) + beyond * self.tangent(inside))

    def tangent(self, along: ArrayLike) -> Floats:
        """Return the unit vectors (…, 3) in which the curve runs at these mm along it."""
        inside = np.clip(np.asarray(along, dtype=np.float64), 0, self.length)
        vector = self._spline(inside, 1)
        return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True))

    def curvature(self, along: ArrayLike) -> Floats:
        """Return the curvature (…) in 1/mm at these mm along the curve; 0 beyond its ends."""
        s = np.asarray(along, dtype=np.float64)
        inside = np.clip(s, 0, self.length)
        first, second = self._spline(inside, 1), self._spline(inside, 2)
        bend = np.linalg.norm(np.cross(first, second), axis=-1)
        bend = bend / np.linalg.norm(first, axis=-1) ** 3
        return np.where(s == inside, bend, 0.0)

    def frame(self, along: ArrayLike, reference: ArrayLike = (1.0, 0.0, 0.0)) -> Floats:
        """Return frames (…, 3, 3) whose columns are across, aside and the tangent.

        Parameters
        ----------
        along : array_like
            mm along the curve.
        reference : (3,) array_like
            Fixed direction; "across" is its part at a right angle to the tangent. With the
            default, in RAS, that is the patient's right, and for a curve from the head down
            "aside" (tangent × across) is the patient's back.

        Returns
        -------
        (…, 3, 3) float64
            Right-handed rotations.

        Raises
        ------
        ValueError
            Somewhere the curve runs along `reference`.
        """
        tangent = self.tangent(along)
        fixed = np.asarray(reference, dtype=np.float64)
        across = fixed - (tangent @ fixed)[..., None] * tangent
        size = np.linalg.norm(across, axis=-1, keepdims=True)
        if size.min() < 1e-3 * np.linalg.norm(fixed):
            raise ValueError("the curve runs along the reference direction")
        across = across / size
        return np.stack([across, np.cross(tangent, across), tangent], axis=-1)

    def nearest(self, points: ArrayLike) -> tuple[Floats, Floats]:
        """Find where on the curve each point is nearest.

        Parameters
        ----------
        points : (n, 3) array_like
            In the curve's own frame, mm.

        Returns
        -------
        along : (n,) float64
            mm along the curve, from 0 to `length`.
        distance : (n,) float64
            mm from the curve.
        """
        given = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        if len(given) == 0:
            return np.zeros(0), np.zeros(0)
        start = np.asarray(self._spline.x)[self._tree.query(given)[1]]
        along = start.copy()
        for _ in range(_NEWTON_ROUNDS):
            away = self._spline(along) - given
            first, second = self._spline(along, 1), self._spline(along, 2)
            slope = np.einsum("nc,nc->n", away, first)
            rise = np.einsum("nc,nc->n", first, first) + np.einsum("nc,nc->n", away, second)
            # Near a centre of curvature the distance hardly changes: stay at the best sample.
            move = np.where(rise > 1e-2, slope / np.maximum(rise, 1e-2), 0.0)
            along = np.clip(along - move, start - _STEP, start + _STEP)
            along = np.clip(along, 0, self.length)
        distance = np.linalg.norm(self._spline(along) - given, axis=1)
        return along, distance


def _distances(spline: object, parameter: Floats) -> Floats:
    """Arc length of a spline from its start to each parameter (two-point Gauss rule)."""
    derivative = spline.derivative()  # type: ignore[attr-defined]  # scipy's BSpline
    half = np.diff(parameter) / 2
    middle = parameter[:-1] + half
    offset = half / np.sqrt(3)
    speed = np.linalg.norm(derivative(middle - offset), axis=1)
    speed += np.linalg.norm(derivative(middle + offset), axis=1)
    return np.concatenate([[0.0], np.cumsum(speed * half)])
