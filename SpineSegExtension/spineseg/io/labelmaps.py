"""Reading what is segmented already, on the grid of its scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spineseg.errors import InputError
from spineseg.grid import Grid
from spineseg.io.images import read_volume
from spineseg.io.segmentations import read_seg_nrrd
from spineseg.labels import LAST_UNSURE
from spineseg.volume import Volume

__all__ = ["read_labels"]


def read_labels(path: Path | str, scan: Grid) -> Volume:
    """Read a label map of vertebrae that was made from a scan.

    Parameters
    ----------
    path : Path or str
        An image of any format that `read_volume` takes, or 3D Slicer's ``.seg.nrrd``, whose
        segments get labels by their names. It may cover a part of the scan.
    scan : Grid
        Of the scan.

    Returns
    -------
    Volume
        uint8, on `scan`.

    Raises
    ------
    InputError
        As `read_volume`; the voxels are not the scan's, or the values no labels.
    """
    path = Path(path)
    slicers = path.name.lower().endswith(".seg.nrrd")
    found = read_seg_nrrd(path)[0] if slicers else read_volume(path)
    array = found.array
    if array.min() < 0 or array.max() > LAST_UNSURE or not np.array_equal(array, np.rint(array)):
        raise InputError(
            f"{path.name} holds other values than labels, whole numbers from 0 to {LAST_UNSURE}.",
            "Choose a label map of vertebrae.",
        )
    labels = found.astype(np.uint8)
    if labels.grid.same_as(scan, 0.05):
        return Volume(labels.array, scan.affine)
    try:  # Slicer saves only the part that holds segments
        return Volume(np.zeros(scan.shape, dtype=np.uint8), scan.affine).paste(labels)
    except InputError as error:
        raise InputError(
            f"{path.name} does not lie on the scan's grid, so it may be of another scan.",
            "Choose the segmentation that was made from this scan, or resample it onto its grid.",
        ) from error
