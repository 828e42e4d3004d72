"""Distances between the surfaces of two masks, in millimetres.

The surface of a mask is its voxels that have a face neighbour outside of it (or lie at the border
of the array); each stands for its centre. The distance of a surface voxel to the other mask is to
the nearest surface voxel of that mask, exact also where voxels are not cubes. So:

- average symmetric surface distance (ASSD): the mean over the voxels of both surfaces;
- Hausdorff distance: the largest of all these distances;
- Hausdorff distance at 95 %: the larger of the two directions' 95th percentiles.

These are MONAI's definitions (``SurfaceDistanceMetric(symmetric=True)`` and
``HausdorffDistanceMetric``), which a test compares with. A tree of surface points takes the place
of distance maps: its memory grows with the surface, not with the box round both masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from ..errors import InputError
from ..volume import Volume

__all__ = ["SurfaceDistances", "surface_distances", "surface_points"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances in mm.

    Attributes
    ----------
    assd : float
        Average symmetric surface distance.
    hausdorff : float
        Largest distance.
    hausdorff95 : float
        The larger of the 95th percentiles of both directions.
    """

    assd: float
    hausdorff: float
    hausdorff95: float


def surface_points(mask: Volume) -> Floats:
    """Return the centres of a mask's surface voxels, N×3, RAS mm; empty for an empty mask."""
    solid = mask.array.astype(bool, copy=False)
    box = ndimage.find_objects(solid.view(np.uint8))
    if not box or box[0] is None:
        return np.empty((0, 3))
    part: NDArray[Any] = solid[box[0]]
    edge = part & ~ndimage.binary_erosion(part)
    index = np.argwhere(edge) + np.array([s.start for s in box[0]])
    return mask.ijk_to_ras(index[:, ::-1])


def surface_distances(truth: Volume, found: Volume) -> SurfaceDistances | None:
    """Compare the surfaces of two masks.

    Parameters
    ----------
    truth, found : Volume
        Masks (non-zero inside), (k, j, i), of any grids in one space; crops will do.

    Returns
    -------
    SurfaceDistances or None
        None where both are empty.

    Raises
    ------
    InputError
        One mask is empty, so no distance exists.
    """
    a, b = surface_points(truth), surface_points(found)
    if not len(a) and not len(b):
        return None
    if not len(a) or not len(b):
        raise InputError(
            "One of the two masks is empty, so their surfaces have no distance.",
            "Count it as missed.",
        )
    there, back = cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]
    both = np.concatenate([there, back])
    return SurfaceDistances(
        assd=float(both.mean()),
        hausdorff=float(both.max()),
        hausdorff95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
    )
