"""Films in the CobbAngle module: from a node to lines, angles that follow them, and files."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tinycobb
import tinycobbworker
from CobbAngleLib.Drawing import DRAWN
from CobbAngleLib.FilmState import FOUND
from CobbAngleLib.Logic import CobbLogic
from cobbcases import UPPER, WORKER, addFilm, atOnce, contents, drag, found, pixels, rows
from nodecases import addTransform, obliqueAffine, rigid
from spineseg import cobb_tables, registry
from spineseg.errors import CancelledError, InputError
from spineseg.measure.film import measure_film
from spineseg.methods.film_result import FilmResult
from SpineSegMRML import cobbjobs, endplates, films, volumes
from SpineSegMRML.cobbjobs import FilmFound


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The tiny method in place of the shipped ones."""
    monkeypatch.setattr(registry, "METHODS", registry.METHODS)
    monkeypatch.setattr(registry, "DEFAULT_COBB", registry.DEFAULT_COBB)
    monkeypatch.setitem(sys.modules, "spineseg.methods.tinycobb", tinycobb)
    tinycobbworker.register()


@pytest.fixture
def logic():
    return CobbLogic(atOnce)


@pytest.fixture
def film(scene):
    """The film, upright, under an oblique rigid transform; its image's extent begins at 5."""
    node = addFilm(scene, spacing_mm=(0.5, 0.4))
    addTransform(scene, node, rigid(obliqueAffine()))
    image = node.GetImageData()
    image.SetExtent(*(bound + 5 for bound in image.GetExtent()))
    return node


def test_a_film_gets_a_line_for_each_endplate_through_the_worker(application, film):
    logic = CobbLogic(functools.partial(cobbjobs.filmInChild, command=WORKER))
    reports = []
    outcome = logic.films.measure(film, onProgress=reports.append)
    lines = endplates.linesOf(film)
    assert [node.GetName() for node in lines.values()][:3] == [
        "T1 superior", "T1 inferior", "T2 superior",
    ]  # fmt: skip
    assert len(lines) == 34
    corners = tinycobb.corners(40)
    for row, level in enumerate(tinycobb.LEVELS):
        np.testing.assert_allclose(pixels(film, (level, "superior")), corners[row, :2], atol=1e-6)
        np.testing.assert_allclose(pixels(film, (level, "inferior")), corners[row, 2:], atol=1e-6)
    # Where the film's own voxels lie, through its transform.
    place = volumes.volumeFromNode(film).ijk_to_ras([[*corners[0, 0], 0.0]])[0]
    position = [0.0, 0.0, 0.0]
    lines[UPPER].GetNthControlPointPositionWorld(0, position)
    np.testing.assert_allclose(position, place, atol=1e-6)
    assert outcome.state.measured.angles_deg["major"] == pytest.approx(40, abs=4)  # oblong pixels
    assert outcome.state.method == tinycobb.NAME
    assert reports[-1].fraction > 0
    hierarchy = application.subjectHierarchy()
    parents = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(n)) for n in lines.values()}
    assert [hierarchy.GetItemName(p) for p in parents] == [f"{film.GetName()} endplates"]


def test_tables_hold_what_the_library_measures(logic, scene):
    film = addFilm(scene)
    outcome = logic.films.measure(film)
    expected = measure_film(found(40), films.filmFromNode(film))
    assert outcome.state.measured.to_json() == expected.to_json()
    for node, wanted in (
        (outcome.anglesNode, cobb_tables.film_angles(expected)),
        (outcome.platesNode, cobb_tables.film_endplates(expected)),
    ):
        shown = rows(node)
        assert len(shown) == len(wanted)
        for row, truth in zip(shown, wanted):
            for key, value in truth.items():
                if isinstance(value, float):
                    assert float(row[key]) == pytest.approx(value)
                elif value is not None:
                    assert row[key] == str(value)
    assert "Major 40.0°" in outcome.summary()
    assert outcome.warnings[0] == "Metal."


