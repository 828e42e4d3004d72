"""Labels grown from centroids, and parts of digital patients to learn them from.

A label is an ellipsoid round a body's centroid, smaller than the body, and flattened along the
spine where the vertebra is fractured; all else is background (Nicolaes et al., CSI 2019, paper 004
p. 6, after Glocker et al. 2013). So a list of centroids with normal or fractured is all the truth
that is needed. The paper gives no sizes; those are below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..methods.fracture_voxels import BACKGROUND, FRACTURE, NORMAL, normalised
from ..phantom.morphometry import SIZES
from .fracture_pool import PoolItem, load_item, paths

__all__ = ["Ellipsoid", "VoxelSampler", "ellipsoids", "grow_labels"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

PART = 0.42
"""Half-axes of an ellipsoid, as a part of the usual width, depth and height of its level."""
FLAT = 0.6
"""By which it is flattened where the vertebra is fractured."""
AIR_HU = -1000


class Annotated(Protocol):
    """What `ellipsoids` needs to know of a vertebra."""

    @property
    def level(self) -> str:
        """Such as "L1"."""

    @property
    def centre(self) -> tuple[float, float, float]:
        """Voxels (i, j, k)."""

    @property
    def grade(self) -> int:
        """Genant's; 0 is normal."""


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """One vertebra's label: `centre` (k, j, i) and `shape`, which maps to a unit ball."""

    centre: Floats
    shape: Floats
    label: int

    def holds(self, points: Floats) -> npt.NDArray[np.bool_]:
        """Whether points (…, 3) in voxels (k, j, i) lie inside."""
        return np.asarray((((points - self.centre) @ self.shape.T) ** 2).sum(axis=-1) <= 1.0)

    def inner(self, rng: np.random.Generator) -> Floats:
        """Return a random point inside, voxels (k, j, i)."""
        away = rng.standard_normal(3)
        away *= rng.random() ** (1 / 3) / np.linalg.norm(away)
        return np.asarray(self.centre + np.linalg.solve(self.shape, away))


def ellipsoids(vertebrae: Sequence[Annotated], spacing_mm: float = 1.0) -> list[Ellipsoid]:
    """Return the label of each vertebra.

    Parameters
    ----------
    vertebrae : sequence
        From the top, on a grid along the RAS axes. The spine's direction at each is that of the
        line through its neighbours' centroids; upright where there is one vertebra only.
    spacing_mm : float
        Of the grid.
    """
    centres = np.array([one.centre[::-1] for one in vertebrae], dtype=float).reshape(-1, 3)
    found = []
    for n, one in enumerate(vertebrae):
        up = centres[max(n - 1, 0)] - centres[min(n + 1, len(centres) - 1)]
        if np.linalg.norm(up) < 1e-6:
            up = np.array([1.0, 0.0, 0.0])
        up = up / np.linalg.norm(up)
        right = np.array([0.0, 0.0, 1.0]) - up[2] * up
        right /= np.linalg.norm(right)
        size = SIZES[one.level]
        height = size.height * (FLAT if one.grade else 1.0)
        half = PART * np.array([height, size.depth, size.width]) / spacing_mm
        axes = np.stack([up, np.cross(right, up), right])
        label = FRACTURE if one.grade else NORMAL
        found.append(Ellipsoid(centres[n], axes / half[:, None], label))
    return found


def grow_labels(
    shape: Sequence[int], grown: Sequence[Ellipsoid], corner: Sequence[int] = (0, 0, 0)
) -> npt.NDArray[np.uint8]:
    """Return the label map (k, j, i) of a part of the grid that begins at ``corner``."""
    labels = np.zeros(tuple(shape), dtype=np.uint8)
    for one in grown:
        # The half-lengths of its box: rows of the inverse map a unit ball to it.
        reach = np.linalg.norm(np.linalg.inv(one.shape), axis=1)
        low = np.maximum(np.floor(one.centre - reach - corner), 0).astype(int)
        high = np.minimum(np.ceil(one.centre + reach - corner) + 1, shape).astype(int)
        if (high <= low).any():
            continue
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        points = np.stack(
            np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), -1
        )
        labels[box][one.holds(points + np.asarray(corner))] = one.label
    return labels


