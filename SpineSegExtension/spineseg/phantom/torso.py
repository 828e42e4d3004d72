"""Fills a digital patient with soft tissue: what is not bone, disc or canal.

Every structure is a function of RAS mm about the chain, so a crop shows what the whole body would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .bodyshape import Shape, body_shape
from .canvas import Canvas, strut
from .chain import Chain
from .codes import Tissue
from .organs import draw_organs
from .settings import PhantomSettings
from .softgrid import Soft

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Outline:
    """An ellipse for every voxel row: its middle and half-axes, mm, as (k, 1, 1) float32."""

    x: Array
    y: Array
    a: Array
    b: Array

    def radius(self, soft: Soft, power: float) -> Array:
        """Superelliptic radius to the power ``power``: 1 on the outline, full grid."""
        u = (np.abs(soft.x - self.x) / self.a) ** np.float32(power)
        v = (np.abs(soft.y - self.y) / self.b) ** np.float32(power)
        return np.asarray(u + v)

    def shrunk(self, side: Array | float, back: Array | float, front: Array | float) -> Outline:
        """The outline moved inwards by so many mm."""
        b = self.b - (np.asarray(back) + front) / 2
        y = self.y + (np.asarray(back) - front) / 2
        a = self.a - side
        least = np.float32(4.0)
        return Outline(self.x, *(np.asarray(v, np.float32) for v in
                                 (y, np.maximum(a, least), np.maximum(b, least))))  # fmt: skip


def draw_soft_tissue(
    canvas: Canvas, chain: Chain, rng: np.random.Generator, settings: PhantomSettings
) -> None:
    """Fill every voxel that is still air inside the body, and what lies beside the body.

    To be drawn last. The random numbers used do not depend on what part of the patient lies on the
    canvas.
    """
    seeds = rng.integers(2**31, size=4)
    shape = body_shape(chain, settings.arms)
    soft = Soft(canvas, shape)
    forward = settings.arms == "forward"
    skin = _skin(soft, shape, np.random.default_rng(seeds[0]), 0.65 if forward else 1.0)
    inside = _layers(soft, shape, skin, np.random.default_rng(seeds[1]))
    draw_organs(soft, shape, np.random.default_rng(seeds[2]))
    soft.code[~inside] = Tissue.AIR
    _beside(soft, shape, skin, inside, np.random.default_rng(seeds[3]))
    np.copyto(canvas.tissue, soft.code, where=canvas.tissue == Tissue.AIR)


def _skin(soft: Soft, shape: Shape, rng: np.random.Generator, narrow: float = 1.0) -> Outline:
    """The body's outline at every height, from the spine, the ribs and the fat.

    ``narrow`` scales the shoulders, which go forwards with the arms.
    """
    k, fat = shape.scale, shape.fat
    belly = fat * rng.uniform(0.5, 2.2)
    behind = fat * rng.uniform(0.4, 1.0)
    bust = rng.uniform(0, 22) if rng.random() < 0.5 else 0.0
    shoulder = rng.uniform(0.95, 1.08) * narrow
    at = shape.height
    neck, hip = min(0.35 * fat, 12), 0.9 * fat
    # Height; half-width; back and front before the spine's centre (mm of an adult without fat).
    rows = [
        (at("S1", -420), 176, 98, 105, hip, hip * 0.8, hip * 0.6),
        (at("S1", -90), 176, 112, 104, hip, hip * 0.8, hip * 0.6),
        (at("S1", 10), 158, 98, 112, hip, behind, belly),
        (at("L3"), 138, 84, 108, fat, behind, belly),
        (at("L1"), 140, 78, 118, fat * 0.8, behind, belly * 0.9),
        (at("T10"), 142, 74, 132, fat * 0.5, behind * 0.6, 0.5 * belly),
        (at("T7"), 150, 76, 130, fat * 0.5, behind * 0.5, 0.3 * fat + bust),
        (at("T4"), 168 * shoulder, 82, 112, fat * 0.4, behind * 0.5, 0.3 * fat + bust * 0.4),
        (at("T2"), 190 * shoulder, 84, 84, fat * 0.3, behind * 0.5, 0.3 * fat),
        (at("T1"), 168 * shoulder, 80, 62, fat * 0.3, behind * 0.4, neck),
        (at("C7"), 96, 76, 52, neck, neck, neck),
        (at("C6"), 68, 70, 50, neck, neck, neck),
        (at("C1", -66), 60, 66, 62, neck, neck, neck),
        (at("C1", -52), 64, 66, 104, neck, neck, 4),
        (at("C1", 5), 68, 72, 112, 3, 4, 4),
        (at("C1", 30), 78, 88, 126, 3, 4, 4),
        (at("C1", 100), 84, 84, 128, 3, 4, 4),
        (at("C1", 165), 50, 50, 80, 3, 4, 4),
        (at("C1", 180), 10, 5, 20, 1, 1, 1),
    ]
    table = np.array(sorted((z, w * k + f, b * k + g, h * k + e) for z, w, b, h, f, g, e in rows))
    z = soft.z.ravel()
    half, back, front = (_smooth(z, table[:, 0], table[:, c]) for c in (1, 2, 3))
    x, _ = shape.line(z)
    _, y = shape.spine(z)
    _, calm = shape.line(z)
    # The skin never cuts the chest wall, whatever the spine's curve does.
    wall = np.stack([np.interp(z, shape.wall_z, shape.wall[:, c]) for c in range(4)])
    chest = (z > shape.wall_z[0] + 20) & (z < shape.wall_z[-1] - 20)
    left, right = x - half, x + half
    low, high = np.minimum(y, calm + 25) - back, calm + front
    left = np.where(chest, np.minimum(left, wall[0] - 14 - 0.4 * fat), left)
    right = np.where(chest, np.maximum(right, wall[1] + 14 + 0.4 * fat), right)
    low = np.where(chest, np.minimum(low, wall[2] - 18), low)
    high = np.where(chest, np.maximum(high, wall[3] + 9), high)
    columns = ((left + right) / 2, (low + high) / 2, (right - left) / 2, (high - low) / 2)
    return Outline(*(v.astype(np.float32)[:, None, None] for v in columns))


def _smooth(z: Array, at: Array, value: Array) -> Array:
    """Interpolation with rounded corners."""
    shifts = (-18.0, -9.0, 0.0, 9.0, 18.0)
    return np.asarray(sum(np.interp(z + s, at, value) for s in shifts) / len(shifts))


def _layers(soft: Soft, shape: Shape, skin: Outline, rng: np.random.Generator) -> Array:
    """Skin, fat, muscle wall, the fat of the cavities and the lungs; returns what is body."""
    z, k = soft.z, np.float32(shape.scale)
    lean = rng.uniform(0.6, 1.3)
    fatty = rng.uniform(0.25, 1.35)
    streak_seed, lung_seed = (int(s) for s in rng.integers(2**31, size=2))
    lung_on = {"inhale": float(rng.uniform(-45, 20)), "wet": float(rng.random())}
    outer = skin.radius(soft, 2.4)
    inside = outer < 1.0
    code = soft.code
    code[inside] = Tissue.FAT
    rim = np.float32(2.4) * np.float32(max(2.0, soft.spacing * 0.6)) / np.minimum(skin.a, skin.b)
    code[inside & (outer > 1.0 - rim)] = Tissue.SKIN
    fat_side = _rows(soft, shape, (1.0, 0.85, 0.5, 0.4, 0.3)) * shape.fat + 3
    fat_back = _rows(soft, shape, (0.9, 0.75, 0.5, 0.45, 0.35)) * shape.fat * 0.8 + 4
    fat_front = _rows(soft, shape, (0.7, 0.9, 0.4, 0.3, 0.25)) * shape.fat + 3
    muscle_line = skin.shrunk(fat_side, fat_back, fat_front)
    muscle = muscle_line.radius(soft, 2.3) < 1.0
    code[muscle] = Tissue.MUSCLE
    # Streaks of fat between the muscles, most of them beside the spinous processes.
    xs, ys = (v.astype(np.float32)[:, None, None] for v in shape.spine(z.ravel()))
    streaks = soft.noise(streak_seed, (8.0, 8.0, 30.0))
    near = np.exp(-(((soft.x - xs) / 32) ** 2)) * (soft.y < ys - 14)
    # Where the noise crosses nought there is a sheet; it is thick where the back is fatty.
    sheet = np.float32(0.10 * fatty) + near * np.float32(0.22 * fatty)
    code[muscle & (np.abs(streaks) < sheet)] = Tissue.FAT
    # The abdomen's cavity reaches back to the bodies' middle beside the spine.
    wall = float(16.0 * lean * k)
    depth = skin.y - skin.b
    line = shape.line(z.ravel())[1].astype(np.float32)[:, None, None]
    back = np.maximum(line - depth - 16 * k, 30) - fat_back
    cavity = muscle_line.shrunk(wall * 1.3, back, wall)
    cavity = Outline(cavity.x, cavity.y, cavity.a * 0.98, cavity.b)
    floor, roof = shape.height("S1", -105), shape.height("T11")
    # The pelvic floor is a bowl: no plane runs through the muscles there.
    rho = cavity.radius(soft, 2.2)
    belly = (rho < 1.0) & (z > floor + 45 * k * rho) & (z < roof + 10)
    code[belly] = Tissue.FAT
    soft.belly = belly
    _lungs(soft, shape, lung_seed, lung_on)
    return inside


def _rows(soft: Soft, shape: Shape, values: tuple[float, ...]) -> Array:
    """Values at the hips, L3, T8, T2 and the neck, by height, (k, 1, 1) float32."""
    at = [shape.height("S1", -40), shape.height("L3"), shape.height("T8"), shape.height("T2"),
          shape.height("C5")]  # fmt: skip
    return np.interp(soft.z.ravel(), at, values).astype(np.float32)[:, None, None]


def _lungs(soft: Soft, shape: Shape, seed: int, how: dict[str, float]) -> None:
    """Lungs within the ribs, above the domes, beside the mediastinum and the bodies."""
    z, k = soft.z, np.float32(shape.scale)
    flat = z.ravel()
    low, high = shape.height("L2"), shape.wall_z[-1] - 6 * shape.scale
    rows = np.flatnonzero((flat > low) & (flat < high))
    if len(rows) == 0:
        return
    part = soft.part(slice(int(rows[0]), int(rows[-1]) + 1))
    z, flat = part.z, part.z.ravel()
    wall = np.stack([np.interp(flat, shape.wall_z, shape.wall[:, c]) for c in range(4)])
    xs, ys = (v.astype(np.float32)[:, None, None] for v in shape.spine(flat))
    # Towards the apex the lung narrows into a cap.
    cap = np.sqrt(np.clip((high - flat) / (38.0 * shape.scale), 0.02, 1.0))
    columns = ((wall[0] + wall[1]) / 2, (wall[2] + wall[3]) / 2 - 3,
               (wall[1] - wall[0]) / 2 * cap - 7, (wall[3] - wall[2]) / 2 * cap - 9)  # fmt: skip
    chest = Outline(*(np.maximum(v, 4 if n > 1 else v).astype(np.float32)[:, None, None]
                      for n, v in enumerate(columns)))  # fmt: skip
    rho = chest.radius(part, 2.2)
    inner = rho < 1.0
    top = np.float32(shape.height("T10") + how["inhale"] * 0.6)
    dome = top + np.where(part.x > xs, np.float32(14), np.float32(-4)) * k
    dome = dome + np.where(part.y > ys + 40, np.float32(18), np.float32(-8))
    floor = dome - np.float32(62) * k * np.clip(rho - np.float32(0.08), 0, 1)
    air = inner & (z > floor)
    side = np.abs(part.x - xs)
    # The gutter: the neck of the ribs and the transverse processes stay outside.
    air &= part.y > ys - 6 - np.maximum(0.78 * (side - 15), 0)
    half = np.interp(flat, *_half_widths(shape)).astype(np.float32)[:, None, None]
    air &= side > half + 3
    # Mediastinum: broad in front (heart), narrow before the spine.
    zt, zb = shape.height("T4"), shape.height("T9")
    heart = np.clip((zt - z) / (zt - zb), 0, 1) * np.clip((z - zb + 40) / 40, 0, 1)
    width = (26 + 14 * heart) * k
    middle = xs * 0.7 - 20 * heart * k
    front = np.clip((part.y - ys - 22 * k) / (45 * k), 0, 1)
    air &= np.abs(part.x - middle) > (half + 4) + (width - half) * front
    # The other half of the muscle inside the ribs is mediastinum, organs and the upper abdomen.
    code = part.code
    code[inner & (part.y > ys - 4) & ~air] = Tissue.FAT
    # The liver fills the right dome.
    code[inner & (z < dome) & (part.x > xs + 18) & (part.y > ys - 2) & ~air] = Tissue.ORGAN
    code[air] = Tissue.LUNG
    vessels = part.noise(seed, (4.5, 4.5, 7.0))
    code[air & (vessels > 1.75)] = Tissue.ORGAN
    if how["wet"] < 0.25:
        code[air & (part.y < ys - 10 - 40 * how["wet"]) & (z < dome + 18)] = Tissue.ORGAN


def _half_widths(shape: Shape) -> tuple[Array, Array]:
    """Heights (ascending) and half-widths of the bodies."""
    bodies = shape.chain.bodies[::-1]
    return (
        np.maximum.accumulate(np.array([b.centre[2] for b in bodies])),
        np.array([b.size.width / 2 for b in bodies]),
    )


def _beside(
    soft: Soft, shape: Shape, skin: Outline, inside: Array, rng: np.random.Generator
) -> None:
    """Table, arms beside the body, wires and electrodes."""
    table, wires = rng.random() < 0.6, int(rng.integers(0, 5))
    gap, bow, thick = rng.uniform(2, 25), rng.uniform(600, 2500), rng.uniform(8, 40)
    spots = rng.uniform(size=(5, 3))
    code, air = soft.code, ~inside
    lowest = min(float(shape.wall[:, 2].min()) - 22, -112 * shape.scale) - shape.fat * 0.8
    if table:
        top = np.float32(lowest - gap) + (soft.x * soft.x) / np.float32(2 * bow)
        shell = (soft.y < top) & (soft.y > top - thick) & (np.abs(soft.x) < 235)
        core = (soft.y < top - 3) & (soft.y > top - thick + 3)
        code[air & shell & ~core] = Tissue.TABLE
    _arms(soft, shape, air)
    for n in range(wires):
        zw = shape.height("L3") + spots[n, 0] * (shape.height("C7") - shape.height("L3"))
        row = int(np.rint((zw - float(soft.z.flat[0])) / soft.spacing))
        if not 0 <= row < code.shape[0]:
            continue
        a, b = float(skin.a[row, 0, 0]), float(skin.b[row, 0, 0])
        angle = np.pi * (0.15 + 0.7 * spots[n, 1])
        x = float(skin.x[row, 0, 0]) + (a + 1) * np.cos(angle)
        y = float(skin.y[row, 0, 0]) + (b + 1) * np.sin(angle)
        end = (x + 60 * (spots[n, 2] - 0.5), y + 6.0, zw + 70.0)
        _metal(soft, np.array([x, y, zw]), np.array(end))


def _metal(soft: Soft, a: Array, b: Array) -> None:
    """A wire over the skin; it is metal that lies over no bone, so it goes into the overlay."""
    box = soft.canvas.box(np.zeros(3), np.eye(3), np.minimum(a, b) - 5, np.maximum(a, b) + 5)
    if box is None:
        return
    start, end = ((float(p[0]), float(p[1]), float(p[2])) for p in (a, b))
    wire = strut(box, start, end, (1.0, 1.0), (1.0, 1.0)) < 0
    outside = soft.code[box.slices] == Tissue.AIR
    outside &= soft.canvas.tissue[box.slices] == Tissue.AIR
    soft.canvas.overlay[box.slices][wire & outside] = Tissue.METAL


def _arms(soft: Soft, shape: Shape, air: Array) -> None:
    """Skin, fat and muscle round the humeri; arms that are not up have a forearm too."""
    for arm in shape.arms:
        k = shape.scale * (0.8 if arm.hand is not None and arm.hand[2] > arm.elbow[2] else 1.0)
        _limb(soft, arm.head, arm.elbow, (52 * k, 50 * k), (40 * k, 38 * k), air, 0.0)
        if arm.hand is not None:
            _limb(soft, arm.elbow, arm.hand, (40 * k, 38 * k), (28 * k, 24 * k), air, 9.0)


def _limb(
    soft: Soft,
    a: Array,
    b: Array,
    ra: tuple[float, float],
    rb: tuple[float, float],
    air: Array,
    bone: float,
) -> None:
    """A limb where there is no trunk; ``bone`` is the radius of its bone, 0 for none."""
    box = soft.canvas.box(np.zeros(3), np.eye(3), np.minimum(a, b) - 55, np.maximum(a, b) + 55)
    if box is None:
        return
    start, end = ((float(p[0]), float(p[1]), float(p[2])) for p in (a, b))
    distance = strut(box, start, end, ra, rb, (0.0, 1.0, 0.0))
    part, free = soft.code[box.slices], air[box.slices]
    part[free & (distance < 0)] = Tissue.SKIN
    part[free & (distance < -2)] = Tissue.FAT
    part[free & (distance < -7 - 0.15 * soft.shape.fat)] = Tissue.MUSCLE
    if bone:
        core = strut(box, start, end, (bone, bone), (bone * 0.7, bone * 0.7), (0.0, 1.0, 0.0))
        soft.canvas.draw_bone(box.slices, np.where(free, core, 20.0), Tissue.LIMB)
