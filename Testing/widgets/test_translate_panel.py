"""The CycleGANTranslate panel: settings that arrive, overlay, threshold, landmarks."""

from __future__ import annotations

import time

import numpy as np
import pytest
import tinytranslate
from panelcases import Steps, TranslateCase, nodesOf, visibleState
from spineseg.io.landmarks import Landmark, write_landmarks
from spineseg.result import Vertebra
from SpineSegMRML import volumes
from SpineSegMRML.jobs import JobOutcome


@pytest.fixture
def scene(application):
    return application.scene


@pytest.fixture
def mr(scene):
    return TranslateCase.addInput(scene)


@pytest.fixture
def panel(openPanel, mr):
    opened = openPanel("CycleGANTranslate")
    TranslateCase.setRunner(opened, Steps(TranslateCase.answer))
    return opened


@pytest.fixture
def translated(panel):
    """The panel after a run."""
    panel.ui.applyButton.click()
    assert panel._parameterNode.syntheticCt is not None
    return panel


@pytest.fixture
def views(scene):
    """Two slice views' layers, as the application makes them."""
    return [scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", name) for name in ("Red", "Green")]


def waitFor(slicerApp, condition):
    """Let the application live until something has happened."""
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        slicerApp.processEvents()
        time.sleep(0.01)


def previews(scene):
    return [name for _, name in nodesOf(scene) if "bone preview" in name]


def test_what_is_chosen_reaches_the_method(panel):
    steps = Steps(TranslateCase.answer)
    TranslateCase.setRunner(panel, steps)
    panel.ui.boneRangeWidget.setValues(10.0, 650.0)
    panel.ui.perSliceCheckBox.checked = False
    panel.ui.medianMmSliderWidget.value = 1.5
    panel.ui.withConfidenceCheckBox.checked = False
    panel.ui.separateComboBox.currentIndex = 1
    panel.ui.applyButton.click()
    settings = steps.settings["settings"]
    assert (settings["low"], settings["high"]) == (10.0, 650.0)
    assert (settings["per_slice"], settings["median_mm"]) == (False, 1.5)
    assert (settings["confidence"], settings["separate"]) == (False, "otsu")


def test_the_result_does_not_replace_the_mr_itself(panel, mr):
    panel.ui.syntheticCtSelector.setCurrentNode(mr)
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip.startswith("The result would replace the MR itself")


def test_the_overlay_is_laid_over_the_mr_and_left_alone_then(panel, views, mr):
    panel.ui.applyButton.click()
    parameters = panel._parameterNode
    for view in views:
        assert view.GetBackgroundVolumeID() == mr.GetID()
        assert view.GetForegroundVolumeID() == parameters.syntheticCt.GetID()
        assert view.GetForegroundOpacity() == 0.5
        assert view.GetLinkedControl()
    views[0].SetForegroundOpacity(0.9)  # a user's own
    panel.ui.exportFolderPathLineEdit.currentPath = "elsewhere"
    assert views[0].GetForegroundOpacity() == 0.9
    panel.ui.overlayComboBox.currentIndex = 1
    assert views[0].GetForegroundVolumeID() == parameters.confidence.GetID()
    panel.ui.opacitySliderWidget.value = 0.25
    assert [view.GetForegroundOpacity() for view in views] == [0.25, 0.25]
    panel.ui.overlayComboBox.currentIndex = 2
    assert not any(view.GetForegroundVolumeID() for view in views)


def test_a_preview_follows_the_sliders_and_goes_away(translated, scene, slicerApp):
    ui = translated.ui
    ui.previewButton.click()
    assert len(previews(scene)) == 1
    before = ui.thresholdLabel.text
    assert "HU" in before
    ui.boneRangeWidget.setValues(200.0, 700.0)
    waitFor(slicerApp, lambda: "HU" in ui.thresholdLabel.text != before)
    assert len(previews(scene)) == 1
    ui.boneRangeWidget.setValues(1900.0, 2000.0)
    assert ui.thresholdLabel.text.startswith("No voxel lies between")
    assert not ui.thresholdButton.enabled
    ui.previewButton.click()
    assert previews(scene) == []
    assert ui.thresholdLabel.text == ""


@pytest.mark.parametrize("how", ["deleted", "closed", "left", "synthetic CT deleted", "reloaded"])
def test_a_preview_that_loses_its_ground_is_gone(translated, scene, slicerApp, how):
    ui = translated.ui
    ui.previewButton.click()
    if how == "deleted":
        scene.RemoveNode(translated.preview.node)
        ui.boneRangeWidget.setValues(200.0, 700.0)
        waitFor(slicerApp, lambda: len(previews(scene)) == 1)
        ui.previewButton.click()
    elif how == "closed":
        scene.Clear(False)
        assert not ui.previewButton.checked
    elif how == "left":
        translated.parent.exit()
        assert not ui.previewButton.checked
    elif how == "reloaded":
        translated.onReload()
    else:
        scene.RemoveNode(translated._parameterNode.syntheticCt)
        assert not ui.previewButton.checked
        assert not ui.previewButton.enabled
    assert previews(scene) == []


def test_a_threshold_is_applied_and_taken_back(translated, scene, messages):
    parameters = translated._parameterNode

    def bodiesAlone(volume, bodies, onProgress=None, token=None, **_):
        seen.append(visibleState(translated)[:3])
        found = np.unique(bodies.array[bodies.array > 0])
        return JobOutcome(bodies, [Vertebra(int(n), None, (0.0, 0.0, 0.0), 1.5) for n in found])

    seen = []
    translated.logic.threshold._thresholder = bodiesAlone
    before = parameters.segmentation.GetSegmentation().GetNumberOfSegments()
    translated.ui.previewButton.click()
    translated.ui.thresholdButton.click()
    assert messages == []
    assert seen == [("Cancel", True, True)]
    assert not translated.ui.previewButton.checked
    assert previews(scene) == []
    assert "at this threshold" in translated.ui.statusLabel.text
    assert translated.ui.undoButton.enabled
    translated.ui.undoButton.click()
    assert not translated.ui.undoButton.enabled
    assert parameters.segmentation.GetSegmentation().GetNumberOfSegments() == before


def corners(mr):
    """Return the corners of the two bodies whose level is known; RAS mm."""
    grid, found = volumes.volumeFromNode(mr), []
    for label, level in zip(tinytranslate.LABELS[:2], tinytranslate.LEVELS[:2]):
        low = int(np.argwhere(tinytranslate.truth() == label)[:, 0].min())
        places = [(low + a, j, i) for a in (-0.5, 8.5) for j in (3.5, 15.5) for i in (3.5, 19.5)]
        places.append((low + 4, 25.5, 12))
        ras = grid.ijk_to_ras(np.array(places, float)[:, ::-1])
        found += [Landmark(level, f"{n}", tuple(map(float, p))) for n, p in enumerate(ras)]
    return found


def test_landmarks_are_loaded_and_measured(translated, mr, tmp_path, messages, scene):
    ui, parameters = translated.ui, translated._parameterNode
    assert ui.loadButton.toolTip.startswith("Choose a file of landmarks")
    assert ui.measureButton.toolTip.startswith("Choose a list of landmarks")
    path = tmp_path / "points.csv"
    write_landmarks(corners(mr), path)
    ui.landmarkFilePathLineEdit.currentPath = str(path)
    ui.loadButton.click()
    assert messages == []
    assert parameters.landmarks.GetNumberOfControlPoints() == 18
    ui.landmarksCollapsibleButton.collapsed = False
    ui.measureButton.click()
    assert messages == []
    assert "2 vertebrae" in ui.statusLabel.text
    assert ui.validationTableView.visible
    assert ui.validationTableView.mrmlTableNode() is parameters.validationTable
    assert not parameters.segmentation.GetDisplayNode().GetVisibility3D()
    path.write_text("level,label,x,y,z\nT12,a,nowhere,0,0\n")
    ui.loadButton.click()
    assert messages == []
    assert "points.csv" in ui.statusLabel.text
    scene.RemoveNode(parameters.landmarks)
    assert not ui.measureButton.enabled
