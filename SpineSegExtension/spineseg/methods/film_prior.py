"""How endplates usually tilt along a spine, weighed with how they were seen to tilt.

Tilts of neighbours go together, and those of a whole spine do: of a Gaussian over all endplates'
tilts, fitted to the training films, and of tilts that were seen with a noise, the mean given what
was seen is known in closed form (Bishop 2006, eq. 2.116). An endplate that was seen poorly follows
the others; one that was seen well hardly moves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["plate_tilts", "settled", "tilt_statistics"]

Floats = NDArray[np.float64]

_LEAST_DEG2 = 1.0  # variance added to each tilt's own: films are few
_LEAST_SURE = 0.03


def plate_tilts(corners: ArrayLike) -> Floats:
    """Return how endplates tilt, degrees, upper and lower of each vertebra in turn.

    Parameters
    ----------
    corners : (n, 4, 2) array_like
        (x, y), in the order of `FilmResult.corners_px`; NaN where an endplate is not known.

    Returns
    -------
    (2 n,) float64
        Positive where the second corner (right, or front) lies lower; a patient who faces to the
        left has the same tilts as one who faces to the right.
    """
    across = _across(np.asarray(corners, dtype=np.float64))
    return np.asarray(np.degrees(np.arctan2(across[..., 1], across[..., 0] * _facing(across))))


def _across(corners: Floats) -> Floats:
    """Vectors (2 n, 2) from the first to the second corner of each endplate."""
    return np.asarray((corners[:, [1, 3]] - corners[:, [0, 2]]).reshape(-1, 2))


def _facing(across: Floats) -> float:
    return -1.0 if np.nanmedian(across[:, 0]) < 0 else 1.0


def tilt_statistics(groups: list[Floats], mirrored: bool) -> tuple[Floats, Floats]:
    """Return mean (m,) and covariance (m, m) of tilts, in degrees.

    Parameters
    ----------
    groups : list of (films, m) arrays
        Tilts from each source, NaN where not known; each source counts alike, however many films
        it has.
    mirrored : bool
        Whether each film's mirror image is a film as well, as of frontal ones.
    """
    means, seconds = [], []
    for group in groups:
        tilts = np.concatenate([group, -group]) if mirrored else group
        there = np.isfinite(tilts)
        mean = np.where(there, tilts, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        off, both = np.where(there, tilts - mean, 0.0), there.astype(float)
        means.append(mean)
        seconds.append(off.T @ off / np.maximum(both.T @ both, 1.0))
    centre = np.mean(means, axis=0)
    apart = [np.outer(mean - centre, mean - centre) for mean in means]
    return centre, np.mean(seconds, axis=0) + np.mean(apart, axis=0)


def settled(
    corners: Floats, confidence: Floats, mean: Floats, covariance: Floats, noise_deg: float
) -> Floats:
    """Turn each endplate about its middle to its most likely tilt.

    Parameters
    ----------
    corners : (n, 4, 2)
        NaN where an endplate is not known: it stays so.
    confidence : (n,)
        0–1.
    mean, covariance : (2 n,), (2 n, 2 n)
        From `tilt_statistics`.
    noise_deg : float
        How far off a tilt is that was seen with a confidence of one half; the noise falls with the
        confidence. 0 leaves all as it is.
    """
    if noise_deg <= 0:
        return corners
    seen = plate_tilts(corners)
    known = np.isfinite(seen)
    noise = noise_deg * 0.5 / np.clip(np.repeat(confidence, 2), _LEAST_SURE, 1.0)
    prior = covariance + _LEAST_DEG2 * np.eye(len(mean))
    both = prior[np.ix_(known, known)] + np.diag(noise[known] ** 2)
    likely = mean + prior[:, known] @ np.linalg.solve(both, (seen - mean)[known])
    plates = corners.reshape(-1, 2, 2)
    turn = np.radians(likely - seen) * _facing(_across(corners))
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    middle = plates.mean(axis=1, keepdims=True)
    turned = middle + np.einsum("nij,nkj->nki", matrix, plates - middle)
    return np.asarray(turned.reshape(corners.shape))
