"""Sagittal and coronal pictures of a scan that follow the spine's curve.

A row of a picture is one height (RAS S, mm). In the sagittal picture each row is taken at the
spine's own left-right position at that height, in the coronal one at its own front-back position,
so that a scoliotic spine stays in view from top to bottom. Pixels are square in mm whatever the
voxels are; nothing but the picture's own pixels is interpolated, so that a big scan costs no
memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from spineseg.volume import Volume

Array = npt.NDArray[np.float64]

MARGIN_MM = 45.0  # shown around the labelled bone
PIXELS = 1100  # the picture's longer side is not larger than this
FINEST_MM = 0.4


@dataclass(frozen=True)
class Slice:
    """A picture plane through a scan.

    Attributes
    ----------
    image : ndarray, float32
        Intensities (row from the top, column); columns run from anterior to posterior in a
        sagittal picture, from the patient's right to left in a coronal one. NaN outside the scan.
    labels : ndarray, uint8
        Label map on the same pixels.
    pixel_mm : float
        Size of a pixel.
    marks : ndarray, shape (N, 2)
        Row and column of the given centroids.
    """

    image: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    pixel_mm: float
    marks: Array


def scan_box(scan: Volume) -> tuple[Array, Array]:
    """Return the lower and upper corner (RAS mm) of the box around a scan's voxel centres."""
    last = np.array(scan.shape[::-1]) - 1.0
    corners = np.array(np.meshgrid(*[(0.0, n) for n in last])).reshape(3, -1).T
    points = scan.ijk_to_ras(corners)
    return points.min(axis=0), points.max(axis=0)


def label_box(segmentation: Volume, margin_mm: float = MARGIN_MM) -> tuple[Array, Array]:
    """Return the box (RAS mm) of the labelled voxels with a margin, or the scan's without any.

    The margin does not reach out of the scan.
    """
    low, high = scan_box(segmentation)
    others = ((1, 2), (0, 2), (0, 1))
    axes = [np.flatnonzero(segmentation.array.any(axis=other)) for other in others]
    if not len(axes[0]):
        return low, high
    ends = [(float(a[0]), float(a[-1])) for a in reversed(axes)]  # i, j, k
    points = segmentation.ijk_to_ras(np.array(np.meshgrid(*ends)).reshape(3, -1).T)
    return (
        np.maximum(points.min(axis=0) - margin_mm, low),
        np.minimum(points.max(axis=0) + margin_mm, high),
    )


def spine_at(heights: Array, centroids: Array, fallback: Array) -> Array:
    """Return the spine's position at given heights.

    Parameters
    ----------
    heights : ndarray, shape (N,)
        S coordinates, mm.
    centroids : ndarray, shape (M, 3)
        Body centres, RAS mm, any order.
    fallback : ndarray, shape (3,)
        The position where there is no vertebra.

    Returns
    -------
    ndarray, shape (N, 2)
        R and A coordinates; constant above the first and below the last centroid.
    """
    if not len(centroids):
        return np.tile(fallback[:2], (len(heights), 1))
    order = centroids[np.argsort(centroids[:, 2])]
    return np.stack([np.interp(heights, order[:, 2], order[:, axis]) for axis in (0, 1)], axis=1)


def take(
    scan: Volume, segmentation: Volume, centroids: Sequence[Sequence[float]], plane: str
) -> Slice:
    """Cut a scan and its label map along the spine.

    Parameters
    ----------
    scan, segmentation : Volume
        On the same grid, of any orientation.
    centroids : sequence of (float, float, float)
        Body centres, RAS mm; without any, the plane goes through the middle of the scan.
    plane : {"sagittal", "coronal"}

    Returns
    -------
    Slice
    """
    points = np.asarray(centroids, dtype=float).reshape(-1, 3)
    low, high = label_box(segmentation)
    across = 1 if plane == "sagittal" else 0  # the axis that runs along the columns
    lengths = high - low
    pixel = max(FINEST_MM, min(scan.spacing), max(lengths[2], lengths[across]) / PIXELS)
    rows = high[2] - np.arange(max(1, round(lengths[2] / pixel) + 1)) * pixel
    steps = np.arange(max(1, round(lengths[across] / pixel) + 1)) * pixel
    # Anterior on the left; the patient's right on the left, as a radiologist faces the patient.
    columns = high[across] - steps
    through = spine_at(rows, points, (low + high) / 2)
    ras = np.empty((len(rows), len(columns), 3))
    ras[..., across] = columns
    ras[..., 1 - across] = through[:, 1 - across, None]
    ras[..., 2] = rows[:, None]
    index = scan.ras_to_ijk(ras.reshape(-1, 3))[:, ::-1].T
    shape = (len(rows), len(columns))
    marks = np.stack([(high[2] - points[:, 2]) / pixel, (high[across] - points[:, across]) / pixel])
    return Slice(
        _sample(scan.array, index, 1, np.nan).reshape(shape),
        _sample(segmentation.array, index, 0, 0).astype(np.uint8).reshape(shape),
        float(pixel),
        marks.T,
    )


def _sample(
    array: npt.NDArray[np.generic], index: Array, order: int, outside: float
) -> npt.NDArray[np.float32]:
    if array.dtype == np.float16:  # the one type that ndimage does not read
        array = array.astype(np.float32)
    # Half a voxel beyond the outer centres still belongs to the scan: a one-slice scan shows.
    limits = np.array(array.shape)[:, None] - 1.0
    clipped = np.clip(index, 0.0, limits)
    values = ndimage.map_coordinates(
        array, clipped, output=np.float32, order=order, prefilter=False, mode="nearest"
    )
    values[(np.abs(index - clipped) > 0.5 + 1e-6).any(axis=0)] = outside
    result: npt.NDArray[np.float32] = values
    return result
