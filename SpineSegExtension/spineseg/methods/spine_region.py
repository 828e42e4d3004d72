"""From the coarse pass to where the spine is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg.grid import Grid
from spineseg.methods.classes import CoarseClass
from spineseg.volume import Volume

__all__ = ["find_spine", "on_grid", "widened"]

Bools = NDArray[np.bool_]

VERTEBRAL = (
    CoarseClass.UPPER_CERVICAL,
    CoarseClass.LOWER_CERVICAL,
    CoarseClass.THORACIC,
    CoarseClass.LUMBAR,
)
_LEAST_ML = 1.5  # less bone than this is no vertebra that could be outlined
_CANAL_ML = 0.5  # a canal component needs this much to be believed


def find_spine(coarse: Volume, reach_mm: float) -> Volume | None:
    """Keep what belongs to the spine, and drop what only looks like it elsewhere.

    The canal is the best tracker of the spine: a network takes parts of the pelvis, the femora or
    the scapulae for vertebrae, but no canal runs along them. Kept is what lies near the largest
    canal component, and near others that are near to it in turn (a gap is left by metal, by a
    fracture, or by a sacrum that closes early).

    Parameters
    ----------
    coarse : Volume
        uint8 `CoarseClass`, isotropic.
    reach_mm : float
        How far from the canal a part of the spine may lie.

    Returns
    -------
    Volume or None
        bool mask of vertebrae, canal and sacrum; None where there is no spine.
    """
    classes = coarse.array
    voxel_ml = coarse.voxel_mm3 / 1000.0
    vertebral = np.isin(classes, VERTEBRAL)
    if vertebral.sum() * voxel_ml < _LEAST_ML:
        return None
    guide = _canal(classes == CoarseClass.CANAL, vertebral, reach_mm, coarse)
    spine = vertebral | (classes == CoarseClass.CANAL) | (classes == CoarseClass.SACRUM)
    kept = spine & _within(guide, reach_mm, coarse)
    if (kept & vertebral).sum() * voxel_ml < _LEAST_ML:
        return None
    return coarse.like(kept)


def widened(mask: Volume, margin_mm: float) -> Volume:
    """Return a bool mask of all that lies within `margin_mm` of a mask."""
    return mask.like(_within(mask.array, margin_mm, mask))


def on_grid(mask: Volume, grid: Grid) -> Bools:
    """Return a mask at the nearest voxels of another grid; both along the same axes."""
    index = []
    for axis in range(3):
        steps = np.zeros((grid.shape[axis], 3))
        steps[:, 2 - axis] = np.arange(grid.shape[axis])
        place = mask.ras_to_ijk(grid.ijk_to_ras(steps))[:, 2 - axis]
        index.append(np.clip(np.rint(place), 0, mask.shape[axis] - 1).astype(int))
    return np.asarray(mask.array[np.ix_(*index)], dtype=bool)


def _canal(canal: Bools, vertebral: Bools, reach_mm: float, grid: Volume) -> Bools:
    """Return the canal that the spine is measured from, or bone where no canal is in view."""
    around = np.ones((3, 3, 3), dtype=bool)
    least = _CANAL_ML / (grid.voxel_mm3 / 1000.0)
    parts, n_parts = ndimage.label(ndimage.binary_dilation(canal, around), around)
    size = np.bincount(parts[canal], minlength=n_parts + 1)
    if not n_parts or size.max() < least:
        parts, _ = ndimage.label(vertebral, around)
        return np.asarray(parts == np.argmax(np.bincount(parts[vertebral])))
    guide = canal & (parts == np.argmax(size))
    waiting = {n for n in range(1, n_parts + 1) if size[n] >= least}
    waiting.discard(int(np.argmax(size)))
    # A lost "canal" in a leg or in the skull has no vertebra around it.
    beside = _within(vertebral, 20.0, grid)
    while waiting:
        near = canal & beside & _within(guide, reach_mm, grid)
        joined = waiting & {int(n) for n in np.unique(parts[near])}
        if not joined:
            break
        guide |= canal & np.isin(parts, list(joined))
        waiting -= joined
    return np.asarray(guide)


def _within(mask: Bools, reach_mm: float, grid: Volume) -> Bools:
    if not mask.any():
        return np.zeros(mask.shape, dtype=bool)
    spacing = grid.spacing[::-1]
    away = ndimage.distance_transform_edt(~mask.astype(bool), sampling=spacing)
    return np.asarray(away <= reach_mm)
