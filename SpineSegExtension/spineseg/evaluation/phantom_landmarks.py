"""Landmarks of digital patients, as a reader digitises them on two radiographs.

Paper 000 had 74 points on T2 to T11. Delorme et al. 2003, whose method digitised them, name the
endplates' centres, the pedicles and the tips of the processes: seven a vertebra, 70 on T2 to T11.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..io.landmarks import Landmark
from ..labels import SubRegion, by_name
from ..phantom.chain import Body
from ..phantom.generate import Phantom

__all__ = ["phantom_landmarks"]

Array = NDArray[Any]

_AXIS_MM = 3.0  # endplates are touched this near to the body's axis
_PEDICLE_MM = 8.0  # behind the back wall
_LEAST = 5  # voxels
_BODY = (SubRegion.BODY_BORDER, SubRegion.BODY)
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
        By default all that lie whole in the scan.
    noise_mm : float
        Standard deviation of a reader's error along each axis.
    seed : int
        Of that error.

    Returns
    -------
    list of Landmark
        For each level those that the scan shows of: the middles of both endplates, the upper edges
        of both pedicles, and the tips of the spinous and of both transverse processes. RAS mm, on
        the vertebra's surface (to a voxel) before the reader's error.
    """
    rng = np.random.default_rng(seed)
    found = []
    for body in phantom.chain.bodies:
        own = phantom.vertebrae.array == by_name(body.name).verse
        if not own.any() or (body.name not in levels if levels is not None else _cut(own)):
            continue
        voxels = np.argwhere(own)
        places = (phantom.ct.ijk_to_ras(voxels[:, ::-1]) - body.centre) @ body.rotation
        tissue = phantom.tissue.array[own]
        for name, point in _points(body, places, tissue):
            x, y, z = body.centre + body.rotation @ point + rng.normal(0, noise_mm, 3)
            found.append(Landmark(body.name, name, (float(x), float(y), float(z))))
    return found


def _cut(own: Array) -> bool:
    return any(np.take(own, end, axis=axis).any() for axis in range(3) for end in (0, -1))


def _points(body: Body, places: Array, tissue: Array) -> Iterator[tuple[str, Array]]:
    """Yield names and positions in the body's frame, from its voxels' positions and tissues."""
    front = places[np.isin(tissue, _BODY)]
    axial = front[np.hypot(front[:, 0], front[:, 1]) < _AXIS_MM]
    back = -body.size.depth / 2
    arch = places[(tissue == SubRegion.ARCH) & (places[:, 1] > back - _PEDICLE_MM)]
    aside = body.size.canal[0] / 4
    for name, part, way in (
        ("upper endplate", axial, (0.0, 0.0, 1.0)),
        ("lower endplate", axial, (0.0, 0.0, -1.0)),
        ("pedicle left", arch[arch[:, 0] < -aside], (0.0, 0.0, 1.0)),
        ("pedicle right", arch[arch[:, 0] > aside], (0.0, 0.0, 1.0)),
        *((name, places[tissue == code], way) for name, (code, way) in _TIPS.items()),
    ):
        if len(part) >= _LEAST:
            yield name, _tip(part, np.array(way))


def _tip(points: Array, way: Array) -> Array:
    """Return the mean of the farthest few points along a direction."""
    along = points @ way
    return np.asarray(points[along >= np.sort(along)[-max(3, len(along) // 50)]].mean(axis=0))
