"""The translation's Logic from an MR node to its results, through the real worker process."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import pytest
import tinytranslate
from CycleGANTranslateLib.Logic import TranslateLogic, TranslateTargets
from CycleGANTranslateLib.SelfTest import runSelfTest
from CycleGANTranslateLib.Threshold import BoneSettings
from nodecases import addTransform, obliqueAffine, rigid
from spineseg import registry
from spineseg.errors import CancelledError, InputError, MemoryLimitError
from spineseg.volume import Volume
from SpineSegMRML import jobs, segmentations, volumes

WORKER = [sys.executable, str(Path(tinytranslate.__file__))]


@pytest.fixture
def logic(monkeypatch):
    """The Logic with the tiny translation in place of the shipped one."""
    monkeypatch.setattr(registry, "METHODS", tinytranslate.METHODS)
    return TranslateLogic(functools.partial(jobs.translateInChild, command=WORKER))


@pytest.fixture
def mr(scene):
    """The MR on an oblique grid, under a rigid transform; its image's extent begins at 5."""
    node = volumes.addVolumeNode(scene, tinytranslate.mr(), "mr")
    addTransform(scene, node, rigid(obliqueAffine()))
    image = node.GetImageData()
    image.SetExtent(*(bound + 5 for bound in image.GetExtent()))
    return node


def contents(application):
    """Return what a user would notice in the scene: nodes, their names, and the hierarchy."""
    scene = application.scene
    nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
    shown = [n for n in nodes if not n.GetHideFromEditors() or n.IsA("vtkMRMLVolumeNode")]
    items = application.subjectHierarchy().GetNumberOfItems()
    return sorted((n.GetClassName(), n.GetName()) for n in shown), items


def test_an_mr_becomes_a_synthetic_ct_in_its_place_with_vertebrae_and_a_table(
    application, logic, mr
):
    outcome = logic.translate(mr, bone=BoneSettings(10, 650), separate="otsu")
    source = volumes.volumeFromNode(mr)
    for node, voxels in (
        (outcome.syntheticCtNode, tinytranslate.hounsfield()),
        (outcome.confidenceNode, np.full(tinytranslate.SHAPE, 90)),
    ):
        made = volumes.volumeFromNode(node)
        np.testing.assert_array_equal(made.array, voxels)
        np.testing.assert_allclose(made.affine, source.affine, atol=1e-12)
        assert node.GetTransformNodeID() == mr.GetTransformNodeID()
    labels, names = segmentations.labelVolumeFromNode(outcome.segmentationNode, mr)
    np.testing.assert_array_equal(labels.array, tinytranslate.truth())
    assert list(names.values()) == ["T12", "L1", "unsure 1"]
    bodies = outcome.bodiesNode.GetSegmentation()
    assert list(bodies.GetSegmentIDs()) == ["T12 body", "L1 body", "unsure 1 body"]
    assert not outcome.bodiesNode.GetDisplayNode().GetVisibility()
    table = outcome.tableNode
    assert [table.GetCellText(row, 0) for row in range(3)] == ["T12", "L1", "unsure 1"]
    assert outcome.warnings == ["otsu, 10 to 650"]
    assert "the level of 1 of them is unsure" in outcome.summary()
    hierarchy = application.subjectHierarchy()
    shown = (mr, outcome.syntheticCtNode, outcome.confidenceNode, outcome.segmentationNode, table)
    assert len({hierarchy.GetItemParent(hierarchy.GetItemByDataNode(n)) for n in shown}) == 1


def test_a_confident_place_is_transparent_and_a_doubtful_one_red(logic, mr):
    node = logic.translate(mr).confidenceNode
    display = node.GetDisplayNode()
    assert display.GetApplyThreshold()
    assert display.GetUpperThreshold() < 90
    color = [0.0] * 4
    display.GetColorNode().GetColor(5, color)
    assert color[0] > 0.9 > 0.5 > color[2]
    assert color[3] == 1.0
    display.GetColorNode().GetColor(95, color)
    assert color[3] == 0.0


