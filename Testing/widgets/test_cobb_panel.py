"""The panel of CobbAngle: what it offers, a run, endplates that are dragged, and files."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import slicer
import tinycobb
import tinycobbworker
from panelcases import Steps, entered, nodesOf, visibleState
from spineseg import registry
from spineseg.errors import MemoryLimitError
from spineseg.io.films import Film
from spineseg.measure.spine_angles import measure_spine
from spineseg.methods.film_result import FilmResult
from SpineSegMRML import endplates, films, segmentations, volumes
from SpineSegMRML.cobbjobs import FilmFound, SpineFound

NAME = "CobbAngle"


@pytest.fixture
def panel(openPanel, monkeypatch):
    monkeypatch.setattr(registry, "METHODS", registry.METHODS)
    monkeypatch.setattr(registry, "DEFAULT_COBB", registry.DEFAULT_COBB)
    monkeypatch.setitem(sys.modules, "spineseg.methods.tinycobb", tinycobb)
    tinycobbworker.register()
    panel = openPanel(NAME)
    run(panel)
    return panel


@pytest.fixture
def scene(application):
    return application.scene


@pytest.fixture
def film(panel, scene):
    """The film, chosen."""
    node = films.addFilmNode(scene, Film(tinycobb.picture(40), name="film.png"))
    panel._parameterNode.film = node
    return node


def answer(film):
    found = FilmResult(tinycobb.LEVELS, tinycobb.corners(float(film.array[0, 0])))
    return FilmFound(tinycobb.NAME, found)


def run(panel, answer=answer, during=None, look=lambda: None):
    """Let the panel run this in place of the child process."""
    steps = Steps(answer, during, look)
    panel.logic.films._runner = steps
    panel.logic.spines._runner = Steps(lambda volume: SpineFound(measure_spine(volume)), during)
    return steps


def choose(panel, name, value):
    """Choose a member of an enumeration by its value."""
    kind = type(getattr(panel._parameterNode, name))
    setattr(panel._parameterNode, name, kind(value))


def drag(film, key, by):
    node, place = endplates.linesOf(film)[key], films.FilmPlace(film)
    (position,) = place.ras(endplates.pointsOf(node, place)[0] + np.array(by, float))
    node.SetNthControlPointPositionWorld(0, *position)


def test_the_buttons_say_why_they_can_not_be_used(panel, scene):
    ui = panel.ui
    assert (ui.applyButton.text, ui.applyButton.enabled) == ("Measure", False)
    for button in (ui.applyButton, ui.placeButton, ui.exportButton, ui.loadLandmarksButton):
        assert (button.enabled, button.toolTip) == (False, "Choose a film.")
    assert "Choose the file of a radiograph" in ui.loadFilmButton.toolTip
    assert ui.undoButton.toolTip == "There is nothing to undo."
    ct = volumes.addVolumeNode(scene, volumes.Volume(np.zeros((3, 90, 90)), np.eye(4)), "ct")
    panel._parameterNode.film = ct
    assert "has 3 slices, so it is a scan and not a film" in ui.applyButton.toolTip
    choose(panel, "source", "segmentation")
    assert ui.applyButton.toolTip == "Choose a segmentation of vertebrae."
    assert not ui.filmSelector.visible
    assert not ui.editCollapsibleButton.visible
    assert ui.segmentationSelector.visible


def test_every_control_explains_itself_and_is_bound(panel):
    controls = ("QPushButton", "QCheckBox", "QComboBox", "qMRMLNodeComboBox", "ctkPathLineEdit")
    widgets = [w for w in vars(panel.ui).values() if w.className() in controls]
    assert len(widgets) > 15
    assert [w.name for w in widgets if not w.toolTip] == []
    bound = {w.property("SlicerParameterName") for w in vars(panel.ui).values()} - {None, ""}
    assert bound == set(panel._parameterNode.allParameters)


def test_a_run_shows_lines_tables_and_angles(panel, film, messages):
    steps = run(panel, look=lambda: visibleState(panel))
    panel.ui.applyButton.click()
    assert messages == []
    assert {state[:3] for state in steps.seen} == {("Cancel", True, True)}
    assert {state[4] for state in steps.seen} == {False}
    text, enabled, bar, _, inputs, status = visibleState(panel)
    assert (text, enabled, bar, inputs) == ("Measure", True, False, True)
    assert status.startswith("Major 40.0°, Main thoracic 40.0°.")
    assert len(endplates.linesOf(film)) == 34
    assert panel.ui.anglesTableView.visible
    assert panel.ui.rowsTableView.mrmlTableNode().GetNumberOfRows() == 17


def test_dragging_an_endplate_changes_what_is_shown(panel, film, slicerApp):
    panel.ui.applyButton.click()
    assert not panel.ui.asFoundButton.enabled
    before = panel.ui.statusLabel.text
    table = panel.ui.anglesTableView.mrmlTableNode()
    for step in range(3):
        drag(film, ("T1", "superior"), (0.0, 6.0 + step))
    assert panel.ui.statusLabel.text == before  # not while the view handles the mouse
    slicerApp.processEvents()
    expected = panel.logic.films.state(film).measured.angles_deg["major"]
    assert expected > 42
    assert f"Major {expected:.1f}°" in panel.ui.statusLabel.text
    assert "Placed or moved by hand: T1 superior." in panel.ui.statusLabel.text
    assert float(table.GetCellText(0, table.GetColumnIndex("value"))) == pytest.approx(
        expected, abs=0.006
    )
    assert panel.ui.asFoundButton.enabled
    panel.ui.asFoundButton.click()
    assert panel.ui.statusLabel.text == before
    panel.ui.undoButton.click()
    assert f"Major {expected:.1f}°" in panel.ui.statusLabel.text


@pytest.mark.parametrize("keep", [True, False])
def test_a_second_run_asks_for_the_users_endplates(panel, film, messages, slicerApp, keep):
    import qt
    from standin.ctkwidgets import ctkMessageBox

    panel.ui.applyButton.click()
    drag(film, ("T1", "superior"), (0.0, 6.0))
    slicerApp.processEvents()
    ctkMessageBox.answers.append(qt.QMessageBox.Yes if keep else qt.QMessageBox.No)
    panel.ui.applyButton.click()
    assert "placed or moved: 1. Keep them?" in messages[-1]["text"]
    assert bool(panel.logic.films.state(film).edited) == keep


def test_cancel_errors_and_a_closed_scene(panel, film, scene, messages):
    before = nodesOf(scene)
    run(panel, during=panel.ui.applyButton.click)
    panel.ui.applyButton.click()
    assert nodesOf(scene) == before
    assert "cancel" in panel.ui.statusLabel.text.lower()

    def fail(film):
        raise MemoryLimitError("There is not enough memory.", "Close other programs.", "4 GB")

    run(panel, fail)
    panel.ui.applyButton.click()
    assert messages[-1]["text"] == "There is not enough memory. Close other programs."
    assert nodesOf(scene) == before
    run(panel, during=lambda: scene.Clear(False))
    panel.ui.applyButton.click()
    assert nodesOf(scene) == []
    assert panel.ui.applyButton.toolTip == "Choose a film."
    assert panel.ui.applyButton.text == "Measure"


def test_a_film_that_is_deleted_or_left_disturbs_nothing(panel, film, scene, slicerApp):
    panel.ui.applyButton.click()
    line = endplates.linesOf(film)[("T1", "superior")]
    panel.parent.exit()
    drag(film, ("T1", "superior"), (0.0, 9.0))
    slicerApp.processEvents()
    panel.parent.enter()
    assert panel.ui.anglesTableView.visible
    scene.RemoveNode(film)
    slicerApp.processEvents()
    line.SetNthControlPointPositionWorld(0, 1.0, 2.0, 3.0)
    slicerApp.processEvents()
    assert panel.ui.applyButton.toolTip == "Choose a film."
    assert not panel.ui.anglesTableView.visible


def test_endplates_are_placed_by_hand(panel, film, slicerApp):
    ui, place, corners = panel.ui, films.FilmPlace(film), tinycobb.corners(40)
    for level, which, row, part in (("T5", 0, 4, (0, 1)), ("T11", 1, 10, (2, 3))):
        ui.levelComboBox.currentIndex = ui.levelComboBox.findData(level)
        ui.whichComboBox.currentIndex = which
        ui.placeButton.click()
        assert ui.placeButton.checked
        line = ui.placeWidget.currentNode()
        assert line.GetName() == f"{level} {('superior', 'inferior')[which]}"
        for position in place.ras(corners[row, list(part)]):
            line.AddControlPointWorld(*position)
        ui.placeButton.click()
        slicerApp.processEvents()
    assert "Curve 15.0°" in ui.statusLabel.text


def test_films_landmarks_and_results_go_through_files(panel, film, scene, tmp_path):
    ui, parameters = panel.ui, panel._parameterNode
    panel.ui.applyButton.click()
    parameters.withView = False
    assert ui.exportButton.toolTip == "Choose a folder for the files."
    parameters.exportFolder = tmp_path / "out"
    ui.exportButton.click()
    assert "Written to" in ui.statusLabel.text
    parameters.filmFile = tmp_path / "out" / "picture.png"
    ui.loadFilmButton.click()
    assert parameters.film.GetName() == "picture.png"
    assert not ui.anglesTableView.visible
    parameters.film = film
    panel.logic.films.asFound(film)
    parameters.landmarkFile = tmp_path / "out" / "result.json"
    ui.loadLandmarksButton.click()
    assert "Major 40.0°" in ui.statusLabel.text
    assert panel.logic.films.state(film).method == "result.json"


def test_a_segmentation_is_measured_and_its_planes_are_chosen(panel, scene):
    from CobbAngleLib.Drawing import planesOf
    from CobbAngleLib.SelfTest import LEVELS, _blocks

    truth = _blocks()
    source = volumes.addVolumeNode(scene, truth.like(truth.array.astype(np.int16)), "ct")
    node = segmentations.addSegmentationNode(truth, source, "vertebrae")
    choose(panel, "source", "segmentation")
    panel._parameterNode.segmentation = node
    panel.ui.applyButton.click()
    assert "Coronal Cobb 0.0°" in panel.ui.statusLabel.text
    assert panel.ui.rowsTableView.mrmlTableNode().GetNumberOfRows() == len(LEVELS)
    choose(panel, "planes", "all")
    assert len(planesOf(node)) == 2 * len(LEVELS)
    choose(panel, "planes", "nothing")
    assert planesOf(node) == {}
    # An edit makes the tables old, and one press measures again.
    assert not panel.ui.staleLabel.visible
    node.GetSegmentation().RemoveSegment(node.GetSegmentation().GetNthSegmentID(0))
    assert panel.ui.staleLabel.visible
    panel.ui.refreshButton.click()
    assert not panel.ui.staleLabel.visible
    assert panel.ui.rowsTableView.mrmlTableNode().GetNumberOfRows() == len(LEVELS) - 1


def test_reloading_and_the_modules_own_test(panel, film, slicerApp):
    panel.ui.applyButton.click()
    slicer.util.reloadScriptedModule(NAME)
    new = slicer.util.getModuleWidget(NAME)
    new.parent.enter()
    assert new._parameterNode.film is film
    drag(film, ("T1", "superior"), (0.0, 9.0))
    slicerApp.processEvents()
    assert "T1 superior" in new.ui.statusLabel.text
    new._parameterNode.film = None
    getattr(sys.modules[NAME], f"{NAME}Test")("runTest").test_panel()


def test_a_film_is_deleted_in_the_middle_of_a_run(panel, film, scene, messages):
    run(panel, during=lambda: scene.RemoveNode(film))
    panel.ui.applyButton.click()
    assert messages == []
    assert nodesOf(scene) == []
    assert panel.ui.applyButton.text == "Measure"
    assert panel.ui.applyButton.toolTip == "Choose a film."


def test_a_module_is_reloaded_in_the_middle_of_a_run(panel, film, messages, slicerApp):
    run(panel, during=lambda: slicer.util.reloadScriptedModule(NAME))
    panel.ui.applyButton.click()
    assert messages == []
    new = entered(NAME, slicerApp)
    assert new is not panel
    assert new._parameterNode.film is film
    assert (new.ui.applyButton.text, new.ui.applyButton.enabled) == ("Measure", True)
