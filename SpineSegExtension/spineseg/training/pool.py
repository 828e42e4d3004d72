"""A pool of drawn patients on disk, from which training takes crops.

Drawing takes a second or two, rendering a crop a tenth of one: so patients are drawn once, kept as
codes, and rendered anew, by another scanner, each time a crop of them is taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..labels import VERTEBRAE
from ..phantom.canvas import Canvas
from ..phantom.chain import Chain, build_chain
from ..phantom.generate import draw
from ..phantom.settings import Fracture, Fusion, Lesion, PhantomSettings

Array = npt.NDArray[Any]
#: Order of the arrays in an item's file.
LAYERS = ("tissue", "ids", "depth", "overlay")
FINE_MM, COARSE_MM = 1.5, 4.0
#: How often bone is so brittle that fractures lie side by side, and what share is broken then: a
#: crushed vertebra between others is the one that a network joins with its neighbour.
BRITTLE_OFTEN, BRITTLE_SHARE = 0.4, 0.4


@dataclass(frozen=True)
class Item:
    """One drawn or labelled volume of the pool.

    Attributes
    ----------
    layers : uint8 (4, k, j, i) in the order of ``LAYERS``; depth is an int8 seen as uint8
    centres : VerSe id → (x, y, z) voxel position of the vertebral body's centre
    exact : False where body and posterior parts, disc and canal are not told apart (real label
        maps)
    image : int16 HU (k, j, i) of a real scan, None for what is rendered
    """

    layers: Array
    centres: dict[int, tuple[float, float, float]]
    exact: bool
    image: Array | None = None


def random_settings(rng: np.random.Generator) -> PhantomSettings:
    """A patient at random: half have something wrong with a vertebra, many of them with several."""
    names = [level.name for level in VERTEBRAE if level.name not in ("T13", "L6")]
    pick = [str(n) for n in rng.choice(names[2:], size=4, replace=False)]
    broken = pick[: int(rng.choice([0, 1, 2], p=[0.6, 0.25, 0.15]))]
    if rng.random() < BRITTLE_OFTEN:
        low = names[names.index("T4") :]
        broken += [n for n in low if n not in pick and rng.random() < BRITTLE_SHARE]
    fractures: list[Fracture] = []
    lesions: list[Lesion] = []
    for name in broken:
        kind = str(rng.choice(["wedge", "biconcave", "crush"]))
        fractures.append(Fracture(name, kind, float(rng.uniform(0.15, 0.6))))
    for name in pick[2 : 2 + int(rng.choice([0, 1, 2], p=[0.6, 0.2, 0.2]))]:
        kind = str(rng.choice(["lytic", "blastic", "mixed"]))
        lesions.append(Lesion(name, kind, float(rng.uniform(4, 13))))
    metal: tuple[str, ...] = ()
    if rng.random() < 0.1:
        first = int(rng.integers(7, 20))
        metal = tuple(names[first : first + int(rng.integers(2, 5))])
    rare = rng.random()
    fusions: tuple[Fusion, ...] = ()
    if rng.random() < 0.04:
        fusions = (Fusion(str(names[int(rng.integers(1, len(names) - 1))])),)
    # What a rare spine lacks can't be fractured or fused.
    used = {f.level for f in fractures} | {one.level for one in lesions} | set(metal)
    used |= {f.level for f in fusions}
    sacralised = not used & {"L4", "L5"} and rng.random() < 0.04
    return PhantomSettings(
        t13=rare < 0.05,
        thoracic_11=0.05 <= rare < 0.09 and "T12" not in used,
        l6=bool(rng.random() < 0.06),
        sacralised_l5=bool(sacralised),
        fusions=fusions,
        lumbar_ribs=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.05 else 0.0,
        fractures=tuple(fractures),
        lesions=tuple(lesions),
        metal=metal,
    )


def _item(canvas: Canvas, chain: Chain) -> Item:
    layers = np.stack([canvas.tissue, canvas.ids, canvas.depth.view(np.uint8), canvas.overlay])
    verse = {level.name: level.verse for level in VERTEBRAE}
    centres = {}
    for body in chain.bodies:
        x, y, z = (body.centre - canvas.origin) / canvas.spacing
        centres[verse[body.name]] = (float(x), float(y), float(z))
    return Item(layers, centres, exact=True)


def draw_fine(
    seed: int, shape: tuple[int, int, int] = (112, 96, 96), cobb_deg: float | None = None
) -> Item:
    """A few vertebrae at 1.5 mm, somewhere along a patient's spine; now and then off the spine.

    ``cobb_deg`` is the main curve's angle; None lets the seed choose (85 % have less than 30°).
    """
    rng = np.random.default_rng([seed, 11])
    settings = replace(random_settings(rng), cobb_deg=cobb_deg)
    chain = build_chain(settings, rng)
    size = np.array(shape[::-1]) * FINE_MM
    # The sacrum is what a network most often takes for a vertebra: a quarter of the crops show it.
    low = len(chain.bodies) - 2.5 if rng.random() < 0.25 else -0.5
    where = rng.uniform(low, len(chain.bodies) + 0.8)
    n = int(np.clip(where, 0, len(chain.bodies) - 1))
    middle = chain.bodies[n].centre + np.array([0, -18.0, 0])
    if where > len(chain.bodies):
        middle = chain.sacrum_centre + np.array([0, -15.0, -40.0])
    middle = middle + rng.normal(0, 1, 3) * np.array([14, 10, 12])
    canvas = Canvas(middle - size / 2, FINE_MM, shape)
    draw(canvas, chain, settings, seed)
    return _item(canvas, chain)


def draw_scoliotic(seed: int) -> Item:
    """As `draw_fine`, every second patient with a curve of 20° to 90°."""
    curve = float(np.random.default_rng([seed, 13]).uniform(20, 90))
    return draw_fine(seed, cobb_deg=curve if seed % 2 else None)


def draw_coarse(seed: int) -> Item:
    """Most of a patient's body at 4 mm."""
    rng = np.random.default_rng([seed, 12])
    settings = random_settings(rng)
    chain = build_chain(settings, rng)
    centres = np.array([b.centre for b in chain.bodies])
    low, high = centres.min(axis=0), centres.max(axis=0)
    low = np.array([low[0] - 170, low[1] - 130, -190.0])
    high = np.array([high[0] + 170, high[1] + 200, high[2] + 110])
    shape = np.ceil((high - low) / COARSE_MM).astype(int)
    canvas = Canvas(low, COARSE_MM, (int(shape[2]), int(shape[1]), int(shape[0])))
    draw(canvas, chain, settings, seed)
    return _item(canvas, chain)


