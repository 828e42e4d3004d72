"""How well scores tell ill from sound, and how well two gradings agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["area_under_curve", "kappa"]

Floats = NDArray[np.float64]


def area_under_curve(score: Floats, ill: NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve (Mann and Whitney's U); None without both kinds."""
    from scipy.stats import rankdata

    count = int(ill.sum())
    if not count or count == len(ill):
        return None
    rank = rankdata(score)
    return float((rank[ill].sum() - count * (count + 1) / 2) / (count * (len(ill) - count)))


def kappa(true: Floats, said: Floats, grades: int = 4) -> float | None:
    """Return Cohen's kappa of two gradings, linearly weighted (Cohen, Psychol Bull 1968;70:213)."""
    if not len(true):
        return None
    table = np.zeros((grades, grades))
    np.add.at(table, (true.astype(int), said.astype(int)), 1.0 / len(true))
    apart = np.abs(np.subtract.outer(np.arange(grades), np.arange(grades)))
    chance = float((np.outer(table.sum(axis=1), table.sum(axis=0)) * apart).sum())
    return 1.0 - float((table * apart).sum()) / chance if chance > 0 else None
