"""How well fractures are found and graded, on patients whose fractures are known.

The truth is a digital patient's, Genant's grade of the loss that was drawn, or what readers said of
published scans. A vertebra that the
method calls not evaluable, or does not find, counts as grade 0 with a probability of 0. Found are
those that the report shows: graded, or as probable as the operating point.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CancelledError, InputError, SpineSegError
from ..fracture_networks import VAE, VOXELS, networks_here
from ..labels import by_name
from ..measure.fracture_probability import FEATURES, calibration, features_of
from ..measure.genant import grade_spine
from ..measure.vertebra_body import VertebraBody, measure_bodies
from ..progress import Progress
from ..volume import Volume
from .agreement import area_under_curve, kappa
from .fracture_cases import Patient, Scene, find_patients, whole_levels
from .fracture_curves import curves_path, draw_curves
from .fracture_masks import (
    ALL_MASKS,
    MASKS,
    SEGMENTED,
    height_rows,
    heights_file,
    heights_words,
    masks_of,
    matched,
)
from .fracture_mimics import MIMIC_COLUMNS, cut_rows, mimic_table, mimics_path
from .fracture_networks import (
    NOISY,
    TABLE_COLUMNS,
    largest_groups,
    network_table,
    score_patient,
    table_path,
    true_centres,
)
from .fracture_scenes import HELD_OUT
from .resultfile import FAILED, ResultFile, fingerprint, summary_path, write_csv

__all__ = [
    "COLUMNS", "MASKS", "METHOD", "SUMMARY_COLUMNS", "FractureEvaluation", "evaluate_fractures",
    "reliability", "summary",
]  # fmt: skip

Floats = NDArray[np.float64]

METHOD = "rules"
PATIENT = "patient"
COLUMNS = (
    "case", "kind", "method", "settings", "masks", "level", "mimic", "grade_true", "type_true",
    "grade", "type", "probability", "suspect", "evaluable", "problem", *FEATURES,
    "mimics_named", "by_rules", "networks", "voxel_groups", "error",
)  # fmt: skip
"""Of the table. ``kind`` is vertebra, cut (off), patient (grade_true: the highest) or failed;
``by_rules`` is the probability without the networks, ``networks`` has each network's score,
``voxel_groups`` a patient's largest group by threshold, both as JSON."""
SUMMARY_COLUMNS = (
    "method", "settings", "group", "patients", "vertebrae", "fractured", "evaluable_percent", "auc",
    "patient_auc", "exact_percent", "exact_fractured_percent", "type_percent", "kappa",
    "found_grade_1_percent", "found_grade_2_percent", "found_grade_3_percent", "false_per_patient",
    "false_moderate_per_patient", "false_suspects_per_patient", "mimics", "patients_with_mimics",
    "false_on_mimics_per_patient", "false_on_mimics_percent", "false_on_others_percent", "brier",
    "calibration_error",
)  # fmt: skip


@dataclass(frozen=True)
class FractureEvaluation:
    """What a run gave.

    Attributes
    ----------
    notes : list of str
    summary : list of dict
        Rows of FILE.summary.csv, one for each kind of mask.
    networks : list of dict
        Rows of FILE.networks.csv: the rules and each network beside each other.
    """

    notes: list[str]
    summary: list[dict[str, Any]]
    networks: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Networks:
    """Which networks are asked, too.

    Attributes
    ----------
    models : str or None
        Their folder, if not the package's own.
    others : mapping of str to str
        Further Spine-VAEs by name, such as the paper's baselines, each with its folder of models.
    groups : bool
        Whether voxels are mapped along the whole spine, too, for the patients' curve (slow).
    """

    models: str | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    groups: bool = True


