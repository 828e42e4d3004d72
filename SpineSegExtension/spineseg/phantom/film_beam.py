"""The X-ray beam of a film: which way it passes a patient, and what it meets on its way.

A point on the film is (u, v) in mm: u to the right of the picture, v down it. On a frontal film u
runs to the patient's left, as the picture is usually hung; on a lateral one to the front, so that
the patient looks to the right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ..errors import InputError
from .canvas import Box, Canvas

Array = npt.NDArray[Any]
VIEWS = ("ap", "lateral")
#: What a beam meets in a slab: a function of the voxels' slices (k, j, i) gives the sums
#: along the beam of water-like matter and of mineral, (2, k, i) or (2, k, j).
Slab = Callable[[tuple[slice, slice, slice]], Array]


@dataclass(frozen=True)
class Beam:
    """A point source and a flat film.

    Parameters
    ----------
    view : ap or lateral
    source_mm : distance from the source to the film; infinite for a beam of parallel rays
    foot : (u, v) where the ray that is square to the film meets it, mm
    film_at : the film's place along y (ap) or x (lateral), RAS mm
    towards : 1 where the source lies towards that axis's end (front, patient's right), else -1
    """

    view: str
    source_mm: float
    foot: tuple[float, float]
    film_at: float
    towards: float

    def __post_init__(self) -> None:
        if self.view not in VIEWS:
            raise InputError(f"There is no view '{self.view}'.", "Choose ap or lateral.")

    @property
    def axis(self) -> int:
        """The beam's axis: 0 is x, 1 is y."""
        return 1 if self.view == "ap" else 0

    def magnification(self, along: Array | float) -> Array:
        """How much larger than life things are shown whose place along the beam is ``along``."""
        away = (np.asarray(along, dtype=float) - self.film_at) * self.towards
        return np.asarray(1.0 / (1.0 - away / self.source_mm))

    def project(self, points: Array) -> Array:
        """(u, v) on the film, mm, of RAS points (…, 3)."""
        points = np.asarray(points, dtype=float)
        across = -points[..., 0] if self.view == "ap" else points[..., 1]
        flat = np.stack([across, -points[..., 2]], axis=-1)
        more = self.magnification(points[..., self.axis])[..., None]
        return np.asarray(self.foot + (flat - self.foot) * more)


@dataclass
class BeamCanvas(Canvas):
    """A canvas with voxels of another length along x, y and z: long ones along the beam.

    Parameters
    ----------
    step : (x, y, z) mm; ``spacing`` is the finest of them
    """

    step: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def affine(self) -> Array:
        """4×4 affine from (i, j, k) to RAS mm."""
        affine = np.diag([*self.step, 1.0])
        affine[:3, 3] = self.origin
        return affine

    def world_box(self, low: Array, high: Array) -> tuple[slice, slice, slice] | None:
        """Voxels within the RAS box ``low``…``high`` (mm), or None outside the grid."""
        start = np.floor((np.asarray(low) - self.origin) / self.step).astype(int)
        stop = np.ceil((np.asarray(high) - self.origin) / self.step).astype(int) + 1
        start, stop = np.maximum(start, 0), np.minimum(stop, self.shape[::-1])
        if np.any(start >= stop):
            return None
        i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        return k, j, i

    def coordinates(self, slices: tuple[slice, slice, slice]) -> tuple[Array, Array, Array]:
        """RAS mm of the voxels in ``slices`` as broadcastable float32 arrays (x, y, z)."""
        x, y, z = (
            (self.origin[n] + self.step[n] * np.arange(s.start, s.stop)).astype(np.float32)
            for n, s in enumerate(slices[::-1])
        )
        return x[None, None, :], y[None, :, None], z[:, None, None]

    def box(self, centre: Array, rotation: Array, low: Array, high: Array) -> Box | None:
        """As in `Canvas`."""
        box = super().box(centre, rotation, low, high)
        if box is not None:
            first = np.array([s.start for s in box.slices[::-1]])
            box.matrix = rotation / np.asarray(self.step)[:, None]
            box.offset = (centre - self.origin) / self.step - first
        return box


def beam_canvas(
    low: Array, high: Array, across_mm: float, along_mm: float, axis: int
) -> BeamCanvas:
    """A canvas over the RAS box ``low``…``high`` with voxels ``along_mm`` long along an axis."""
    step = np.full(3, across_mm)
    step[axis] = along_mm
    shape = np.maximum(np.ceil((np.asarray(high) - low) / step).astype(int) + 1, 1)
    x, y, z = (float(s) for s in step)
    return BeamCanvas(
        np.asarray(low), across_mm, (int(shape[2]), int(shape[1]), int(shape[0])), (x, y, z)
    )


def shadow(beam: Beam, canvas: BeamCanvas, slab: Slab, u: Array, v: Array,
           thick_mm: float) -> Array:  # fmt: skip
    """Sum of what the beam meets on its way to every pixel of the film.

    Slabs of ``thick_mm`` are each cast onto the film at their own magnification.

    Parameters
    ----------
    slab : sums of materials along the beam, per mm
    u, v : (columns,) and (rows,), the pixels' places on the film, mm

    Returns
    -------
    float32 (2, rows, columns)
    """
    axis = beam.axis
    many = canvas.shape[2 - axis]
    step = max(1, round(thick_mm / canvas.step[axis]))
    across = 1 - axis
    total: Array | None = None
    for first in range(0, many, step):
        last = min(first + step, many)
        cut = [slice(0, n) for n in canvas.shape]
        cut[2 - axis] = slice(first, last)
        sums = slab((cut[0], cut[1], cut[2]))
        if not sums.any():
            continue
        middle = canvas.origin[axis] + canvas.step[axis] * (first + last - 1) / 2
        more = float(beam.magnification(middle))
        ends = beam.foot[0] + (u - beam.foot[0]) / more, beam.foot[1] + (v - beam.foot[1]) / more
        # The picture's u runs against x; v always against z.
        sign = -1.0 if axis == 1 else 1.0
        column = (sign * ends[0] - canvas.origin[across]) / canvas.step[across]
        row = (-ends[1] - canvas.origin[2]) / canvas.step[2]
        left, right = _weights(row, sums.shape[1]), _weights(column, sums.shape[2])
        cast = np.stack([(right @ (left @ layer).T).T for layer in sums])
        # A voxel's length counts as it is; obliquity is a per cent or two and left out.
        total = cast if total is None else total + cast
    if total is None:
        return np.zeros((2, len(v), len(u)), dtype=np.float32)
    return np.asarray(total * canvas.step[axis], dtype=np.float32)


def _weights(at: Array, count: int) -> Any:
    """Sparse matrix (len(at), count) of quadratic B-splines at places ``at``, in voxels."""
    base = np.rint(at).astype(int)
    t = at - base + 0.5
    parts = [((1 - t) ** 2 / 2, -1), (0.5 + t - t * t, 0), (t * t / 2, 1)]
    rows = np.tile(np.arange(len(at)), 3)
    columns = np.concatenate([base + shift for _, shift in parts])
    values = np.concatenate([weight for weight, _ in parts]).astype(np.float32)
    inside = (columns >= 0) & (columns < count)
    return sparse.csr_matrix(
        (values[inside], (rows[inside], columns[inside])), shape=(len(at), count)
    )
