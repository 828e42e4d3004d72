"""How well fractures are found and graded, on patients whose fractures are known.

The truth is a digital patient's: Genant's grade of the loss that was drawn. A vertebra that the
method calls not evaluable, or does not find, counts as grade 0 with a probability of 0. Found are
those that the report shows: graded, or as probable as the operating point.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CancelledError, InputError, SpineSegError
from ..labels import VERTEBRAE
from ..measure.fracture_probability import FEATURES, calibration, features_of
from ..measure.genant import grade_spine
from ..measure.vertebra_body import measure_bodies
from ..phantom.settings import Fracture, Mimic, PhantomSettings
from ..progress import Progress
from ..volume import Volume
from .fracture_scenes import HELD_OUT, FractureScene, disturbed, drawn_labels, fracture_scene
from .resultfile import FAILED, ResultFile, fingerprint, summary_path, write_csv

__all__ = [
    "COLUMNS", "MASKS", "METHOD", "SUMMARY_COLUMNS", "FractureEvaluation", "area_under_curve",
    "evaluate_fractures", "kappa", "reliability", "summary",
]  # fmt: skip

Floats = NDArray[np.float64]

METHOD = "rules"
MASKS = ("true", "disturbed")
"""What is measured: the masks that were drawn, and those with faults as networks make them."""
PATIENT = "patient"
COLUMNS = (
    "case", "kind", "method", "settings", "masks", "level", "mimic", "grade_true", "type_true",
    "grade", "type", "probability", "suspect", "evaluable", "problem", *FEATURES,
    "mimics_named", "error",
)  # fmt: skip
"""Of the table. ``kind`` is vertebra, patient (grade_true: the highest) or failed."""
SUMMARY_COLUMNS = (
    "method", "settings", "group", "patients", "vertebrae", "fractured", "evaluable_percent", "auc",
    "patient_auc", "exact_percent", "exact_fractured_percent", "type_percent", "kappa",
    "found_grade_1_percent", "found_grade_2_percent", "found_grade_3_percent", "false_per_patient",
    "false_moderate_per_patient", "false_suspects_per_patient", "mimics",
    "false_on_mimics_percent", "false_on_others_percent", "brier", "calibration_error",
)  # fmt: skip


@dataclass(frozen=True)
class FractureEvaluation:
    """What a run gave.

    Attributes
    ----------
    notes : list of str
    summary : list of dict
        Rows of FILE.summary.csv, one for each kind of mask.
    """

    notes: list[str]
    summary: list[dict[str, Any]]


def evaluate_fractures(
    output: Path | str,
    folder: Path | str | None = None,
    progress: Progress | None = None,
    *,
    phantoms: int = 0,
    seed: int = HELD_OUT,
    numbers: Sequence[int] = (),
    masks: Sequence[str] = MASKS,
    resume: bool = False,
) -> FractureEvaluation:
    """Grade the vertebrae of digital patients and compare with what was drawn.

    Parameters
    ----------
    output : Path or str
        CSV file; FILE.summary.csv and FILE.reliability.csv are written beside it.
    folder : Path or str, optional
        With folders that ``spineseg phantom`` wrote.
    progress : Progress, optional
    phantoms : int
        Instead of a folder: how many patients to draw.
    seed : int
        Of the first of these.
    numbers : sequence of int
        Which of the row that begins with `seed`, instead of the first ``phantoms``.
    masks : sequence of str
        Of `MASKS`.
    resume : bool
        Keep the file's rows, and skip the patients that are in it.

    Raises
    ------
    InputError
        Neither or both of folder and phantoms, an unknown kind of mask, or no patient in the
        folder.
    """
    progress = progress or Progress()
    unknown = set(masks) - set(MASKS)
    if unknown:
        raise InputError(f"There are no {unknown.pop()} masks.", f"Choose of: {', '.join(MASKS)}.")
    print_ = fingerprint({"masks": list(masks), **calibration().made}, ())
    file = ResultFile(Path(output), COLUMNS, resume)
    notes = []
    cases = _cases(folder, numbers or range(phantoms), seed)
    for number, (scene, read) in enumerate(cases):
        progress("evaluate", number / len(cases), scene.name)
        if file.done(scene.name, METHOD, print_):
            notes.append(f"{scene.name} was there already.")
            continue
        try:
            truth = read()
            rows = [r for name in masks for r in patient_rows(scene, truth, name)]
        except CancelledError:
            raise
        except SpineSegError as error:
            notes.append(f"{scene.name} failed: {error}")
            rows = [{"kind": FAILED, "error": str(error)}]
        file.put(scene.name, METHOD, print_, rows)
    kept = [r for r in file.rows if r["method"] == METHOD and r["settings"] == print_]
    lines = summary(kept)
    for line in lines:
        line.update(method=METHOD, settings=print_)
    write_csv(summary_path(Path(output)), SUMMARY_COLUMNS, lines)
    curves = [{"masks": name, **bin_} for name in masks for bin_ in reliability(kept, name)]
    write_csv(_reliability_path(Path(output)), ("masks", "from", "to", "n", "said", "true"), curves)
    progress("evaluate", 1.0)
    return FractureEvaluation(notes, lines)


def _reliability_path(path: Path) -> Path:
    return path.with_name(f"{path.name.removesuffix('.csv')}.reliability.csv")


def _cases(
    folder: Path | str | None, numbers: Sequence[int], seed: int
) -> list[tuple[FractureScene, Any]]:
    """Return patients, each with a function that gives its true label map."""
    if (folder is None) == (not numbers):
        raise InputError(
            "Either a folder or a number of digital patients is needed.",
            "Give FOLDER, or --phantoms N.",
        )
    if folder is None:
        scenes = [fracture_scene(n, seed) for n in numbers]
        return [(scene, lambda scene=scene: drawn_labels(scene)) for scene in scenes]
    found = sorted(Path(folder).glob("**/answers.json"))
    if not found:
        raise InputError(
            f"There is no digital patient in {folder}.",
            "Make some with: spineseg phantom -o FOLDER/NAME --fracture L1:wedge:0.4.",
        )
    return [(_written(path), lambda path=path: _read(path)) for path in found]


def _written(path: Path) -> FractureScene:
    content = json.loads(path.read_text(encoding="utf-8"))
    given = content["settings"]
    settings = PhantomSettings(
        fractures=tuple(Fracture(**one) for one in given["fractures"]),
        mimics=tuple(Mimic(**one) for one in given.get("mimics", ())),
        levels=tuple(given["levels"]),
    )
    return FractureScene(path.parent.name, settings, int(content["seed"]))


def _read(path: Path) -> Volume:
    from ..io.images import read_volume

    return read_volume(path.with_name("vertebrae.nii.gz")).astype(np.uint8)


def patient_rows(scene: FractureScene, truth: Volume, masks: str) -> Iterator[dict[str, Any]]:
    """Grade a patient and yield its rows: one for each whole vertebra in view, and its own."""
    labels = truth
    if masks == "disturbed":
        labels = disturbed(truth, np.random.default_rng([scene.seed, 42]))
    spine = grade_spine(measure_bodies(labels))
    found = {one.body.name: one for one in spine}
    model = calibration()
    highest = 0
    for level in _whole(truth):
        grade, kind = scene.truth(level)
        highest = max(highest, grade)
        row: dict[str, Any] = {
            "kind": "vertebra", "masks": masks, "level": level, "mimic": scene.mimic(level),
            "grade_true": grade, "type_true": kind, "evaluable": 0,
        }  # fmt: skip
        one = found.get(level)
        if one is None or one.loss is None:
            row["problem"] = "not found" if one is None else one.problem
        else:
            row.update(features_of(one))
            row.update(grade=one.grade, type=one.kind, evaluable=1)
            sure = model.probability(one) or 0.0
            row.update(probability=sure, mimics_named=", ".join(one.mimics))
            row["suspect"] = int(bool(one.grade) or sure >= model.operating_point)
        yield row
    yield {
        "kind": PATIENT, "masks": masks, "grade_true": highest,
        "probability": model.patient_probability(spine),
    }  # fmt: skip


def _whole(truth: Volume) -> list[str]:
    """Return the thoracic and lumbar levels whose mask does not touch the top or the bottom."""
    edge = {int(v) for end in (0, -1) for v in np.unique(truth.array[end])}
    present = {int(v) for v in np.unique(truth.array)} - edge
    return [v.name for v in VERTEBRAE if v.verse in present and v.name[0] != "C"]


# -- figures --------------------------------------------------------------------------------------


def summary(rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return the figures for each kind of mask, from table rows."""
    names = [name for name in MASKS if any(row["masks"] == name for row in rows)]
    return [{"group": f"{name} masks", **_figures(rows, name)} for name in names]


