"""What FractureDetect shows of its networks: a map over the CT, and a vertebra's preview."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest
import slicer
from fracturecases import L1, L3, addPatient, atOnce, contents, lower, measured, patient
from FractureDetectLib.Logic import FractureLogic
from FractureDetectLib.Networks import MAP_ROLE
from nodecases import addTransform, obliqueAffine, rigid
from spineseg import fracture_look
from spineseg.errors import CancelledError, InputError, MemoryLimitError
from spineseg.volume import Volume
from SpineSegMRML import overlays, segmentations, stale, volumes
from SpineSegMRML.fracturelookjobs import PreviewDrawn
from SpineSegMRML.jobs import progressTo

CORNER = (-30.0, -20.0, 10.0)


class Quick:
    """Stands in for both child processes, and keeps what they were given."""

    def __init__(self, during=lambda: None):
        self.given = None
        self.during = during

    def map(self, volume, vertebrae, settings=None, onProgress=None, token=None):
        """Answer with a small block of 80 % where the world's RAS says."""
        self.given = (volume, vertebrae, settings)
        progressTo(onProgress, token)("voxels", 0.5, "patch")
        self.during()
        affine = np.eye(4)
        affine[:3, 3] = CORNER
        return Volume(np.full((6, 5, 4), 80, np.uint8), affine)

    def preview(
        self, volume, segmentation, vertebrae, label, settings=None, onProgress=None, token=None
    ):
        """Answer without pictures."""
        self.given = (volume, segmentation, vertebrae, label)
        progressTo(onProgress, token)("preview", 0.5, "drawing")
        self.during()
        folder = tempfile.TemporaryDirectory()
        amounts = fracture_look.AMOUNTS
        return PreviewDrawn("L1", amounts, tuple(np.linspace(0, 1, len(amounts))), folder)


@pytest.fixture
def quick():
    return Quick()


@pytest.fixture
def nodes(scene):
    """The CT and its vertebrae, in a scene with two slice views."""
    for name in ("Red", "Yellow"):
        composite = slicer.vtkMRMLSliceCompositeNode()
        composite.SetLayoutName(name)
        scene.AddNode(composite)
    return addPatient(scene)


@pytest.fixture
def logic(nodes, quick):
    """A Logic that has searched."""
    logic = FractureLogic(atOnce)
    logic.networks.mapper, logic.networks.previewer = quick.map, quick.preview
    logic.search(*nodes)
    return logic


def layers(scene):
    """Return what lies over what in each slice view."""
    found = scene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    views = [found.GetItemAsObject(i) for i in range(found.GetNumberOfItems())]
    return {(v.GetBackgroundVolumeID(), v.GetForegroundVolumeID()) for v in views}


def test_the_map_lies_over_the_ct_and_can_be_hidden(application, scene, logic, nodes, quick):
    ct, vertebrae = nodes
    reports = []
    assert logic.networks.validateMap(vertebrae) == ""
    looked = logic.networks.makeMap(vertebrae, "cpu", reports.append)
    assert reports[0].stage == "voxels"
    volume, where, settings = quick.given
    np.testing.assert_allclose(volume.affine, patient().ct.affine)
    assert settings == {"device": "cpu"}
    whole = {b.label: b.centre for b in measured().bodies if not b.problem}
    assert {label for label, _ in where} == set(whole)
    assert all(np.array_equal(place, whole[label]) for label, place in where)
    node = looked.mapNode
    assert node is logic.networks.mapOf(vertebrae)
    assert node.GetName() == "ct fracture probability"
    back = volumes.volumeFromNode(node)
    assert (back.shape, back.array.max()) == ((6, 5, 4), 80)
    np.testing.assert_allclose(back.affine[:3, 3], CORNER)
    assert layers(scene) == {(ct.GetID(), node.GetID())}
    assert logic.networks.isShown(vertebrae)
    assert logic.networks.isFresh(vertebrae)
    assert "often wrong" in looked.summary()
    hierarchy = application.subjectHierarchy()
    parents = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(n)) for n in (ct, node)}
    assert len(parents) == 1
    logic.networks.setShown(vertebrae, False)
    assert layers(scene) == {(ct.GetID(), None)}
    assert not logic.networks.isShown(vertebrae)
    logic.networks.setShown(vertebrae, True)
    assert layers(scene) == {(ct.GetID(), node.GetID())}


def test_its_colours_are_transparent_below_half(scene, logic, nodes):
    node = logic.networks.makeMap(nodes[1]).mapNode
    display = node.GetDisplayNode()
    table = display.GetColorNode()
    assert table is overlays.probabilityColors(scene)
    opacity = [table.GetLookupTable().GetTableValue(n)[3] for n in range(101)]
    assert opacity == [0.0] * 50 + [1.0] * 51
    assert table.GetLookupTable().GetTableValue(100)[0] == pytest.approx(1.0)
    assert display.GetApplyThreshold()
    assert (display.GetLowerThreshold(), display.GetUpperThreshold()) == (50, 100)
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 100)


