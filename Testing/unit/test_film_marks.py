"""What a method saw on a film: as JSON, as lines, in result.json and in the report's picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tinycobb
from spineseg.cobb import FilmDone, save_film
from spineseg.cobb_pictures import marks_png
from spineseg.io.films import Film
from spineseg.measure.film import measure_film
from spineseg.methods.film_result import FilmResult, Mark
from spineseg.progress import Progress

DISC = (np.hypot(*np.mgrid[-20:21, -10:11]) < 8).astype(np.uint8) * 255
MARKS = (
    Mark("key points", "points", np.array([[10.0, 20.0], [30.0, 40.0]])),
    Mark("centreline", "line", np.array([[300.0, 0.0], [310.0, 500.0], [300.0, 999.0]])),
    Mark("boxes", "outlines", np.array([[[0.0, 0.0], [50.0, 0.0], [50.0, 30.0], [0.0, 30.0]]] * 2)),
    Mark("mask", "map", np.array([[100.0, 200.0], [300.0, 600.0]]), DISC),
)


def film() -> Film:
    return Film(tinycobb.picture(30), "film.png")


def test_marks_come_back_from_json() -> None:
    result = FilmResult(angles_deg={"major": 1.0, "upper": 2.0, "lower": 3.0}, marks=MARKS)
    again = FilmResult.from_json(json.loads(json.dumps(result.to_json())))
    assert [m.name for m in again.marks] == [m.name for m in MARKS]
    for one, other in zip(again.marks, MARKS, strict=True):
        assert one.kind == other.kind
        np.testing.assert_allclose(one.points_px, other.points_px)
        assert (one.values is None) == (other.values is None)
    np.testing.assert_array_equal(again.marks[3].values, DISC)
    old = {k: v for k, v in result.to_json().items() if k != "marks"}
    assert FilmResult.from_json(old).marks == ()  # of a scene that was saved before there were any


def test_marks_are_lines_in_pixels_of_the_film() -> None:
    points, line, boxes, disc = MARKS
    assert points.lines() == []
    np.testing.assert_array_equal(line.lines()[0], line.points_px)
    assert [len(one) for one in boxes.lines()] == [5, 5]
    np.testing.assert_array_equal(boxes.lines()[0][0], boxes.lines()[0][-1])
    (around,) = disc.lines()
    # 20 columns lie on 200 pixels, 40 rows on 400: a circle of radius 8 stays one.
    radius = np.linalg.norm(around - np.array([200.0, 400.0]), axis=1)
    assert radius == pytest.approx(80, abs=9)


def test_the_report_shows_what_the_method_saw(tmp_path: Path) -> None:
    found = tinycobb.predict(film(), tinycobb.Settings(), Progress())
    seen = FilmResult(found.levels, found.corners_px, confidence=found.confidence, marks=MARKS)
    done = FilmDone(tinycobb.NAME, seen, measure_film(seen, film()))
    save_film(done, film(), tmp_path / "out")
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert report.count("data:image/png;base64") == 2
    assert "saw: key points, centreline, boxes, mask." in report
    marks = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["marks"]
    assert [m["name"] for m in marks] == ["key points", "centreline", "boxes"]
    assert marks[0]["points_px"] == [[10.0, 20.0], [30.0, 40.0]]


def test_each_kind_of_mark_changes_the_picture() -> None:
    plain = marks_png((), film())
    pictures = {marks_png((mark,), film()) for mark in MARKS}
    assert len(pictures | {plain}) == len(MARKS) + 1
