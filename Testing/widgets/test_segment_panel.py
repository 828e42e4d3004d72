"""The VertebraSegment panel: clicks by placed points, names, updates, undo and export."""

from __future__ import annotations

import clickworker
import numpy as np
import pytest
import slicer
from clickcases import middle
from clickworker import FakeWorker
from panelcases import SegmentCase, Steps, visibleState
from spineseg import labels
from spineseg.result import Vertebra
from SpineSegMRML import dependencies, segmentations, volumes
from SpineSegMRML.jobs import JobOutcome


@pytest.fixture
def scene(application):
    return application.scene


@pytest.fixture
def ct(scene):
    return volumes.addVolumeNode(scene, clickworker.scan(), "ct")


@pytest.fixture
def worker():
    return FakeWorker()


@pytest.fixture
def panel(openPanel, ct, worker):
    """The panel on the blocks, with a worker that knows the answers to clicks."""
    opened = openPanel("VertebraSegment")
    opened.logic.clicks._worker, opened.logic.clicks._isOwn = worker, False
    return opened


@pytest.fixture
def place(panel, ct, slicerApp):
    """Places a point on a level, as a click in a view does."""

    def place_(level):
        panel._parameterNode.points.AddControlPointWorld(*middle(ct, level))
        slicerApp.processEvents()

    panel.ui.placeButton.click()
    return place_


def segments(panel):
    node = panel._parameterNode.segmentation
    return list(node.GetSegmentation().GetSegmentIDs()) if node else []


def test_the_place_button_follows_the_applications_place_mode(panel, scene):
    mode = scene.GetSingletonNode("Singleton", "vtkMRMLInteractionNode")
    assert panel._parameterNode.points is None
    panel.ui.placeButton.click()
    assert mode.GetCurrentInteractionMode() == mode.Place
    assert panel.ui.pointsSelector.currentNode() is panel._parameterNode.points
    assert panel.ui.placeButton.checked
    mode.SwitchToViewTransformMode()  # the right mouse button
    assert not panel.ui.placeButton.checked
    panel.ui.placeButton.click()
    panel.parent.exit()
    assert mode.GetCurrentInteractionMode() == mode.ViewTransform
    assert not panel.ui.placeButton.checked


def test_a_placed_point_makes_a_segment_that_is_selected_and_named(panel, place, messages):
    place("L1")
    assert messages == []
    assert segments(panel) == ["unsure 1"]
    assert "its level is unsure: choose it" in panel.ui.statusLabel.text
    assert panel.ui.placeButton.checked  # placing goes on
    for combo in (panel.ui.clickLevelComboBox, panel.ui.levelComboBox):
        assert combo.enabled
        assert combo.currentText == "unsure"
    combo = panel.ui.clickLevelComboBox
    combo.setCurrentIndex(combo.findData("L1"))
    combo.activated(combo.currentIndex)
    assert panel.ui.levelComboBox.currentText == "L1"
    points = panel._parameterNode.points
    assert points.GetNthControlPointLabel(0) == "L1"
    place("L2")
    assert panel.ui.clickLevelComboBox.currentText == "L2"
    assert panel.ui.undoButton.enabled
    panel.ui.undoButton.click()
    assert len(segments(panel)) == 1
    assert points.GetNumberOfControlPoints() == 1
    panel.ui.redoButton.click()
    assert len(segments(panel)) == 2
    assert points.GetNumberOfControlPoints() == 2


def test_a_point_beside_the_spine_is_taken_back_with_a_sentence(panel, place, slicerApp, messages):
    place("L1")
    points = panel._parameterNode.points
    points.AddControlPointWorld(900.0, 900.0, 900.0)
    slicerApp.processEvents()
    assert messages == []
    assert (
        panel.ui.statusLabel.text == "There is no vertebra within 20 mm of the point. Click on one."
    )
    assert points.GetNumberOfControlPoints() == 1
    assert len(segments(panel)) == 1


def test_points_are_followed_in_a_loaded_scene_and_not_after_it_is_closed(
    panel, place, scene, slicerApp
):
    place("L1")
    points = panel._parameterNode.points
    scene.Clear(False)
    assert not panel.ui.placeButton.checked
    assert not panel.ui.placeButton.enabled
    points.AddControlPointWorld(0.0, 0.0, 0.0)
    slicerApp.processEvents()
    assert segments(panel) == []


def test_the_list_of_points_is_deleted_while_placing(panel, place, scene, messages):
    place("L1")
    scene.RemoveNode(panel._parameterNode.points)
    assert panel._parameterNode.points is None
    assert not panel.ui.placeButton.checked
    panel.ui.placeButton.click()
    assert panel._parameterNode.points is not None
    place("L2")
    assert len(segments(panel)) == 2
    assert messages == []


def test_a_reloaded_panel_places_alone(panel, slicerApp, scene):
    panel.ui.placeButton.click()
    slicer.util.reloadScriptedModule("VertebraSegment")
    new = slicer.util.getModuleWidget("VertebraSegment")
    new.parent.enter()
    mode = scene.GetSingletonNode("Singleton", "vtkMRMLInteractionNode")
    new.ui.placeButton.checked = False
    new.ui.placeButton.click()
    assert mode.GetCurrentInteractionMode() == mode.Place
    mode.SwitchToViewTransformMode()
    assert not new.ui.placeButton.checked


