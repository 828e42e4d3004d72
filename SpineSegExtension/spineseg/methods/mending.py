"""Catches what shifts a count: a vertebra seen in two parts, and two that are seen as one.

A block of fused vertebrae is twice as tall and as large as its neighbours, arch included. It is
parted halfway, where it is narrowest, so that each of its vertebrae has its name. Two neighbours
that are as large as one vertebra together, arch included, are its halves, and are joined. Two
crushed vertebrae are not: each has an arch of its own. And an arch that lies between two bodies
with no room for another goes to the nearer one, and a dens to its axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg.methods.classes import FineClass
from spineseg.methods.instances import Instance
from spineseg.volume import Volume

__all__ = ["Size", "apart", "join", "mend_slips", "sizes_of", "usual_size"]

Floats = NDArray[np.float64]
Box = tuple[slice, ...]

_NEIGHBOURS = 2  # on each side, whose sizes are compared
_NEAR = 4  # vertebrae on each side, whose distances are compared
# Shares of a usual neighbour. A block is at least so tall, and has at least so much body and arch:
_BLOCK = (1.55, 1.45, 1.3)
# Two halves together are at most so tall, and have at most so much body and arch:
_HALVES = (1.3, 1.35, 1.5)
_HALVES_GAP = 0.68  # of the usual distance between centres
_AXIS = 2.0  # the axis with its dens is as much taller than the vertebra below it
_TAIL = 0.25  # of a vertebra: arches hang lower than bodies
_DENS_GAP = 0.6  # of the usual distance between centres
_DENS_ARCH = 0.35  # of a usual arch
# A block of which only the bodies are one: so tall, and so far from its neighbours' bodies.
_LONG = (1.4, 1.22)
_ROOM = 1.5  # of the usual distance between centres: less has no room for one more vertebra


@dataclass(frozen=True)
class Size:
    """Height of a body along the spine, mm; volumes of body and arch, voxels."""

    height: float
    body: float
    arch: float

    def of(self, usual: Size) -> tuple[float, float, float]:
        """As shares of a usual one."""
        return (
            self.height / max(usual.height, 1.0),
            self.body / max(usual.body, 1.0),
            self.arch / max(usual.arch, 1.0),
        )


def mend_slips(
    instances: Volume, found: Sequence[Instance], classes: Volume
) -> tuple[Volume, list[Instance]]:
    """Join parts of vertebrae, and part blocks of two.

    Parameters
    ----------
    instances : Volume
        uint8, 1 … n from the top.
    found : sequence of Instance
        In the order of the labels.
    classes : Volume
        uint8 `FineClass`, on the same grid.

    Returns
    -------
    instances, found : the same where nothing was mended; `Instance.slip` says what was
    """
    found = list(found)
    if len(found) < 3:
        return instances, found
    array = np.array(instances.array)
    _join_arches(array, found, classes)
    sizes = sizes_of(array, found, classes)
    if _is_dens(found, sizes):
        join(array, 1, found)
        found[1] = replace(found[1], slip="")
        sizes = sizes_of(array, found, classes)
    for number in range(len(found) - 1, 0, -1):
        if _are_halves(number - 1, found, sizes):
            join(array, number - 1, found)
            sizes = sizes_of(array, found, classes)
    for number in range(len(found) - 1, -1, -1):
        usual = usual_size(found, sizes, [number])
        if usual is not None and _is_block(number, found, sizes, usual):
            _part(array, number, found, classes, usual)
            sizes.insert(number, sizes[number])
    # The arch of a block's upper vertebra may have been seen by itself.
    _join_arches(array, found, classes)
    return instances.like(array), found


def _join_arches(array: NDArray[np.uint8], found: list[Instance], classes: Volume) -> None:
    """Give arches without a body, other than the atlas, to the neighbour that they belong to."""
    sizes: list[Size] = []
    for number in range(len(found) - 1, 0, -1):
        one = found[number]
        if one.has_body or not one.complete:
            continue
        above = found[number - 1]
        below = found[number + 1] if number + 1 < len(found) else None
        if below is None:
            continue
        if above.has_body:
            # A block's arches may be apart though its bodies are one: they are parted later.
            sizes = sizes or sizes_of(array, found, classes)
            blocks = [_is_long(n, found, sizes) for n in (number - 1, number + 1)]
            if any(blocks):
                join(array, number - 1 if blocks[0] else number, found)
                sizes = []
                continue
            usual = _usual_gap(found, [number])
            if not below.has_body or usual is None or apart(above, below) > _ROOM * usual:
                continue
        # Two atlases: no vertebra but the uppermost lacks a body.
        upper = apart(above, one) < apart(one, below) or not above.has_body
        join(array, number - 1 if upper else number, found)
        sizes = []


def _is_long(number: int, found: Sequence[Instance], sizes: Sequence[Size]) -> bool:
    """Whether a body is tall, and its neighbours' bodies are far from it, as a block's are."""
    bodies = [n for n, one in enumerate(found) if one.has_body]
    if number not in bodies[1:-1] or not found[number].complete:
        return False
    usual = usual_size(found, sizes, [number])
    near = bodies[max(0, bodies.index(number) - _NEAR) : bodies.index(number) + _NEAR + 1]
    gaps = {(a, b): apart(found[a], found[b]) for a, b in pairwise(near)}
    own = [gap for pair, gap in gaps.items() if number in pair]
    others = [gap for pair, gap in gaps.items() if number not in pair]
    if usual is None or not others or sizes[number].height < _LONG[0] * usual.height:
        return False
    return float(np.mean(own)) > _LONG[1] * float(np.median(others))


def sizes_of(array: NDArray[np.uint8], found: Sequence[Instance], classes: Volume) -> list[Size]:
    """Measure instances, whose labels in `array` are 1 … n; `classes` on the same grid."""
    sizes = []
    boxes = ndimage.find_objects(array, max_label=len(found))
    for number, (one, box) in enumerate(zip(found, boxes, strict=True), start=1):
        height = 0.0
        if box is not None and one.has_body:
            along = _along(array, number, box, one, classes)[1]
            if len(along):
                low, high = np.percentile(along, [3, 97])
                height = float(high - low) + 0.06 * float(high - low) + min(classes.spacing)
        arch = float(one.n_voxels - one.body_voxels)
        sizes.append(Size(height, float(one.body_voxels), arch))
    return sizes


def _along(
    array: NDArray[np.uint8], number: int, box: Box, one: Instance, classes: Volume
) -> tuple[NDArray[np.int64], Floats]:
    """Body voxels (n, 3) of one instance, and how far below its centre they lie, mm."""
    mine = (array[box] == number) & (classes.array[box] == FineClass.BODY)
    kji = np.argwhere(mine) + np.array([s.start for s in box])
    return kji, np.asarray((classes.ijk_to_ras(kji[:, ::-1]) - one.centroid) @ one.down)


def usual_size(found: Sequence[Instance], sizes: Sequence[Size], but: Sequence[int]) -> Size | None:
    """Median size of the nearest whole vertebrae that have a body, other than some."""
    others = []
    for ways in (range(but[0] - 1, -1, -1), range(but[-1] + 1, len(found))):
        whole = [n for n in ways if found[n].has_body and found[n].complete and sizes[n].height]
        others += whole[:_NEIGHBOURS]
    if len(others) < 2:
        return None
    rows = np.array([(sizes[n].height, sizes[n].body, sizes[n].arch) for n in others])
    height, body, arch = (float(v) for v in np.median(rows, axis=0))
    return Size(height, body, arch)


def _is_dens(found: Sequence[Instance], sizes: Sequence[Size]) -> bool:
    """Whether the second one is only the axis's dens: within the atlas, or without an arch."""
    if len(found) < 4 or found[0].has_body or not all(one.complete for one in found[:3]):
        return False
    usual, gap = usual_size(found, sizes, [1, 2]), _usual_gap(found, [1, 2])
    if not (found[1].has_body and found[2].has_body) or usual is None or gap is None:
        return False
    away = apart(found[0], found[1])
    return sizes[1].body < usual.body * 1.2 and (
        away < _DENS_GAP * gap or sizes[1].arch < _DENS_ARCH * usual.arch
    )


