"""Where the chest and the body's outline lie round a given spine, in RAS mm.

Everything here depends on the chain alone, so that the skeleton and the soft tissue, which have
random numbers of their own, agree about the chest wall. Rib cage sizes are an ordinary adult's, set
by hand: they are not measured ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .chain import Body, Chain

Array = npt.NDArray[Any]

# Per rib: half-width of the chest, its front before the body's centre, how far the front end lies
# below the back (mm), and where the bony rib ends (degrees round the chest from the back).
_RIBS = {
    "T1": (50, 46, 26, 125), "T2": (72, 62, 42, 132), "T3": (92, 77, 56, 136),
    "T4": (106, 90, 68, 138), "T5": (116, 101, 78, 138), "T6": (123, 110, 85, 136),
    "T7": (127, 117, 90, 134), "T8": (129, 121, 92, 128), "T9": (130, 122, 90, 122),
    "T10": (129, 119, 84, 112), "T11": (122, 112, 70, 82), "T12": (110, 102, 50, 50),
    "T13": (95, 95, 30, 36), "L1": (95, 95, 30, 36),
}  # fmt: skip


@dataclass(frozen=True)
class Rib:
    """One rib: ``points`` (N, 3) RAS mm from its head; ``front`` where its cartilage would end."""

    name: str
    side: float
    points: Array
    front: Array


@dataclass(frozen=True)
class Arm:
    """One arm: shoulder socket, centre of the humeral head, elbow and hand, RAS mm.

    An arm that is ``up`` is drawn as far as the elbow, and has no ``hand``.
    """

    side: float
    socket: Array
    head: Array
    elbow: Array
    up: bool
    hand: Array | None = None


@dataclass(frozen=True)
class Shape:
    """The patient's build.

    Attributes
    ----------
    z, centre : (N,) and (N, 3), heights (ascending) and the spine's points there
    calm : (N, 2), x and y of the smooth line that organs follow
    ribs : all ribs, whether or not the patient has them all
    wall_z, wall : (M,) and (M, 4): the chest's left, right, back and front by height
    fat : thickness of the fat under the skin, mm
    arms : left and right arm
    """

    chain: Chain
    scale: float
    z: Array
    centre: Array
    calm: Array
    ribs: tuple[Rib, ...]
    wall_z: Array
    wall: Array
    fat: float
    arms: tuple[Arm, Arm]

    def spine(self, z: Array) -> tuple[Array, Array]:
        """x and y of the bodies' centres at heights ``z``."""
        return np.interp(z, self.z, self.centre[:, 0]), np.interp(z, self.z, self.centre[:, 1])

    def line(self, z: Array) -> tuple[Array, Array]:
        """x and y of the line that organs follow at heights ``z``."""
        return np.interp(z, self.z, self.calm[:, 0]), np.interp(z, self.z, self.calm[:, 1])

    def height(self, name: str, shift: float = 0.0) -> float:
        """Height of a level's centre (S1: the endplate), raised by ``shift`` mm of an adult."""
        if name == "S1":
            return float(self.chain.sacrum_centre[2] + shift * self.scale)
        return float(self.body(name).centre[2] + shift * self.scale)

    def body(self, name: str) -> Body:
        """A level's vertebra; T11 stands in for the T12 of a spine that has none."""
        if name == "T12" and all(body.name != name for body in self.chain.bodies):
            name = "T11"
        return self.chain.bodies[self.chain.index(name)]


def rib_of(body: Body, side: float, k: float, wide: float, sway: Array, length: float) -> Rib:
    """A rib's path: neck in the vertebra's frame, then round the chest in an ellipse."""
    *lengths, end = _RIBS[body.name]
    half_width, front, drop = np.array(lengths) * k * np.array([wide, wide, sway[0]])
    size = body.size
    yb = -size.depth / 2 * 0.93
    n = int(body.name[1:]) if body.name[0] == "T" else 13
    pz = size.height / 2 - size.pedicle[1] / 2 - 1.0
    reach = size.transverse / 2
    tip_y = yb - size.canal[1] * 0.75 - (11 if n <= 10 else 6)
    lift = (5.0 if n <= 10 else 2.0) + pz
    low = 0.0 if n < 11 else -6.0
    neck = np.array(
        [
            [size.width / 2 + 4.5, yb + 2.5, size.height / 2 - 1 + low],
            [size.width / 2 * 0.5 + reach * 0.5 + 5, yb * 0.55 + tip_y * 0.45 + 4, lift - 1],
            [reach + 6.0, tip_y + 8.0, lift],
            [reach + 12.0, tip_y - 1.0, lift - 3],
        ]
    )
    neck[:, 0] *= side
    neck = neck @ body.rotation.T + body.centre
    back = tip_y - 17.0 * k
    middle, depth = (front + back) / 2, (front - back) / 2
    first = np.degrees(np.arcsin(min((reach + 24.0) / half_width, 0.9)))
    last = max(first + 6.0, first + (end - first) * length)
    angle = np.radians(np.append(np.linspace(first, last, 13), 172.0))
    # Ribs turn with their vertebra, but less the farther they are from it.
    turn = 0.5 * np.arctan2(body.rotation[1, 0], body.rotation[0, 0])
    x = side * half_width * np.sin(angle)
    y = middle - depth * np.cos(angle)
    fall = np.clip((np.degrees(angle) - first) / (150.0 - first), 0, 1.1)
    roll = np.arctan2(body.rotation[0, 2], body.rotation[2, 2])
    z = neck[-1, 2] - drop * fall - np.sin(roll) * 0.35 * (x - neck[-1, 0] + body.centre[0])
    ring = np.stack(
        [
            body.centre[0] + np.cos(turn) * x - np.sin(turn) * y,
            body.centre[1] + np.sin(turn) * x + np.cos(turn) * y,
            z + sway[1],
        ],
        axis=1,
    )
    return Rib(body.name, side, np.concatenate([neck, ring[:-1]]), ring[-1])


