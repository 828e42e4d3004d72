"""One vertebra as a union of bars, drawn on a canvas with its sub-regions.

Distances are in the vertebra's own frame, mm: x to the right, y forwards, z upwards, origin in the
middle of the body. Parts and their proportions follow Gray's Anatomy; sizes come from the chain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..labels import SubRegion, by_name
from .canvas import FAR_MM, SKIRT_MM, Box, Canvas, ellipsoid, smooth_max, strut
from .chain import Body
from .morphometry import Size

Array = npt.NDArray[Any]
Parts = list[tuple[int, Array]]
#: Sign of x, and the codes of the transverse and of the upper and lower articular process.
Side = tuple[float, SubRegion, SubRegion, SubRegion]
#: People's masks are a little wider than the half-height of the edge (training notes, point 3).
MASK_GROW_MM = 0.5
#: What the mask calls the body's border, from the surface inwards.
CORTEX_MM = 2.0
FORWARDS = (0.0, 1.0, 0.0)
SIDES: tuple[Side, Side] = (
    (
        -1.0,
        SubRegion.TRANSVERSE_LEFT,
        SubRegion.SUPERIOR_ARTICULAR_LEFT,
        SubRegion.INFERIOR_ARTICULAR_LEFT,
    ),
    (
        1.0,
        SubRegion.TRANSVERSE_RIGHT,
        SubRegion.SUPERIOR_ARTICULAR_RIGHT,
        SubRegion.INFERIOR_ARTICULAR_RIGHT,
    ),
)


def _waves(rng: np.random.Generator) -> list[tuple[Array, float, float]]:
    """Draw two waves of 18–60 mm: their vectors, heights (mm) and phases."""
    waves = []
    for _ in range(2):
        wave = rng.normal(size=3)
        wave *= 2 * np.pi / rng.uniform(18, 60) / np.linalg.norm(wave)
        phase = rng.uniform(0, 2 * np.pi)
        waves.append((wave.astype(np.float32), float(rng.uniform(0.1, 0.75)), phase))
    return waves


def _bend(waves: list[tuple[Array, float, float]], x: Array, y: Array, z: Array) -> Array:
    """Add waves up at points of the vertebra's frame."""
    bend = np.zeros_like(x)
    for w, height, phase in waves:
        bend += np.float32(height) * np.sin(w[0] * x + w[1] * y + w[2] * z + np.float32(phase))
    return bend


def _warp(box: Box, body: Body, rng: np.random.Generator) -> Box:
    """Bend the frame a little, so that no two vertebrae are alike.

    The planes of the endplates stay on average where the chain has them: they are known answers.
    """
    aside, ahead, upwards = (_waves(rng) for _ in range(3))
    bends = [_bend(waves, box.x, box.y, box.z) for waves in (aside, ahead, upwards)]
    half = (body.heights[0] + body.heights[2]) / 4
    share = np.clip(box.z / (2 * half), -0.5, 0.5)
    for sign in (1.0, -1.0):
        at, to_right, forwards = _plate_bend(upwards, body.size, sign * half)
        bends[2] -= (0.5 + sign * share) * (at + to_right * box.x + forwards * box.y)
    x, y, z = (axis + bend for axis, bend in zip((box.x, box.y, box.z), bends, strict=True))
    return Box(box.slices, x, y, z, box.matrix, box.offset)


def _plate_bend(waves: list[tuple[Array, float, float]], size: Size, height: float) -> Array:
    """Return the plane a + b·x + c·y that waves add on average to an endplate."""
    grid = np.linspace(-0.9, 0.9, 13, dtype=np.float32)
    u, v = (a.ravel() for a in np.meshgrid(grid, grid))
    inside = u * u + v * v < 0.81
    x, y = u[inside] * size.width / 2, v[inside] * size.depth / 2
    terms = np.stack([np.ones_like(x), x, y], axis=1)
    bend = _bend(waves, x, y, np.full_like(x, height))
    return np.asarray(np.linalg.lstsq(terms, bend, rcond=None)[0], dtype=np.float32)