def _figures(rows: Sequence[Mapping[str, str]], masks: str) -> dict[str, Any]:
    own = [row for row in rows if row["masks"] == masks]
    bones = [row for row in own if row["kind"] == "vertebra"]
    people = [row for row in own if row["kind"] == PATIENT]
    true, said = _numbers(bones, "grade_true"), _numbers(bones, "grade")
    sure = _numbers(bones, "probability")
    ill = true >= 1
    mimic = np.array([bool(row["mimic"]) for row in bones])
    suspect = _numbers(bones, "suspect") > 0
    false = (said >= 1) & ~ill
    line: dict[str, Any] = {
        "patients": len(people),
        "vertebrae": len(bones),
        "fractured": int(ill.sum()),
        "evaluable_percent": _percent(_numbers(bones, "evaluable") > 0),
        "auc": area_under_curve(sure, ill),
        "patient_auc": area_under_curve(
            _numbers(people, "probability"), _numbers(people, "grade_true") >= 1
        ),
        "exact_percent": _percent(true == said),
        "exact_fractured_percent": _percent((true == said)[ill]),
        "type_percent": _percent(
            np.array([r["type"] == r["type_true"] for r in bones])[ill & (said >= 1)]
        ),
        "kappa": kappa(true, said),
        "false_per_patient": float(false.sum()) / max(len(people), 1),
        "false_moderate_per_patient": float(((said >= 2) & ~ill).sum()) / max(len(people), 1),
        "false_suspects_per_patient": float((suspect & ~ill).sum()) / max(len(people), 1),
        "mimics": int(mimic.sum()),
        "false_on_mimics_percent": _percent(false[mimic & ~ill]),
        "false_on_others_percent": _percent(false[~mimic & ~ill]),
        "brier": float(((sure - ill) ** 2).mean()) if len(bones) else None,
    }
    for grade in (1, 2, 3):
        line[f"found_grade_{grade}_percent"] = _percent(suspect[true == grade])
    bins = reliability(rows, masks)
    total = sum(one["n"] for one in bins)
    off = sum(one["n"] * abs(one["said"] - one["true"]) for one in bins)
    line["calibration_error"] = off / total if total else None
    return line


