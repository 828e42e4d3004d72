"""How well the networks tell fractures, beside the rules: on patients whose fractures are known.

The vertebrae's scores are those of `spineseg.fracture_networks`, at centres that the masks gave;
besides, as in the paper, at true centroids that are moved by 3 mm (standard deviation along each
axis). A patient's score is by groups of fractured voxels, under each pair of a probability and a
noise threshold; the curve of all pairs is the convex hull of what they reach.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..fracture_networks import VAE, VOXELS, network_scores, networks_here
from ..measure.vertebra_body import VertebraBody
from ..methods import fracture_voxels
from ..volume import Volume
from .agreement import area_under_curve

__all__ = [
    "NOISY", "TABLE_COLUMNS", "hull_area", "largest_groups", "network_table", "roc_hull",
    "score_patient", "table_path", "true_centres",
]  # fmt: skip

Floats = NDArray[np.float64]

NOISY = "fracture-voxels, centroids ± 3 mm"
NOISE_MM = 3.0
TABLE_COLUMNS = (
    "method", "masks", "vertebrae", "fractured", "auc", "recall_percent", "precision_percent",
    "f1_percent", "specificity_percent", "recall_grade_1_percent", "recall_grade_2_percent",
    "recall_grade_3_percent", "patient_auc", "patient_hull_auc",
)  # fmt: skip
"""Of FILE.networks.csv. Recall and what follows are at a score of 0.5, as in paper 004, table 1."""
PROBABILITIES = tuple(round(0.05 * n, 2) for n in range(2, 20))
SIZES = (1, 10, 30, 60, 100, 200, 400, 700, 1000, 1500, 2000, 3000, 4500, 7000)


def true_centres(labels: Volume, bodies: Volume) -> dict[int, Floats]:
    """Return the centroid of each body, RAS mm, by label."""
    found = {}
    for n, box in enumerate(ndimage.find_objects(labels.array), start=1):
        if box is None:
            continue
        own = np.argwhere((labels.array[box] == n) & (bodies.array[box] > 0))
        if len(own):
            middle = own.mean(axis=0) + [s.start for s in box]
            found[n] = labels.ijk_to_ras(middle[None, ::-1])[0]
    return found


def score_patient(
    scan: Volume,
    labels: Volume,
    measured: Sequence[VertebraBody],
    centres: Mapping[int, Floats],
    rng: np.random.Generator,
    models: str | None = None,
    others: Mapping[str, str] | None = None,
) -> dict[str, dict[int, float]]:
    """Return each network's score by label.

    Parameters
    ----------
    scan, labels : Volume
        CT and the masks that are measured.
    measured : sequence of VertebraBody
        Of these masks, from the top.
    centres : mapping
        True centroids by label, RAS mm.
    rng : numpy.random.Generator
        For the noise.
    models : str, optional
        Folder of the networks.
    others : mapping of str to str, optional
        Further Spine-VAEs by name (the baselines): folders of models.
    """
    where = [(body.label, body.centre) for body in measured]
    scores = network_scores(scan, labels, where, models=models)
    found: dict[str, dict[int, float]] = {
        VOXELS: {n: s.voxels for n, s in scores.items() if s.voxels is not None},
        VAE: {n: s.vae for n, s in scores.items() if s.vae is not None},
    }
    if VOXELS in networks_here(models):
        names = list(centres)
        moved = np.array([centres[n] for n in names]).reshape(-1, 3) + rng.normal(
            0, NOISE_MM, (len(names), 3)
        )
        settings = fracture_voxels.Settings(models=models)
        noisy = fracture_voxels.vertebra_scores(scan, moved, settings)
        found[NOISY] = dict(zip(names, noisy.tolist(), strict=True))
    for name, folder in (others or {}).items():
        again = network_scores(scan, labels, where, models=folder)
        found[name] = {n: s.vae for n, s in again.items() if s.vae is not None}
    return found


def largest_groups(
    scan: Volume, centres: Sequence[Floats], models: str | None = None
) -> dict[str, int]:
    """Return the voxels of the largest group of fractured ones, by probability threshold."""
    settings = fracture_voxels.Settings(models=models, patch=36)
    found = fracture_voxels.fracture_voxels(scan, settings, centres=np.array(centres))
    sizes = {}
    for threshold in PROBABILITIES:
        groups, _ = fracture_voxels.components(found.fracture, threshold, 1)
        sizes[str(threshold)] = groups[0] if groups else 0
    return sizes


def roc_hull(points: Floats) -> Floats:
    """Return the upper convex hull (M, 2) of classifiers (N, 2): false and true positive rates.

    Each of its corners is the best choice for some cost of either error (Provost and Fawcett,
    Mach Learn 2001;42:203–231); the two that call all or none positive belong to it.
    """
    every = np.vstack([points.reshape(-1, 2), [[0.0, 0.0], [1.0, 1.0]]])
    every = every[np.lexsort((every[:, 1], every[:, 0]))]
    hull: list[Floats] = []
    for point in every:
        while len(hull) > 1:
            (ax, ay), (bx, by) = hull[-2], hull[-1]
            if (bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax) < 0:
                break
            hull.pop()
        hull.append(point)
    return np.array(hull)


def hull_area(points: Floats) -> float:
    """Return the area under the hull of classifiers (N, 2)."""
    hull = roc_hull(points)
    return float(np.trapezoid(hull[:, 1], hull[:, 0]))


def _patient_points(rows: Sequence[Mapping[str, str]]) -> Floats:
    """Return false and true positive rates (N, 2) of all pairs of thresholds."""
    ill = np.array([float(row["grade_true"]) >= 1 for row in rows])
    groups = [json.loads(row["voxel_groups"]) for row in rows]
    points = []
    for threshold in PROBABILITIES:
        largest = np.array([one[str(threshold)] for one in groups])
        for size in SIZES:
            said = largest >= size
            points.append([float(said[~ill].mean()), float(said[ill].mean())])
    return np.array(points)


def network_table(rows: Sequence[Mapping[str, str]], masks: Sequence[str]) -> list[dict[str, Any]]:
    """Return the comparison of the methods, from rows of `evaluate_fractures`.

    A vertebra that a method says nothing of counts as not fractured.
    """
    lines = []
    for mask in masks:
        own = [row for row in rows if row["masks"] == mask]
        bones = [row for row in own if row["kind"] == "vertebra"]
        people = [row for row in own if row["kind"] == "patient"]
        names = {name: None for row in bones for name in json.loads(row["networks"] or "{}")}
        scores = {"rules": [float(row["by_rules"] or 0) for row in bones]}
        if any(row["by_rules"] != row["probability"] for row in bones):
            scores["rules and networks"] = [float(row["probability"] or 0) for row in bones]
        for name in names:
            scores[name] = [float(json.loads(r["networks"] or "{}").get(name, 0)) for r in bones]
        for name, score in scores.items():
            line = {"method": name, "masks": mask, **_line(bones, people, np.array(score))}
            lines.append(line)
            with_groups = [row for row in people if row.get("voxel_groups")]
            ill = {float(row["grade_true"]) >= 1 for row in with_groups}
            if name == VOXELS and len(ill) == 2:
                line["patient_hull_auc"] = hull_area(_patient_points(with_groups))
    return lines


def _line(
    bones: Sequence[Mapping[str, str]], people: Sequence[Mapping[str, str]], score: Floats
) -> dict[str, Any]:

    grade = np.array([int(row["grade_true"]) for row in bones])
    ill, said = grade >= 1, score >= 0.5
    recall, precision = _share(said[ill]), _share(ill[said])
    line: dict[str, Any] = {
        "vertebrae": len(bones),
        "fractured": int(ill.sum()),
        "auc": area_under_curve(score, ill),
        "recall_percent": recall,
        "precision_percent": precision,
        "f1_percent": 2 * recall * precision / (recall + precision)
        if recall and precision
        else None,
        "specificity_percent": _share(~said[~ill]),
        # A patient's score is that of the worst vertebra.
        "patient_auc": area_under_curve(
            np.array([
                max((s for r, s in zip(bones, score, strict=True) if r["case"] == one["case"]),
                    default=0.0)
                for one in people
            ]),
            np.array([float(row["grade_true"]) >= 1 for row in people]),
        ),
    }  # fmt: skip
    for n in (1, 2, 3):
        line[f"recall_grade_{n}_percent"] = _share(said[grade == n])
    return line


def _share(which: NDArray[np.bool_]) -> float | None:
    return 100.0 * float(which.mean()) if len(which) else None


def table_path(path: Path) -> Path:
    """Return where the comparison is written beside a table."""
    return path.with_name(f"{path.name.removesuffix('.csv')}.networks.csv")
