"""What only looks like a fracture, counted by kind: false grades on mimics and on cut-off bodies.

A vertebra that is cut by the upper or lower end of the scan has no truth to be compared with: it
should be told as not evaluable, and any grade of it counts as false.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..labels import VERTEBRAE
from ..measure.genant import Graded
from ..volume import Volume
from .fracture_cases import Scene, cut_labels

__all__ = ["CUT", "MIMIC_COLUMNS", "cut_levels", "cut_rows", "mimic_table", "mimics_path"]

CUT = "cut"
"""Kind of the rows of cut-off vertebrae."""
MIMIC_COLUMNS = (
    "masks", "looks_like", "patients", "vertebrae", "evaluable_percent", "false_percent",
    "false_moderate_percent", "false_per_patient", "false_suspects_per_patient",
)  # fmt: skip
"""Of FILE.mimics.csv. ``patients`` are those who have such a vertebra; false is grade 1 or more."""
_NAMES = {
    "scheuermann": "Scheuermann's disease",
    "short": "short vertebral height",
    "schmorl": "Schmorl's node",
    "wedging": "degenerative wedging",
    CUT: "cut-off vertebra",
    "": "none of these",
}


def cut_levels(truth: Volume) -> list[str]:
    """Return the thoracic and lumbar levels whose mask touches the top or the bottom."""
    edge = cut_labels(truth)
    return [v.name for v in VERTEBRAE if v.verse in edge and v.name[0] != "C"]


def cut_rows(
    scene: Scene, truth: Volume, found: Mapping[str, Graded], masks: str
) -> Iterator[dict[str, Any]]:
    """Yield a table row for each cut-off vertebra whose truth is known.

    Parameters
    ----------
    scene : Scene
    truth : Volume
        True label map (k, j, i).
    found : mapping of str to Graded
        By level.
    masks : str
        Which masks were measured.
    """
    for level in cut_levels(truth):
        known, one = scene.truth(level), found.get(level)
        if known is None:
            continue
        row: dict[str, Any] = {
            "kind": CUT, "masks": masks, "level": level, "mimic": CUT, "grade_true": known[0],
            "evaluable": 0,
        }  # fmt: skip
        if one is None or one.loss is None:
            row["problem"] = "not found" if one is None else one.problem
        else:
            row.update(evaluable=1, grade=one.grade, suspect=int(bool(one.grade)))
        yield row


def mimic_table(rows: Sequence[Mapping[str, str]], masks: Sequence[str]) -> list[dict[str, Any]]:
    """Return a line for each kind of mimic and of masks, from rows of `evaluate_fractures`.

    Vertebrae that are fractured do not count.
    """
    lines = []
    for mask in masks:
        own = [row for row in rows if row["masks"] == mask and row["kind"] in ("vertebra", CUT)]
        sound = [row for row in own if float(row["grade_true"] or 0) < 1]
        for kind, name in _NAMES.items():
            here = [row for row in sound if row["mimic"] == kind]
            if here:
                lines.append({"masks": mask, "looks_like": name, **_line(here)})
    return lines


def _line(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    grade = np.array([float(row["grade"] or 0) for row in rows])
    suspect = np.array([float(row["suspect"] or 0) for row in rows])
    patients = len({row["case"] for row in rows})
    return {
        "patients": patients,
        "vertebrae": len(rows),
        "evaluable_percent": 100 * float(np.mean([row["evaluable"] == "1" for row in rows])),
        "false_percent": 100 * float((grade >= 1).mean()),
        "false_moderate_percent": 100 * float((grade >= 2).mean()),
        "false_per_patient": float((grade >= 1).sum()) / patients,
        "false_suspects_per_patient": float((suspect > 0).sum()) / patients,
    }


def mimics_path(path: Path) -> Path:
    """Return where the table is written beside a table."""
    return path.with_name(f"{path.name.removesuffix('.csv')}.mimics.csv")
