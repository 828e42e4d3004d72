"""The panel of FractureDetect: what it offers, a search, points that are moved, and files."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import slicer
from fracturecases import L3, addPatient, atOnce, lower, measured, patient
from FractureDetectLib import Points
from panelcases import FractureSteps, entered, nodesOf, visibleState
from spineseg.errors import MemoryLimitError
from SpineSegMRML import volumes

NAME = "FractureDetect"


@pytest.fixture
def panel(openPanel):
    panel = openPanel(NAME)
    run(panel)
    return panel


@pytest.fixture
def scene(application):
    return application.scene


@pytest.fixture
def nodes(panel, scene):
    """The digital patient's CT and vertebrae, chosen."""
    ct, vertebrae = addPatient(scene)
    panel._parameterNode.inputVolume = ct
    panel._parameterNode.segmentation = vertebrae
    return ct, vertebrae


def run(panel, answer=None, during=None, look=lambda: None):
    """Let the panel run this in place of the child process."""
    steps = FractureSteps(lambda volume: None, during, look)
    steps._answer = answer or (lambda volume: atOnce(volume, steps.segmentation))
    panel.logic._runner = steps
    return steps


def view(panel):
    """Return the table view, as Qt knows it."""
    return panel.ui.tableView.__dict__["_qt"]


def shown(panel, row, column):
    return view(panel).model().index(row, column).data()


def goTo(panel, level):
    """Click on the row of a vertebra."""
    model = view(panel).model()
    rows = [row for row in range(model.rowCount()) if shown(panel, row, 0) == level]
    panel.ui.tableView.selectRow(rows[0])


def test_the_buttons_say_why_they_can_not_be_used(panel, scene):
    ui = panel.ui
    assert (ui.applyButton.text, ui.applyButton.enabled) == ("Search", False)
    assert ui.applyButton.toolTip == "Choose a CT volume."
    assert ui.exportButton.toolTip == "Search for fractures first."
    assert ui.asFoundButton.toolTip == "Nothing was searched yet."
    assert ui.undoButton.toolTip == "There is nothing to undo."
    assert not ui.tableView.visible
    ct, vertebrae = addPatient(scene)
    panel._parameterNode.inputVolume = ct
    assert ui.applyButton.enabled
    assert ui.applyButton.toolTip.startswith("Segment the vertebrae of this CT, then")
    panel._parameterNode.segmentation = vertebrae
    assert ui.applyButton.toolTip == "Measure and grade the vertebrae of this CT."
    panel._parameterNode.segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    assert "“mine” is empty." in ui.applyButton.toolTip
    assert not ui.applyButton.enabled


def test_the_first_volume_is_chosen(openPanel, scene, slicerApp):
    ct = volumes.addVolumeNode(scene, patient().ct, "ct")
    assert openPanel(NAME)._parameterNode.inputVolume is ct


def test_every_control_explains_itself_and_is_bound(panel):
    controls = ("QPushButton", "QCheckBox", "QComboBox", "qMRMLNodeComboBox", "ctkPathLineEdit",
                "qMRMLTableView")  # fmt: skip
    widgets = [w for w in vars(panel.ui).values() if w.className() in controls]
    assert len(widgets) > 12
    assert [w.name for w in widgets if not w.toolTip] == []
    bound = {w.property("SlicerParameterName") for w in vars(panel.ui).values()} - {None, ""}
    assert bound == set(panel._parameterNode.allParameters)
    chosen = [w for w in widgets if w.property("SlicerParameterName")]
    assert [w.name for w in chosen if "default" not in w.toolTip] == []
    assert "Not a medical device" in panel.ui.noteLabel.text


def test_a_search_shows_the_table_and_the_reasons(panel, nodes, messages):
    import qt

    steps = run(panel, look=lambda: visibleState(panel))
    panel.ui.applyButton.click()
    assert messages == []
    assert {state[:3] for state in steps.seen} == {("Cancel", True, True)}
    assert {state[4] for state in steps.seen} == {False}
    text, enabled, bar, _, inputs, status = visibleState(panel)
    assert (text, enabled, bar, inputs) == ("Search", True, False, True)
    assert status.startswith("Suspects among 7 vertebrae that can be graded: L1 (grade 3, wedge).")
    assert "Not evaluable: T7, T8, T9, L5" in status
    assert panel.ui.tableView.visible
    model = view(panel).model()
    across = qt.Qt.Horizontal
    heads = [model.headerData(c, across) for c in range(model.columnCount())]
    assert heads[:5] == ["Level", "Suspect", "Grade", "Type", "Probability (%)"]
    assert "Density (HU)" in heads
    texts = {shown(panel, r, c) for r in range(model.rowCount()) for c in range(len(heads))}
    assert "nan" not in texts
    assert "3 severe" in texts


