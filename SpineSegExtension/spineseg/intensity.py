"""How Hounsfield units are given to the networks: the same in training and in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["AIR_HU", "MAPPING", "WINDOW", "intensity_channels"]

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
