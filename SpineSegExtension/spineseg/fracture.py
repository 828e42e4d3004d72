"""Finding fractured vertebrae in a CT and its segmentation, and saving what was found.

>>> from spineseg import read_volume, segment
>>> from spineseg.fracture import find_fractures, save_fractures
>>> scan = read_volume("scan.nii.gz")
>>> found = find_fractures(scan, segment(scan).segmentation)
>>> save_fractures(found, scan, "result")
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spineseg.fracture_input import require_match
from spineseg.fracture_networks import NetworkScore, network_scores, networks_here
from spineseg.manifest import FILE_NAME as MANIFEST
from spineseg.manifest import InputRecord, RunManifest, machine, now, output_hashes, plain
from spineseg.measure.bone_density import (
    CONTRAST,
    CONTRAST_HU,
    BoneDensity,
    aorta_hu,
    density_words,
    measure_density,
)
from spineseg.measure.extent import EXTENTS
from spineseg.measure.fracture_probability import calibration
from spineseg.measure.genant import Graded, grade_spine
from spineseg.measure.vertebra_body import PLACES, PLANES, VertebraBody, measure_bodies
from spineseg.pipeline import LABELS, REPORT, check_folder, model_records
from spineseg.progress import Progress
from spineseg.volume import Volume

if TYPE_CHECKING:
    from spineseg.fracture_look import Look

__all__ = [
    "METHOD", "PARTS", "RESULT", "TABLE", "TASK", "Fractures", "VertebraFinding", "find_fractures",
    "graded_findings", "notes_on", "save_fractures",
]  # fmt: skip

TASK = "fracture"
METHOD = "rules"
RESULT, TABLE = "fractures.json", "fractures.csv"
MAP = "fracture_probability.nii.gz"
PARTS = (RESULT, TABLE, REPORT, LABELS, MAP)
"""What is written, besides run.json; the label map only where it was made on the way, the map only
where the networks were to show what they see."""
_COLUMNS = (
    "level", "evaluable", "reason", "genant_grade", "type", "probability", "voxel_probability",
    "vae_probability",
    *(f"{place}_mm" for place in PLACES), *(f"{place}_loss_percent" for place in PLACES),
    "wedge_deg", "upper_concavity_mm", "lower_concavity_mm", "area_mm2", "volume_ml",
    *(f"{name}_loss_percent" for name in EXTENTS), "hu_mean",
    "hu_p10", "hu_median", "hu_p90", "mimics", "evidence",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class VertebraFinding:
    """One vertebra: its grade with the evidence, its probability and its density.

    ``score`` is what the networks say, where their weights are present; ``combined`` tells whether
    the probability takes it in.
    """

    graded: Graded
    probability: float | None
    density: BoneDensity
    score: NetworkScore = NetworkScore()
    combined: bool = False

    @property
    def level(self) -> str:
        return self.graded.body.name

    @property
    def suspect(self) -> bool:
        """Whether somebody should look at it: graded, or as probable as the operating point."""
        least = calibration().least(self.score.pair if self.combined else None)
        return bool(self.graded.grade) or (self.probability or 0.0) >= least

    def to_json(self) -> dict[str, Any]:
        """Return plain values; lengths in mm, positions RAS mm (docs/fracture.md)."""
        one, body, density = self.graded, self.graded.body, self.density
        heights = body.heights
        loss = None if one.loss is None else dict(zip(PLACES, 100 * one.loss, strict=True))
        return {
            "level": body.name,
            "label": body.label,
            "evaluable": not one.problem,
            "reason": one.problem,
            "genant_grade": one.grade,
            "type": one.kind,
            "probability": _round(self.probability, 3),
            "voxel_probability": _round(self.score.voxels, 3),
            "vae_probability": _round(self.score.vae, 3),
            "suspect": self.suspect,
            "heights_mm": _named(body.heights_mm, 1),
            "loss_percent": _named(loss, 1),
            "hu_mean": _round(density.mean, 1),
            "evidence": [
                *one.evidence, *([f"HU: {density.problem}"] if density.problem else []),
                *([self.score.words] if self.score.words else []),
            ],
            "mimics": list(one.mimics),
            "heights_by_plane_mm": None if heights is None else {
                plane: _named(dict(zip(PLACES, row, strict=True)), 1)
                for plane, row in zip(PLANES, heights, strict=True)
            },
            "points_ras": None if body.points is None else {
                plane: np.round(six, 2).tolist()
                for plane, six in zip(PLANES, body.points, strict=True)
            },
            "wedge_deg": _round(body.wedge_deg, 1),
            "concavity_mm": [_round(v, 1) for v in body.concavity_mm or (None, None)],
            "node_mm": [_round(v, 1) for v in body.node_mm or (None, None)],
            "area_mm2": _round(body.area_mm2, 0),
            "volume_ml": _round(body.volume_ml, 2),
            **{f"{name}_loss_percent": _percent(one.lost.get(name)) for name in EXTENTS},
            "hu": {"p10": _round(density.p10, 1), "median": _round(density.median, 1),
                   "p90": _round(density.p90, 1)},
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Fractures:
    """What was found in one scan.

    Attributes
    ----------
    findings : list of VertebraFinding
        Every vertebra of the label map, from the top.
    probability : float or None
        That the patient has any fracture; None where no vertebra is evaluable.
    aorta_hu : float or None
        Of the blood in front of the spine.
    segmentation : Volume
    made : bool
        Whether the label map was made on the way.
    warnings, settings, timings, models
        As in `spineseg.result.SegmentationResult`.
    look : Look or None
        What the networks see, where that was asked for.
    """

    findings: list[VertebraFinding]
    probability: float | None
    aorta_hu: float | None
    segmentation: Volume
    made: bool = False
    warnings: list[str] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    look: Look | None = None

    @property
    def vertebrae(self) -> list[dict[str, Any]]:
        return [finding.to_json() for finding in self.findings]

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``fractures.json``."""
        return {
            "vertebrae": self.vertebrae,
            "patient": {"probability": _round(self.probability, 3)},
            "aorta_hu": _round(self.aorta_hu, 0),
            "operating_point": calibration().operating_point,
            "calibration": dict(calibration().made),
            "warnings": list(self.warnings),
        }