def evaluate_fractures(
    output: Path | str,
    folder: Path | str | None = None,
    progress: Progress | None = None,
    *,
    phantoms: int = 0,
    seed: int = HELD_OUT,
    numbers: Sequence[int] = (),
    masks: Sequence[str] = MASKS,
    networks: Networks | None = None,
    press: int = 0,
    resume: bool = False,
) -> FractureEvaluation:
    """Grade the vertebrae of digital patients and compare with what was drawn.

    Parameters
    ----------
    output : Path or str
        CSV file; beside it are written FILE.summary.csv, FILE.mimics.csv, FILE.reliability.csv and
        FILE.reliability.svg.
    folder : Path or str, optional
        With folders that ``spineseg phantom`` wrote, or of VerSe or xVertSeg with its grades.
    progress : Progress, optional
    phantoms : int
        Instead of a folder: how many patients to draw.
    seed : int
        Of the first of these.
    numbers : sequence of int
        Which of the row that begins with `seed`, instead of the first ``phantoms``.
    masks : sequence of str
        Of `ALL_MASKS`.
    networks : Networks, optional
        Ask these networks, too, and write FILE.networks.csv; then CTs are rendered.
    press : int
        Show each labelled scan of the folder so often, with vertebrae pressed together.
    resume : bool
        Keep the file's rows, and skip the patients that are in it.

    Raises
    ------
    InputError
        Neither or both of folder and phantoms, an unknown kind of mask, or no patient in the
        folder.
    """
    progress = progress or Progress()
    unknown = set(masks) - set(ALL_MASKS)
    if unknown:
        raise InputError(
            f"There are no {unknown.pop()} masks.", f"Choose of: {', '.join(ALL_MASKS)}."
        )
    asked: dict[str, Any] = {"masks": list(masks), **calibration().made}
    if networks is not None:
        asked["networks"] = [networks_here(f) for f in (networks.models, *networks.others.values())]
    print_ = fingerprint(asked, ())
    file = ResultFile(Path(output), COLUMNS, resume)
    notes = []
    scans = networks is not None or SEGMENTED in masks
    cases = find_patients(folder, numbers or range(phantoms), seed, scans, press)
    heights = heights_file(Path(output), resume)
    for number, (scene, read) in enumerate(cases):
        progress("evaluate", number / len(cases), scene.name)
        if file.done(scene.name, METHOD, print_):
            notes.append(f"{scene.name} was there already.")
            continue
        try:
            truth = read()
            rows, tall = _measured(scene, truth, masks, networks)
        except CancelledError:
            raise
        except SpineSegError as error:
            notes.append(f"{scene.name} failed: {error}")
            rows, tall = [{"kind": FAILED, "error": str(error)}], []
        file.put(scene.name, METHOD, print_, rows)
        if tall:
            heights.put(scene.name, METHOD, print_, tall)
    words = heights_words([r for r in heights.rows if r["settings"] == print_])
    kept = [r for r in file.rows if r["method"] == METHOD and r["settings"] == print_]
    lines, table = _write_tables(Path(output), kept, masks, networks is not None)
    progress("evaluate", 1.0)
    return FractureEvaluation([*notes, *([words] if words else [])], lines, table)


