"""Leaves out what an MR network takes for vertebral bodies below the lowest one: S1 and its like.

The sacrum's first segments look like bodies, and real MR taught where bodies are, not what a sacrum
is. But they are much smaller than the lumbar bodies above, or lie steeply behind them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spineseg.methods.instances import Instance

__all__ = ["count_without_sacrum"]

_SMALL, _SMALL_IF_CUT = 0.40, 0.25  # of the usual body's volume
_STEEP_DEG, _STEEP_SIZE = 25.0, 0.80
_LEAST = 3  # vertebrae to know what is usual


def count_without_sacrum(found: Sequence[Instance]) -> int:
    """Return how many of the vertebrae from the top are no part of the sacrum.

    The lowest one is left out, again and again, while its body has less than 0.4 of the usual
    volume (0.25 where the field of view cuts it), or less than 0.8 and lies at more than 25°
    behind the one above.

    Parameters
    ----------
    found : sequence of Instance
        From the top.
    """
    count = len(found)
    while count > _LEAST:
        lowest, above = found[count - 1], found[count - 2]
        usual = float(np.median([one.body_voxels for one in found[: count - 1]]))
        share = lowest.body_voxels / max(usual, 1.0)
        _, y, z = np.asarray(lowest.centroid) - np.asarray(above.centroid)
        steep = float(np.degrees(np.arctan2(-y, -z))) > _STEEP_DEG
        small = share < (_SMALL_IF_CUT if lowest.touches_inferior else _SMALL)
        if not (small or (steep and share < _STEEP_SIZE)):
            break
        count -= 1
    return count
