"""The table of paper 000: point-to-surface distances per level and case, and bodies beside it.

A data set is a folder with one folder a case. Each holds a model, ``segmentation.nii.gz`` or a
folder ``models`` of STL files, with ``landmarks.mrk.json``, ``.fcsv`` or ``.csv``; or found bodies,
``bodies.nii.gz``, with ``reference_bodies.nii.gz``; or both. What `spineseg translate` writes can
be used as it is.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CancelledError, InputError, SpineSegError
from ..io.landmarks import read_landmarks
from ..labels import VERTEBRAE
from ..progress import Progress
from ..validation import read_surfaces, validate
from .body_scores import BodyScore, score_bodies, summary

__all__ = ["PaperTable", "evaluate", "markdown"]

LANDMARKS = ("landmarks.mrk.json", "landmarks.fcsv", "landmarks.csv")
SEGMENTATION, MODELS = "segmentation.nii.gz", "models"
BODIES, REFERENCE = "bodies.nii.gz", "reference_bodies.nii.gz"
_ORDER = {level.name: n for n, level in enumerate(VERTEBRAE)}
MISSING = "N/A"


@dataclass(frozen=True)
class PaperTable:
    """What a data set gave.

    Attributes
    ----------
    distances : dict of str to dict of str to float
        Case → level → mean point-to-surface distance after ICP, mm.
    bodies : dict of str to list of BodyScore
        Case → scores without registration.
    failed : dict of str to str
        Case → why it gave nothing.
    """

    distances: dict[str, dict[str, float]] = field(default_factory=dict)
    bodies: dict[str, list[BodyScore]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def levels(self) -> list[str]:
        """Return the levels that any case has, from the top; unsure ones last."""
        found = {level for case in self.distances.values() for level in case}
        return sorted(found, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))


def evaluate(folder: Path, output: Path, progress: Progress | None = None) -> PaperTable:
    """Measure all cases of a folder, and write ``output`` (CSV) with a ``.md`` beside it.

    A case that can't be measured doesn't end the run; it is named in both files.

    Raises
    ------
    InputError
        There is no case in the folder.
    """
    progress = progress or Progress()
    cases = (
        sorted(p for p in folder.iterdir() if p.is_dir() and _usable(p)) if folder.is_dir() else []
    )
    if not cases:
        raise InputError(
            f"{folder} holds no case.",
            f"Give each a folder with {SEGMENTATION} and landmarks, or {BODIES} and {REFERENCE}.",
        )
    table = PaperTable()
    for n, case in enumerate(cases):
        progress("case", n / len(cases), case.name)
        try:
            _measure(case, table)
        except CancelledError:
            raise
        except SpineSegError as error:
            table.failed[case.name] = str(error)
    output.parent.mkdir(parents=True, exist_ok=True)
    _write(table, output)
    output.with_suffix(".md").write_text(markdown(table), encoding="utf-8")
    progress("case", 1.0)
    return table


def _landmark_file(case: Path) -> Path | None:
    return next((case / name for name in LANDMARKS if (case / name).exists()), None)


def _usable(case: Path) -> bool:
    return _landmark_file(case) is not None or (case / REFERENCE).exists()


def _measure(case: Path, table: PaperTable) -> None:
    from ..io.images import read_volume

    points = _landmark_file(case)
    if points is not None:
        model = case / MODELS if (case / MODELS).is_dir() else case / SEGMENTATION
        found = validate(read_surfaces(model), read_landmarks(points))
        table.distances[case.name] = {fit.level: fit.mean for fit in found.fits}
    if (case / REFERENCE).exists():
        truth = read_volume(case / REFERENCE)
        made = truth.like(np.zeros(truth.shape, np.uint8))
        if (case / BODIES).exists():
            made = read_volume(case / BODIES)
        else:
            table.failed[case.name] = f"There is no {BODIES}: its bodies count as missed."
        table.bodies[case.name] = score_bodies(truth.astype(np.uint8), made.astype(np.uint8))


def _write(table: PaperTable, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "kind", "level", "distance_mm", "dice"])
        for case, levels in table.distances.items():
            for level, value in levels.items():
                writer.writerow([case, "landmarks", level, round(value, 3), ""])
        for case, scores in table.bodies.items():
            for score in scores:
                away = "" if score.distance_mm is None else round(score.distance_mm, 3)
                writer.writerow([case, "body", score.label, away, round(score.dice, 4)])
        for case, reason in table.failed.items():
            writer.writerow([case, "failed", reason, "", ""])


def markdown(table: PaperTable) -> str:
    """Return the paper's table, that of the bodies, and the cases that failed."""
    parts = []
    if table.distances:
        parts.append(_distances(table.distances, table.levels))
    if table.bodies:
        lines = ["| case | bodies | found | Dice | distance, mm |", "|---|---|---|---|---|"]
        groups: dict[str, list[BodyScore]] = dict(table.bodies)
        groups["all"] = [score for scores in table.bodies.values() for score in scores]
        for name, scores in groups.items():
            s = summary(scores)
            lines.append(
                f"| {name} | {len(scores)} | {s['found']:.0%} | {s['dice']:.3f} |"
                f" {s['distance_mm']:.2f} |"
            )
        parts.append("\n".join(lines))
    parts += [f"{case} failed: {reason}" for case, reason in table.failed.items()]
    return "\n\n".join(parts) + "\n"


def _distances(cases: Mapping[str, Mapping[str, float]], levels: Sequence[str]) -> str:
    names = list(cases)
    lines = [
        "| level | " + " | ".join(names) + " | mean per level, mm |",
        "|---" * (len(names) + 2) + "|",
    ]
    for level in levels:
        values = [cases[name].get(level) for name in names]
        known = [v for v in values if v is not None]
        cells = [MISSING if v is None else f"{v:.2f}" for v in values]
        lines.append(f"| {level} | " + " | ".join(cells) + f" | {np.mean(known):.2f} |")
    means = [_spread(list(cases[name].values())) for name in names]
    every = [v for case in cases.values() for v in case.values()]
    lines.append("| mean ± SD | " + " | ".join(means) + f" | {_spread(every)} |")
    lines.append("")
    lines.append(f"{len(every)} vertebrae with a mean distance error of {_spread(every)} mm")
    return "\n".join(lines)


def _spread(values: Sequence[Any]) -> str:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return f"{np.mean(values):.2f} ± {deviation:.2f}"
