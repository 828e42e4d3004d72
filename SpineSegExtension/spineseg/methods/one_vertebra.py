"""Looks at one vertebra: the one at a point that is not known already.

The same network serves a click (paper 004, p. 15: a patch round the clicked point) and the walk
along the spine (Lessmann et al. 2019 and paper 002: a memory channel holds the vertebrae that are
segmented already). It is told where to look by a ball at the patch's fixed place, so a point in
the canal or at a disc's edge is as good as the centre.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from spineseg.grid import Grid
from spineseg.inference import aligned_grid, scan_reader
from spineseg.intensity import intensity_channels
from spineseg.methods.loading import Network, load_network
from spineseg.volume import Volume

if TYPE_CHECKING:
    import torch

__all__ = [
    "CENTRUM_DEPTH_MM",
    "CHANNELS",
    "MODEL",
    "SEED",
    "SPACING_MM",
    "WINDOW",
    "OneVertebra",
    "VertebraLooker",
    "load_looker",
    "network_input",
    "settle",
]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Memory = Callable[[Grid], Bools]
"""Which voxels (k, j, i) of a grid belong to vertebrae that are known already."""

MODEL = "vertebra-one"
CHANNELS = ("vertebra", "body", "centrum")
SPACING_MM = 1.5
WINDOW = (64, 80, 80)
"""Voxels (k, j, i) of the window that is looked at."""
SEED = (32, 52, 40)
"""Where in the window the point lies: a vertebra reaches farther back than forward of its body."""
CENTRUM_DEPTH_MM = 1.5
"""The trabecular centrum is what of a body lies at least so deep below the bone's surface."""

_BALL_MM = 4.5
_FULL = 255
_LEAST_ML = 0.6  # less is no vertebra
_NEAR_MM = 4.0  # a second look from nearer than this would show the same


@dataclass(frozen=True)
class OneVertebra:
    """What one look found, on a window of the lattice.

    Attributes
    ----------
    probability, body, centrum : Volume
        uint8 (k, j, i), 0–255: the whole vertebra, its body, its trabecular centrum. Zero outside
        of the one component that is meant.
    center : (3,) float64
        Centre of the body, or of the whole where no body is seen (C1), RAS mm.
    volume_ml : float
        Of what is more likely than not.
    confidence : float
        0–1, mean probability inside.
    present : bool
        False where there is no vertebra.
    """

    probability: Volume
    body: Volume
    centrum: Volume
    center: Floats
    volume_ml: float
    confidence: float
    present: bool


def network_input(hu: NDArray[Any], known: Bools) -> NDArray[np.float32]:
    """Return the network's input (4, k, j, i) for a window of `WINDOW` voxels.

    Channels: the two of `spineseg.intensity`, the memory (0 or 1), and a ball at `SEED`.
    """
    result = np.empty((4, *hu.shape), dtype=np.float32)
    result[:2] = intensity_channels(hu)
    result[2] = known
    away = sum(
        np.expand_dims((np.arange(n) - at) ** 2, tuple(a for a in range(3) if a != axis))
        for axis, (n, at) in enumerate(zip(hu.shape, SEED, strict=True))
    )
    result[3] = np.exp(-0.5 * np.asarray(away) * (SPACING_MM / _BALL_MM) ** 2)
    return result