def test_a_second_map_takes_the_place_of_the_first(application, scene, logic, nodes):
    first = logic.networks.makeMap(nodes[1]).mapNode
    before = contents(application)
    second = logic.networks.makeMap(nodes[1]).mapNode
    assert contents(application) == before
    assert first.GetScene() is None
    assert layers(scene) == {(nodes[0].GetID(), second.GetID())}


def test_under_a_transform_it_lies_in_the_world_and_moves_along(scene, nodes, quick):
    ct, vertebrae = nodes
    turn = rigid(obliqueAffine())
    transform = addTransform(scene, ct, turn)
    vertebrae.SetAndObserveTransformNodeID(transform.GetID())
    logic = FractureLogic(atOnce)
    logic.networks.mapper = quick.map
    logic.search(ct, vertebrae)
    node = logic.networks.makeMap(vertebrae).mapNode
    np.testing.assert_allclose(quick.given[0].affine, turn @ patient().ct.affine, atol=1e-6)
    np.testing.assert_allclose(volumes.volumeFromNode(node).affine[:3, 3], CORNER, atol=1e-6)
    assert node.GetTransformNodeID() == transform.GetID()
    transform.SetMatrixTransformToParent(volumes.arrayToMatrix(np.eye(4)))
    own = np.linalg.inv(turn) @ [*CORNER, 1]
    np.testing.assert_allclose(volumes.volumeFromNode(node).affine[:3, 3], own[:3], atol=1e-6)


def test_an_edit_makes_it_old_and_a_search_removes_it(scene, logic, nodes):
    vertebrae = nodes[1]
    node = logic.networks.makeMap(vertebrae).mapNode
    logic.search(*nodes)  # the same vertebrae again
    assert logic.networks.isFresh(vertebrae)
    logic.networks.makePreview(vertebrae, "L1")
    watch = stale.EditWatch(scene)
    vertebrae.GetSegmentation().RemoveSegment("T10")
    watch.stop()
    assert node.GetName() in stale.outOfDate(vertebrae, "FractureDetect")
    assert not logic.networks.isFresh(vertebrae)
    text = "The segmentation was edited since it was searched: search again."
    assert logic.networks.validateMap(vertebrae) == text
    assert logic.networks.validatePreview(vertebrae, "L1") == text
    assert logic.networks.previewOf(vertebrae, "L1") is None
    with pytest.raises(InputError, match="edited since"):
        logic.networks.makeMap(vertebrae)
    logic.search(*nodes)
    assert logic.networks.mapOf(vertebrae) is None
    assert node.GetScene() is None
    assert layers(scene) == {(nodes[0].GetID(), None)}
    assert stale.outOfDate(vertebrae) == []
    assert logic.networks.previewOf(vertebrae, "L1") is None


def test_an_edit_that_nobody_watched_is_noticed(logic, nodes):
    nodes[1].GetSegmentation().RemoveSegment("T10")
    for make in (logic.networks.makeMap, lambda n: logic.networks.makePreview(n, "L1")):
        with pytest.raises(InputError, match="edited or moved since it was searched. Search again"):
            make(nodes[1])
    assert nodes[1].GetNodeReference(MAP_ROLE) is None


def test_a_preview_is_kept_for_its_vertebra(application, logic, nodes, quick):
    vertebrae = nodes[1]
    before = contents(application)
    looked = logic.networks.makePreview(vertebrae, "L1")
    volume, mask, where, label = quick.given
    assert label == L1
    np.testing.assert_array_equal(mask.array, patient().vertebrae.array)
    np.testing.assert_allclose(mask.affine, volume.affine)
    assert [n for n, _ in where] == [body.label for body in measured().bodies]
    assert contents(application) == before
    assert "imagines" in looked.summary()
    drawn = logic.networks.previewOf(vertebrae, "L1")
    assert drawn is looked.preview
    assert logic.networks.previewOf(vertebrae, "L3") is None
    assert [drawn.nearest(a) for a in (-2.0, -0.3, 0.0, 1.7)] == [0, 3, 4, 7]
    lower(vertebrae, L3)
    logic.refresh(vertebrae)  # points that were moved change nothing of what a network sees
    assert logic.networks.previewOf(vertebrae, "L1") is drawn
    logic.close()
    assert logic.networks.previewOf(vertebrae, "L1") is None


