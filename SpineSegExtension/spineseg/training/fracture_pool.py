"""Digital patients with fractures that networks learn from: drawn and scanned once, kept on disk.

Each is the part of a patient round the spine, as a scanner of its own shows it, at 1 mm, with its
label map and what of it are bodies. Four patients in five have fractures, a third of their
vertebrae; what is shown more often than in people is weighed where it matters. Seeds are neither
those that probabilities are fitted on nor those that they are tested on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..evaluation.fracture_cases import cut_labels
from ..evaluation.fracture_scenes import LEARNED, FractureScene, drawn_scan, fracture_scene
from ..labels import USUAL_VERTEBRAE
from ..volume import Volume

__all__ = [
    "MARGIN_MM", "SPACING_MM", "PoolItem", "PoolVertebra", "draw_patient", "fill", "load_item",
    "paths", "save_item",
]  # fmt: skip

Array = npt.NDArray[Any]

SPACING_MM = 1.0
_ILL, _SHARE = 0.8, 0.33
MARGIN_MM = (38.0, 62.0, 14.0)  # round the spine: what networks see besides
_DRAWN_MM = (1.0, 1.5, 2.0)  # how finely a patient is drawn; also thick slices come at 1 mm


@dataclass(frozen=True)
class PoolVertebra:
    """One vertebra: where its body's centre is (i, j, k voxels), and what is wrong with it."""

    level: str
    label: int
    centre: tuple[float, float, float]
    grade: int
    kind: str
    mimic: str
    whole: bool


@dataclass(frozen=True)
class PoolItem:
    """A patient: HU (int16), label map and bodies (uint8), all (k, j, i) at `SPACING_MM`."""

    scan: Array
    labels: Array
    bodies: Array
    vertebrae: tuple[PoolVertebra, ...]
    affine: Array


def pool_scene(number: int) -> FractureScene:
    """Return the `number`-th patient to learn from."""
    scene = fracture_scene(number, LEARNED, _ILL, _SHARE)
    rng = np.random.default_rng([scene.seed, 44])
    spacing = float(rng.choice(_DRAWN_MM))
    return replace(scene, settings=replace(scene.settings, spacing_mm=spacing, margin_mm=MARGIN_MM))


def draw_patient(number: int) -> PoolItem:
    """Draw and scan the `number`-th patient."""
    scene = pool_scene(number)
    scan, labels, bodies = (
        one.resampled([SPACING_MM] * 3, order=order)
        for one, order in zip(drawn_scan(scene), (1, 0, 0), strict=True)
    )
    return PoolItem(
        scan.array, labels.array, bodies.array, vertebrae_of(scene, labels, bodies), scan.affine
    )


def vertebrae_of(scene: FractureScene, labels: Volume, bodies: Volume) -> tuple[PoolVertebra, ...]:
    """Return the vertebrae of a label map (k, j, i) whose body is in view, from the top."""
    found = []
    array = labels.array
    edge = cut_labels(labels)
    boxes = ndimage.find_objects(array)
    for level in USUAL_VERTEBRAE:
        box = boxes[level.verse - 1] if level.verse <= len(boxes) else None
        if box is None:
            continue
        own = np.argwhere((array[box] == level.verse) & (bodies.array[box] > 0))
        if len(own) < 500:  # cut off
            continue
        centre = own.mean(axis=0) + [s.start for s in box]
        grade, kind = scene.truth(level.name)
        place = (float(centre[2]), float(centre[1]), float(centre[0]))
        found.append(
            PoolVertebra(
                level.name, level.verse, place, grade, kind, scene.mimic(level.name),
                level.verse not in edge,
            )
        )  # fmt: skip
    return tuple(found)


def save_item(item: PoolItem, path: Path) -> None:
    """Write a patient as ``path``.npy, ``path``.labels.npy and ``path``.json, the last one last."""
    np.save(path.with_suffix(".npy"), item.scan)
    np.save(path.with_suffix(".labels.npy"), np.stack([item.labels, item.bodies]))
    content = {
        "affine": item.affine.tolist(), "vertebrae": [asdict(one) for one in item.vertebrae],
    }  # fmt: skip
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content), encoding="utf-8")
    part.replace(path.with_suffix(".json"))


def load_item(path: Path) -> PoolItem:
    """Read a patient; the arrays stay on disk until they are used."""
    content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    layers = np.load(path.with_suffix(".labels.npy"), mmap_mode="r")
    vertebrae = tuple(
        PoolVertebra(**{**one, "centre": tuple(one["centre"])}) for one in content["vertebrae"]
    )
    scan = np.load(path.with_suffix(".npy"), mmap_mode="r")
    return PoolItem(scan, layers[0], layers[1], vertebrae, np.array(content["affine"]))


def paths(folder: Path) -> list[Path]:
    """Return the patients of a pool, by name."""
    return sorted(path.with_suffix("") for path in folder.glob("patient*.json"))


def fill(folder: Path, count: int, first: int = 0, step: int = 1) -> Iterator[int]:
    """Draw patients until `count` are there, and yield how many there are.

    Those that are there are kept; with ``first`` and ``step`` several processes share the work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, count, step):
        path = folder / f"patient{number:04d}"
        if not path.with_suffix(".json").exists():
            save_item(draw_patient(number), path)
        yield number + 1
