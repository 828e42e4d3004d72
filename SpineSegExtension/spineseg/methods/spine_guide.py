"""Where the spine runs and where its regions meet, by the coarse pass: what a walk is guided by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.geometry.spine_curve import SpineCurve, fit_curve
from spineseg.methods.classes import CoarseClass
from spineseg.methods.sacral import coarse_counts
from spineseg.methods.spine_region import VERTEBRAL
from spineseg.volume import Volume

__all__ = ["Guide", "make_guide"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_CANAL_ML = 1.0  # less canal than this does not show where the bodies are
_BODY_SIDE, _BODY_FRONT = 14.0, 4.0  # mm: bodies lie so near the canal's line, and before it
_LEAST_ML = 1.5  # of both regions, for their border to be believed
_HALF = {CoarseClass.THORACIC: 10.0, CoarseClass.LUMBAR: 16.0}  # mm: half a T1, half an L1
_FURTHER_MM = 15.0

_CERVICAL = (CoarseClass.UPPER_CERVICAL, CoarseClass.LOWER_CERVICAL)
_NO_SPINE = (CoarseClass.SACRUM, CoarseClass.OTHER_BONE)


@dataclass(frozen=True)
class Guide:
    """The spine as the coarse pass saw it.

    Attributes
    ----------
    curve : SpineCurve
        Down the vertebral bodies.
    regions : Volume
        uint8 `CoarseClass`.
    first, last : float
        mm along the curve between which vertebrae were seen.
    borders : tuple of (float, float)
        For the thoraco-lumbar and the cervico-thoracic border, as far as they are in view: mm along
        the curve, and half the height of the vertebra below.
    """

    curve: SpineCurve
    regions: Volume
    first: float
    last: float
    borders: tuple[tuple[float, float], ...]

    def along(self, point: ArrayLike) -> float:
        """Return the mm along the curve of a point (RAS mm)."""
        return float(self.curve.project(np.asarray(point, dtype=float)[None])[0, 0])

    def aside(self, point: ArrayLike) -> float:
        """Return how far a point (RAS mm) lies from the curve, mm."""
        place = self.curve.project(np.asarray(point, dtype=float)[None])[0]
        return float(np.hypot(place[1], place[2]))

    def onward(self, point: ArrayLike, step_mm: float) -> Floats:
        """Return the point (RAS mm) that lies this far along the spine from another."""
        start = np.asarray(point, dtype=float)
        at = self.along(start)
        return start + self.curve.at(at + step_mm) - self.curve.at(at)

    def starts(self) -> Iterator[Floats]:
        """Give points to begin at, RAS mm: at the borders in view, else in the middle.

        Of two borders the thoraco-lumbar one comes first: its vertebrae are larger.
        """
        for border, half in self.borders:
            yield self.curve.at(border + half)
            yield self.curve.at(border - half)
        middle, reach = (self.first + self.last) / 2, (self.last - self.first) / 2
        yield self.curve.at(middle)
        for away in np.arange(_FURTHER_MM, reach, _FURTHER_MM):
            yield self.curve.at(middle + away)
            yield self.curve.at(middle - away)

    def counts(self, grid: Volume, mask: Bools) -> NDArray[np.int64]:
        """Count each `CoarseClass` at the voxels of a mask (k, j, i) of another grid."""
        kji = np.argwhere(mask)
        return coarse_counts(grid, kji[:: max(1, len(kji) // 4000)], self.regions)

    def off_spine(self, grid: Volume, mask: Bools) -> bool:
        """Whether most of a mask is sacrum, or bone that is not of the spine."""
        seen = self.counts(grid, mask)
        return int(seen[list(_NO_SPINE)].sum()) > int(seen[list(VERTEBRAL)].sum())


def make_guide(regions: Volume, spine: Volume) -> Guide:
    """Draw a line down the vertebral bodies.

    Parameters
    ----------
    regions : Volume
        uint8 `CoarseClass`.
    spine : Volume
        bool, on the same grid: what belongs to the spine (`spine_region.find_spine`).

    Raises
    ------
    InputError
        There are too few voxels to follow.
    """
    kji = np.argwhere(np.isin(regions.array, VERTEBRAL) & spine.array)
    points, kind = regions.ijk_to_ras(kji[:, ::-1]), regions.array[tuple(kji.T)]
    body = _bodies(points, regions, spine)
    curve = fit_curve(points[body])
    along = curve.project(points[body])[:, 0]
    first, last = np.percentile(along, [0.5, 99.5])
    borders = []
    for above, below in (
        ((*_CERVICAL, CoarseClass.THORACIC), CoarseClass.LUMBAR),
        (_CERVICAL, CoarseClass.THORACIC),
    ):
        upper, lower = along[np.isin(kind[body], above)], along[kind[body] == below]
        border = _border(upper, lower, _LEAST_ML / (regions.voxel_mm3 / 1000.0))
        if border is not None:
            borders.append((border, _HALF[below]))
    return Guide(curve, regions, float(first), float(last), tuple(borders))


def _bodies(points: Floats, regions: Volume, spine: Volume) -> Bools:
    """Which points lie before the canal; all of them where no canal shows the way."""
    canal = np.argwhere((regions.array == CoarseClass.CANAL) & spine.array)
    every = np.ones(len(points), dtype=bool)
    if len(canal) * regions.voxel_mm3 / 1000.0 < _CANAL_ML or len(canal) < 10:
        return every
    place = fit_curve(regions.ijk_to_ras(canal[:, ::-1])).project(points)
    body = (np.abs(place[:, 1]) < _BODY_SIDE) & (place[:, 2] < -_BODY_FRONT)
    return body if body.sum() >= 0.1 * len(points) and body.sum() >= 10 else every


def _border(upper: Floats, lower: Floats, least: float) -> float | None:
    """Return where most of one region lies above and most of the other below, or None."""
    if min(len(upper), len(lower)) < least:
        return None
    edges = np.arange(min(upper.min(), lower.min()), max(upper.max(), lower.max()) + 2.0)
    above = np.searchsorted(np.sort(upper), edges)
    below = len(lower) - np.searchsorted(np.sort(lower), edges)
    right = above + below
    if right.max() < 0.8 * (len(upper) + len(lower)):
        return None
    # As good anywhere in the disc between both: its middle.
    return float(edges[right == right.max()].mean())