def body_distance(whole: Box, body: Body, worn: float, rng: np.random.Generator) -> Array:
    """Body with a waist, a flat back and concave endplates; osteophytes where ``worn`` is high."""
    half_w, half_d = body.size.width / 2, body.size.depth / 2
    front, middle, back = body.heights
    reach = np.array([1.25 * half_w, 1.25 * half_d, max(front, middle, back) / 2]) + SKIRT_MM
    near = whole.part(-reach, reach)
    box = Box(near, whole.x[near], whole.y[near], whole.z[near], whole.matrix, whole.offset)
    u = box.y / half_d
    height = middle + u * (front - back) / 2 + u * u * ((front + back) / 2 - middle)
    height = np.maximum(height, 3.0)
    rise = np.clip(np.abs(box.z) / (height / 2), 0, 1.3)
    # A waist, and endplates that stand out over it.
    waist = rng.uniform(0.05, 0.17)
    spread = 1.0 + 0.35 * waist - waist * (1.0 - rise * rise)
    lips = _lips(box, rise, worn, rng)
    power = rng.uniform(2.1, 2.7)
    reach = (np.abs(box.x) / half_w) ** power + (np.abs(box.y) / half_d) ** power
    flat = reach ** (1.0 / power)
    rho = flat / (spread + lips)
    side = (rho - 1.0) * min(half_w, half_d)
    hollow = rng.uniform(0.5, 2.2)
    wall = -half_d * 0.93 + hollow * np.clip(1.0 - (box.x / (0.55 * half_w)) ** 2, 0, 1)
    side = smooth_max(side, wall - box.y, 2.0)
    dish = rng.uniform(0.3, 2.4) * (0.5 if body.name[0] == "C" else 1.0)
    # Midway between the walls as drawn: then the rims lie in the plane that is the known answer.
    y0 = -half_d * 0.93 + 0.6 * hollow
    v = (2 * box.y - half_d - y0) / (half_d - y0)
    ring = ((np.abs(box.x) / half_w) ** power + np.abs(v) ** power) ** (1.0 / power)
    plate = np.abs(box.z) - height / 2
    plate = plate + dish * np.clip(1.0 - (ring / (spread + lips)) ** 2, 0, 1)
    # Beaks reach past the endplate towards the neighbour.
    plate = plate - 0.6 * half_d * lips * np.clip((flat - 0.8) / 0.2, 0, 1)
    plate = plate + _nodes(box, body, worn, rng)
    distance = np.full(whole.x.shape, FAR_MM, dtype=np.float32)
    distance[near] = np.minimum(smooth_max(side, plate, 2.0), FAR_MM)
    return distance


def _lips(box: Box, rise: Array, worn: float, rng: np.random.Generator) -> Array:
    """How far osteophytes widen the body, as a share of its half-width: beaks at the two rims."""
    most, turns = worn * rng.uniform(0, 0.3, 2), rng.integers(1, 4, 2)
    phases = rng.uniform(0, 2 * np.pi, 2)
    if most.max() < 0.01:
        return np.zeros_like(rise)
    angle = np.arctan2(box.y, box.x)
    rim = np.clip((rise - 0.35) / 0.65, 0, 1.1) ** 2.5
    swell = [
        np.float32(m) * (0.5 + 0.5 * np.cos(angle * n + np.float32(p)))
        for m, n, p in zip(most, turns, phases, strict=True)
    ]
    return np.asarray(rim * np.where(box.z > 0, swell[0], swell[1]), dtype=np.float32)


def _nodes(box: Box, body: Body, worn: float, rng: np.random.Generator) -> Array | float:
    """Depth (mm) of Schmorl's nodes: where a disc has sunk into an endplate."""
    chance, places = rng.random(2), rng.uniform(-0.5, 0.5, (2, 2))
    radii, depths = rng.uniform(2.5, 6.0, 2), rng.uniform(1.5, 6.0, 2)
    if body.name[0] == "C" and body.name != "C7":
        return 0.0
    total: Array | float = 0.0
    for node in body.nodes:
        place = node.x * body.size.width, node.y * body.size.depth
        total = total + _node(box, 1.0 if node.upper else -1.0, place, node.radius, node.depth)
    for n, end in enumerate((1.0, -1.0)):
        if chance[n] > 0.04 + 0.22 * worn:
            continue
        x, y = places[n] * (body.size.width, body.size.depth)
        deep = min(depths[n], 0.22 * min(body.heights))
        total = total + _node(box, end, (x, y), radii[n], deep)
    return total


