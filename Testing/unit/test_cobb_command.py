"""``spineseg cobb`` and ``spineseg evaluate cobb``: files, exit codes, and scores."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tinycobb
import tinyspine
from spineseg import cli, registry
from spineseg.errors import ExitCode
from spineseg.evaluation.cobb import smape_percent
from spineseg.io.images import write_volume
from typer.testing import CliRunner, Result

KEYS = {
    "coronal_cobb_deg", "cobb_3d_deg", "cobb_3d_plane", "kyphosis_deg", "lordosis_deg",
    "axial_rotation_deg", "warnings",
}  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "METHODS", registry.METHODS)
    monkeypatch.setattr(registry, "DEFAULT_COBB", tinycobb.NAME)
    tinycobb.register()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def write_film(path: Path, angle: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(tinycobb.picture(angle)), str(path))
    return path


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def test_a_segmentation_is_measured_and_saved(tmp_path: Path) -> None:
    made = tinyspine.make(spacing=(2.0, 2.0, 2.0))
    path = tmp_path / "segmentation.nii.gz"
    write_volume(made.labels, path)
    done = run("cobb", path, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    found = result_of(tmp_path / "out")
    assert set(found) >= KEYS
    assert found["kind"] == "segmentation"
    assert found["coronal_cobb_deg"] >= 0
    manifest = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert manifest["task"] == "cobb"
    assert set(manifest["outputs"]) == {"result.json", "report.html"}
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert report.count("data:image/png;base64") == 2
    assert "not a medical device" in report
    assert done.stdout.strip().endswith("report.html")
    # The folder that `spineseg segment` writes is taken as well, and measured alike.
    again = run("cobb", tmp_path, "-o", tmp_path / "again")
    assert again.exit_code == 0, again.output
    assert result_of(tmp_path / "again") == found


def test_one_film_is_measured_and_saved(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.png", 40)
    done = run("cobb", film, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    found = result_of(tmp_path / "out")
    assert found["angles_deg"]["major"] == pytest.approx(40)
    assert found["angles_deg_clinical"] == {"pt": None, "mt": 40.0, "tl": None}
    assert np.shape(found["corners_px"]) == (17, 4, 2)
    assert (found["levels"][0], found["levels"][-1]) == ("T1", "L5")
    assert found["confidence"] == [0.9] * 17
    assert isinstance(found["warnings"], list)
    assert (found["film"], found["method"]) == ("film.png", tinycobb.NAME)
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "40.0°" in report
    assert report.count("data:image/png;base64") == 1


def test_the_view_can_be_said(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.png", 40)
    done = run("cobb", film, "-o", tmp_path / "out", "--view", "lateral")
    assert done.exit_code == 0, done.output
    found = result_of(tmp_path / "out")
    assert found["view"] == "lateral"
    # Left read as the back: 2.5° from vertebra to vertebra, T4 to T12.
    assert found["kyphosis_deg"] == pytest.approx(-20, abs=0.01)
    assert found["lordosis_deg"] is None


def test_a_folder_of_films_goes_on_past_a_bad_one(tmp_path: Path) -> None:
    write_film(tmp_path / "films" / "a.png", 30)
    write_film(tmp_path / "films" / "b.png", 255)
    (tmp_path / "films" / "c.jpg").write_bytes(b"damaged")
    write_film(tmp_path / "films" / "d.png", 20)
    write_film(tmp_path / "films" / "d.tif", 10)
    done = run("cobb", tmp_path / "films", "-o", tmp_path / "out")
    assert done.exit_code == ExitCode.INPUT
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["a", "d.png", "d.tif"]
    assert result_of(tmp_path / "out" / "a")["angles_deg"]["major"] == pytest.approx(30)
    assert "b.png: No spine was found" in done.stderr
    assert "c.jpg" in done.stderr


def test_a_folder_without_a_good_film_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"damaged")
    done = run("cobb", tmp_path, "-o", tmp_path / "out")
    assert done.exit_code == ExitCode.INPUT
    assert "None of the 1 files" in done.stderr
    assert not (tmp_path / "out").exists()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no film in" in run("cobb", empty, "-o", tmp_path / "out").stderr


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: p / "none.png", "no file or folder"),
        (lambda p: p.write_text("text") and p, "not an image"),
        (lambda p: p.write_text("text") and p.rename(f"{p}.jpg"), "not a picture"),
        (lambda p: p.touch() or p.rename(f"{p}.dcm"), "is empty"),
    ],
)
def test_bad_sources_are_refused(tmp_path: Path, make, says: str) -> None:
    done = run("cobb", make(tmp_path / "source"), "-o", tmp_path / "out")
    assert done.exit_code == ExitCode.INPUT
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_scan_and_an_empty_map_are_refused(tmp_path: Path) -> None:
    made = tinyspine.make(spacing=(3.0, 3.0, 3.0))
    write_volume(made.scan, tmp_path / "ct.nii.gz")
    done = run("cobb", tmp_path / "ct.nii.gz", "-o", tmp_path / "out")
    assert (done.exit_code, "is a scan" in done.stderr) == (ExitCode.INPUT, True)
    write_volume(made.labels.like(made.labels.array * 0), tmp_path / "no.nii.gz")
    done = run("cobb", tmp_path / "no.nii.gz", "-o", tmp_path / "out")
    assert (done.exit_code, "holds no vertebra" in done.stderr) == (ExitCode.INPUT, True)


def test_without_a_method_films_are_refused_in_a_sentence(tmp_path: Path, monkeypatch) -> None:
    rows = tuple(m for m in registry.METHODS if m.task != registry.COBB)
    monkeypatch.setattr(registry, "METHODS", rows)
    film = write_film(tmp_path / "film.png", 40)
    done = run("cobb", film, "-o", tmp_path / "out")
    assert done.exit_code == ExitCode.WEIGHTS
    assert "No method that measures films is installed." in done.stderr
    assert run("cobb", film, "-o", tmp_path / "out", "--method", "cyclegan").exit_code != 0


def test_an_edited_result_is_not_replaced_unasked(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.png", 40)
    assert run("cobb", film, "-o", tmp_path / "out").exit_code == 0
    assert run("cobb", film, "-o", tmp_path / "out").exit_code == 0
    (tmp_path / "out" / "result.json").write_text("{}")
    done = run("cobb", film, "-o", tmp_path / "out")
    assert (done.exit_code, "--overwrite" in done.stderr) == (ExitCode.INPUT, True)
    assert run("cobb", film, "-o", tmp_path / "out", "--overwrite").exit_code == 0


def labelled(folder: Path, films: dict[str, tuple[int, int, str]]) -> Path:
    """Films with what they say, what is true, and whether they show implants."""
    names = [f"v{n:02d}_{c}_{a}" for n in range(1, 18) for c in ("ul", "ur", "ll", "lr")
             for a in "xy"]  # fmt: skip
    marks, about = [["file", *names]], [["file", "patient", "implants"]]
    for name, (says, true, implants) in films.items():
        write_film(folder / "images" / name, says)
        marks.append([name, *(f"{v:.5f}" for v in tinycobb.corners(true).ravel())])
        about.append([name, "1", implants])
    for name, table in (("landmarks", marks), ("films", about)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)
    return folder


def test_smape_is_the_challenges() -> None:
    assert smape_percent((30, 0, 0), (50, 0, 0)) == pytest.approx(100 * 20 / 80)
    assert smape_percent((0, 0, 0), (40, 10, 5)) == 100.0
    assert smape_percent((0, 0, 0), (0, 0, 0)) == 0.0
    assert smape_percent((10, 20, 30), (10, 20, 30)) == 0.0


def test_films_are_scored_and_a_missing_answer_counts(tmp_path: Path) -> None:
    films = {"a.png": (30, 30, "no"), "b.png": (30, 50, "no"), "c.png": (255, 40, "yes")}
    folder = labelled(tmp_path / "set", films)
    done = run("evaluate", "cobb", folder, "-o", tmp_path / "scores.csv")
    assert done.exit_code == 0, done.output
    assert "c.png failed: No spine was found" in done.stderr
    with (tmp_path / "scores.summary.csv").open(encoding="utf-8") as file:
        lines = {row["group"]: row for row in csv.DictReader(file)}
    whole = lines["all films"]
    assert (whole["films"], whole["failed"]) == ("3", "1")
    expected = np.mean([0.0, 25.0, 100.0])
    assert float(whole["smape_percent"]) == pytest.approx(expected, abs=0.01)
    assert float(whole["smape_erasmus_percent"]) == pytest.approx(2 * expected, abs=0.02)
    assert float(whole["smape_answered_percent"]) == pytest.approx(12.5, abs=0.01)
    assert float(whole["major_mae_deg"]) == pytest.approx((0 + 20 + 40) / 3, abs=0.01)
    assert float(whole["major_mae_answered_deg"]) == pytest.approx(10, abs=0.01)
    assert float(lines["with implants"]["failure_percent"]) == 100.0
    assert float(lines["without implants"]["major_mae_deg"]) == pytest.approx(10, abs=0.01)


def test_a_film_that_can_not_be_read_counts_with_its_published_angles(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "set", {"a.png": (30, 30, "no"), "b.png": (30, 50, "no")})
    (folder / "images" / "b.png").write_bytes(b"damaged")
    about = [["file", "cobb_major_deg", "cobb_upper_deg", "cobb_lower_deg"],
             ["a.png", "30", "0", "0"], ["b.png", "50", "10", "6"]]  # fmt: skip
    with (folder / "films.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(about)
    done = run("evaluate", "cobb", folder)
    assert done.exit_code == 0, done.output
    assert "b.png failed" in done.stderr
    assert "failure_percent 50.000, smape_percent 50.000" in done.stderr
    assert "major_mae_deg 25.000, upper_mae_deg 5.000, lower_mae_deg 3.000" in done.stderr
    # Without -o nothing is left behind.
    assert done.stdout == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


def test_implants_are_told_from_the_film_where_no_table_says_so(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "set", {"a.png": (30, 30, ""), "b.png": (20, 20, "")})
    # A rod along the left third of the true vertebrae of one of them.
    rod, film = tinycobb.corners(20), np.full((1000, 600), 100.0)
    film[::2] += 40.0
    at = np.linspace(0, 16, 2000)
    x, y = (np.interp(at, range(17), rod[:, :2].mean(axis=1)[:, a]) for a in (0, 1))
    for off in range(-2, 3):
        film[np.rint(y).astype(int), np.rint(x).astype(int) + off - 8] = 250.0
    film[0, 0] = 20
    path = folder / "images" / "b.png"
    sitk.WriteImage(sitk.GetImageFromArray(film.astype(np.uint8)), str(path))
    done = run("evaluate", "cobb", folder, "-o", tmp_path / "scores.csv")
    assert done.exit_code == 0, done.output
    assert "do not say which films show implants" in done.stderr
    with (tmp_path / "scores.csv").open(encoding="utf-8") as file:
        assert {r["case"]: r["implants"] for r in csv.DictReader(file)}["b.png"] == "1"
    assert "with implants: films 1" in done.stderr


def test_a_run_that_was_stopped_is_taken_up(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "set", {"a.png": (30, 30, ""), "b.png": (20, 20, "")})
    table = tmp_path / "scores.csv"
    assert run("evaluate", "cobb", folder, "-o", table).exit_code == 0
    first = table.read_text(encoding="utf-8")
    again = run("evaluate", "cobb", folder, "-o", table, "--resume")
    assert again.exit_code == 0, again.output
    assert "a.png was there already" in again.stderr
    assert table.read_text(encoding="utf-8") == first
