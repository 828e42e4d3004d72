"""Clicks on vertebrae: segments that are added and replaced, names, points, undo and redo."""

from __future__ import annotations

import sys
from pathlib import Path

import clickworker
import numpy as np
import oracleclick
import pytest
import slicer
import vtk
from clickcases import arrayOf, everything, middle, paint
from clickworker import LEVELS, FakeWorker, truth
from nodecases import addTransform, obliqueAffine, rigid
from spineseg import labels
from spineseg.errors import CancelledError, InputError
from spineseg.residentclient import ResidentWorker
from spineseg.volume import Volume
from SpineSegMRML import names, segmentations, volumes
from SpineSegMRML.layers import masks
from SpineSegMRML.names import TARGETS
from VertebraSegmentLib.Logic import SegmentLogic


@pytest.fixture
def worker():
    return FakeWorker()


@pytest.fixture
def logic(worker):
    """The Logic with a worker that knows the answer."""
    return SegmentLogic(worker=worker)


@pytest.fixture
def ct(scene):
    """The blocks on an oblique grid, under a rigid transform."""
    node = volumes.addVolumeNode(scene, clickworker.scan(), "ct")
    addTransform(scene, node, rigid(obliqueAffine()))
    return node


@pytest.fixture
def whole(ct):
    """A segmentation of all four blocks, in one layer."""
    volume = volumes.volumeFromNode(ct).like(clickworker.truthArray())
    return segmentations.addSegmentationNode(volume, ct, "spine")


def test_a_click_adds_the_vertebra_at_the_point(application, logic, ct):
    outcome = logic.clicks.click(ct, middle(ct, "L2"))
    node = outcome.segmentationNode
    np.testing.assert_array_equal(arrayOf(node, ct, outcome.segmentId), truth("L2"))
    assert node.GetParentTransformNode() is ct.GetParentTransformNode()
    # Where Slicer shows it, in the world, is where the point was.
    shown = np.array(node.GetSegmentCenterRAS(outcome.segmentId))
    np.testing.assert_allclose(shown, middle(ct, "L2"), atol=1.5)
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is ct
    hierarchy = application.subjectHierarchy()
    parents = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(n)) for n in (node, ct)}
    assert len(parents) == 1
    assert outcome.level is None
    assert outcome.summary() == "unsure 1 was added; its level is unsure: choose it."
    assert not logic.running


def test_neighbours_name_the_next_ones_and_order_is_from_the_head_down(logic, ct):
    first = logic.clicks.click(ct, middle(ct, "L2"), level="L2")
    node = first.segmentationNode
    names_ = [logic.clicks.click(ct, middle(ct, level), node).name for level in ("L3", "L1", "T12")]
    # Thoracic and lumbar ids are next to each other in the table, as the vertebrae are.
    assert names_ == ["L3", "L1", "T12"]
    assert list(node.GetSegmentation().GetSegmentIDs()) == list(LEVELS)
    for level in LEVELS:
        segment = node.GetSegmentation().GetSegment(level)
        color = np.array(labels.color_of(clickworker.label(level))) / 255
        np.testing.assert_allclose(segment.GetColor(), color, atol=1e-6)
        entry = names.tagOf(segment, slicer.vtkSegment.GetTerminologyEntryTagName())
        assert labels.snomed_of(clickworker.label(level))[0] in entry


def test_a_click_on_a_vertebra_replaces_its_segment_and_no_other_voxel(logic, worker, ct, whole):
    before = {level: arrayOf(whole, ct, level) for level in LEVELS}
    worker.grown = 2
    outcome = logic.clicks.click(ct, middle(ct, "L1"), whole)
    assert (outcome.replaced, outcome.segmentId, outcome.level) == (True, "L1", "L1")
    assert outcome.summary() == "L1 was replaced."
    assert list(whole.GetSegmentation().GetSegmentIDs()) == list(LEVELS)
    for level in LEVELS:
        same = np.array_equal(arrayOf(whole, ct, level), before[level])
        assert same == (level != "L1")
    known = worker.asked[0]["known"]
    np.testing.assert_array_equal(known.array, clickworker.truthArray())
    np.testing.assert_allclose(known.affine, volumes.volumeFromNode(ct).affine, atol=1e-9)


