"""Draws the ribs: twelve pairs, or as many as the patient has."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .bodyshape import Rib, Shape, rib_of
from .canvas import Canvas
from .codes import Tissue
from .pen import UP, Pen
from .settings import PhantomSettings

Array = npt.NDArray[Any]


def draw_ribs(
    canvas: Canvas, shape: Shape, settings: PhantomSettings, rng: np.random.Generator
) -> None:
    """All ribs; now and then the lowest are missing, where the settings leave that to the seed."""
    thick, tall = rng.uniform(2.6, 3.8), rng.uniform(4.8, 6.8)
    missing = rng.random() < 0.08
    lumbar_rib = rng.random(2)
    pen = Pen(canvas, np.zeros(3), np.eye(3), Tissue.RIB)
    lowest = max((int(r.name[1:]) for r in shape.ribs), default=0)
    for rib in shape.ribs:
        n = int(rib.name[1:])
        points = rib.points
        if n == lowest and settings.lowest_ribs is not None:
            points = _shortened(points, settings.lowest_ribs)
        elif n == lowest and (missing or lumbar_rib[int(rib.side > 0)] < 0.03):
            continue
        _draw_rib(pen, points, n, thick, tall)
    for rib in _lumbar_ribs(shape, settings.lumbar_ribs):
        _draw_rib(pen, _shortened(rib.points, settings.lumbar_ribs), 13, thick, tall)


def _draw_rib(pen: Pen, points: Array, n: int, thick: float, tall: float) -> None:
    """The n-th rib as a chain of flat bars."""
    weight = 0.72 if n >= 12 else 0.85 if n == 11 else 1.0
    count = len(points) - 1
    for m in range(count):
        if m < 3:
            ra = (3.4, 5.0 - 0.4 * m) if m else (3.8, 5.2)
            rb = (3.4, 4.6)
        else:
            end = 1.0 if m < count - 2 or n >= 11 else 1.15
            ra = rb = (thick * weight, tall * weight * end)
        pen.bar(points[m], points[m + 1], ra, rb, across=UP)


def _shortened(points: Array, share: float) -> Array:
    """The first ``share`` of a path, by its length."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    end = share * along[-1]
    if share <= 0:
        return points[:0]
    tip = [np.interp(end, along, points[:, axis]) for axis in range(3)]
    return np.concatenate([points[along < end], [tip]])


def _lumbar_ribs(shape: Shape, share: float) -> list[Rib]:
    if share <= 0:
        return []
    calm = np.array([1.0, 0.0])
    return [rib_of(shape.body("L1"), s, shape.scale, 1.0, calm, 1.0) for s in (-1.0, 1.0)]
