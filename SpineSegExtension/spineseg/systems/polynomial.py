"""Polynomials along the spine that leave out what lies far from them."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

__all__ = ["robust_fit", "smoothed_by"]

Floats = NDArray[np.float64]

_ROUNDS = 3
_FAR = 3.5  # median distances: farther points are left out of the next fit


def robust_fit(at: Floats, values: Floats, degree: int, weight: Floats | None = None) -> Polynomial:
    """Fit a polynomial by least squares, again and again without the points far from it.

    Parameters
    ----------
    at, values : (n,)
    weight : (n,), optional
        How sure each is; the square root of what least squares multiply with.
    """
    sure = np.ones(len(at)) if weight is None else np.asarray(weight, dtype=np.float64)
    kept = np.ones(len(at), dtype=bool)
    degree = min(degree, len(at) - 1)
    curve = Polynomial.fit(at, values, degree, w=sure)
    for _ in range(_ROUNDS):
        off = np.abs(values - curve(at))
        near = off <= max(_FAR * float(np.median(off)), 1e-6)
        # So many must stay that the curve is not the points themselves.
        if near.sum() < degree + 3 or (near == kept).all():
            break
        kept = near
        curve = Polynomial.fit(at[kept], values[kept], degree, w=sure[kept], domain=curve.domain)
    return curve


def smoothed_by(at: Floats, values: Floats, degree: int, weight: Floats | None = None) -> Floats:
    """Values (n, …) of the polynomials through them over `at` (n,), one for each column."""
    flat = values.reshape(len(values), -1)
    columns = [robust_fit(at, column, degree, weight)(at) for column in flat.T]
    return np.stack(columns, axis=1).reshape(values.shape)
