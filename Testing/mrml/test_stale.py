"""Edits: what they make old, what is made again, and that no run overwrites them unasked."""

from __future__ import annotations

import json

import clickworker
import numpy as np
import pytest
import slicer
import vtk
from spineseg import labels
from spineseg.errors import InputError
from spineseg.result import Vertebra
from SpineSegMRML import layers, models, segmentations, stale, tables, volumes
from SpineSegMRML.brush import CursorSelection, protect
from SpineSegMRML.corrections import CorrectionLogic
from SpineSegMRML.jobs import JobOutcome
from VertebraSegmentLib.Logic import SegmentLogic


@pytest.fixture
def ct(scene):
    return volumes.addVolumeNode(scene, clickworker.scan(), "ct")


@pytest.fixture
def logic():
    return SegmentLogic(answer)


def answer(volume, *_, **__):
    truth = clickworker.truthArray()
    found = []
    for label in np.unique(truth[truth > 0]):
        ijk = np.argwhere(truth == label)[:, ::-1]
        place = tuple(volume.ijk_to_ras(ijk).mean(axis=0).tolist())
        found.append(Vertebra(int(label), labels.display_name(label), place, 1.0))
    return JobOutcome(volume.like(truth), found)


@pytest.fixture
def case(logic, ct):
    """A segmented scan: segmentation and table."""
    done = logic.segment(ct)
    return done.segmentationNode, done.tableNode


@pytest.fixture
def watch(scene):
    watching = stale.EditWatch(scene)
    yield watching
    watching.stop()


def stroke(scene, node, source, segmentId, box, erase=False):
    """Paint or erase a box of voxels (k, j, i), as the Segment Editor's brush does."""
    editor = segmentations.segmentEditorNode(scene, "test")
    editor.SetAndObserveSegmentationNode(node)
    editor.SetAndObserveSourceVolumeNode(source)
    editor.SetSelectedSegmentID(segmentId)
    brush = slicer.vtkSlicerSegmentEditorLogic()
    brush.SetMRMLScene(scene)
    brush.SetSegmentEditorNode(editor)
    brush.UpdateReferenceGeometryImage()
    brush.UpdateMaskLabelmap()
    array = np.zeros(source.GetImageData().GetDimensions()[::-1], np.uint8)
    array[box] = 1
    image = volumes.imageFromArray(array, slicer.vtkOrientedImageData())
    matrix = vtk.vtkMatrix4x4()
    source.GetIJKToRASMatrix(matrix)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    mode = brush.ModificationModeRemove if erase else brush.ModificationModeAdd
    brush.ModifySegmentByLabelmap(node, segmentId, image, mode, False, False)


