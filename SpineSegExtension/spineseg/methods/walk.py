"""The walk along the spine: one vertebra after the other, each given what is known already.

Iterative instance segmentation with a memory (Lessmann et al. 2019), begun where paper 002 begins:
at a border between regions. From each vertebra the next is expected as far on as the last two lie
apart, along the line that the coarse pass drew. One miss does not end the walk; the sacrum, the
skull and the end of the scan do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.grid import Grid
from spineseg.methods.one_vertebra import OneVertebra, VertebraLooker, settle
from spineseg.methods.spine_guide import Guide
from spineseg.progress import Progress
from spineseg.volume import Volume

__all__ = ["Memory", "Seen", "Walk", "cropped", "united"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_HALF = 128  # of 255
_LEAST_ML = 0.8  # as in `instances`: a vertebra that the field of view cuts needs this much
_SMALL = 0.3  # of its neighbour's volume: less, and whole, is a left-over and no vertebra
_BODY_MM3 = 500.0  # less is no body
_ASIDE_MM = 40.0
_CUT_MM = 3.0  # from the scan's edge
_CUT_VOXELS = 10
_TRIES = (1.0, 0.8, 1.25)  # of the distance expected, for the next vertebra
_FURTHER = 1.9  # and for the one after it, should the next be missed
_STRIDE_MM = (12.0, 42.0)
_ONWARD_MM = 4.0  # at least so far on; `_sound` asks for more, by the vertebrae's sizes
_NO_BODY_MM = 17.0  # from C1 to C2
_DISC = 1.25  # distance between bodies over a body's height
_MOST = 32  # no spine has more vertebrae


@dataclass(frozen=True, eq=False)
class Seen:
    """A vertebra that the walk has come by.

    Attributes
    ----------
    one : OneVertebra
        Its volumes cut to what they hold.
    along : float
        Its place along the guide, mm.
    cut, body_cut : bool
        Whether it, and whether its body, touches the edge of the scan.
    height : float or None
        Of its body along the spine, mm; None where it has none.
    kept : int or None
        Its label in the user's map, where it must stay as it is there.
    """

    one: OneVertebra
    along: float
    cut: bool
    body_cut: bool
    height: float | None
    kept: int | None = None

    @property
    def mask(self) -> Bools:
        """bool (k, j, i), on the grid of ``one.probability``."""
        return np.asarray(self.one.probability.array >= _HALF)


class Memory:
    """Which voxels of the lattice are known; only the vertebrae themselves are stored."""

    def __init__(self, lattice: Grid) -> None:
        self._lattice = lattice
        self._parts: list[tuple[Seen, NDArray[np.int64], Bools]] = []

    def add(self, seen: Seen) -> None:
        """Remember a vertebra."""
        self._parts.append((seen, self._start(seen.one.probability.grid), seen.mask))

    def drop(self, seen: Seen) -> None:
        """Forget a vertebra."""
        self._parts = [part for part in self._parts if part[0] is not seen]

    def __call__(self, grid: Grid) -> Bools:
        """Return which voxels (k, j, i) of a part of the lattice are known."""
        known = np.zeros(grid.shape, dtype=bool)
        corner = self._start(grid)
        for _, start, mask in self._parts:
            lo = np.maximum(start, corner)
            hi = np.minimum(start + mask.shape, corner + grid.shape)
            if (hi > lo).all():
                there = tuple(slice(a, b) for a, b in zip(lo - corner, hi - corner, strict=True))
                own = tuple(slice(a, b) for a, b in zip(lo - start, hi - start, strict=True))
                known[there] |= mask[own]
        return known

    def _start(self, grid: Grid) -> NDArray[np.int64]:
        corner = grid.ijk_to_ras(np.zeros((1, 3)))
        return np.rint(self._lattice.ras_to_ijk(corner)[0, ::-1]).astype(np.int64)


class Walk:
    """Vertebrae found so far, and how to find more.

    Parameters
    ----------
    looker : VertebraLooker
    guide : Guide
    scan : Grid
        Of the scan: nothing is looked for beyond it.
    passes : int
        Looks at each vertebra (see `settle`).

    Attributes
    ----------
    found : list of Seen
        From the top.
    """

    def __init__(self, looker: VertebraLooker, guide: Guide, scan: Grid, passes: int = 2) -> None:
        self._looker, self._guide, self._scan, self._passes = looker, guide, scan, passes
        self._memory = Memory(looker.lattice)
        self.found: list[Seen] = []

    def go(self, progress: Progress, start: Seen | None = None) -> None:
        """Walk up and then down, from a vertebra or from the best place to begin at.

        Raises
        ------
        CancelledError
            The progress' token was cancelled.
        """
        start = start or self._begin(progress)
        if start is None:
            return
        for direction in (-1, 1):
            here: Seen | None = start
            while here is not None and len(self.found) < _MOST:
                progress("walk", self._share(), f"{len(self.found)} found")
                here = self._next(here, direction)
        progress("walk", 1.0, f"{len(self.found)} found")

    def add(self, seen: Seen) -> Seen:
        """Count a vertebra as known."""
        self.found = sorted([*self.found, seen], key=lambda one: one.along)
        self._memory.add(seen)
        return seen

    def drop(self, seen: Seen) -> None:
        """Take a vertebra back."""
        self.found = [one for one in self.found if one is not seen]
        self._memory.drop(seen)

    def look(
        self, point: ArrayLike, within: tuple[float, float], without: Collection[Seen] = ()
    ) -> Seen | None:
        """Look for a vertebra that is not known yet.

        Parameters
        ----------
        point : array_like (3,)
            RAS mm.
        within : (float, float)
            mm along the guide between which its centre must lie.
        without : collection of Seen
            Known vertebrae to look at as if they were not.

        Returns
        -------
        Seen or None
            Not added yet.
        """
        for seen in without:
            self._memory.drop(seen)
        one = settle(self._looker, point, self._memory, self._passes)
        for seen in without:
            self._memory.add(seen)
        if not one.present or one.volume_ml < _LEAST_ML:
            return None
        seen = self.measured(one)
        others = [known for known in self.found if known not in without]
        sound = within[0] <= seen.along <= within[1] and self._sound(seen, others)
        return seen if sound else None

    def measured(self, one: OneVertebra, kept: int | None = None) -> Seen:
        """Say where a vertebra lies along the spine, and what is cut of it."""
        one = cropped(one)
        along = self._guide.along(one.center)
        whole = _points(one.probability, one.probability.array >= _HALF)
        body = _points(one.body, one.body.array >= _HALF)
        height = None
        if len(body) * one.body.voxel_mm3 >= _BODY_MM3:
            low, high = np.percentile(body @ self._guide.curve.down_at(along), [5, 95])
            height = float(high - low) / 0.9
        return Seen(one, along, self._touches(whole), self._touches(body), height, kept)

    def stride(self, seen: Seen, direction: int) -> float:
        """Return how far on the next vertebra is expected, mm."""
        usual = _NO_BODY_MM
        if seen.height is not None and not seen.body_cut:
            usual = _DISC * seen.height
        behind = [one for one in self.found if (one.along - seen.along) * direction < 0]
        if behind:
            last = min(behind, key=lambda one: abs(one.along - seen.along))
            apart = abs(last.along - seen.along)
            # Not where one was overlooked, nor where a cut vertebra's centre is off.
            if apart < 1.6 * usual or seen.height is None:
                usual = apart
        return float(np.clip(usual, *_STRIDE_MM))

    def _begin(self, progress: Progress) -> Seen | None:
        """Find a first vertebra, best a whole one."""
        first: Seen | None = None
        for point in self._guide.starts():
            progress("walk", 0.0, "looking for a first vertebra")
            if not self._inside(point):
                continue
            seen = self.look(point, (-np.inf, np.inf))
            if seen is not None and not seen.cut:
                return self.add(seen)
            first = first or seen
        return None if first is None else self.add(first)

    def _next(self, here: Seen, direction: int) -> Seen | None:
        """Step to the next vertebra: a known one, or one that is found now."""
        stride = self.stride(here, direction)
        ahead = [one for one in self.found if (one.along - here.along) * direction > 0]
        near = min(ahead, key=lambda one: abs(one.along - here.along), default=None)
        if near is not None and abs(near.along - here.along) < 1.4 * stride:
            return near
        tried: list[Floats] = []
        for factor in (*_TRIES, _FURTHER):
            point = self._reachable(here, direction * factor * stride)
            if point is None or any(np.linalg.norm(point - other) < 2.0 for other in tried):
                continue
            tried.append(point)
            far = (1.6 if factor != _FURTHER else 2.6) * stride
            ends = here.along + direction * _ONWARD_MM, here.along + direction * far
            seen = self.look(point, (min(ends), max(ends)))
            if seen is not None:
                return self.add(seen)
        return near

    def _reachable(self, here: Seen, step: float) -> Floats | None:
        """Return the point a step on; at the scan's end one inside it; None beyond."""
        for share in (1.0, 0.85, 0.7, 0.55, 0.4):
            point = self._guide.onward(here.one.center, share * step)
            if self._inside(point):
                return point
        return None

    def _inside(self, point: Floats) -> bool:
        place = self._scan.ras_to_ijk(point[None])[0]
        return bool(((place >= -0.5) & (place <= np.array(self._scan.shape[::-1]) - 0.5)).all())

    def _touches(self, points: Floats) -> bool:
        """Whether points (n, 3), RAS mm, reach the scan's edge."""
        place = self._scan.ras_to_ijk(points)
        room = np.minimum(place + 0.5, np.array(self._scan.shape[::-1]) - 0.5 - place)
        return int((room * self._scan.spacing < _CUT_MM).any(axis=1).sum()) >= _CUT_VOXELS

    def _sound(self, seen: Seen, others: Iterable[Seen]) -> bool:
        """Whether a find is a vertebra, and none that is known."""
        if self._guide.aside(seen.one.center) > _ASIDE_MM:
            return False
        if self._guide.off_spine(seen.one.probability, seen.mask):
            return False
        near = min(others, key=lambda one: abs(one.along - seen.along), default=None)
        if near is None:
            return True
        least = 0.4 * min(self.stride(near, 0), self.stride(seen, 0))
        if abs(near.along - seen.along) < least:
            return False
        return seen.cut or near.cut or seen.one.volume_ml >= _SMALL * near.one.volume_ml

    def _share(self) -> float:
        """How much of the spine lies between the outermost vertebrae found, 0–1."""
        whole = max(self._guide.last - self._guide.first, 1.0)
        return min((self.found[-1].along - self.found[0].along) / whole, 1.0)


