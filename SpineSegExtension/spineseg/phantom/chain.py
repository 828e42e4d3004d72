"""The spine as a chain of frames: where every vertebra lies and how it is turned.

Frames are RAS mm: x to the right, y forwards, z upwards, origin in the middle of the body.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .morphometry import SIZES, Size
from .settings import Fracture, Mimic, PhantomSettings

Array = npt.NDArray[Any]
CERVICAL = [f"C{n}" for n in range(1, 8)]
THORACIC = [f"T{n}" for n in range(1, 13)]
LUMBAR = [f"L{n}" for n in range(1, 6)]
#: Share of the kyphosis below T1 … T13: most of it lies above T9, as in CTs (docs/phantom.md).
_KYPHOSIS = np.exp(-(((np.arange(1, 14) - 5.8) / 4.0) ** 2)) / 6.8
#: Share of a disc's height that is left between fused vertebrae.
_FUSED_DISC = 0.3


@dataclass(frozen=True)
class Node:
    """A Schmorl's node: its place on an endplate, shares of width and depth, and sizes in mm."""

    upper: bool
    x: float
    y: float
    radius: float
    depth: float


@dataclass(frozen=True)
class Body:
    """One vertebra of the chain.

    ``heights`` are the body heights in front, in the middle and behind (mm); ``rotation`` has the
    frame's axes in its columns; ``disc`` is the height of
    the disc below; ``nodes`` are those that were asked for, besides what wear draws
    """

    size: Size
    centre: Array
    rotation: Array
    heights: tuple[float, float, float]
    disc: float
    nodes: tuple[Node, ...] = ()

    @property
    def name(self) -> str:
        return self.size.name

    def endplate(self, upper: bool) -> tuple[Array, Array]:
        """Centre (RAS mm) and upward unit normal of an endplate's plane."""
        front, _, back = self.heights
        tilt = np.arctan2((front - back) / 2.0, self.size.depth)
        sign = 1.0 if upper else -1.0
        centre = self.centre + self.rotation[:, 2] * sign * (front + back) / 4.0
        normal = self.rotation @ np.array([0.0, -np.sin(tilt) * sign, np.cos(tilt)])
        return centre, normal


@dataclass(frozen=True)
class Chain:
    """The vertebrae from the top, and the frame of the sacrum's upper endplate."""

    bodies: tuple[Body, ...]
    sacrum_centre: Array
    sacrum_rotation: Array
    scale: float

    def index(self, name: str) -> int:
        """Where a level stands in the chain; raises InputError when it isn't there."""
        for n, body in enumerate(self.bodies):
            if body.name == name:
                return n
        raise InputError(
            f"This spine has no {name}.", f"It has {', '.join(b.name for b in self.bodies)}."
        )


def level_names(settings: PhantomSettings) -> list[str]:
    """Levels of the patient from the top."""
    thoracic = [*THORACIC, "T13"] if settings.t13 else THORACIC
    if settings.thoracic_11:
        thoracic = THORACIC[:-1]
    lumbar = [*LUMBAR, "L6"] if settings.l6 else LUMBAR
    return [*CERVICAL, *thoracic, *lumbar]


def _rotation(pitch: float, roll: float, turn: float) -> Array:
    """Frame of a vertebra: ``pitch`` forwards, ``roll`` to the right, ``turn`` to the left.

    All in radians.
    """
    cp, sp, cr, sr, ct, st = (f(a) for a in (pitch, roll, turn) for f in (np.cos, np.sin))
    forwards = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    sidewards = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    about = np.array([[ct, -st, 0], [st, ct, 0], [0, 0, 1]])
    return np.asarray(sidewards @ forwards @ about)


def _pitches(names: list[str], settings: PhantomSettings, rng: np.random.Generator) -> Array:
    """Sagittal tilt of every vertebra and of S1, radians, positive forwards."""
    kyphosis = settings.kyphosis_deg
    kyphosis = float(np.clip(rng.normal(40, 13), 8, 95)) if kyphosis is None else kyphosis
    lordosis = settings.lordosis_deg
    lordosis = float(np.clip(rng.normal(50, 18), 8, 88)) if lordosis is None else lordosis
    cervical = float(rng.normal(20, 24))
    steps = []
    for name in names:
        # Bend of the motion segment below this vertebra: > 0 is lordotic (upper tilts backwards).
        if name.startswith("C"):
            steps.append(cervical / 7.0)
        elif name.startswith("T"):
            steps.append(-kyphosis * _KYPHOSIS[int(name[1:]) - 1])
        else:
            n = int(name[1:])
            steps.append(lordosis * (0.08, 0.12, 0.17, 0.25, 0.38, 0.20)[n - 1])
    bends = np.radians(np.asarray(steps) + rng.normal(0, 1.2, len(steps)))
    pitch = np.zeros(len(names) + 1)
    for n in range(len(names) - 1, -1, -1):
        pitch[n] = pitch[n + 1] - bends[n]
    return np.asarray(pitch - pitch[:-1].mean() + np.radians(rng.normal(0, 5)))


