"""Turns, scales, mirrors and bends a training window, and lowers its resolution.

A warp is drawn once and then taken by the image and by every mask that belongs to it, so they can't
part. Arrays are (k, j, i) on an isotropic grid along the RAS axes; angles are degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]
#: Rotation and scaling of Masuzawa et al. 2020; Klein et al. 2019 give no numbers of theirs.
TURN_DEG, SCALE = 15.0, 0.2


@dataclass(frozen=True)
class Warp:
    """Where each voxel of a window comes from: source = matrix · (voxel + bend) + offset.

    Attributes
    ----------
    shape : of the window
    matrix, offset : (3, 3) and (3,), from the window's voxels to the source's, both (k, j, i)
    bend : float32 (3, k, j, i) in voxels, or None
    """

    shape: Shape
    matrix: Array
    offset: Array
    bend: Array | None = None

    def take(self, source: Array, order: int, fill: float) -> Array:
        """The window, of the source's type: ``order`` 1 for images, 0 for labels."""
        if self.bend is None:
            return np.asarray(
                ndimage.affine_transform(
                    source, self.matrix, self.offset, self.shape, order=order,
                    mode="constant", cval=fill,
                )
            )  # fmt: skip
        at = self.bend + np.indices(self.shape, dtype=np.float32)
        at = np.tensordot(self.matrix.astype(np.float32), at, axes=1)
        at += self.offset.astype(np.float32)[:, None, None, None]
        return np.asarray(
            ndimage.map_coordinates(source, at, order=order, mode="constant", cval=fill)
        )


def straight(shape: Shape, center: Array) -> Warp:
    """A window cut out round ``center`` (k, j, i voxels) as it is, voxel on voxel."""
    return Warp(shape, np.eye(3), np.rint(center) - np.array(shape) // 2)


def drawn(
    shape: Shape, center: Array, rng: np.random.Generator, mirror: bool = False, bend_mm: float = 0
) -> Warp:
    """A window round ``center``, turned and scaled at random.

    Parameters
    ----------
    mirror : whether left and right change places, half of the time
    bend_mm : standard deviation of a smooth random displacement, in voxels
    """
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.uniform(-TURN_DEG, TURN_DEG, 3))):
        one = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    matrix = turn / rng.uniform(1 - SCALE, 1 + SCALE)
    if mirror and rng.random() < 0.5:
        matrix = matrix @ np.diag([1.0, 1.0, -1.0])
    offset = center - matrix @ (np.array(shape) // 2)
    return Warp(shape, matrix, offset, _bend(shape, bend_mm, rng) if bend_mm else None)


def _bend(shape: Shape, size: float, rng: np.random.Generator, knot: int = 32) -> Array:
    """Smooth displacements (3, k, j, i) with knots some ``knot`` voxels apart."""
    coarse = [max(2, -(-n // knot) + 1) for n in shape]
    zoom = [n / c for n, c in zip(shape, coarse, strict=True)]
    knots = rng.normal(0, size, (3, *coarse)).astype(np.float32)
    return np.stack([ndimage.zoom(k, zoom, order=2, mode="nearest") for k in knots])


def lower_resolution(image: Array, factor: float) -> Array:
    """An image on a grid ``factor`` times as coarse, and back on its own, both linearly.

    The grids share their edges, so nothing moves.
    """
    coarse = [max(1, round(n / factor)) for n in image.shape]
    small = _zoomed(image, tuple(coarse))
    return _zoomed(small, image.shape)


def _zoomed(image: Array, shape: tuple[int, ...]) -> Array:
    step = np.array(image.shape) / np.array(shape)
    return np.asarray(
        ndimage.affine_transform(
            image, step, (step - 1) / 2, shape, order=1, mode="nearest"
        )
    )  # fmt: skip
