"""Landmarks of digital patients, as a reader digitises them on two radiographs.

Paper 000 had 74 points on T2 to T11; Delorme et al. 2003, whose method digitised them, name the
endplates' centres, the pedicles' ends and the tips of the processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..io.landmarks import Landmark
from ..labels import SubRegion, by_name
from ..phantom.answers import corners
from ..phantom.generate import Phantom

__all__ = ["phantom_landmarks"]

_TIPS = {
    "spinous process": (SubRegion.SPINOUS, (0.0, -1.0, -0.3)),
    "transverse process left": (SubRegion.TRANSVERSE_LEFT, (-1.0, 0.0, 0.0)),
    "transverse process right": (SubRegion.TRANSVERSE_RIGHT, (1.0, 0.0, 0.0)),
}


def phantom_landmarks(
    phantom: Phantom, levels: Sequence[str] | None = None, noise_mm: float = 0.0, seed: int = 0
) -> list[Landmark]:
    """Return the landmarks of a digital patient's vertebrae.

    Parameters
    ----------
    phantom : Phantom
    levels : sequence of str, optional
        By default all whose voxels are in the scan.
    noise_mm : float
        Standard deviation of a reader's error along each axis.

    Returns
    -------
    list of Landmark
        For each level the middles of the upper and lower endplate's rim in front, behind and at
        both sides, and the tips of the processes that the scan shows; RAS mm.
    """
    rng = np.random.default_rng(seed)
    found = []
    for body in phantom.chain.bodies:
        own = phantom.vertebrae.array == by_name(body.name).verse
        if (levels is not None and body.name not in levels) or not own.any():
            continue
        points = {name.replace("_", " "): np.array(p) for name, p in corners(body).items()}
        for name, (part, way) in _TIPS.items():
            voxels = np.argwhere(own & (phantom.tissue.array == part))
            if len(voxels) < 20:
                continue
            ras = np.asarray(phantom.ct.ijk_to_ras(voxels[:, ::-1]))
            points[name] = _tip(ras, body.rotation @ np.array(way))
        for name, point in points.items():
            x, y, z = point + rng.normal(0, noise_mm, 3)
            found.append(Landmark(body.name, name, (float(x), float(y), float(z))))
    return found


def _tip(points: NDArray[np.float64], way: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the farthest few points along a direction."""
    along = points @ way
    return np.asarray(points[along >= np.sort(along)[-max(3, len(along) // 50)]].mean(axis=0))
