"""Figures of how well fractures are found, and the model of their probability."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from drawnspine import body, spine
from spineseg.cli import app
from spineseg.errors import ExitCode
from spineseg.evaluation.agreement import area_under_curve, kappa
from spineseg.evaluation.fracture_curves import sensitivity_specificity
from spineseg.evaluation.fracture_fit import fit, logistic_fit
from spineseg.evaluation.fracture_masks import SEGMENTED
from spineseg.evaluation.fracture_mimics import CUT, mimic_table
from spineseg.evaluation.fractures import (
    COLUMNS,
    evaluate_fractures,
    reliability,
    summary,
)
from spineseg.io.images import read_volume
from spineseg.labels import FIRST_UNSURE
from spineseg.measure.fracture_probability import FEATURES, calibration, features_of
from spineseg.measure.genant import grade_spine
from spineseg.measure.vertebra_body import VertebraBody
from spineseg.phantom import Fracture, PhantomSettings, write_phantom
from spineseg.result import SegmentationResult
from typer.testing import CliRunner

runner = CliRunner()


def test_area_under_curve_is_that_of_pairs() -> None:
    score, ill = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert area_under_curve(score, ill) == pytest.approx(0.75)
    assert area_under_curve(np.ones(4), ill) == pytest.approx(0.5)
    assert area_under_curve(score, np.zeros(4, dtype=bool)) is None


def test_kappa_is_weighted() -> None:
    true = np.array([0, 0, 1, 2, 3])
    assert kappa(true, true) == pytest.approx(1.0)
    near, far = kappa(true, np.array([0, 0, 1, 2, 2])), kappa(true, np.array([0, 0, 1, 2, 0]))
    assert near is not None
    assert far is not None
    assert near > far > 0


def test_a_logistic_model_finds_the_weights_it_was_drawn_from() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2))
    ill = rng.random(4000) < 1 / (1 + np.exp(-(x @ [2.0, -1.0] - 0.5)))
    assert np.allclose(logistic_fit(x, ill), [-0.5, 2.0, -1.0], atol=0.25)


def test_a_fit_gives_probabilities_that_mean_what_they_say() -> None:
    rng = np.random.default_rng(1)
    rows = []
    for case in range(60):
        for n in range(10):
            loss = float(rng.uniform(-0.1, 0.5))
            ill = rng.random() < 1 / (1 + np.exp(-30 * (loss - 0.25)))
            row = dict.fromkeys(COLUMNS, "")
            row.update(dict.fromkeys(FEATURES, "0"))
            row.update(case=f"p{case}", kind="vertebra", masks="true", evaluable="1", level=str(n))
            row.update(loss=str(loss), grade_true=str(int(ill)))
            rows.append(row)
    made = fit(rows)
    assert made["vertebra"]["loss"] == pytest.approx(30, rel=0.3)
    assert 0.0 < made["operating_point"] < 0.5
    assert made["specificity"] > 0.6
    for row in rows:
        logit = made["vertebra"]["intercept"] + made["vertebra"]["loss"] * float(row["loss"])
        row["probability"] = str(1 / (1 + np.exp(-logit)))
    assert all(
        abs(one["said"] - one["true"]) < 0.25 for one in reliability(rows, "true") if one["n"] > 30
    )


def test_what_ships_was_fitted_and_says_how() -> None:
    shipped = calibration()
    assert shipped.made["patients"] >= 10
    assert "fracture_fit" in shipped.made["by"]
    assert 0 < shipped.operating_point < 1
    bodies = spine({"T8": (0.6, 0.8, 1.0), "L2": (0.78, 0.89, 1.0)})
    sure = {one.body.name: shipped.probability(one) for one in grade_spine(bodies)}
    assert sure["T8"] is not None
    assert sure["L2"] is not None
    assert sure["T8"] > 0.9
    assert sure["T8"] > sure["L2"] > max(v for n, v in sure.items() if n not in ("T8", "L2"))  # type: ignore[type-var]
    whole = shipped.patient_probability(grade_spine(spine({})))
    broken = shipped.patient_probability(grade_spine(bodies))
    assert whole is not None
    assert broken is not None
    assert whole < 0.5 < broken


def test_what_is_not_evaluable_has_no_probability() -> None:
    cut = grade_spine([VertebraBody(19, "T12", np.zeros(3), problem="cut")])[0]
    assert calibration().probability(cut) is None
    assert calibration().patient_probability([cut]) is None
    with pytest.raises(ValueError, match="no features"):
        features_of(cut)
    lone = grade_spine([body("L1", (0.6, 0.8, 1.0))])[0]
    assert features_of(lone)["by_level"] == features_of(lone)["loss"]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_of_patients_is_evaluated(tmp_path: Path) -> None:
    settings = PhantomSettings(
        spacing_mm=2.5, levels=("T12", "L4"), cobb_deg=5.0,
        fractures=(Fracture("L2", "crush", 0.5),),
        margin_mm=(40.0, 60.0, 14.0), degeneration=0.1, torso=False,
    )  # fmt: skip
    write_phantom(tmp_path / "set" / "one", settings, 700_011)
    done = evaluate_fractures(tmp_path / "scores.csv", tmp_path / "set", masks=("true",))
    (line,) = done.summary
    assert line["fractured"] == 1
    assert line["found_grade_3_percent"] == 100.0
    rows = {r["level"]: r for r in rows_of(tmp_path / "scores.csv") if r["kind"] == "vertebra"}
    assert rows["L2"]["type_true"] == "crush"
    assert rows["L2"]["grade"] == "3"
    cut = [row for row in rows_of(tmp_path / "scores.csv") if row["kind"] == CUT]
    assert cut
    # Where just a process is cut, the body is measured all the same.
    assert all(row["grade"] == ("0" if row["evaluable"] == "1" else "") for row in cut)
    mimics = {row["looks_like"]: row for row in rows_of(tmp_path / "scores.mimics.csv")}
    assert mimics["cut-off vertebra"]["vertebrae"] == str(len(cut))
    assert len(rows_of(tmp_path / "scores.reliability.csv")) >= 2
    assert "<svg" in (tmp_path / "scores.reliability.svg").read_text(encoding="utf-8")
    again = evaluate_fractures(
        tmp_path / "scores.csv", tmp_path / "set", masks=("true",), resume=True
    )
    assert again.notes == ["one was there already."]
    assert again.summary[0]["auc"] == line["auc"]


def test_a_methods_own_masks_are_matched_with_the_true_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PhantomSettings(
        spacing_mm=2.5, levels=("T12", "L4"), cobb_deg=5.0, degeneration=0.1, torso=False,
        fractures=(Fracture("L2", "crush", 0.5),), margin_mm=(35.0, 55.0, 14.0),
    )  # fmt: skip
    write_phantom(tmp_path / "set" / "one", settings, 700_011)
    truth = read_volume(tmp_path / "set" / "one" / "vertebrae.nii.gz").astype(np.uint8)
    first = int(truth.array[truth.array > 0].min())
    unsure = np.where(truth.array > 0, truth.array - first + FIRST_UNSURE, 0).astype(np.uint8)
    made = SegmentationResult(truth.like(unsure), [])
    monkeypatch.setattr("spineseg.pipeline.segment", lambda *args, **more: made)
    done = evaluate_fractures(tmp_path / "own.csv", tmp_path / "set", masks=(SEGMENTED,))
    (line,) = done.summary
    assert line["group"] == "segmented masks"
    assert line["found_grade_3_percent"] == 100.0
    heights = rows_of(tmp_path / "own.heights.csv")
    assert "L2" in {row["level"] for row in heights}
    assert all(row["anterior_mm"] == row["anterior_true_mm"] for row in heights)
    assert "within 1.5 mm" in done.notes[-1]


def test_missed_vertebrae_count_against_the_method() -> None:
    rows = []
    for grade, said in ((2, ""), (0, "0"), (3, "3"), (0, "1")):
        row = dict.fromkeys(COLUMNS, "")
        row.update(kind="vertebra", masks="true", grade_true=str(grade), grade=said)
        row.update(evaluable="1" if said else "0", probability="0.5" if said else "")
        row.update(suspect=str(int((said or "0") > "0")))
        rows.append(row)
    (line,) = summary(rows)
    assert line["found_grade_2_percent"] == 0.0
    assert line["evaluable_percent"] == 75.0
    assert line["exact_percent"] == 50.0


def row(
    level: str, mimic: str, grade: int, kind: str = "vertebra", **more: object
) -> dict[str, str]:
    known = {**dict.fromkeys(COLUMNS, ""), "case": "a", "kind": kind, "masks": "true",
             "level": level, "mimic": mimic, "grade_true": 0, "grade": grade,
             "suspect": int(grade > 0), "evaluable": 1,
             "probability": 0.3 * grade, "by_rules": 0.3 * grade}  # fmt: skip
    return {name: str(value) for name, value in {**known, **more}.items()}


def test_false_grades_are_counted_by_what_was_mistaken() -> None:
    rows = [
        row("T7", "scheuermann", 1), row("T8", "scheuermann", 2), row("T9", "scheuermann", 0),
        row("T8", "scheuermann", 0, case="b"), row("L1", "short", 1, grade_true=1),
        row("L2", "", 0), row("L5", CUT, 0, CUT, evaluable=0), row("T3", CUT, 1, CUT, case="b"),
    ]  # fmt: skip
    table = {line["looks_like"]: line for line in mimic_table(rows, ("true",))}
    assert set(table) == {"Scheuermann's disease", "cut-off vertebra", "none of these"}
    found = table["Scheuermann's disease"]
    assert (found["patients"], found["vertebrae"]) == (2, 4)
    assert (found["false_percent"], found["false_moderate_percent"]) == (50.0, 25.0)
    assert found["false_per_patient"] == 1.0
    assert table["cut-off vertebra"]["evaluable_percent"] == 50.0
    assert table["cut-off vertebra"]["false_percent"] == 50.0
    (line,) = summary(rows)
    assert line["vertebrae"] == 6
    assert line["patients_with_mimics"] == 2
    assert line["false_on_mimics_per_patient"] == 1.0


def test_sensitivity_falls_and_specificity_rises_with_the_threshold() -> None:
    score, ill = np.array([0.1, 0.4, 0.6, 0.9]), np.array([False, True, False, True])
    told, cleared = sensitivity_specificity(score, ill, np.array([0.0, 0.4, 0.5, 1.0]))
    assert told.tolist() == [1.0, 1.0, 0.5, 0.0]
    assert cleared.tolist() == [0.0, 0.5, 0.5, 1.0]


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    none = runner.invoke(app, ["evaluate", "fracture", "-o", str(tmp_path / "s.csv")])
    assert none.exit_code == int(ExitCode.INPUT)
    assert "--phantoms" in none.output
    (tmp_path / "empty").mkdir()
    given = ["evaluate", "fracture", str(tmp_path / "empty"), "-o", str(tmp_path / "s.csv")]
    assert "no digital patient" in runner.invoke(app, given).output


def test_the_calibration_is_plain_json() -> None:
    from importlib import resources

    text = resources.files("spineseg").joinpath("resources/fracture_calibration.json").read_text()
    assert set(json.loads(text)) == {
        "vertebra", "patient", "operating_point", "specificity", "made", "combination",
    }  # fmt: skip
