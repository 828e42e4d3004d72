"""Bone from a CT or a synthetic CT by Otsu's threshold, slice by slice, and a median.

Paper 000, section 3.3: Otsu's method over a tunable range of intensities, per slice, then median
smoothing. Otsu's method (1979) finds the intensity that parts the voxels of the range into two
classes with the greatest variance between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from spineseg.errors import InputError
from spineseg.volume import Volume

__all__ = ["BoneMask", "ThresholdSettings", "bone_mask", "otsu_threshold"]

AXES = ("acquisition", "sagittal", "coronal", "axial")
_FEW = 64  # voxels in the range with which a slice says nothing of its own
_BONELESS = 0.25  # of the way from the volume's dark class to its bright one
_SPREAD = 1e-6  # relative to the range: less is a single value


@dataclass(frozen=True)
class ThresholdSettings:
    """How to find bone.

    Attributes
    ----------
    low, high : float
        Range of intensities (HU) that Otsu's method looks at; brighter voxels are bone all the
        same, darker ones never.
    per_slice : bool
        One threshold a slice, as in the paper; else one for the volume.
    axis : str
        Which way the slices lie: "acquisition" (across the widest voxels; sagittal where they are
        cubes), "sagittal", "coronal" or "axial".
    median_mm : float
        Edge of the 3D median's box, mm; 0 leaves it out.
    """

    low: float = 0.0
    high: float = 700.0
    per_slice: bool = True
    axis: str = "acquisition"
    median_mm: float = 3.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError("low must be less than high")
        if self.axis not in AXES:
            raise ValueError(f"axis must be one of {', '.join(AXES)}")
        if self.median_mm < 0:
            raise ValueError("median_mm must not be negative")


@dataclass(frozen=True)
class BoneMask:
    """What was found.

    Attributes
    ----------
    mask : Volume
        uint8, 1 in bone, on the grid that was given.
    thresholds : list of float
        One a slice from the first to the last along the array's axis, or one for the volume; HU.
    warnings : list of str
    """

    mask: Volume
    thresholds: list[float]
    warnings: list[str] = field(default_factory=list)


def otsu_threshold(values: ArrayLike, low: float, high: float) -> float:
    """Return Otsu's threshold of the values within a range; what is above it is bone.

    scikit-image's filter, with 256 bins over the values that lie in the range.

    Parameters
    ----------
    values : array_like
        Any shape, HU.
    low, high : float
        Of the range, both included.

    Raises
    ------
    InputError
        No value lies in the range, or all that do are equal.
    """
    from skimage.filters import threshold_otsu

    array = np.asarray(values, dtype=np.float64).ravel()
    inside = array[(array >= low) & (array <= high)]
    if not inside.size:
        raise InputError(
            f"No voxel lies between {low:g} and {high:g}.", "Choose a wider range of intensities."
        )
    if float(np.ptp(inside)) <= _SPREAD * (high - low):
        raise InputError(
            f"All voxels between {low:g} and {high:g} have the same value.",
            "Choose a wider range of intensities.",
        )
    return float(threshold_otsu(inside, nbins=256))  # type: ignore[no-untyped-call]


def bone_mask(volume: Volume, settings: ThresholdSettings | None = None) -> BoneMask:
    """Threshold a volume by Otsu's method and smooth the mask with a 3D median.

    A slice with nearly nothing in the range, or without bone, takes its neighbours' threshold: it
    would part noise from noise.

    Parameters
    ----------
    volume : Volume
        HU, any orientation.
    settings : ThresholdSettings, optional

    Raises
    ------
    InputError
        No voxel of the volume lies in the range, or all that do are equal.
    """
    settings = settings or ThresholdSettings()
    low, high = settings.low, settings.high
    some = _thinned(volume.array)
    whole = otsu_threshold(some, low, high)
    warnings: list[str] = []
    if not settings.per_slice:
        mask = volume.array > whole
        thresholds = [whole]
    else:
        axis = slice_axis(volume, settings.axis)
        slices = np.moveaxis(volume.array, axis, 0)
        own = np.array([_of_slice(part, low, high) for part in slices])
        own[own < _least(some, whole, settings)] = np.nan
        known = np.isfinite(own)
        if not known.all():
            warnings.append(
                f"{int((~known).sum())} of {len(own)} slices have too little bone between {low:g}"
                f" and {high:g} for a threshold of their own: their neighbours' is used."
            )
        at = np.arange(len(own))
        filled = np.interp(at, at[known], own[known]) if known.any() else np.full(len(own), whole)
        thresholds = [float(t) for t in filled]
        shape = [1, 1, 1]
        shape[axis] = len(filled)
        mask = volume.array > filled.reshape(shape)
    return BoneMask(volume.like(smoothed(mask, volume, settings.median_mm)), thresholds, warnings)


def slice_axis(volume: Volume, axis: str) -> int:
    """Return the array axis (k, j, i) across the slices."""
    spacing = np.array(volume.spacing)
    if axis == "acquisition" and spacing.max() > 1.05 * spacing.min():
        return 2 - int(np.argmax(spacing))
    across = {"acquisition": 0, "sagittal": 0, "coronal": 1, "axial": 2}[axis]  # RAS axis
    return 2 - int(np.argmax(np.abs(volume.affine[across, :3]) / spacing))


def smoothed(mask: NDArray[Any], volume: Volume, median_mm: float) -> NDArray[np.uint8]:
    """Return a mask after a median over a box of ``median_mm``, at least 3 voxels where it acts."""
    solid = np.asarray(mask, dtype=np.uint8)
    if median_mm <= 0:
        return solid
    sizes = [2 * int(median_mm / s / 2 + 1e-6) + 1 for s in volume.spacing[::-1]]
    if max(sizes) == 1:
        return solid
    # The median of zeros and ones is what more than half of the box says.
    share = ndimage.uniform_filter(solid.astype(np.float32), sizes, mode="nearest")
    return np.asarray(share > 0.5, dtype=np.uint8)


def _least(values: NDArray[Any], whole: float, settings: ThresholdSettings) -> float:
    """Return the lowest threshold that a slice with bone can have, from the volume's classes."""
    inside = values[(values >= settings.low) & (values <= settings.high)]
    dark, bright = inside[inside <= whole].mean(), inside[inside > whole].mean()
    return float(dark + _BONELESS * (bright - dark))


def _of_slice(part: NDArray[Any], low: float, high: float) -> float:
    inside = (part >= low) & (part <= high)
    if int(inside.sum()) < _FEW:
        return float("nan")
    try:
        return otsu_threshold(part[inside], low, high)
    except InputError:
        return float("nan")


def _thinned(array: NDArray[Any]) -> NDArray[Any]:
    """Return every n-th voxel of a large volume: enough for a histogram."""
    steps = (max(1, n // 160) for n in array.shape)
    return array[tuple(slice(None, None, step) for step in steps)]
