"""A spine of blocks with known sizes, for tests of everything but accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from spineseg.volume import Grid, Volume

BODY = (36.0, 28.0)  # mm left-right, front-back
CANAL = 14.0
SPINOUS = 24.0  # lamina and spinous process, front-back
GAP = 8.0
FIRST = 20  # L1


@dataclass(frozen=True)
class Spine:
    """Scan (HU), labels, mask of the bodies, and their centres (RAS mm) from the top."""

    scan: Volume
    labels: Volume
    bodies: Volume
    centres: NDArray[np.float64]


def turned(degrees: float) -> NDArray[np.float64]:
    """Rotation about the superior axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def oblique(degrees: float = 25.0) -> NDArray[np.float64]:
    """Rotation about a slanted axis."""
    axis = np.array([1.0, 2.0, 0.5]) / np.linalg.norm([1.0, 2.0, 0.5])
    k = np.cross(np.eye(3), -axis)
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def make(
    count: int = 3,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    directions: NDArray[np.float64] | None = None,
    heights: tuple[float, float] = (22.0, 22.0),
    axial: float = 0.0,
    first: int = FIRST,
    canal: bool = True,
) -> Spine:
    """Make a spine upright in RAS, whatever the grid's directions.

    ``heights``: at the front and at the back of the bodies. ``axial``: turn of each vertebra about
    the superior axis, degrees. ``canal``: False paints the canal into the vertebra.
    """
    directions = np.eye(3) if directions is None else directions
    pitch = max(heights) + GAP
    size = np.array([90.0, 110.0, count * pitch + 30.0])
    # Large enough that a turned grid still holds the spine.
    shape = np.ceil(size / spacing).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing)
    affine[:3, 3] = np.array([7.0, -12.0, 300.0]) - affine[:3, :3] @ ((shape - 1) / 2)
    grid = Grid((int(shape[2]), int(shape[1]), int(shape[0])), affine)
    index = np.indices(grid.shape)[::-1].reshape(3, -1).T
    points = grid.ijk_to_ras(index) - np.array([7.0, 3.0, 300.0])
    labels = np.zeros(len(points), np.uint8)
    bodies = np.zeros(len(points), np.uint8)
    centres = []
    for number in range(count):
        centre = np.array([0.0, 0.0, ((count - 1) / 2 - number) * pitch])
        x, y, z = ((points - centre) @ turned(axial)).T
        part = np.clip(0.5 - y / BODY[1], 0.0, 1.0)  # 0 at the front, 1 at the back
        half = (heights[0] * (1 - part) + heights[1] * part) / 2
        body = (np.abs(x) <= BODY[0] / 2) & (np.abs(y) <= BODY[1] / 2) & (np.abs(z) <= half)
        back = -y - BODY[1] / 2  # mm behind the body
        arch = (back > 0) & (back <= CANAL) & (np.abs(z) <= 5)
        if canal:
            arch &= (np.abs(x) >= 10) & (np.abs(x) <= 16)
        else:
            arch &= np.abs(x) <= 16
        rear = (back > CANAL) & (back <= CANAL + SPINOUS) & (np.abs(z) <= 5)
        rear &= np.where(back <= CANAL + 6, np.abs(x) <= 16, np.abs(x) <= 4)
        labels[body | arch | rear] = first + number
        bodies[body] = 1
        centres.append(centre + np.array([7.0, 3.0, 300.0]))
    shaped = labels.reshape(grid.shape)
    noise = np.random.default_rng(0).normal(0, 15, grid.shape)
    hu = np.where(shaped > 0, 700.0, 40.0) + noise
    return Spine(
        Volume(hu.astype(np.int16), affine),
        Volume(shaped, affine),
        Volume(bodies.reshape(grid.shape), affine),
        np.array(centres),
    )
