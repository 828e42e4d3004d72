"""Looks from both ends at what is as large as two vertebrae, and parts it where it sees two.

A crushed vertebra between whole ones shows two dense endplates with little between them, and the
fine pass may take it and a neighbour for one. The network that looks at one vertebra is told where
to look: from either end of the body it sees either vertebra. Of one tall vertebra it sees the same
from both ends, and nothing is parted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spineseg.methods.classes import FineClass
from spineseg.methods.doubts import two_in_one
from spineseg.methods.instances import Instance
from spineseg.methods.joint_look import placed
from spineseg.methods.mending import Size, sizes_of, usual_size
from spineseg.methods.one_vertebra import OneVertebra, VertebraLooker
from spineseg.volume import Volume

__all__ = ["look_apart"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_CHANCE = 0.01  # of being two, by size alone, from which on it is looked at
_ENDS = (0.15, 0.85)  # of a body's length: where is looked at
_NEAR_MM = 2.0
_APART = 0.4  # of a usual body's height, between the centres of two
_LEAST = 0.35  # of a usual vertebra's volume, that each of two has
_INSIDE = 0.5  # of what is seen that must be of this instance, or it is a neighbour
_HALF = 128


def look_apart(
    classes: Volume, instances: Volume, found: Sequence[Instance], looker: VertebraLooker
) -> tuple[Volume, list[Instance]]:
    """Part instances that are two vertebrae.

    Parameters
    ----------
    classes : Volume
        uint8 `FineClass`.
    instances : Volume
        uint8, 1 … n from the top, on the same grid, whose voxels lie on the looker's lattice.
    found : sequence of Instance
        In the order of the labels.
    looker : VertebraLooker

    Returns
    -------
    instances, found : the same where nothing was parted; `Instance.slip` says what was
    """
    found = list(found)
    array = np.array(instances.array)
    chances = two_in_one(instances, found, classes)
    sizes = sizes_of(array, found, classes)
    for number in range(len(found) - 1, -1, -1):
        usual = usual_size(found, sizes, [number])
        if chances[number] < _CHANCE or usual is None:
            continue
        own = array == number + 1
        two = _seen(
            own & (classes.array == FineClass.BODY), instances, found[number], looker, usual
        )
        if two is None or not all(_inside(one, own, instances) for one in two):
            continue
        _part(array, number, found, classes, two)
        sizes = sizes_of(array, found, classes)
    return instances.like(array), found


def _seen(
    body: Bools, grid: Volume, one: Instance, looker: VertebraLooker, usual: Size
) -> tuple[OneVertebra, OneVertebra] | None:
    """Return the upper and the lower vertebra that are seen from a body's ends; None if but one."""
    points = grid.ijk_to_ras(np.argwhere(body)[:, ::-1])
    along = (points - one.centroid) @ one.down
    low, high = np.percentile(along, [2, 98])
    at = [low + share * (high - low) for share in _ENDS]
    upper, lower = (looker.look(points[np.abs(along - a) < _NEAR_MM].mean(axis=0)) for a in at)
    return (upper, lower) if _are_two(upper, lower, one, usual, grid) else None


def _are_two(
    upper: OneVertebra, lower: OneVertebra, one: Instance, usual: Size, grid: Volume
) -> bool:
    if not (upper.present and lower.present):
        return False
    least = _LEAST * (usual.body + usual.arch) * grid.voxel_mm3 / 1000.0
    away = float((lower.center - upper.center) @ one.down)
    return away >= _APART * usual.height and min(upper.volume_ml, lower.volume_ml) >= least


def _on(one: OneVertebra, grid: Volume) -> NDArray[np.uint8]:
    """Return a look's probability on another grid of the lattice."""
    place = grid.grid.ras_to_ijk(one.probability.ijk_to_ras(np.zeros((1, 3))))[0]
    start = np.rint(place[::-1]).astype(np.int64)
    return placed(one.probability.array, start, np.array(grid.shape))


def _inside(one: OneVertebra, own: Bools, grid: Volume) -> bool:
    seen = _on(one, grid) >= _HALF
    return bool((seen & own).sum() > _INSIDE * max(1, int(seen.sum())))


def _part(
    array: NDArray[np.uint8],
    number: int,
    found: list[Instance],
    classes: Volume,
    two: tuple[OneVertebra, OneVertebra],
) -> None:
    """Make the instance `number` (from 0) two, in place."""
    one = found[number]
    array[array > number + 1] += 1
    mine = np.argwhere(array == number + 1)
    above, below = (_on(each, classes)[tuple(mine.T)].astype(int) for each in two)
    middle = (two[0].center + two[1].center) / 2
    deep = (classes.ijk_to_ras(mine[:, ::-1]) - middle) @ one.down > 0
    lower = np.where(above == below, deep, below > above)
    array[tuple(mine[lower].T)] = number + 2
    is_body = classes.array[tuple(mine.T)] == FineClass.BODY
    found[number : number + 1] = [
        replace(
            one,
            centroid=each.center,
            n_voxels=int(half.sum()),
            body_voxels=int((half & is_body).sum()),
            slip="told apart",
        )
        for each, half in zip(two, (~lower, lower), strict=True)
    ]
