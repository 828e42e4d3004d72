"""The Logic of FractureDetect: a search, and what it puts beside the CT."""

from __future__ import annotations

import functools
import json
from dataclasses import replace

import numpy as np
import pytest
import tinyworker
from fracturecases import (  # fmt: skip
    CUT,
    L1,
    L3,
    WHOLE,
    WORKER,
    addPatient,
    atOnce,
    cells,
    contents,
    grades,
    lower,
    measured,
    patient,
)
from FractureDetectLib import Points
from FractureDetectLib.Logic import FractureLogic
from FractureDetectLib.SelfTest import runSelfTest
from FractureDetectLib.Views import GRADE_COLORS
from nodecases import addTransform, obliqueAffine, rigid
from spineseg import registry
from spineseg.errors import CancelledError, InputError
from spineseg.measure.bone_density import METAL_HU
from SpineSegMRML import fracturejobs, segmentations, volumes


@pytest.fixture
def logic():
    return FractureLogic(atOnce)


@pytest.fixture
def nodes(scene):
    """The CT and its vertebrae."""
    return addPatient(scene)


def test_a_ct_becomes_a_table_through_the_real_worker(application, nodes):
    reports = []
    outcome = FractureLogic().search(*nodes, onProgress=reports.append)
    table = outcome.tableNode
    assert tuple(cells(table, "level")) == (*CUT[:3], *WHOLE, CUT[3])
    assert set(cells(table, "level")) == set(segmentations.vertebraeIn(nodes[1]))
    assert cells(table, "grade")["L1"] == "3 severe"
    assert cells(table, "type")["L1"] == "wedge"
    assert cells(table, "grade")["T9"] == "not evaluable"
    assert "cut by the edge of the scan" in cells(table, "evidence")["T9"]
    assert cells(table, "anterior_mm")["T9"] == ""
    body = next(b for b in measured().bodies if b.name == "L1")
    # The scan went through a file, whose affine is rounded.
    assert float(cells(table, "anterior_mm")["L1"]) == pytest.approx(
        body.heights_mm["anterior"], abs=0.06
    )
    assert table.GetColumnTitle("anterior_mm") == "Front (mm)"
    assert table.GetColumnUnitLabel("hu_mean") == "HU"
    assert float(cells(table, "probability")["L1"]) > 90
    assert "against its neighbours" in cells(table, "evidence")["L1"]
    assert {name for name, text in cells(table, "suspect").items() if text} == {"L1"}
    assert outcome.summary().startswith(
        "Suspects among 7 vertebrae that can be graded: L1 (grade 3, wedge)."
    )
    assert outcome.warnings == ["Not evaluable: T7, T8, T9, L5; the table says why."]
    assert outcome.seconds > 0
    assert {"read", "measure"} <= {report.stage for report in reports}
    hierarchy = application.subjectHierarchy()
    items = [hierarchy.GetItemByDataNode(node) for node in (nodes[0], table)]
    assert items[1]
    assert len({hierarchy.GetItemParent(item) for item in items}) == 1
    assert table.GetName() == "ct fractures"


def test_points_are_named_coloured_and_where_they_were_measured(application, logic, nodes):
    outcome = logic.search(*nodes)
    lists = Points.listsOf(nodes[1])
    assert [node.GetName() for node in lists.values()] == list(WHOLE)
    truth = {body.label: body.points for body in measured().bodies if body.points is not None}
    for label, node in lists.items():
        np.testing.assert_allclose(Points.sixOf(node), truth[label][1])
        assert not node.GetLocked()
        assert node.GetNthControlPointLabel(3) == f"{node.GetName()} lower anterior"
    colour = {label: node.GetDisplayNode().GetSelectedColor() for label, node in lists.items()}
    np.testing.assert_allclose(colour[L1], GRADE_COLORS[3])
    np.testing.assert_allclose(colour[L3], GRADE_COLORS[0])
    sides = Points.sidesOf(nodes[1])
    assert sides.GetLocked()
    assert sides.GetNumberOfControlPoints() == 12 * len(WHOLE)
    assert sides.GetNthControlPointLabel(6) == "T10 right upper anterior"
    hierarchy = application.subjectHierarchy()
    parents = {
        hierarchy.GetItemParent(hierarchy.GetItemByDataNode(n)) for n in (*lists.values(), sides)
    }
    assert [hierarchy.GetItemName(parent) for parent in parents] == ["vertebrae height points"]
    logic.showPoints = logic.showSides = False
    logic.refresh(nodes[1])
    assert not any(node.GetDisplayVisibility() for node in (*lists.values(), sides))
    assert outcome.tableNode is logic.tableOf(nodes[1])


