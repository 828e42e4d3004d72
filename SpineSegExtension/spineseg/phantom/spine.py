"""Draws the spine's own structures: vertebrae, discs, canal, and what disease leaves in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .canvas import Canvas, ellipsoid, strut
from .chain import Body, Chain
from .codes import Tissue
from .disease import draw_lesion, draw_screws
from .fusion import fuse
from .settings import PhantomSettings
from .vertebra import canal_centre_y, canal_rho, draw_vertebra

Array = npt.NDArray[Any]
#: Half-axes (mm) of the cord's section; it ends at L1.
CORD_MM = (5.5, 4.0)


def _empty(tissue: Array) -> Array:
    return np.asarray(tissue == Tissue.AIR)


def draw_spine(
    canvas: Canvas, chain: Chain, settings: PhantomSettings, worn: float, rng: np.random.Generator
) -> None:
    """Draw all vertebrae, then discs and canal between them, then lesions and screws."""
    seeds = rng.integers(2**31, size=(len(chain.bodies), 3))
    for body, (seed, _, _) in zip(chain.bodies, seeds, strict=True):
        draw_vertebra(canvas, body, worn, np.random.default_rng(seed))
    fused = {fusion.level for fusion in settings.fusions}
    for fusion in settings.fusions:
        n = chain.index(fusion.level)
        fuse(canvas, chain.bodies[n], chain.bodies[n + 1], fusion.arches)
    for n, (body, (_, seed, _)) in enumerate(zip(chain.bodies, seeds, strict=True)):
        below = chain.bodies[n + 1] if n + 1 < len(chain.bodies) else None
        _draw_canal(canvas, body)
        if body.name != "C1" and body.name not in fused:
            _draw_disc(canvas, chain, body, below, worn, np.random.default_rng(seed))
    _draw_sacral_canal(canvas, chain)
    for body, (_, _, seed) in zip(chain.bodies, seeds, strict=True):
        local = np.random.default_rng(seed)
        for lesion in settings.lesions:
            if lesion.level == body.name:
                draw_lesion(canvas, body, lesion.kind, lesion.radius, local)
        if body.name in settings.metal:
            draw_screws(canvas, body, local)


def _draw_disc(
    canvas: Canvas,
    chain: Chain,
    body: Body,
    below: Body | None,
    worn: float,
    rng: np.random.Generator,
) -> None:
    lower, normal = body.endplate(upper=False)
    upper, other = (
        below.endplate(upper=True)
        if below is not None
        else (chain.sacrum_centre, chain.sacrum_rotation[:, 2])
    )
    height = float(np.linalg.norm(lower - upper))
    z = normal + other
    z /= np.linalg.norm(z)
    x = body.rotation[:, 0] - z * float(z @ body.rotation[:, 0])
    x /= np.linalg.norm(x)
    frame = np.stack([x, np.cross(z, x), z], axis=1)
    half_w, half_d = body.size.width / 2, body.size.depth / 2
    tall = height / 2 + 11.0
    bulge = 1.0 + rng.uniform(-0.02, 0.08)
    # Gas and loss of height go together.
    low = np.clip(1.3 - height / max(body.size.disc, 1.0), 0.0, 1.0)
    vacuum = rng.random() < worn * (0.2 + 0.8 * low)
    place, wide = rng.uniform(-0.35, 0.35, 2), rng.uniform(0.25, 0.8, 2)
    thick = min(float(rng.uniform(0.5, 1.7)), 0.3 * height)
    box = canvas.box(
        (lower + upper) / 2,
        frame,
        np.array([-half_w - 4, -half_d - 4, -tall]),
        np.array([half_w + 4, half_d + 4, tall]),
    )
    if box is None:
        return
    rho = np.sqrt((box.x / half_w) ** 2 + (box.y / half_d) ** 2) / bulge
    bend = np.clip((body.heights[0] - body.heights[2]) / body.size.depth, -0.3, 0.3)
    # Far enough up and down to fill the hollows of the endplates, Schmorl's nodes too: bone stays.
    half = height / 2 + 0.4 + 2.6 * np.clip(1 - rho * rho, 0, 1) + np.abs(bend) * np.abs(box.y)
    half += 6.0 * np.clip(1.2 * (1 - rho / 0.75), 0, 1)
    inside = np.maximum((rho - 1.0) * half_d, np.abs(box.z) - half)
    canvas.draw(box.slices, inside, Tissue.DISC, over=_empty)
    if vacuum:
        gas = ellipsoid(
            box,
            (place[0] * half_w, place[1] * half_d, 0),
            (half_w * wide[0], half_d * wide[1], thick),
        )
        canvas.draw(box.slices, gas, Tissue.VACUUM, over=lambda t: np.asarray(t == Tissue.DISC))


def _draw_canal(canvas: Canvas, body: Body) -> None:
    cw, cd = body.size.canal
    yc = canal_centre_y(body)
    up = body.size.height / 2 + (14 if body.name == "C1" else 6)
    down = body.size.height / 2 + body.disc / 2 + 2
    box = canvas.box(
        body.centre,
        body.rotation,
        np.array([-cw, yc - cd, -down]),
        np.array([cw, yc + cd, up]),
    )
    if box is None:
        return
    rho = canal_rho(box, body)
    inside = np.maximum(rho - 1.0, np.maximum(box.z - up, -down - box.z))
    canvas.draw(box.slices, inside, Tissue.CANAL, over=_empty)
    if body.name[0] in "CT" or body.name == "L1":
        cord = (box.x / CORD_MM[0]) ** 2 + ((box.y - yc - 0.5) / CORD_MM[1]) ** 2 - 1.0
        canvas.draw(box.slices, cord, Tissue.CORD, over=lambda t: np.asarray(t == Tissue.CANAL))


def _draw_sacral_canal(canvas: Canvas, chain: Chain) -> None:
    """The canal goes on behind S1, where the sacrum is drawn round it."""
    last = chain.bodies[-1]
    frame = chain.sacrum_rotation
    yc = canal_centre_y(last) + 1.0
    box = canvas.box(
        chain.sacrum_centre, frame, np.array([-16.0, yc - 14, -62]), np.array([16.0, yc + 10, 2])
    )
    if box is None:
        return
    tube = strut(box, (0, yc, 2), (0, yc - 8, -55), (12, 7.5), (4, 3), across=(0.0, 1.0, 0.0))
    canvas.draw(box.slices, tube, Tissue.CANAL, over=_empty)
