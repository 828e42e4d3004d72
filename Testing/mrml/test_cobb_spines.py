"""Segmentations in the CobbAngle module: angles, endplate planes in 3D, tables and files."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from CobbAngleLib.Drawing import ALL, ENDS, NOTHING, planesOf
from CobbAngleLib.Logic import CobbLogic
from CobbAngleLib.SelfTest import runSelfTest
from nodecases import addTransform
from spineseg import cobb_tables
from spineseg.errors import CancelledError, InputError
from spineseg.labels import by_name
from spineseg.measure.spine_angles import measure_spine
from spineseg.phantom.chain import build_chain
from spineseg.phantom.generate import spine_canvas
from spineseg.phantom.settings import PhantomSettings
from spineseg.phantom.spine import draw_spine
from spineseg.volume import Volume
from SpineSegMRML import segmentations, volumes
from SpineSegMRML.cobbjobs import SpineFound

SETTINGS = PhantomSettings(
    cobb_deg=45.0, spacing_mm=3.0, levels=("T6", "L3"), margin_mm=(55.0, 70.0, 12.0), torso=False,
    degeneration=0.2,
)  # fmt: skip


def atOnce(volume, **_):
    """Answer like the child, without one."""
    return SpineFound(measure_spine(volume), 2.0)


@functools.cache
def patient():
    """A digital spine with a curve of 45°, and its label map."""
    chain = build_chain(SETTINGS, np.random.default_rng([22, 1]))
    canvas = spine_canvas(chain, SETTINGS)
    draw_spine(canvas, chain, SETTINGS, 0.2, np.random.default_rng(22))
    first, last = (by_name(name).verse for name in SETTINGS.levels)
    ids = np.where((canvas.ids >= first) & (canvas.ids <= last), canvas.ids, 0)
    return chain, Volume(ids.astype(np.uint8), canvas.affine)


@pytest.fixture
def spine(scene):
    """The digital patient's vertebrae as a segmentation node, alone in the scene."""
    volume = patient()[1]
    source = volumes.addVolumeNode(scene, volume.like(volume.array.astype(np.int16)), "ct")
    node = segmentations.addSegmentationNode(volume, source, "vertebrae")
    segmentations.removeNode(source)
    return node


def normalOf(planeNode):
    normal = [0.0, 0.0, 0.0]
    planeNode.GetNormalWorld(normal)
    return np.array(normal)


def test_planes_lie_on_the_digital_patients_endplates(application, spine):
    chain, _volume = patient()
    logic = CobbLogic()  # the real child process
    outcome = logic.spines.measure(spine, ALL)
    planes = planesOf(spine)
    assert len(planes) == 20
    assert len(outcome.planeNodes) == 20
    for name in ("T7", "T10", "L1"):
        body = chain.bodies[chain.index(name)]
        for which, upper in (("superior", True), ("inferior", False)):
            centre, normal = body.endplate(upper)
            plane = planes[f"{name} {which}"]
            assert normalOf(plane) @ normal > np.cos(np.radians(6.0))
            origin = [0.0, 0.0, 0.0]
            plane.GetOriginWorld(origin)
            assert np.linalg.norm(np.array(origin) - centre) < 6.0
            width, depth = plane.GetSizeWorld()
            assert 20 < width < 70
            assert 15 < depth < 60
            assert plane.GetLocked()
    hierarchy = application.subjectHierarchy()
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(n)) for n in planes.values()}
    assert [hierarchy.GetItemName(f) for f in folders] == ["vertebrae endplate planes"]


def test_tables_and_files_are_the_librarys(spine, tmp_path):
    logic = CobbLogic(spineRunner=atOnce)
    expected = measure_spine(patient()[1])
    outcome = logic.spines.measure(spine)
    assert outcome.angles.to_json() == expected.to_json()
    assert outcome.angles.coronal.angle_deg == pytest.approx(45, abs=6)
    for node, wanted in (
        (outcome.anglesNode, cobb_tables.spine_angles(expected)),
        (outcome.vertebraeNode, cobb_tables.spine_vertebrae(expected)),
    ):
        assert node.GetNumberOfRows() == len(wanted)
        for r, truth in enumerate(wanted):
            for key, value in truth.items():
                cell = node.GetCellText(r, node.GetColumnIndex(key))
                if isinstance(value, float):
                    assert float(cell) == pytest.approx(value)
                elif value is not None:
                    assert cell == str(value)
    assert "Coronal Cobb" in outcome.summary()
    assert logic.spines.validateExport(spine, None) == "Choose a folder for the files."
    folder = logic.spines.export(spine, tmp_path / "out", {"view.png": b"seen"})
    content = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert content == json.loads(json.dumps(expected.to_json()))
    assert {path.name for path in folder.iterdir()} == {
        "result.json", "report.html", "run.json", "angles.csv", "vertebrae.csv", "report.txt",
        "coronal.png", "sagittal.png", "view.png",
    }  # fmt: skip
    text = (folder / "report.txt").read_bytes().decode("ascii")
    assert f"Coronal Cobb: {expected.coronal.angle_deg:.1f} deg" in text
    assert "Axial rotation of T10:" in text


