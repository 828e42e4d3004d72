"""How well vertebrae are found, outlined and named: against label maps made by people.

The volumetric measures are those of VerSe (Sekuboyina et al., Med Image Anal 2021): Dice a
vertebra, identification (the nearest true centre is of the same level and nearer than 20 mm) and
localisation.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..atomic import atomic_path
from ..errors import InputError
from ..io.images import read_volume
from ..labels import display_name, is_vertebra
from ..progress import Progress
from ..result import SegmentationResult
from ..volume import Volume

Array = npt.NDArray[Any]
#: A found vertebra is the true one when their centres are nearer than this, mm (VerSe).
NEAR_MM = 20.0


@dataclass(frozen=True)
class VertebraScore:
    """One true vertebra of one case.

    ``dice`` compares it with the vertebra of the same level; ``shape_dice`` with the one that
    covers most of it, whatever its name; ``distance_mm`` is from centre of mass to centre of mass
    of that one; ``named`` says whether its level is right. A missed vertebra has Dice 0 and no
    distance.
    """

    case: str
    level: str
    dice: float
    shape_dice: float
    distance_mm: float | None
    named: bool
    found: bool


def _dice(a: Array, b: Array) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 1.0


def score(truth: Volume, found: Volume, case: str = "") -> list[VertebraScore]:
    """Score a label map against the true one (both VerSe ids, same grid).

    Voxels of vertebrae that are labelled nowhere in the truth don't count: people leave partly
    visible vertebrae out.

    Raises
    ------
    InputError : the grids differ.
    """
    if truth.shape != found.shape or not np.allclose(truth.affine, found.affine, atol=1e-3):
        raise InputError(
            f"The label map of {case or 'this case'} is not on its scan's grid.",
            "Resample it to the scan first.",
        )
    rows = []
    for label in (int(n) for n in np.unique(truth.array) if is_vertebra(int(n))):
        mask = truth.array == label
        covering = np.bincount(found.array[mask].astype(np.int64), minlength=256)
        covering[0] = 0
        best = int(covering.argmax()) if covering.any() else 0
        other = found.array == best if best else np.zeros_like(mask)
        distance = None
        if best:
            a, b = (
                truth.ijk_to_ras(np.argwhere(m).mean(axis=0)[None, ::-1])[0] for m in (mask, other)
            )
            distance = float(np.linalg.norm(a - b))
        rows.append(
            VertebraScore(
                case=case,
                level=display_name(label),
                dice=_dice(mask, found.array == label),
                shape_dice=_dice(mask, other),
                distance_mm=distance,
                named=best == label,
                found=distance is not None and distance < NEAR_MM,
            )
        )
    return rows


def cases(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Name, scan and label map of every ``NAME_ct.nii.gz`` + ``NAME_vertebrae.nii.gz`` pair."""
    for scan in sorted(folder.glob("*_ct.nii.gz")):
        name = scan.name.removesuffix("_ct.nii.gz")
        labels = folder / f"{name}_vertebrae.nii.gz"
        if labels.exists():
            yield name, scan, labels


def evaluate(
    folder: Path | str, method: str = "vertebra-unet", progress: Progress | None = None
) -> list[VertebraScore]:
    """Segment every labelled case of a folder and score it.

    Raises
    ------
    InputError : the folder holds no pair of scan and label map.
    """
    from ..pipeline import segment

    progress = progress or Progress()
    found = list(cases(Path(folder)))
    if not found:
        raise InputError(
            f"{folder} holds no labelled case.",
            "Name them NAME_ct.nii.gz and NAME_vertebrae.nii.gz (VerSe ids).",
        )
    rows: list[VertebraScore] = []
    for n, (name, scan, labels) in enumerate(found):
        part = progress.part(n / len(found), (n + 1) / len(found))
        result: SegmentationResult = segment(read_volume(scan), method, part)
        rows += score(read_volume(labels), result.segmentation, name)
    return rows


def summary(rows: list[VertebraScore]) -> dict[str, float]:
    """Mean Dice, share found and named, and mean distance in mm, over all true vertebrae."""
    distances = [r.distance_mm for r in rows if r.distance_mm is not None]
    return {
        "vertebrae": float(len(rows)),
        "dice": float(np.mean([r.dice for r in rows])),
        "shape_dice": float(np.mean([r.shape_dice for r in rows])),
        "found": float(np.mean([r.found for r in rows])),
        "named": float(np.mean([r.named for r in rows])),
        "distance_mm": float(np.mean(distances)) if distances else float("nan"),
    }


def write_table(rows: list[VertebraScore], path: Path) -> None:
    """Write one line a vertebra as CSV."""
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