def test_dragging_changes_the_angles_as_the_library_says(logic, film):
    logic.films.measure(film)
    told = []
    logic.follow(film, lambda: told.append(logic.films.refresh(film)))
    drag(film, UPPER, 1, (5.0, -21.0))
    drag(film, ("L5", "inferior"), 0, (-3.0, 8.0))
    corners = tinycobb.corners(40)
    corners[0, 1] += (5.0, -21.0)
    corners[16, 2] += (-3.0, 8.0)
    expected = measure_film(
        FilmResult(tinycobb.LEVELS, corners, confidence=(0.9,) * 17), films.filmFromNode(film)
    )
    assert len(told) == 2
    measured = told[-1].state.measured
    np.testing.assert_allclose(measured.corners_px, corners, atol=1e-6)
    for name, value in expected.angles_deg.items():
        assert measured.angles_deg[name] == pytest.approx(value, abs=1e-6)
    assert measured.curves() == expected.curves()
    before = measure_film(found(40), films.filmFromNode(film))
    assert measured.angles_deg["major"] > before.angles_deg["major"] + 5
    major = rows(told[-1].anglesNode)[0]
    assert float(major["value"]) == pytest.approx(expected.angles_deg["major"], abs=0.006)
    plates = {row["level"]: row for row in rows(told[-1].platesNode)}
    assert (plates["T1"]["edited"], plates["L5"]["edited"]) == ("superior", "inferior")
    assert plates["T2"]["edited"] == ""
    assert "Placed or moved by hand: T1 superior, L5 inferior." in told[-1].warnings
    # The prediction itself is kept.
    assert json.loads(film.GetAttribute(FOUND))["corners_px"][0][1] == list(
        tinycobb.corners(40)[0, 1]
    )


def test_several_moves_make_one_call_where_that_is_asked_for(logic, film):
    logic.films.measure(film)
    waiting, told = [], []
    logic.follow(film, lambda: told.append(1), waiting.append)
    for _ in range(5):
        drag(film, UPPER, 0, (0.0, 1.0))
    assert (len(waiting), len(told)) == (1, 0)
    waiting.pop()()
    assert len(told) == 1
    drag(film, UPPER, 0, (0.0, 1.0))
    assert len(waiting) == 1
    logic.close()
    waiting.pop()()  # the panel was closed before the timer fired
    assert len(told) == 1


def test_colours_say_how_sure_the_method_is_and_what_is_the_users(logic, scene):
    film = addFilm(scene)
    sure = np.linspace(0, 1, 17)
    logic.films._runner = lambda *_, **__: FilmFound("m", found(40, confidence=tuple(sure)))
    logic.films.measure(film)
    drag(film, ("T5", "superior"), 0, (0.0, 3.0))
    logic.films.refresh(film)
    lines = endplates.linesOf(film)
    red, green = (lines[(n, "superior")].GetDisplayNode().GetSelectedColor() for n in ("T1", "L5"))
    assert red[0] > 0.9 > 0.5 > red[1]
    assert green[1] > 0.8 > 0.5 > green[0]
    assert lines[("T5", "superior")].GetDisplayNode().GetSelectedColor()[2] == 1.0


def test_a_second_run_keeps_the_users_work_or_replaces_it(logic, film):
    logic.films.measure(film)
    drag(film, UPPER, 0, (0.0, -7.0))
    mine = pixels(film, UPPER)
    logic.films._runner = lambda *_, **__: FilmFound("again", found(20))
    again = logic.films.measure(film)
    np.testing.assert_allclose(pixels(film, UPPER), mine, atol=1e-6)
    np.testing.assert_allclose(
        pixels(film, ("L5", "inferior")), tinycobb.corners(20)[16, 2:], atol=1e-6
    )
    assert again.state.edited == {UPPER}
    replaced = logic.films.measure(film, keepEdits=False)
    np.testing.assert_allclose(pixels(film, UPPER), tinycobb.corners(20)[0, :2], atol=1e-6)
    assert not replaced.state.edited
    back = logic.films.undo()
    np.testing.assert_allclose(pixels(film, UPPER), mine, atol=1e-6)
    assert back.state.edited == {UPPER}
    logic.films.undo()
    np.testing.assert_allclose(pixels(film, UPPER), mine, atol=1e-6)
    assert logic.films.state(film).method == tinycobb.NAME
    assert logic.films.asFound(film).state.edited == frozenset()
    assert logic.films.undo().state.edited == {UPPER}
    logic.films.undo()
    assert not endplates.linesOf(film)
    with pytest.raises(InputError, match="nothing to undo"):
        logic.films.undo()


def test_a_run_uses_the_tables_that_are_chosen(logic, film, scene):
    first = logic.films.measure(film)
    assert logic.films.measure(film).anglesNode is first.anglesNode
    other = scene.AddNewNodeByClass("vtkMRMLTableNode", "mine")
    assert logic.films.measure(film, anglesNode=other).anglesNode is other
    assert other.GetNumberOfRows() > 3


