"""Draws bones that keep a joint space to what was drawn before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .canvas import DEPTH_UNIT, Box, Canvas, ellipsoid, strut
from .codes import Tissue

Array = npt.NDArray[Any]
Point = Sequence[float] | Array
Radii = tuple[float, float]
#: Bones are drawn a little wider than their edge, as the vertebrae are.
GROW_MM = 0.3
#: Joint space to the bones that are already drawn, mm.
JOINT_MM = 1.3
#: Distances are kept this far outside of a bone, mm: what a rendering's partial volume needs.
_PAD = 5.0
_KEEP = np.zeros(256, dtype=bool)
_KEEP[[Tissue.CANAL, Tissue.CORD, Tissue.DISC, Tissue.VACUUM]] = True
FORWARDS = (0.0, 1.0, 0.0)
UP = (0.0, 0.0, 1.0)


class Pen:
    """Draws bones in a frame, leaving a joint space to all bones drawn before it was made."""

    def __init__(self, canvas: Canvas, centre: Array, rotation: Array, code: int) -> None:
        self.canvas, self.centre, self.rotation, self.code = canvas, centre, rotation, code
        self.before = canvas.depth.copy()

    def box(self, points: Array, pad: float) -> Box | None:
        points = np.asarray(points, dtype=float)
        pad = pad + _PAD + self.canvas.spacing
        return self.canvas.box(
            self.centre, self.rotation, points.min(axis=0) - pad, points.max(axis=0) + pad
        )

    def fill(self, box: Box, distance: Array) -> None:
        """Draw a distance, but not into the canal, the discs or a joint."""
        before = self.before[box.slices]
        gap = JOINT_MM - before.astype(np.float32) * np.float32(DEPTH_UNIT)
        distance = np.maximum(distance, gap)
        keep = _KEEP[self.canvas.tissue[box.slices]]
        distance[keep] = np.maximum(distance[keep], 0.6)
        self.canvas.draw_bone(box.slices, distance, self.code, grow=GROW_MM)

    def bar(self, a: Point, b: Point, ra: Radii, rb: Radii, across: Point = FORWARDS) -> None:
        box = self.box(np.array([a, b]), max(*ra, *rb))
        if box is not None:
            self.fill(box, strut(box, three(a), three(b), ra, rb, three(across)))

    def ball(self, centre: Point, radii: Point) -> None:
        box = self.box(np.array([centre]) + np.array([[-1], [1]]) * np.array(radii), 0.0)
        if box is not None:
            self.fill(box, ellipsoid(box, three(centre), three(radii)))


def three(p: Point) -> tuple[float, float, float]:
    """A point as the solids take it."""
    return float(p[0]), float(p[1]), float(p[2])