def _rolls(
    names: list[str], cobb: float, bodies: int, rng: np.random.Generator
) -> tuple[Array, float]:
    """Coronal tilts (radians, positive to the right) and the apex's place in the chain."""
    index = np.arange(bodies + 1, dtype=float)
    apex = float(rng.choice([names.index("T8"), names.index("T9"), names.index("L1")]))
    apex += rng.uniform(-1, 1)
    half = rng.uniform(3.0, 4.5)
    side = rng.choice([-1.0, 1.0])
    # The tilt runs through a full swing between the end vertebrae and eases off outside of them,
    # which makes the compensatory curves above and below.
    swing = np.clip((index - apex) / half, -1, 1)
    ease = np.exp(-np.maximum(np.abs(index - apex) - half, 0) / rng.uniform(1.8, 3.0))
    roll = side * np.radians(cobb) / 2 * np.sin(np.pi / 2 * swing) * ease
    roll += np.radians(rng.normal(0, 0.8, bodies + 1)) + np.radians(rng.normal(0, 1.5))
    return roll, apex


def _heights(size: Size, fracture: Fracture | None, rng: np.random.Generator) -> tuple[float, ...]:
    """Front, middle and back heights in mm."""
    h = size.height
    # Slightly wedged to the back in the thorax, to the front at L5 (Panjabi 1991, 1992).
    front = h * (
        0.95 if size.name in ("T11", "T12", "L1") else 0.97 if size.name[0] == "T" else 1.0
    )
    front = h * 1.10 if size.name in ("L5", "L6") else front
    middle = (front + h) / 2
    front, middle, back = (v * rng.normal(1.0, 0.02) for v in (front, middle, h))
    if fracture is not None:
        front, middle, back = (
            v * kept for v, kept in zip((front, middle, back), fracture.kept, strict=True)
        )
    return front, middle, back


def _as_mimic(heights: tuple[float, ...], mimic: Mimic | None) -> tuple[float, float, float]:
    """Front, middle and back heights of a vertebra that looks fractured and is not."""
    front, middle, back = heights
    if mimic is None or mimic.kind == "schmorl":
        return front, middle, back
    keep = 1.0 - mimic.amount
    if mimic.kind == "short":
        return front * keep, middle * keep, back * keep
    return front * keep, middle * (1.0 + keep) / 2, back


def _nodes(mimic: Mimic | None, rng: np.random.Generator) -> tuple[Node, ...]:
    """Schmorl's node of a mimic: one, or small ones in both endplates of Scheuermann's disease."""
    if mimic is None or mimic.kind not in ("schmorl", "scheuermann"):
        return ()
    first = bool(rng.random() < 0.5)
    alone = mimic.kind == "schmorl"
    return tuple(
        Node(
            upper=upper,
            x=float(rng.uniform(-0.2, 0.2)),
            y=float(rng.uniform(-0.2, 0.25)),
            radius=float(rng.uniform(3.5, 6.0)),
            depth=mimic.amount if alone else float(rng.uniform(1.5, 4.0)),
        )
        for upper in ((first,) if alone else (first, not first))
    )


def _slips(names: list[str], worn: float, fixed: set[str], rng: np.random.Generator) -> Array:
    """How far each vertebra has slipped on the one below, mm, forwards > 0: now and then one has.

    ``fixed`` are levels that can't.
    """
    slips = np.zeros(len(names))
    often, place, forwards = rng.random(), rng.choice([2, 3, 4], p=[0.2, 0.5, 0.3]), rng.random()
    far = float(rng.uniform(2.5, 9.0)) if forwards < 0.7 else -float(rng.uniform(2.0, 5.0))
    level = f"L{place + 1}"
    if often < 0.03 + 0.15 * worn and level not in fixed:
        slips[names.index(level)] = far
    return slips


