"""Windows at 1 mm for the papers' own networks: scans that stay as they are, with their answers.

The networks that ship learn from patients that another scanner renders each time. The papers'
augmentations are what is compared here, so a window is rendered once and then only augmented.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..labels import VERTEBRAE, SubRegion
from ..methods.one_vertebra import CENTRUM_DEPTH_MM
from ..phantom.canvas import DEPTH_UNIT, Canvas
from ..phantom.chain import Chain, build_chain
from ..phantom.generate import draw
from ..phantom.render import random_scanner, render_ct
from ..phantom.settings import Lesion
from .pool import Item, is_drawn, item_paths, random_settings
from .real import LabelSource, load_source, turned

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]
WINDOW_MM = 1.0
#: Codes of ``Window.parts``; each part lies in the one before it.
VERTEBRA, BODY, CENTRUM = 1, 2, 3
#: Room round the patch of a click: half a vertebra on each side.
SHAPES: dict[str, Shape] = {"click": (96, 160, 160), "spine": (176, 176, 176)}
_BODY_CODES = (SubRegion.BODY_BORDER, SubRegion.BODY, SubRegion.DENS)
_BODILESS = "C1"


@dataclass(frozen=True)
class Window:
    """A piece of a scan at ``WINDOW_MM``, along the RAS axes, and what is in it.

    Attributes
    ----------
    image : int16 HU (k, j, i)
    ids : uint8, VerSe ids
    parts : uint8, 0 or ``VERTEBRA``, ``BODY``, ``CENTRUM``
    centres : VerSe id → (x, y, z) voxels of the body's centre, of those inside the window
    known : the innermost part that is told apart; real label maps often know the vertebra only
    """

    image: Array
    ids: Array
    parts: Array
    centres: dict[int, tuple[float, float, float]]
    known: int = CENTRUM

    def center(self, label: int) -> Array:
        """Centre of a vertebra's body in voxels (k, j, i)."""
        return np.array(self.centres[label][::-1])

    def middle(self) -> int:
        """The vertebra whose centre is nearest to the window's."""
        half = np.array(self.ids.shape) / 2
        return min(self.centres, key=lambda n: float(np.linalg.norm(self.center(n) - half)))


def window_of(item: Item, known: int, rng: np.random.Generator) -> Window:
    """Render an item of 1 mm voxels once, by a scanner at random, and keep what is asked of it."""
    tissue, ids, depth, overlay = item.layers
    image = item.image
    if image is None:
        scanner = random_scanner(rng)
        image = render_ct(tissue, depth.view(np.int8), overlay, WINDOW_MM, scanner, rng)
    parts = np.where(ids > 0, VERTEBRA, 0).astype(np.uint8)
    if known >= BODY:
        parts[(ids > 0) & np.isin(tissue, _BODY_CODES)] = BODY
    if known >= CENTRUM:
        deep = depth.view(np.int8) <= -CENTRUM_DEPTH_MM / DEPTH_UNIT
        parts[(parts == BODY) & deep] = CENTRUM
    inside = {
        label: centre
        for label, centre in item.centres.items()
        if all(0 <= c < n for c, n in zip(centre[::-1], ids.shape, strict=True))
    }
    return Window(np.rint(image).astype(np.int16), np.array(ids), parts, inside, known)


def draw_window(seed: int, kind: str, shape: Shape | None = None) -> Window:
    """A window of a digital patient; the same seed gives the same voxels.

    ``kind`` "click" is centred on a vertebra with a body, which in two thirds of the patients has a
    metastasis and is never fractured, as in Klein et al. 2019; "spine" lies somewhere along the
    spine, now and then beyond its end.
    """
    rng = np.random.default_rng([seed, 21 if kind == "click" else 22])
    settings = random_settings(rng)
    shape = shape or SHAPES[kind]
    if kind == "click":
        usual = [v.name for v in VERTEBRAE if v.name not in (_BODILESS, "T13", "L6")]
        level = str(rng.choice(usual))
        lesions = [lesion for lesion in settings.lesions if lesion.level != level]
        if rng.random() < 2 / 3:
            sort = str(rng.choice(["lytic", "blastic", "mixed"]))
            lesions.append(Lesion(level, sort, float(rng.uniform(4, 13))))
        sound = tuple(f for f in settings.fractures if f.level != level)
        settings = replace(settings, lesions=tuple(lesions), fractures=sound)
    chain = build_chain(settings, rng)
    if kind == "click":
        middle = chain.bodies[chain.index(level)].centre
    else:
        bodies = np.array([b.centre for b in chain.bodies])
        middle = bodies[int(rng.integers(len(bodies)))] + rng.normal(0, 1, 3) * [14, 14, 40]
    canvas = Canvas(middle - np.array(shape[::-1]) / 2 * WINDOW_MM, WINDOW_MM, shape)
    draw(canvas, chain, settings, seed)
    layers = np.stack([canvas.tissue, canvas.ids, canvas.depth.view(np.uint8), canvas.overlay])
    return window_of(Item(layers, _centres(canvas, chain), exact=True), CENTRUM, rng)