def test_cancel_and_failure_leave_the_scene_as_it_was(application, scene, monkeypatch):
    slow = addFilm(scene, tinycobbworker.SLOW)
    logic = CobbLogic(functools.partial(cobbjobs.filmInChild, command=WORKER))
    before = contents(application)

    def onProgress(report):
        if report.stage == "find":
            logic.cancel()

    with pytest.raises(CancelledError):
        logic.films.measure(slow, onProgress=onProgress)
    assert contents(application) == before
    assert not logic.running
    nothing = addFilm(scene, 255)
    before = contents(application)
    with pytest.raises(InputError, match="No spine was found on this film"):
        logic.films.measure(nothing)
    logic = CobbLogic(atOnce)
    added = endplates.addLine

    def broken(filmNode, key, points=None):
        if key[0] == "T3":
            raise RuntimeError("no line today")
        return added(filmNode, key, points)

    monkeypatch.setattr(endplates, "addLine", broken)
    with pytest.raises(RuntimeError, match="no line today"):
        logic.films.measure(addFilm(scene))
    scene.RemoveNode(scene.GetFirstNodeByName("film.png_2"))
    assert contents(application)[0] == before[0]


def test_a_scene_that_is_closed_during_a_run_gets_no_result(scene, logic):
    film = addFilm(scene)

    def closing(*_, **__):
        scene.Clear(True)
        return FilmFound("m", found(40))

    logic.films._runner = closing
    with pytest.raises(CancelledError, match="closed while"):
        logic.films.measure(film)
    assert scene.GetFirstNodeByClass("vtkMRMLMarkupsLineNode") is None


def test_a_scene_that_is_closed_and_nodes_that_are_deleted(logic, film, scene):
    logic.films.measure(film)
    told = []
    logic.follow(film, lambda: told.append(1))
    scene.RemoveNode(endplates.linesOf(film)[UPPER])
    assert len(told) == 1
    state = logic.films.state(film)
    assert np.isnan(state.measured.corners_px[0, :2]).all()
    assert state.measured.angles_deg is None
    assert state.measured.clinical.curves[0].angle_deg > 20
    scene.RemoveNode(endplates.linesOf(film)[("T1", "inferior")])
    assert logic.films.state(film).measured.levels[0] == "T2"
    line = endplates.linesOf(film)[("T2", "superior")]
    scene.RemoveNode(film)
    assert len(told) == 3
    assert logic.films.watch.ownerNode is None
    line.SetNthControlPointPositionWorld(0, 1.0, 2.0, 3.0)
    assert len(told) == 3
    other = addFilm(scene)
    logic.films.measure(other)
    logic.follow(other, lambda: told.append(2))
    scene.Clear(True)
    assert logic.films.watch.ownerNode is None
    assert 2 not in told
    assert not logic.films.canUndo


def test_endplates_placed_by_hand_are_measured(logic, scene):
    film = addFilm(scene)
    told = []
    logic.follow(film, lambda: told.append(logic.films.refresh(film)))
    state = logic.films.state(film)
    assert (state.measured, state.problem) == (
        None, "Measure the film, or place endplates by hand.",
    )  # fmt: skip
    corners, place = tinycobb.corners(40), films.FilmPlace(film)
    first = logic.films.place(film, "T5", "superior")
    first.AddControlPointWorld(*place.ras(corners[4, 1])[0])  # from the right, as one likes
    first.AddControlPointWorld(*place.ras(corners[4, 0])[0])
    assert "Place both" in told[-1].state.problem
    last = logic.films.place(film, "T11", "inferior")
    for corner in corners[10, 2:]:
        last.AddControlPointWorld(*place.ras(corner)[0])
    measured = told[-1].state.measured
    assert measured.clinical.major.angle_deg == pytest.approx(15.0, abs=1e-6)
    assert measured.curves()[0]["upper_end"] == "T5"
    assert told[-1].state.method == ""
    again = logic.films.place(film, "T5", "superior")
    assert again is first
    assert first.GetNumberOfControlPoints() == 0
    assert logic.films.undo().state.measured is not None