def half(node, source, segmentId):
    """Return a box over the upper half of a segment."""
    box = list(layers.masks(node, source)[segmentId].box)
    box[0] = slice((box[0].start + box[0].stop) // 2, box[0].stop)
    return tuple(box)


def volumeOf(table, level):
    column = table.GetTable().GetColumnByName("Volume")
    rows = [table.GetCellText(row, 0) for row in range(table.GetNumberOfRows())]
    return float(column.GetValue(rows.index(level)))


def test_a_result_is_fresh_until_its_segmentation_is_edited(scene, case, ct, watch):
    node, table = case
    assert stale.outOfDate(node) == []
    stroke(scene, node, ct, "L1", half(node, ct, "L1"), erase=True)
    assert stale.outOfDate(node) == [table.GetName()]
    assert stale.outOfDate(node, "CobbAngle") == []
    stale.verify(node)
    assert stale.isOutOfDate(table)


def test_an_edit_that_was_undone_is_none(scene, case, ct, watch):
    node, table = case
    box = half(node, ct, "L1")
    stroke(scene, node, ct, "L1", box, erase=True)
    stroke(scene, node, ct, "L1", box)
    assert stale.isOutOfDate(table)
    stale.verify(node)
    assert not stale.isOutOfDate(table)


def test_an_edit_without_a_watch_is_found_later(scene, case, ct):
    node, table = case
    stroke(scene, node, ct, "L1", half(node, ct, "L1"), erase=True)
    assert not stale.isOutOfDate(table)
    stale.verify(node)
    assert stale.isOutOfDate(table)


def test_a_new_name_makes_results_old_and_a_new_colour_does_not_for_long(case, watch):
    node, table = case
    node.GetSegmentation().GetSegment("L1").SetColor(0.1, 0.2, 0.3)
    stale.verify(node)
    assert not stale.isOutOfDate(table)
    node.GetSegmentation().GetSegment("L1").SetName("T13")
    stale.verify(node)
    assert stale.isOutOfDate(table)


def test_what_is_old_is_measured_and_exported_again(scene, case, ct, logic, watch, tmp_path):
    node, table = case
    fresh = CorrectionLogic("VertebraSegment")
    assert fresh.refresh(node, ct) == ["Everything is up to date."]
    done = logic.exportModels(node, ct, tmp_path / "models")
    first = {model.name: model.voxels_mm3 for model in done.models}
    stroke(scene, node, ct, "L1", half(node, ct, "L1"), erase=True)
    assert stale.outOfDate(node) == [table.GetName(), "exported models"]
    said = fresh.refresh(node, ct)
    assert len(said) == 2 + len(done.warnings)
    assert stale.outOfDate(node) == []
    now = json.loads((tmp_path / "models" / "export.json").read_text())["models"]
    sizes = {model["name"]: model["voxels_mm3"] for model in now}
    assert sizes["L1"] < 0.6 * first["L1"]
    assert sizes["L2"] == first["L2"]
    assert volumeOf(table, "L1") == pytest.approx(sizes["L1"] / 1000, abs=0.006)
    assert tables.confidencesIn(table)["L2"] == 1.0


def test_marks_are_saved_with_the_scene(scene, case, ct, watch, tmp_path):
    node, table = case
    stroke(scene, node, ct, "L1", half(node, ct, "L1"), erase=True)
    models.exportModels(node, ct, tmp_path / "models")
    names = node.GetName(), table.GetName()
    scene.SetURL(str(tmp_path / "scene.mrml"))
    for index, one in enumerate((node, table, ct)):
        one.AddDefaultStorageNode()
        ending = (".seg.nrrd", ".tsv", ".nrrd")[index]
        one.GetStorageNode().SetFileName(str(tmp_path / f"{index}{ending}"))
        assert one.GetStorageNode().WriteData(one)
    scene.Commit()
    scene.Clear(False)
    scene.Connect()
    node, table = (scene.GetFirstNodeByName(name) for name in names)
    assert stale.outOfDate(node) == [table.GetName()]
    ct = scene.GetFirstNodeByName("ct")
    CorrectionLogic("VertebraSegment").refresh(node, ct)
    assert stale.outOfDate(node) == []
    stroke(scene, node, ct, "L2", half(node, ct, "L2"), erase=True)
    assert stale.outOfDate(node) == [table.GetName()]  # the watch goes on


def test_a_run_leaves_corrections_where_they_are(scene, case, ct, logic):
    node, table = case
    again = logic.segment(ct, node, table)
    assert again.segmentationNode is node  # nothing of a user's was there
    stroke(scene, node, ct, "L1", half(node, ct, "L1"), erase=True)
    kept = int(layers.masks(node, ct)["L1"].array.sum())
    other = logic.segment(ct, node, table)
    assert other.segmentationNode is not node
    assert other.tableNode is not table
    assert f"Your corrections are in “{node.GetName()}”" in other.warnings[-1]
    assert int(layers.masks(node, ct)["L1"].array.sum()) == kept
    replaced = logic.segment(ct, node, table, overwriteEdits=True)
    assert replaced.segmentationNode is node
    assert int(layers.masks(node, ct)["L1"].array.sum()) > kept


def test_a_training_pair_has_the_strokes_in_it(scene, case, ct, logic, tmp_path):
    from spineseg.io.images import read_volume

    node, _ = case
    stroke(scene, node, ct, "L1", half(node, ct, "L1"), erase=True)
    assert logic.corrections.corrected(node, ct) == ["L1"]
    folder = logic.corrections.savePair(node, ct, tmp_path)
    expected, _ = segmentations.labelVolumeFromNode(node, ct)
    saved = read_volume(folder / "labels.nii.gz")
    assert np.array_equal(saved.resampled_like(expected, order=0).array, expected.array)
    assert json.loads((folder / "pair.json").read_text())["corrected"] == ["L1"]
    node.GetSegmentation().GetSegment("L1").SetName("unsure 1")
    with pytest.raises(InputError, match="unsure"):
        logic.corrections.savePair(node, ct, tmp_path / "more")
    assert logic.corrections.validatePair(None, ct, tmp_path) == "Segment a volume first."
    assert "Choose a folder" in logic.corrections.validatePair(node, ct, None)


@pytest.mark.parametrize("protected", [True, False])
def test_neighbours_are_protected_from_strokes(scene, case, ct, protected):
    node, _ = case
    before = {i: int(m.array.sum()) for i, m in layers.masks(node, ct).items()}
    protect(segmentations.segmentEditorNode(scene, "test"), protected)
    everything = tuple(slice(0, n) for n in ct.GetImageData().GetDimensions()[::-1])
    stroke(scene, node, ct, "L1", everything)
    after = {i: int(m.array.sum()) for i, m in layers.masks(node, ct).items()}
    assert after["L1"] > before["L1"]
    others = {i: n for i, n in after.items() if i != "L1"}
    assert others == ({i: n for i, n in before.items() if i != "L1"} if protected else {})
    # No voxel belongs to two.
    total = int(np.prod(ct.GetImageData().GetDimensions()))
    assert sum(after.values()) == total


def test_the_segment_under_the_cursor_is_selected_between_strokes(scene, case, ct):
    node, _ = case
    cursor = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode") or scene.AddNewNodeByClass(
        "vtkMRMLCrosshairNode", "default"
    )
    editor = segmentations.segmentEditorNode(scene, "test")
    editor.SetAndObserveSegmentationNode(node)
    editor.SetAndObserveSourceVolumeNode(ct)
    editor.SetSelectedSegmentID("L2")
    stroking = []
    selection = CursorSelection(editor, lambda: bool(stroking))
    selection.start()

    def middle(segmentId):
        mask = layers.masks(node, ct)[segmentId]
        kji = np.argwhere(mask.array).mean(axis=0) + mask.low
        return volumes.volumeFromNode(ct).ijk_to_ras(kji[None, ::-1])[0]

    cursor.SetCursorPositionRAS(middle("L1"))
    assert editor.GetSelectedSegmentID() == "L1"
    cursor.SetCursorPositionRAS((900.0, 900.0, 900.0))
    assert editor.GetSelectedSegmentID() == "L1"
    stroking.append(True)
    cursor.SetCursorPositionRAS(middle("L3"))
    assert editor.GetSelectedSegmentID() == "L1"
    stroking.clear()
    cursor.SetCursorPositionRAS(middle("L2"))
    assert editor.GetSelectedSegmentID() == "L2"
    selection.stop()
    cursor.SetCursorPositionRAS(middle("L1"))
    assert editor.GetSelectedSegmentID() == "L2"


def test_what_is_painted_during_a_run_that_may_overwrite_is_kept(scene, case, ct):
    node, table = case
    stroke(scene, node, ct, "L1", half(node, ct, "L1"), erase=True)

    def painting(volume, *_, **__):
        stroke(scene, node, ct, "L2", half(node, ct, "L2"), erase=True)
        return answer(volume)

    before = int(layers.masks(node, ct)["L2"].array.sum())
    done = SegmentLogic(painting).segment(ct, node, table, overwriteEdits=True)
    assert done.segmentationNode is not node
    assert int(layers.masks(node, ct)["L2"].array.sum()) < before