def _node(box: Box, end: float, place: tuple[float, float], radius: float, deep: float) -> Array:
    """Depth (mm) of one node, in the upper (``end`` 1) or lower (-1) endplate."""
    x, y = place
    away = ((box.x - np.float32(x)) ** 2 + (box.y - np.float32(y)) ** 2) / radius**2
    return np.where(end * box.z > 0, np.float32(deep) * np.exp(-away * away), 0)


def _atlas(box: Box, body: Body) -> Parts:
    """C1: a ring of two arches and two lateral masses round the dens; it has no body."""
    k = body.size.transverse / 76.0
    parts: Parts = []
    arch = np.minimum(
        strut(box, (-15 * k, 4, 0), (0, 10 * k, 0), (3, 4.5), (3, 5.5)),
        strut(box, (15 * k, 4, 0), (0, 10 * k, 0), (3, 4.5), (3, 5.5)),
    )
    for side, code, _, _ in SIDES:
        s = side * k
        arch = np.minimum(arch, ellipsoid(box, (19 * s, -3, 0), (7.5 * k, 9.5, 8.5)))
        arch = np.minimum(
            arch, strut(box, (20 * s, -11, 0), (13 * s, -26 * k, 0), (3, 4.5), (3, 4.5))
        )
        arch = np.minimum(
            arch, strut(box, (13 * s, -26 * k, 0), (0, -32 * k, 0), (3, 4.5), (3.5, 5))
        )
        wing = strut(box, (22 * s, -4, 0), (36 * s, -6, -2), (4.5, 4), (4, 4))
        hole = np.sqrt((box.x - 28 * s) ** 2 + (box.y + 5) ** 2) - 3.0
        parts.append((code, np.maximum(wing, -hole)))
    parts.append((SubRegion.ARCH, arch))
    return parts


def _cervical(box: Box, body: Body) -> Parts:
    """Posterior parts of C2–C7: pillars with oblique facets, transverse foramina, forked tip."""
    size = body.size
    yb, cd = -size.depth / 2 * 0.93, size.canal[1]
    h = min(size.height, 13.0)
    zc = 0.0 if size.name != "C2" else -size.height / 2 + h / 2
    parts: Parts = []
    arches = []
    for side in SIDES:
        arch, rest = _cervical_side(box, size, side, zc)
        arches.append(arch)
        parts += rest
    tip_y = yb - size.reach
    tip_z = zc - 3 - np.tan(np.radians(size.droop)) * (size.reach - cd)
    fork = 0.0 if size.name == "C7" else 4.0
    thick = 4.5 if size.name in ("C2", "C7") else 3.5
    base = (0, yb - cd - 2, zc - 2)
    spine = strut(box, base, (-fork, tip_y, tip_z), (3.5, 6), (2.8, thick))
    if fork:
        other = strut(box, base, (fork, tip_y, tip_z), (3.5, 6), (2.8, thick))
        spine = np.minimum(spine, other)
    parts.append((SubRegion.SPINOUS, spine))
    if size.name == "C2":
        foot, tip = (0, 0, size.height / 2 - 4), (0, -1, size.height / 2 + 13)
        parts.append((SubRegion.BODY, strut(box, foot, tip, (6, 6), (5, 5))))
    parts.append((SubRegion.ARCH, np.minimum(*arches)))
    return parts


def _cervical_side(box: Box, size: Size, side: Side, zc: float) -> tuple[Array, Parts]:
    """One side of C2–C7: pedicle with lamina, and its processes."""
    s, transverse, upper, lower = side
    half_w, yb = size.width / 2, -size.depth / 2 * 0.93
    cw, cd = size.canal
    top = size.height / 2 if size.name != "C2" else 2.0
    h = min(size.height, 13.0)
    px, py = cw / 2 + 4.5, yb - cd * 0.38
    pedicle = strut(
        box, (s * half_w * 0.7, yb + 4, zc), (s * px, py, zc),
        (size.pedicle[0] / 2, size.pedicle[1] / 2), (size.pedicle[0] / 2, size.pedicle[1] / 2),
    )  # fmt: skip
    lamina = strut(
        box, (s * px, py - 3, zc - 1), (0, yb - cd - 2.5, zc - 2), (2.6, h * 0.45), (3, h * 0.5)
    )
    bar = strut(
        box, (s * half_w * 0.85, yb + size.depth * 0.35, zc - 1),
        (s * size.transverse / 2, yb + 1, zc - 3), (5.5, 3.5), (4.5, 3.0),
    )  # fmt: skip
    hole = np.sqrt((box.x - s * (half_w + 4.2)) ** 2 + (box.y - yb - 4.5) ** 2) - 2.7
    parts: Parts = [(transverse, np.maximum(bar, -hole))]
    up = 7.0 if size.name != "C2" else 3.0
    facet = strut(box, (s * px, py, zc), (s * px, py + 2, zc + up), (5.5, 5), (5.5, 4))
    parts.append((upper, facet))
    facet = strut(box, (s * px, py - 1, zc), (s * px, py - 5, zc - 8), (5.5, 5), (5.5, 3.5))
    parts.append((lower, facet))
    if size.name != "C2":
        foot, tip = (s * half_w * 0.85, -1, top - 2), (s * half_w * 0.95, -2, top + 3)
        parts.append((SubRegion.BODY, strut(box, foot, tip, (2, 5), (1.5, 4))))
    return np.minimum(pedicle, lamina), parts


