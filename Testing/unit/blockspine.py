"""A spine of simple shapes that two hand-made networks recognise, for tests without training.

Its parts have values of their own, far apart, so that a network that reads single voxels can tell
them; the offsets it gives come from the bodies that it sees in its patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from spineseg.grid import Grid
from spineseg.methods.classes import OFFSET_MM, CoarseClass, FineClass
from spineseg.methods.loading import Network
from spineseg.volume import Volume

PITCH, HEIGHT = 32.0, 24.0
BODY, ARCH, DISC, CANAL, SOFT, AIR = 800.0, 400.0, -150.0, -350.0, 0.0, -1000.0
COARSE_MM, FINE_MM = 4.0, 1.5


@dataclass(frozen=True)
class Scene:
    """A scan and its truth: 1 … n from the top, and the bodies' centres (n, 3), RAS mm."""

    scan: Volume
    truth: Volume
    centers: np.ndarray


def draw(grid: Grid, n: int = 5, top: float = 0.0, femur: bool = False) -> Scene:
    """Draw n vertebrae along RAS z, the first body's centre at (0, 0, top)."""
    k, j, i = np.mgrid[: grid.shape[0], : grid.shape[1], : grid.shape[2]]
    points = grid.ijk_to_ras(np.stack([i, j, k], axis=-1).reshape(-1, 3))
    x, y, z = (points[:, axis].reshape(grid.shape) for axis in range(3))
    hu = np.full(grid.shape, SOFT)
    truth = np.zeros(grid.shape, dtype=np.uint8)
    number = np.rint((top - z) / PITCH)
    along = z - (top - number * PITCH)
    present = (number >= 0) & (number < n)
    column = np.hypot(x / 20, y / 15) < 1
    body = column & (np.abs(along) < HEIGHT / 2) & present
    inside = (z < top + HEIGHT / 2) & (z > top - (n - 1) * PITCH - HEIGHT / 2)
    from_canal = np.hypot(x, y + 24)
    canal = (from_canal < 8) & inside
    ring = (from_canal >= 8) & (from_canal < 14) & ~column & (np.abs(along) < 8)
    spinous = (np.abs(x) < 4) & (y < -36) & (y > -58) & (np.abs(along) < 8)
    arch = (ring | spinous) & present & ~canal
    hu[column & inside] = DISC
    hu[body], hu[arch], hu[canal] = BODY, ARCH, CANAL
    truth[body | arch] = (number + 1)[body | arch]
    if femur:
        hu[np.hypot(np.hypot(x - 110, y), z - top + 60) < 22] = BODY
    centers = np.array([[0, 0, top - m * PITCH] for m in range(n)], dtype=float)
    return Scene(Volume(np.rint(hu).astype(np.int16), grid.affine),
                 Volume(truth, grid.affine), centers)  # fmt: skip


def oblique_grid() -> Grid:
    """A grid turned against the RAS axes, with columns swapped and thick slices."""
    turn = Rotation.from_euler("xyz", [12, -9, 20], degrees=True).as_matrix()
    axes = np.array([[0, -1, 0], [1, 0, 0], [0, 0, -1]])  # columns swapped, k from the top
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes * [1.1, 0.9, 2.5]
    shape = (90, 170, 150)
    middle = (np.array(shape[::-1]) - 1) / 2
    affine[:3, 3] = np.array([0, -15, -64]) - affine[:3, :3] @ middle
    return Grid(shape, affine)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice coefficient of two masks."""
    return 2 * (one & other).sum() / max(one.sum() + other.sum(), 1)


def scores(image: torch.Tensor, levels: dict[int, float], count: int) -> torch.Tensor:
    """Logits (N, count, k, j, i): the nearer a voxel's HU to a class' value, the higher."""
    hu = image[:, :1] * 750
    logits = torch.full((hu.shape[0], count, *hu.shape[2:]), -20.0)
    for kind, value in levels.items():
        logits[:, kind : kind + 1] = -((hu - value).abs()) / 50
    air = -((hu - AIR).abs()) / 50
    logits[:, :1] = torch.maximum(logits[:, :1], air)  # class 0 is the background of both
    return logits


def coarse_forward(image: torch.Tensor) -> torch.Tensor:
    """Call all bone thoracic: five vertebrae of twelve can't be counted."""
    levels = {CoarseClass.BACKGROUND: SOFT, CoarseClass.THORACIC: BODY, CoarseClass.CANAL: CANAL}
    return scores(image, {int(k): v for k, v in levels.items()}, len(CoarseClass))


def fine_forward(image: torch.Tensor) -> torch.Tensor:
    """Tell the parts by their value; vote for the centre of the nearest body in the patch."""
    levels = {
        FineClass.BACKGROUND: SOFT, FineClass.BODY: BODY, FineClass.POSTERIOR: ARCH,
        FineClass.DISC: DISC, FineClass.CANAL: CANAL,
    }  # fmt: skip
    count = len(FineClass)
    logits = scores(image, {int(k): v for k, v in levels.items()}, count)
    votes = torch.zeros((len(image), 3, *image.shape[2:]))
    for n, kinds in enumerate(logits.argmax(dim=1).numpy()):
        parts, n_parts = ndimage.label(kinds == FineClass.BODY)
        size = np.bincount(parts.ravel())
        sound = [p for p in range(1, n_parts + 1) if size[p] > 200]
        if not sound:
            continue
        centers = np.array(ndimage.center_of_mass(parts > 0, parts, sound))
        rows = np.arange(kinds.shape[0])
        nearest = np.abs(rows[:, None] - centers[:, 0]).argmin(axis=1)
        place = np.indices(kinds.shape)
        for channel, axis in enumerate((2, 1, 0)):
            target = centers[nearest, axis][:, None, None]
            away = (target - place[axis]) * FINE_MM / OFFSET_MM
            votes[n, channel] = torch.from_numpy(away)
    return torch.cat([logits, votes], dim=1)


def networks(coarse_patch: int = 32, fine_patch: int = 64) -> tuple[Network, Network]:
    """Both networks, ready to run."""
    return (
        Network(coarse_forward, COARSE_MM, (coarse_patch,) * 3),
        Network(fine_forward, FINE_MM, (fine_patch,) * 3),
    )
