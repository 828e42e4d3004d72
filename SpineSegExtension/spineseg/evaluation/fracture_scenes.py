"""Digital patients with fractured vertebrae, and with others that only look so.

Half of the patients have no fracture; of the others' vertebrae 30 % are fractured, so 15 % of all:
wedges, biconcave ones and crushes alike, of the three grades alike. Half of all patients have one
kind of mimic besides. The truth is what was drawn: `Fracture.loss` by Genant's limits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..labels import USUAL_VERTEBRAE
from ..measure.genant import grade_of
from ..phantom.chain import build_chain
from ..phantom.generate import draw, spine_canvas
from ..phantom.render import BODY_CODE, VERTEBRA_CODES, random_scanner, render_ct
from ..phantom.settings import Fracture, Mimic, PhantomSettings
from ..phantom.spine import draw_spine
from ..volume import Volume

__all__ = [
    "FIRST_SEED", "HELD_OUT", "LEARNED", "FractureScene", "disturbed", "drawn_labels",
    "drawn_scan", "fracture_scene", "random_fracture",
]  # fmt: skip

FIRST_SEED, HELD_OUT, LEARNED = 71_000_000, 72_000_000, 73_000_000
"""Of the patients that probabilities are fitted on, of those that they are tested on, and of those
that networks learn from."""

_KINDS = ("wedge", "biconcave", "crush")
_LOSSES = ((0.20, 0.25), (0.25, 0.40), (0.40, 0.60))
_WITH, _SHARE = 0.5, 0.3  # patients with fractures, and their fractured vertebrae
_MIMICS = ("short", "wedging", "scheuermann", "schmorl")
_MIMICKED = 0.5
_JUNCTION = ("T11", "T12", "L1")
_LEAST = 9  # levels shown


@dataclass(frozen=True)
class FractureScene:
    """A digital patient to be drawn.

    Attributes
    ----------
    name : str
    settings : PhantomSettings
    seed : int
    """

    name: str
    settings: PhantomSettings
    seed: int

    def truth(self, level: str) -> tuple[int, str]:
        """Return grade and kind of a level: 0 and "" where it was drawn whole."""
        for fracture in self.settings.fractures:
            if fracture.level == level:
                return grade_of(fracture.loss), fracture.kind
        return 0, ""

    def mimic(self, level: str) -> str:
        """Return the kind of mimic that a level was drawn as, or ""."""
        return next((m.kind for m in self.settings.mimics if m.level == level), "")

    @property
    def fractured(self) -> bool:
        return bool(self.settings.fractures)


def fracture_scene(
    number: int, seed: int = HELD_OUT, ill: float = _WITH, share: float = _SHARE
) -> FractureScene:
    """Choose the `number`-th digital patient of a row that begins with `seed`.

    ``ill`` is the share of patients with fractures, ``share`` that of their vertebrae.
    """
    rng = np.random.default_rng([seed + number, 41])
    names = [level.name for level in USUAL_VERTEBRAE]
    top, bottom = names.index("T1"), names.index("L5")
    first = int(rng.integers(top, bottom - _LEAST + 2))
    last = int(rng.integers(max(first + _LEAST - 1, names.index("L1")), bottom + 1))
    shown = names[first : last + 1]
    graded = [n for n in shown if names.index(n) >= names.index("T4")]
    fractures: list[Fracture] = []
    if rng.random() < ill:
        chosen = [n for n in graded if rng.random() < share] or [str(rng.choice(graded))]
        fractures += [random_fracture(name, rng) for name in chosen]
    whole = [n for n in graded if n not in {f.level for f in fractures}]
    mimics = _mimics(whole, rng) if rng.random() < _MIMICKED else ()
    settings = PhantomSettings(
        spacing_mm=float(rng.choice([1.5, 2.0])),
        levels=(shown[0], shown[-1]),
        fractures=tuple(fractures),
        mimics=mimics,
        margin_mm=(60.0, 70.0, 14.0),
    )
    return FractureScene(f"patient{seed + number}", settings, seed + number)


def random_fracture(level: str, rng: np.random.Generator) -> Fracture:
    """Return a fracture of a level, of any grade and kind alike."""
    low, high = _LOSSES[int(rng.integers(3))]
    kind = _KINDS[int(rng.integers(3))]
    return Fracture(level, kind, round(float(rng.uniform(low, high)), 3))


def _mimics(whole: list[str], rng: np.random.Generator) -> tuple[Mimic, ...]:
    kind = str(rng.choice(_MIMICS))
    if kind == "schmorl":
        count = min(int(rng.integers(1, 4)), len(whole))
        return tuple(
            Mimic(str(name), kind, round(float(rng.uniform(2.5, 6.0)), 2))
            for name in rng.choice(whole, count, replace=False)
        )
    order = [level.name for level in USUAL_VERTEBRAE]
    length = int(rng.integers(3, 6)) if kind == "scheuermann" else int(rng.integers(2, 4))
    rows = [order[n : n + length] for n in range(len(order) - length + 1)]
    rows = [row for row in rows if set(row) <= set(whole)]
    if kind == "wedging":
        rows = [row for row in rows if set(row) & set(_JUNCTION)] or rows
    if kind == "scheuermann":
        rows = [row for row in rows if row[0][0] == "T"] or rows
    if not rows:
        return ()
    row = rows[int(rng.integers(len(rows)))]
    low, high = {"short": (0.08, 0.18), "wedging": (0.05, 0.15), "scheuermann": (0.08, 0.18)}[kind]
    return tuple(Mimic(name, kind, round(float(rng.uniform(low, high)), 3)) for name in row)


def drawn_scan(scene: FractureScene) -> tuple[Volume, Volume, Volume]:
    """Return a patient's CT (int16, HU), label map and what of it are bodies (uint8, 0 or 1).

    The same patient as `drawn_labels`, by a scanner that the seed chooses.
    """
    settings = scene.settings
    chain = build_chain(settings, np.random.default_rng([scene.seed, 1]))
    canvas = spine_canvas(chain, settings)
    draw(canvas, chain, settings, scene.seed)
    rng = np.random.default_rng([scene.seed, 43])
    scanner = random_scanner(rng, settings.osteoporosis)
    hu = render_ct(canvas.tissue, canvas.depth, canvas.overlay, canvas.spacing, scanner, rng)
    body = (canvas.ids > 0) & (canvas.tissue >= BODY_CODE) & (canvas.tissue <= VERTEBRA_CODES[1])
    return (
        Volume(np.rint(hu).astype(np.int16), canvas.affine),
        Volume(canvas.ids, canvas.affine),
        Volume(body.astype(np.uint8), canvas.affine),
    )


def drawn_labels(scene: FractureScene) -> Volume:
    """Return a patient's label map, as `spineseg.phantom.generate` draws it."""
    settings = scene.settings
    chain = build_chain(settings, np.random.default_rng([scene.seed, 1]))
    canvas = spine_canvas(chain, settings)
    spine, _, _, worn = np.random.SeedSequence(scene.seed).spawn(4)
    wear = settings.degeneration
    if wear is None:
        wear = float(np.random.default_rng(worn).beta(1.0, 1.8))
    draw_spine(canvas, chain, settings, wear, np.random.default_rng(spine))
    return Volume(canvas.ids, canvas.affine)