def _is_block(number: int, found: Sequence[Instance], sizes: Sequence[Size], usual: Size) -> bool:
    one = found[number]
    if not (one.has_body and one.complete):
        return False
    # The first body may be the axis, which is as tall as two by itself.
    first = not any(other.has_body for other in found[:number])
    least = np.array(_BLOCK) * (np.array([_AXIS, 1.6, 1.0]) if first else 1.0)
    return bool(np.all(np.array(sizes[number].of(usual)) >= least))


def _are_halves(upper: int, found: Sequence[Instance], sizes: Sequence[Size]) -> bool:
    pair = [upper, upper + 1]
    if not all(found[n].has_body and found[n].complete for n in pair):
        return False
    usual = usual_size(found, sizes, pair)
    gap_usual = _usual_gap(found, pair)
    if usual is None or gap_usual is None:
        return False
    gap = apart(found[upper], found[upper + 1])
    a, b = (sizes[n] for n in pair)
    both = Size(a.height + b.height, a.body + b.body, a.arch + b.arch)
    return gap < _HALVES_GAP * gap_usual and bool(np.all(np.array(both.of(usual)) <= _HALVES))


def _usual_gap(found: Sequence[Instance], pair: Sequence[int]) -> float | None:
    """Median distance between neighbours near a pair, its own gaps left out."""
    gaps = []
    for n in range(max(0, pair[0] - 3), min(len(found) - 1, pair[-1] + 3)):
        if not {n, n + 1} & set(pair):
            gaps.append(apart(found[n], found[n + 1]))
    return float(np.median(gaps)) if gaps else None


