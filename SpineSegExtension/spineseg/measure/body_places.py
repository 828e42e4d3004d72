"""Where the body of a vertebra is looked for, collapsed or not.

The thickest place in front of a vertebra's mask is in its body, unless that has collapsed: then the
root of the arch may be thicker. Such a place lies off the line through the neighbours' bodies,
which then says where to look.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg.volume import Volume

__all__ = ["body_centre", "in_line"]

Floats = NDArray[np.float64]

_HIND = 0.55  # of a vertebra from behind: arch, facets and processes
_WITH_ARCH_MM = 45.0  # from front to back; a body alone is smaller
_LEAST_FRONT = 0.35  # of the greatest thickness: what a body has at least
_OFF_MM = (10.0, 15.0)  # off the line between two neighbours; off the line on from the last two
_NEAR_MM = 6.0  # so near to where a body is expected its mask is looked for


def body_centre(mask: Volume) -> Floats:
    """Return the middle of a body, RAS mm: where its mask (non-zero inside) is thickest in front.

    Facets of worn spines may be thicker than a collapsed body, but lie in the hind half.
    """
    spacing = mask.spacing[::-1]
    depth = ndimage.distance_transform_edt(np.pad(mask.array != 0, 1), sampling=spacing)
    depth = depth[1:-1, 1:-1, 1:-1]
    inside = np.argwhere(depth > 0)
    ahead = mask.ijk_to_ras(inside[:, ::-1])[:, 1]
    low, high = np.percentile(ahead, [1, 99])
    front = np.zeros_like(depth)
    there = tuple(inside[ahead > low + _HIND * (high - low)].T)
    front[there] = depth[there]
    whole = high - low > _WITH_ARCH_MM and front.max() > _LEAST_FRONT * depth.max()
    seen = front if whole else depth
    pieces, _ = ndimage.label(depth > 0.7 * seen.max())
    core = pieces == pieces[np.unravel_index(int(seen.argmax()), depth.shape)]
    return np.asarray(mask.ijk_to_ras(np.argwhere(core & (seen > 0))[:, ::-1]).mean(axis=0))


def in_line(centres: Sequence[Floats], masks: Sequence[Volume]) -> list[Floats]:
    """Return the middles of bodies, those far off their neighbours' line moved back onto it.

    Parameters
    ----------
    centres : sequence of (3,) float64
        From the top to the bottom, RAS mm, of vertebrae that have a body.
    masks : sequence of Volume
        Of the same vertebrae, above 0.5 inside.
    """
    placed = [np.asarray(c, dtype=np.float64) for c in centres]
    # The farthest first: what it is compared with is sounder than it is itself.
    for _ in range(len(placed)):
        off = [_off(n, placed) for n in range(len(placed))]
        worst = max(range(len(placed)), key=lambda n: off[n][0])
        excess, expected = off[worst]
        if excess <= 0:
            break
        placed[worst] = _nearest(masks[worst], expected)
    return placed


def _off(n: int, centres: Sequence[Floats]) -> tuple[float, Floats]:
    """Return by how many mm too far a middle lies off the line, and where on the line it would."""
    last = len(centres) - 1
    if 0 < n < last:
        a, b, most = centres[n - 1], centres[n + 1], _OFF_MM[0]
        expected = (a + b) / 2
    elif last >= 2:
        step = 1 if n == 0 else -1
        b, a, most = centres[n + step], centres[n + 2 * step], _OFF_MM[1]
        expected = 2 * b - a
    else:
        return 0.0, centres[n]
    along = (b - a) / max(float(np.linalg.norm(b - a)), 1e-6)
    away = centres[n] - expected
    return float(np.linalg.norm(away - float(away @ along) * along)) - most, expected


def _nearest(mask: Volume, point: Floats) -> Floats:
    """Return the middle of the mask's voxels near a point, RAS mm.

    Where there are none (the body is cut off), the point itself: it tells the spine's direction.
    """
    index = np.argwhere(mask.array > 0.5)[:, ::-1]
    ras = mask.ijk_to_ras(index)
    near = np.linalg.norm(ras - point, axis=1) < _NEAR_MM
    return np.asarray(ras[near].mean(axis=0) if near.sum() > 3 else point)
