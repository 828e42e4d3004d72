"""The grid a digital patient is drawn on, and the solids that are drawn.

Solids are approximate signed distances in mm, negative inside. World axes are RAS mm; the grid is
aligned with them and isotropic, so a solid needs only its own rotation and a box of voxels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .codes import Tissue

Array = npt.NDArray[Any]
#: Depths are stored in tenths of a millimetre, so that an int8 spans ±12.7 mm.
DEPTH_UNIT = 0.1


#: Distance given to voxels that a solid does not come near to, mm.
FAR_MM = np.float32(12.7)
#: Distances are exact up to this far outside of a solid, mm.
SKIRT_MM = 4.0


@dataclass
class Box:
    """Voxels near a solid, and their coordinates in the solid's own frame (mm, float32).

    ``matrix`` and ``offset`` map a frame point to the box's voxel (i, j, k).
    """

    slices: tuple[slice, slice, slice]
    x: Array
    y: Array
    z: Array
    matrix: Array
    offset: Array

    def part(self, low: Array, high: Array) -> tuple[slice, slice, slice]:
        """Slices (k, j, i) into the box's arrays that hold frame points ``low`` to ``high``."""
        corners = np.array([[(low, high)[n >> b & 1][b] for b in range(3)] for n in range(8)])
        index = corners @ self.matrix.T + self.offset
        start = np.maximum(np.floor(index.min(axis=0)).astype(int), 0)
        stop = np.maximum(np.ceil(index.max(axis=0)).astype(int) + 1, start)
        i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        return k, j, i


@dataclass
class Canvas:
    """An isotropic RAS-aligned grid with what every voxel is made of.

    Parameters
    ----------
    origin : (3,) RAS mm of the centre of voxel (0, 0, 0)
    spacing : voxel edge in mm
    shape : (k, j, i), that is superior, anterior, right

    Attributes
    ----------
    tissue : uint8 (k, j, i), codes of ``Tissue`` and ``SubRegion``
    ids : uint8 (k, j, i), VerSe ids, 0 where there is no vertebra
    overlay : uint8 (k, j, i), what lies inside or over a bone without changing whose bone it is
        (``INCLUSIONS`` of codes.py), 0 elsewhere
    depth : int8 (k, j, i), signed distance to the surface of the bone a voxel belongs to or is
        near, in units of ``DEPTH_UNIT`` mm, negative inside; +127 far from bone
    """

    origin: Array
    spacing: float
    shape: tuple[int, int, int]
    tissue: Array = field(init=False)
    ids: Array = field(init=False)
    overlay: Array = field(init=False)
    depth: Array = field(init=False)

    def __post_init__(self) -> None:
        self.origin = np.asarray(self.origin, dtype=np.float64)
        self.tissue = np.full(self.shape, Tissue.AIR, dtype=np.uint8)
        self.ids = np.zeros(self.shape, dtype=np.uint8)
        self.overlay = np.zeros(self.shape, dtype=np.uint8)
        self.depth = np.full(self.shape, 127, dtype=np.int8)

    @property
    def affine(self) -> Array:
        """4×4 affine from (i, j, k) to RAS mm."""
        affine = np.diag([self.spacing] * 3 + [1.0])
        affine[:3, 3] = self.origin
        return affine

    def world_box(self, low: Array, high: Array) -> tuple[slice, slice, slice] | None:
        """Voxels within the RAS box ``low``…``high`` (mm), or None outside the grid."""
        start = np.floor((np.asarray(low) - self.origin) / self.spacing).astype(int)
        stop = np.ceil((np.asarray(high) - self.origin) / self.spacing).astype(int) + 1
        start = np.maximum(start, 0)
        stop = np.minimum(stop, self.shape[::-1])
        if np.any(start >= stop):
            return None
        i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        return k, j, i

    def coordinates(self, slices: tuple[slice, slice, slice]) -> tuple[Array, Array, Array]:
        """RAS mm of the voxels in ``slices`` as broadcastable float32 arrays (x, y, z)."""
        axes = [
            (self.origin[n] + self.spacing * np.arange(s.start, s.stop)).astype(np.float32)
            for n, s in enumerate(slices[::-1])
        ]
        return axes[0][None, None, :], axes[1][None, :, None], axes[2][:, None, None]

    def box(self, centre: Array, rotation: Array, low: Array, high: Array) -> Box | None:
        """Voxels within ``low``…``high`` of a frame (mm, frame axes) and their frame coordinates.

        ``rotation`` has the frame's axes in its columns, ``centre`` is its origin in RAS mm.
        """
        corners = np.array(
            [[(low, high)[n >> b & 1][b] for b in range(3)] for n in range(8)], dtype=float
        )
        world = corners @ rotation.T + centre
        slices = self.world_box(world.min(axis=0), world.max(axis=0))
        if slices is None:
            return None
        x, y, z = self.coordinates(slices)
        x, y, z = (a - np.float32(c) for a, c in zip((x, y, z), centre, strict=True))
        m = rotation.astype(np.float32)
        return Box(
            slices,
            m[0, 0] * x + m[1, 0] * y + m[2, 0] * z,
            m[0, 1] * x + m[1, 1] * y + m[2, 1] * z,
            m[0, 2] * x + m[1, 2] * y + m[2, 2] * z,
            rotation / self.spacing,
            (centre - self.origin) / self.spacing - [s.start for s in slices[::-1]],
        )

    def draw(
        self,
        slices: tuple[slice, slice, slice],
        distance: Array,
        code: int,
        over: Callable[[Array], Array] | None = None,
        grow: float = 0.0,
    ) -> None:
        """Give ``code`` to the voxels with ``distance`` < ``grow`` (mm), where ``over`` allows it.

        ``over`` gets the tissue codes there and says which may be painted; None means all. A solid
        drawn here has no depth: use :meth:`draw_bone` for what has a cortex.
        """
        tissue = self.tissue[slices]
        inside = distance < grow
        if over is not None:
            inside &= over(tissue)
        tissue[inside] = code

    def draw_bone(
        self,
        slices: tuple[slice, slice, slice],
        distance: Array,
        code: int | Array,
        label: int = 0,
        grow: float = 0.0,
        gap: float = 1.0,
    ) -> None:
        """Draw a bone: where it is nearer than what was drawn before, it takes the voxel.

        Two bones that overlap part at the surface midway between them, where each gets a cortex and
        ``gap`` mm of joint space between them in the depth (the labels themselves touch, as in
        people's masks).

        ``code`` may be an array (one code a voxel); ``label`` is the VerSe id. The depth outside
        the bone is kept too, so that a rendering can share a voxel between bone and what is near.
        """
        old = self.depth[slices].astype(np.float32) * np.float32(DEPTH_UNIT)
        inside = (distance < old) & (distance < grow)
        self.tissue[slices][inside] = code[inside] if isinstance(code, np.ndarray) else code
        self.ids[slices][inside] = label
        merged = np.maximum(np.minimum(distance, old), (gap - np.abs(distance - old)) / 2)
        steps = np.clip(np.rint(merged / DEPTH_UNIT), -127, 127).astype(np.int8)
        np.minimum(steps, 127, out=self.depth[slices])


