"""What was measured, as rows, CSV and text; read back; from single endplates; in the worker."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tinycobb
import tinyspine
from madeupspine import LEVELS, bent, corners_of
from spineseg import cobb_tables, registry
from spineseg.cobb import FilmDone, save_film
from spineseg.errors import InputError
from spineseg.io.film_corners import read_corners
from spineseg.io.films import Film, film_from_array
from spineseg.jobs import job_of, run
from spineseg.measure.film import measure_film
from spineseg.measure.spine_angles import measure_spine
from spineseg.measure.spine_json import spine_from_json
from spineseg.methods.film_result import LATERAL, FilmResult
from spineseg.progress import Progress

FILM = Film(tinycobb.picture(40), name="größe–1.png")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "METHODS", registry.METHODS)
    monkeypatch.setattr(registry, "DEFAULT_COBB", tinycobb.NAME)
    monkeypatch.setitem(sys.modules, "spineseg.methods.tinycobb", tinycobb)
    tinycobb.register()


def measured(corners: np.ndarray, levels=LEVELS, **more):
    return measure_film(FilmResult(levels=levels, corners_px=corners, **more), FILM)


def by_measure(rows) -> dict:
    return {row["measure"]: row for row in rows}


def test_rows_hold_the_measurement() -> None:
    corners = corners_of(bent((0, -20), (16, 20)))
    found = measured(corners, confidence=(0.9,) * 17)
    rows = by_measure(cobb_tables.film_angles(found))
    assert rows["Major"]["value"] == pytest.approx(40)
    assert (rows["Major"]["upper_end"], rows["Major"]["lower_end"]) == ("T1", "L5")
    curve = rows["Main thoracic"]
    assert (curve["value"], curve["unit"], curve["definition"]) == (40.0, "°", "clinical")
    assert (curve["upper_end"], curve["lower_end"], curve["convex"]) == ("T1", "L5", "right")
    plates = cobb_tables.film_endplates(found, {("T1", "superior")})
    assert [row["level"] for row in plates] == list(LEVELS)
    assert plates[0]["superior_tilt"] == pytest.approx(-20)
    assert (plates[0]["edited"], plates[1]["edited"]) == ("superior", "")
    assert plates[0]["confidence"] == 90.0
    assert plates[3]["lower_right_y"] == pytest.approx(corners[3, 3, 1], abs=0.01)


def test_a_csv_file_has_keys_units_and_a_row_each() -> None:
    found = measured(corners_of(bent((0, -20), (16, 20))))
    data = cobb_tables.csv_bytes(cobb_tables.FILM_ENDPLATES, cobb_tables.film_endplates(found))
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    assert len(rows) == 17
    assert float(rows[16]["inferior_tilt_deg"]) == pytest.approx(20)
    assert rows[0]["confidence_percent"] == ""
    assert set(rows[0]) >= {"level", "upper_left_x_px", "lower_right_y_px"}


def test_the_text_is_ascii_with_values_units_and_ends() -> None:
    found = measured(corners_of(bent((0, -20), (16, 20))), warnings=("Look at T4–T6: 5° off.",))
    text = cobb_tables.film_text(found, FILM, "tiny-cobb", {("T4", "superior")})
    lines = text.decode("ascii").split("\r\n")
    assert lines[-1] == ""
    assert max(len(line) for line in lines) <= 1024
    assert "Major: 40.0 deg (challenge), T1 to L5" in lines
    curve = next(line for line in lines if line.startswith("Main thoracic"))
    assert "T1 to L5" in curve
    assert "convex to the right of the picture" in curve
    assert "Corrected by hand: T4 superior" in lines
    assert "Note: Look at T4-T6: 5 deg off." in lines
    assert any("?" in line for line in lines if line.startswith("Film: "))


def test_a_lateral_film_has_its_own_rows() -> None:
    levels = (*LEVELS, "sacrum")
    corners = np.concatenate([corners_of(bent((0, 20), (11, -20), (16, 10))), [[[300, 960], [360, 970], [np.nan] * 2, [np.nan] * 2]]])  # fmt: skip # noqa: E501
    found = measured(corners, levels, view=LATERAL)
    rows = by_measure(cobb_tables.film_angles(found))
    assert rows["Kyphosis"]["value"] == pytest.approx(found.sagittal.kyphosis_deg, abs=0.01)
    assert rows["Sagittal vertical axis"]["value"] is None
    assert "Sagittal vertical axis: not measured" in cobb_tables.film_text(found, FILM, "").decode()


def test_single_endplates_give_the_angle_between_them() -> None:
    whole = corners_of(bent((0, -20), (16, 20)))
    corners = np.full_like(whole, np.nan)
    corners[4, :2], corners[10, 2:] = whole[4, :2], whole[10, 2:]
    found = measured(corners)
    assert found.levels == ("T5", "T11")
    assert found.angles_deg is None
    (curve,) = found.clinical.curves
    assert curve.angle_deg == pytest.approx(40 * 6 / 16)
    assert (curve.upper_end, curve.lower_end, curve.convex) == (0, 1, "right")
    assert "Single endplates" in found.warnings[0]
    assert found.curves()[0]["region"] is None
    more = corners.copy()
    more[7] = whole[7]
    assert measured(more).clinical.curves[0].apex == 1
    assert measured(more).clinical.mt is not None
    with pytest.raises(InputError, match="Place both"):
        measured(np.where(np.arange(17)[:, None, None] == 4, corners, np.nan))
    assert len(json.dumps(found.to_json(), allow_nan=False)) > 100


def test_a_spine_is_read_back_from_its_json() -> None:
    angles = measure_spine(tinyspine.make(spacing=(2.0, 2.0, 2.0), heights=(18.0, 26.0)).labels)
    content = json.loads(json.dumps(angles.to_json()))
    again = spine_from_json(content)
    assert again.to_json() == content
    rows = by_measure(cobb_tables.spine_angles(again))
    assert rows["Coronal Cobb"]["value"] == content["coronal_cobb_deg"]
    assert rows["Lordosis"]["value"] is None
    tilts = cobb_tables.spine_vertebrae(angles)
    assert [row["level"] for row in tilts] == ["L1", "L2", "L3"]
    assert (
        tilts[0]["upper_sagittal_tilt"]
        == content["vertebrae"][0]["upper_endplate"]["sagittal_tilt_deg"]
    )
    assert b"Axial rotation of L2: " in cobb_tables.spine_text(angles, "L spine")
    with pytest.raises(InputError, match="no measurement of a label map"):
        spine_from_json({"kind": "film"})
    with pytest.raises(InputError, match="another version"):
        spine_from_json({**content, "vertebrae": [{"level": "L1"}]})


def test_corners_are_read_from_a_result_and_from_a_table(tmp_path: Path) -> None:
    film = Film(tinycobb.picture(40), name="a.png")
    corners = tinycobb.corners(40)
    result = FilmResult(LEVELS, corners, confidence=(0.5,) * 17)
    folder = save_film(
        FilmDone("tiny", result, measure_film(result, film)), film, tmp_path / "out",
        more={"note.txt": b"kept"},
    )  # fmt: skip
    assert (folder / "note.txt").read_bytes() == b"kept"
    assert "note.txt" in json.loads((folder / "run.json").read_text())["outputs"]
    found = read_corners(folder / "result.json", film)
    np.testing.assert_allclose(found.corners_px, corners, atol=0.006)
    assert found.confidence == result.confidence
    names = [f"v{n:02d}_{c}_{a}" for n in range(1, 18) for c in ("ul", "ur", "ll", "lr")
             for a in "xy"]  # fmt: skip
    table = tmp_path / "landmarks.csv"
    table.write_text(
        ",".join(["file", *names])
        + "\n"
        + ",".join(["a.png", *(f"{v:.4f}" for v in corners.ravel())])
        + "\n"
    )
    (tmp_path / "a.png").write_bytes(b"film")
    np.testing.assert_allclose(read_corners(table, film).corners_px, corners, atol=1e-3)
    with pytest.raises(InputError, match="has no row for b.png"):
        read_corners(table, Film(film.array, name="b.png"))
    with pytest.raises(InputError, match="outside of"):
        read_corners(folder / "result.json", Film(np.zeros((80, 70), np.uint8), name="small"))
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(InputError, match="holds no corners"):
        read_corners(tmp_path / "no.json", film)


def test_a_method_result_survives_json() -> None:
    corners = tinycobb.corners(30)
    corners[16, 2:] = np.nan
    result = FilmResult(LEVELS, corners, centreline_px=np.ones((3, 2)), warnings=("Look.",))
    again = FilmResult.from_json(json.loads(json.dumps(result.to_json(), allow_nan=False)))
    np.testing.assert_array_equal(again.corners_px, corners)
    assert (again.levels, again.warnings) == (result.levels, result.warnings)


def test_the_workers_job_measures_a_film_and_a_label_map(tiny, tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(tinycobb.picture(40)), str(tmp_path / "film.png"))
    job = {"task": "cobb", "scan": str(tmp_path / "film.png"), "output": str(tmp_path / "out")}
    done = run(job_of({**job, "about": {"name": "mine", "spacing_mm": [0.2, 0.1]}}), Progress())
    content = json.loads((done.folder / "result.json").read_text(encoding="utf-8"))
    assert (content["film"], content["spacing_mm"]) == ("mine", [0.2, 0.1])
    assert FilmResult.from_json({
        k: v for k, v in done.result.found.items() if k != "method"
    }).levels == LEVELS  # fmt: skip
    assert done.result.found["method"] == tinycobb.NAME
    with pytest.raises(InputError, match="is a folder"):
        run(job_of({**job, "scan": str(tmp_path)}), Progress())
    with pytest.raises(InputError, match="not valid"):
        run(job_of({**job, "about": {"colour": 1}}), Progress())


def test_films_from_memory_are_checked_like_files() -> None:
    array = tinycobb.picture(40)
    film = film_from_array(array.astype(np.int16), "x", spacing_mm=(0.2, 0.2))
    assert (film.array.dtype, film.spacing_mm) == (np.uint16, (0.2, 0.2))
    dark = film_from_array(array, "x", dark_bone=True)
    np.testing.assert_array_equal(dark.array, 249 - array.astype(int))
    assert "turned over" in dark.notes[0]
    with pytest.raises(InputError, match="x is a CT, not a radiograph"):
        film_from_array(array, "x", modality="CT")
    colours = np.stack([array, array // 2, array // 4], axis=-1)
    with pytest.raises(InputError, match="picture in colour"):
        film_from_array(colours, "x")
    with pytest.raises(InputError, match="only 20 × 30 pixels"):
        film_from_array(array[:30, :20], "x")