def test_curves_and_the_spines_line_are_drawn_and_follow(logic, scene):
    film = addFilm(scene)
    logic.films.measure(film)
    drawn = {}

    def look():
        nodes = scene.GetNodesByClass("vtkMRMLMarkupsNode")
        every = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
        drawn.update({n.GetAttribute(DRAWN): n for n in every if n.GetAttribute(DRAWN)})
        return {n.GetAttribute(DRAWN) for n in every if n.GetAttribute(DRAWN)}

    assert look() == {"0 upper", "0 lower", "centreline"}
    line = drawn["0 upper"]
    assert line.GetLocked()
    assert line.GetName() == "MT 40.0° T1 superior"
    assert drawn["centreline"].GetNumberOfControlPoints() == 34
    ends = []
    for index in range(2):
        position = [0.0, 0.0, 0.0]
        line.GetNthControlPointPositionWorld(index, position)
        ends.append(position)
    upper = tinycobb.corners(40)[0, :2]
    reach = 1.2 * (upper[1] - upper[0])
    drawnAt = films.FilmPlace(film).pixels(np.array(ends))
    np.testing.assert_allclose(drawnAt, [upper[0] - reach, upper[1] + reach], atol=1e-6)
    assert len(endplates.linesOf(film)) == 34  # what is drawn is no endplate
    drag(film, UPPER, 1, (0.0, -20.0))
    logic.films.refresh(film)
    assert drawn["0 upper"].GetName() != "MT 40.0° T1 superior"
    logic.films.showCurves = False
    logic.films.refresh(film)
    assert look() == set()


def test_corners_from_a_file_take_the_place_of_a_method(logic, scene, tmp_path):
    film = addFilm(scene)
    logic.films.measure(film)
    folder = logic.films.export(film, tmp_path / "out")
    other = addFilm(scene, 20)
    logic.films.loadCorners(other, folder / "result.json")
    assert logic.films.state(other).method == "result.json"
    assert logic.films.state(other).measured.angles_deg["major"] == pytest.approx(40, abs=0.05)
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(InputError, match="holds no corners"):
        logic.films.loadCorners(other, tmp_path / "empty.json")
    assert logic.films.state(other).measured.angles_deg["major"] == pytest.approx(40, abs=0.05)


def test_the_files_are_the_terminals_and_tables_of_the_same(logic, scene, tmp_path):
    film = addFilm(scene)
    assert logic.films.validateExport(film, tmp_path).startswith("Measure the film")
    logic.films.measure(film)
    assert logic.films.validateExport(film, Path()) == "Choose a folder for the files."
    drag(film, UPPER, 1, (0.0, -10.0))
    folder = logic.films.export(film, tmp_path / "out", {"view.png": b"seen"})
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    expected = logic.films.state(film).measured.to_json()
    assert {k: content[k] for k in expected} == json.loads(json.dumps(expected))
    assert set(content) == {*expected, "film", "method", "spacing_mm", "notes"}
    assert content["corners_px"][0][1][1] == pytest.approx(
        tinycobb.corners(40)[0, 1, 1] - 10, abs=0.01
    )
    names = {"result.json", "report.html", "run.json", "angles.csv", "endplates.csv",
             "report.txt", "picture.png", "view.png"}  # fmt: skip
    assert {path.name for path in folder.iterdir()} == names
    text = (folder / "report.txt").read_bytes().decode("ascii")
    assert f"Major: {expected['angles_deg']['major']:.1f} deg (challenge)" in text
    assert "Corrected by hand: T1 superior" in text
    assert (folder / "endplates.csv").read_text().count("\n") == 18
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "picture.png")))
    assert min(picture.shape[:2]) > 300
    assert np.ptp(picture[..., 2].astype(int) - picture[..., 0]) > 100  # coloured lines
    # Once more into the same folder, but not over what somebody has edited.
    logic.films.export(film, folder)
    (folder / "report.txt").write_text("mine")
    with pytest.raises(InputError, match="report.txt"):
        logic.films.export(film, folder)


def test_work_on_a_film_is_saved_with_the_scene(application, logic, scene, tmp_path):
    film = addFilm(scene)
    logic.films.measure(film)
    drag(film, UPPER, 0, (0.0, -7.0))
    logic.films.refresh(film)
    before = logic.films.state(film)
    path = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(path)
    scene.Clear(True)
    scene.ReadFromMRB(path)
    again = scene.GetFirstNodeByName("film.png")
    state = CobbLogic(atOnce).films.state(again)
    assert state.edited == {UPPER}
    assert state.measured.to_json() == before.measured.to_json()
    assert len(endplates.linesOf(again)) == 34
