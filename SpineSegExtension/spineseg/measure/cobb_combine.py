"""One set of angles from several methods' answers: their weighted mean, or their vote."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["HOW", "MEAN", "VOTE", "combined", "weights_of"]

MEAN, VOTE = "mean", "vote"
HOW = (MEAN, VOTE)


def combined(angles: ArrayLike, weights: ArrayLike | None = None, how: str = MEAN) -> NDArray[
    np.float64
]:  # fmt: skip
    """Combine the answers of several methods for one film.

    Parameters
    ----------
    angles : (methods, 3) float
        Degrees: major, upper, lower. A row of NaN is a method without an answer.
    weights : (methods,) float, optional
        How much each counts; by default all alike. One of the methods that answered must count.
    how : {"mean", "vote"}
        The mean, or the weighted median of each angle: what the majority says, however far off
        the others are (the vote of Chen et al. 2020, p. 63, for methods that need not have
        vertebrae).

    Returns
    -------
    (3,) float64
        NaN if no method has an answer.
    """
    values = np.asarray(angles, dtype=np.float64)
    share = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    there = np.isfinite(values).all(axis=1) & (share > 0)
    if not there.any():
        return np.full(values.shape[1], np.nan)
    values, share = values[there], share[there] / share[there].sum()
    if how == MEAN:
        return np.asarray(share @ values)
    return np.array([_median(column, share) for column in values.T])


def _median(values: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    """Return the value below which half of the weight lies, halfway between two in a tie."""
    order = np.argsort(values)
    below = np.cumsum(share[order])
    first = int(np.searchsorted(below, 0.5 - 1e-9))
    last = int(np.searchsorted(below, 0.5 + 1e-9))
    return float(values[order][[first, min(last, len(values) - 1)]].mean())


def weights_of(smape_percent: Sequence[float | None]) -> NDArray[np.float64]:
    """Return weights from what each method's SMAPE was on films that it did not learn from.

    They fall with its square, as they would for independent errors; a method whose SMAPE is not
    known counts as the worst of those that are.
    """
    known = [s for s in smape_percent if s is not None and np.isfinite(s)]
    worst = max(known, default=1.0)
    values = [worst if s is None or not np.isfinite(s) else s for s in smape_percent]
    share = 1.0 / np.maximum(np.array(values, dtype=np.float64), 0.1) ** 2
    return np.asarray(share / share.sum())
