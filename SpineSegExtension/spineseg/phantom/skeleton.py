"""Draws the bones that are not vertebrae: ribs, sacrum, pelvis, shoulder girdle, skull.

They are what a network takes for vertebrae when it has never seen them. Shapes are rough on purpose
and follow Gray's Anatomy; they keep their joint spaces to the vertebrae, which are drawn before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .bodyshape import Shape, body_shape
from .canvas import Box, Canvas, ellipsoid, strut
from .chain import Chain
from .codes import Tissue
from .pen import FORWARDS as Y
from .pen import UP as Z
from .pen import Pen, Point, Radii, three
from .ribs import draw_ribs
from .settings import PhantomSettings
from .vertebra import canal_centre_y

Array = npt.NDArray[Any]


def draw_skeleton(
    canvas: Canvas,
    chain: Chain,
    rng: np.random.Generator,
    settings: PhantomSettings,
    sacrum_only: bool = False,
) -> None:
    """Draw all bones except vertebrae, after the vertebrae, discs and canal.

    The random numbers used do not depend on what part of the patient lies on the canvas.
    """
    seeds = rng.integers(2**31, size=6)
    _draw_sacrum(canvas, chain, settings, np.random.default_rng(seeds[0]))
    if sacrum_only:
        return
    shape = body_shape(chain, settings.arms)
    draw_ribs(canvas, shape, settings, np.random.default_rng(seeds[1]))
    _draw_sternum(canvas, shape, np.random.default_rng(seeds[2]))
    _draw_pelvis(canvas, chain, np.random.default_rng(seeds[3]))
    _draw_shoulders(canvas, shape, np.random.default_rng(seeds[4]))
    _draw_skull(canvas, shape, np.random.default_rng(seeds[5]))


# -- sacrum ---------------------------------------------------------------------------------------


def _draw_sacrum(
    canvas: Canvas, chain: Chain, settings: PhantomSettings, rng: np.random.Generator
) -> None:
    last = chain.bodies[-1]
    k, bend = chain.scale, rng.uniform(0.5, 1.4)
    half_w, half_d = last.size.width * 0.5, last.size.depth * 0.5
    notch, hole, ala = rng.uniform(0.1, 0.35), rng.uniform(3.2, 5.0), rng.uniform(46, 52) * k
    dish, remnant = rng.uniform(0.0, 2.0), rng.uniform(-1.5, 2.0)
    wing = bool(settings.sacralised_l5)
    pen = Pen(canvas, chain.sacrum_centre, chain.sacrum_rotation, Tissue.SACRUM)
    low = np.array([-62.0, -62.0 - 14, -112.0]) * k
    box = canvas.box(pen.centre, pen.rotation, low, np.array([62.0 * k, 34 * k, 18.0 * k]))
    if box is not None:
        distance = _sacrum_distance(
            box, chain, (half_w, half_d, ala, bend), (notch, hole, dish, remnant)
        )
        pen.fill(box, distance)
    # The coccyx goes on from S5 and turns forwards.
    y, z = -12 * k + 9 * bend * k, -100 * k
    for n in range(3):
        pen.bar(
            (0, y, z), (0, y + 6 * k, z - 9 * k), (7 - 2 * n, 4 - n * 0.7), (6 - 2 * n, 3.3 - n)
        )
        y, z = y + 8 * k, z - 12 * k
    if wing:
        frame = chain.sacrum_rotation.T
        for s in (-1.0, 1.0):
            tip = np.array([s * (last.size.transverse / 2 - 2), -last.size.depth / 2 - 6, -4.0])
            start = frame @ (last.rotation @ tip + last.centre - chain.sacrum_centre)
            pen.bar(start, (s * ala * 0.9, -14 * k, -12 * k), (9, 9), (14, 12))


def _sacrum_distance(
    box: Box, chain: Chain, sizes: tuple[float, ...], details: tuple[float, ...]
) -> Array:
    """Bodies S1–S5, alae, laminae and crest, with canal and foramina cut out."""
    half_w, half_d, ala, bend = sizes
    notch, hole, dish, remnant = details
    k = chain.scale
    line = np.array([[0, 0], [-3, -28], [-9 - bend, -52], [-13 + bend, -74], [-13 + 7 * bend, -96]])
    line = line * k
    wide = np.array([half_w, half_w * 0.76, half_w * 0.62, half_w * 0.5, half_w * 0.4])
    deep = np.array([half_d, half_d * 0.7, half_d * 0.52, half_d * 0.42, half_d * 0.34])
    out: Array | None = None
    for n in range(4):
        part = strut(
            box, (0, line[n, 0], line[n, 1]), (0, line[n + 1, 0], line[n + 1, 1]),
            (wide[n], deep[n]), (wide[n + 1], deep[n + 1]), Y,
        )  # fmt: skip
        out = part if out is None else np.minimum(out, part)
    assert out is not None
    rho = (box.x / half_w) ** 2 + (box.y / half_d) ** 2
    out = np.maximum(out, box.z + dish * np.clip(1 - rho, 0, 1))
    for s in (-1.0, 1.0):
        wing = strut(
            box, (s * 16 * k, -8 * k, -16 * k), (s * (ala - 9), -17 * k, -24 * k),
            (15 * k, 14 * k), (17 * k, 13 * k), Y,
        )  # fmt: skip
        mass = strut(
            box, (s * 33 * k, -17 * k, -26 * k), (s * 14 * k, (-14 + 3 * bend) * k, -84 * k),
            (15 * k, 11 * k), (7 * k, 5 * k), Y,
        )  # fmt: skip
        wing = np.minimum(np.maximum(wing, box.z + 2 + notch * np.abs(box.x)), mass)
        out = np.minimum(out, np.maximum(wing, np.abs(box.x) - ala - 0.12 * box.z))
    yc = canal_centre_y(chain.bodies[-1]) + 1.0
    behind = strut(box, (0, yc - 9, -10 * k), (0, yc - 13, -74 * k), (17 * k, 6), (8 * k, 4), Y)
    crest = strut(box, (0, yc - 17, -12 * k), (0, yc - 17, -60 * k), (2.6, 6), (2.6, 4), Y)
    out = np.minimum(out, np.minimum(behind, crest))
    for s in (-1.0, 1.0):
        foot, tip = (s * 20 * k, yc - 7, -8), (s * 22 * k, yc - 7, 8)
        facet = strut(box, foot, tip, (5, 4.5), (4.5, 3.5), Y)
        out = np.minimum(out, facet)
    tube = strut(box, (0, yc, 2), (0, yc - 8, -55), (12, 7.5), (4, 3), Y)
    out = np.maximum(out, -tube)
    # What is left of the disc between S1 and S2, in some.
    rho = (box.x / wide[1]) ** 2 + ((box.y - line[1, 0]) / deep[1]) ** 2
    slit = np.maximum(np.abs(box.z - line[1, 1]) - remnant, (rho - 0.5) * deep[1])
    out = np.maximum(out, -slit)
    for n in range(1, 4):
        x = np.abs(box.x) - (half_w * (0.86, 0.74, 0.66)[n - 1] + 2)
        z = box.z - (line[n, 1] - 1.0)
        out = np.maximum(out, hole * (1.1 - 0.15 * n) - np.sqrt(x * x + z * z))
    return np.asarray(out)


# -- chest ----------------------------------------------------------------------------------------


def _cartilage(canvas: Canvas, a: Array, b: Array, radii: Radii) -> None:
    pad = max(radii) + 1.0
    box = canvas.box(np.zeros(3), np.eye(3), np.minimum(a, b) - pad, np.maximum(a, b) + pad)
    if box is not None:
        distance = strut(box, three(a), three(b), radii, radii)
        canvas.draw(
            box.slices, distance, Tissue.COSTAL_CARTILAGE,
            over=lambda t: np.asarray(t == Tissue.AIR),
        )  # fmt: skip


def _draw_sternum(canvas: Canvas, shape: Shape, rng: np.random.Generator) -> None:
    """Manubrium and body of the sternum, and the cartilages of ribs 1–10."""
    k = shape.scale
    wide, thick = rng.uniform(0.85, 1.2), rng.uniform(5.0, 7.0)
    pairs = [[r for r in shape.ribs if r.name == f"T{n}"] for n in range(1, 11)]
    fronts = np.array([np.mean([r.front for r in pair], axis=0) for pair in pairs])
    # The sternum is straight: from the first rib's front to a little above the seventh's.
    top, foot = fronts[0] + [0, 2, 6 * k], fronts[5] + [0, 2, 22 * k]
    top[0] = foot[0] = fronts[:6, 0].mean()
    pen = Pen(canvas, np.zeros(3), np.eye(3), Tissue.STERNUM)
    joint = top + (foot - top) * 0.3
    pen.bar(top, joint, (26 * k * wide, thick), (15 * k * wide, thick * 0.9))
    pen.bar(joint + (foot - top) * 0.06, foot, (14 * k * wide, thick), (18 * k * wide, thick * 0.8))
    pen.bar(foot + (foot - top) * 0.08, foot + (foot - top) * 0.22, (7, 3), (4, 2.5))
    for n, pair in enumerate(pairs):
        place = top + (foot - top) * (0.06, 0.3, 0.47, 0.63, 0.78, 0.92, 1.0, 1.0, 1.0, 1.0)[n]
        for rib in pair:
            target = place + [rib.side * 17 * k * wide, 0, 0]
            if n >= 7:
                end = np.array(target)
                target = end * 0.45 + 0.55 * np.array(rib.points[-1]) + [0, 0, 10 * k]
                target[1] = max(target[1], rib.points[-1][1] + 4)
            _cartilage(canvas, rib.points[-1], target, (4.5, 6.5))


# -- pelvis and hips ------------------------------------------------------------------------------

_CREST = [(44, -72, -10), (64, -62, 24), (92, -38, 46), (116, 0, 43), (128, 34, 20), (124, 57, -8)]
_BASE = [
    (52, -45, -46),
    (62, -32, -46),
    (72, -16, -48),
    (80, -2, -54),
    (88, 16, -54),
    (93, 30, -50),
]
_HIP = (90.0, 20.0, -80.0)


def _draw_pelvis(canvas: Canvas, chain: Chain, rng: np.random.Generator) -> None:
    """Iliac wings, sockets, ischia, pubic bones and femora."""
    k = chain.scale * rng.uniform(0.94, 1.06)
    thick = rng.uniform(3.0, 5.0)
    lift = rng.normal(0, 6)
    flare = rng.uniform(0.92, 1.08)
    swing = rng.normal(0, 0.1, 2)
    # The pelvis turns with the sacrum, whose endplate is usually tilted by about 40°.
    z = chain.sacrum_rotation[:, 2]
    tilt = 0.7 * (np.arctan2(z[1], z[2]) - np.radians(40.0))
    turn = np.arctan2(chain.sacrum_rotation[1, 0], chain.sacrum_rotation[0, 0])
    c, s, ct, st = np.cos(tilt), np.sin(tilt), np.cos(turn), np.sin(turn)
    frame = np.array([[ct, -st, 0], [st, ct, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, c, s], [0, -s, c]]
    )
    pen = Pen(canvas, chain.sacrum_centre + [0, 0, lift * 0.3], frame, Tissue.PELVIS)
    for side in (-1.0, 1.0):

        def at(p: Point, side: float = side) -> tuple[float, float, float]:
            return side * p[0] * k, p[1] * k, p[2] * k

        crest = np.array([at((p[0] * flare, p[1], p[2] + lift)) for p in _CREST])
        base = np.array([at(p) for p in _BASE])
        _draw_wing(pen, crest, base, thick)
        for a, b, ra, rb in (
            ((76, 2, -92), (66, -24, -126), (13.0, 14.0), (13.0, 12.0)),
            ((66, -22, -130), (20, 44, -116), (6.0, 9.0), (5.0, 8.0)),
            ((76, 36, -74), (16, 60, -92), (8.0, 9.0), (7.0, 9.0)),
            ((14, 59, -94), (15, 50, -118), (8.0, 7.0), (7.0, 7.0)),
        ):
            pen.bar(at(a), at(b), ra, rb)
        _draw_socket(pen, np.array(at(_HIP)), side, 25.5 * k)
    femur = Pen(canvas, pen.centre, frame, Tissue.FEMUR)
    for side, angle in ((-1.0, swing[0]), (1.0, swing[1])):
        hip = np.array([side * _HIP[0], _HIP[1], _HIP[2]]) * k
        head = hip + np.array([side * 40, -8 + 60 * angle, -22]) * k
        femur.ball(hip, (22.5 * k,) * 3)
        femur.bar(hip, head, (14.0, 16.0), (15.0, 19.0))
        femur.ball(head + np.array([side * 6, -4, 4]), (14.0, 17.0, 20.0))
        femur.bar(
            head + [0, 0, -12], head + np.array([-side * 14, 8, -330]) * k, (16, 17), (13, 14)
        )


def _draw_wing(pen: Pen, crest: Array, base: Array, thick: float) -> None:
    """A curved plate between the crest and the base, as a fan of flat bars."""
    fine = np.linspace(0, len(crest) - 1, 3 * len(crest) - 2)
    nodes = np.arange(len(crest))
    tops = np.stack([np.interp(fine, nodes, crest[:, c]) for c in range(3)], axis=1)
    feet = np.stack([np.interp(fine, nodes, base[:, c]) for c in range(3)], axis=1)
    for n, (top, foot) in enumerate(zip(tops, feet, strict=True)):
        m = min(max(n, 1), len(tops) - 2)
        along = tops[m + 1] - tops[m - 1] + feet[m + 1] - feet[m - 1]
        heavy = 2.0 if n < 5 else 0.0
        # Wide enough to overlap: the bars shall make one plate.
        wide = 0.5 * float(np.linalg.norm(along))
        ra, rb = (thick + 3 + heavy, 0.55 * wide + 4), (thick + heavy * 0.5, wide)
        pen.bar(foot, top, ra, rb, across=along)
        if n:
            pen.bar(tops[n - 1], top, (thick + 2.5, thick + 2), (thick + 2.5, thick + 2))


def _draw_socket(pen: Pen, hip: Array, side: float, radius: float) -> None:
    box = pen.box(hip[None], radius + 8)
    if box is None:
        return
    x, y, z = box.x - hip[0], box.y - hip[1], box.z - hip[2]
    shell = np.abs(np.sqrt(x * x + y * y + z * z) - radius - 4.0) - 4.0
    opening = 0.78 * side * x + 0.3 * y - 0.55 * z - 4.0
    pen.fill(box, np.maximum(shell, opening))


# -- shoulders and head ---------------------------------------------------------------------------


def _draw_shoulders(canvas: Canvas, shape: Shape, rng: np.random.Generator) -> None:
    """Scapulae behind the ribs T2–T7, clavicles and humeri; arms up or down."""
    k = shape.scale
    slide = rng.normal(0, 8)
    t2, t7 = shape.body("T2").centre, shape.body("T7").centre
    back = [float(np.interp(c[2], shape.wall_z, shape.wall[:, 2])) for c in (t2, t7)]
    blade = Pen(canvas, np.zeros(3), np.eye(3), Tissue.SCAPULA)
    limb = Pen(canvas, np.zeros(3), np.eye(3), Tissue.LIMB)
    sternum = np.mean([r.front for r in shape.ribs if r.name == "T1"], axis=0)
    mid = float(shape.line(np.array([t2[2]]))[0][0])
    for arm in shape.arms:
        side, socket, up = arm.side, arm.socket, arm.up
        upper = np.array([mid + side * 72 * k, min(back) - 13, t2[2] + 10 * k + slide])
        lower = np.array([mid + side * (105 if up else 88) * k, back[1] - 14, t7[2] + slide])
        for t in np.linspace(0, 1, 9):
            foot = upper + (lower - upper) * t
            foot[0] -= side * 8 * k * np.sin(np.pi * t)
            root = socket - [side * 16 * k, 8, (6 + 30 * t) * k]
            blade.bar(root, foot, (3.0, 10.0), (2.2, 11.0), across=lower - upper)
        blade.bar(socket, socket - [side * 22 * k, 4, 6], (15.0, 10.0), (9.0, 8.0))
        tip = socket + np.array([side * 18, -12, 34]) * k
        blade.bar(upper + [0, -2, -24 * k], tip, (4.0, 8.0), (6.0, 9.0))
        blade.bar(socket - [side * 14 * k, 0, -12], socket + np.array([-side * 8, 32, 18]) * k,
                  (7.0, 7.0), (6.0, 6.0))  # fmt: skip
        limb.ball(arm.head, (23 * k,) * 3)
        neck = arm.head + (arm.elbow - arm.head) * 0.03
        limb.bar(neck, arm.elbow, (17.0, 17.0), (11.0, 11.0))
        inner = sternum + np.array([side * 26, 4, 22]) * k
        bend = (inner + tip) / 2 + np.array([0, 22, 4]) * k
        limb.bar(inner, bend, (9.0, 8.0), (6.0, 6.0))
        limb.bar(bend, tip + [-side * 12, 8, 0], (6.0, 6.0), (8.0, 6.0))


def _draw_skull(canvas: Canvas, shape: Shape, rng: np.random.Generator) -> None:
    """A shell with the foramen magnum, condyles, petrous bones, face and mandible."""
    atlas = shape.chain.bodies[0]
    k = shape.scale**0.5
    radii = np.array([73.0, 93.0, 74.0]) * k * rng.uniform(0.94, 1.06, 3)
    shell = rng.uniform(4.0, 8.0)
    jaw = rng.uniform(0, 14)
    pen = Pen(canvas, atlas.centre, atlas.rotation, Tissue.SKULL)
    middle = np.array([0.0, 22.0 * k, 18.0 + radii[2] + shell / 2])
    box = canvas.box(pen.centre, pen.rotation, middle - radii - 8, middle + radii + 8)
    if box is not None:
        wall = np.abs(ellipsoid(box, three(middle), three(radii))) - shell / 2
        hole = 17.0 - np.sqrt(box.x**2 + ((box.y + 13.0) * 0.9) ** 2)
        pen.fill(box, np.maximum(wall, np.where(box.z < 60, hole, -1e3)))
    for s in (-1.0, 1.0):
        pen.bar((s * 18, -6, 18), (s * 15, 7, 17), (6, 6), (5, 6))
        pen.bar((s * 62 * k, -6, 36), (s * 18, 24, 44), (13, 12), (8, 9))
        pen.ball((s * 56 * k, -2, 20), (10, 13, 16))
        pen.bar((s * 50 * k, 28, 18), (s * 47 * k, 38, -34 - jaw), (4, 13), (5, 12))
        pen.bar((s * 47 * k, 40, -36 - jaw), (s * 14, 88, -44 - jaw), (6, 6), (6, 7), Z)
        pen.bar((s * 34, 52, 10), (s * 22, 90, 6), (9, 7), (8, 7))
    pen.bar((-14, 90, -44 - jaw), (14, 90, -44 - jaw), (7, 13), (7, 13), Z)
    pen.bar((0, 8, 24), (0, 34, 54), (14, 5), (12, 8))