def build_chain(settings: PhantomSettings, rng: np.random.Generator) -> Chain:
    """Stack the vertebrae from the sacrum upwards.

    Raises
    ------
    InputError : a fracture, lesion, mimic or fusion names a level that this patient does not have,
        or a fusion one that has no vertebra below it.
    """
    names = level_names(settings)
    asked = [*settings.levels, *settings.metal]
    asked += [f.level for f in settings.fractures] + [lesion.level for lesion in settings.lesions]
    asked += [fusion.level for fusion in settings.fusions]
    asked += [mimic.level for mimic in settings.mimics]
    for level in asked:
        if level not in names:
            raise InputError(f"This patient has no {level}.", f"Choose among {', '.join(names)}.")
    fused = {fusion.level for fusion in settings.fusions}
    if names[-1] in fused:
        raise InputError(
            f"{names[-1]} has no vertebra below it.", "To fuse L5 with the sacrum, sacralise it."
        )
    fractures = {f.level: f for f in settings.fractures}
    mimics = {m.level: m for m in settings.mimics}
    scale = float(np.clip(rng.normal(0.99, 0.08), 0.78, 1.2))
    slim = float(np.clip(rng.normal(1.0, 0.04), 0.9, 1.1))
    worn = settings.degeneration if settings.degeneration is not None else float(rng.beta(1.2, 2.5))
    cobb = settings.cobb_deg
    if cobb is None:
        cobb = float(rng.choice([rng.uniform(2, 12), rng.uniform(12, 30), rng.uniform(30, 75)],
                                p=[0.6, 0.25, 0.15]))  # fmt: skip
    pitch = _pitches(names, settings, rng)
    roll, apex = _rolls(names, cobb, len(names), rng)
    index = np.arange(len(names) + 1)
    turn = -np.sign(roll[-1] - roll[0] + 1e-9) * np.radians(cobb) * 0.35 * np.exp(
        -(((index - apex) / 4.0) ** 2)
    ) + np.radians(rng.normal(0, 1.5, len(names) + 1))
    rotations = [_rotation(p, r, t) for p, r, t in zip(pitch, roll, turn, strict=True)]
    fixed = fused | ({names[-1]} if settings.sacralised_l5 else set())
    # Numbers of its own: what else the seed draws stays as it was.
    slips = _slips(names, worn, fixed, rng.spawn(1)[0])
    sinking = rng.spawn(1)[0]
    bodies: list[Body] = []
    top = np.zeros(3)
    sacrum = rotations[-1]
    normal_below = sacrum[:, 2]
    for n in range(len(names) - 1, -1, -1):
        s = SIZES[names[n]]
        jitter = rng.normal(1.0, 0.025, 5)
        wear = 1.0 - worn * rng.uniform(0.1, 0.75) * (names[n][0] != "C" or rng.random() < 0.7)
        size = replace(
            s,
            width=s.width * scale * slim * jitter[0],
            depth=s.depth * scale * slim * jitter[1],
            height=s.height * scale * jitter[2],
            canal=(s.canal[0] * (0.4 + 0.6 * scale), s.canal[1] * (0.4 + 0.6 * scale)),
            pedicle=(s.pedicle[0] * scale * jitter[3], s.pedicle[1] * scale),
            transverse=s.transverse * scale * jitter[4],
            reach=s.reach * scale * rng.normal(1.0, 0.05),
            droop=s.droop + rng.normal(0, 4),
        )
        disc = size.disc * scale * wear * rng.normal(1.0, 0.08)
        if names[n] == names[-1] and settings.sacralised_l5:
            disc = 1.0
        elif names[n] in fused:
            disc *= _FUSED_DISC
        mimic = mimics.get(names[n])
        front, middle, back = _as_mimic(_heights(size, fractures.get(names[n]), rng), mimic)
        axis = rotations[n][:, 2]
        centre = top + disc / 2 * (normal_below + axis) + axis * (front + back) / 4
        centre = centre + rotations[n][:, 1] * slips[n]
        nodes = _nodes(mimic, sinking)
        bodies.append(Body(size, centre, rotations[n], (front, middle, back), disc, nodes))
        top = centre + axis * (front + back) / 4
        normal_below = axis
    return Chain(tuple(bodies[::-1]), np.zeros(3), sacrum, scale)
