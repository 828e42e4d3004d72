"""Going on from a corrected vertebra: what is kept, renamed, replaced, undone and saved."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import clickworker
import numpy as np
import pytest
import slicer
import tinyworker
from clickcases import arrayOf, everything, middle, paint
from clickworker import FakeWorker, label, truth
from nodecases import addTransform, obliqueAffine, rigid
from oracle_looker import OracleLooker, coarse_truth, patient
from spineseg import labels, registry
from spineseg.errors import CancelledError, InputError
from spineseg.methods import cascade, update
from spineseg.methods.runlog import RunLog
from spineseg.progress import Progress
from spineseg.result import Vertebra
from SpineSegMRML import jobs, names, segmentations, segments, tables, volumes
from SpineSegMRML.jobs import JobOutcome
from SpineSegMRML.layers import fingerprint, masks
from VertebraSegmentLib.Logic import SegmentLogic

SHIFTED = {"T12": "T11", "L1": "T12", "L2": "L1", "L3": "L2"}
"""What the levels are called when the lowest one is found to be L2."""


class Walk:
    """An updater that renumbers all vertebrae by one, and keeps what it is told to keep.

    Attributes
    ----------
    asked : list of dict
    moved : bool
        Whether the vertebrae that are not kept get other voxels than before.
    """

    def __init__(self):
        self.asked = []
        self.moved = True
        self.during = lambda: None

    def __call__(self, volume, segmentation, start, keep, level, settings, onProgress, token):
        self.asked.append({"start": start, "keep": keep, "level": level, "known": segmentation})
        self.during()
        array = np.zeros(volume.shape, np.uint8)
        found = []
        for old, new in SHIFTED.items():
            box = truth(old)
            kept = [n for n in keep if (segmentation.array[box] == n).sum() > box.sum() / 2]
            if kept:
                inside = segmentation.array == kept[0]
            else:
                inside = np.roll(box, 1, axis=2) if self.moved else box
            array[inside & (array == 0)] = label(new)
            found.append(Vertebra(label(new), new, (0.0, 0.0, 0.0), volume_ml=float(len(found))))
        return JobOutcome(volume.like(array), found, ["L3 is doubtful."], 2.0)


@pytest.fixture
def walk():
    return Walk()


@pytest.fixture
def logic(walk):
    return SegmentLogic(updater=walk, worker=FakeWorker())


@pytest.fixture
def ct(scene):
    """The blocks on an oblique grid, under a rigid transform."""
    node = volumes.addVolumeNode(scene, clickworker.scan(), "ct")
    addTransform(scene, node, rigid(obliqueAffine()))
    return node


@pytest.fixture
def whole(ct):
    """A result of all four blocks, in one layer."""
    volume = volumes.volumeFromNode(ct).like(clickworker.truthArray())
    return segmentations.addSegmentationNode(volume, ct, "spine")


def byName(node, ct):
    """Return the voxels of each segment by its name."""
    return {row[1]: row[4] for row in everything(node, ct)}


def test_a_result_holds_no_work_of_a_user_yet(ct, whole):
    assert segments.touched(whole, ct) == []


def test_paint_a_name_a_click_and_a_new_segment_are_a_users_work(logic, ct, whole):
    paint(whole, "L1", (slice(24, 26), slice(6, 9), slice(6, 9)), erase=True)
    assert segments.touched(whole, ct) == ["L1"]
    whole.GetSegmentation().GetSegment("L3").SetName("L4")
    logic.clicks.click(ct, middle(ct, "L2"), whole)
    whole.GetSegmentation().AddEmptySegment("screw")
    assert segments.touched(whole, ct) == ["L1", "L2", "L3", "screw"]


def test_the_corrected_one_is_kept_bit_for_bit_and_the_rest_is_renumbered(logic, walk, ct, whole):
    paint(whole, "L1", (slice(24, 26), slice(6, 9), slice(6, 9)), erase=True)
    painted = arrayOf(whole, ct, "L1")
    image = whole.GetSegmentation().GetSegment("L1").GetRepresentation("Binary labelmap")
    outcome = logic.updateFrom(whole, ct, "L3", level="L2")
    asked = walk.asked[0]
    assert (asked["start"], asked["level"]) == (label("L3"), "L2")
    assert asked["keep"] == sorted([label("L1"), label("L3")])
    expected = clickworker.truthArray()
    expected[truth("L1") & ~painted] = 0
    np.testing.assert_array_equal(asked["known"].array, expected)
    found = byName(whole, ct)
    assert list(found) == ["T11", "T12", "L1", "L2"]
    # Painted by the user, named by the walk: the same voxels in the same image.
    assert found["T12"] == painted.tobytes()
    segment = whole.GetSegmentation().GetSegment("L1")
    assert segment.GetName() == "T12"
    assert segment.GetRepresentation("Binary labelmap") is image
    np.testing.assert_allclose(
        segment.GetColor(), np.array(labels.color_of(label("T12"))) / 255, atol=1e-6
    )
    assert found["L2"] == truth("L3").tobytes()
    # Replaced by what the walk found.
    moved = np.roll(truth("L2"), 1, axis=2) & ~truth("L3") & ~painted
    assert found["L1"] == moved.tobytes()
    assert outcome.warnings == ["L3 is doubtful."]
    assert whole.GetSegmentation().ContainsRepresentation("Closed surface")


def test_what_the_user_named_keeps_its_name_and_another_of_that_name_is_unsure(logic, ct, whole):
    logic.clicks.rename(whole, "T12", "L1")
    outcome = logic.updateFrom(whole, ct, "L3", level="L2")
    found = byName(whole, ct)
    assert sorted(found) == sorted(["L1", "T12", "unsure 1", "L2"])
    assert found["L1"] == truth("T12").tobytes()
    assert "There were two L1" in outcome.warnings[-1]
    assert [v.level for v in outcome.vertebrae] == ["L1", "T12", None, "L2"]


def test_a_second_update_keeps_what_the_first_one_kept(logic, walk, ct, whole):
    paint(whole, "L1", (slice(24, 26), slice(6, 9), slice(6, 9)), erase=True)
    painted = arrayOf(whole, ct, "L1").tobytes()
    logic.updateFrom(whole, ct, "L3", level="L2")
    # The walk's own are not taken for the user's; the painted and the named one still are.
    assert segments.touched(whole, ct) == ["L1", "L3"]
    logic.updateFrom(whole, ct, "L3")
    assert walk.asked[1]["level"] is None
    assert walk.asked[1]["start"] == label("L2")
    assert painted in byName(whole, ct).values()


def test_a_users_own_segments_and_bodies_stay(logic, ct, whole):
    logic.clicks.click(ct, middle(ct, "L2"), whole, "body")
    body = arrayOf(whole, ct, "L2 body").tobytes()
    screw = slicer.vtkSegment()
    screw.SetName("screw")
    screw.AddRepresentation(
        "Binary labelmap",
        whole.GetSegmentation().GetSegment("L2 body").GetRepresentation("Binary labelmap"),
    )
    whole.GetSegmentation().AddSegment(screw, "screw")
    logic.updateFrom(whole, ct, "L3", level="L2")
    found = byName(whole, ct)
    assert found["screw"] == body
    # The body is called after its vertebra, which has another number now.
    assert found["L1 body"] == body
    assert list(found) == ["T11", "T12", "L1", "L1 body", "L2", "screw"]


def test_undo_and_redo_of_an_update_with_its_table(scene, logic, ct, whole):
    table = tables.addVertebraTable(scene, [Vertebra(label("L3"), "L3", (0.0, 0.0, 0.0))], "rows")
    paint(whole, "L1", (slice(24, 26), slice(6, 9), slice(6, 9)), erase=True)
    before = everything(whole, ct)
    logic.updateFrom(whole, ct, "L3", level="L2", tableNode=table)
    after = everything(whole, ct)
    assert table.GetNumberOfRows() == 4
    assert table.GetCellText(0, table.GetColumnIndex("Level")) == "T11"
    logic.undo()
    assert everything(whole, ct) == before
    assert table.GetNumberOfRows() == 1
    assert table.GetColumnUnitLabel("Volume") == "mL"
    logic.redo()
    assert everything(whole, ct) == after
    assert table.GetNumberOfRows() == 4


def test_an_update_that_fails_or_is_cancelled_leaves_the_scene(logic, walk, ct, whole, monkeypatch):
    before = everything(whole, ct)
    walk.during = logic.cancel
    with pytest.raises(CancelledError):
        logic.updateFrom(whole, ct, "L3", level="L2")
    assert everything(whole, ct) == before
    walk.during = lambda: None

    def broken(*_):
        raise RuntimeError("no room today")

    monkeypatch.setattr("SpineSegMRML.segments.addMasks", broken)
    with pytest.raises(RuntimeError, match="no room"):
        logic.updateFrom(whole, ct, "L3", level="L2")
    assert everything(whole, ct) == before
    assert not logic.clicks.history.canUndo


def test_reasons_why_an_update_cannot_start(scene, logic, ct, whole):
    def why(*arguments):
        return logic.validateUpdate(*arguments)

    assert why(whole, ct, "L3") == ""
    assert why(whole, None, "L3") == "Choose the volume that was segmented."
    assert why(None, ct, "L3") == "Segment a volume first."
    assert why(whole, ct, "") == "Choose a segment in the list of segments."
    logic.clicks.click(ct, middle(ct, "L2"), whole, "body")
    assert why(whole, ct, "L2 body") == "“L2 body” is not a vertebra; choose one."
    other = volumes.addVolumeNode(scene, clickworker.scan(np.diag([1.0, 1.0, 2.0, 1.0])), "other")
    assert "belongs to “ct”, not to “other”" in why(whole, other, "L3")
    with pytest.raises(InputError, match="no level called “L9”"):
        logic.updateFrom(whole, ct, "L3", level="L9")


def test_a_saved_scene_still_knows_what_the_user_did(application, scene, logic, ct, whole):
    paint(whole, "L1", (slice(24, 26), slice(6, 9), slice(6, 9)), erase=True)
    logic.clicks.rename(whole, "T12", "T13")
    logic.clicks.click(ct, middle(ct, "L2"), whole, "body")
    before = everything(whole, ct)
    path = str(application.temporaryPath / "case.mrb")
    assert scene.WriteToMRB(path)
    scene.Clear(True)
    assert scene.ReadFromMRB(path)
    node, ct = scene.GetFirstNodeByName("spine"), scene.GetFirstNodeByName("ct")
    after = everything(node, ct)
    assert [(row[1], row[3], row[4]) for row in after] == [(r[1], r[3], r[4]) for r in before]
    touched = [segments.nameIn(node, i) for i in segments.touched(node, ct)]
    assert touched == ["T13", "L1", "L2 body"]
    logic = SegmentLogic(updater=Walk(), worker=FakeWorker())
    third = next(i for i in node.GetSegmentation().GetSegmentIDs()
                 if segments.nameIn(node, i) == "L3")  # fmt: skip
    logic.updateFrom(node, ct, third, level="L2")
    found = byName(node, ct)
    assert sorted(found) == sorted(["T12", "T13", "L1", "L1 body", "L2"])
    assert found["T13"] == truth("T12").tobytes()


def test_the_walk_goes_on_from_a_renamed_vertebra_and_keeps_a_painted_one(scene):
    phantom = patient(levels=("T11", "L3"))
    ct = volumes.addVolumeNode(scene, phantom.ct, "ct")
    levels = [v.name for v in labels.USUAL_VERTEBRAE]
    wrong = phantom.vertebrae.array.copy()
    for old, new in zip(levels, levels[1:]):  # every name is one too low
        wrong[phantom.vertebrae.array == label(old)] = label(new)
    node = segmentations.addSegmentationNode(phantom.vertebrae.like(wrong), ct, "spine")

    def walk(volume, known, start, keep, level, settings, onProgress, token):
        correction = update.check_correction(volume, known, start, keep, level)
        regions = coarse_truth(phantom.vertebrae, phantom.tissue)
        result = update.run(
            volume, regions, OracleLooker.at(phantom), correction, cascade.Settings(),
            Progress(token=token), RunLog({}, ()),
        )  # fmt: skip
        return JobOutcome(result.segmentation, result.vertebrae, result.warnings)

    logic = SegmentLogic(updater=walk, worker=FakeWorker())
    own = np.argwhere(wrong == label("L3"))
    k, j, i = own[len(own) // 2]
    paint(node, "L3", (slice(k, k + 1), slice(j, j + 1), slice(i, i + 1)), erase=True)
    painted = masks(node, ct)["L3"]
    logic.clicks.rename(node, "L2", "L1")
    logic.updateFrom(node, ct, "L2")
    segmentation = node.GetSegmentation()
    assert segments.nameIn(node, "L3") == "L2"
    assert fingerprint(masks(node, ct)["L3"]) == fingerprint(painted)
    found = [segments.nameIn(node, i) for i in segmentation.GetSegmentIDs()]
    whole = ("T11", "T12", "L1", "L2", "L3")  # the patient's others are cut
    assert [name for name in found if name != "T10"] == list(whole)
    made, _ = segmentations.labelVolumeFromNode(node, ct)
    for name in whole:
        one, other = made.array == label(name), phantom.vertebrae.array == label(name)
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.98, name


def test_the_real_worker_updates(monkeypatch, ct, whole):
    monkeypatch.setattr(registry, "METHODS", tinyworker.METHODS)
    command = [sys.executable, str(Path(tinyworker.__file__))]
    logic = SegmentLogic(updater=functools.partial(jobs.updateInChild, command=command))
    outcome = logic.updateFrom(whole, ct, "T12", level="T11")
    assert outcome.warnings == [f"kept [{label('T12')}]"]
    assert [row[1] for row in everything(whole, ct)] == ["T11", "L1", "L2", "L3"]
    mask = masks(whole, ct)["T12"]
    assert mask.array.all()
    assert outcome.vertebrae[0].level == "T11"
    assert names.wasRenamed(whole.GetSegmentation().GetSegment("T12"))
