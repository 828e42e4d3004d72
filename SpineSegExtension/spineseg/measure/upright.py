"""Standing a film up before it is measured: a rule that asks what is above needs that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spineseg.io.films import Film
from spineseg.methods.film_result import FilmResult

__all__ = ["quarters_to_upright", "stood_up", "turned_points"]

Floats = NDArray[np.float64]
_LYING = 2.0  # a bent spine on an upright film runs this much farther down than across
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A"}


def quarters_to_upright(points_px: Floats) -> int:
    """Return how often a film has to be turned by 90°, anticlockwise, so that its spine stands.

    Parameters
    ----------
    points_px : (n, 2) ndarray
        (x, y) along the spine from the top of the patient, y down the picture; NaN where unknown.
    """
    known = points_px[np.isfinite(points_px).all(axis=1)]
    if len(known) < 2:
        return 0
    half = len(known) // 2
    across, down = known[-half:].mean(axis=0) - known[:half].mean(axis=0)
    if abs(across) > _LYING * abs(down):
        return 1 if across < 0 else 3
    return 2 if down < 0 else 0


def turned_points(points_px: Floats, size_px: tuple[int, int], quarters: int) -> Floats:
    """Return where points (…, 2) lie once a film (width, height) was turned anticlockwise."""
    width, height = size_px
    x, y = points_px[..., 0], points_px[..., 1]
    moved = [(x, y), (y, width - 1 - x), (width - 1 - x, height - 1 - y), (height - 1 - y, x)]
    return np.stack(moved[quarters % 4], axis=-1)


def stood_up(result: FilmResult, film: Film) -> tuple[FilmResult, Film, int]:
    """Return what was found and its film as they are with the film upright, and the quarters.

    Of a film that lay on its side nobody knows any more which side of the patient is at the left.
    """
    points = result.centreline_px
    if result.corners_px is not None:
        # Of a level with one endplate the middle is that endplate's.
        points = result.corners_px.reshape(-1, 2, 2, 2).mean(axis=2).reshape(-1, 2)
    quarters = 0 if points is None else quarters_to_upright(points * (1.0, film.pixel_aspect))
    if not quarters:
        return result, film, 0
    size = film.width_px, film.height_px
    corners, line = (
        None if p is None else turned_points(p, size, quarters)
        for p in (result.corners_px, result.centreline_px)
    )
    lying = quarters % 2 == 1
    spacing = film.spacing_mm
    standing = replace(
        film,
        array=np.rot90(film.array, quarters),
        spacing_mm=spacing[::-1] if spacing and lying else spacing,
        pixel_aspect=1.0 / film.pixel_aspect if lying else film.pixel_aspect,
        left_is=None if lying else _OPPOSITE.get(film.left_is or ""),
    )
    return replace(result, corners_px=corners, centreline_px=line), standing, quarters