@pytest.mark.parametrize("target", [t for t in TARGETS if t != "vertebra"])
def test_a_part_is_a_segment_of_its_own(logic, ct, whole, target):
    before = everything(whole, ct)
    outcome = logic.clicks.click(ct, middle(ct, "L1"), whole, target)
    assert outcome.name == outcome.segmentId == f"L1 {target}"
    assert not outcome.replaced
    ids = list(whole.GetSegmentation().GetSegmentIDs())
    assert ids == ["T12", "L1", f"L1 {target}", "L2", "L3"]
    assert [row for row in everything(whole, ct) if row[0] in LEVELS] == before
    np.testing.assert_array_equal(arrayOf(whole, ct, outcome.segmentId), truth("L1", target))
    again = logic.clicks.click(ct, middle(ct, "L1"), whole, target)
    assert (again.replaced, again.segmentId) == (True, outcome.segmentId)
    entry = slicer.vtkSegment.GetTerminologyEntryTagName()
    segment = whole.GetSegmentation().GetSegment(again.segmentId)
    assert labels.snomed_of(clickworker.label("L1"))[0] in names.tagOf(segment, entry)
    vertebra = whole.GetSegmentation().GetSegment("L1")
    assert np.abs(np.subtract(segment.GetColor(), vertebra.GetColor())).max() > 0.05
    # The label map of the vertebrae, and the exported models, have no hole where the body is.
    np.testing.assert_array_equal(
        segmentations.labelVolumeFromNode(whole, ct)[0].array, clickworker.truthArray()
    )


def test_bodies_alone_tell_the_next_level_too(logic, ct):
    node = logic.clicks.click(ct, middle(ct, "L2"), None, "body", "L2").segmentationNode
    assert logic.clicks.click(ct, middle(ct, "L1"), node, "body").name == "L1 body"
    assert logic.clicks.click(ct, middle(ct, "L1"), node).name == "L1"


def test_models_of_a_vertebra_and_its_body_are_both_whole(logic, ct, whole, tmp_path):
    logic.clicks.click(ct, middle(ct, "L1"), whole, "body")
    files = logic.exportModels(whole, ct, tmp_path / "models").files
    assert [path.name for path in files][1:3] == ["20_L1_LPS.stl", "20_L1_body_LPS.stl"]
    sizes = []
    for path in files[:3]:
        reader = vtk.vtkSTLReader()
        reader.SetFileName(str(path))
        mass = vtk.vtkMassProperties()
        mass.SetInputConnection(reader.GetOutputPort())
        sizes.append(mass.GetVolume())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)
    assert sizes[2] < 0.75 * sizes[1]


def test_a_refused_click_leaves_the_scene_as_it_was(scene, logic, ct, whole):
    before, nodes = everything(whole, ct), scene.GetNumberOfNodes()
    far = np.add(middle(ct, "L1"), (500.0, 0.0, 0.0))
    with pytest.raises(InputError, match="no vertebra within 20 mm"):
        logic.clicks.click(ct, far, whole)
    with pytest.raises(InputError, match="no vertebra within 20 mm"):
        logic.clicks.click(ct, far)
    assert everything(whole, ct) == before
    assert scene.GetNumberOfNodes() == nodes
    assert not logic.clicks.history.canUndo
    assert not logic.running


def test_a_failure_while_showing_takes_it_out_again(scene, logic, worker, ct, whole, monkeypatch):
    before, nodes = everything(whole, ct), scene.GetNumberOfNodes()
    worker.grown = 2

    def broken(*_):
        raise RuntimeError("no place today")

    monkeypatch.setattr("SpineSegMRML.segments._insert", broken)
    for node in (whole, None):
        with pytest.raises(RuntimeError, match="no place"):
            logic.clicks.click(ct, middle(ct, "L1"), node)
        assert everything(whole, ct) == before
    # The colour table of the labels, which every segmentation shares, may have come to stay.
    assert scene.GetNumberOfNodes() <= nodes + 1


def test_cancel_and_a_closed_volume_end_a_click(scene, logic, ct, whole):
    before = everything(whole, ct)
    with pytest.raises(CancelledError):
        logic.clicks.click(ct, middle(ct, "L1"), whole, onProgress=lambda report: logic.cancel())
    assert everything(whole, ct) == before
    with pytest.raises(CancelledError, match="closed while"):
        logic.clicks.click(
            ct, middle(ct, "L1"), whole, onProgress=lambda report: scene.RemoveNode(ct)
        )