def apart(upper: Instance, lower: Instance) -> float:
    """Return the mm between two vertebrae's centres."""
    return float(np.linalg.norm(lower.centroid - upper.centroid))


def join(array: NDArray[np.uint8], upper: int, found: list[Instance]) -> None:
    """Make one of the instance `upper` (from 0) and the one below it, in place."""
    a, b = found[upper], found[upper + 1]
    whole = a if a.body_voxels >= b.body_voxels else b
    weight = a.body_voxels / max(a.body_voxels + b.body_voxels, 1)
    if not a.has_body and not b.has_body:
        weight = a.n_voxels / max(a.n_voxels + b.n_voxels, 1)
    found[upper : upper + 2] = [
        replace(
            whole,
            centroid=weight * a.centroid + (1 - weight) * b.centroid,
            n_voxels=a.n_voxels + b.n_voxels,
            body_voxels=a.body_voxels + b.body_voxels,
            quality=min(a.quality, b.quality),
            slip="joined" if a.has_body and b.has_body else whole.slip,
        )
    ]
    array[array > upper + 1] -= 1


def _part(
    array: NDArray[np.uint8], number: int, found: list[Instance], classes: Volume, usual: Size
) -> None:
    one = found[number]
    box = ndimage.find_objects(array, max_label=number + 1)[number]
    body, along = _along(array, number + 1, box, one, classes)
    cut = _narrowest(along, usual.height, 1.5 * max(classes.spacing))
    array[array > number + 1] += 1
    mine = np.argwhere(array[box] == number + 1) + np.array([s.start for s in box])
    below = (classes.ijk_to_ras(mine[:, ::-1]) - one.centroid) @ one.down
    is_body = classes.array[tuple(mine.T)] == FineClass.BODY
    lower = below > np.where(is_body, cut, cut + _TAIL * usual.height)
    array[tuple(mine[lower].T)] = number + 2
    halves = []
    for half in (~lower, lower):
        ras = classes.ijk_to_ras(mine[half & is_body][:, ::-1])
        halves.append(
            replace(
                one,
                centroid=ras.mean(axis=0) if len(ras) else one.centroid,
                n_voxels=int(half.sum()),
                body_voxels=len(ras),
                slip="parted",
            )
        )
    found[number : number + 1] = halves


def _narrowest(along: Floats, height: float, step: float) -> float:
    """Where a block is parted, mm below its centre: narrowest about a vertebra above its foot."""
    low, high = np.percentile(along, [2, 98])
    middle = max((low + high) / 2, high - 1.2 * height)
    edges = np.arange(middle - 0.25 * height, middle + 0.25 * height + step, step)
    if len(edges) < 3:
        return float(middle)
    section = ndimage.gaussian_filter1d(np.histogram(along, edges)[0].astype(float), 1.0)
    # A block without a waist is parted in its middle.
    centers = (edges[:-1] + edges[1:]) / 2
    off = (centers - middle) / (0.25 * height)
    return float(centers[int(np.argmin(section / max(section.mean(), 1.0) + 0.3 * off**2))])