def find_fractures(
    scan: Volume, segmentation: Volume, progress: Progress | None = None, networks: bool = True
) -> Fractures:
    """Measure and grade every vertebra of a segmented CT.

    Parameters
    ----------
    scan : Volume
        CT in HU (k, j, i).
    segmentation : Volume
        Label map on its grid: VerSe ids, or 101, 102 … where levels are unsure.
    progress : Progress, optional
    networks : bool
        Whether the networks are asked, too, where their weights are present.

    Raises
    ------
    InputError
        The label map lies on another grid, holds no vertebra, or can't be of this scan.
    """
    progress = progress or Progress()
    started = time.perf_counter()
    left_out = require_match(scan, segmentation)
    progress("measure", 0.0, "heights")
    bodies = measure_bodies(segmentation)
    progress("measure", 0.7, "grades")
    densities = [measure_density(scan, body) for body in bodies]
    progress("measure", 0.75, "networks")
    where = [(body.label, body.centre) for body in bodies]
    asked = network_scores(scan, segmentation, where) if networks else {}
    # Of a vertebra that is cut off, a network says something just the same.
    scores = {b.label: asked[b.label] for b in bodies if b.label in asked and not b.problem}
    findings, probability = graded_findings(bodies, densities, scores)
    progress("measure", 0.9, "contrast")
    blood = aorta_hu(scan, bodies)
    return Fractures(
        findings,
        probability,
        blood,
        segmentation,
        warnings=[*left_out, *notes_on(findings, blood)],
        timings={"fractures": round(time.perf_counter() - started, 3)},
        models=tuple(networks_here()) if scores else (),
    )


def graded_findings(
    bodies: Sequence[VertebraBody],
    densities: Sequence[BoneDensity],
    scores: Mapping[int, NetworkScore] | None = None,
    moved: Collection[int] = (),
) -> tuple[list[VertebraFinding], float | None]:
    """Grade measured vertebrae, some perhaps with moved points.

    Parameters
    ----------
    bodies : sequence of VertebraBody
        All of a spine, from the top.
    densities : sequence of BoneDensity
        One for each.
    scores : mapping of int to NetworkScore, optional
        By label. They count where the calibration was fitted on the networks at hand.
    moved : collection of int
        Labels of vertebrae whose points are a user's: the networks saw the mask that these
        correct, so there the rules alone count.

    Returns
    -------
    findings : list of VertebraFinding
        One for each, in their order.
    probability : float or None
        That the patient has any fracture; None where no vertebra is evaluable.
    """
    spine = grade_spine(bodies)
    model = calibration()
    said = scores or {}
    counts = bool(said) and model.takes(networks_here())
    pairs = {n: score.pair for n, score in said.items() if counts and n not in moved}
    findings = []
    for one, density in zip(spine, densities, strict=True):
        label = one.body.label
        score, used = said.get(label, NetworkScore()), pairs.get(label)
        sure = model.probability(one, used)
        findings.append(VertebraFinding(one, sure, density, score, model.counts(used)))
    return findings, model.patient_probability(spine, pairs)