def test_undo_and_redo_of_clicks(logic, worker, ct, whole):
    states = [everything(whole, ct)]
    worker.grown = 2
    logic.clicks.click(ct, middle(ct, "L1"), whole)
    states.append(everything(whole, ct))
    logic.clicks.click(ct, middle(ct, "L2"), whole, "body")
    states.append(everything(whole, ct))
    logic.clicks.rename(whole, "T12", "T13")
    states.append(everything(whole, ct))
    assert len({str(state) for state in states}) == 4
    for state in reversed(states[:-1]):
        logic.undo()
        assert everything(whole, ct) == state
    assert not logic.clicks.history.canUndo
    for state in states[1:]:
        logic.redo()
        assert everything(whole, ct) == state
    logic.undo()
    logic.clicks.click(ct, middle(ct, "L3"), whole)
    with pytest.raises(InputError, match="nothing to do again"):
        logic.redo()


def test_undo_brings_back_no_other_segment_and_loses_no_stroke(logic, worker, ct, whole):
    worker.grown = 2
    logic.clicks.click(ct, middle(ct, "L1"), whole)
    paint(whole, "L3", (slice(2, 4), slice(4, 9), slice(5, 7)), erase=True)
    painted = arrayOf(whole, ct, "L3")
    logic.undo()
    np.testing.assert_array_equal(arrayOf(whole, ct, "L1"), truth("L1"))
    np.testing.assert_array_equal(arrayOf(whole, ct, "L3"), painted)
    logic.redo()
    paint(whole, "L1", (slice(22, 24), slice(4, 6), slice(5, 7)), erase=True)
    state = everything(whole, ct)
    with pytest.raises(InputError, match="“L1” was edited since"):
        logic.undo()
    assert everything(whole, ct) == state


def test_history_is_bounded_and_ends_with_the_node(scene, logic, ct, whole):
    for _ in range(25):
        logic.clicks.click(ct, middle(ct, "L1"), whole)
    count = 0
    while logic.clicks.history.canUndo:
        logic.undo()
        count += 1
    assert count == 20
    logic.redo()
    scene.RemoveNode(whole)
    assert not logic.clicks.history.canUndo
    assert not logic.clicks.history.canRedo


def test_naming_gives_colour_and_terminology_and_keeps_a_chosen_colour(logic, ct):
    outcome = logic.clicks.click(ct, middle(ct, "L2"))
    node = outcome.segmentationNode
    assert outcome.name == "unsure 1"
    assert logic.clicks.rename(node, outcome.segmentId, "L2") == []
    segment = node.GetSegmentation().GetSegment(outcome.segmentId)
    assert segment.GetName() == "L2"
    color = np.array(labels.color_of(clickworker.label("L2"))) / 255
    np.testing.assert_allclose(segment.GetColor(), color)
    entry = slicer.vtkSegment.GetTerminologyEntryTagName()
    assert labels.snomed_of(clickworker.label("L2"))[0] in names.tagOf(segment, entry)
    segment.SetColor(0.1, 0.2, 0.3)
    logic.clicks.rename(node, outcome.segmentId, "L3")
    np.testing.assert_allclose(segment.GetColor(), (0.1, 0.2, 0.3))
    assert labels.snomed_of(clickworker.label("L3"))[0] in names.tagOf(segment, entry)
    logic.clicks.rename(node, outcome.segmentId, None)
    assert segment.GetName() == "unsure 1"
    with pytest.raises(InputError, match="no level called “L9”"):
        logic.clicks.rename(node, outcome.segmentId, "L9")
    with pytest.raises(InputError, match="Choose a segment"):
        logic.clicks.rename(node, "nothing", "L1")


def test_parts_are_renamed_with_their_vertebra_and_a_second_name_is_pointed_out(logic, ct, whole):
    logic.clicks.click(ct, middle(ct, "T12"), whole, "body")
    logic.clicks.rename(whole, "T12", "T11")
    assert [row[1] for row in everything(whole, ct)] == ["T11", "T11 body", "L1", "L2", "L3"]
    warnings = logic.clicks.rename(whole, "L1", "L2")
    assert len(warnings) == 1
    assert "Another segment is called L2 too" in warnings[0]


