"""Draws what disease and surgery leave in vertebrae: metastases, screws, rods and cement.

They lie in the canvas's overlay and change no label: a vertebra stays whole to whoever measures it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..labels import by_name
from .canvas import DEPTH_UNIT, Box, Canvas, ellipsoid, strut
from .chain import Body
from .codes import Tissue

Array = npt.NDArray[Any]
#: Lesions that keep to the marrow leave this much of the bone's wall, mm.
_WALL_MM = 1.0
#: A mass of soft tissue does not reach further from the bone than this, mm.
_MASS_MM = 9.0
#: How often a lytic lesion breaks through the cortex, and lesions sit in the arch.
_BREACH, _IN_ARCH = 0.45, 0.25


def draw_lesion(
    canvas: Canvas, body: Body, kind: str, radius: float, rng: np.random.Generator
) -> None:
    """Draw the foci of one metastasis; ``kind`` is lytic, blastic or mixed, ``radius`` in mm.

    Foci are of irregular shape, in the body or the root of the arch. A lytic one may break through
    the cortex into the tissue beside it, but not into a disc.
    """
    count = int(rng.integers(2, 5)) if kind == "mixed" else int(rng.integers(1, 4))
    for n in range(count):
        blastic = kind == "blastic" or (kind == "mixed" and n % 2 == 1)
        seed = int(rng.integers(2**31))
        # The first is of the asked size, the others are its satellites.
        size = radius if n == 0 else radius * float(rng.uniform(0.4, 0.9))
        _draw_focus(canvas, body, blastic, size, n == 0, np.random.default_rng(seed))


def _draw_focus(
    canvas: Canvas, body: Body, blastic: bool, radius: float, first: bool, rng: np.random.Generator
) -> None:
    place, breach = _place(body, first, rng)
    radii = radius * rng.uniform(0.65, 1.15, 3)
    waves = rng.normal(size=(3, 3))
    waves *= (2 * np.pi / (radius * rng.uniform(0.8, 2.2, 3)) / np.linalg.norm(waves, axis=1))[
        :, None
    ]
    phases, rough = rng.uniform(0, 2 * np.pi, 3), float(rng.uniform(0.1, 0.35))
    reach = radii * (1 + rough) + 2
    box = canvas.box(body.centre, body.rotation, place - reach, place + reach)
    if box is None:
        return
    ripple = sum(
        np.sin(np.float32(w[0]) * box.x + np.float32(w[1]) * box.y + np.float32(w[2]) * box.z + p)
        for w, p in zip(waves, phases.astype(np.float32), strict=True)
    )
    inside = ellipsoid(box, tuple(place), tuple(radii)) < radii.min() * rough * ripple / 1.7
    depth = canvas.depth[box.slices].astype(np.float32) * np.float32(DEPTH_UNIT)
    ids, tissue = canvas.ids[box.slices], canvas.tissue[box.slices]
    own = ids == by_name(body.name).verse
    if not blastic and breach:
        free = (ids == 0) & (tissue != Tissue.DISC) & (tissue != Tissue.VACUUM)
        own |= free & (depth < _MASS_MM)
    elif not blastic:
        own &= depth < -_WALL_MM
    overlay = canvas.overlay[box.slices]
    overlay[inside & own] = Tissue.BLASTIC if blastic else Tissue.LYTIC


def _place(body: Body, first: bool, rng: np.random.Generator) -> tuple[Array, bool]:
    """Where a focus lies in the vertebra's frame, mm, and whether it breaks the cortex."""
    size = body.size
    half = np.array([size.width, size.depth, size.height]) / 2
    breach, in_arch = rng.random() < _BREACH, rng.random() < _IN_ARCH
    inner, side, along = rng.uniform(-0.55, 0.55, 3), rng.choice([-1.0, 1.0]), rng.uniform(-0.3, 1)
    angle = rng.uniform(-np.pi, np.pi)
    if in_arch and not first and body.name != "C1":
        across = size.canal[0] / 2 + size.pedicle[0] / 2
        back = -half[1] - along * size.canal[1]
        return np.array([side * across, back, half[2] - size.pedicle[1] / 2]), bool(breach)
    if breach:
        # Near the wall, any way but up or down: discs keep metastases out.
        wall = np.array([np.cos(angle), np.sin(angle), inner[2]]) * np.array([0.8, 0.8, 1.0])
        return wall * half, True
    return inner * half, False


def draw_screws(canvas: Canvas, body: Body, rng: np.random.Generator) -> None:
    """Draw a screw through each pedicle and the rods behind, now and then cement round the tips."""
    size = body.size
    px = size.canal[0] / 2 + size.pedicle[0] / 2
    pz = size.height / 2 - size.pedicle[1] / 2
    yb = -size.depth / 2
    radius = float(rng.uniform(2.4, 3.4))
    deep, rod = float(rng.uniform(0.2, 0.8)), float(rng.uniform(2.4, 3.2))
    cement = float(rng.uniform(5.0, 10.0)) if rng.random() < 0.15 else 0.0
    squash = rng.uniform(0.7, 1.2, 3)
    low = np.array([-px - 12, yb - size.canal[1] - 30, -size.height - 12])
    box = canvas.box(body.centre, body.rotation, low, np.array([px + 12, -yb, size.height + 12]))
    if box is None:
        return
    metal = np.full(box.x.shape, False)
    for s in (-1.0, 1.0):
        head = (s * (px + 3), yb - size.canal[1] - 8, pz)
        tip = (s * px * 0.45, -yb * deep, pz - 2)
        if cement:
            blob = ellipsoid(box, tip, tuple(cement * squash)) < 0
            blob &= canvas.ids[box.slices] == by_name(body.name).verse
            canvas.overlay[box.slices][blob] = Tissue.CEMENT
        metal |= _bar(box, head, tip, radius) | _tulip(box, head, radius)
        end = (head[0], head[1] - 4, size.height + 4)
        metal |= _bar(box, (end[0], end[1], -end[2]), end, rod)
    canvas.overlay[box.slices][metal] = Tissue.METAL


def _bar(
    box: Box, start: tuple[float, float, float], end: tuple[float, float, float], radius: float
) -> Array:
    return np.asarray(strut(box, start, end, (radius, radius), (radius, radius)) < 0)


def _tulip(box: Box, head: tuple[float, float, float], radius: float) -> Array:
    """The screw's head, which holds the rod."""
    return _bar(box, head, (head[0], head[1] - 6.0, head[2]), radius + 2.2)
