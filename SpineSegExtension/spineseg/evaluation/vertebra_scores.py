"""Scores of one case: every true vertebra against what was found.

Measures: Dice, surface distances (`spineseg.measure.surface_distance`), and the localisation error
and identification rate of Glocker et al., which paper 002 and VerSe use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..errors import InputError
from ..labels import by_verse, display_name, is_vertebra
from ..measure.identification import NEAR_MM, identified, localisation_errors
from ..measure.overlap import dice
from ..measure.surface_distance import surface_distances
from ..volume import Volume

__all__ = ["VertebraScore", "false_vertebrae", "score", "score_centroids", "summary"]

Array = npt.NDArray[Any]
Points = Mapping[int, Sequence[float]]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class VertebraScore:
    """One true vertebra of one case.

    Attributes
    ----------
    case, level, region : str
        Region is cervical, thoracic or lumbar.
    dice : float or None
        Against the vertebra of the same level; a missed one has 0. None without masks.
    shape_dice : float or None
        Against the one that covers most of it, whatever its name.
    assd_mm, hd_mm, hd95_mm : float or None
        Surface distances to that one; None where it was missed.
    distance_mm : float or None
        From the true centre to the centre of that one. Without masks: of the nearest.
    localisation_mm : float or None
        From the true centre to that of the vertebra found under the same level.
    found : bool
        Whether that distance is below 20 mm.
    named : bool
        Whether the one in this place has the right level.
    identified : bool
        Whether the one found under this level has this true centre as its nearest, below 20 mm.
    """

    case: str
    level: str
    dice: float | None
    shape_dice: float | None
    distance_mm: float | None
    named: bool
    found: bool
    region: str = ""
    assd_mm: float | None = None
    hd_mm: float | None = None
    hd95_mm: float | None = None
    localisation_mm: float | None = None
    identified: bool = False


def score(
    truth: Volume,
    found: Volume,
    case: str = "",
    centroids: Points | None = None,
    placed: Points | None = None,
) -> list[VertebraScore]:
    """Score a label map against the true one (both VerSe ids, same grid).

    Voxels of vertebrae that are labelled nowhere in the truth don't count: people leave partly
    visible vertebrae out.

    Parameters
    ----------
    truth, found : Volume
        Label maps, whole numbers up to 255.
    case : str
        For the rows and the errors.
    centroids, placed : mapping of int to (3,), optional
        Centres of the true and of the found vertebrae by label, RAS mm. Where one of them lacks,
        centres of mass of the masks are compared.

    Raises
    ------
    InputError
        The grids differ.
    """
    if not truth.grid.same_as(found.grid, 1e-2):
        raise InputError(
            f"The label map of {case or 'this case'} is not on its scan's grid.",
            "Resample it to the scan first.",
        )
    true_boxes, found_boxes = _boxes(truth), _boxes(found)
    if not (centroids and placed):
        centroids = {label: _centre(truth, label, box) for label, box in true_boxes.items()}
        placed = {label: _centre(found, label, box) for label, box in found_boxes.items()}
    errors = localisation_errors(centroids, placed)
    names = identified(centroids, placed)
    rows = []
    for label, box in true_boxes.items():
        best = _covering(truth.array[box] == label, found.array[box])
        by_name = _pair(truth, found, label, label, true_boxes, found_boxes)
        by_place = _pair(truth, found, label, best, true_boxes, found_boxes)
        surface = surface_distances(*by_place) if best else None
        distance = None
        if best in placed and label in centroids:
            distance = float(np.linalg.norm(np.subtract(placed[best], centroids[label])))
        rows.append(
            VertebraScore(
                case=case,
                level=display_name(label),
                region=by_verse(label).region,
                dice=dice(by_name[0].array, by_name[1].array),
                shape_dice=dice(by_place[0].array, by_place[1].array),
                assd_mm=surface.assd if surface else None,
                hd_mm=surface.hausdorff if surface else None,
                hd95_mm=surface.hausdorff95 if surface else None,
                distance_mm=distance,
                localisation_mm=errors.get(label),
                named=best == label,
                found=distance is not None and distance < NEAR_MM,
                identified=names.get(label, False),
            )
        )
    return rows


def score_centroids(centroids: Points, placed: Points, case: str = "") -> list[VertebraScore]:
    """Score centres (RAS mm, by label) alone: localisation and identification."""
    errors, names = localisation_errors(centroids, placed), identified(centroids, placed)
    rows = []
    for label, point in centroids.items():
        away = {n: float(np.linalg.norm(np.subtract(p, point))) for n, p in placed.items()}
        nearest = min(away, key=lambda n: away[n]) if away else None
        distance = away[nearest] if nearest is not None else None
        rows.append(
            VertebraScore(
                case=case,
                level=display_name(label),
                region=by_verse(label).region,
                dice=None,
                shape_dice=None,
                distance_mm=distance,
                localisation_mm=errors[label],
                named=nearest == label,
                found=distance is not None and distance < NEAR_MM,
                identified=names[label],
            )
        )
    return rows


def false_vertebrae(
    truth: Volume | None, found: Volume, centroids: Points, placed: Points
) -> list[int]:
    """Return the labels of vertebrae that were found where there is none.

    They touch no true vertebra (without masks: their centre is 20 mm or more from every true one),
    and their centre is no higher than the highest and no lower than the lowest true voxel (centre):
    beyond these, a vertebra may be there that nobody labelled.

    Parameters
    ----------
    truth : Volume or None
        True label map, if there is one.
    found : Volume
        Label map that was found, on the same grid.
    centroids, placed : mapping of int to (3,)
        Centres of true and found vertebrae, RAS mm.
    """
    boxes = _boxes(found)
    centres = {n: placed.get(n, _centre(found, n, box)) for n, box in boxes.items()}
    if truth is not None:
        spans = [_span(truth, box) for box in _boxes(truth).values()]
        low, high = min(s[0] for s in spans), max(s[1] for s in spans)
        alone = [n for n, box in boxes.items() if not _touching(truth, found, n, box)]
    else:
        points = np.array(list(centroids.values()), dtype=float)
        low, high = points[:, 2].min(), points[:, 2].max()
        away = {n: np.linalg.norm(points - c, axis=1).min() for n, c in centres.items()}
        alone = [n for n in boxes if away[n] >= NEAR_MM]
    return [n for n in alone if low <= centres[n][2] <= high]


def summary(rows: Sequence[VertebraScore]) -> dict[str, float]:
    """Return the means over all true vertebrae: Dice, distances in mm, and shares from 0 to 1.

    Missed vertebrae count as 0 in Dice and in the shares, and not in the distances. NaN where
    nothing has a value.
    """
    result = {"vertebrae": float(len(rows))}
    for name in MEASURES:
        values = [float(v) for v in (getattr(row, name) for row in rows) if v is not None]
        result[name] = float(np.mean(values)) if values else float("nan")
    return result


MEASURES = (
    "dice", "shape_dice", "assd_mm", "hd_mm", "hd95_mm", "distance_mm", "localisation_mm",
    "found", "named", "identified",
)  # fmt: skip
"""What a row measures."""


def _boxes(labels: Volume) -> dict[int, Box]:
    found = ndimage.find_objects(labels.array.astype(np.uint8, copy=False))
    boxes = enumerate(found, start=1)
    return {n: box for n, box in boxes if box is not None and is_vertebra(n)}


def _centre(labels: Volume, label: int, box: Box) -> Sequence[float]:
    """Centre of mass of a label, RAS mm."""
    index = np.argwhere(labels.array[box] == label).mean(axis=0) + [s.start for s in box]
    x, y, z = labels.ijk_to_ras(index[None, ::-1])[0]
    return float(x), float(y), float(z)


def _span(labels: Volume, box: Box) -> tuple[float, float]:
    """Lowest and highest place of a box, RAS mm."""
    part = labels.grid.cropped([s.start for s in box], [s.stop for s in box])
    heights = part.corners()[:, 2]
    return float(heights.min()), float(heights.max())


def _covering(mask: Array, found: Array) -> int:
    """Return the vertebra that covers most of a mask; 0 if none does."""
    counts = np.bincount(found[mask].astype(np.int64), minlength=256)
    counts[[n for n in range(256) if not is_vertebra(n)]] = 0
    return int(counts.argmax()) if counts.any() else 0


def _touching(truth: Volume, found: Volume, label: int, box: Box) -> bool:
    return _covering(found.array[box] == label, truth.array[box]) != 0


def _pair(
    truth: Volume, found: Volume, label: int, other: int, a: dict[int, Box], b: dict[int, Box]
) -> tuple[Volume, Volume]:
    """Return the masks of a true and of a found vertebra, cropped to both."""
    boxes = [a[label], *([b[other]] if other in b else [])]
    lo = [min(box[axis].start for box in boxes) for axis in range(3)]
    hi = [max(box[axis].stop for box in boxes) for axis in range(3)]
    first, second = truth.crop(lo, hi), found.crop(lo, hi)
    here = second.array == other if other else np.zeros(second.shape, dtype=bool)
    return first.like(first.array == label), second.like(here)
