"""The home module: what it says of the installation, and the way of one case."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer
from panelcases import SegmentCase, Steps
from spineseg.errors import InputError
from spineseg.io.images import read_volume
from spineseg.io.segmentations import read_seg_nrrd
from spineseg.phantom import PhantomSettings, generate
from SpineSegMRML import casefolder, dependencies, guide, samples, segmentations, stale


@pytest.fixture
def scene(application):
    return application.scene


@pytest.fixture
def panel(openPanel):
    return openPanel("SpineSegExtension")


@pytest.fixture
def selected(openPanel, monkeypatch):
    """Modules open as the application opens them; the names of those that were asked for."""
    names = []

    def select(name):
        if name not in names:
            openPanel(name)
        names.append(name)

    monkeypatch.setattr(slicer.util, "selectModule", select)
    return names


def now(panel):
    """Return the steps that are in bold."""
    labels = [(name, getattr(panel.ui, f"{name}Label").text) for name in guide.STEPS]
    return [name for name, text in labels if text.startswith("<b>")]


def test_it_names_what_is_installed_and_offers_nothing_to_install(panel):
    for name, version in dependencies.versions().items():
        assert f"{name}: {version}" in panel.ui.statusLabel.text
    assert "Weights vertebra-fine: sound" in panel.ui.statusLabel.text
    assert "Graphics card: " in panel.ui.statusLabel.text
    assert "sha256" in panel.ui.statusLabel.toolTip
    assert "Apache-2.0" in panel.ui.statusLabel.toolTip
    assert not panel.ui.installButton.enabled
    assert panel.ui.installButton.toolTip == "Everything is installed."


def test_what_is_missing_is_installed_with_one_button(panel, monkeypatch):
    absent = dependencies.Package("no_such_module", "no-such-package>=1", 30)
    asked, installed = [], []
    monkeypatch.setattr(dependencies, "missing", lambda packages=(): [absent])
    monkeypatch.setattr(dependencies, "install", lambda packages, *_: installed.extend(packages))
    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", lambda text: asked.append(text) or True
    )
    panel.update()
    assert panel.ui.installButton.enabled
    assert "no-such-package" in panel.ui.installButton.toolTip
    panel.ui.installButton.click()
    assert len(asked) == 1
    assert installed == [absent]


def test_the_way_of_one_case_from_the_sample_to_the_folder(
    panel, scene, selected, tmp_path, messages, monkeypatch
):
    ui = panel.ui
    monkeypatch.setattr(slicer.util, "setSliceViewerLayers", lambda **_: None)
    assert now(panel) == ["open"]
    assert not ui.exportButton.enabled
    assert ui.exportButton.toolTip == "Choose a scan."
    ui.sampleButton.click()
    scan = ui.scanSelector.currentNode()
    assert scan is not None
    assert "no real patient" in ui.messageLabel.text
    assert now(panel) == ["segment"]
    assert not ui.correctButton.enabled

    ui.segmentButton.click()
    segment = slicer.util.getModuleWidget("VertebraSegment")
    assert segment._parameterNode.inputVolume is scan
    SegmentCase.setRunner(segment, Steps(SegmentCase.answer))
    segment.ui.applyButton.click()
    node = segment._parameterNode.segmentation
    panel.parent.enter()
    assert now(panel) == ["measure"]
    assert "1 vertebra in" in ui.segmentLabel.text

    ui.correctButton.click()
    assert not segment.ui.editCollapsibleButton.collapsed
    node.GetSegmentation().GetSegment("L1").SetName("L2")
    panel.parent.enter()
    assert "Corrected: L2." in ui.correctLabel.text
    assert "out of date" in ui.measureLabel.text
    segment.logic.corrections.refresh(node, scan)

    ui.cobbButton.click()
    assert selected == ["VertebraSegment", "VertebraSegment", "CobbAngle"]
    cobb = slicer.util.getModuleWidget("CobbAngle")
    assert cobb._parameterNode.segmentation is node
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "angles")
    stale.madeFrom(table, node, "CobbAngle")
    panel.parent.enter()
    assert now(panel) == ["export"]

    ui.folderPathLineEdit.currentPath = str(tmp_path / "case")
    assert ui.exportButton.enabled
    ui.exportButton.click()
    assert messages == []
    assert now(panel) == []
    assert "Exported as it is now" in ui.exportLabel.text
    made = {path.name for path in (tmp_path / "case").iterdir()}
    assert made == {*casefolder.NAMES}
    run = json.loads((tmp_path / "case" / "run.json").read_text())
    assert any(name.startswith("models/21_L2") for name in run["outputs"])
    node.GetSegmentation().GetSegment("L1").SetName("L3")
    panel.parent.enter()
    assert "✓" not in ui.exportLabel.text


def test_the_exported_scene_opens_again(scene, tmp_path, panel):
    scan = samples.addDigitalPatient(scene)
    settings = PhantomSettings(
        spacing_mm=samples.SPACING_MM, levels=samples.LEVELS, cobb_deg=samples.COBB_DEG
    )
    truth = generate(settings, 0).vertebrae
    node = segmentations.addSegmentationNode(truth, scan, "vertebrae")
    names = list(node.GetSegmentation().GetSegmentIDs())
    said = casefolder.writeCase(scan, tmp_path / "case")
    assert "watertight and manifold" in said[0]
    assert (tmp_path / "case" / "models" / "pedicles_LPS.mrk.json").is_file()
    (tmp_path / "case" / "README.txt").write_text("mine")
    with pytest.raises(InputError, match=r"README\.txt"):
        casefolder.writeCase(scan, tmp_path / "case")
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "case" / casefolder.SCENE), True, None)
    again = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert list(again.GetSegmentation().GetSegmentIDs()) == names
    # The patient has a scoliosis: a side or an end that was swapped would show in every file.
    scanAgain = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    assert not np.array_equal(truth.array, truth.array[..., ::-1])
    for found in (
        segmentations.labelVolumeFromNode(again, scanAgain)[0],
        read_volume(tmp_path / "case" / "segmentation.nii.gz"),
        read_seg_nrrd(tmp_path / "case" / "segmentation.seg.nrrd")[0],
    ):
        np.testing.assert_allclose(found.affine, truth.affine, atol=1e-4)
        np.testing.assert_array_equal(found.array, truth.array)


def test_a_deleted_scan_and_a_closed_scene_lead_back_to_the_start(panel, scene):
    scan = SegmentCase.addInput(scene)
    panel.ui.scanSelector.setCurrentNode(scan)
    assert now(panel) == ["segment"]
    scene.RemoveNode(scan)
    assert now(panel) == ["open"]
    panel.ui.scanSelector.setCurrentNode(SegmentCase.addInput(scene))
    scene.Clear(False)
    assert now(panel) == ["open"]