def save_item(item: Item, path: Path) -> None:
    """Write an item as ``path``.npy and ``path``.json (and ``path``.hu.npy for a real image)."""
    meta = {"centres": {str(k): v for k, v in item.centres.items()}, "exact": item.exact}
    if item.image is not None:
        np.save(path.with_suffix(".hu.npy"), item.image)
    np.save(path.with_suffix(".part.npy"), item.layers)
    path.with_suffix(".json").write_text(json.dumps(meta), encoding="utf-8")
    path.with_suffix(".part.npy").replace(path.with_suffix(".npy"))


def load_item(path: Path) -> Item:
    """Read an item written by :func:`save_item`; its arrays stay on disk until they are used."""
    meta = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    image = path.with_suffix(".hu.npy")
    return Item(
        np.load(path.with_suffix(".npy"), mmap_mode="r"),
        {int(k): tuple(v) for k, v in meta["centres"].items()},
        bool(meta["exact"]),
        np.load(image, mmap_mode="r") if image.exists() else None,
    )


def is_drawn(path: Path) -> bool:
    """Whether an item is a digital patient, by its name; else it is of a real label map."""
    return re.fullmatch(r"patient\d{6}", path.name) is not None


def item_paths(folder: Path) -> list[Path]:
    """Items of a pool folder, in the order of their names."""
    return sorted(
        p.with_suffix("")
        for p in folder.glob("*.npy")
        if not p.name.endswith((".hu.npy", ".part.npy"))
    )


def fill(folder: Path, kind: str, count: int, first_seed: int = 0, step: int = 1) -> Iterator[int]:
    """Draw patients into ``folder`` until ``count`` are there, yielding how many have been drawn.

    ``kind`` is "fine", "scoliotic" or "coarse"; seeds go from ``first_seed`` in steps of ``step``,
    so that several processes can share the work. Patients already there are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawers: dict[str, Callable[[int], Item]] = {
        "fine": draw_fine, "scoliotic": draw_scoliotic, "coarse": draw_coarse,
    }  # fmt: skip
    for n, seed in enumerate(range(first_seed, count, step)):
        path = folder / f"patient{seed:06d}"
        if not path.with_suffix(".npy").exists():
            save_item(drawers[kind](seed), path)
        yield n + 1
