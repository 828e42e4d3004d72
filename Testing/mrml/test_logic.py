"""The module's Logic from a CT node to its results, through the real worker process."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import pytest
import tinyworker
from nodecases import addTransform, obliqueAffine, rigid
from spineseg import labels, registry
from spineseg.errors import CancelledError, InputError, MemoryLimitError
from spineseg.volume import Volume
from SpineSegMRML import jobs, segmentations, volumes
from VertebraSegmentLib.Logic import SegmentLogic
from VertebraSegmentLib.SelfTest import runSelfTest

WORKER = [sys.executable, str(Path(tinyworker.__file__))]


@pytest.fixture
def logic(monkeypatch):
    """The Logic with the tiny methods in place of the shipped ones."""
    monkeypatch.setattr(registry, "METHODS", tinyworker.METHODS)
    return SegmentLogic(functools.partial(jobs.segmentInChild, command=WORKER))


@pytest.fixture
def ct(scene):
    """A CT node on an oblique grid, under a rigid transform, with a block of bone."""
    array = np.full((20, 24, 28), -50, np.int16)
    array[4:16, 6:18, 8:20] = 700
    node = volumes.addVolumeNode(scene, Volume(array, obliqueAffine()), "ct")
    addTransform(scene, node, rigid(obliqueAffine()))
    return node


def contents(application):
    """Return what a user would notice in the scene: nodes, their names, and the hierarchy."""
    scene = application.scene
    nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
    hierarchy = application.subjectHierarchy()
    return sorted((n.GetClassName(), n.GetName()) for n in nodes), hierarchy.GetNumberOfItems()


def test_a_ct_becomes_a_segmentation_and_a_table(application, logic, ct):
    reports = []
    outcome = logic.segment(ct, method=tinyworker.WORKS, onProgress=reports.append)
    node = outcome.segmentationNode
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["L1", "unsure 1"]
    back, _ = segmentations.labelVolumeFromNode(node, ct)
    scan = volumes.volumeFromNode(ct)
    np.testing.assert_array_equal(back.array > 0, scan.array > tinyworker.BONE)
    np.testing.assert_allclose(back.affine, scan.affine, atol=1e-9)
    # The worker got the world's coordinates: L1 is the upper half in the world.
    upper = outcome.vertebrae[0]
    ijk = np.argwhere(back.array == labels.by_name("L1").verse)[:, ::-1]
    np.testing.assert_allclose(upper.centroid, back.ijk_to_ras(ijk).mean(axis=0), atol=1e-2)
    assert upper.centroid[2] > outcome.vertebrae[1].centroid[2]
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert outcome.warnings == ["The lowest level is unsure."]
    assert outcome.summary().endswith("the level of 1 of them is unsure.")
    table = outcome.tableNode
    assert table.GetNumberOfRows() == 2
    assert table.GetCellText(0, table.GetColumnIndex("Level")) == "L1"
    assert table.GetColumnUnitLabel("Volume") == "mL"
    bone = (back.array == labels.by_name("L1").verse).sum() * scan.voxel_mm3 / 1000
    volume = float(table.GetCellText(0, table.GetColumnIndex("Volume")))
    assert volume == pytest.approx(bone, abs=0.01)
    hierarchy = application.subjectHierarchy()
    parents = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(n)) for n in (node, ct, table)}
    assert len(parents) == 1
    fractions = [report.fraction for report in reports]
    assert fractions == sorted(fractions)
    assert reports[-1].fraction == 1.0
    assert not logic.running


def test_a_second_run_replaces_the_result_in_the_same_nodes(application, logic, ct):
    first = logic.segment(ct, method=tinyworker.WORKS)
    before = contents(application)
    array = volumes.volumeFromNode(ct).array
    array[4:8] = -50
    again = logic.segment(ct, first.segmentationNode, first.tableNode, method=tinyworker.WORKS)
    assert again.segmentationNode is first.segmentationNode
    assert contents(application) == before
    back, _ = segmentations.labelVolumeFromNode(again.segmentationNode, ct)
    np.testing.assert_array_equal(back.array > 0, array > tinyworker.BONE)


def test_a_second_run_ends_what_could_be_undone_before(logic, ct):
    first = logic.segment(ct, method=tinyworker.WORKS)
    logic.clicks.rename(first.segmentationNode, "L1", "L2")
    assert logic.clicks.history.canUndo
    node, table = first.segmentationNode, first.tableNode
    logic.segment(ct, node, table, method=tinyworker.WORKS, overwriteEdits=True)
    assert not logic.clicks.history.canUndo
    assert segmentations.labelVolumeFromNode(first.segmentationNode, ct)[1] == {
        labels.by_name("L1").verse: "L1",
        labels.FIRST_UNSURE: "unsure 1",
    }


def test_cancel_leaves_the_scene_as_it_was(application, logic, ct):
    before = contents(application)

    def onProgress(report):
        if report.stage == "patches":
            logic.cancel()

    with pytest.raises(CancelledError):
        logic.segment(ct, method=tinyworker.SLOW, onProgress=onProgress)
    assert contents(application) == before
    assert not logic.running
    assert logic.segment(ct, method=tinyworker.WORKS).segmentationNode is not None


def test_an_error_of_the_worker_arrives_as_one_sentence(application, logic, ct):
    before = contents(application)
    with pytest.raises(MemoryLimitError) as caught:
        logic.segment(ct, method=tinyworker.FAILS)
    assert str(caught.value) == "There is not enough memory. Close other programs."
    assert "4 GB" in caught.value.details
    assert contents(application) == before


def test_the_chosen_device_reaches_the_method(logic, ct):
    with pytest.raises(MemoryLimitError):
        logic.segment(ct, method=tinyworker.WORKS, device="cpu")


def test_a_failure_while_showing_takes_the_result_out_again(application, logic, ct, monkeypatch):
    first = logic.segment(ct, method=tinyworker.WORKS)
    kept = segmentations.labelVolumeFromNode(first.segmentationNode, ct)[0].array
    before = contents(application)

    def broken(*_):
        raise RuntimeError("no table today")

    monkeypatch.setattr("VertebraSegmentLib.Logic.tables.addVertebraTable", broken)
    with pytest.raises(RuntimeError, match="no table"):
        logic.segment(ct, method=tinyworker.WORKS)
    assert contents(application) == before
    volumes.volumeFromNode(ct).array[4:8] = -50
    with pytest.raises(RuntimeError, match="no table"):
        logic.segment(ct, first.segmentationNode, method=tinyworker.WORKS)
    after = segmentations.labelVolumeFromNode(first.segmentationNode, ct)[0].array
    np.testing.assert_array_equal(after, kept)


def test_a_volume_that_is_closed_meanwhile_ends_the_run(scene, logic, ct):
    def onProgress(report):
        if ct.GetScene() is not None:
            scene.RemoveNode(ct)

    with pytest.raises(CancelledError, match="closed while"):
        logic.segment(ct, method=tinyworker.WORKS, onProgress=onProgress)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_second_run_at_the_same_time_is_refused(logic, ct):
    refused = []

    def onProgress(report):
        if not refused:
            with pytest.raises(InputError, match="under way") as caught:
                logic.segment(ct, method=tinyworker.WORKS)
            refused.append(caught.value)

    logic.segment(ct, method=tinyworker.WORKS, onProgress=onProgress)
    assert refused


def test_validate_says_why_in_one_sentence(scene, logic, ct):
    assert logic.validate(ct, tinyworker.WORKS) == ""
    assert logic.validate(None, tinyworker.WORKS) == "Choose a CT volume."
    assert "no method called “magic”" in logic.validate(ct, "magic")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    assert logic.validate(empty, tinyworker.WORKS) == "“empty” has no voxels."
    flat = volumes.addVolumeNode(scene, Volume(np.zeros((1, 9, 9), np.int16), np.eye(4)), "film")
    assert "single slice" in logic.validate(flat, tinyworker.WORKS)
    with pytest.raises(InputError, match="single slice"):
        logic.segment(flat, method=tinyworker.WORKS)


def test_validate_export_says_why_in_one_sentence(scene, logic, ct, tmp_path):
    node = logic.segment(ct, method=tinyworker.WORKS).segmentationNode
    assert logic.validateExport(node, ct, tmp_path) == ""
    assert logic.validateExport(None, ct, tmp_path) == "Segment a volume first."
    assert logic.validateExport(node, None, tmp_path) == "Choose the volume that was segmented."
    assert logic.validateExport(node, ct, Path()) == "Choose a folder for the models."
    file = tmp_path / "file"
    file.write_text("x")
    assert "is a file" in logic.validateExport(node, ct, file)


def test_time_left_falls_while_there_is_no_news(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(jobs.time, "monotonic", lambda: now[0])
    reports = []
    report = jobs._reporter(100.0, reports.append)
    report("coarse", 0.01, "")
    now[0] = 110.0
    report("coarse", 0.25, "")
    now[0] = 115.0
    report("coarse", 0.25, "")
    assert [r.left for r in reports] == [None, pytest.approx(30.0), pytest.approx(25.0)]
    assert jobs.describe(reports[1]) == "coarse – about 30 s left"
    assert jobs.describe(reports[0]) == "coarse"


def test_the_modules_self_test_passes(scene, tmp_path):
    runSelfTest(scene, tmp_path / "models")
    assert len(list((tmp_path / "models").glob("*.stl"))) == 3
