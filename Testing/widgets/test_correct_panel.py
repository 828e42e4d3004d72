"""Correcting in the panels: what an edit makes old, the button that updates, training pairs."""

from __future__ import annotations

import clickworker
import numpy as np
import pytest
import slicer
from clickworker import FakeWorker
from panelcases import SegmentCase, Steps
from sessionanswers import segmented
from SpineSegMRML import segments, volumes
from SpineSegMRML.layers import Mask, masks


@pytest.fixture
def scene(application):
    return application.scene


@pytest.fixture
def ct(scene):
    return volumes.addVolumeNode(scene, clickworker.scan(), "ct")


@pytest.fixture
def panel(openPanel, ct):
    """The panel after a run."""
    opened = openPanel("VertebraSegment")
    opened.logic.clicks._worker, opened.logic.clicks._isOwn = FakeWorker(), False
    SegmentCase.setRunner(opened, Steps(segmented))
    opened.ui.applyButton.click()
    return opened


def erase(panel, segmentId):
    """Take the upper half of a segment away, as a stroke of the eraser does."""
    parameters = panel._parameterNode
    node, source = parameters.segmentation, parameters.inputVolume
    mask = masks(node, source)[segmentId]
    array = mask.array.copy()
    array[len(array) // 2 :] = False
    image = segments._imageOf(array.astype(np.uint8), mask.low, node, source)
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, node, segmentId)
    return Mask.trimmed(mask.low, array)


def test_an_edit_shows_what_is_old_and_one_press_updates_it(panel, messages):
    ui, parameters = panel.ui, panel._parameterNode
    assert not ui.staleLabel.visible
    erase(panel, "L1")
    assert ui.staleLabel.visible
    assert ui.staleLabel.text == (f"Edited since; out of date: {parameters.resultTable.GetName()}.")
    ui.refreshButton.click()
    assert messages == []
    assert not ui.staleLabel.visible
    assert not ui.refreshButton.visible
    assert "corrected vertebrae" in ui.statusLabel.text


def test_an_edit_made_while_the_module_was_left_is_noticed(panel):
    panel.parent.exit()
    node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    node.GetSegmentation().RemoveSegment("L2")
    panel.parent.enter()
    assert panel.ui.staleLabel.visible


def test_a_run_asks_before_corrections_are_overwritten(panel, messages, monkeypatch):
    asked = []

    def confirm(reply):
        return lambda text: asked.append(text) or reply

    parameters = panel._parameterNode
    panel.ui.applyButton.click()
    assert asked == []
    corrected = parameters.segmentation
    kept = erase(panel, "L1")
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", confirm(True))
    panel.ui.applyButton.click()
    assert "You have corrected L1" in asked[0]
    assert parameters.segmentation is not corrected
    now = masks(corrected, parameters.inputVolume)["L1"]
    assert np.array_equal(now.array, kept.array)
    assert "Your corrections are in" in panel.ui.statusLabel.text
    parameters.segmentation = corrected
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", confirm(False))
    panel.ui.applyButton.click()
    assert parameters.segmentation is corrected
    assert masks(corrected, parameters.inputVolume)["L1"].array.sum() > kept.array.sum()
    assert messages == []


def test_the_brush_is_on_the_vertebra_under_the_cursor_and_spares_the_others(panel, scene):
    editor, parameters = panel._editorNode, panel._parameterNode
    modes = slicer.vtkMRMLSegmentationNode
    assert editor.GetMaskMode() == modes.EditAllowedOutsideAllSegments
    panel.ui.protectCheckBox.checked = False
    assert editor.GetMaskMode() == modes.EditAllowedEverywhere
    assert not parameters.protectOthers
    cursor = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if cursor is None:
        cursor = scene.AddNewNodeByClass("vtkMRMLCrosshairNode", "default")
        panel.ui.followCheckBox.checked = False
        panel.ui.followCheckBox.checked = True

    def hover(level):
        mask = masks(parameters.segmentation, parameters.inputVolume)[level]
        kji = np.argwhere(mask.array).mean(axis=0) + mask.low
        place = volumes.volumeFromNode(parameters.inputVolume).ijk_to_ras(kji[None, ::-1])[0]
        cursor.SetCursorPositionRAS(place)
        return editor.GetSelectedSegmentID()

    assert hover("L2") == "L2"
    assert panel.ui.levelComboBox.currentText == "L2"
    assert hover("L1") == "L1"
    panel.ui.followCheckBox.checked = False
    assert hover("L2") == "L1"
    panel.ui.followCheckBox.checked = True
    panel.parent.exit()
    assert hover("L3") == "L1"


def test_a_corrected_case_is_saved_to_learn_from(panel, tmp_path, messages):
    ui = panel.ui
    assert ui.savePairButton.toolTip == "Choose a folder for training pairs."
    ui.trainingFolderPathLineEdit.currentPath = str(tmp_path / "cases")
    assert ui.savePairButton.enabled
    erase(panel, "L1")
    ui.savePairButton.click()
    assert messages == []
    assert ui.statusLabel.text.endswith("corrected by hand: L1.")
    assert len(list((tmp_path / "cases").glob("case_*/labels.nii.gz"))) == 1
