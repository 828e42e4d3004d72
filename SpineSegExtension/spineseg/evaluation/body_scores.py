"""How well vertebral bodies were found and outlined, body by body, without any registration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..errors import InputError
from ..measure.surface_distance import surface_distances
from ..volume import Volume

__all__ = ["BodyScore", "score_bodies", "summary"]


@dataclass(frozen=True)
class BodyScore:
    """One true body.

    Attributes
    ----------
    label : of the true body
    dice : with the found body that shares the most voxels with it; 0 if none does
    distance_mm : mean symmetric distance between both surfaces; None for a missed one
    found : whether the two share more than half of the smaller one
    """

    label: int
    dice: float
    distance_mm: float | None
    found: bool


def score_bodies(truth: Volume, found: Volume) -> list[BodyScore]:
    """Score every true body against the found one that overlaps it most.

    A found body counts for one true body only: for the one that it overlaps most.

    Parameters
    ----------
    truth, found : Volume
        Labels, one a body, on the same grid.

    Raises
    ------
    InputError : the grids differ.
    """
    if truth.shape != found.shape or not np.allclose(truth.affine, found.affine, atol=1e-3):
        raise InputError("The bodies lie on another grid than the reference.")
    labels = [int(n) for n in np.unique(truth.array) if n]
    most = int(found.array.max())
    shared = np.zeros((len(labels), most + 1), dtype=np.int64)
    for row, label in enumerate(labels):
        shared[row] = np.bincount(found.array[truth.array == label], minlength=most + 1)
    shared[:, 0] = 0
    sizes = np.bincount(found.array.ravel(), minlength=most + 1)
    scores = []
    for row, label in enumerate(labels):
        best = int(shared[row].argmax())
        if not shared[row, best] or shared[:, best].argmax() != row:
            scores.append(BodyScore(label, 0.0, None, False))
            continue
        size = int((truth.array == label).sum())
        dice = 2 * shared[row, best] / (size + sizes[best])
        near = shared[row, best] > 0.5 * min(size, sizes[best])
        scores.append(
            BodyScore(label, float(dice), _distance(truth, found, label, best), bool(near))
        )
    return scores


def _distance(truth: Volume, found: Volume, label: int, best: int) -> float:
    one, other = truth.array == label, found.array == best
    box = ndimage.find_objects((one | other).astype(np.uint8))[0]
    low, high = [s.start for s in box], [s.stop for s in box]
    part = truth.crop(low, high)
    masks = (part.like(mask[box].astype(np.uint8)) for mask in (one, other))
    distances = surface_distances(*masks)
    assert distances is not None  # both have voxels
    return float(distances.assd)


def summary(scores: Sequence[BodyScore]) -> dict[str, float]:
    """Return count, share found, mean Dice (missed ones as 0) and mean distance (found ones)."""
    away = [s.distance_mm for s in scores if s.distance_mm is not None]
    return {
        "bodies": len(scores),
        "found": float(np.mean([s.found for s in scores])) if scores else 0.0,
        "dice": float(np.mean([s.dice for s in scores])) if scores else 0.0,
        "distance_mm": float(np.mean(away)) if away else float("nan"),
    }