def test_the_planes_that_are_chosen_are_shown(spine):
    logic = CobbLogic(spineRunner=atOnce)
    ends = logic.spines.measure(spine, ENDS).angles.coronal.named(
        measure_spine(patient()[1]).levels
    )
    shown = planesOf(spine)
    assert f"{ends['upper_end']} superior" in shown
    assert f"{ends['lower_end']} inferior" in shown
    assert len(shown) < 10
    assert len(logic.spines.showPlanes(spine, ALL)) == len(planesOf(spine)) == 20
    assert logic.spines.showPlanes(spine, NOTHING) == []
    assert planesOf(spine) == {}


def test_a_segmentation_under_a_transform_is_measured_where_it_lies(scene, spine):
    logic = CobbLogic(spineRunner=atOnce)
    before = logic.spines.measure(spine).angles
    turn = np.eye(4)
    turn[:2, :2] = [[0, -1], [1, 0]]  # a quarter turn about the body's axis
    addTransform(scene, spine, turn)
    logic = CobbLogic(spineRunner=atOnce)
    after = logic.spines.measure(spine, ALL).angles
    # What was seen from behind is seen from the side now.
    assert abs(after.coronal.angle_deg - before.coronal.angle_deg) > 5
    volume = patient()[1]
    assert after.to_json() == measure_spine(Volume(volume.array, turn @ volume.affine)).to_json()
    frame = after.vertebrae[4]
    plane = planesOf(spine)[f"{frame.name} superior"]
    np.testing.assert_allclose(normalOf(plane), frame.upper.normal, atol=1e-6)
    origin = [0.0, 0.0, 0.0]
    plane.GetOriginWorld(origin)
    np.testing.assert_allclose(origin, frame.upper.centre, atol=1e-6)


def test_segments_of_other_names_do_not_count(spine):
    logic = CobbLogic(spineRunner=atOnce)
    spine.GetSegmentation().GetSegment("T6").SetName("my tumour")
    outcome = logic.spines.measure(spine)
    assert "T6" not in [f.name for f in outcome.angles.vertebrae]
    assert [f.name for f in outcome.angles.vertebrae][0] == "T7"
    assert len(outcome.angles.vertebrae) == 9


def test_what_was_edited_since_is_not_written_as_measured(spine, tmp_path):
    logic = CobbLogic(spineRunner=atOnce)
    assert logic.spines.validateExport(spine, tmp_path) == "Measure the segmentation first."
    logic.spines.measure(spine)
    spine.GetSegmentation().RemoveSegment("T8")
    with pytest.raises(InputError, match="edited or moved since it was measured"):
        logic.spines.export(spine, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    again = logic.spines.measure(spine)
    assert "T8" not in [f.name for f in again.angles.vertebrae]
    assert (logic.spines.export(spine, tmp_path / "out") / "result.json").is_file()


def test_cancel_edits_and_a_closed_scene_during_a_run(scene, spine):
    logic = CobbLogic()
    count = scene.GetNumberOfNodes()
    with pytest.raises(CancelledError):
        logic.spines.measure(spine, onProgress=lambda report: logic.cancel())
    assert scene.GetNumberOfNodes() == count

    def editing(volume, **_):
        spine.GetSegmentation().RemoveSegment("T8")
        return atOnce(volume)

    with pytest.raises(InputError, match="edited while it was measured"):
        CobbLogic(spineRunner=editing).spines.measure(spine)

    def closing(volume, **_):
        scene.Clear(True)
        return atOnce(volume)

    with pytest.raises(CancelledError, match="closed while"):
        CobbLogic(spineRunner=closing).spines.measure(spine)
    assert scene.GetFirstNodeByClass("vtkMRMLMarkupsPlaneNode") is None


def test_bad_input_is_refused_in_a_sentence(scene, spine):
    logic = CobbLogic(spineRunner=atOnce)
    assert logic.spines.validate(spine) == ""
    assert logic.spines.validate(None) == "Choose a segmentation of vertebrae."
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    assert "“empty” is empty." in logic.spines.validate(empty)
    for name in list(spine.GetSegmentation().GetSegmentIDs())[1:]:
        spine.GetSegmentation().RemoveSegment(name)
    reason = logic.spines.validate(spine)
    assert "called as vertebrae (L1, L2 …): 1, but an angle needs two" in reason
    with pytest.raises(InputError, match="an angle needs two"):
        logic.spines.measure(spine)


def test_the_modules_self_test_passes(scene, tmp_path):
    runSelfTest(scene, tmp_path / "files")
    assert (tmp_path / "files" / "film" / "result.json").is_file()
    assert (tmp_path / "files" / "spine" / "result.json").is_file()


def test_rigidly_moved_grids_agree(scene, spine):
    logic = CobbLogic(spineRunner=atOnce)
    moved = np.eye(4)
    moved[:3, 3] = (30.0, -12.0, 7.0)
    before = logic.spines.measure(spine).angles
    addTransform(scene, spine, moved)
    after = logic.spines.measure(spine).angles
    assert after.coronal.angle_deg == pytest.approx(before.coronal.angle_deg, abs=0.01)
    np.testing.assert_allclose(
        after.vertebrae[0].centre, before.vertebrae[0].centre + moved[:3, 3], atol=0.02
    )