def smooth_max(a: Array, b: Array, k: float) -> Array:
    """Maximum of two distances with an edge rounded over ``k`` mm."""
    h = np.maximum(k - np.abs(a - b), 0.0)
    return np.asarray(np.maximum(a, b) + h * h / (4.0 * k))


def strut(
    box: Box,
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radii_start: tuple[float, float],
    radii_end: tuple[float, float],
    across: tuple[float, float, float] = (0.0, 0.0, 1.0),
) -> Array:
    """Signed distance (mm) to a tapered bar of elliptic section with rounded ends.

    ``across`` is the direction of the section's second radius (made perpendicular to the bar), in
    the box's frame; the first radius lies across it. Most bony processes are such bars.
    """
    ends = np.array([start, end], dtype=float)
    reach = max(*radii_start, *radii_end) + SKIRT_MM
    near = box.part(ends.min(axis=0) - reach, ends.max(axis=0) + reach)
    out = np.full(box.x.shape, FAR_MM, dtype=np.float32)
    a = np.asarray(start, dtype=np.float32)
    axis = np.asarray(end, dtype=np.float32) - a
    length = float(np.linalg.norm(axis)) + 1e-6
    axis = axis / length
    v = np.asarray(across, dtype=np.float32)
    v = v - axis * float(v @ axis)
    if float(np.linalg.norm(v)) < 1e-3:
        # A bar along ``across`` has no side of its own: any will do.
        v = np.eye(3, dtype=np.float32)[int(np.abs(axis).argmin())]
        v = v - axis * float(v @ axis)
    v = v / (float(np.linalg.norm(v)) + 1e-6)
    u = np.cross(v, axis).astype(np.float32)
    x, y, z = box.x[near] - a[0], box.y[near] - a[1], box.z[near] - a[2]
    along = axis[0] * x + axis[1] * y + axis[2] * z
    t = np.clip(along / length, 0.0, 1.0)
    beyond = along - t * length
    ru = radii_start[0] + (radii_end[0] - radii_start[0]) * t
    rv = radii_start[1] + (radii_end[1] - radii_start[1]) * t
    least = np.minimum(ru, rv)
    pu = (u[0] * x + u[1] * y + u[2] * z) / ru
    pv = (v[0] * x + v[1] * y + v[2] * z) / rv
    pw = beyond / least
    out[near] = np.minimum((np.sqrt(pu * pu + pv * pv + pw * pw) - 1.0) * least, FAR_MM)
    return out


def ellipsoid(box: Box, centre: tuple[float, float, float], radii: tuple[float, ...]) -> Array:
    """Approximate signed distance (mm) to an ellipsoid in the box's frame."""
    rho = np.sqrt(
        ((box.x - centre[0]) / radii[0]) ** 2
        + ((box.y - centre[1]) / radii[1]) ** 2
        + ((box.z - centre[2]) / radii[2]) ** 2
    )
    return np.asarray((rho - 1.0) * min(radii))