def test_points_placed_while_a_run_is_under_way_are_taken_back(panel, ct, place, slicerApp):
    place("L1")
    points = panel._parameterNode.points

    def user():
        points.AddControlPointWorld(*middle(ct, "L3"))

    SegmentCase.setRunner(panel, Steps(SegmentCase.answer, user))
    panel.ui.applyButton.click()
    slicerApp.processEvents()
    assert points.GetNumberOfControlPoints() == 1
    assert panel.ui.applyButton.enabled


def test_a_click_can_be_cancelled(panel, ct, place, worker, slicerApp, messages):
    click = worker.click

    def slow(*arguments, **named):
        panel.ui.applyButton.click()
        return click(*arguments, **named)

    worker.click = slow
    place("L1")
    assert messages == []
    assert segments(panel) == []
    assert panel._parameterNode.points.GetNumberOfControlPoints() == 0
    assert visibleState(panel)[:3] == ("Apply", True, False)


@pytest.fixture
def whole(panel, ct, scene):
    """A segmentation of all blocks, chosen."""
    volume = volumes.volumeFromNode(ct).like(clickworker.truthArray())
    node = segmentations.addSegmentationNode(volume, ct, "spine")
    panel._parameterNode.segmentation = node
    return node


def test_choosing_a_segmentation_opens_it_in_the_editor_and_selects_a_segment(panel, whole, ct):
    editor = panel.ui.segmentEditorWidget
    assert editor.segmentationNode() is whole
    assert editor.sourceVolumeNode() is ct
    assert panel.ui.levelComboBox.currentText == whole.GetSegmentation().GetNthSegment(0).GetName()
    assert panel.ui.updateButton.enabled
    editor.setCurrentSegmentID(whole.GetSegmentation().GetNthSegmentID(2))
    assert panel.ui.levelComboBox.currentText == whole.GetSegmentation().GetNthSegment(2).GetName()


def test_update_from_here_goes_on_from_the_selected_segment(panel, whole, messages):
    asked = []

    def update(volume, segmentation, start, keep=(), level=None, onProgress=None, token=None, **_):
        asked.append((start, sorted(keep), visibleState(panel)[:3]))
        array = np.where(segmentation.array == start, start, 0).astype(np.uint8)
        center = volume.ijk_to_ras(np.argwhere(array)[:, ::-1]).mean(axis=0)
        name = labels.display_name(start)
        return JobOutcome(volume.like(array), [Vertebra(start, name, tuple(center.tolist()))])

    panel.logic._updater = update
    panel.ui.updateButton.click()
    assert messages == []
    first = labels.by_name("T12").verse
    assert asked == [(first, [first], ("Cancel", True, True))]
    assert segments(panel) == ["T12"]
    assert panel.ui.undoButton.enabled
    panel.ui.undoButton.click()
    assert len(segments(panel)) == 4


def test_models_are_written_and_the_reason_is_told_where_they_can_not(
    panel, whole, tmp_path, messages
):
    button = panel.ui.exportButton
    assert not button.enabled
    assert button.toolTip == "Choose a folder for the models."
    panel.ui.exportFolderPathLineEdit.currentPath = str(tmp_path / "models")
    assert button.enabled
    button.click()
    said = panel.ui.statusLabel.text.splitlines()
    folder = tmp_path / "models"
    assert said[0] == f"4 models written to {folder}; watertight and manifold: 4 of 4."
    assert len(list(folder.glob("*_LPS.stl"))) == 4
    for name, word in (("exportFormat", "3MF"), ("exportSpace", "RAS")):
        combo = getattr(panel.ui, f"{name}ComboBox")
        combo.setCurrentIndex(next(i for i in range(combo.count) if word in combo.itemText(i)))
    button.click()
    assert messages == []
    assert (folder / "vertebrae_RAS.3mf").is_file()


def test_an_export_can_be_cancelled_and_then_leaves_nothing(panel, whole, tmp_path, messages):
    panel._parameterNode.exportFolder = tmp_path / "models"
    shown = panel.panel.onProgress
    seen = []

    def cancelling(report):
        shown(report)
        seen.append(visibleState(panel)[:3])
        if len(seen) == 2:
            panel.ui.applyButton.click()

    panel.panel.onProgress = cancelling
    panel.ui.exportButton.click()
    assert seen[0] == ("Cancel", True, True)
    assert messages == []
    assert not (tmp_path / "models").exists()
    assert visibleState(panel)[:3] == ("Apply", True, False)


def test_what_a_format_needs_is_installed_after_a_question(panel, whole, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(dependencies, "missing", lambda packages=(): list(packages))
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: asked.append(text))
    panel._parameterNode.exportFolder = tmp_path / "models"
    formats = type(panel._parameterNode.exportFormat)
    panel._parameterNode.exportFormat = formats.GLB
    panel.ui.exportButton.click()
    assert "trimesh is needed" in asked[0]
    assert not (tmp_path / "models").exists()
