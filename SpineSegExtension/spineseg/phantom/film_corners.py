"""Where the corners of the vertebral bodies are seen on a film, from the patient's own chain.

The rim of each endplate is cast onto the film by the same beam as the patient; its corners are the
two ends of that rim along the endplate, left and right on a frontal film, back and front on a
lateral one. So they are where a reader sees them, also on bodies that are tilted or turned.
Osteophytes, and the slight bends that make every drawn vertebra its own, are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..labels import SACRUM
from .chain import Body, Chain
from .film_beam import Beam

Array = npt.NDArray[Any]
#: What `body_distance` does to a body on average: the endplates stand out over the waist, the
#: edge between endplate and side is round, and the back is flat.
_SPREAD, _ROUND_MM, _POWER, _BACK = 1.045, 0.5, 2.4, 0.93
_ANGLES = np.linspace(0, 2 * np.pi, 360, endpoint=False)


def endplate_rim(body: Body, upper: bool) -> Array:
    """Points on the rim of an endplate, (360, 3) RAS mm."""
    front, middle, back = body.heights
    half_w, half_d = body.size.width / 2, body.size.depth / 2
    c, s = np.cos(_ANGLES), np.sin(_ANGLES)
    shrink = _SPREAD - _ROUND_MM / min(half_w, half_d)
    x, y = (np.sign(a) * np.abs(a) ** (2 / _POWER) for a in (c, s))
    x, y = x * half_w * shrink, np.maximum(y * half_d * shrink, -_BACK * half_d + _ROUND_MM)
    u = y / half_d
    height = middle + u * (front - back) / 2 + u * u * ((front + back) / 2 - middle)
    z = np.maximum(height, 3.0) / 2 * (1 if upper else -1)
    return np.asarray(np.stack([x, y, z], axis=1) @ body.rotation.T + body.centre)


def sacral_rim(chain: Chain) -> Array:
    """Points on the rim of the upper endplate of S1, (360, 3) RAS mm."""
    size = chain.bodies[-1].size
    flat = np.stack(
        [np.cos(_ANGLES) * size.width / 2, np.sin(_ANGLES) * size.depth / 2, 0 * _ANGLES], axis=1
    )
    return np.asarray(flat @ chain.sacrum_rotation.T + chain.sacrum_centre)


def film_corners(chain: Chain, beam: Beam, atlas: bool = False) -> tuple[tuple[str, ...], Array]:
    """Levels from C2 to the sacrum and their corners on the film, mm.

    Parameters
    ----------
    atlas : whether C1 comes first; it has no body: its corners are those of the ring's outline

    Returns
    -------
    levels : names; the last is the sacrum's
    corners : (n, 4, 2) of (u, v): upper left, upper right, lower left, lower right as seen (on a
        lateral film left is the back). NaN for the upper end of C2, which is the dens, and the
        lower end of the sacrum.
    """
    bodies = [body for body in chain.bodies if atlas or body.name != "C1"]
    corners = np.full((len(bodies) + 1, 4, 2), np.nan)
    for n, body in enumerate(bodies):
        for upper, row in ((True, 0), (False, 2)):
            if upper and body.name == "C2":
                continue
            corners[n, row : row + 2] = _ends(beam, endplate_rim(body, upper), body.rotation)
    corners[-1, :2] = _ends(beam, sacral_rim(chain), chain.sacrum_rotation)
    return (*(body.name for body in bodies), SACRUM.name), corners


def _ends(beam: Beam, rim: Array, rotation: Array) -> Array:
    """The left and the right end of a rim as seen on the film, (2, 2) mm."""
    seen = beam.project(rim)
    middle = rim.mean(axis=0)
    axis = -rotation[:, 0] if beam.view == "ap" else rotation[:, 1]
    along = beam.project(middle + axis) - beam.project(middle)
    place = seen @ along
    return np.asarray(seen[[int(place.argmin()), int(place.argmax())]])
