"""Whether a label map can be that of a CT whose vertebrae are to be graded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spineseg.errors import InputError
from spineseg.labels import (
    LAST_UNSURE,
    OTHER_BONE,
    SACRUM,
    TOTALSEGMENTATOR_TO_VERSE,
    is_vertebra,
)
from spineseg.volume import Volume

__all__ = ["require_match"]

_COCCYX = 27  # of VerSe's ids, whose data do not have it
_AIR_HU, _AIR = -200.0, 0.2  # no more than this share of what is called bone is that thin


def require_match(scan: Volume, segmentation: Volume) -> list[str]:
    """Refuse a label map that can't be of a scan.

    Parameters
    ----------
    scan : Volume
        CT in HU (k, j, i).
    segmentation : Volume
        Label map: VerSe ids, or 101, 102 … where levels are unsure.

    Returns
    -------
    list of str
        A sentence on labels that mean nothing here and are left out, if there are any.

    Raises
    ------
    InputError
        It lies on another grid, on air or fat, holds no vertebra, or is numbered otherwise.
    """
    if not segmentation.grid.same_as(scan.grid, 0.05):
        raise InputError(
            "The segmentation does not lie on the scan's grid, so it may be of another scan.",
            "Choose the one that was made from this scan, or resample it onto its grid.",
        )
    counts = np.bincount(segmentation.array.ravel().astype(np.uint8), minlength=LAST_UNSURE + 1)
    strange = _strangers(counts)
    if not any(counts[label] for label in range(1, len(counts)) if is_vertebra(label)):
        raise InputError(
            "The segmentation holds no vertebra, so there is nothing to grade.",
            "Check that the scan shows the spine, and that labels are VerSe's (8 = T1 … 24 = L5).",
        )
    inside = scan.array[segmentation.array > 0]
    if float((inside < _AIR_HU).mean()) > _AIR:
        raise InputError(
            "The segmentation does not match the CT: much of what it calls bone is air or fat.",
            "Choose the segmentation of this scan; a mirrored or shifted one gives this, too.",
        )
    if not strange:
        return []
    return [f"Left out, for no vertebra has that label: {', '.join(map(str, strange))}."]


def _strangers(counts: NDArray[np.int64]) -> list[int]:
    """Return the labels that mean nothing here; refuse TotalSegmentator's, which mean others."""
    known = (0, OTHER_BONE, SACRUM.verse, _COCCYX)
    strange = [n for n in np.flatnonzero(counts).tolist() if not is_vertebra(n) and n not in known]
    if any(n in TOTALSEGMENTATOR_TO_VERSE for n in strange):
        raise InputError(
            "The segmentation's numbers look like those of TotalSegmentator, not of VerSe:"
            f" {', '.join(map(str, strange))}.",
            "Renumber it: spineseg.labels.TOTALSEGMENTATOR_TO_VERSE says which is which.",
        )
    return strange
