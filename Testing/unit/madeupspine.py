"""Made-up spines as corners of films, with tilts that are known."""

from __future__ import annotations

import numpy as np

LEVELS = (*(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6)))


def corners_of(tilts: np.ndarray, height: float = 40.0, width: float = 60.0) -> np.ndarray:
    """Corners (n, 4, 2) of a chain of bodies, tilts in degrees, right end lower positive.

    The bodies stand on each other along their own axes, so the middles follow the tilts.
    """
    angle = np.radians(np.asarray(tilts, dtype=float))
    right = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    down = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    step = (down[:-1] + down[1:]) / 2 * height * 1.25
    centre = np.concatenate([[[300.0, 80.0]], [300.0, 80.0] + np.cumsum(step, axis=0)])
    return np.stack(
        [
            centre + sx * right * width / 2 + sy * down * height / 2
            for sy in (-1, 1)
            for sx in (-1, 1)
        ],
        axis=1,
    )


def bent(*knots: tuple[float, float]) -> np.ndarray:
    """Tilts (17,) that run straight between knots of (vertebra, degrees)."""
    at, value = zip(*knots, strict=True)
    return np.interp(np.arange(17), at, value)


def mirrored(corners: np.ndarray, width_px: float = 600.0) -> np.ndarray:
    """The same spine, left and right changed over."""
    flipped = corners[:, [1, 0, 3, 2]].copy()
    flipped[..., 0] = width_px - flipped[..., 0]
    return flipped