def _measured(
    scene: Scene, patient: Patient, masks: Sequence[str], networks: Networks | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a patient's rows, and those of its heights on segmented masks."""
    rows: list[dict[str, Any]] = []
    tall: list[dict[str, Any]] = []
    for name in masks:
        labels = masks_of(scene, patient, name)
        rows += patient_rows(scene, patient, name, labels, networks)
        if name == SEGMENTED:
            tall += height_rows(patient.labels, labels)
    return rows, tall


def _write_tables(
    output: Path, kept: Sequence[Mapping[str, str]], masks: Sequence[str], networks: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write what stands beside the table of vertebrae; return the summary and the networks'."""
    lines = summary(kept)
    for line in lines:
        line.update(method=METHOD, settings=kept[0]["settings"])
    write_csv(summary_path(output), SUMMARY_COLUMNS, lines)
    bins = {name: reliability(kept, name) for name in masks}
    curves = [{"masks": name, **bin_} for name, own in bins.items() for bin_ in own]
    write_csv(curves_path(output, "csv"), ("masks", "from", "to", "n", "said", "true"), curves)
    draw_curves(kept, bins, curves_path(output, "svg"))
    write_csv(mimics_path(output), MIMIC_COLUMNS, mimic_table(kept, masks))
    table = network_table(kept, masks) if networks else []
    if table:
        write_csv(table_path(output), TABLE_COLUMNS, table)
    return lines, table


def patient_rows(
    scene: Scene, patient: Patient, masks: str, labels: Volume, networks: Networks | None = None
) -> Iterator[dict[str, Any]]:
    """Grade a patient and yield its rows: one for each whole vertebra in view, and its own.

    ``labels`` are its masks of the kind ``masks``, from `masks_of`.
    """
    truth = patient.labels
    at = matched(truth, labels)
    bodies = measure_bodies(labels)
    scores, groups = _asked(scene, patient, labels, bodies, networks, masks == MASKS[0])
    spine = grade_spine(bodies)
    by_label = {one.body.label: one for one in spine}
    found = {level: by_label[label] for level, label in at.items() if label in by_label}
    model = calibration()
    used: dict[int, tuple[float | None, float | None] | None] = {}
    if networks is not None and model.takes(networks_here(networks.models)):
        known = {*scores[VOXELS], *scores[VAE]}
        used = {n: (scores[VOXELS].get(n), scores[VAE].get(n)) for n in known}
    highest = 0
    for level in whole_levels(truth):
        graded = scene.truth(level)
        if graded is None:
            continue
        grade, kind = graded
        highest = max(highest, grade)
        row: dict[str, Any] = {
            "kind": "vertebra", "masks": masks, "level": level, "mimic": scene.mimic(level),
            "grade_true": grade, "type_true": kind, "evaluable": 0,
        }  # fmt: skip
        own = {
            name: round(known[n], 5)
            for name, known in scores.items()
            # What was asked at true centroids goes by true labels.
            if (n := by_name(level).verse if name == NOISY else at.get(level)) in known
        }
        row["networks"] = json.dumps(own) if own else ""
        one = found.get(level)
        if one is None or one.loss is None:
            row["problem"] = "not found" if one is None else one.problem
        else:
            row.update(features_of(one))
            row.update(grade=one.grade, type=one.kind, evaluable=1)
            pair = used.get(one.body.label)
            sure = model.probability(one, pair) or 0.0
            row.update(probability=sure, by_rules=model.probability(one))
            row["mimics_named"] = ", ".join(one.mimics)
            row["suspect"] = int(bool(one.grade) or sure >= model.least(pair))
        yield row
    yield from cut_rows(scene, truth, found, masks)
    yield {
        "kind": PATIENT, "masks": masks, "grade_true": highest,
        "probability": model.patient_probability(spine, used), "voxel_groups": groups,
    }  # fmt: skip


def _asked(
    scene: Scene,
    patient: Patient,
    labels: Volume,
    bodies: Sequence[VertebraBody],
    networks: Networks | None,
    first: bool,
) -> tuple[dict[str, dict[int, float]], str]:
    """Return the networks' scores by label, and the largest groups of voxels as JSON."""
    if networks is None or patient.scan is None:
        return {}, ""
    centres = {} if patient.bodies is None else true_centres(patient.labels, patient.bodies)
    rng = np.random.default_rng([scene.seed, 46])
    models = networks.models
    scores = score_patient(patient.scan, labels, bodies, centres, rng, models, networks.others)
    if not (first and networks.groups and centres and VOXELS in networks_here(models)):
        return scores, ""
    return scores, json.dumps(largest_groups(patient.scan, list(centres.values()), models))


# -- figures --------------------------------------------------------------------------------------


def summary(rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return the figures for each kind of mask, from table rows."""
    names = [name for name in ALL_MASKS if any(row["masks"] == name for row in rows)]
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
    mimicking = {row["case"] for row, is_mimic in zip(bones, mimic & ~ill, strict=True) if is_mimic}
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
        "patients_with_mimics": len(mimicking),
        "false_on_mimics_per_patient": float(false[mimic].sum()) / max(len(mimicking), 1),
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


def _numbers(rows: Sequence[Mapping[str, str]], name: str) -> Floats:
    return np.array([float(row[name] or 0.0) for row in rows])


def _percent(which: NDArray[np.bool_]) -> float | None:
    return 100.0 * float(which.mean()) if len(which) else None
