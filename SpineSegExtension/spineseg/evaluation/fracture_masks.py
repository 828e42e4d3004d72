"""The label maps that fractures are looked for in: true ones, with faults, or a method's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..labels import VERTEBRAE, is_vertebra
from ..measure.vertebra_body import PLACES, measure_bodies
from ..progress import Progress
from ..volume import Volume
from .fracture_cases import Patient, Scene
from .fracture_scenes import disturbed
from .resultfile import ResultFile

__all__ = [
    "ALL_MASKS", "HEIGHT_COLUMNS", "MASKS", "SEGMENTED", "height_rows", "heights_file",
    "heights_words", "masks_of", "matched",
]  # fmt: skip

MASKS = ("true", "disturbed")
"""What is measured by default: the masks that were drawn, and those with faults as networks make
them."""
SEGMENTED = "segmented"
"""What the default method makes of the CT, as ``spineseg fracture CT`` does: slow."""
ALL_MASKS = (*MASKS, SEGMENTED)
HEIGHT_COLUMNS = (
    "case", "method", "settings", "kind", "level", *(f"{place}_true_mm" for place in PLACES),
    *(f"{place}_mm" for place in PLACES), "error",
)  # fmt: skip
"""Of FILE.heights.csv: on true masks, and on the method's own."""
CLOSE_MM = 1.5


def masks_of(
    scene: Scene, patient: Patient, masks: str, progress: Progress | None = None
) -> Volume:
    """Return a patient's label map of a kind of `ALL_MASKS`.

    Raises
    ------
    InputError
        The CT is missing, or the method can't take it.
    """
    if masks == "disturbed":
        return disturbed(patient.labels, np.random.default_rng([scene.seed, 42]))
    if masks != SEGMENTED:
        return patient.labels
    from ..pipeline import segment

    if patient.scan is None:
        raise InputError(f"There is no CT of {scene.name}.", "Leave segmented masks out.")
    return segment(patient.scan, progress=progress).segmentation


def matched(truth: Volume, labels: Volume) -> dict[str, int]:
    """Return by true level the label that shares most of its voxels, known or unsure.

    A label stands for one level only: that which has most of it.
    """
    found: dict[str, tuple[int, int]] = {}
    names = {level.verse: level.name for level in VERTEBRAE}
    for label in (int(n) for n in np.unique(labels.array) if is_vertebra(int(n))):
        shared = np.bincount(truth.array[labels.array == label].astype(np.uint8), minlength=256)
        best = max((n for n in names if shared[n]), key=lambda n: int(shared[n]), default=None)
        if best is not None and shared[best] > found.get(names[best], (0, 0))[1]:
            found[names[best]] = (label, int(shared[best]))
    return {name: label for name, (label, _) in found.items()}


def height_rows(truth: Volume, labels: Volume) -> Iterator[dict[str, Any]]:
    """Yield the heights of each vertebra that is evaluable on true and on other masks (k, j, i)."""
    at = matched(truth, labels)
    other = {body.label: body.heights_mm for body in measure_bodies(labels)}
    for body in measure_bodies(truth):
        own, its = body.heights_mm, other.get(at.get(body.name, 0))
        if own is not None and its is not None:
            yield {
                "kind": "vertebra",
                "level": body.name,
                **{f"{place}_true_mm": own[place] for place in PLACES},
                **{f"{place}_mm": its[place] for place in PLACES},
            }


def heights_words(rows: Sequence[Mapping[str, str]]) -> str:
    """Return a sentence on how near heights are to those on true masks; "" without rows."""
    bones = [row for row in rows if row["kind"] == "vertebra"]
    if not bones:
        return ""
    parts = []
    for place in PLACES:
        off = np.array(
            [float(row[f"{place}_mm"]) - float(row[f"{place}_true_mm"]) for row in bones]
        )
        close = 100 * float((np.abs(off) <= CLOSE_MM).mean())
        parts.append(f"{place} {close:.0f} % (mean difference {np.abs(off).mean():.1f} mm)")
    return (
        f"Heights on segmented masks within {CLOSE_MM} mm of those on true masks, {len(bones)}"
        f" vertebrae: {', '.join(parts)}."
    )


def heights_file(path: Path, resume: bool) -> ResultFile:
    """Return FILE.heights.csv of FILE.csv, taken up again or new."""
    name = f"{path.name.removesuffix('.csv')}.heights.csv"
    return ResultFile(path.with_name(name), HEIGHT_COLUMNS, resume)
