"""Looks at each vertebra that was found, laid over what the fine pass said of it.

The fine pass sees a vertebra in parts, patch by patch; a look sees one vertebra whole. Their errors
differ, so their mean is nearer to the truth than either (measured: docs/evaluation.md). The fine
pass says whether a voxel is bone of a vertebra, the looks say of which: its votes err where a disc
is worn away. Every vertebra is looked at twice, the second time with what its neighbours have got.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg.grid import Grid
from spineseg.methods.classes import FineClass
from spineseg.methods.instances import Instance
from spineseg.methods.one_vertebra import OneVertebra, VertebraLooker
from spineseg.methods.tidying import drop_strays
from spineseg.methods.to_scan import FineMaps
from spineseg.progress import Progress
from spineseg.volume import Volume

__all__ = ["look_at_all", "placed"]

Bytes = NDArray[np.uint8]

_SHARE = 0.8  # of the look: on worn real bone it is the better one, on digital bone about as good
_HALF, _FULL = 128, 255
_SAME = 0.5  # of the smaller one's voxels that both must have for it to be the same vertebra
_ROOM = 4  # voxels round an instance in which the fine pass may have bone of it


def look_at_all(
    maps: FineMaps,
    instances: Volume,
    found: Sequence[Instance],
    looker: VertebraLooker,
    progress: Progress,
) -> tuple[FineMaps, Volume]:
    """Look at every vertebra, and weigh what is seen with what the fine pass found.

    Parameters
    ----------
    maps : FineMaps
    instances : Volume
        uint8, 1 … n in the order of `found`, on the same grid, whose voxels lie on the looker's
        lattice.
    found : sequence of Instance
    looker : VertebraLooker
    progress : Progress
        Told of each vertebra; its token cancels.

    Returns
    -------
    maps : FineMaps
        With other classes and probabilities in and round the vertebrae; the votes stay.
    instances : Volume
        The same numbers, other voxels.
    """
    boxes = ndimage.find_objects(instances.array, max_label=len(found))
    count = len(found)
    looks: dict[int, OneVertebra] = {}
    for number, (vertebra, box) in enumerate(zip(found, boxes, strict=True), 1):
        progress("look", 0.5 * (number - 1) / count, f"vertebra {number} of {count}")
        if box is not None:
            looks[number] = looker.look(vertebra.centroid)
    owner = _laid(maps, instances, boxes, looks)[2]
    for step, (number, one) in enumerate(looks.items()):
        progress("look", 0.5 + 0.5 * step / count, f"vertebra {number} of {count} again")
        if one.present:
            known = _Neighbours(instances.like(np.where(owner == number, 0, owner)))
            again = looker.look(one.center, known)
            looks[number] = again if again.present else one
    bone, front, owner = _laid(maps, instances, boxes, looks)
    owner[bone < _HALF] = 0
    drop_strays(owner, len(found), instances.voxel_mm3 / 1000.0)
    classes = maps.classes.array.copy()
    vertebral = (classes == FineClass.BODY) | (classes == FineClass.POSTERIOR)
    mine = owner > 0
    classes[vertebral & ~mine & (instances.array > 0)] = FineClass.BACKGROUND
    classes[mine] = np.where(front[mine] >= bone[mine] // 2, FineClass.BODY, FineClass.POSTERIOR)
    # Bone that was no vertebra's stays as it was.
    rest = np.where(instances.array > 0, 0, maps.bone.array)
    bone = np.where(bone > 0, bone, rest).astype(np.uint8)
    return (
        FineMaps(maps.classes.like(classes), maps.bone.like(bone), maps.offsets),
        instances.like(owner),
    )


class _Neighbours:
    """A memory: which voxels of a window other vertebrae have."""

    def __init__(self, taken: Volume) -> None:
        self._taken = taken

    def __call__(self, grid: Grid) -> NDArray[np.bool_]:
        place = grid.ras_to_ijk(self._taken.ijk_to_ras(np.zeros((1, 3))))[0]
        start = np.rint(place[::-1]).astype(int)
        return placed(self._taken.array, start, np.array(grid.shape)) > 0


def _start(instances: Volume, one: OneVertebra) -> NDArray[np.int64]:
    """Return where a look's window begins on the instances' grid, voxels (k, j, i)."""
    place = instances.grid.ras_to_ijk(one.probability.ijk_to_ras(np.zeros((1, 3))))[0]
    return np.asarray(np.rint(place[::-1]), dtype=np.int64)


def _laid(
    maps: FineMaps,
    instances: Volume,
    boxes: Sequence[tuple[slice, ...] | None],
    looks: Mapping[int, OneVertebra],
) -> tuple[Bytes, Bytes, Bytes]:
    """Return probabilities of vertebra and of body, and whose each voxel is."""
    results = tuple(np.zeros(instances.shape, dtype=np.uint8) for _ in range(3))
    for number, one in looks.items():
        box = boxes[number - 1]
        assert box is not None
        _lay(maps, instances, number, box, one, results)  # type: ignore[arg-type]
    return results  # type: ignore[return-value]


def _lay(
    maps: FineMaps,
    instances: Volume,
    number: int,
    box: tuple[slice, ...],
    one: OneVertebra,
    results: tuple[Bytes, Bytes, Bytes],
) -> None:
    """Write one vertebra's mean into the results where it is the most likely one."""
    shape = np.array(instances.shape)
    start = _start(instances, one)
    lo = np.maximum([s.start - _ROOM for s in box], 0)
    hi = np.minimum([s.stop + _ROOM for s in box], shape)
    same = one.present and _is_same(instances, number, one, start)
    if same:
        lo = np.minimum(lo, np.maximum(start, 0))
        hi = np.maximum(hi, np.minimum(start + one.probability.shape, shape))
    there = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
    fine = maps.bone.array[there].astype(np.float32)
    if not same:
        own = instances.array[there] == number
        # A soft edge round the instance's voxels belongs to it where no other has them.
        near = ndimage.binary_dilation(own, iterations=2) & (instances.array[there] == 0)
        fine[~(own | near)] = 0
    body = np.where(maps.classes.array[there] == FineClass.BODY, fine, 0)
    if same:
        fine, body = (
            (1 - _SHARE) * a + _SHARE * placed(b.array, start - lo, hi - lo)
            for a, b in ((fine, one.probability), (body, one.body))
        )
    bone, front, owner = (result[there] for result in results)
    share = np.rint(fine).astype(np.uint8)
    wins = share > bone
    bone[wins] = share[wins]
    front[wins] = np.rint(body).astype(np.uint8)[wins]
    owner[wins] = number


def _is_same(instances: Volume, number: int, one: OneVertebra, start: NDArray[np.int64]) -> bool:
    shape = np.array(instances.shape)
    seen = placed(one.probability.array, start, shape) >= _HALF
    own = instances.array == number
    return bool((seen & own).sum() > _SAME * max(1, min(seen.sum(), own.sum())))


def placed(window: Bytes, start: NDArray[np.int64], shape: NDArray[np.int64]) -> Bytes:
    """Return an array of ``shape`` that holds a window from ``start`` on (both k, j, i)."""
    out = np.zeros(tuple(int(n) for n in shape), dtype=np.uint8)
    lo, hi = np.maximum(start, 0), np.minimum(start + window.shape, shape)
    if (hi > lo).all():
        into = tuple(slice(int(a), int(b)) for a, b in zip(lo, hi, strict=True))
        of = tuple(slice(int(a), int(b)) for a, b in zip(lo - start, hi - start, strict=True))
        out[into] = window[of]
    return out
