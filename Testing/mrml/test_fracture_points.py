"""The points of FractureDetect: grades that follow them, undo, and what becomes of them later."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from fracturecases import L1, L3, WHOLE, addPatient, atOnce, cells, grades, lower, measured, patient
from FractureDetectLib import Points
from FractureDetectLib.Logic import FractureLogic
from nodecases import addTransform
from spineseg.errors import InputError
from SpineSegMRML import segmentations, volumes
from SpineSegMRML.volumes import matrixToArray


@pytest.fixture
def logic():
    return FractureLogic(atOnce)


@pytest.fixture
def nodes(scene, logic):
    """The CT and its vertebrae, searched."""
    found = addPatient(scene)
    logic.search(*found)
    return found


@pytest.fixture
def told(logic, nodes):
    """What the Logic told of each change, as the panel asks it."""
    outcomes = []
    logic.follow(nodes[1], lambda: outcomes.append(logic.refresh(nodes[1])))
    return outcomes


def sixOf(nodes, label):
    return Points.sixOf(Points.listsOf(nodes[1])[label])


def beginDrag(nodes, label):
    node = Points.listsOf(nodes[1])[label]
    node.InvokeEvent(node.PointStartInteractionEvent)


def test_the_grade_follows_a_point(logic, nodes, told):
    table = logic.tableOf(nodes[1])
    rows = table.GetNumberOfRows()
    lower(nodes[1], L3)
    assert len(told) == 1
    assert grades(told[0])["L3"] == 3
    assert cells(table, "grade")["L3"] == "3 severe"
    assert cells(table, "moved") == {**dict.fromkeys(cells(table, "moved"), ""), "L3": "moved"}
    assert "its points were moved by hand" in cells(table, "evidence")["L3"]
    assert table.GetNumberOfRows() == rows
    assert told[0].warnings[-1] == "Points moved by hand: L3."
    assert "L3 (grade 3, wedge)" in told[0].summary()
    assert min(nodes[1].GetDisplayNode().GetSegmentOverrideColor("L3")) >= 0
    assert logic.edited(nodes[1]) == ["L3"]


def test_undo_takes_back_one_drag_after_the_other(logic, nodes, told):
    found = sixOf(nodes, L3)
    assert not logic.canUndo
    beginDrag(nodes, L3)
    for share in (0.1, 0.2, 0.3):  # one drag moves the point many times
        lower(nodes[1], L3, share)
    once = sixOf(nodes, L3)
    beginDrag(nodes, L3)
    lower(nodes[1], L3, 0.5)
    beginDrag(nodes, L1)
    lower(nodes[1], L1, 0.1, place=2)
    assert logic.edited(nodes[1]) == ["L1", "L3"]
    logic.undo()
    assert logic.edited(nodes[1]) == ["L3"]
    logic.undo()
    np.testing.assert_array_equal(sixOf(nodes, L3), once)
    outcome = logic.undo()
    np.testing.assert_array_equal(sixOf(nodes, L3), found)
    assert outcome.moved == frozenset()
    assert grades(outcome)["L3"] == 0
    with pytest.raises(InputError, match="nothing to undo"):
        logic.undo()


def test_as_found_can_be_taken_back_too(logic, nodes, told):
    assert logic.validateAsFound(nodes[1]) == "Every point is where it was found."
    lower(nodes[1], L3)
    moved = sixOf(nodes, L3)
    assert logic.validateAsFound(nodes[1]) == ""
    assert grades(logic.asFound(nodes[1]))["L3"] == 0
    assert grades(logic.undo())["L3"] == 3
    np.testing.assert_array_equal(sixOf(nodes, L3), moved)
    assert logic.validateAsFound(None) == "Nothing was searched yet."


@pytest.mark.parametrize("keep", [True, False])
def test_a_second_search_keeps_or_replaces_what_was_moved(logic, nodes, told, keep):
    lower(nodes[1], L3)
    moved = sixOf(nodes, L3)
    table = logic.tableOf(nodes[1])
    outcome = logic.search(*nodes, keepEdits=keep)
    assert outcome.tableNode is table
    assert grades(outcome)["L3"] == (3 if keep else 0)
    assert np.array_equal(sixOf(nodes, L3), moved) == keep
    assert len(Points.listsOf(nodes[1])) == len(WHOLE)
    assert len(told) == 1  # the search itself is no user's change
    logic.undo()
    np.testing.assert_array_equal(sixOf(nodes, L3), moved)


def test_points_on_each_other_are_told_and_not_graded(logic, nodes, told):
    node = Points.listsOf(nodes[1])[L3]
    node.SetNthControlPointPosition(0, *sixOf(nodes, L3)[1, 0])
    assert grades(told[-1])["L3"] is None
    table = logic.tableOf(nodes[1])
    assert cells(table, "grade")["L3"] == "not evaluable"
    assert "moved onto each other" in cells(table, "evidence")["L3"]


def test_points_and_nodes_that_are_deleted(scene, logic, nodes, told):
    node = Points.listsOf(nodes[1])[L1]
    count = node.GetNumberOfControlPoints()
    node.RemoveNthControlPoint(0)  # refused: the number is fixed
    assert node.GetNumberOfControlPoints() == count
    node.SetFixedNumberOfControlPoints(False)
    node.RemoveNthControlPoint(0)
    assert grades(told[-1])["L1"] == 3  # as it was found
    assert logic.validateAsFound(nodes[1]) == ""
    logic.asFound(nodes[1])
    assert sixOf(nodes, L1).shape == (2, 3, 3)
    scene.RemoveNode(Points.listsOf(nodes[1])[L3])
    assert grades(told[-1])["L3"] == 0
    scene.RemoveNode(Points.sidesOf(nodes[1]))
    logic.asFound(nodes[1])
    assert len(Points.listsOf(nodes[1])) == len(WHOLE)
    assert Points.sidesOf(nodes[1]) is not None
    scene.RemoveNode(logic.tableOf(nodes[1]))
    logic.refresh(nodes[1])
    assert logic.tableOf(nodes[1]).GetNumberOfRows() == len(measured().bodies)
    lists = list(Points.listsOf(nodes[1]).values())
    count = len(told)
    logic.follow(nodes[1], lambda: told.append(None))
    scene.RemoveNode(nodes[1])
    assert told[count:] == [None]
    lists[0].SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    assert len(told) == count + 1
    assert not logic.canUndo


def test_a_scene_that_is_closed(scene, logic, nodes, told):
    lower(nodes[1], L3)
    scene.Clear(False)
    assert logic.watch.ownerNode is None
    assert not logic.canUndo
    logic.close()


def test_points_are_saved_with_the_scene_and_grades_follow_them_again(
    scene, logic, nodes, tmp_path
):
    lower(nodes[1], L3, 0.3)
    before = logic.refresh(nodes[1])
    path = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(path)
    scene.Clear(True)
    assert scene.ReadFromMRB(path)
    node = scene.GetFirstNodeByName("vertebrae")
    again = FractureLogic(atOnce)
    outcome = again.refresh(node)
    assert again.edited(node) == ["L3"]
    assert [f.to_json() for f in outcome.findings] == [f.to_json() for f in before.findings]
    assert outcome.tableNode.GetName() == "ct fractures"
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1
    told = []
    again.follow(node, lambda: told.append(again.refresh(node)))
    lower(node, L3, 0.4)
    assert grades(told[-1])["L3"] == 3
    assert grades(again.undo())["L3"] == grades(before)["L3"]
    assert grades(again.asFound(node))["L3"] == 0
    assert Points.listsOf(node)[L3].GetFixedNumberOfControlPoints()
    assert Points.sidesOf(node).GetLocked()
    folder = again.export(node, tmp_path / "out")
    assert (folder / "report.html").is_file()


def addView(scene, name):
    node = slicer.vtkMRMLSliceNode()
    node.SetLayoutName(name)
    return scene.AddNode(node)


def test_a_row_brings_the_views_to_its_vertebra(scene, logic, nodes):
    red, yellow = addView(scene, "Red"), addView(scene, "Yellow")
    crosshair = scene.AddNode(slicer.vtkMRMLCrosshairNode())
    body = next(b for b in measured().bodies if b.name == "L1")
    assert logic.jump(scene, nodes[1], "L1")
    np.testing.assert_allclose(crosshair.GetCrosshairRAS(), body.centre)
    for view in (red, yellow):
        np.testing.assert_allclose(matrixToArray(view.GetSliceToRAS())[:3, 3], body.centre)
    seen = matrixToArray(yellow.GetSliceToRAS())[:3, :3]
    np.testing.assert_allclose(seen[:, 0], -body.axes[:, 1])  # the front is on the left
    np.testing.assert_allclose(seen[:, 1], body.axes[:, 2])
    assert np.linalg.det(seen) == pytest.approx(1.0)
    # Its six points lie in that plane.
    away = (body.points[1].reshape(-1, 3) - body.centre) @ seen[:, 2]
    assert np.abs(away).max() < 1e-6
    logic.jump(scene, nodes[1], "L3", ownPlane=False)
    seen = matrixToArray(yellow.GetSliceToRAS())[:3, :3]
    np.testing.assert_allclose(seen, [[0, 0, -1], [-1, 0, 0], [0, 1, 0]])
    assert not logic.jump(scene, nodes[1], "C3")
    cut = next(b for b in measured().bodies if b.name == "T9")
    assert logic.jump(scene, nodes[1], "T9")  # not evaluable, but there
    np.testing.assert_allclose(crosshair.GetCrosshairRAS(), cut.centre)


def test_views_go_where_the_ct_was_moved_to(scene, logic, nodes):
    yellow = addView(scene, "Yellow")
    shift = np.eye(4)
    shift[:3, 3] = (5.0, -8.0, 40.0)
    addTransform(scene, nodes[0], shift)
    logic.jump(scene, nodes[1], "L1")
    body = next(b for b in measured().bodies if b.name == "L1")
    np.testing.assert_allclose(
        matrixToArray(yellow.GetSliceToRAS())[:3, 3], body.centre + shift[:3, 3]
    )


def test_two_segmentations_of_one_ct_keep_to_themselves(scene, logic, nodes):
    ct, first = nodes
    second = segmentations.addSegmentationNode(patient().vertebrae, ct, "second")
    logic.search(ct, second)
    lower(first, L3)
    assert logic.edited(first) == ["L3"]
    assert logic.edited(second) == []
    assert grades(logic.refresh(second))["L3"] == 0
    assert logic.tableOf(first) is not logic.tableOf(second)
    assert {node.GetName() for node in (logic.tableOf(first), logic.tableOf(second))} == {
        "ct fractures", "ct fractures_1",
    }  # fmt: skip
    assert volumes.volumeFromNode(ct).shape == patient().ct.shape
