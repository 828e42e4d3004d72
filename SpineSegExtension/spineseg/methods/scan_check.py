"""Whether a scan is what the methods were made for: a CT of a patient, in Hounsfield units, in mm.

What is certain is refused before anything is looked for; what is only odd is a warning.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg.errors import InputError
from spineseg.volume import Volume

__all__ = ["check_scan"]

_THICK_MM = 4.0
_LEAST_SIDE_MM = 20.0  # a cervical vertebra is wider
_MOST_SIDE_MM = 4000.0
_LEAST_RANGE = 300.0  # HU; fat and cancellous bone alone are farther apart
_OFFSET = 1024  # of a CT whose rescale intercept was lost
_CT_REMEDY = "Open the CT itself, in Hounsfield units (air about -1000, water 0)."


def check_scan(scan: Volume, strict: bool = False) -> list[str]:
    """Say what makes a scan doubtful.

    Parameters
    ----------
    scan : Volume
        Finite values (see `spineseg.inference.finite_scan`).
    strict : bool
        Whether a scan without any value below 0 is refused, not only doubted. It has neither fat
        nor air, so it is no CT unless its values were cut off.

    Returns
    -------
    list of str
        Warnings, a sentence each.

    Raises
    ------
    InputError
        It has a single slice, no size that a vertebra fits into, or values that cannot be HU.
    """
    if min(scan.shape) < 2:
        raise InputError(
            "The scan has a single slice, and a vertebra can't be told from one.",
            "Open the whole series.",
        )
    _check_size(scan)
    sample = scan.array[tuple(slice(None, None, max(1, n // 64)) for n in scan.shape)]
    # The extremes are the whole scan's: a sample may miss the only bright or dark part.
    _check_values(sample, float(scan.array.min()), float(scan.array.max()), strict)
    found = []
    if max(scan.spacing) > _THICK_MM:
        found.append(
            f"The scan's slices are {max(scan.spacing):.1f} mm apart: outlines and heights are"
            " rough."
        )
    low, high = np.percentile(sample, [1, 99.9])
    if low > -20 or high < 100:
        found.append(
            "The scan's values do not look like Hounsfield units (is it a CT?): the result is"
            " doubtful."
        )
    return found


def _check_size(scan: Volume) -> None:
    sides = [n * s for n, s in zip(scan.shape[::-1], scan.spacing, strict=True)]
    if not _LEAST_SIDE_MM <= max(sides) <= _MOST_SIDE_MM:
        size = " × ".join(f"{side:.3g}" for side in sides)
        raise InputError(
            f"The scan measures {size} mm, which is no part of a patient: its voxel size seems to"
            " be in another unit than millimetres.",
            "Export it again with the voxel size in mm.",
        )


def _check_values(sample: NDArray[Any], low: float, high: float, strict: bool) -> None:
    values = f"from {low:.4g} to {high:.4g}"
    if low >= 0 and high <= 1:
        raise InputError(
            f"The scan's values ({values}) are scaled to 0–1, not in Hounsfield units.", _CT_REMEDY
        )
    if low >= 0 and high <= 255:
        raise InputError(
            f"The scan's values ({values}) are those of a picture or of an MR scaled to 0–255, not"
            " Hounsfield units.",
            _CT_REMEDY,
        )
    if high - low < _LEAST_RANGE:
        raise InputError(
            f"The scan's values ({values}) lie too near to each other for Hounsfield units.",
            _CT_REMEDY,
        )
    if low < 0:
        return
    bright = sample[sample > 200]
    # Muscle, water and fat, most of any patient, are then at 900 to 1100.
    if len(bright) > 100 and np.mean((bright > 870) & (bright < 1150)) > 0.5:
        raise InputError(
            f"The scan's values ({values}) look like Hounsfield units with {_OFFSET} added.",
            f"Subtract {_OFFSET} from every voxel, or export the CT again with its rescaling.",
        )
    if strict:
        raise InputError(
            f"The scan's values ({values}) show neither fat nor air, which a CT in Hounsfield"
            " units always does (is it an MR?).",
            _CT_REMEDY,
        )