def test_suspects_are_coloured_over_the_segments_own_colours(logic, nodes):
    segmentation, display = nodes[1].GetSegmentation(), nodes[1].GetDisplayNode()
    before = segmentation.GetSegment("L1").GetColor()
    logic.search(*nodes)
    np.testing.assert_allclose(display.GetSegmentOverrideColor("L1"), GRADE_COLORS[3])
    assert min(display.GetSegmentOverrideColor("L3")) < 0  # none
    assert segmentation.GetSegment("L1").GetColor() == before
    logic.colorSuspects = False
    logic.refresh(nodes[1])
    assert min(display.GetSegmentOverrideColor("L1")) < 0


def test_without_a_segmentation_the_ct_is_segmented_first(scene, nodes, monkeypatch):
    monkeypatch.setattr(registry, "METHODS", tinyworker.METHODS)
    ct, vertebrae = nodes
    segmentations.removeNode(vertebrae)
    logic = FractureLogic(functools.partial(fracturejobs.fracturesInChild, command=WORKER))
    outcome = logic.search(ct, method=tinyworker.WORKS)
    node = outcome.segmentationNode
    assert node.GetName() == "ct vertebrae"
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["L1", "unsure 1"]
    assert "The lowest level is unsure." in outcome.warnings
    assert [f.level for f in outcome.findings] == ["L1", "unsure 1"]
    back, _ = segmentations.labelVolumeFromNode(node, ct)
    assert (back.array > 0).any()
    assert logic.isSearched(node)


def test_cancel_leaves_the_scene_as_it_was(application, nodes, monkeypatch):
    monkeypatch.setattr(registry, "METHODS", tinyworker.METHODS)
    before = contents(application)
    command = functools.partial(fracturejobs.fracturesInChild, command=WORKER)
    logic = FractureLogic(command)
    with pytest.raises(CancelledError):
        logic.search(nodes[0], method=tinyworker.SLOW, onProgress=lambda _: logic.cancel())
    assert contents(application) == before
    assert not logic.running


@pytest.mark.parametrize("again", [False, True])
def test_a_failure_while_showing_takes_everything_out_again(
    application, logic, nodes, monkeypatch, again
):
    if again:
        logic.search(*nodes)
        lower(nodes[1], L3)
        logic.refresh(nodes[1])
    before, sixes = contents(application), Points.sixesOf(nodes[1])

    def broken(*_):
        raise RuntimeError("no table")

    with monkeypatch.context() as patch:
        patch.setattr("FractureDetectLib.Logic.tables.setRows", broken)
        with pytest.raises(RuntimeError, match="no table"):
            logic.search(*nodes, keepEdits=False)
    assert contents(application) == before
    assert logic.isSearched(nodes[1]) == again
    now = Points.sixesOf(nodes[1])
    assert set(now) == set(sixes)
    assert all(np.array_equal(now[label], six) for label, six in sixes.items())


def test_a_failure_after_segmenting_leaves_no_segmentation(application, logic, nodes, monkeypatch):
    segmentations.removeNode(nodes[1])
    before = contents(application)

    def broken(*_):
        raise RuntimeError("no table")

    monkeypatch.setattr("FractureDetectLib.Logic.tables.setRows", broken)
    with pytest.raises(RuntimeError, match="no table"):
        logic.search(nodes[0])
    assert contents(application) == before


def test_what_changes_during_a_search_ends_it(scene, nodes):
    def painting(volume, *rest, **more):
        nodes[1].GetSegmentation().RemoveSegment("L3")
        return atOnce(volume, *rest, **more)

    with pytest.raises(InputError, match="edited during the search"):
        FractureLogic(painting).search(*nodes)

    def removing(volume, *rest, **more):
        segmentations.removeNode(nodes[1])
        return measured()

    with pytest.raises(CancelledError, match="segmentation was closed"):
        FractureLogic(removing).search(*nodes)

    def closing(volume, *rest, **more):
        scene.Clear(True)
        return measured()

    with pytest.raises(CancelledError, match="closed while"):
        FractureLogic(closing).search(nodes[0])
    assert scene.GetFirstNodeByClass("vtkMRMLMarkupsNode") is None


