"""Clicks through control points: what is placed, moved, refused, labelled, undone."""

from __future__ import annotations

import clickworker
import numpy as np
import pytest
import slicer
from clickcases import everything, middle
from clickworker import FakeWorker
from nodecases import addTransform, obliqueAffine, rigid
from spineseg.errors import InputError
from SpineSegMRML import points, segmentations, volumes
from VertebraSegmentLib.Logic import SegmentLogic


@pytest.fixture
def ct(scene):
    """The blocks on an oblique grid, under a rigid transform."""
    node = volumes.addVolumeNode(scene, clickworker.scan(), "ct")
    addTransform(scene, node, rigid(obliqueAffine()))
    return node


@pytest.fixture
def whole(ct):
    """A segmentation of all four blocks."""
    volume = volumes.volumeFromNode(ct).like(clickworker.truthArray())
    return segmentations.addSegmentationNode(volume, ct, "spine")


@pytest.fixture
def markups(scene):
    """A point list under a transform of its own."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "clicks")
    turned = rigid(obliqueAffine())
    turned[:3, 3] = [7.0, -20.0, 3.0]
    addTransform(scene, node, turned)
    return node


class Panel:
    """What a front end does: it watches a node and lets the logic answer."""

    def __init__(self, ct, markups, segmentationNode=None):
        self.worker = FakeWorker()
        self.logic = SegmentLogic(worker=self.worker)
        self.ct, self.segmentationNode = ct, segmentationNode
        self.outcomes, self.errors = [], []
        self.logic.clicks.follow(markups, self.onPoint)

    def onPoint(self, watched, point):
        try:
            outcome = self.logic.clicks.clickPoint(watched, point, self.ct, self.segmentationNode)
        except InputError as error:
            self.errors.append(str(error))
        else:
            self.outcomes.append(outcome)
            self.segmentationNode = outcome.segmentationNode


def drag(markups, index, position):
    """Move a point as a view does: in steps, and then let go of it."""
    for step in (0.5, 1.0):
        markups.SetNthControlPointPositionWorld(index, *(step * np.array(position)))
    markups.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)


def rows(markups):
    """Return labels and world positions of the points, rounded to 1 µm."""
    result = []
    for index in range(markups.GetNumberOfControlPoints()):
        position = [0.0, 0.0, 0.0]
        markups.GetNthControlPointPositionWorld(index, position)
        result.append((markups.GetNthControlPointLabel(index), tuple(np.round(position, 3))))
    return result


def rounded(position):
    return tuple(np.round(position, 3))


def test_a_placed_point_gets_the_vertebra_and_its_name(ct, whole, markups):
    panel = Panel(ct, markups, whole)
    markups.AddControlPointWorld(*middle(ct, "L1"))
    assert [outcome.name for outcome in panel.outcomes] == ["L1"]
    np.testing.assert_allclose(panel.worker.asked[0]["point"], middle(ct, "L1"), atol=1e-6)
    assert rows(markups) == [("L1", rounded(middle(ct, "L1")))]


def test_a_preview_counts_only_once_it_is_placed(ct, whole, markups):
    markups.AddControlPointWorld(0.0, 0.0, 0.0)
    markups.SetNthControlPointPositionWorld(0, 1.0, 2.0, 3.0, markups.PositionPreview)
    panel = Panel(ct, markups, whole)
    markups.SetNthControlPointPositionWorld(0, 4.0, 5.0, 6.0, markups.PositionPreview)
    assert panel.worker.asked == []
    markups.SetNthControlPointPositionWorld(0, *middle(ct, "L2"), markups.PositionDefined)
    assert rows(markups) == [("L2", rounded(middle(ct, "L2")))]


def test_a_dragged_point_counts_where_it_is_let_go_and_once(ct, whole, markups):
    panel = Panel(ct, markups, whole)
    markups.AddControlPointWorld(*middle(ct, "L1"))
    drag(markups, 0, middle(ct, "L3"))
    assert [outcome.name for outcome in panel.outcomes] == ["L1", "L3"]
    assert rows(markups) == [("L3", rounded(middle(ct, "L3")))]
    markups.InvokeEvent(slicer.vtkMRMLMarkupsNode.PointEndInteractionEvent)
    assert len(panel.outcomes) == 2


def test_a_refused_point_goes_away_and_a_refused_move_goes_back(ct, whole, markups):
    panel = Panel(ct, markups, whole)
    markups.AddControlPointWorld(*middle(ct, "L1"))
    before, placed = everything(whole, ct), rows(markups)
    far = tuple(np.add(middle(ct, "L1"), (400.0, 0.0, 0.0)))
    markups.AddControlPointWorld(*far)
    drag(markups, 0, far)
    assert len(panel.errors) == 2
    assert "no vertebra within 20 mm" in panel.errors[0]
    assert everything(whole, ct) == before
    assert rows(markups) == placed


def test_undo_and_redo_take_the_point_along(ct, markups):
    panel = Panel(ct, markups)
    states = []
    markups.AddControlPointWorld(*middle(ct, "L1"))
    node = panel.segmentationNode
    states.append(([], []))
    states.append((everything(node, ct), rows(markups)))
    panel.logic.clicks.rename(node, panel.outcomes[0].segmentId, "L1")
    states.append((everything(node, ct), rows(markups)))
    assert rows(markups)[0][0] == "L1"
    markups.AddControlPointWorld(*middle(ct, "L2"))
    states.append((everything(node, ct), rows(markups)))
    drag(markups, 0, middle(ct, "T12"))
    states.append((everything(node, ct), rows(markups)))
    assert [name for name, _ in rows(markups)] == ["T12", "L2"]
    for state in reversed(states[:-1]):
        panel.logic.undo()
        assert (everything(node, ct), sorted(rows(markups))) == (state[0], sorted(state[1]))
    for state in states[1:]:
        panel.logic.redo()
        assert (everything(node, ct), sorted(rows(markups))) == (state[0], sorted(state[1]))
    assert len(panel.outcomes) == 3


def test_points_placed_during_a_click_wait_for_their_turn(ct, whole, markups):
    panel = Panel(ct, markups, whole)
    answer = panel.worker.click
    running = []

    def click(*arguments):
        running.append(panel.logic.running)
        if markups.GetNumberOfControlPoints() < 3:
            level = ("L2", "L3")[markups.GetNumberOfControlPoints() - 1]
            markups.AddControlPointWorld(*middle(ct, level))
        return answer(*arguments)

    panel.worker.click = click
    markups.AddControlPointWorld(*middle(ct, "L1"))
    assert [outcome.name for outcome in panel.outcomes] == ["L1", "L2", "L3"]
    assert panel.errors == []


def test_an_event_can_be_dealt_with_later(ct, whole, markups):
    panel = Panel(ct, markups, whole)
    waiting = []
    panel.logic.clicks.follow(markups, panel.onPoint, waiting.append)
    markups.AddControlPointWorld(*middle(ct, "L1"))
    assert panel.outcomes == []
    for handle in waiting:
        handle()
    assert [outcome.name for outcome in panel.outcomes] == ["L1"]


def test_only_one_list_is_watched_and_old_points_are_left_alone(scene, ct, whole, markups):
    markups.AddControlPointWorld(*middle(ct, "L3"))
    panel = Panel(ct, markups, whole)
    other = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "other")
    panel.logic.clicks.follow(other, panel.onPoint)
    markups.AddControlPointWorld(*middle(ct, "L1"))
    assert panel.outcomes == []
    other.AddControlPointWorld(*middle(ct, "L1"))
    assert len(panel.outcomes) == 1
    panel.logic.clicks.follow(markups, panel.onPoint)
    markups.AddControlPointWorld(*middle(ct, "L2"))
    assert [outcome.name for outcome in panel.outcomes] == ["L1", "L2"]
    panel.logic.clicks.follow(None, panel.onPoint)
    markups.AddControlPointWorld(*middle(ct, "L1"))
    assert len(panel.outcomes) == 2


def test_a_new_list_of_points_is_shown_and_has_a_name_of_its_own(scene):
    first, second = (points.addPointsNode(scene, "Clicked vertebrae") for _ in range(2))
    assert first.GetDisplayNode() is not None
    assert first.GetName() != second.GetName()
    assert first.GetNumberOfControlPoints() == 0


def test_a_chooser_of_levels_is_told_what_the_segment_is(ct, whole, markups):
    logic = SegmentLogic(worker=FakeWorker())
    whole.GetSegmentation().GetSegment("L3").SetName("screw")
    logic.clicks.rename(whole, "T12", None)
    logic.clicks.click(ct, middle(ct, "L1"), whole, "body")
    ids = ("T12", "L1", "L1 body", "L3", "gone", "")
    assert [logic.clicks.levelOf(whole, i) for i in ids] == ["unsure", "L1", "L1", "", "", ""]
    assert logic.clicks.levelOf(None, "L1") == ""
