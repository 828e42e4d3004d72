"""The geometry of a volume without its voxels: a shape and an affine.

Shapes and index bounds are in array order ``(k, j, i)``. Spacings and points are in ``(i, j, k)``
order. World coordinates are RAS millimetres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.errors import InputError

__all__ = ["FloatArray", "Grid", "Shape"]

FloatArray = NDArray[np.float64]
Shape = tuple[int, int, int]

_CODES = (("L", "R"), ("P", "A"), ("I", "S"))
# A grid may end this part of a voxel short of the volume it covers: rounding, not anatomy.
_COVER_TOLERANCE = 1e-3
_NOTHING_MM = 1e-12


def _three(values: Sequence[Any], what: str) -> tuple[Any, Any, Any]:
    if len(values) != 3:
        raise ValueError(f"{what} needs three values, one an axis, not {len(values)}")
    first, second, third = values
    return first, second, third


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie.

    Parameters
    ----------
    shape : tuple of int
        Voxels along (k, j, i); each at least 1.
    affine : array_like, 4×4
        Maps (i, j, k, 1) to RAS mm. Copied and made read-only.

    Raises
    ------
    InputError
        The shape is not 3-D or has a zero, or the affine is not finite, singular or not 4×4.
    """

    shape: Shape
    affine: FloatArray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3:
            raise InputError(
                f"The image has {len(shape)} dimensions ({' × '.join(map(str, shape))}), but one"
                " 3-D volume is needed.",
                "Export a single time point or channel as a 3-D image."
                if len(shape) > 3
                else "Export the whole stack of slices as one 3-D image.",
            )
        if min(shape) < 1:
            raise InputError(
                f"The image is empty: its size is {' × '.join(map(str, shape))} voxels.",
                "Export it again from its source.",
            )
        affine = np.array(self.affine, dtype=np.float64)
        _check_affine(affine)
        # ITK inverts directions by a decomposition that numbers near the smallest float break.
        affine[np.abs(affine) < _NOTHING_MM] = 0.0
        affine.flags.writeable = False
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along (i, j, k)."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def directions(self) -> FloatArray:
        """3×3; column a is the unit vector (RAS) along index axis a of (i, j, k)."""
        return np.asarray(self.affine[:3, :3] / np.array(self.spacing))

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def center(self) -> FloatArray:
        """RAS mm of the middle of the grid's box."""
        middle = (np.array(self.shape[::-1]) - 1) / 2
        return np.asarray(self.ijk_to_ras(middle[None])[0])

    @property
    def orientation(self) -> str:
        """Three letters: the direction in which i, j and k increase, e.g. "LPS"."""
        axis_of = self._world_axes()
        return "".join(
            _CODES[world][int(self.affine[world, index] > 0)] for index, world in enumerate(axis_of)
        )

    def ijk_to_ras(self, points: ArrayLike) -> FloatArray:
        """Map N×3 voxel positions (i, j, k; fractions allowed) to RAS mm."""
        points = np.asarray(points, dtype=np.float64)
        return np.asarray(points @ self.affine[:3, :3].T + self.affine[:3, 3])

    def ras_to_ijk(self, points: ArrayLike) -> FloatArray:
        """Map N×3 RAS mm to voxel positions (i, j, k), not rounded."""
        points = np.asarray(points, dtype=np.float64)
        shifted = (points - self.affine[:3, 3]).reshape(-1, 3)
        solved = np.linalg.solve(self.affine[:3, :3], shifted.T).T
        return np.asarray(solved.reshape(points.shape), dtype=np.float64)

    def corners(self) -> FloatArray:
        """8×3 RAS mm: the outer corners of the box that the voxels fill."""
        i, j, k = ((-0.5, n - 0.5) for n in self.shape[::-1])
        return self.ijk_to_ras(np.array(list(product(i, j, k))))

    def same_as(self, other: Grid, tolerance: float = 1e-3) -> bool:
        """Whether all voxels of both lie at the same places, within `tolerance` voxels."""
        if self.shape != other.shape:
            return False
        apart = self.ras_to_ijk(other.corners()) - self.ras_to_ijk(self.corners())
        return bool(np.abs(apart).max() <= tolerance)

    def shifted(self, offset: Sequence[float], shape: Sequence[int]) -> Grid:
        """Return the grid of `shape` (k, j, i) whose first voxel is at `offset` (k, j, i)."""
        affine = self.affine.copy()
        affine[:3, 3] = self.ijk_to_ras(np.array(_three(offset, "offset")[::-1])[None])[0]
        return Grid(_three([int(n) for n in shape], "shape"), affine)

    def cropped(self, lo: Sequence[int], hi: Sequence[int]) -> Grid:
        """Return the part from `lo` up to but without `hi` (k, j, i); InputError if outside."""
        lo, hi = _three(lo, "lo"), _three(hi, "hi")
        if not all(0 <= a < b <= n for a, b, n in zip(lo, hi, self.shape, strict=True)):
            raise InputError(
                f"The region {lo}–{hi} is empty or reaches outside the image of size {self.shape}"
                " (slices, rows, columns).",
                "Choose a region inside it.",
            )
        return self.shifted(lo, [b - a for a, b in zip(lo, hi, strict=True)])

    def padded(self, before: Sequence[int], after: Sequence[int]) -> Grid:
        """Return the grid with voxels added at both ends of (k, j, i); none may be negative."""
        before, after = _three(before, "before"), _three(after, "after")
        if min(*before, *after) < 0:
            raise ValueError("padding may not be negative; use crop")
        size = [n + a + b for n, a, b in zip(self.shape, before, after, strict=True)]
        return self.shifted([-n for n in before], size)

    def flipped(self, axis: int) -> Grid:
        """Return the grid with array axis `axis` (0 = k, 1 = j, 2 = i) counted backwards."""
        affine = self.affine.copy()
        column = 2 - axis
        affine[:3, 3] += affine[:3, column] * (self.shape[axis] - 1)
        affine[:3, column] *= -1
        return Grid(self.shape, affine)

    def permuted(self, axes: Sequence[int]) -> Grid:
        """Return the grid whose array axis n is this one's ``axes[n]``, as in np.transpose."""
        axes = _three(axes, "axes")
        affine = self.affine.copy()
        affine[:, :3] = affine[:, [2 - axis for axis in axes[::-1]]]
        return Grid(_three([self.shape[axis] for axis in axes], "shape"), affine)

    def with_spacing(self, spacing_ijk: Sequence[float]) -> Grid:
        """Return a grid of other spacing (mm, i j k) with the same directions and centre.

        It has just enough voxels to cover this one, and all their centres lie within this one's
        box, so that sampling this volume on it never needs a fill value, and sampling back never
        falls outside.
        """
        spacing = np.array(_three(spacing_ijk, "spacing"), dtype=np.float64)
        if not (np.isfinite(spacing).all() and (spacing > 0).all()):
            raise InputError(f"The spacing {tuple(spacing_ijk)} is not three positive numbers.")
        size = np.array(self.shape[::-1])
        count = np.ceil(size * np.array(self.spacing) / spacing - _COVER_TOLERANCE).astype(int)
        count = np.maximum(count, 1)
        affine = np.eye(4)
        affine[:3, :3] = self.directions * spacing
        affine[:3, 3] = self.center - affine[:3, :3] @ ((count - 1) / 2)
        return Grid(_three([int(n) for n in count[::-1]], "shape"), affine)

    def axis_map(self, codes: str) -> tuple[tuple[int, int, int], tuple[int, ...]]:
        """Find how to reach the orientation `codes` (for i, j, k; e.g. "RAS").

        Returns
        -------
        axes : tuple of int
            Permutation of the array axes, as for np.transpose.
        flips : tuple of int
            Array axes to flip after it.
        """
        letters = codes.upper()
        wanted = [w for letter in letters for w in range(3) if letter in _CODES[w]]
        if len(letters) != 3 or sorted(wanted) != [0, 1, 2]:
            raise ValueError(f"{codes!r} does not name one of each of R/L, A/P and S/I")
        axis_of = self._world_axes()
        columns = [axis_of.index(world) for world in wanted]
        axes = _three([2 - column for column in columns[::-1]], "axes")
        flips = tuple(
            2 - new
            for new, (world, column) in enumerate(zip(wanted, columns, strict=True))
            if _CODES[world][int(self.affine[world, column] > 0)] != letters[new]
        )
        return axes, flips

    def _world_axes(self) -> list[int]:
        """For each of i, j, k, the world axis (0 R–L, 1 A–P, 2 S–I) it runs along, one each."""
        along = np.abs(self.directions)
        ways = permutations(range(3))
        return list(max(ways, key=lambda way: float(sum(along[w, n] for n, w in enumerate(way)))))


def _check_affine(affine: FloatArray) -> None:
    remedy = "The file's header is damaged; export the image again from its source."
    if affine.shape != (4, 4):
        raise InputError(f"The image's position matrix is {affine.shape}, not 4 × 4.", remedy)
    if not np.isfinite(affine).all():
        raise InputError(
            "The image's position and voxel size are not all finite numbers.", remedy, str(affine)
        )
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    flat = lengths.min() < 1e-6 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3
    if flat or not np.allclose(affine[3], (0, 0, 0, 1)):
        raise InputError(
            "The image's axes do not span three dimensions, so its voxels have no place in space.",
            remedy,
            str(affine),
        )
