"""Volumes and heights of vertebrae that were corrected by hand, from their label map alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from spineseg import labels
from spineseg.measure.body_places import body_centre
from spineseg.measure.heights import measure_vertebrae
from spineseg.result import Vertebra
from spineseg.volume import Volume

__all__ = ["remeasured"]


def remeasured(
    segmentation: Volume, confidences: Mapping[str, float] | None = None, sacrum: bool = False
) -> list[Vertebra]:
    """Return the vertebrae of a label map, measured, from the top to the bottom.

    Parameters
    ----------
    segmentation : Volume
        uint8 label map (k, j, i): VerSe ids, or 101, 102 … where levels are unsure.
    confidences : mapping of str to float, optional
        How sure a method was, by the name shown; NaN for a vertebra that is not in it.
    sacrum : bool
        Whether the sacrum counts.
    """
    boxes = ndimage.find_objects(segmentation.array)
    order = [level.verse for level in (*labels.VERTEBRAE, labels.SACRUM)]
    present = [n for n, box in enumerate(boxes, start=1) if box is not None]
    chosen = [n for n in order if n in present and (sacrum or n != labels.SACRUM.verse)]
    chosen += [n for n in present if n not in order and labels.is_vertebra(n)]
    found = []
    for label in chosen:
        box = boxes[label - 1]
        crop = segmentation.crop([s.start for s in box], [s.stop for s in box])
        mask = crop.like((crop.array == label).astype(np.uint8))
        name = labels.display_name(label)
        known = label < labels.FIRST_UNSURE
        cut = any(s.start == 0 or s.stop == n for s, n in zip(box, segmentation.shape))
        x, y, z = (float(v) for v in body_centre(mask))
        sure = (confidences or {}).get(name, math.nan)
        found.append(
            Vertebra(label, name if known else None, (x, y, z), complete=not cut, confidence=sure)
        )
    if any(vertebra.level is None for vertebra in found):  # a table can't tell their order
        found.sort(key=lambda vertebra: -vertebra.centroid[2])
    return measure_vertebrae(segmentation, found)
