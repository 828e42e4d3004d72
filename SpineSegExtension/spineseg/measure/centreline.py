"""Angles from a line through the vertebral bodies of a film, where a method gives no corners.

The line is smoothed with a Gaussian along its length, continued straight (by point reflection) at
its ends, and its normals stand for the endplates. A published system of the challenge smooths its
line by 65,000 explicit Euler steps of the heat equation instead; the heat equation's exact solution
is a convolution with a Gaussian.

A smoothed line can't follow a single wedged vertebra, and where a line ends within a bend, its last
tangents are drawn in by 0.8 σ of that bend: see docs/cobb.md for what that costs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d

from spineseg.errors import InputError
from spineseg.measure.cobb_clinical import LEAST_DEG, CobbCurve, find_curves

__all__ = ["SIGMA", "centreline_curves", "centreline_tilts_deg", "corners_of_centreline"]

Floats = NDArray[np.float64]
SIGMA = 0.04
"""Of the Gaussian, as a share of the line's length: about two thirds of a vertebra of T1–L5."""

# Where the 34 endplates of T1–L5 lie between the upper one of T1 (0) and the lower one of L5 (1):
# medians over 481 public frontal films (docs/cobb.md).
_PLATES = np.array([
    0.000, 0.027, 0.039, 0.071, 0.083, 0.119, 0.131, 0.169, 0.182, 0.222, 0.234, 0.274,
    0.287, 0.327, 0.340, 0.381, 0.395, 0.438, 0.452, 0.497, 0.513, 0.560, 0.579, 0.626,
    0.648, 0.698, 0.719, 0.770, 0.794, 0.846, 0.870, 0.924, 0.949, 1.000,
])  # fmt: skip
_HALF_WIDTH = 0.04  # of the line's length; the angles do not depend on it
_SAMPLES = 401


def corners_of_centreline(points_px: ArrayLike, sigma: float = SIGMA) -> Floats:
    """Return corners (17, 4, 2) of T1–L5 for a line that runs from the top of T1 to below L5.

    Parameters
    ----------
    points_px : (m, 2) array_like
        (x, y) along the line from the top.
    sigma : float
        Share of the line's length.

    Raises
    ------
    InputError
        As `centreline_tilts_deg`.
    """
    line, tangents = _smoothed(points_px, sigma)
    at = _PLATES * (_SAMPLES - 1)
    index = np.arange(_SAMPLES)
    place = np.stack([np.interp(at, index, line[:, k]) for k in (0, 1)], axis=1)
    along = np.stack([np.interp(at, index, tangents[:, k]) for k in (0, 1)], axis=1)
    length = float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
    # Down the picture is +y, so this normal points to the right.
    across = np.stack([along[:, 1], -along[:, 0]], axis=1) * _HALF_WIDTH * length
    return np.stack([place - across, place + across], axis=1).reshape(-1, 4, 2)


def centreline_tilts_deg(points_px: ArrayLike, sigma: float = SIGMA) -> tuple[Floats, Floats]:
    """Return points (401, 2) along the smoothed line, and the tilt of the line's normal there.

    Parameters as in `corners_of_centreline`; the line may be of any part of a spine. The tilt is
    as in `spineseg.measure.cobb_clinical`.

    Raises
    ------
    InputError
        There are fewer than three points, the line has no length, or one is not finite.
    """
    line, tangents = _smoothed(points_px, sigma)
    return line, np.degrees(np.arctan2(-tangents[:, 0], tangents[:, 1]))


def centreline_curves(
    points_px: ArrayLike, sigma: float = SIGMA, least_deg: float = LEAST_DEG
) -> tuple[tuple[CobbCurve, ...], Floats]:
    """Return the curves of a line of any part of a spine, and the points that they are about.

    Returns
    -------
    curves : tuple of CobbCurve
        Their ends and apices are rows of the points: between the inflections of the line.
    points : (401, 2) ndarray
        Of the smoothed line.
    """
    line, tilts = centreline_tilts_deg(points_px, sigma)
    return find_curves(tilts, tilts, line, least_deg), line


def _smoothed(points_px: ArrayLike, sigma: float) -> tuple[Floats, Floats]:
    """Return the smoothed line and its unit tangents, both (401, 2)."""
    points = np.asarray(points_px, dtype=np.float64)
    if points.ndim != 2 or points.shape[1:] != (2,) or len(points) < 3:
        raise InputError("A centreline needs at least three (x, y) points.")
    if not np.isfinite(points).all():
        raise InputError("A point of the centreline is not a finite position.")
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    if length[-1] <= 0:
        raise InputError("The centreline has no length: its points coincide.")
    at = np.linspace(0.0, length[-1], _SAMPLES)
    line = np.stack([np.interp(at, length, points[:, k]) for k in (0, 1)], axis=1)
    # Straight on at the ends: a plain Gaussian would shorten the line and bend its tangents there.
    before, after = 2 * line[0] - line[:0:-1], 2 * line[-1] - line[-2::-1]
    longer = np.concatenate([before, line, after])
    smooth = gaussian_filter1d(longer, sigma * _SAMPLES, axis=0, mode="nearest")
    kept = smooth[_SAMPLES - 1 : 2 * _SAMPLES - 1]
    tangents = np.gradient(kept, axis=0)
    norms = np.linalg.norm(tangents, axis=1, keepdims=True)
    return kept, tangents / np.maximum(norms, 1e-12)