def _centres(canvas: Canvas, chain: Chain) -> dict[int, tuple[float, float, float]]:
    verse = {level.name: level.verse for level in VERTEBRAE}
    found = {}
    for body in chain.bodies:
        x, y, z = (float(v) for v in (body.centre - canvas.origin) / canvas.spacing)
        found[verse[body.name]] = (x, y, z)
    return found


def save_window(window: Window, path: Path) -> None:
    """Write ``path``.npy (labels), ``path``.hu.npy and ``path``.json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = {"known": window.known, "centres": {str(k): v for k, v in window.centres.items()}}
    np.save(path.with_suffix(".hu.npy"), window.image)
    path.with_suffix(".json").write_text(json.dumps(meta), encoding="utf-8")
    np.save(path.with_suffix(".part.npy"), np.stack([window.ids, window.parts]))
    # Last and at once: a window counts from when this file is there.
    path.with_suffix(".part.npy").replace(path.with_suffix(".npy"))


def load_window(path: Path) -> Window:
    """Read what `save_window` wrote; its arrays stay on disk until they are used."""
    meta = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    ids, parts = np.load(path.with_suffix(".npy"), mmap_mode="r")
    centres = {int(k): (v[0], v[1], v[2]) for k, v in meta["centres"].items()}
    image = np.load(path.with_suffix(".hu.npy"), mmap_mode="r")
    return Window(image, ids, parts, centres, int(meta["known"]))


def fill_windows(folder: Path, kind: str, count: int, first: int = 0, step: int = 1
                 ) -> Iterator[int]:  # fmt: skip
    """Draw patients until ``count`` are there, yielding how many; those there are kept."""
    for n, seed in enumerate(range(first, count, step)):
        path = folder / f"patient{seed:06d}"
        if not path.with_suffix(".npy").exists():
            save_window(draw_window(seed, kind), path)
        yield n + 1


def add_real_windows(
    folder: Path, kind: str, sources: list[LabelSource], each: int, shape: Shape | None = None
) -> Iterator[str]:
    """Add ``each`` windows of every real label map, yielding the names written.

    The body is known where the source has sub-regions, the centrum nowhere.
    """
    for source in sources:
        name = source.labels.name.split(".")[0]
        paths = [folder / f"{name}_{n:03d}" for n in range(each)]
        missing = [p for p in paths if not p.with_suffix(".npy").exists()]
        work = load_source(source) if missing else None
        for path in missing:
            assert work is not None
            rng = np.random.default_rng([len(name), *path.name.encode()[-3:]])
            item = turned(work, shape or SHAPES[kind], rng, WINDOW_MM, wander=kind != "click")
            save_window(window_of(item, BODY if source.subregions else VERTEBRA, rng), path)
            yield path.name


class Windows:
    """The windows of a folder in which a part is known, for drawing at random.

    Parameters
    ----------
    folder : Path
    known : int
        The part that a window must tell apart.
    real_share : float
        Fraction of the draws from real label maps, where there are any.
    """

    def __init__(self, folder: Path, known: int, real_share: float = 0.2) -> None:
        found = {p: load_window(p) for p in item_paths(folder)}
        usable = {p: w for p, w in found.items() if w.known >= known}
        self.drawn = [w for p, w in usable.items() if is_drawn(p)]
        self.real = [w for p, w in usable.items() if not is_drawn(p)]
        self._share = real_share
        if not usable:
            raise InputError(f"There is nothing to learn from in {folder}.", "Draw patients first.")

    def draw(self, rng: np.random.Generator, occupied: bool = False) -> Window:
        """One window; ``occupied`` asks for one with a vertebra's centre in it."""
        real = bool(self.real) and (not self.drawn or rng.random() < self._share)
        some = [w for w in (self.real if real else self.drawn) if w.centres or not occupied]
        if not some:
            raise InputError("No window shows a vertebra.", "Draw more patients: --patients.")
        return some[int(rng.integers(len(some)))]