def _thoracolumbar(box: Box, body: Body, bulk: float) -> Parts:
    """Posterior parts of T1–L6; ``bulk`` is 0, or up to 1 where wear has made them heavy."""
    size = body.size
    lumbar = size.name[0] == "L"
    yb = -size.depth / 2 * 0.93
    h = size.height
    cw, cd = size.canal
    pw, ph = size.pedicle
    px = cw / 2 + pw * 0.48
    pz = min(body.heights[2], h) / 2 - ph / 2 - (0.5 if lumbar else 1.0)
    processes = _lumbar_processes if lumbar else _thoracic_processes
    parts: Parts = []
    arches = []
    for side in SIDES:
        s = side[0]
        joint = (s * (px + 1), yb - cd * 0.6, pz)
        pedicle = strut(box, (s * px, yb + 4, pz), joint, (pw / 2, ph / 2), (pw / 2, ph / 2 * 0.9))
        lamina = strut(
            box, (s * (cw / 2 + 2.0), yb - cd * 0.62, pz - h * 0.22), (0, yb - cd - 3.0, -h * 0.28),
            (3.4, h * (0.36 if lumbar else 0.48)), (3.2, h * (0.42 if lumbar else 0.52)),
        )  # fmt: skip
        arches.append(np.minimum(pedicle, lamina))
        parts += processes(box, body, side, px, pz, 1.0 + 0.4 * bulk)
    base = (0.0, yb - cd - 3.5, -h * 0.25)
    fall = min(np.tan(np.radians(size.droop)) * (size.reach - cd), 33.0)
    tip = (0.0, yb - size.reach, -h * 0.25 - fall)
    high = 1.0 + (0.45 if lumbar else 0.2) * bulk
    radii = ((4.0, 8.5), (3.8, 9.5)) if lumbar else ((3.8, 6.5), (3.2, 4.2))
    root, end = ((a * (1 + 0.3 * bulk), b * high) for a, b in radii)
    parts.append((SubRegion.SPINOUS, strut(box, base, tip, root, end)))
    parts.append((SubRegion.ARCH, np.minimum(*arches)))
    return parts


def _lumbar_processes(box: Box, body: Body, side: Side, px: float, pz: float, fat: float) -> Parts:
    """Costal and articular processes of one side of L1–L6; the pedicle is at ``px``, ``pz``.

    ``fat`` is how much thicker the joints are than in youth.
    """
    s, transverse, upper, lower = side
    size, gap = body.size, body.disc
    yb, h = -size.depth / 2 * 0.93, size.height
    cw, cd = size.canal
    bar = strut(
        box, (s * (px + size.pedicle[0] * 0.3), yb - 5, pz - 1),
        (s * size.transverse / 2, yb - 9, pz + 1), (3.6, 6.0), (2.6, 4.5),
    )  # fmt: skip
    up_from = (s * (cw / 2 + 4.5), yb - cd * 0.62, pz)
    up_to = (s * (cw / 2 + 6.5), yb - cd * 0.78, h / 2 + gap * 0.5 + 6)
    down_from = (s * (cw / 2), yb - cd - 1.5, -h * 0.25)
    down_to = (s * (cw / 2 + 0.5), yb - cd - 3.0, -h / 2 - gap * 0.5 - 6.5)
    return [
        (transverse, bar),
        (upper, strut(box, up_from, up_to, (5.5 * fat, 5.0), (4.5 * fat, 6.0 * fat), FORWARDS)),
        (lower, strut(box, down_from, down_to, (5.5 * fat, 5.0), (4.5 * fat, 5.0 * fat), FORWARDS)),
    ]