class VertebraLooker:
    """A scan and a network, ready to look at one vertebra after the other.

    Parameters
    ----------
    scan : Volume
        HU, finite (see `spineseg.inference.finite_scan`).
    network : Network
        (N, 4, k, j, i) → logits (N, 3, k, j, i) of `CHANNELS`.
    device : torch.device

    Attributes
    ----------
    lattice : Grid
        `SPACING_MM`, along the RAS axes, over the whole scan. Every window is a part of it, or
        reaches beyond it by whole voxels, so that windows fit onto each other.
    """

    def __init__(self, scan: Volume, network: Network, device: torch.device) -> None:
        self._network, self._device = network, device
        corners = scan.grid.corners()
        self.lattice = aligned_grid(corners.min(axis=0), corners.max(axis=0), SPACING_MM)
        self._scan = scan

    def window(self, seed: ArrayLike) -> Grid:
        """Return the window for a point (RAS mm)."""
        ijk = self.lattice.ras_to_ijk(np.asarray(seed, dtype=float)[None])[0]
        return self.lattice.shifted(np.rint(ijk[::-1]).astype(int) - np.array(SEED), WINDOW)

    def look(self, seed: ArrayLike, memory: Memory | None = None) -> OneVertebra:
        """Return the vertebra at a point that is not in the memory.

        Parameters
        ----------
        seed : array_like (3,)
            RAS mm.
        memory : callable, optional
            Given a window's grid, which of its voxels are known.
        """
        import torch

        from spineseg.device import autocast

        grid = self.window(seed)
        # Read as in the fine pass: only what the window needs, smoothed where the scan is finer.
        hu = scan_reader(self._part(grid), grid)((0, 0, 0), grid.shape)
        known = np.zeros(grid.shape, dtype=bool) if memory is None else memory(grid)
        image = torch.from_numpy(network_input(hu, known)[None])
        image = image.to(self._device, memory_format=torch.channels_last_3d)
        with torch.inference_mode(), autocast(self._device):
            logits = self._network.forward(image)[0]
        share = (torch.sigmoid(logits.float()) * _FULL).round().to(torch.uint8).cpu().numpy()
        share[:, known] = 0
        return _described(share, grid, np.asarray(seed, dtype=float))

    def _part(self, grid: Grid) -> Volume:
        """Return the part of the scan round a window: averaging the whole would take seconds."""
        corners = grid.corners()
        place = self._scan.ras_to_ijk(corners)[:, ::-1]
        room = np.ceil(2 * SPACING_MM / np.array(self._scan.spacing[::-1])).astype(int) + 2
        size = np.array(self._scan.shape)
        lo = np.clip(np.floor(place.min(axis=0)).astype(int) - room, 0, size - 1)
        hi = np.clip(np.ceil(place.max(axis=0)).astype(int) + room, lo + 1, size)
        return self._scan.crop(lo.tolist(), hi.tolist())


def load_looker(scan: Volume, device: torch.device, models: str | None = None) -> VertebraLooker:
    """Load the network and look at a scan; WeightsError if it is missing or damaged."""
    return VertebraLooker(scan, load_network(MODEL, len(CHANNELS), device, folder=models), device)


def settle(
    looker: VertebraLooker, seed: ArrayLike, memory: Memory | None = None, passes: int = 2
) -> OneVertebra:
    """Look, and look again from the centre that was found, unless it was near already."""
    at = np.asarray(seed, dtype=float)
    found = looker.look(at, memory)
    for _ in range(passes - 1):
        if not found.present or np.linalg.norm(found.center - at) < _NEAR_MM:
            break
        at = found.center
        again = looker.look(at, memory)
        if not again.present:
            break
        found = again
    return found


def _described(share: NDArray[np.uint8], grid: Grid, seed: Floats) -> OneVertebra:
    """Keep the one component that is meant, and measure it."""
    solid = share[0] > _FULL // 2
    parts, n_parts = ndimage.label(solid)
    voxel_ml = grid.voxel_mm3 / 1000.0
    if n_parts:
        sizes = np.bincount(parts.ravel(), minlength=n_parts + 1)
        sizes[0] = 0
        own = parts == int(np.argmax(sizes))
        # Soft edges belong to the outline; other components do not.
        wide = ndimage.binary_dilation(own, iterations=3) & ~(solid & ~own)
        share = share * wide
    else:
        own = solid
    volume_ml = float(own.sum()) * voxel_ml
    core = own & (share[1] > _FULL // 2)
    if core.sum() * voxel_ml < 0.3:
        core = own
    center = seed
    if own.any():
        center = grid.ijk_to_ras(np.argwhere(core).mean(axis=0)[None, ::-1])[0]
    confidence = float(share[0][own].mean()) / _FULL if own.any() else 0.0
    whole, body, centrum = (Volume(part, grid.affine) for part in share)
    return OneVertebra(whole, body, centrum, center, volume_ml, confidence, volume_ml >= _LEAST_ML)
