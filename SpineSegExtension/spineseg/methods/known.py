"""What is segmented already, as far as the next vertebra needs to know it.

A label map of a whole scan is large, and a click needs little of it: the labels near by, where
the others are, and which numbers are taken. That little is also what goes to another process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.errors import InputError
from spineseg.grid import Grid
from spineseg.labels import FIRST_UNSURE, LAST_UNSURE, OTHER_BONE, is_vertebra
from spineseg.methods.one_vertebra import OneVertebra
from spineseg.volume import Volume

__all__ = ["Known", "Part", "inside"]

Bools = NDArray[np.bool_]
Memory = Callable[[Grid], Bools]

_REACH_MM = 110.0  # the farthest that a window reaches from a click, with room to be re-centred
_HALF = 128  # of 255
_SAME = 0.5  # overlap, as a share of the smaller, from which on two are one vertebra


@dataclass(frozen=True)
class Part:
    """A label's centroid (RAS mm) and its volume in mm³."""

    center: tuple[float, float, float]
    mm3: float


@dataclass(frozen=True)
class Known:
    """Labels near a point, and a row for each label of the whole map.

    Attributes
    ----------
    near : Volume or None
        uint8 label map, a crop of the scan's grid; None where nothing is known near by.
    parts : mapping of int to Part
    """

    near: Volume | None = None
    parts: Mapping[int, Part] = field(default_factory=dict)

    @classmethod
    def around(cls, labels: Volume | None, scan: Grid, point: ArrayLike) -> Known:
        """Take from a label map on the scan's grid what a click at a point (RAS mm) needs.

        Raises
        ------
        InputError
            The map lies on another grid, or its values are no labels.
        """
        if labels is None:
            return cls()
        if not labels.grid.same_as(scan, 0.05):
            raise InputError(
                "The segmentation does not lie on the scan's grid, so it may be of another scan.",
                "Choose the one that was made from this scan, or resample it onto its grid.",
            )
        array = labels.array
        bytes_ = array.dtype in (np.uint8, np.bool_)  # which can't hold anything else
        whole = array.dtype.kind in "iu"
        if not bytes_ and not (whole and array.min() >= 0 and array.max() <= LAST_UNSURE):
            raise InputError(
                "The segmentation holds other values than labels from 0 to 255.",
                "Choose a label map of vertebrae.",
            )
        parts = _parts(labels.astype(np.uint8))
        return cls(_near(labels, np.asarray(point, dtype=float)) if parts else None, parts)

    def memory(self, without: int | None = None) -> Memory | None:
        """Return a look's memory: all that is known near by, but for one label."""
        if self.near is None:
            return None
        held = (self.near.array > 0) & (self.near.array != OTHER_BONE)
        if without is not None:
            held &= self.near.array != without
        if not held.any():
            return None
        whole = self.near.like(held.astype(np.uint8))
        return lambda grid: whole.resampled_like(grid, order=0).array > 0

    def owner(self, one: OneVertebra) -> int | None:
        """Return the label of the known vertebra that this one is: they overlap by over half."""
        if self.near is None:
            return None
        mine = inside(one)
        found = self.near.resampled_like(one.probability.grid, order=0).array[mine]
        count = np.bincount(found, minlength=LAST_UNSURE + 1)
        cell, size = one.probability.voxel_mm3, float(mine.sum())
        best, most = None, 0
        for label, part in self.parts.items():
            smaller = min(size, part.mm3 / cell)
            if is_vertebra(label) and count[label] > max(most, _SAME * smaller):
                best, most = label, int(count[label])
        return best

    def free_label(self) -> int:
        """Return the first number for a vertebra of unsure level that is not taken."""
        for label in range(FIRST_UNSURE, LAST_UNSURE + 1):
            if label not in self.parts:
                return label
        raise InputError(
            "The segmentation has no number left for another vertebra of unsure level.",
            "Name some of them first.",
        )


def inside(one: OneVertebra) -> Bools:
    """Return where (k, j, i) a vertebra is more likely than not."""
    return np.asarray(one.probability.array >= _HALF)


def _near(labels: Volume, point: NDArray[np.float64]) -> Volume | None:
    place = labels.ras_to_ijk(point[None])[0][::-1]
    # Along an index axis, a ball of this radius reaches this many voxels.
    rows = np.linalg.inv(labels.affine[:3, :3])
    reach = _REACH_MM * np.linalg.norm(rows, axis=1)[::-1]
    size = np.array(labels.shape)
    lo = np.clip(np.floor(place - reach).astype(int), 0, size)
    hi = np.clip(np.ceil(place + reach).astype(int) + 1, 0, size)
    if (hi <= lo).any():
        return None
    part = labels.crop(lo.tolist(), hi.tolist()).astype(np.uint8)
    return part if part.array.any() else None


def _parts(labels: Volume) -> dict[int, Part]:
    """Describe each label; only the part of a slice that holds any is looked at closely."""
    count = np.zeros(LAST_UNSURE + 1)
    total = np.zeros((3, LAST_UNSURE + 1))
    for k, plane in enumerate(labels.array):
        rows = np.flatnonzero(plane.any(axis=1))
        if not len(rows):
            continue
        part = plane[rows[0] : rows[-1] + 1]
        j, i = np.nonzero(part)
        value = part[j, i]
        here = np.bincount(value, minlength=len(count))
        count += here
        total[0] += np.bincount(value, i, len(count))
        total[1] += np.bincount(value, j + rows[0], len(count))
        total[2] += here * k
    found = np.flatnonzero(count)
    middles = labels.ijk_to_ras((total[:, found] / count[found]).T)
    return {
        int(label): Part((float(x), float(y), float(z)), float(count[label]) * labels.voxel_mm3)
        for label, (x, y, z) in zip(found, middles, strict=True)
    }