def test_a_name_that_another_segment_has_is_not_given_twice(logic, worker, ct, whole):
    logic.clicks.rename(whole, "T12", "L2")
    whole.GetSegmentation().RemoveSegment("L2")
    outcome = logic.clicks.click(ct, middle(ct, "L2"), whole)
    assert outcome.level is None
    assert outcome.name == "unsure 1"
    assert "would be L2, but another segment is called so" in outcome.warnings[0]


def test_a_users_own_name_is_kept_when_the_segment_is_replaced(logic, ct, whole):
    whole.GetSegmentation().GetSegment("L1").SetName("the fractured one")
    outcome = logic.clicks.click(ct, middle(ct, "L1"), whole)
    assert (outcome.replaced, outcome.name, outcome.level) == (True, "the fractured one", None)


def test_two_volumes_keep_apart(scene, logic, worker, ct):
    other = volumes.addVolumeNode(scene, clickworker.scan(np.diag([1.0, 1.0, 2.0, 1.0])), "other")
    node = logic.clicks.click(ct, middle(ct, "L1"), level="L1").segmentationNode
    with pytest.raises(InputError, match="“ct vertebrae” belongs to “ct”, not to “other”"):
        logic.clicks.click(other, middle(other, "L1"), node)
    second = logic.clicks.click(other, middle(other, "L2"), level="L2").segmentationNode
    assert second is not node
    logic.clicks.click(ct, middle(ct, "T12"), node)
    assert [volume.shape for volume in worker.opened] == [clickworker.SHAPE] * 3
    np.testing.assert_array_equal(arrayOf(second, other, "L2"), truth("L2"))
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["T12", "L1"]
    logic.undo()
    logic.undo()
    assert list(second.GetSegmentation().GetSegmentIDs()) == []
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["L1"]


def test_the_scan_is_handed_over_once_and_again_when_it_changed(logic, worker, ct, whole):
    worker.warnings = ["The slices are thick."]
    first = logic.clicks.click(ct, middle(ct, "L1"), whole)
    second = logic.clicks.click(ct, middle(ct, "L2"), whole)
    assert (first.warnings, second.warnings) == (worker.warnings, [])
    assert (len(worker.opened), worker.closed) == (1, 0)
    ct.GetImageData().GetPointData().GetScalars().Modified()
    logic.clicks.click(ct, middle(ct, "L3"), whole)
    assert (len(worker.opened), worker.closed) == (2, 1)
    logic.clicks.close()
    assert worker.closed == 2
    assert not logic.clicks.history.canUndo


def test_a_segmentation_moved_by_hand_still_gets_the_vertebra_at_the_point(scene, logic, ct, whole):
    whole.HardenTransform()
    assert whole.GetParentTransformNode() is None
    whole.GetSegmentation().RemoveSegment("L2")
    outcome = logic.clicks.click(ct, middle(ct, "L2"), whole)
    assert outcome.name == "L2"
    np.testing.assert_array_equal(arrayOf(whole, ct, "L2"), truth("L2"))


def test_the_real_worker_answers(scene, tmp_path):
    array = np.full((60, 70, 60), -50, np.int16)
    for low in (4, 24, 44):
        array[low : low + 14, 10:50, 15:45] = 600
    ct = volumes.addVolumeNode(
        scene, Volume(array, obliqueAffine() @ np.diag([1, 1, 0.6, 1])), "ct"
    )
    addTransform(scene, ct, rigid(obliqueAffine()))
    worker = ResidentWorker(command=[sys.executable, str(Path(oracleclick.__file__)), "--serve"])
    logic = SegmentLogic(worker=worker)
    point = volumes.volumeFromNode(ct).ijk_to_ras([[30, 30, 31]])[0]
    try:
        outcome = logic.clicks.click(ct, tuple(point), level="L2")
        node = outcome.segmentationNode
        mask = masks(node, ct)[outcome.segmentId]
        inside = np.zeros(array.shape, bool)
        inside[24:38, 10:50, 15:45] = True
        found = np.zeros(array.shape, bool)
        found[mask.box] = mask.array
        assert 2 * (inside & found).sum() / (inside.sum() + found.sum()) > 0.9
        with pytest.raises(InputError, match="outside the scan"):
            logic.clicks.click(ct, tuple(np.add(point, 900.0)), node)
        pid = worker.pid
        again = logic.clicks.click(ct, tuple(point), node)
        assert (again.replaced, again.name) == (True, "L2")
        assert worker.pid == pid
    finally:
        logic.clicks.close()
    assert worker.pid is None
