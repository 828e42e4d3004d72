"""A smooth curve down the vertebral bodies, and positions measured along and across it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_smoothing_spline
from scipy.spatial import cKDTree

from spineseg.errors import InputError

__all__ = ["SpineCurve", "fit_curve"]

Floats = NDArray[np.float64]

_BIN = 4.0  # mm along the curve that share one mean point
_EXTENSION = 60.0  # mm of straight line added at both ends
_SHORTEST_WAVE = 60.0  # mm; shorter waves are body shape or noise, no curve of a spine


@dataclass(frozen=True)
class SpineCurve:
    """A curve from the head down, sampled every millimetre.

    Attributes
    ----------
    points : (n, 3) float64
        RAS, mm, from the top.
    down, right, back : (n, 3) float64
        Unit vectors at each point: along the curve to the feet, to the patient's right and to the
        back.
    """

    points: Floats
    down: Floats
    right: Floats
    back: Floats

    @staticmethod
    def through(points: Floats) -> SpineCurve:
        """Frame a dense polyline (n ≥ 2 points, RAS mm, from the top) into a curve."""
        dense = _every_millimetre(_extended(points))
        down = np.gradient(dense, axis=0)
        down /= np.linalg.norm(down, axis=1, keepdims=True)
        right = np.array([1.0, 0.0, 0.0]) - down[:, :1] * down
        right /= np.linalg.norm(right, axis=1, keepdims=True)
        back = np.cross(down, right)
        return SpineCurve(dense, down, right, back)

    def project(self, points: NDArray[np.floating]) -> Floats:
        """Give each point its position by the curve.

        Parameters
        ----------
        points : (n, 3)
            RAS, mm.

        Returns
        -------
        (n, 3) float64
            mm along the curve from its top, mm to the right of it and mm behind it.
        """
        if len(points) == 0:
            return np.zeros((0, 3))
        # Every other point is near enough: the rest is measured along the tangent.
        _, nearest = cKDTree(self.points[::2]).query(points)
        nearest *= 2
        away = points - self.points[nearest]
        along = nearest + np.einsum("nc,nc->n", away, self.down[nearest])
        right = np.einsum("nc,nc->n", away, self.right[nearest])
        back = np.einsum("nc,nc->n", away, self.back[nearest])
        return np.stack([along, right, back], axis=1)

    def at(self, along: NDArray[np.floating] | float) -> Floats:
        """Return the RAS points (n, 3), or one (3,), at these mm from the curve's top."""
        index = np.arange(len(self.points))
        return np.stack([np.interp(along, index, self.points[:, c]) for c in range(3)], axis=-1)

    def down_at(self, along: float) -> Floats:
        """Return the unit vector (3,), RAS, to the feet at this position."""
        vector: Floats = self.down[int(np.clip(round(along), 0, len(self.down) - 1))]
        return vector


def fit_curve(points: NDArray[np.floating], rounds: int = 4) -> SpineCurve:
    """Fit a curve through a cloud of points of bodies and discs.

    The first parameter is the height; each round then measures along the curve of the round
    before, so that strongly tilted stretches (scoliosis, kyphosis) are cut across the spine and
    not horizontally. Gaps are bridged smoothly.

    Parameters
    ----------
    points : (n, 3)
        RAS, mm, in any order.
    rounds : int
        Number of refinements.

    Returns
    -------
    SpineCurve

    Raises
    ------
    InputError
        There are fewer than 10 points.
    """
    if len(points) < 10:
        raise InputError("Too few voxels of vertebral bodies were found to follow the spine.")
    cloud = np.asarray(points, dtype=np.float64)
    curve = SpineCurve.through(_smooth_line(-cloud[:, 2], cloud))
    for _ in range(rounds):
        place = curve.project(cloud)
        near = np.hypot(place[:, 1], place[:, 2]) < 30.0
        if near.sum() < 10:
            break
        curve = SpineCurve.through(_smooth_line(place[near, 0], cloud[near]))
    return curve


def _smooth_line(along: Floats, cloud: Floats) -> Floats:
    first, last = np.percentile(along, [0.5, 99.5])
    n_bins = max(2, int(np.ceil((last - first) / _BIN)))
    bins = np.clip(((along - first) / max(last - first, 1e-6) * n_bins).astype(int), 0, n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    used = count > 0
    sums = [np.bincount(bins, weights=cloud[:, c], minlength=n_bins)[used] for c in range(3)]
    means = np.stack(sums, axis=1) / count[used, None]
    centers = np.bincount(bins, weights=along, minlength=n_bins)[used] / count[used]
    samples = np.arange(centers[0], centers[-1] + 1e-6, 1.0)
    if len(samples) < 2:
        return np.stack([means[0] + [0, 0, 1.0], means[0] - [0, 0, 1.0]])
    weight = np.clip(count[used] / np.median(count[used]), 0.05, 1.0)
    if used.sum() < 8:
        # Too short to tell the spine's curve from a body's shape.
        lines = np.polyfit(centers, means, 1, w=np.sqrt(weight))
        return np.asarray(samples[:, None] * lines[0] + lines[1])
    stiffness = (_SHORTEST_WAVE / (2 * np.pi)) ** 4 / _BIN
    splines = [
        make_smoothing_spline(centers, means[:, c], w=weight, lam=stiffness) for c in range(3)
    ]
    return np.stack([spline(samples) for spline in splines], axis=1)


def _extended(points: Floats) -> Floats:
    # The direction at an end is taken over a body's height: the very end is the least certain.
    n = min(len(points) - 1, 15)
    top = points[0] - points[n]
    bottom = points[-1] - points[-1 - n]
    top *= _EXTENSION / np.linalg.norm(top)
    bottom *= _EXTENSION / np.linalg.norm(bottom)
    return np.concatenate([[points[0] + top], points, [points[-1] + bottom]])


def _every_millimetre(points: Floats) -> Floats:
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    keep = np.concatenate([[True], steps > 1e-9])
    points, steps = points[keep], steps[steps > 1e-9]
    length = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.arange(0.0, length[-1], 1.0)
    return np.stack([np.interp(wanted, length, points[:, c]) for c in range(3)], axis=1)