def cropped(one: OneVertebra) -> OneVertebra:
    """Cut a look's volumes to the voxels with any probability."""
    index = np.argwhere(one.probability.array > 0)
    if not len(index):
        return one
    lo, hi = index.min(axis=0).tolist(), (index.max(axis=0) + 1).tolist()
    parts = (one.probability, one.body, one.centrum)
    whole, body, centrum = (
        Volume(part.array[tuple(map(slice, lo, hi))].copy(), part.grid.cropped(lo, hi).affine)
        for part in parts
    )
    return replace(one, probability=whole, body=body, centrum=centrum)


def _points(volume: Volume, mask: Bools) -> Floats:
    return volume.ijk_to_ras(np.argwhere(mask)[:, ::-1])


def united(one: OneVertebra, other: OneVertebra) -> OneVertebra:
    """Return two looks as one; both on windows of the same lattice."""
    grids = [part.probability.grid for part in (one, other)]
    places = [np.rint(grids[0].ras_to_ijk(g.corners()) + 0.5).astype(int)[:, ::-1] for g in grids]
    lo = np.min([place.min(axis=0) for place in places], axis=0)
    hi = np.max([place.max(axis=0) for place in places], axis=0)
    grid = grids[0].shifted(lo.tolist(), (hi - lo).tolist())
    layers = [
        [getattr(part, name).resampled_like(grid, order=0).array for part in (one, other)]
        for name in ("probability", "body", "centrum")
    ]
    whole, body, centrum = (Volume(np.maximum(*pair), grid.affine) for pair in layers)
    inside, core = whole.array >= _HALF, body.array >= _HALF
    center = _points(whole, core if core.sum() * grid.voxel_mm3 >= _BODY_MM3 else inside).mean(
        axis=0
    )
    return replace(
        one,
        probability=whole,
        body=body,
        centrum=centrum,
        center=center,
        volume_ml=float(inside.sum()) * grid.voxel_mm3 / 1000.0,
        confidence=min(one.confidence, other.confidence),
    )