def test_what_can_not_be_drawn_says_why(scene, logic, nodes, monkeypatch, tmp_path):
    networks, vertebrae = logic.networks, nodes[1]
    assert networks.validatePreview(None, "L1") == "Search for fractures first."
    assert networks.validateMap(scene.AddNewNodeByClass("vtkMRMLSegmentationNode")) != ""
    assert networks.validatePreview(vertebrae, "") == "Choose a vertebra in the table."
    assert networks.validatePreview(vertebrae, "L1") == ""
    assert networks.validatePreview(vertebrae, "T9").startswith("T9 is not evaluable: its body")
    with monkeypatch.context() as patch:
        patch.setenv("SPINESEG_MODELS", str(tmp_path))
        assert "weights of “spine-vae” are missing" in networks.validatePreview(vertebrae, "L1")
        assert "weights of “fracture-voxels” are" in networks.validateMap(vertebrae)
    segmentation = vertebrae.GetSegmentation()
    for old, new in (("T10", "C7"), ("L3", "unsure 1")):
        segmentation.GetSegment(old).SetName(new)
    logic.search(*nodes)
    assert networks.validatePreview(vertebrae, "C7") == "The network learned no cervical vertebra."
    assert networks.validatePreview(vertebrae, "unsure 1").startswith("Its level is unsure")
    with pytest.raises(InputError, match="level is unsure"):
        networks.makePreview(vertebrae, "unsure 1")
    segmentations.removeNode(nodes[0])
    assert "not in the scene any more" in networks.validateMap(vertebrae)


@pytest.mark.parametrize("which", ["map", "preview"])
def test_cancel_errors_and_edits_leave_the_scene_as_it_was(
    application, scene, logic, nodes, quick, which
):
    networks, vertebrae = logic.networks, nodes[1]

    def make(**more):
        if which == "map":
            return networks.makeMap(vertebrae, **more)
        return networks.makePreview(vertebrae, "L1", **more)

    before = contents(application), layers(scene)
    with pytest.raises(CancelledError):
        make(onProgress=lambda _: logic.cancel())

    def fail():
        raise MemoryLimitError("There is not enough memory.", "Close other programs.")

    quick.during = fail
    with pytest.raises(MemoryLimitError):
        make()
    quick.during = lambda: make()
    with pytest.raises(InputError, match="A run is under way"):
        make()
    assert (contents(application), layers(scene)) == before
    quick.during = lambda: vertebrae.GetSegmentation().RemoveSegment("L3")
    with pytest.raises(InputError, match="edited or moved"):
        make()
    logic.search(*nodes)
    quick.during = lambda: segmentations.removeNode(vertebrae)
    with pytest.raises(CancelledError, match="segmentation was closed"):
        make()
    assert layers(scene) == before[1]
    assert not logic.running
    assert networks.previewOf(vertebrae, "L1") is None


def test_it_comes_back_with_the_scene(scene, logic, nodes, tmp_path):
    logic.networks.makeMap(nodes[1])
    path = str(tmp_path / "scene.mrb")
    scene.SetURL(path)
    assert scene.WriteToMRB(path)
    scene.Clear(False)
    assert scene.ReadFromMRB(path)
    node = scene.GetFirstNodeByName("vertebrae")
    assert logic.networks.isFresh(node)
    back = logic.networks.mapOf(node)
    assert volumes.volumeFromNode(back).array.max() == 80
    assert back.GetDisplayNode().GetColorNode().GetName() == "SpineSeg probability"
    logic.networks.setShown(node, False)
    assert not logic.networks.isShown(node)


def test_the_real_networks_in_their_own_process(scene, nodes):
    ct, vertebrae = nodes
    segmentation = vertebrae.GetSegmentation()
    for name in set(segmentation.GetSegmentIDs()) - {"T12", "L1", "L2"}:  # to be quick
        segmentation.RemoveSegment(name)
    logic = FractureLogic(atOnce)
    logic.search(ct, vertebrae)
    stages = set()
    looked = logic.networks.makeMap(vertebrae, onProgress=lambda r: stages.add(r.stage))
    assert {"read", "voxels"} <= stages
    percent = volumes.volumeFromNode(looked.mapNode)
    assert percent.spacing == pytest.approx((1.0, 1.0, 1.0))
    near = {b.name: percent.ras_to_ijk(b.centre[None])[0][::-1] for b in measured().bodies}
    bright = {}
    for name in ("L1", "L2"):
        k, j, i = np.rint(near[name]).astype(int)
        bright[name] = percent.array[k - 4 : k + 5, j - 4 : j + 5, i - 4 : i + 5].mean()
    assert bright["L1"] > 60  # the fractured one
    assert bright["L1"] > 1.5 * bright["L2"]
    drawn = logic.networks.makePreview(vertebrae, "L1").preview
    assert drawn.amounts == fracture_look.AMOUNTS
    score = measured().scores[L1].vae
    assert drawn.probabilities[4] == pytest.approx(score, abs=0.02)
    assert drawn.probabilities[0] < 0.5 < drawn.probabilities[-1]
    files = [drawn.sways, *(drawn.step(n) for n in range(9))]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files)
    assert len({path.read_bytes() for path in files}) == 10
