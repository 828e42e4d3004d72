"""The spine, or the middle of it, as one band drawn from the corners of its vertebrae.

Corners are (n, 4, 2) on the canvas, in the order of `spineseg.methods.film_result.FilmResult`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["band", "band_mask", "endplate_edges"]

Floats = NDArray[np.float64]
_THICK = 0.6  # cells: standard deviation of an edge across its length


def band(corners: Floats, share: float = 1.0) -> Floats:
    """Return the outline (4n, 2) round the middle `share` of the vertebrae's width."""
    left, right = corners[:, [0, 2]].reshape(-1, 2), corners[:, [1, 3]].reshape(-1, 2)
    middle, half = (left + right) / 2, (right - left) / 2 * share
    return np.concatenate([middle - half, (middle + half)[::-1]])


def band_mask(
    corners: Floats, canvas: tuple[int, int], stride: int, share: float = 1.0
) -> NDArray[np.float32]:
    """Return a band as 1 on every `stride`-th pixel of the canvas, 0 outside."""
    from skimage.draw import polygon2mask

    cells = (band(corners, share) + 0.5) / stride - 0.5
    shape = (canvas[0] // stride, canvas[1] // stride)
    inside = polygon2mask(shape, cells[:, ::-1])  # type: ignore[no-untyped-call]
    return np.asarray(inside, dtype=np.float32)


def endplate_edges(corners: Floats, canvas: tuple[int, int], stride: int) -> NDArray[np.float32]:
    """Return the endplates as soft lines of height 1 on every `stride`-th pixel of the canvas."""
    shape = (canvas[0] // stride, canvas[1] // stride)
    found = np.zeros(shape, np.float32)
    for left, right in (corners.reshape(-1, 2, 2) + 0.5) / stride - 0.5:
        low = np.maximum(np.floor(np.minimum(left, right)).astype(int) - 2, 0)
        high = np.minimum(np.ceil(np.maximum(left, right)).astype(int) + 3, shape[::-1])
        if (high <= low).any():
            continue
        x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
        step = right - left
        share = ((x - left[0]) * step[0] + (y - left[1]) * step[1]) / max(step @ step, 1e-6)
        share = np.clip(share, 0.0, 1.0)
        away = np.hypot(x - left[0] - share * step[0], y - left[1] - share * step[1])
        part = found[low[1] : high[1], low[0] : high[0]]
        np.maximum(part, np.exp(-0.5 * (away / _THICK) ** 2), out=part, casting="unsafe")
    return found
