"""Sees to it that there is one atlas: what lies above it, or is half of it, is no vertebra.

The rim of the skull is as bony as the atlas's arch, and the atlas's front arch may be seen as a
vertebra of its own. Nearby they look right; but the coarse pass then sees C1 or C2 in three.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spineseg.methods.classes import CoarseClass
from spineseg.methods.instances import Instance
from spineseg.methods.mending import apart, join
from spineseg.methods.sacral import MOST_SAMPLES, coarse_counts
from spineseg.methods.spine_region import VERTEBRAL
from spineseg.volume import Volume

__all__ = ["one_atlas"]

_OURS = 0.5  # of what the coarse pass calls vertebral: C1 or C2 in each, a block of C2 and C3 too
_SMALL = 0.5  # of the larger of the first two: less is no vertebra of its own
_NEAR = 0.7  # of the next distance between centres: nearer is a part of the same vertebra


def one_atlas(
    instances: Volume, found: Sequence[Instance], regions: Volume
) -> tuple[Volume, list[Instance]]:
    """Where the three uppermost are all seen as C1 or C2, make two of them.

    Parameters
    ----------
    instances : Volume
        uint8, 1 … n from the top.
    found : sequence of Instance
        In the order of the labels.
    regions : Volume
        uint8 `CoarseClass`, on its own grid.

    Returns
    -------
    instances, found : one fewer where the first was a scrap of the skull or a part of the atlas
    """
    found = list(found)
    if len(found) < 4 or not all(_share(instances, n, regions) >= _OURS for n in (1, 2, 3)):
        return instances, found
    first, second, third = found[:3]
    sizes = first.n_voxels, second.n_voxels
    near = apart(first, second) < _NEAR * apart(second, third)
    whole = min(sizes) > _SMALL * max(sizes)
    if first.touches_superior:
        # An atlas that the field of view cuts is small by itself: only distances can tell.
        beside = min(apart(first, second), apart(second, third))
        near = beside < _NEAR * apart(third, found[3])
        whole = not near
    if not near and whole:
        return instances, found
    array = np.array(instances.array)
    if near or sizes[0] > sizes[1]:
        join(array, 0, found)
    else:
        array = np.where(array > 0, array - 1, 0).astype(array.dtype)
        found = found[1:]
    return instances.like(array), found


def _share(instances: Volume, number: int, regions: Volume) -> float:
    """Share of C1 and C2 among what the coarse pass calls vertebral in one instance."""
    kji = np.argwhere(instances.array == number)
    counts = coarse_counts(instances, kji[:: max(1, len(kji) // MOST_SAMPLES)], regions)
    vertebral = int(counts[list(VERTEBRAL)].sum())
    return int(counts[CoarseClass.UPPER_CERVICAL]) / vertebral if vertebral else 0.0