def test_bad_input_is_refused_in_a_sentence(scene, logic, nodes):
    ct, vertebrae = nodes
    assert logic.validate(None) == "Choose a CT volume."
    assert logic.validate(ct) == ""
    assert logic.validate(ct, vertebrae) == ""
    one = volumes.addVolumeNode(scene, patient().ct.crop((0, 0, 0), (1, 90, 40)), "slice")
    assert "single slice" in logic.validate(one)
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    assert "“empty” is empty." in logic.validate(ct, empty)
    far = obliqueAffine()
    far[:3, 3] += 4000
    away = volumes.addVolumeNode(scene, patient().ct.like(patient().ct.array), "away")
    addTransform(scene, away, rigid(far))
    text = "“vertebrae” does not lie in “away”: choose the segmentation of this CT."
    assert logic.validate(away, vertebrae) == text
    with pytest.raises(InputError, match="does not lie in"):
        logic.search(away, vertebrae)
    air = volumes.addVolumeNode(
        scene, patient().ct.like(np.full_like(patient().ct.array, -900)), "air"
    )
    with pytest.raises(InputError, match="does not match the CT"):
        FractureLogic().search(air, vertebrae)
    for name in list(vertebrae.GetSegmentation().GetSegmentIDs()):
        vertebrae.GetSegmentation().GetSegment(name).SetName(f"my {name}")
    assert "holds no segment that is called as a vertebra" in logic.validate(ct, vertebrae)
    assert not logic.isSearched(vertebrae)


def test_warnings_and_absent_vertebrae_are_told(scene, logic, nodes):
    ct, vertebrae = nodes
    array = patient().ct.array.copy()
    centre = next(b for b in patient().chain.bodies if b.name == "L3").centre
    i, j, k = np.rint(patient().ct.ras_to_ijk(centre[None])[0]).astype(int)
    array[k - 2 : k + 3, j - 2 : j + 3, i - 2 : i + 3] = METAL_HU + 500
    volumes.setVolume(ct, patient().ct.like(array))
    vertebrae.GetSegmentation().AddEmptySegment("T5", "T5")
    outcome = logic.search(ct, vertebrae)
    assert any("Metal or cement in L3" in text for text in outcome.warnings)
    assert "Not in the CT, or empty: T5." in outcome.warnings
    assert cells(outcome.tableNode, "hu_mean")["L3"] == ""
    assert "HU: metal or cement" in cells(outcome.tableNode, "evidence")["L3"]


def test_under_a_transform_all_lies_in_the_world(scene, logic, nodes):
    ct, vertebrae = nodes
    turn = rigid(obliqueAffine())
    transform = addTransform(scene, ct, turn)
    vertebrae.SetAndObserveTransformNodeID(transform.GetID())
    outcome = logic.search(ct, vertebrae)
    straight = {b.name: b.heights_mm for b in measured().bodies}
    body = next(f.graded.body for f in outcome.findings if f.level == "L3")
    for place, height in body.heights_mm.items():
        assert height == pytest.approx(straight["L3"][place], abs=0.8)
    node = Points.listsOf(vertebrae)[L3]
    position = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(4, position)
    np.testing.assert_allclose(position, body.points[1, 1, 1], atol=1e-6)
    # What moves along with the CT was not moved by a user.
    transform.SetMatrixTransformToParent(volumes.arrayToMatrix(np.eye(4)))
    assert logic.edited(vertebrae) == []
    assert grades(logic.refresh(vertebrae)) == grades(outcome)
    lower(vertebrae, L3)
    assert logic.edited(vertebrae) == ["L3"]
    assert grades(logic.refresh(vertebrae))["L3"] == 3


def test_files_are_those_of_the_command(logic, nodes, tmp_path):
    ct, vertebrae = nodes
    assert logic.validateExport(vertebrae, tmp_path) == "Search for fractures first."
    logic.search(ct, vertebrae)
    assert logic.validateExport(vertebrae, None) == "Choose a folder for the files."
    lower(vertebrae, L3)
    folder = logic.export(vertebrae, tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == {
        "report.html", "fractures.csv", "fractures.json", "run.json"
    }  # fmt: skip
    content = json.loads((folder / "fractures.json").read_text(encoding="utf-8"))
    rows = {row["level"]: row for row in content["vertebrae"]}
    assert (rows["L1"]["genant_grade"], rows["L3"]["genant_grade"]) == (3, 3)
    assert "its points were moved by hand" in rows["L3"]["evidence"]
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "Points moved by hand: L3." in html
    assert html.count("data:image/png") == 2
    assert "not a medical device" in html
    vertebrae.GetSegmentation().RemoveSegment("T11")
    with pytest.raises(InputError, match="edited or moved since it was searched"):
        logic.export(vertebrae, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    segmentations.removeNode(ct)
    assert "is not in the scene any more" in logic.validateExport(vertebrae, tmp_path)


def test_a_label_map_that_was_made_here_is_written_too(logic, nodes, tmp_path, monkeypatch):
    def made(volume, *rest, **more):
        found = atOnce(volume, None)
        return replace(found, state=replace(found.state, made=True))

    outcome = FractureLogic(made).search(nodes[0])
    folder = logic.export(outcome.segmentationNode, tmp_path / "out")
    assert (folder / "segmentation.nii.gz").is_file()


def test_the_modules_self_test_passes(scene, tmp_path):
    runSelfTest(scene, tmp_path / "files")
    assert (tmp_path / "files" / "fractures" / "fractures.json").is_file()
