"""The networks beside the rules: scores, their table and hull, and the combined probability."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawnspine import spine
from spineseg.evaluation import fractures as evaluation
from spineseg.evaluation.fracture_fit import combined
from spineseg.evaluation.fracture_networks import (
    NOISY,
    PROBABILITIES,
    hull_area,
    network_table,
    roc_hull,
)
from spineseg.evaluation.fracture_scenes import (
    LEARNED,
    FractureScene,
    drawn_labels,
    drawn_scan,
)
from spineseg.evaluation.fractures import COLUMNS, Networks, evaluate_fractures
from spineseg.fracture import find_fractures
from spineseg.fracture_networks import VAE, VOXELS, NetworkScore, network_scores, networks_here
from spineseg.measure import fracture_probability
from spineseg.measure.fracture_probability import (
    FEATURES,
    NETWORKS,
    Combination,
    calibration,
    logit_of,
)
from spineseg.measure.genant import grade_spine
from spineseg.phantom import Fracture, PhantomSettings
from spineseg.training.fracture_pool import pool_scene, vertebrae_of
from tinyfracture import tiny_models

SCENE = FractureScene(
    "one",
    PhantomSettings(
        spacing_mm=2.5, levels=("T12", "L4"), cobb_deg=5.0, margin_mm=(35.0, 55.0, 10.0),
        fractures=(Fracture("L2", "crush", 0.5),), degeneration=0.1, torso=False,
    ),
    700_011,
)  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models(tmp_path_factory.mktemp("models"))


def test_the_hull_holds_all_classifiers() -> None:
    points = np.array([[0.5, 0.4], [0.1, 0.6], [0.3, 0.65], [0.4, 0.9]])
    assert roc_hull(points).tolist() == [[0, 0], [0.1, 0.6], [0.4, 0.9], [1, 1]]
    assert hull_area(np.zeros((0, 2))) == pytest.approx(0.5)
    assert hull_area(np.array([[0.0, 1.0]])) == pytest.approx(1.0)


def test_the_scan_is_of_the_patient_that_is_drawn() -> None:
    scan, labels, bodies = drawn_scan(SCENE)
    assert np.array_equal(labels.array, drawn_labels(SCENE).array)
    assert scan.array.dtype == np.int16
    assert scan.array[bodies.array > 0].mean() > scan.array.mean()
    found = {one.level: one for one in vertebrae_of(SCENE, labels, bodies)}
    assert found["L2"].grade == 3
    assert found["L3"].grade == 0
    inside = tuple(round(c) for c in reversed(found["L2"].centre))
    assert labels.array[inside] == found["L2"].label


def test_patients_to_learn_from_are_others() -> None:
    scenes = [pool_scene(n) for n in range(12)]
    assert {scene.seed for scene in scenes} == set(range(LEARNED, LEARNED + 12))
    assert sum(scene.fractured for scene in scenes) >= 6


def test_networks_are_asked_where_there_are_weights(models: Path, tmp_path: Path) -> None:
    scan, labels, bodies = drawn_scan(SCENE)
    where = [(20, [0.0, 0.0, 0.0]), (3, [0.0, 0.0, 60.0])]
    assert network_scores(scan, labels, where, models=str(tmp_path)) == {}
    found = network_scores(scan, labels, where, models=str(models))
    assert set(found) == {20}  # no cervical vertebra was learned
    assert all(s is not None and 0 < s < 1 for s in found[20].pair)
    assert NetworkScore(voxels=0.5).pair == (0.5, None)
    assert NetworkScore(voxels=0.5).words == "networks (0 to 1): voxels 0.50"
    assert not NetworkScore().words
    assert set(networks_here(str(models))) == {VOXELS, VAE}


def test_the_evaluation_asks_them_and_writes_their_table(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        evaluation, "find_patients",
        lambda *_: [(SCENE, lambda: evaluation.Patient(*_swapped(drawn_scan(SCENE))))],
    )  # fmt: skip
    asked = Networks(str(models), {"again": str(models)})
    done = evaluate_fractures(tmp_path / "scores.csv", phantoms=1, masks=("true",), networks=asked)
    lines = {line["method"]: line for line in done.networks}
    assert set(lines) == {"rules", VOXELS, NOISY, VAE, "again"}
    assert lines["again"]["auc"] == lines[VAE]["auc"]
    assert lines["rules"]["auc"] == pytest.approx(1.0)
    with (tmp_path / "scores.networks.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 5
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    (patient,) = (row for row in rows if row["kind"] == "patient")
    groups = json.loads(patient["voxel_groups"])
    sizes = [groups[str(p)] for p in PROBABILITIES]
    assert sizes == sorted(sizes, reverse=True)


def _swapped(drawn: tuple[object, object, object]) -> tuple[object, object, object]:
    scan, labels, bodies = drawn
    return labels, scan, bodies


def test_a_patients_curve_is_of_all_pairs_of_thresholds() -> None:
    rows = []
    for case, (grade, size) in enumerate([(0, 5), (0, 80), (2, 150), (3, 900)]):
        groups = json.dumps({str(p): size for p in PROBABILITIES})
        base = dict.fromkeys(COLUMNS, "") | {"case": str(case), "masks": "true"}
        own = json.dumps({VOXELS: 0.2 + 0.2 * case})
        rows.append(base | {"kind": "vertebra", "grade_true": str(grade), "networks": own})
        rows.append(base | {"kind": "patient", "grade_true": str(grade), "voxel_groups": groups})
    rules, line = network_table(rows, ("true",))
    assert rules["method"] == "rules"
    assert (line["auc"], line["patient_auc"], line["patient_hull_auc"]) == (1.0, 1.0, 1.0)
    assert line["recall_percent"] == 100.0
    assert line["specificity_percent"] == 100.0
    assert line["recall_grade_1_percent"] is None


def test_a_combination_learns_whom_to_trust(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPINESEG_MODELS", str(models))
    rng = np.random.default_rng(3)
    rows = []
    for n in range(400):
        ill = rng.random() < 0.3
        row = dict.fromkeys(COLUMNS, "") | dict.fromkeys(FEATURES, "0")
        row |= {"kind": "vertebra", "evaluable": "1", "case": str(n // 8), "masks": "true"}
        row["grade_true"] = str(2 * int(ill))
        row["loss"] = str(rng.normal(0.2 * ill, 0.1))
        good = 1 / (1 + np.exp(-rng.normal(3 if ill else -3, 2)))
        row["networks"] = json.dumps({VOXELS: float(good), VAE: float(rng.random())})
        rows.append(row)
    made = combined(rows, NETWORKS)
    assert made["vertebra"]["voxels"] > 3 * abs(made["vertebra"]["vae"])
    assert set(made["networks"]) == {VOXELS, VAE}
    assert set(combined(rows)["networks"]) == {VAE}
    assert Combination(**made).operating_point < 0.7


def test_scores_count_only_with_the_networks_they_were_fitted_on(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPINESEG_MODELS", str(models))
    shipped = calibration()
    weights = {"intercept": -1.0, **dict.fromkeys((*FEATURES, *NETWORKS), 0.0), "vae": 1.0}
    own = Combination(weights, dict(shipped.patient), 0.4, networks_here())
    with_networks = replace(shipped, combination=own)
    one = grade_spine(spine({}))[3]
    assert with_networks.probability(one) == shipped.probability(one)
    high, low = (with_networks.probability(one, (0.5, s)) for s in (0.9, 0.1))
    assert high == pytest.approx(1 / (1 + np.exp(1 - logit_of(0.9))))
    assert low is not None
    assert high is not None
    assert high > low
    assert (with_networks.least((0.5, 0.5)), with_networks.least()) == (
        0.4,
        shipped.operating_point,
    )
    assert with_networks.takes(networks_here())
    assert not with_networks.takes({**networks_here(), VAE: "other"})
    assert not replace(shipped, combination=None).takes({})
    assert not with_networks.counts((0.5, None))
    assert with_networks.probability(one, (0.5, None)) == shipped.probability(one)
    alone = {name: value for name, value in weights.items() if name != "voxels"}
    by_shape = replace(with_networks, combination=replace(own, vertebra=alone))
    assert by_shape.probability(one, (None, 0.9)) == pytest.approx(high)
    scan, labels, _ = drawn_scan(SCENE)
    plain = {f.level: f for f in find_fractures(scan, labels, networks=False).findings}
    assert not any(f.score.known for f in plain.values())
    monkeypatch.setattr("spineseg.fracture.calibration", lambda: with_networks)
    found = {f.level: f for f in find_fractures(scan, labels).findings}
    assert found["L3"].combined
    row = found["L3"].to_json()
    assert row["vae_probability"] is not None
    assert row["evidence"][-1] == found["L3"].score.words
    assert row["probability"] != plain["L3"].to_json()["probability"]
    assert fracture_probability.FILE.endswith(".json")