def test_a_second_run_replaces_the_results_in_the_same_nodes(application, logic, mr):
    first = logic.translate(mr)
    targets = TranslateTargets(
        first.syntheticCtNode, first.confidenceNode, first.segmentationNode, first.bodiesNode,
        first.tableNode,
    )  # fmt: skip
    before = contents(application)
    volumes.volumeFromNode(first.syntheticCtNode).array[:] = 0
    again = logic.translate(mr, targets)
    assert contents(application) == before
    assert again.syntheticCtNode is first.syntheticCtNode
    made = volumes.volumeFromNode(again.syntheticCtNode)
    np.testing.assert_array_equal(made.array, tinytranslate.hounsfield())


def test_without_confidence_there_is_no_such_volume(logic, mr):
    assert logic.translate(mr, confidence=False).confidenceNode is None


def test_cancel_leaves_the_scene_as_it_was(application, logic, mr):
    before = contents(application)

    def onProgress(report):
        if report.stage == "translate":
            logic.cancel()

    with pytest.raises(CancelledError):
        logic.translate(mr, method=tinytranslate.SLOW, onProgress=onProgress)
    assert contents(application) == before
    assert not logic.running


def test_the_chosen_device_reaches_the_method_and_its_error_the_user(application, logic, mr):
    before = contents(application)
    with pytest.raises(MemoryLimitError, match="not enough memory"):
        logic.translate(mr, device="cpu")
    assert contents(application) == before


def test_a_failure_while_showing_takes_the_results_out_again(application, logic, mr, monkeypatch):
    first = logic.translate(mr)
    before = contents(application)

    def broken(*_):
        raise RuntimeError("no table today")

    monkeypatch.setattr("SpineSegMRML.tables.addVertebraTable", broken)
    volumes.volumeFromNode(first.syntheticCtNode).array[:] = 7
    with pytest.raises(RuntimeError, match="no table"):
        logic.translate(mr, TranslateTargets(first.syntheticCtNode, None, first.segmentationNode))
    assert contents(application) == before
    assert (volumes.volumeFromNode(first.syntheticCtNode).array == 7).all()


def test_validate_says_why_in_one_sentence(scene, logic, mr):
    assert logic.validate(mr) == ""
    assert logic.validate(None) == "Choose an MR volume."
    assert "no method called “magic”" in logic.validate(mr, "magic")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert logic.validate(empty) == "“empty” has no voxels."
    assert "range of intensities is empty" in logic.validate(mr, bone=BoneSettings(300, 300))
    assert "replace the MR itself" in logic.validate(mr, targets=TranslateTargets(mr))

    def reason(array, affine=None):
        volume = Volume(array, tinytranslate.affine() if affine is None else affine)
        return logic.validate(volumes.addVolumeNode(scene, volume, "other"))

    voxels = tinytranslate.mr().array
    assert "2D series" in reason(voxels[:1])
    ct = np.where(tinytranslate.truth() > 0, 500, -1000).astype(np.int16)
    assert "it is a CT" in reason(ct)
    assert "single value" in reason(np.full_like(voxels, 80))
    assert "another unit than millimetres" in reason(voxels, np.diag([1e-3, 1e-3, 1e-3, 1.0]))
    with pytest.raises(InputError, match="Choose an MR volume"):
        logic.translate(None)


def test_validate_looks_again_when_the_voxels_have_changed(logic, mr):
    assert logic.validate(mr) == ""
    volumes.volumeFromNode(mr).array[:] = 80
    mr.GetImageData().GetPointData().GetScalars().Modified()
    assert "single value" in logic.validate(mr)


def test_models_are_exported_for_each_vertebra(logic, mr, tmp_path):
    node = logic.translate(mr).segmentationNode
    assert logic.validateExport(node, mr, Path()) == "Choose a folder for the models."
    made = logic.exportModels(node, mr, tmp_path / "models", "PLY").models
    names = [model.file for model in made]
    assert names == ["19_T12_LPS.ply", "20_L1_LPS.ply", "101_unsure_1_LPS.ply"]


def test_the_modules_self_test_passes(scene, tmp_path):
    runSelfTest(scene, tmp_path / "models")
    assert len(list((tmp_path / "models").glob("*.stl"))) == 3
