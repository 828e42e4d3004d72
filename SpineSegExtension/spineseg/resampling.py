"""Sampling a volume on another grid, with memory bounded by a slab.

Linear interpolation alone skips voxels when the new grid is coarser, which turns noise and thin
cortex into aliases. So, with ``order=1`` and a step of more than 1.5 voxels along an axis, that
axis is first smoothed with a Gaussian of σ = sqrt(step² - 1) / (2 sqrt(2 ln 2)) voxels: the
width that turns the old voxel's point spread into the new one's (Cardoso et al., "Scale factor
point spread function matching", MICCAI 2015). Nearest-neighbour sampling is never smoothed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from spineseg.grid import FloatArray, Grid

if TYPE_CHECKING:
    from spineseg.volume import Volume

__all__ = ["as_type", "itk_type", "resample", "smoothing_sigma"]

AnyArray = NDArray[Any]
_SMOOTH_ABOVE = 1.5
_FWHM = 2 * np.sqrt(2 * np.log(2))
_MARGIN_SIGMAS = 4
# ITK's recursive Gaussian needs four samples on a line.
_SHORTEST_LINE = 4
# Voxels of input handled at once: 48 MB as float32, and a few times that inside ITK.
_SLAB_VOXELS = 12_000_000
_MOST_THREADS = 4


def resample(volume: Volume, grid: Grid, order: int, fill: float, rounded: bool = True) -> Volume:
    """Sample `volume` on `grid` (any orientation), slab by slab.

    Parameters
    ----------
    volume : Volume
        The voxels to sample.
    grid : Grid
        Where to sample.
    order : {0, 1}
        0 nearest, 1 linear with smoothing as this module says.
    fill : float
        Value of voxels of `grid` outside `volume`.
    rounded : bool
        Whether to return the volume's own type; otherwise ``order=1`` returns floats.

    Returns
    -------
    Volume
        On `grid`.
    """
    if order not in (0, 1):
        raise ValueError(f"order must be 0 (nearest) or 1 (linear), not {order}")
    kind = _work_type(volume.dtype, order)
    out_kind = volume.dtype if rounded or order == 0 else kind
    result = np.empty(grid.shape, dtype=out_kind)
    moves = np.linalg.solve(volume.affine[:3, :3], grid.affine[:3, :3])
    step = np.asarray(moves, dtype=np.float64)
    sigma = smoothing_sigma(step) if order == 1 else np.zeros(3)
    depth = _slab_depth(volume, grid, step)
    for start in range(0, grid.shape[0], depth):
        stop = min(start + depth, grid.shape[0])
        slab = grid.cropped((start, 0, 0), (stop, *grid.shape[1:]))
        values = _resample_slab(volume, slab, order, fill, sigma, kind)
        result[start:stop] = as_type(values, out_kind)
    return type(volume)(result, grid.affine)


def smoothing_sigma(step: FloatArray) -> FloatArray:
    """Return the Gaussian's σ in voxels along (i, j, k); 0 where there is none.

    Parameters
    ----------
    step : array, 3×3
        Column b: the move in input voxels (i, j, k) for one voxel along output axis b.
    """
    reach = np.linalg.norm(step, axis=1)
    sigma = np.sqrt(np.maximum(reach**2 - 1, 0)) / _FWHM
    return np.where(reach > _SMOOTH_ABOVE, sigma, 0.0)


def itk_type(array: AnyArray) -> AnyArray:
    """Return the array in a type that SimpleITK has, without a copy where it has it already."""
    replacement = {np.dtype(bool): np.uint8, np.dtype(np.float16): np.float32}.get(array.dtype)
    if replacement is not None:
        return array.astype(replacement)
    native = array.dtype.newbyteorder("=")
    return array if array.dtype == native else array.astype(native)


def as_type(values: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    """Convert to `dtype`, rounding and clipping floats that become integers."""
    if values.dtype == dtype:
        return values
    if dtype.kind == "b":
        return values >= 0.5
    if dtype.kind in "iu" and values.dtype.kind == "f":
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values.astype(dtype)


def _work_type(dtype: np.dtype[Any], order: int) -> np.dtype[Any]:
    if order == 0:
        return itk_type(np.empty(0, dtype)).dtype
    wide = dtype.itemsize >= 8 or (dtype.kind in "iu" and dtype.itemsize >= 4)
    return np.dtype(np.float64 if wide else np.float32)


def _slab_depth(volume: Volume, grid: Grid, step: FloatArray) -> int:
    """Slices of `grid` whose part of `volume` is about `_SLAB_VOXELS` voxels."""
    voxels_a_slice = np.prod(grid.shape[1:]) * max(1.0, float(abs(np.linalg.det(step))))
    return max(1, int(_SLAB_VOXELS / max(voxels_a_slice, 1.0)))


def _resample_slab(
    volume: Volume, slab: Grid, order: int, fill: float, sigma: FloatArray, kind: np.dtype[Any]
) -> AnyArray:
    reach = volume.ras_to_ijk(slab.corners())
    margin = 2 + np.ceil(_MARGIN_SIGMAS * sigma)
    last = np.array(volume.shape[::-1])
    lo = np.clip(np.floor(reach.min(axis=0) - margin), 0, last).astype(int)
    hi = np.clip(np.ceil(reach.max(axis=0) + margin) + 1, 0, last).astype(int)
    if (hi <= lo).any():
        return np.full(slab.shape, fill, dtype=kind)
    part = volume.crop(lo[::-1].tolist(), hi[::-1].tolist())
    image = part.astype(kind).to_sitk()
    image = _smoothed(image, sigma)
    threads = _threads()
    target = type(volume)(np.zeros((1, 1, 1), np.uint8), slab.affine).to_sitk()
    sampler = sitk.ResampleImageFilter()
    sampler.SetNumberOfThreads(threads)
    sampler.SetSize([int(n) for n in slab.shape[::-1]])
    sampler.SetOutputSpacing(target.GetSpacing())
    sampler.SetOutputOrigin(target.GetOrigin())
    sampler.SetOutputDirection(target.GetDirection())
    sampler.SetInterpolator(sitk.sitkLinear if order == 1 else sitk.sitkNearestNeighbor)
    sampler.SetDefaultPixelValue(float(fill))
    return np.asarray(sitk.GetArrayFromImage(sampler.Execute(image)))


def _smoothed(image: sitk.Image, sigma: FloatArray) -> sitk.Image:
    for axis in np.flatnonzero(sigma):
        short = max(0, _SHORTEST_LINE - image.GetSize()[axis])
        if short:
            upper = [short if a == axis else 0 for a in range(3)]
            image = sitk.ZeroFluxNeumannPad(image, [0, 0, 0], upper)
        smooth = sitk.RecursiveGaussianImageFilter()
        smooth.SetNumberOfThreads(_threads())
        smooth.SetDirection(int(axis))
        smooth.SetSigma(float(sigma[axis] * image.GetSpacing()[axis]))
        image = smooth.Execute(image)
        if short:
            image = sitk.Crop(image, [0, 0, 0], upper)
    return image


def _threads() -> int:
    """A few threads: more bring little here, and a cohort runs many cases side by side."""
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # only on Linux
        usable = os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    limit = int(wanted) if wanted.isdigit() and int(wanted) > 0 else _MOST_THREADS
    return min(usable, limit, _MOST_THREADS)
