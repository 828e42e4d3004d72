"""Notices what may be miscounted: two vertebrae seen as one, and one left out at an end.

Nothing is changed here: `levels` weighs the first beside all other ways of counting, and the user
is told of the second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spineseg.methods.classes import FineClass
from spineseg.methods.instances import Instance
from spineseg.methods.mending import sizes_of, usual_size
from spineseg.volume import Volume

__all__ = ["left_out", "two_in_one"]

Floats = NDArray[np.float64]

_TWO = 0.003  # chance of a vertebra to be two that were seen as one, before its size is known
# Log of height and of arch over the neighbours': mean and SD of one vertebra (249 of digital
# patients: SD 0.07 and 0.10, a little more in patients), and of two, crushed ones too (assumed).
_ONE_SIZE = ((0.0, 0.09), (0.0, 0.12))
_TWO_SIZE = ((0.55, 0.2), (0.45, 0.2))
_TAIL = 4.0  # degrees of freedom of Student's t, as in `levels`
_MOST = 0.5  # chance that size alone can give
_REACH_MM = (70.0, 35.0)  # beyond the outermost centre, along the spine and aside


def two_in_one(instances: Volume, found: Sequence[Instance], classes: Volume) -> list[float]:
    """Return for each instance the chance, by its size alone, that it is two vertebrae.

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
    list of float
        0 to 0.5; 0 where the size is unknown or has nothing to be compared with, and for the
        first two: an axis with its dens is as tall as two, or not, and an atlas's body is none.
    """
    sizes = sizes_of(instances.array, found, classes)
    chances = []
    for number, one in enumerate(found):
        usual = usual_size(found, sizes, [number])
        if number < 2 or usual is None or not (one.has_body and one.complete):
            chances.append(0.0)
            continue
        height, _, arch = np.log(np.maximum(sizes[number].of(usual), 0.05))
        odds = np.log(_TWO) + sum(
            _fit(value, *two) - _fit(value, *single)
            for value, two, single in zip((height, arch), _TWO_SIZE, _ONE_SIZE, strict=True)
        )
        chances.append(float(min(_MOST, 1 / (1 + np.exp(-odds)))))
    return chances


def _fit(value: float, mean: float, sd: float) -> float:
    """Log likelihood of Student's t, but for a constant."""
    off = (value - mean) / sd
    return float(-(_TAIL + 1) / 2 * np.log1p(off**2 / _TAIL) - np.log(sd))


def left_out(instances: Volume, found: Sequence[Instance], classes: Volume) -> tuple[float, float]:
    """Return how much of a vertebral body no instance has, above the first and below the last.

    Parameters as in `two_in_one`; of the outermost bodies' own volumes.
    """
    if not found:
        return 0.0, 0.0
    free = (classes.array == FineClass.BODY) & (instances.array == 0)
    points = classes.ijk_to_ras(np.argwhere(free)[:, ::-1])
    shares = []
    for one, side in ((found[0], -1.0), (found[-1], 1.0)):
        away = points - one.centroid
        along = away @ one.down
        aside = np.linalg.norm(away - along[:, None] * one.down, axis=1)
        near = (side * along > 0) & (side * along < _REACH_MM[0]) & (aside < _REACH_MM[1])
        shares.append(float(near.sum() / max(one.body_voxels, 1)))
    return shares[0], shares[1]