def disturbed(labels: Volume, rng: np.random.Generator) -> Volume:
    """Return a label map with the faults that networks' masks have.

    Its surface is moved by smooth random shifts and as a whole a little in or out, slices may be
    thick, patches are missing, and neighbours have a little of each other.
    """
    array, spacing = labels.array, labels.spacing[0]
    near = np.nonzero(ndimage.maximum_filter(array, 5))
    place = np.stack(near).astype(np.float64)
    for coarse_mm, most in ((9.0, 0.9), (3.5, 0.7)):
        size = float(rng.uniform(0.3, most)) / spacing
        place += size * _waves(np.stack(near), coarse_mm / spacing, rng)
    moved = np.zeros_like(array)
    moved[near] = ndimage.map_coordinates(array, place, order=0, mode="nearest")
    full = ndimage.gaussian_filter((moved > 0).astype(np.float32), 0.8)
    made = np.where(moved > 0, moved, ndimage.maximum_filter(moved, 3))
    made[full <= rng.uniform(0.35, 0.65)] = 0
    thick = int(rng.choice([1, 1, 1, 2]))
    made = np.repeat(made[::thick], thick, axis=0)[: len(made)]
    return labels.like(_with_patches(made, spacing, rng))


def _waves(place: NDArray[np.int64], sigma: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return three smooth random fields (3, N), with a spread of 1, at voxels (3, N)."""
    coarse = place / sigma
    size = tuple(int(n) + 2 for n in coarse.max(axis=1))
    fields = [ndimage.map_coordinates(rng.standard_normal(size), coarse, order=1) for _ in range(3)]
    return np.stack([field / max(float(field.std()), 1e-6) for field in fields])


def _with_patches(
    array: NDArray[np.uint8], spacing: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Leave out balls of 2 to 4 mm, and give others to the vertebra above or below."""
    bone = np.argwhere(array)
    present = np.unique(array[array > 0])
    for n in range(rng.poisson(0.5 * len(present)) if len(bone) else 0):
        at = bone[int(rng.integers(len(bone)))]
        reach = int(np.ceil(4.0 / spacing))
        box = tuple(slice(max(0, c - reach), c + reach + 1) for c in at)
        part = array[box]
        place = np.indices(part.shape).T + [s.start for s in box] - at
        ball = (np.linalg.norm(place, axis=-1).T * spacing < rng.uniform(2.0, 4.0)) & (part > 0)
        other = int(array[tuple(at)]) + int(rng.choice([-1, 1]))
        part[ball] = other if n % 3 == 0 and other in present else 0
    return array
