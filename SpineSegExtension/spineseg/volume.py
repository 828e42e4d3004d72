"""A 3-D image that knows where its voxels are.

Array axes are ``(k, j, i)``: slices, rows, columns. Spacings and points are ``(i, j, k)``. World
coordinates are RAS millimetres; SimpleITK's are LPS, and only `Volume.to_sitk` and
`Volume.from_sitk` know that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from spineseg import resampling
from spineseg.errors import InputError
from spineseg.grid import FloatArray, Grid, Shape

__all__ = ["Grid", "Volume"]

AnyArray = NDArray[Any]
_ALIGNED_TOLERANCE = 1e-2
_RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Volume:
    """Voxels and their place in space.

    Every method that changes the voxels' number or place returns a new `Volume` with an affine
    of its own. The array is not copied where a view will do: treat it as read-only.

    Parameters
    ----------
    array : array_like
        3-D, axes (k, j, i), boolean, integer or real.
    affine : array_like, 4×4
        Maps (i, j, k, 1) to RAS mm.

    Raises
    ------
    InputError
        The array is not 3-D, is empty or not of numbers, or the affine is not finite or is
        singular.
    """

    __slots__ = ("_array", "_grid")

    def __init__(self, array: ArrayLike, affine: ArrayLike) -> None:
        voxels = np.asarray(array)
        if voxels.dtype.kind not in "biuf":
            raise InputError(
                f"The image's voxels are of type {voxels.dtype}, not single numbers.",
                "Export it in grey values (not colour).",
            )
        self._grid = Grid(voxels.shape, np.asarray(affine))  # which checks both
        self._array = voxels

    def __repr__(self) -> str:
        spacing = " × ".join(f"{s:.3g}" for s in self.spacing)
        return f"Volume({self.shape} {self.dtype}, {spacing} mm, {self._grid.orientation})"

    @property
    def array(self) -> AnyArray:
        """The voxels, axes (k, j, i)."""
        return self._array

    @property
    def grid(self) -> Grid:
        """The geometry without the voxels."""
        return self._grid

    @property
    def affine(self) -> FloatArray:
        """4×4, maps (i, j, k, 1) to RAS mm; read-only."""
        return self._grid.affine

    @property
    def shape(self) -> Shape:
        """Voxels along (k, j, i)."""
        return self._grid.shape

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along (i, j, k)."""
        return self._grid.spacing

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return self._array.dtype

    @property
    def orientation(self) -> str:
        """Three letters: the direction in which i, j and k increase, e.g. "LPS"."""
        return self._grid.orientation

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return self._grid.voxel_mm3

    def ijk_to_ras(self, points: ArrayLike) -> FloatArray:
        """Map N×3 voxel positions (i, j, k; fractions allowed) to RAS mm."""
        return self._grid.ijk_to_ras(points)

    def ras_to_ijk(self, points: ArrayLike) -> FloatArray:
        """Map N×3 RAS mm to voxel positions (i, j, k), not rounded."""
        return self._grid.ras_to_ijk(points)

    def like(self, array: ArrayLike) -> Volume:
        """Return other voxels on this grid.

        Raises
        ------
        ValueError
            `array` has another shape, so this affine is not its own.
        """
        voxels = np.asarray(array)
        if voxels.shape != self.shape:
            raise ValueError(f"array of shape {voxels.shape} on a grid of shape {self.shape}")
        return Volume(voxels, self.affine)

    def astype(self, dtype: Any) -> Volume:
        """Return the voxels as another type, on this grid."""
        return self.like(self._array.astype(dtype, copy=False))

    def crop(self, lo: Sequence[int], hi: Sequence[int]) -> Volume:
        """Return the part from `lo` up to but without `hi` (k, j, i), as a view.

        Raises
        ------
        InputError
            The part is empty or reaches outside.
        """
        grid = self._grid.cropped(lo, hi)
        part = self._array[lo[0] : hi[0], lo[1] : hi[1], lo[2] : hi[2]]
        return Volume(part, grid.affine)

    def pad(self, before: Sequence[int], after: Sequence[int], value: float = 0) -> Volume:
        """Return the volume with voxels of `value` added at both ends of (k, j, i)."""
        grid = self._grid.padded(before, after)
        width = list(zip(before, after, strict=True))
        return Volume(np.pad(self._array, width, constant_values=value), grid.affine)

    def flip(self, axis: int) -> Volume:
        """Return array axis `axis` (0 = k, 1 = j, 2 = i) reversed; no voxel moves in space."""
        axis = range(3)[axis]
        return Volume(np.flip(self._array, axis), self._grid.flipped(axis).affine)

    def reoriented(self, codes: str = "RAS") -> Volume:
        """Return the axes permuted and flipped so that i, j, k run nearest to `codes`.

        No voxel moves in space and none is interpolated; an oblique volume stays oblique.
        """
        axes, flips = self._grid.axis_map(codes)
        result = Volume(np.transpose(self._array, axes), self._grid.permuted(axes).affine)
        for axis in flips:
            result = result.flip(axis)
        return result

    def paste(self, block: Volume) -> Volume:
        """Return a copy in which `block` replaces the voxels it covers.

        Raises
        ------
        InputError
            The block's voxels do not coincide with voxels of this volume.
        """
        offset = self.ras_to_ijk(block.ijk_to_ras(np.zeros((1, 3))))[0][::-1]
        lo = np.rint(offset).astype(int)
        hi = lo + np.array(block.shape)
        inside = bool((lo >= 0).all() and (hi <= np.array(self.shape)).all())
        if not inside or not self._grid.shifted(lo.tolist(), block.shape).same_as(
            block.grid, _ALIGNED_TOLERANCE
        ):
            raise InputError(
                "The block does not lie voxel on voxel inside the volume it is pasted into.",
                "Resample it to that volume's grid first.",
            )
        array = self._array.copy()
        array[lo[0] : hi[0], lo[1] : hi[1], lo[2] : hi[2]] = block.array
        return self.like(array)

    def resampled(self, spacing_ijk: Sequence[float], order: int = 1, fill: float = 0.0) -> Volume:
        """Return the volume at another spacing, with the same directions, centre and type.

        Parameters
        ----------
        spacing_ijk : sequence of float
            New voxel size in mm along (i, j, k).
        order : {0, 1}
            0 takes the nearest voxel (label maps), 1 interpolates linearly. With 1, an axis that
            becomes more than 1.5 times coarser is first smoothed with a Gaussian (see
            `spineseg.resampling`); integers are rounded.
        fill : float
            Value outside the volume; not met here, for the new voxels' centres are all inside.

        Notes
        -----
        One axis after the other (the same as all at once, for the axes are parallel) and in
        slabs, so the memory beyond the result is bounded: first the axes that shrink, and of
        these the one along which voxels are neighbours in memory.
        """
        dtype = self.dtype
        size = np.asarray(self._grid.with_spacing(spacing_ijk).shape, dtype=float)
        result = self
        grows = size > np.array(self.shape)
        for axis in sorted(range(3), key=lambda axis: (grows[axis], -axis)):
            spacing = list(result.spacing)
            spacing[2 - axis] = float(spacing_ijk[2 - axis])
            if not np.allclose(spacing, result.spacing, rtol=1e-6):
                grid = result.grid.with_spacing(spacing)
                result = resampling.resample(result, grid, order, fill, rounded=False)
        return result.like(resampling.as_type(result.array, dtype))

    def resampled_like(self, grid: Volume | Grid, order: int = 1, fill: float = 0.0) -> Volume:
        """Return the volume on another grid of any orientation; `order` as in `resampled`.

        Voxels of `grid` that lie outside this volume get `fill`.
        """
        target = grid.grid if isinstance(grid, Volume) else grid
        return resampling.resample(self, target, order, fill)

    def to_sitk(self) -> sitk.Image:
        """Return a SimpleITK image (LPS) with a copy of the voxels; booleans become uint8."""
        voxels = np.ascontiguousarray(resampling.itk_type(self._array))
        image = sitk.GetImageFromArray(voxels)
        lps = _RAS_LPS @ self.affine
        image.SetSpacing(self.spacing)
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection((lps[:3, :3] / np.array(self.spacing)).ravel().tolist())
        return image

    @classmethod
    def from_sitk(cls, image: sitk.Image) -> Volume:
        """Return a volume with a copy of a SimpleITK image's voxels (LPS there, RAS here).

        Raises
        ------
        InputError
            The image is not 3-D or has several values a voxel (colour, vectors).
        """
        if image.GetNumberOfComponentsPerPixel() != 1:
            raise InputError(
                f"The image has {image.GetNumberOfComponentsPerPixel()} values in each voxel"
                " (colour or vectors).",
                "Export it in grey values, as a single 3-D volume.",
            )
        array = sitk.GetArrayFromImage(image)
        affine = np.eye(4)
        if image.GetDimension() == 3:
            directions = np.array(image.GetDirection()).reshape(3, 3)
            affine[:3, :3] = directions * np.array(image.GetSpacing())
            affine[:3, 3] = image.GetOrigin()
        return cls(array, _RAS_LPS @ affine)
