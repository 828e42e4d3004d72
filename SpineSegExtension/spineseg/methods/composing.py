"""From single looks to one map: each voxel goes to the vertebra that is the most probable there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spineseg.grid import Grid
from spineseg.methods.classes import CoarseClass, FineClass
from spineseg.methods.instances import Instance, field_edges
from spineseg.methods.spine_guide import Guide
from spineseg.methods.spine_region import on_grid
from spineseg.methods.tidying import drop_strays
from spineseg.methods.to_scan import FineMaps, covered
from spineseg.methods.walk import Seen
from spineseg.volume import Volume

__all__ = ["compose"]

_HALF = 128  # of 255
_ROOM = 8  # voxels around: outlines end inside, and ribs that touch are in it
_BODY_ML = 0.5  # less is no body, as in `instances`
_TOUCHING = 10  # voxels at the scan's edge that make a vertebra cut
_COARSE = {CoarseClass.RIB: FineClass.RIB, CoarseClass.SACRUM: FineClass.SACRUM}


def compose(
    scan: Volume, lattice: Grid, found: Sequence[Seen], guide: Guide, spine: Volume
) -> tuple[FineMaps, Volume, list[Instance]]:
    """Lay what a walk found onto one part of the lattice.

    Parameters
    ----------
    scan : Volume
        Its grid says what is cut.
    lattice : Grid
        The looker's.
    found : sequence of Seen
        From the top; at least one.
    guide : Guide
    spine : Volume
        bool, what the coarse pass found of the spine: the part reaches over all of it.

    Returns
    -------
    maps : FineMaps
        Ribs and sacrum in it are the coarse pass's; without votes.
    instances : Volume
        uint8, 1 … n in the order of `found`, on the same grid.
    list of Instance
    """
    grid = _part(lattice, found, spine)
    bone = np.zeros(grid.shape, dtype=np.uint8)
    front = np.zeros(grid.shape, dtype=np.uint8)
    owner = np.zeros(grid.shape, dtype=np.uint8)
    corner = _index(lattice, grid.ijk_to_ras(np.zeros((1, 3))))[0]
    for number, seen in enumerate(found, start=1):
        one = seen.one
        start = _index(lattice, one.probability.ijk_to_ras(np.zeros((1, 3))))[0] - corner
        lo, hi = np.maximum(start, 0), np.minimum(start + one.probability.shape, grid.shape)
        if (hi <= lo).any():
            continue
        there = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
        own = tuple(slice(a, b) for a, b in zip(lo - start, hi - start, strict=True))
        share = one.probability.array[own]
        wins = share > bone[there]
        bone[there][wins] = share[wins]
        front[there][wins] = one.body.array[own][wins]
        owner[there][wins] = number
    owner[bone < _HALF] = 0
    drop_strays(owner, len(found), grid.voxel_mm3 / 1000.0)
    classes = np.where(front >= _HALF, FineClass.BODY, FineClass.POSTERIOR).astype(np.uint8)
    classes[owner == 0] = FineClass.BACKGROUND
    for coarse, fine in _COARSE.items():
        other = on_grid(guide.regions.like(guide.regions.array == coarse), grid)
        classes[other & (owner == 0)] = fine
    # No votes were cast; one shared zero takes no memory.
    votes = np.broadcast_to(np.zeros((), dtype=np.float16), (3, *grid.shape))
    maps = FineMaps(Volume(classes, grid.affine), Volume(bone, grid.affine), votes)
    instances = Volume(owner, grid.affine)
    return maps, instances, _described(maps, instances, found, guide, covered(maps, scan))


def _part(lattice: Grid, found: Sequence[Seen], spine: Volume) -> Grid:
    """Return the part of the lattice that holds the vertebrae and the coarse pass's spine."""
    index = np.argwhere(spine.array)
    box = spine.grid.cropped(index.min(axis=0).tolist(), (index.max(axis=0) + 1).tolist())
    corners = [box.corners(), *(seen.one.probability.grid.corners() for seen in found)]
    place = _index(lattice, np.concatenate(corners))
    lo = np.clip(place.min(axis=0) - _ROOM, 0, np.array(lattice.shape) - 1)
    hi = np.clip(place.max(axis=0) + _ROOM + 1, lo + 1, lattice.shape)
    return lattice.cropped(lo.tolist(), hi.tolist())


def _index(lattice: Grid, points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return voxels (n, 3), k j i, of points (n, 3), RAS mm."""
    return np.rint(lattice.ras_to_ijk(points))[:, ::-1].astype(np.int64)


def _described(
    maps: FineMaps, instances: Volume, found: Sequence[Seen], guide: Guide, field: Volume
) -> list[Instance]:
    kji = np.argwhere(instances.array > 0)
    owner = instances.array[tuple(kji.T)]
    edges = field_edges(instances, kji, field)
    body = maps.classes.array[tuple(kji.T)] == FineClass.BODY
    result = []
    for number, seen in enumerate(found, start=1):
        mine = owner == number
        bodily = int((mine & body).sum())
        top, bottom, side = (int((mine & edge).sum()) >= _TOUCHING for edge in edges)
        result.append(
            Instance(
                centroid=seen.one.center,
                n_voxels=int(mine.sum()),
                body_voxels=bodily,
                touches_superior=top,
                touches_inferior=bottom,
                touches_side=side,
                has_body=bodily * instances.voxel_mm3 / 1000.0 >= _BODY_ML,
                quality=seen.one.confidence,
                down=guide.curve.down_at(seen.along),
            )
        )
    return result
