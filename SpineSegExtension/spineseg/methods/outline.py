"""One vertebra, from the look's 1.5 mm to the scan's own grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spineseg.grid import Grid
from spineseg.methods.one_vertebra import CHANNELS, OneVertebra
from spineseg.methods.refine import tidy
from spineseg.methods.to_scan import block_of, decide
from spineseg.volume import Volume

__all__ = ["WHOLE", "outline"]

WHOLE, BODY, CENTRUM = CHANNELS
_FULL = 255
_FAINT = 3  # of 255: less is no part of any outline
_ROOM = 2  # voxels around a vertebra, so that its outline ends inside the block


def outline(
    scan: Volume, one: OneVertebra, target: str, threshold: float, refine: bool
) -> tuple[Volume, Volume] | None:
    """Outline a vertebra on the scan's grid; only the block around it is read.

    Parameters
    ----------
    scan : Volume
        HU.
    one : OneVertebra
    target : str
        One of `CHANNELS`.
    threshold : float
        Probability from which on a voxel belongs to it.
    refine : bool
        Whether the scan's values move the edges (`spineseg.methods.refine`).

    Returns
    -------
    whole, part : Volume
        uint8 0/1 of the vertebra and of the target, both on one block of the scan's grid. None
        where the vertebra lies outside of the scan.
    """
    index = np.argwhere(one.probability.array >= _FAINT)
    if not len(index):
        return None
    lo = np.maximum(index.min(axis=0) - _ROOM, 0)
    hi = np.minimum(index.max(axis=0) + 1 + _ROOM, one.probability.shape)
    box = lo.tolist(), hi.tolist()
    block = block_of(scan, one.probability.grid.cropped(*box).corners())
    if block is None:
        return None
    grid = scan.grid.cropped([s.start for s in block], [s.stop for s in block])
    share = _shares(one.probability.crop(*box), grid)
    whole = tidy(decide(scan, block, share, threshold, refine))
    part = whole
    if target == BODY:
        # The outer edge is the vertebra's; within it, where the body is the likelier part.
        part = tidy(whole & (_shares(one.body.crop(*box), grid) >= 0.5 * share) & (share > 0))
    elif target == CENTRUM:
        part = tidy(whole & (_shares(one.centrum.crop(*box), grid) >= threshold))
    return Volume(whole.astype(np.uint8), grid.affine), Volume(part.astype(np.uint8), grid.affine)


def _shares(probability: Volume, grid: Grid) -> NDArray[np.float32]:
    return probability.resampled_like(grid, order=1).array.astype(np.float32) / np.float32(_FULL)
