"""Whether vertebrae are where they should be, under their right names.

The rules are those of Glocker et al. (MICCAI 2012, 2013), which paper 002 and VerSe took over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEAR_MM", "identified", "localisation_errors"]

Point = Sequence[float] | NDArray[np.float64]
NEAR_MM = 20.0
"""A vertebra is not identified at this distance or more."""


def localisation_errors(
    truth: Mapping[int, Point], found: Mapping[int, Point]
) -> dict[int, float | None]:
    """Return the distance (mm) from each true centroid to the one found under the same label.

    Parameters
    ----------
    truth, found : mapping of int to (3,)
        Label and centroid, RAS mm.

    Returns
    -------
    dict
        For every label of `truth`; None where nothing was found under that label.
    """
    return {
        label: float(np.linalg.norm(np.subtract(found[label], point))) if label in found else None
        for label, point in truth.items()
    }


def identified(truth: Mapping[int, Point], found: Mapping[int, Point]) -> dict[int, bool]:
    """Return for every true vertebra whether it was identified.

    It was if the centroid found under its label has the true centroid of that label as its
    nearest one, nearer than `NEAR_MM`.
    """
    labels = list(truth)
    points = np.array([truth[label] for label in labels], dtype=float).reshape(-1, 3)
    result = dict.fromkeys(labels, False)
    for label in labels:
        if label in found:
            away = np.linalg.norm(points - np.asarray(found[label], dtype=float), axis=1)
            nearest = int(away.argmin())
            result[label] = labels[nearest] == label and bool(away[nearest] < NEAR_MM)
    return result
