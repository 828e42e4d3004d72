"""Scores of label maps against the truth, and whole evaluations of made-up data sets."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import madeupsets
import numpy as np
import pytest
import tinymethod
from spineseg import registry
from spineseg.cli import app
from spineseg.errors import CancelledError, ExitCode, InputError
from spineseg.evaluation import vertebrae
from spineseg.evaluation.vertebra_scores import false_vertebrae, score_centroids
from spineseg.evaluation.vertebrae import COLUMNS, evaluate, score, summary
from spineseg.progress import CancelToken, Progress
from spineseg.volume import Volume
from typer.testing import CliRunner

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "METHODS", registry.METHODS)
    monkeypatch.delenv("TINY_MODE", raising=False)
    tinymethod.register()
    return


def spine(*labels: int) -> Volume:
    array = np.zeros((12 * len(labels), 10, 10), dtype=np.uint8)
    for n, label in enumerate(labels):
        array[12 * n + 2 : 12 * n + 10, 2:8, 2:8] = label
    return Volume(array, AFFINE)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_truth_scores_full_marks() -> None:
    rows = score(spine(22, 21, 20), spine(22, 21, 20), "a")
    assert [r.level for r in rows] == ["L1", "L2", "L3"]
    assert {r.region for r in rows} == {"lumbar"}
    found = summary(rows)
    assert found["dice"] == found["named"] == found["found"] == found["identified"] == 1.0
    assert found["distance_mm"] == found["localisation_mm"] == 0.0
    assert found["assd_mm"] == found["hd_mm"] == found["hd95_mm"] == 0.0


def test_a_slip_by_one_level_costs_the_name_and_not_the_shape() -> None:
    rows = score(spine(22, 21, 20), spine(23, 22, 21))
    assert all(r.shape_dice == 1.0 and r.found and not r.named for r in rows)
    assert all(r.dice == 0.0 and r.assd_mm == 0.0 and not r.identified for r in rows)
    # L2 and L3 were found under their names, one vertebra (36 mm) too high.
    assert [r.localisation_mm for r in rows] == [None, pytest.approx(36.0), pytest.approx(36.0)]


def test_one_wrong_name_costs_that_vertebra() -> None:
    rows = score(spine(22, 21, 20), spine(22, 24, 20))
    assert [r.named for r in rows] == [r.identified for r in rows] == [True, False, True]
    assert [r.dice for r in rows] == [1.0, 0.0, 1.0]
    assert [r.shape_dice for r in rows] == [1.0, 1.0, 1.0]


def test_half_a_vertebra_has_the_measures_of_a_half() -> None:
    truth = spine(20)
    half = truth.array.copy()
    half[6:] = 0
    (row,) = score(truth, truth.like(half))
    assert row.dice == pytest.approx(2 * 0.5 / 1.5)
    assert row.distance_mm == pytest.approx(6.0)
    assert row.hd_mm == pytest.approx(4 * 3.0)  # the four slices that lack
    assert row.assd_mm is not None
    assert 0 < row.assd_mm < row.hd_mm


def test_a_missed_vertebra_counts_as_nothing() -> None:
    rows = score(spine(21, 20), spine(21, 0))
    missed = rows[0]
    assert missed.level == "L1"
    assert missed.dice == missed.shape_dice == 0.0
    assert not missed.found
    assert not missed.identified
    assert missed.distance_mm is missed.assd_mm is missed.localisation_mm is None
    assert summary(rows)["found"] == 0.5
    assert summary(rows)["assd_mm"] == 0.0


def test_bone_that_is_no_vertebra_finds_none() -> None:
    (row,) = score(spine(20), spine(100))
    assert not row.found
    assert row.shape_dice == 0.0


def test_vertebrae_that_nobody_labelled_do_not_count() -> None:
    truth, found = spine(0, 21, 20, 0), spine(22, 21, 20, 19)
    assert summary(score(truth, found))["dice"] == 1.0
    assert false_vertebrae(truth, found, {}, {}) == []


def test_a_vertebra_beside_the_spine_is_false() -> None:
    truth = spine(22, 21, 20)
    array = truth.array.copy()
    array[14:18, 0, 0] = 19
    assert false_vertebrae(truth, truth.like(array), {}, {}) == [19]
    array[14:18, 0:3, 2] = 19  # touches L2
    assert false_vertebrae(truth, truth.like(array), {}, {}) == []


def test_published_centres_take_the_place_of_centres_of_mass() -> None:
    centres = {20: (9.0, 9.0, 16.0)}
    (row,) = score(spine(20), spine(20), "a", centres, {20: (9.0, 9.0, 20.0)})
    assert row.distance_mm == row.localisation_mm == pytest.approx(4.0)
    assert row.identified


def test_centres_alone_give_place_and_name() -> None:
    truth = {20: (0.0, 0.0, 30.0), 21: (0.0, 0.0, 0.0)}
    rows = score_centroids(truth, {20: (0.0, 3.0, 34.0), 22: (0.0, 0.0, 6.0)})
    assert [r.localisation_mm for r in rows] == [5.0, None]
    assert [r.distance_mm for r in rows] == [5.0, 6.0]
    assert [r.identified for r in rows] == [r.named for r in rows] == [True, False]
    assert all(r.dice is None and r.assd_mm is None for r in rows)
    assert np.isnan(summary(rows)["dice"])


def test_another_grid_is_refused() -> None:
    other = Volume(spine(20).array, np.diag([1.0, 1.0, 1.0, 1.0]))
    with pytest.raises(InputError, match="grid"):
        score(spine(20), other)


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no labelled case"):
        evaluate(tmp_path, tmp_path / "scores.csv", "tiny")
    assert not (tmp_path / "scores.csv").exists()


def test_a_data_set_becomes_a_table_and_a_summary(tmp_path: Path) -> None:
    madeupsets.verse_subjects(tmp_path / "set")
    done = evaluate(tmp_path / "set", tmp_path / "scores.csv", "tiny")
    rows = table(tmp_path / "scores.csv")
    assert tuple(rows[0]) == COLUMNS
    assert [row["level"] for row in rows] == ["L1", "L2", "L3"]
    assert all(row["kind"] == "vertebra" and row["method"] == "tiny" for row in rows)
    assert all(float(row["dice"]) == 1.0 and row["identified"] == "1" for row in rows)
    # The tiny method says that bodies lie 14 mm before the middle; the data set knows the middle.
    assert all(float(row["localisation_mm"]) == pytest.approx(14.0, abs=0.1) for row in rows)
    assert done.layout == "verse"
    groups = [row["group"] for row in table(tmp_path / "scores.summary.csv")]
    assert groups == ["all", "lumbar", "case sub-verse500_dir-sag"]
    assert done.summary[0]["vertebrae"] == 3
    assert done.summary[0]["dice_sd"] == 0.0
    assert done.summary[0]["false_vertebrae"] == done.summary[0]["failed_cases"] == 0


def test_centroids_only_have_no_dice(tmp_path: Path) -> None:
    madeupsets.glocker(tmp_path / "set", (20, 21, 23))  # the third is called L3 by the method
    done = evaluate(tmp_path / "set", tmp_path / "scores.csv", "tiny")
    rows = table(tmp_path / "scores.csv")
    assert [row["identified"] for row in rows] == ["1", "1", "0"]
    assert {row["dice"] for row in rows} == {row["assd_mm"] for row in rows} == {""}
    assert done.summary[0]["dice"] is None
    assert done.summary[0]["identified"] == pytest.approx(2 / 3)


def test_what_is_found_where_nothing_is_has_a_row(tmp_path: Path) -> None:
    madeupsets.plain(tmp_path / "set", "ct", (20, 21, 22))
    path = tmp_path / "set" / "anna_vertebrae.nii.gz"
    labels = madeupsets.balls(madeupsets.grid(), (20, 0, 22))  # nobody labelled the middle one
    madeupsets.write_volume(madeupsets.small(labels), path)
    done = evaluate(tmp_path / "set", tmp_path / "scores.csv", "tiny")
    rows = table(tmp_path / "scores.csv")
    assert [row["kind"] for row in rows] == ["vertebra", "vertebra", "false"]
    assert rows[-1]["level"] == "L2"
    assert done.summary[0]["false_vertebrae"] == 1
    assert done.summary[0]["vertebrae"] == 2


def two_cases(folder: Path) -> None:
    madeupsets.plain(folder, "ct")
    (folder / "aaron_ct.nii.gz").write_bytes((folder / "anna_ct.nii.gz").read_bytes()[:200])
    (folder / "aaron_vertebrae.nii.gz").write_bytes((folder / "anna_vertebrae.nii.gz").read_bytes())


def test_a_bad_case_is_a_row_and_the_run_goes_on(tmp_path: Path) -> None:
    two_cases(tmp_path / "set")
    done = evaluate(tmp_path / "set", tmp_path / "scores.csv", "tiny")
    rows = table(tmp_path / "scores.csv")
    assert [row["case"] for row in rows] == ["aaron", "anna", "anna", "anna"]
    assert rows[0]["kind"] == "failed"
    assert "damaged" in rows[0]["error"]
    assert done.summary[0]["failed_cases"] == 1
    assert any("aaron failed" in text for text in done.notes)


def test_only_bad_cases_are_an_error(tmp_path: Path) -> None:
    two_cases(tmp_path / "set")
    (tmp_path / "set" / "anna_ct.nii.gz").unlink()
    with pytest.raises(InputError, match="No case of"):
        evaluate(tmp_path / "set", tmp_path / "scores.csv", "tiny")


def test_a_run_is_taken_up_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_cases(tmp_path / "set")
    output = tmp_path / "scores.csv"
    evaluate(tmp_path / "set", output, "tiny")
    whole = (tmp_path / "set" / "anna_ct.nii.gz").read_bytes()
    (tmp_path / "set" / "aaron_ct.nii.gz").write_bytes(whole)
    asked: list[str] = []
    read = vertebrae.read_scan
    monkeypatch.setattr(
        vertebrae, "read_scan", lambda case: (asked.append(case.name), read(case))[1]
    )
    done = evaluate(tmp_path / "set", output, "tiny", resume=True)
    assert asked == ["aaron"]  # which had failed
    assert any("anna was in the table already" in text for text in done.notes)
    assert sorted(row["case"] for row in table(output)) == ["aaron"] * 3 + ["anna"] * 3
    # Other settings are another run, whose rows stand beside the first.
    done = evaluate(tmp_path / "set", output, "tiny", resume=True, settings={"unsure": 1})
    assert asked == ["aaron", "aaron", "anna"]
    assert len(table(output)) == 12
    assert done.summary[0]["identified"] == pytest.approx(2 / 3)
    evaluate(tmp_path / "set", output, "tiny")
    assert len(table(output)) == 6


def test_a_stopped_run_keeps_its_rows(tmp_path: Path) -> None:
    madeupsets.plain(tmp_path / "set" / "a", "ct")
    madeupsets.plain(tmp_path / "set" / "b", "ct")
    token = CancelToken()

    def stop(stage: str, fraction: float, text: str) -> None:
        if fraction >= 0.5 and stage == "case":
            token.cancel()

    with pytest.raises(CancelledError):
        evaluate(tmp_path / "set", tmp_path / "scores.csv", "tiny", Progress(stop, token))
    assert {row["case"] for row in table(tmp_path / "scores.csv")} == {"a/anna"}
    assert (tmp_path / "scores.summary.csv").exists()


def test_a_foreign_table_is_not_taken_up(tmp_path: Path) -> None:
    madeupsets.plain(tmp_path / "set", "ct")
    (tmp_path / "scores.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="not a table"):
        evaluate(tmp_path / "set", tmp_path / "scores.csv", "tiny", resume=True)
    assert (tmp_path / "scores.csv").read_text(encoding="utf-8") == "a,b\n1,2\n"


def test_bodies_without_levels_are_for_clicks(tmp_path: Path) -> None:
    place = madeupsets.grid(count=1)
    truth = madeupsets.balls(place, (1,))
    madeupsets.dicom_slices(madeupsets.scan_of(truth), tmp_path / "set" / "one" / "ct")
    (tmp_path / "set" / "one" / "masks").mkdir()
    (tmp_path / "set" / "one" / "masks" / "1.png").write_bytes(b"x")
    with pytest.raises(InputError, match="without levels"):
        evaluate(tmp_path / "set", tmp_path / "scores.csv", "tiny")


def test_the_command_line(tmp_path: Path) -> None:
    madeupsets.plain(tmp_path / "set", "folders")
    output = tmp_path / "scores.csv"
    words = ["evaluate", "vertebrae", str(tmp_path / "set"), "--method", "tiny", "-o", str(output)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == str(output)
    assert "Layout: plain." in done.stderr
    assert "all: vertebrae 3, dice 1.000" in done.stderr
    assert len(table(output)) == 3
    wrong = CliRunner().invoke(app, [*words, "--layout", "nonsense"])
    assert wrong.exit_code == ExitCode.INPUT
    assert "There is no layout called" in wrong.stderr