def notes_on(findings: Sequence[VertebraFinding], blood: float | None) -> list[str]:
    """Return a sentence for everything that makes findings doubtful; `blood` in HU."""
    told = []
    if len(findings) == 1:
        told.append("There is one vertebra only: its neighbours, to compare it with, are missing.")
    metal = [f.level for f in findings if "metal" in f.density.problem]
    if metal:
        told.append(
            f"Metal or cement in {', '.join(metal)}: its HU mean nothing, and streaks may have"
            " spoilt outlines there and beside."
        )
    contrast = blood is not None and blood > CONTRAST_HU
    if contrast:
        told.append(
            f"Contrast in front of the spine ({blood:.0f} HU): vertebrae are about"
            f" {CONTRAST.least:.0f} to {CONTRAST.most:.0f} HU brighter than without."
        )
    first = next((f for f in findings if f.level == "L1" and f.density.mean is not None), None)
    if first is not None and first.density.mean is not None and not first.graded.grade:
        words = density_words(first.density.mean, contrast)
        told += [f"L1 has {words} (Pickhardt et al. 2013)."] if words else []
    lost = [f for f in findings if f.graded.problem and f.level[0] != "C"]
    if lost:
        names = ", ".join(f.level for f in lost)
        told.append(f"Not evaluable: {names}; the table says why.")
    return told


def save_fractures(
    found: Fractures,
    scan: Volume,
    folder: str | Path,
    progress: Progress | None = None,
    *,
    method: str = METHOD,
    inputs: Collection[InputRecord] = (),
    title: str = "CT",
    parts: Collection[str] = PARTS,
    mesh_format: str = "stl",
    overwrite: bool = False,
) -> Path:
    """Write what was found into a folder: all of it, or nothing.

    Parameters and errors as in `spineseg.pipeline.save`, with `PARTS` of this module;
    ``mesh_format`` is not used.
    """
    from spineseg.atomic import atomic_folder
    from spineseg.io.images import write_volume

    progress = progress or Progress()
    target = check_folder(folder, overwrite, parts)
    with atomic_folder(target) as made:
        manifest = RunManifest(
            task=TASK,
            method=method,
            inputs=list(inputs),
            settings=dict(found.settings),
            models=model_records(found.models),
            timings=dict(found.timings),
            warnings=list(found.warnings),
            grid={"shape_kji": list(scan.shape), "affine_ras": scan.affine.tolist()},
            created=now(),
            machine=machine(),
        )
        if RESULT in parts:
            text = json.dumps(found.to_json(), indent=1, ensure_ascii=False, default=plain)
            (made / RESULT).write_text(text + "\n", encoding="utf-8", newline="\n")
        if TABLE in parts:
            _write_table(found, made / TABLE)
        if LABELS in parts and found.made:
            write_volume(found.segmentation, made / LABELS)
        if MAP in parts and found.look is not None:
            write_volume(found.look.probability, made / MAP)
        progress("save", 0.3, REPORT)
        if REPORT in parts:
            from spineseg.fracture_report import write_fracture_report

            write_fracture_report(found, scan, made / REPORT, manifest, title)
        replace(manifest, outputs=output_hashes(made)).write(made / MANIFEST)
    progress("save", 1.0)
    return target


def _write_table(found: Fractures, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS, restval="", extrasaction="ignore")
        writer.writeheader()
        for row in found.vertebrae:
            flat = dict(row)
            for place in PLACES:
                flat[f"{place}_mm"] = (row["heights_mm"] or {}).get(place)
                flat[f"{place}_loss_percent"] = (row["loss_percent"] or {}).get(place)
            flat["upper_concavity_mm"], flat["lower_concavity_mm"] = row["concavity_mm"]
            flat.update({f"hu_{name}": value for name, value in row["hu"].items()})
            flat["mimics"] = "; ".join(row["mimics"])
            flat["evidence"] = "; ".join(row["evidence"])
            flat["evaluable"] = int(row["evaluable"])
            writer.writerow({k: "" if v is None else v for k, v in flat.items()})


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100.0 * share, 1)


def _named(values: Mapping[str, float] | None, digits: int) -> dict[str, float] | None:
    return None if values is None else {k: round(float(v), digits) for k, v in values.items()}
