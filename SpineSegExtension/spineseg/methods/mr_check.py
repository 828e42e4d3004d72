"""Whether a scan is what a translation of MR was made for: an MR volume, in mm."""

from __future__ import annotations

import numpy as np

from spineseg.errors import InputError
from spineseg.inference import finite_scan
from spineseg.volume import Volume

__all__ = ["check_mr", "finite_mr"]

_THICK_MM = 6.0
_LEAST_SIDE_MM, _MOST_SIDE_MM = 60.0, 2500.0
_AIR_HU = -500.0  # nothing but a CT is as low as this in a tenth of its voxels
_FAT_HU = (-200.0, -30.0)  # no MR has a tenth of its voxels here and bone besides
_SHARE = 0.1
_TISSUE_HU, _BONE_HU = 100.0, 300.0  # a CT's brightest voxel is more: with air, and with fat
_FLAT = 0.5  # share of slices with a single value from which on the volume says too little


def check_mr(mr: Volume) -> list[str]:
    """Say what makes an MR doubtful.

    Parameters
    ----------
    mr : Volume
        Finite values, any orientation.

    Returns
    -------
    list of str
        Warnings, a sentence each.

    Raises
    ------
    InputError
        It is a CT, a single slice, of no size that a spine fits into, or most of its slices hold a
        single value.
    """
    if min(mr.shape) < 4:
        raise InputError(
            f"The MR has {min(mr.shape)} slice(s): a 2D series can't be translated in 3D.",
            "Open a whole sagittal series.",
        )
    sides = [n * s for n, s in zip(mr.shape[::-1], mr.spacing, strict=True)]
    if not _LEAST_SIDE_MM <= max(sides) <= _MOST_SIDE_MM:
        size = " × ".join(f"{side:.3g}" for side in sides)
        raise InputError(
            f"The MR measures {size} mm, which is no part of a patient: its voxel size seems to be"
            " in another unit than millimetres.",
            "Export it again with the voxel size in mm.",
        )
    sample = mr.array[tuple(slice(None, None, max(1, n // 64)) for n in mr.shape)]
    # A CT that is cropped to the spine shows no air, but always fat.
    fat = float(np.mean((sample > _FAT_HU[0]) & (sample < _FAT_HU[1])))
    air = float(np.mean(sample < _AIR_HU))
    most = float(sample.max())
    if (air > _SHARE and most > _TISSUE_HU) or (fat > _SHARE and most > _BONE_HU):
        raise InputError(
            "The scan's values are Hounsfield units: it is a CT, which needs no translation.",
            "Segment it as it is (spineseg segment), or open the MR.",
        )
    thin = int(np.argmax(mr.spacing))  # the slices lie across the widest voxels
    slices = np.moveaxis(mr.array, 2 - thin, 0)
    flat = [bool((part == part.flat[0]).all()) for part in slices]
    if np.mean(flat) > _FLAT:
        raise InputError(
            f"{sum(flat)} of the MR's {len(flat)} slices hold a single value.",
            "Export the series again: slices are empty.",
        )
    found = []
    if any(flat):
        found.append(f"{sum(flat)} of the MR's {len(flat)} slices hold a single value.")
    if max(mr.spacing) > _THICK_MM:
        found.append(
            f"The MR's slices are {max(mr.spacing):.1f} mm apart: surfaces are rough across them."
        )
    if min(sides) < 40:
        found.append(f"The MR is only {min(sides):.0f} mm wide: bodies are cut at its sides.")
    return found


def finite_mr(mr: Volume) -> Volume:
    """Return an MR as `spineseg.inference.finite_scan` does, with NaN as dark as its darkest voxel.

    What stands for air in a CT lies far below any MR, whose own range would be lost.
    """
    if mr.array.dtype.kind == "f":
        finite = np.isfinite(mr.array)
        if finite.any() and not finite.all():
            mr = mr.like(np.where(finite, mr.array, mr.array[finite].min()))
    return finite_scan(mr)