def test_without_a_segmentation_one_is_made_and_chosen(panel, nodes, scene):
    panel._parameterNode.segmentation = None
    before = len(nodesOf(scene))
    panel.ui.applyButton.click()
    made = panel._parameterNode.segmentation
    assert made is not None
    assert made is not nodes[1]
    assert made.GetName() == "ct vertebrae"
    assert panel.ui.tableView.mrmlTableNode() is panel.logic.tableOf(made)
    assert len(nodesOf(scene)) > before


def test_a_row_and_the_arrow_keys_jump_to_a_vertebra(panel, nodes, scene, slicerApp):
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode") or scene.AddNode(
        slicer.vtkMRMLCrosshairNode()
    )
    panel.ui.applyButton.click()
    centres = {body.name: body.centre for body in measured().bodies}
    goTo(panel, "L1")
    np.testing.assert_allclose(crosshair.GetCrosshairRAS(), centres["L1"])
    assert panel.ui.whyLabel.text.startswith("L1: anterior height lost: 51 % (")
    press(view(panel), "Key_Down")
    np.testing.assert_allclose(crosshair.GetCrosshairRAS(), centres["L2"])
    press(view(panel), "Key_Up")
    press(view(panel), "Key_Up")
    np.testing.assert_allclose(crosshair.GetCrosshairRAS(), centres["T12"])
    # What the program does to the table is no user's choice of a row.
    crosshair.SetCrosshairRAS(1.0, 2.0, 3.0)
    lower(nodes[1], L3)
    slicerApp.processEvents()
    assert crosshair.GetCrosshairRAS() == (1.0, 2.0, 3.0)
    assert view(panel).selectionModel().hasSelection()
    goTo(panel, "L3")
    assert "its points were moved by hand" in panel.ui.whyLabel.text
    scene.RemoveNode(nodes[1])
    assert panel.ui.whyLabel.text == ""


def press(widget, key):
    """Press a key on a widget."""
    from PySide6 import QtCore, QtGui, QtWidgets

    for kind in (QtCore.QEvent.KeyPress, QtCore.QEvent.KeyRelease):
        event = QtGui.QKeyEvent(kind, getattr(QtCore.Qt, key), QtCore.Qt.NoModifier)
        QtWidgets.QApplication.sendEvent(widget, event)


def test_the_grade_follows_a_point_and_can_be_taken_back(panel, nodes, slicerApp):
    ui = panel.ui
    ui.applyButton.click()
    before = ui.statusLabel.text
    assert ui.asFoundButton.toolTip == "Every point is where it was found."
    for share in (0.2, 0.3, 0.45):
        lower(nodes[1], L3, share)
    assert ui.statusLabel.text == before  # not while the view handles the mouse
    slicerApp.processEvents()
    assert "L3 (grade 3, wedge)" in ui.statusLabel.text
    assert "Points moved by hand: L3." in ui.statusLabel.text
    assert ui.undoButton.enabled
    ui.undoButton.click()
    assert ui.statusLabel.text == before
    lower(nodes[1], L3)
    slicerApp.processEvents()
    ui.asFoundButton.click()
    assert ui.statusLabel.text == before


@pytest.mark.parametrize("keep", [True, False])
def test_a_second_search_asks_for_the_users_points(panel, nodes, messages, slicerApp, keep):
    import qt
    from standin.ctkwidgets import ctkMessageBox

    panel.ui.applyButton.click()
    lower(nodes[1], L3)
    slicerApp.processEvents()
    ctkMessageBox.answers.append(qt.QMessageBox.Yes if keep else qt.QMessageBox.No)
    panel.ui.applyButton.click()
    assert messages[-1]["text"] == "You have moved points of L3. Keep them?"
    assert panel.logic.edited(nodes[1]) == (["L3"] if keep else [])
    assert ("L3 (grade 3" in panel.ui.statusLabel.text) == keep


def test_what_is_shown_can_be_chosen(panel, nodes):
    panel.ui.applyButton.click()
    parameters, display = panel._parameterNode, nodes[1].GetDisplayNode()
    assert all(node.GetDisplayVisibility() for node in Points.listsOf(nodes[1]).values())
    assert Points.sidesOf(nodes[1]).GetDisplayVisibility()
    parameters.showSides = False
    assert not Points.sidesOf(nodes[1]).GetDisplayVisibility()
    parameters.showPoints = False
    assert not any(node.GetDisplayVisibility() for node in Points.listsOf(nodes[1]).values())
    assert min(display.GetSegmentOverrideColor("L1")) >= 0
    parameters.colorSuspects = False
    assert min(display.GetSegmentOverrideColor("L1")) < 0


