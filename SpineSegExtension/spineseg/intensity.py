"""How Hounsfield units are given to the networks: the same in training and in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AIR_HU",
    "CT_UNIT_MAPPING",
    "CT_UNIT_WINDOW",
    "MAPPING",
    "MR_MAPPING",
    "WINDOW",
    "ct_to_unit",
    "intensity_channels",
    "mr_range",
    "mr_to_unit",
    "unit_to_ct",
]

AIR_HU = -1000.0
"""Value of what lies outside a scan."""
WINDOW = (-1000.0, 1500.0)
SOFT_WINDOW = (-50.0, 350.0)
MAPPING = "channel 0: clip(HU, -1000, 1500) / 750; channel 1: (clip(HU, -50, 350) - 150) / 200"
"""In words, for the model cards."""


def intensity_channels(hu: NDArray[Any]) -> NDArray[np.float32]:
    """Map Hounsfield units to a network's two input channels.

    The wide window keeps air, cortex and metal apart; the narrow one separates cancellous bone
    from disc and muscle, which osteoporosis brings within a few tens of HU of each other.

    Parameters
    ----------
    hu : ndarray
        HU, any shape (k, j, i in use); what is not finite counts as air.

    Returns
    -------
    ndarray, float32, shape (2, *hu.shape)
    """
    values = np.nan_to_num(np.asarray(hu, dtype=np.float32), nan=AIR_HU)
    channels = np.empty((2, *values.shape), dtype=np.float32)
    np.clip(values, *WINDOW, out=channels[0])
    channels[0] /= 750.0
    np.clip(values, *SOFT_WINDOW, out=channels[1])
    channels[1] -= 150.0
    channels[1] /= 200.0
    return channels


CT_UNIT_WINDOW = (-250.0, 1000.0)
"""HU that the translating networks write as -1 and 1; what is darker or brighter is clipped."""
MR_MAPPING = (
    "p = 1st percentile, q = 99th percentile of what is brighter than p by a tenth of the range; "
    "clip(2 (v - p) / (q - p) - 1, -1, 1.5)"
)
"""In words, for the model cards."""
CT_UNIT_MAPPING = "2 (clip(HU, -250, 1000) + 250) / 1250 - 1"


def ct_to_unit(hu: NDArray[Any]) -> NDArray[np.float32]:
    """Map HU of any shape to -1 … 1, what a translating network reads and writes."""
    low, high = CT_UNIT_WINDOW
    values = np.clip(np.nan_to_num(np.asarray(hu, dtype=np.float32), nan=low), low, high)
    return np.asarray((values - low) * np.float32(2 / (high - low)) - 1, dtype=np.float32)


def unit_to_ct(values: NDArray[Any]) -> NDArray[np.float32]:
    """Map -1 … 1 back to HU."""
    low, high = CT_UNIT_WINDOW
    return np.asarray((np.asarray(values, np.float32) + 1) * np.float32((high - low) / 2) + low)


def mr_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the brightness that counts as dark and as bright in an MR (`MR_MAPPING`).

    Air around the patient says nothing of the sequence, so it does not count for the bright end.
    Equal where the image holds a single value.
    """
    some = np.asarray(values, dtype=np.float32)
    some = some[np.isfinite(some)]
    if not some.size:
        return 0.0, 0.0
    low, top = (float(v) for v in np.percentile(some, (1.0, 99.9)))
    tissue = some[some > low + 0.1 * (top - low)]
    return low, float(np.percentile(tissue, 99.0)) if tissue.size else low


def mr_to_unit(values: NDArray[Any], span: tuple[float, float]) -> NDArray[np.float32]:
    """Map an MR to -1 … 1.5 by its own range (`mr_range`); any shape."""
    low, high = span
    scaled = (
        np.nan_to_num(np.asarray(values, np.float32), nan=low) - np.float32(low)
    ) * np.float32(2 / max(high - low, 1e-6))
    return np.asarray(np.clip(scaled - 1, -1, 1.5), dtype=np.float32)
