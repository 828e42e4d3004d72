"""A looker that knows the answer, for tests of all that is round the network.

`OracleLooker` gives the vertebra whose centre lies nearest to the seed and that is not in memory,
as a faultless network would. ``python oracleclick.py --serve`` is the resident worker with it,
``python oracleclick.py ARGUMENTS`` the command line; both take each connected part above 300 HU
for a vertebra, which is right for `tinyspine`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from spineseg.methods.loading import Network
from spineseg.methods.one_vertebra import SPACING_MM, WINDOW, Memory, OneVertebra, VertebraLooker
from spineseg.volume import Volume

REACH_MM = 16.0
"""A seed farther than this from a vertebra's bone shows nothing."""
FULL = 255


def _nothing(image: torch.Tensor) -> torch.Tensor:
    return torch.full((len(image), 3, *image.shape[2:]), -9.0)


class OracleLooker(VertebraLooker):
    """Answers from a label map and a mask of the bodies, both on the scan's grid."""

    def __init__(self, scan: Volume, truth: Volume, bodies: Volume) -> None:
        super().__init__(scan, Network(_nothing, SPACING_MM, WINDOW), torch.device("cpu"))
        self.truth, self.bodies = truth, bodies
        self.seeds: list[NDArray[np.float64]] = []
        self.blind: set[int] = set()  # labels that are not seen
        self.remembered: list[int] = []  # voxels of memory at each look

    def look(self, seed: ArrayLike, memory: Memory | None = None) -> OneVertebra:
        at = np.asarray(seed, dtype=float)
        self.seeds.append(at)
        grid = self.window(at)
        truth = self.truth.resampled_like(grid, order=0).array
        bodies = self.bodies.resampled_like(grid, order=0).array > 0
        known = np.zeros(grid.shape, dtype=bool) if memory is None else memory(grid)
        self.remembered.append(int(known.sum()))
        best, nearest = 0, np.inf
        for label in np.unique(truth[truth > 0]).tolist():
            own = truth == label
            if label in self.blind or known[own].mean() > 0.5:
                continue
            points = grid.ijk_to_ras(np.argwhere(own)[:, ::-1])
            if np.linalg.norm(points - at, axis=1).min() > REACH_MM:
                continue
            away = np.linalg.norm(_middle(grid, own & bodies, own) - at)
            if away < nearest:
                best, nearest = label, away
        own = (truth == best) & (best > 0) & ~known
        whole, body, centrum = (
            Volume((part * FULL).astype(np.uint8), grid.affine)
            for part in (own, own & bodies, ndimage.binary_erosion(own & bodies))
        )
        center = _middle(grid, own & bodies, own) if best else at
        ml = float(own.sum()) * grid.voxel_mm3 / 1000
        return OneVertebra(whole, body, centrum, center, ml, 0.95 if best else 0.0, best > 0)


def _middle(grid: Any, body: NDArray[np.bool_], whole: NDArray[np.bool_]) -> NDArray[np.float64]:
    index = np.argwhere(body if body.any() else whole)
    return np.asarray(grid.ijk_to_ras(index.mean(axis=0)[None, ::-1])[0])


def of_blocks(scan: Volume, device: object = None, models: str | None = None) -> OracleLooker:
    """Take each connected part above 300 HU for a vertebra, its front 28 mm for the body."""
    if (mode := os.environ.get("ORACLE_MODE")) == "dies":
        os._exit(3)
    parts, count = ndimage.label(scan.array > 300)
    size = np.bincount(parts.ravel(), minlength=count + 1)
    truth = np.where(size[parts] > 500, parts, 0).astype(np.uint8)
    forward = scan.ijk_to_ras(np.argwhere(truth > 0)[:, ::-1])[:, 1]
    bodies = np.zeros(scan.shape, np.uint8)
    bodies[truth > 0] = forward > forward.max() - 28
    looker = OracleLooker(scan, scan.like(truth), scan.like(bodies))
    if mode in ("slow", "stuck"):
        plain = looker.look

        def slow(seed: ArrayLike, memory: Memory | None = None) -> OneVertebra:
            Path(os.environ["ORACLE_STARTED"]).touch()
            time.sleep(0.3 if mode == "slow" else 60)
            return plain(seed, memory)

        looker.look = slow  # type: ignore[method-assign]
    return looker


if __name__ == "__main__":
    import spineseg.clicking

    spineseg.clicking.load_looker = of_blocks
    if sys.argv[1:] == ["--serve"]:
        from spineseg.worker import main as worker

        sys.exit(worker())
    from spineseg.cli import main

    main()