def part_of(array: Array, corner: Sequence[int], size: Sequence[int]) -> Array:
    """Return a part of an image (k, j, i); air where it reaches beyond it."""
    low = np.maximum(corner, 0)
    high = np.minimum(np.asarray(corner) + size, array.shape)
    out = np.full(tuple(size), AIR_HU, dtype=np.int16)
    if (high > low).all():
        into = tuple(slice(a, b) for a, b in zip(low - corner, high - corner, strict=True))
        out[into] = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return out


@dataclass
class VoxelSampler:
    """Draws segments of a pool's patients so that each class is seen often enough.

    Parameters
    ----------
    folder : of the pool
    kept : its patients that are not learned from
    segment : edge of the answer, voxels
    reach : of the network (k, j, i)
    shares : of the segments whose middle is background, normal and fracture
    flips : array axes that may be flipped
    noise : standard deviations of the shift and of the scale of a segment's intensities, and of
        the noise of each voxel
    scan_wide : whether the intensities are those of the paper (see `normalised`)
    """

    folder: Path
    kept: Sequence[Path]
    segment: int
    reach: tuple[int, int, int]
    shares: tuple[float, float, float]
    flips: tuple[int, ...]
    noise: tuple[float, float, float]
    scan_wide: bool
    batch_size: int
    seed: int = 0
    rank: int = 0

    def __post_init__(self) -> None:
        self._items: dict[Path, tuple[PoolItem, list[Ellipsoid]]] = {}
        self._of: dict[int, list[tuple[Path, int]]] = {NORMAL: [], FRACTURE: []}
        self.names: list[Path] = []
        self._look()
        if not self.names:
            raise InputError(f"The pool {self.folder} is empty.", "Draw patients first.")

    def _look(self) -> None:
        """Take up patients that were drawn since."""
        known = {*self.names, *self.kept}
        for path in (one for one in paths(self.folder) if one not in known):
            self.names.append(path)
            for n, one in enumerate(self._item(path)[1]):
                self._of[one.label].append((path, n))

    def _item(self, path: Path) -> tuple[PoolItem, list[Ellipsoid]]:
        if path not in self._items:
            item = load_item(path)
            self._items[path] = item, ellipsoids(item.vertebrae)
        return self._items[path]

    def batch(self, step: int) -> dict[str, Any]:
        """Tensors of a step: image (N, 1, k, j, i) and label (N, k, j, i)."""
        import torch

        if step % 200 == 199:
            self._look()
        rng = np.random.default_rng([self.seed, self.rank, step, 7])
        images, labels = zip(*(self._sample(rng) for _ in range(self.batch_size)), strict=True)
        return {
            "image": torch.from_numpy(np.stack(images)[:, None]),
            "label": torch.from_numpy(np.stack(labels).astype(np.int64)),
        }

    def _sample(self, rng: np.random.Generator) -> tuple[Array, Array]:
        wanted = int(rng.choice(3, p=self.shares))
        middle: Array
        if wanted == BACKGROUND or not self._of[wanted]:
            path = self.names[int(rng.integers(len(self.names)))]
            item, grown = self._item(path)
            middle = rng.random(3) * item.scan.shape
        else:
            path, n = self._of[wanted][int(rng.integers(len(self._of[wanted])))]
            item, grown = self._item(path)
            middle = grown[n].inner(rng)
        size = np.full(3, self.segment)
        corner = np.rint(middle - (size - 1) / 2).astype(int)
        label = grow_labels((self.segment,) * 3, grown, corner.tolist())
        reach = np.array(self.reach)
        hu = part_of(item.scan, (corner - reach).tolist(), (size + 2 * reach).tolist())
        image = normalised(hu, item.scan if self.scan_wide else None)
        shift, scale, each = self.noise
        image = image * np.float32(rng.normal(1, scale)) + np.float32(rng.normal(0, shift))
        if each:
            strength = np.float32(rng.uniform(0, each))
            image += strength * rng.standard_normal(image.shape, dtype=np.float32)
        for axis in self.flips:
            if rng.random() < 0.5:
                image, label = np.flip(image, axis), np.flip(label, axis)
        return np.ascontiguousarray(image), np.ascontiguousarray(label)
