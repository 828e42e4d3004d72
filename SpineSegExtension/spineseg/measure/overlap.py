"""How well two masks overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["concurrency", "dice"]

Array = NDArray[Any]


def dice(truth: Array, found: Array) -> float:
    """Dice's coefficient, 2 |X ∩ Y| / (|X| + |Y|): the harmonic mean of precision and recall.

    Equation 1 of the click-to-segment paper (CSI 2019, p. 15). Two empty masks agree: 1.

    Parameters
    ----------
    truth, found : bool arrays of one shape
    """
    both, n_truth, n_found = _counts(truth, found)
    return 2.0 * both / (n_truth + n_found) if n_truth + n_found else 1.0


def concurrency(truth: Array, found: Array) -> float:
    """The arithmetic mean of precision and recall, (|X ∩ Y| / |X| + |X ∩ Y| / |Y|) / 2.

    Equation 2 of the same paper; never below Dice. Two empty masks agree: 1; one empty mask: 0.
    """
    both, n_truth, n_found = _counts(truth, found)
    if not n_truth and not n_found:
        return 1.0
    return (both / n_truth + both / n_found) / 2.0 if n_truth and n_found else 0.0


def _counts(truth: Array, found: Array) -> tuple[int, int, int]:
    truth, found = truth.astype(bool, copy=False), found.astype(bool, copy=False)
    return (
        int(np.count_nonzero(truth & found)),
        int(np.count_nonzero(truth)),
        int(np.count_nonzero(found)),
    )