def reliability(rows: Sequence[Mapping[str, str]], masks: str) -> list[dict[str, Any]]:
    """Return, for bins of probability, what was said and how many were truly fractured."""
    bones = [
        r for r in rows if r["masks"] == masks and r["kind"] == "vertebra" and r["probability"]
    ]
    sure, ill = _numbers(bones, "probability"), _numbers(bones, "grade_true") >= 1
    edges = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 1.0001)
    bins = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        here = (sure >= low) & (sure < high)
        if here.any():
            said, true = float(sure[here].mean()), float(ill[here].mean())
            one = {"from": low, "to": min(high, 1.0), "n": int(here.sum())}
            bins.append({**one, "said": said, "true": true})
    return bins


def area_under_curve(score: Floats, ill: NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve (Mann and Whitney's U); None without both kinds."""
    from scipy.stats import rankdata

    count = int(ill.sum())
    if not count or count == len(ill):
        return None
    rank = rankdata(score)
    return float((rank[ill].sum() - count * (count + 1) / 2) / (count * (len(ill) - count)))


def kappa(true: Floats, said: Floats, grades: int = 4) -> float | None:
    """Return Cohen's kappa of two gradings, linearly weighted (Cohen, Psychol Bull 1968;70:213)."""
    if not len(true):
        return None
    table = np.zeros((grades, grades))
    np.add.at(table, (true.astype(int), said.astype(int)), 1.0 / len(true))
    apart = np.abs(np.subtract.outer(np.arange(grades), np.arange(grades)))
    chance = float((np.outer(table.sum(axis=1), table.sum(axis=0)) * apart).sum())
    return 1.0 - float((table * apart).sum()) / chance if chance > 0 else None


def _numbers(rows: Sequence[Mapping[str, str]], name: str) -> Floats:
    return np.array([float(row[name] or 0.0) for row in rows])


def _percent(which: NDArray[np.bool_]) -> float | None:
    return 100.0 * float(which.mean()) if len(which) else None