def test_cancel_errors_and_a_closed_scene(panel, nodes, scene, messages):
    before = nodesOf(scene)
    run(panel, during=panel.ui.applyButton.click)
    panel.ui.applyButton.click()
    assert nodesOf(scene) == before
    assert "cancel" in panel.ui.statusLabel.text.lower()

    def fail(volume):
        raise MemoryLimitError("There is not enough memory.", "Close other programs.", "4 GB")

    run(panel, fail)
    panel.ui.applyButton.click()
    assert messages[-1]["text"] == "There is not enough memory. Close other programs."
    assert nodesOf(scene) == before
    run(panel, during=lambda: scene.Clear(False))
    panel.ui.applyButton.click()
    assert nodesOf(scene) == []
    assert panel.ui.applyButton.toolTip == "Choose a CT volume."
    assert panel.ui.applyButton.text == "Search"


def test_nodes_that_are_deleted_or_a_panel_that_is_left_disturb_nothing(
    panel, nodes, scene, slicerApp
):
    panel.ui.applyButton.click()
    lists = Points.listsOf(nodes[1])
    panel.parent.exit()
    lower(nodes[1], L3)
    slicerApp.processEvents()
    panel.parent.enter()
    assert "L3 (grade 3, wedge)" in panel.ui.statusLabel.text
    assert panel.logic.edited(nodes[1]) == ["L3"]
    scene.RemoveNode(panel.logic.tableOf(nodes[1]))
    slicerApp.processEvents()
    lower(nodes[1], L3, 0.2)
    slicerApp.processEvents()
    assert panel.ui.tableView.visible
    scene.RemoveNode(nodes[1])
    slicerApp.processEvents()
    lists[L3].SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    slicerApp.processEvents()
    assert panel._parameterNode.segmentation is None
    assert not panel.ui.tableView.visible
    run(panel, during=lambda: scene.RemoveNode(nodes[0]))
    panel.ui.applyButton.click()
    assert "closed while" in panel.ui.statusLabel.text


def test_the_report_is_written(panel, nodes, tmp_path, slicerApp):
    ui, parameters = panel.ui, panel._parameterNode
    ui.applyButton.click()
    assert ui.exportButton.toolTip == "Choose a folder for the files."
    parameters.exportFolder = tmp_path / "out"
    ui.exportButton.click()
    assert "Written to" in ui.statusLabel.text
    assert (tmp_path / "out" / "report.html").is_file()
    (tmp_path / "out" / "fractures.csv").write_text("mine", encoding="utf-8")
    ui.exportButton.click()
    assert "fractures.csv" in ui.statusLabel.text
    assert (tmp_path / "out" / "fractures.csv").read_text(encoding="utf-8") == "mine"


def test_a_scene_that_is_loaded_goes_on_where_it_was(panel, nodes, scene, tmp_path, slicerApp):
    panel.ui.applyButton.click()
    lower(nodes[1], L3)
    slicerApp.processEvents()
    scene.SetURL(str(tmp_path / "scene.mrb"))
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    slicerApp.processEvents()
    node = panel._parameterNode.segmentation
    assert node.GetName() == "vertebrae"
    assert panel.ui.tableView.visible
    assert "L3 (grade 3, wedge)" in panel.ui.statusLabel.text
    lower(node, L3, -0.8)
    slicerApp.processEvents()
    assert "L3 (grade" not in panel.ui.statusLabel.text


def test_an_edited_segmentation_is_searched_again_with_one_press(panel, nodes, slicerApp):
    ui = panel.ui
    ui.applyButton.click()
    assert not ui.staleLabel.visible
    nodes[1].GetSegmentation().RemoveSegment("T10")
    assert ui.staleLabel.text == "Edited since; out of date: ct fractures."
    assert ui.staleLabel.visible
    ui.refreshButton.click()
    assert not ui.staleLabel.visible
    levels = {shown(panel, row, 0) for row in range(view(panel).model().rowCount())}
    assert "T10" not in levels
    assert [node.GetName() for node in Points.listsOf(nodes[1]).values()][0] == "T11"


def test_reloading_and_the_modules_own_test(panel, nodes, slicerApp):
    panel.ui.applyButton.click()
    slicer.util.reloadScriptedModule(NAME)
    new = slicer.util.getModuleWidget(NAME)
    new.parent.enter()
    assert new._parameterNode.segmentation is nodes[1]
    lower(nodes[1], L3)
    slicerApp.processEvents()
    assert "Points moved by hand: L3." in new.ui.statusLabel.text
    getattr(sys.modules[NAME], f"{NAME}Test")("runTest").runTest()


def test_a_module_is_reloaded_in_the_middle_of_a_search(panel, nodes, messages, slicerApp):
    run(panel, during=lambda: slicer.util.reloadScriptedModule(NAME))
    panel.ui.applyButton.click()
    assert messages == []
    new = entered(NAME, slicerApp)
    assert new is not panel
    assert new._parameterNode.segmentation is nodes[1]
    assert (new.ui.applyButton.text, new.ui.applyButton.enabled) == ("Search", True)
