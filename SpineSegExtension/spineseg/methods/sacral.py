"""Takes back what was counted as a vertebra beyond the spine's ends.

S1 looks like a vertebra from nearby, and the fine pass sees only what is nearby. The coarse pass
sees the pelvis beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spineseg.methods.classes import CoarseClass, FineClass
from spineseg.methods.instances import Instance
from spineseg.methods.spine_region import VERTEBRAL
from spineseg.volume import Volume

__all__ = ["MOST_SAMPLES", "coarse_counts", "sacral_share", "without_sacral", "without_scraps"]

MOST_SAMPLES = 4000
"""Voxels of a vertebra that are looked up in the coarse pass at the most."""

_SACRAL_SHARE = 0.5
_FRAGMENT = 0.45  # of its upper neighbour's voxels: less is only the top of something
_SACRUM_ML = 1.0
_SCRAP = 0.25  # of its lower neighbour's voxels: less may be of the skull
_SEEN = 0.1  # of a vertebra's voxels that the coarse pass calls vertebral, at least


def without_sacral(
    instances: Volume, found: list[Instance], regions: Volume, classes: Volume
) -> tuple[Volume, list[Instance]]:
    """Drop the lowest vertebrae that the coarse pass takes for the sacrum.

    The top of a sacrum that the field of view cuts shows neither pass a pelvis. So a fragment at
    the lower end of the scan is dropped too where the fine pass sees some sacrum: were it the top
    of a vertebra, there would be none.

    Parameters
    ----------
    instances : Volume
        uint8, 1 … n from the top.
    found : list of Instance
        In the order of the labels.
    regions : Volume
        uint8 `CoarseClass`, on its own grid.
    classes : Volume
        uint8 `FineClass`, on the instances' grid.

    Returns
    -------
    instances, found : the same, shorter at the lower end
    """
    last = len(found)
    seen_ml = float((classes.array == FineClass.SACRUM).sum()) * classes.voxel_mm3 / 1000
    if last > 1 and seen_ml >= _SACRUM_ML and found[-1].touches_inferior:
        last -= found[-1].n_voxels < _FRAGMENT * found[-2].n_voxels
    while last and sacral_share(instances, last, regions) > _SACRAL_SHARE:
        last -= 1
    if last == len(found):
        return instances, found
    return instances.like(np.where(instances.array > last, 0, instances.array)), found[:last]


def without_scraps(
    instances: Volume, found: list[Instance], regions: Volume
) -> tuple[Volume, list[Instance]]:
    """Drop a scrap above the uppermost vertebra in which the coarse pass sees no vertebra.

    The rim of the skull above C1 is as bony as an arch, or as a body. Parameters and results as in
    `without_sacral`.
    """
    while len(found) > 1:
        if found[0].n_voxels > _SCRAP * found[1].n_voxels:
            break
        kji = np.argwhere(instances.array == 1)
        if coarse_counts(instances, kji, regions)[list(VERTEBRAL)].sum() > _SEEN * len(kji):
            break
        array = instances.array
        instances = instances.like(np.where(array > 0, array - 1, 0).astype(array.dtype))
        found = found[1:]
    return instances, found


def sacral_share(instances: Volume, number: int, regions: Volume) -> float:
    """Share of sacrum among what the coarse pass calls sacrum or vertebra in one instance."""
    kji = np.argwhere(instances.array == number)
    counts = coarse_counts(instances, kji[:: max(1, len(kji) // MOST_SAMPLES)], regions)
    sacrum, spine = int(counts[CoarseClass.SACRUM]), int(counts[list(VERTEBRAL)].sum())
    return sacrum / (sacrum + spine) if sacrum + spine else 0.0


def coarse_counts(grid: Volume, kji: NDArray[np.int64], regions: Volume) -> NDArray[np.int64]:
    """Count each `CoarseClass` at the places of voxels ``kji`` (n, 3) of another grid."""
    place = np.rint(regions.ras_to_ijk(grid.ijk_to_ras(kji[:, ::-1])))[:, ::-1].astype(int)
    inside = ((place >= 0) & (place < regions.shape)).all(axis=1)
    seen = regions.array[tuple(place[inside].T)]
    return np.bincount(seen, minlength=len(CoarseClass))
