"""Measures a translation on digital scoliotic patients, by the size of their curve.

Run ``python -m spineseg.evaluation.scoliotic_mr -n 12 -o FOLDER``. Paper 000 failed at the strong
curve and at both ends; here each patient has a known Cobb angle from 20° to 90°, an MR, its true
bodies and its landmarks, so that both can be seen. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..labels import OTHER_BONE, by_name, by_verse
from ..phantom.generate import Phantom, generate
from ..phantom.magnetic import as_mr, bodies_of
from ..phantom.settings import PhantomSettings
from ..progress import Progress
from ..result import TranslationResult
from ..translation import translate
from ..volume import Volume
from .body_scores import score_bodies
from .phantom_landmarks import phantom_landmarks

__all__ = ["COLUMNS", "FIRST_SEED", "measure", "scoliotic_patient"]

FIRST_SEED = 5_000_000
"""No training draws seeds from here on."""
CURVES = (20.0, 30.0, 45.0, 60.0, 75.0, 90.0)
KINDS = ("t2", "t1")
COLUMNS = (
    "seed", "cobb_deg", "kind", "level", "at_end", "found", "dice", "distance_mm",
    "landmark_mm", "gradient_correlation",
)  # fmt: skip
_READER_MM = 1.0  # error of a reader along each axis


def scoliotic_patient(number: int, spacing_mm: float = 1.5) -> tuple[Phantom, Volume, str]:
    """Return the n-th patient of the test: T2 to L5, its MR, and which kind that is."""
    settings = PhantomSettings(
        spacing_mm=spacing_mm, levels=("T2", "L5"), cobb_deg=CURVES[number % len(CURVES)],
        margin_mm=(40.0, 60.0, 10.0),
    )  # fmt: skip
    phantom = generate(settings, FIRST_SEED + number)
    kind = KINDS[(number // len(CURVES) + number) % len(KINDS)]
    return phantom, as_mr(phantom, kind), kind


def measure(number: int, settings: dict[str, Any], progress: Progress) -> list[dict[str, Any]]:
    """Translate one patient and score its bodies and its landmarks; a row a body."""
    phantom, mr, kind = scoliotic_patient(number)
    result = translate(mr, progress=progress, settings=settings)
    truth = bodies_of(phantom)
    scores = score_bodies(truth, result.bodies)
    levels = _levels(phantom, truth)
    fits = _landmarks(phantom, result, levels)
    correlation = gradient_correlation(mr, result.synthetic_ct)
    rows = []
    for score in scores:
        level = levels[score.label]
        rows.append(
            {
                "seed": phantom.seed,
                "cobb_deg": phantom.settings.cobb_deg,
                "kind": kind,
                "level": level,
                "at_end": score.label in (1, len(scores)),
                "found": score.found,
                "dice": round(score.dice, 4),
                "distance_mm": "" if score.distance_mm is None else round(score.distance_mm, 3),
                "landmark_mm": fits.get(level, ""),
                "gradient_correlation": round(correlation, 3),
            }
        )
    return rows


def gradient_correlation(one: Volume, other: Volume) -> float:
    """Return the mean correlation of two volumes' gradients along x, y and z (paper 000, eq. 5)."""
    parts = []
    for axis in range(3):
        a, b = (np.diff(v.array.astype(np.float32), axis=axis).ravel() for v in (one, other))
        a, b = a - a.mean(), b - b.mean()
        parts.append(float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9)))
    return float(np.mean(parts))


def _levels(phantom: Phantom, truth: Volume) -> dict[int, str]:
    """Return the level of each true body's number."""
    found = {}
    for number in np.unique(truth.array)[1:]:
        labels = phantom.vertebrae.array[truth.array == number]
        found[int(number)] = by_verse(int(np.bincount(labels).argmax())).name
    return found


def _landmarks(
    phantom: Phantom, result: TranslationResult, levels: dict[int, str]
) -> dict[str, float]:
    """Return each level's mean landmark distance after ICP, as in the paper, by true level."""
    from ..io.meshes import vertebra_mesh
    from ..validation import validate

    found = {}
    for level in levels.values():
        points = phantom_landmarks(phantom, [level], _READER_MM, phantom.seed)
        own = phantom.vertebrae.array == by_name(level).verse
        labels = np.bincount(result.segmentation.array[own], minlength=256)
        labels[[0, OTHER_BONE]] = 0
        if not labels.any():
            continue
        mesh = vertebra_mesh(result.segmentation, int(labels.argmax()))
        try:
            found[level] = round(validate({level: mesh}, points).mean, 3)
        except InputError:
            continue
    return found


def run(folder: Path, count: int, settings: dict[str, Any]) -> None:
    """Measure ``count`` patients into ``folder/bodies.csv`` and ``folder/summary.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bodies.csv"
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    done = {int(row["seed"]) - FIRST_SEED for row in rows}
    for number in range(count):
        if number in done:
            continue
        rows += measure(number, settings, Progress())
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    with path.open(encoding="utf-8") as file:
        (folder / "summary.md").write_text(table(list(csv.DictReader(file))), encoding="utf-8")


def table(rows: Sequence[dict[str, str]]) -> str:
    """Return the results by curve size, and those of the ends, as a Markdown table."""
    groups = {f"{c:g}°": [r for r in rows if float(r["cobb_deg"]) == c] for c in CURVES}
    groups["uppermost and lowest"] = [r for r in rows if r["at_end"] == "True"]
    groups["all"] = list(rows)
    lines = [
        "| curve | bodies | found | Dice | distance, mm | landmarks, mm |",
        "|---|---|---|---|---|---|",
    ]
    for name, group in groups.items():
        if not group:
            continue
        figures = [_mean(group, column) for column in ("dice", "distance_mm", "landmark_mm")]
        found = np.mean([r["found"] == "True" for r in group])
        cells = " | ".join(f"{v:.2f}" for v in figures)
        lines.append(f"| {name} | {len(group)} | {found:.0%} | {cells} |")
    return "\n".join(lines) + "\n"


def _mean(rows: Sequence[dict[str, str]], column: str) -> float:
    values = [float(r[column]) for r in rows if r[column] != ""]
    return float(np.mean(values)) if values else float("nan")


def main(arguments: Sequence[str]) -> None:
    """Measure from a terminal; the folder gets ``bodies.csv`` and ``summary.md``."""
    parser = argparse.ArgumentParser(prog="python -m spineseg.evaluation.scoliotic_mr")
    parser.add_argument("-n", type=int, default=12, help="patients")
    parser.add_argument("-o", type=Path, required=True, help="folder for the results")
    parser.add_argument("--models", help="folder of other weights")
    parser.add_argument("--separate", default="network", help="network or otsu")
    asked = parser.parse_args(arguments)
    settings = {"models": asked.models, "separate": asked.separate, "confidence": False}
    run(asked.o, asked.n, settings)


if __name__ == "__main__":
    main(sys.argv[1:])