def _wall(ribs: tuple[Rib, ...]) -> tuple[Array, Array]:
    """Left, right, back and front of the chest by height, from the ribs."""
    points = np.concatenate([rib.points[4:] for rib in ribs])
    heights = np.arange(points[:, 2].min(), points[:, 2].max(), 6.0)
    rows = []
    for z in heights:
        near = points[np.abs(points[:, 2] - z) < 16.0]
        rows.append([near[:, 0].min(), near[:, 0].max(), near[:, 1].min(), near[:, 1].max()])
    rows_array = np.array(rows)
    # Heights without a front rib have none in their neighbourhood: run the front on smoothly.
    kernel = np.ones(5) / 5
    padded = np.pad(rows_array, ((2, 2), (0, 0)), mode="edge")
    smooth = np.stack([np.convolve(padded[:, c], kernel, mode="valid") for c in range(4)], axis=1)
    return heights, smooth


def _arm(chain: Chain, wall: Array, side: float, middle: float, pose: str, shift: Array) -> Arm:
    """The shoulder lies outside of the ribs at T2; the arm hangs, or is held up or forwards."""
    up = pose == "up"
    k, t2 = chain.scale, chain.bodies[chain.index("T2")].centre
    out = max(side * (wall[int(side > 0)] - middle) + 45 * k, 140 * k)
    socket = np.array([middle + side * out, t2[1] - 5, t2[2] + (18 if up else -4) * k])
    socket += [0.0, shift[0], shift[1]]
    head = socket + np.array([side * 27, 2, 2]) * k
    way = np.array([side * 0.35, 0.3, 1.0]) if up else np.array([side * 0.08, 0.1, -1.0])
    if pose == "forward":
        way = np.array([side * 0.05, 0.85, -0.45])
    way[:2] += [side * shift[2] * 0.01, shift[2] * 0.02]
    elbow = head + way * 270 * k
    hand = None
    if pose == "down":
        hand = elbow + np.array([side * 12, 30, -240]) * k
    elif pose == "forward":
        hand = elbow + np.array([side * -70, -70 + 4 * shift[0], 200]) * k
    return Arm(side, socket, head, elbow, up, hand)


def body_shape(chain: Chain, arms: str | None = None) -> Shape:
    """The build that goes with a chain; its variation comes from the chain's own numbers.

    ``arms`` is that of `PhantomSettings`.
    """
    # The same spine always gets the same chest: the seed is made of the spine's numbers.
    seed = [int(abs(float(b.size.width)) * 1e6) for b in chain.bodies[::5]]
    rng = np.random.default_rng(seed)
    wide = float(np.clip(rng.normal(1.0, 0.07), 0.85, 1.2))
    fat = float(np.clip(rng.gamma(2.2, 8.0), 3.0, 60.0))
    bodies = chain.bodies[::-1]
    sacrum = chain.sacrum_centre + chain.sacrum_rotation @ np.array([0.0, -6.0, -60.0])
    nodes = np.array([sacrum - [0, 0, 1], chain.sacrum_centre, *(b.centre for b in bodies)])
    z = np.maximum.accumulate(nodes[:, 2] + np.arange(len(nodes)) * 1e-3)
    trunk = nodes[1:-7]
    t = (trunk[:, 2] - trunk[0, 2]) / max(float(np.ptp(trunk[:, 2])), 1.0)
    where = np.clip((z - trunk[0, 2]) / max(float(np.ptp(trunk[:, 2])), 1.0), -0.1, 1.15)
    side = 0.5 * np.polyval(np.polyfit(t, trunk[:, 0], 2), where)
    deep = 0.55 * np.polyval(np.polyfit(t, trunk[:, 1], 3), where)
    calm = np.stack([side + 0.5 * nodes[:, 0], deep + 0.45 * nodes[:, 1]], axis=1)
    ribs = []
    for body in chain.bodies:
        if body.name[0] != "T":
            continue
        short = 1.0 if body.name not in ("T12", "T13") else float(rng.uniform(0.35, 1.5))
        for s in (-1.0, 1.0):
            sway = np.array([rng.normal(1.0, 0.06), rng.normal(0.0, 1.5)])
            length = short * float(rng.normal(1.0, 0.02))
            ribs.append(rib_of(body, s, chain.scale, wide, sway, length))
    wall_z, wall = _wall(tuple(ribs))
    pose, shift = "up" if rng.random() < 0.65 else "down", rng.normal(0, 8, 3)
    pose = arms or pose
    t2 = chain.bodies[chain.index("T2")].centre[2]
    edges = np.array([np.interp(t2 - 20, wall_z, wall[:, c]) for c in range(2)])
    middle = float(np.interp(t2, z, calm[:, 0]))
    left, right = (_arm(chain, edges, s, middle, pose, shift) for s in (-1.0, 1.0))
    both = (left, right)
    return Shape(chain, chain.scale, z, nodes, calm, tuple(ribs), wall_z, wall, fat, both)