def _thoracic_processes(
    box: Box, body: Body, side: Side, px: float, pz: float, fat: float
) -> Parts:
    """Transverse and articular processes of one side of T1–T13."""
    s, transverse, upper, lower = side
    size, gap = body.size, body.disc
    yb, h = -size.depth / 2 * 0.93, size.height
    cw, cd = size.canal
    n = int(size.name[1:])
    bar = strut(
        box, (s * (px + 2), yb - cd * 0.7, pz - 1),
        (s * size.transverse / 2, yb - cd * 0.75 - (11 if n <= 10 else 6),
         pz + (5.0 if n <= 10 else 2.0)),
        (5.0, 6.0), (4.8, 5.8),
    )  # fmt: skip
    up_from = (s * (cw / 2 + 3.5), yb - cd * 0.66, pz)
    up_to = (s * (cw / 2 + 3), yb - cd * 0.62, h / 2 + gap + 4)
    down_from = (s * (cw / 2 + 1), yb - cd - 0.5, -h * 0.3)
    down_to = (s * (cw / 2 + 0.5), yb - cd - 1.0, -h / 2 - gap - 3.5)
    return [
        (transverse, bar),
        (upper, strut(box, up_from, up_to, (5.0 * fat, 3.6), (4.8, 2.8 * fat), FORWARDS)),
        (lower, strut(box, down_from, down_to, (5.2 * fat, 3.6), (4.8, 2.8 * fat), FORWARDS)),
    ]


def draw_vertebra(canvas: Canvas, body: Body, worn: float, rng: np.random.Generator) -> None:
    """Draw one vertebra with its VerSe id, sub-regions and depth.

    ``worn`` is 0 (young) to 1 (severe osteophytes). All random numbers come from ``rng`` alone, in
    the same number whatever part of the vertebra lies on the canvas.
    """
    size = body.size
    side = size.transverse / 2 + 8
    low = np.array([-side, -size.depth / 2 - size.reach - 9, -size.height / 2 - 42])
    high = np.array([side, size.depth / 2 + 9, size.height / 2 + 24])
    box = canvas.box(body.centre, body.rotation, low, high)
    seed = int(rng.integers(2**31))
    if box is None:
        return
    local = np.random.default_rng(seed)
    box = _warp(box, body, local)
    if size.name == "C1":
        parts = _atlas(box, body)
    else:
        bulk = worn * float(local.uniform(0, 1))
        neck = size.name[0] == "C"
        back = _cervical(box, body) if neck else _thoracolumbar(box, body, bulk)
        parts = [(int(SubRegion.BODY), body_distance(box, body, worn, local)), *back]
    distance = parts[0][1]
    code = np.full(distance.shape, parts[0][0], dtype=np.uint8)
    for part, other in parts[1:]:
        nearer = other < distance
        code[nearer] = part
        distance = np.minimum(distance, other)
    if size.name != "C1":
        canal = canal_rho(box, body)
        # The canal is carved out of everything behind the body, never out of the body itself.
        behind = code != int(SubRegion.BODY)
        wall = (1.0 - canal) * min(size.canal) / 2
        distance = np.where(behind, np.maximum(distance, wall), distance)
    code[(code == int(SubRegion.BODY)) & (distance > -CORTEX_MM)] = int(SubRegion.BODY_BORDER)
    canvas.draw_bone(box.slices, distance, code, by_name(size.name).verse, grow=MASK_GROW_MM)


def canal_centre_y(body: Body) -> float:
    """Where the canal's middle lies in the vertebra's frame, mm (negative: behind the body)."""
    if body.name == "C1":
        return -12.0
    return -body.size.depth / 2 * 0.93 - body.size.canal[1] / 2


def canal_rho(box: Box, body: Body) -> Array:
    """Elliptic radius about the canal: 1 on its wall, less inside; its shape is ``box.x``'s."""
    cw, cd = body.size.canal
    y = box.y - canal_centre_y(body)
    return np.asarray(np.sqrt((box.x / (cw / 2)) ** 2 + (y / (cd / 2)) ** 2))
