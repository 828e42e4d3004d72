"""From the fine pass' grid back to the scan's own, one vertebra after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg.methods.classes import FineClass
from spineseg.methods.refine import refine_edges, tidy
from spineseg.progress import Progress
from spineseg.volume import Volume

__all__ = ["FineMaps", "block_of", "covered", "decide", "to_scan"]

Bytes = NDArray[np.uint8]

_GROWN = 3  # voxels by which labels are continued, so that they reach the outline's outer side
_ROOM = 2  # voxels around a vertebra, so that its outline ends inside the block
_FULL = 255


@dataclass
class FineMaps:
    """What is kept of the fine pass, all on one grid along the RAS axes.

    Attributes
    ----------
    classes : Volume
        uint8 `FineClass`.
    bone : Volume
        uint8, probability of body or posterior parts, 0–255.
    offsets : float16 (3, k, j, i)
        From a voxel to its vertebra's body centre, RAS, mm.
    """

    classes: Volume
    bone: Volume
    offsets: NDArray[np.float16]


def covered(maps: FineMaps, scan: Volume) -> Volume:
    """Return a bool mask: which voxels of the fine grid lie inside the scan."""
    grid = maps.classes.grid
    lines = []
    start = scan.ras_to_ijk(grid.ijk_to_ras(np.zeros((1, 3))))[0]
    for axis in range(3):  # i, j, k: the map is linear, so each index adds its own part
        step = np.zeros((1, 3))
        step[0, axis] = 1
        move = scan.ras_to_ijk(grid.ijk_to_ras(step))[0] - start
        lines.append(np.arange(grid.shape[2 - axis])[:, None] * move)
    last = np.array(scan.shape[::-1]) - 0.5
    inside = np.empty(grid.shape, dtype=bool)
    for k in range(grid.shape[0]):
        place = start + lines[2][k] + lines[1][:, None] + lines[0][None]
        inside[k] = ((place >= -0.5) & (place <= last)).all(axis=-1)
    return maps.classes.like(inside)


def to_scan(
    scan: Volume,
    maps: FineMaps,
    instances: Volume,
    threshold: float,
    refine: bool,
    progress: Progress,
) -> tuple[Volume, Volume]:
    """Outline each vertebra on the scan's grid.

    Parameters
    ----------
    scan : Volume
        HU.
    maps : FineMaps
    instances : Volume
        uint8, 1 … n, on the fine grid.
    threshold : float
        Probability from which on a voxel is bone.
    refine : bool
        Whether the scan's values move the edges (`spineseg.methods.refine`).
    progress : Progress

    Returns
    -------
    labels : Volume
        uint8, 1 … n, on the scan's grid.
    bodies : Volume
        uint8, 1 in the vertebral bodies.
    """
    classes = maps.classes.array
    vertebral = (classes == FineClass.BODY) | (classes == FineClass.POSTERIOR)
    grown = _continued(instances.array, blocked=vertebral & (instances.array == 0))
    labels = np.zeros(scan.shape, dtype=np.uint8)
    bodies = np.zeros(scan.shape, dtype=np.uint8)
    best = np.zeros(scan.shape, dtype=np.uint8)  # pages are real memory only where touched
    boxes = ndimage.find_objects(grown)
    for label, box in enumerate(boxes, start=1):
        progress("outline", (label - 1) / len(boxes), f"vertebra {label} of {len(boxes)}")
        if box is None:
            continue
        lo = [max(s.start - _ROOM, 0) for s in box]
        hi = [min(s.stop + _ROOM, n) for s, n in zip(box, grown.shape, strict=True)]
        block = block_of(scan, instances.grid.cropped(lo, hi).corners())
        if block is not None:
            one = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
            own = np.where(grown[one] == label, _FULL, 0).astype(np.uint8)
            part = instances.crop(lo, hi)
            _outline(
                scan, maps, part.like(own), (lo, hi), block, label, (labels, bodies, best),
                threshold, refine,
            )  # fmt: skip
    _tidy_all(labels, len(boxes))
    bodies[labels == 0] = 0
    progress("outline", 1.0)
    return scan.like(labels), scan.like(bodies)


def _outline(
    scan: Volume,
    maps: FineMaps,
    own: Volume,
    box: tuple[list[int], list[int]],
    block: tuple[slice, ...],
    label: int,
    results: tuple[Bytes, Bytes, Bytes],
    threshold: float,
    refine: bool,
) -> None:
    """Write one vertebra into the block of the results where it is the most likely one."""
    labels, bodies, best = (result[block] for result in results)
    grid = scan.grid.cropped([s.start for s in block], [s.stop for s in block])
    mine = own.resampled_like(grid, order=1).array
    wins = mine > best
    if not wins.any():
        return
    bone = maps.bone.crop(*box).resampled_like(grid, order=1).array
    # Beyond the half way to a neighbour the bone is not this one's: it sets no level here.
    share = np.where(mine > 0, bone, 0).astype(np.float32) / np.float32(_FULL)
    inside = decide(scan, block, share, threshold, refine)
    best[wins] = mine[wins]
    labels[wins] = np.where(inside[wins], label, 0)
    classes = maps.classes.crop(*box)
    front, back = (
        classes.like(np.where(classes.array == kind, _FULL, 0).astype(np.uint8))
        .resampled_like(grid, order=1)
        .array
        for kind in (FineClass.BODY, FineClass.POSTERIOR)
    )
    bodies[wins] = (front > back)[wins]


def decide(
    scan: Volume,
    block: tuple[slice, ...],
    share: NDArray[np.float32],
    threshold: float,
    refine: bool,
) -> NDArray[np.bool_]:
    """Return which voxels of a block of the scan are bone.

    Parameters
    ----------
    scan : Volume
        HU.
    block : tuple of slice
        Part of it, (k, j, i).
    share : float32 (k, j, i)
        Probability there, 0 to 1.
    threshold : float
        Probability from which on a voxel is bone.
    refine : bool
        Whether the scan's values move the edges (`spineseg.methods.refine`).
    """
    if not refine:
        return share >= threshold
    i, j, k = scan.spacing
    return refine_edges(scan.array[block].astype(np.float32), share, (k, j, i), threshold)


def block_of(scan: Volume, corners: NDArray[np.float64]) -> tuple[slice, ...] | None:
    """Return the part (k, j, i) of a scan that holds some points (RAS mm), or None."""
    place = scan.ras_to_ijk(corners)[:, ::-1]
    size = np.array(scan.shape)
    lo = np.clip(np.floor(place.min(axis=0)).astype(int), 0, size)
    hi = np.clip(np.ceil(place.max(axis=0)).astype(int) + 1, 0, size)
    if (hi <= lo).any():
        return None
    return tuple(slice(int(a), int(b)) for a, b in zip(lo, hi, strict=True))


def _continued(labels: Bytes, blocked: NDArray[np.bool_]) -> Bytes:
    """Let labels grow by a few voxels into the background, but not into what is blocked."""
    grown = labels.copy()
    for _ in range(_GROWN):
        before = grown.copy()
        for axis in range(3):
            for step in (1, -1):
                ahead: list[slice] = [slice(None)] * 3
                behind: list[slice] = [slice(None)] * 3
                ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
                target, source = (ahead, behind) if step > 0 else (behind, ahead)
                view, free = grown[tuple(target)], ~blocked[tuple(target)]
                np.copyto(view, before[tuple(source)], where=free & (view == 0))
    return grown


def _tidy_all(labels: Bytes, n: int) -> None:
    """Tidy each label in place; a filled hole never takes a voxel of another vertebra."""
    for label, box in enumerate(ndimage.find_objects(labels, max_label=n), start=1):
        if box is None:
            continue
        view = labels[box]
        mask = view == label
        clean = tidy(mask)
        view[mask & ~clean] = 0
        view[clean & (view == 0)] = label
