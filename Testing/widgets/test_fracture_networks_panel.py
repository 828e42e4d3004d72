"""FractureDetect's section on what the networks see: the map's button, and the preview's slider."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
import slicer
from fracturecases import addPatient, atOnce
from spineseg import fracture_look
from spineseg.fracture_look_pictures import step_png, sways_png
from spineseg.fracturelookjob import STEP_FILES, SWAYS_FILE
from spineseg.labels import by_name
from spineseg.volume import Volume
from SpineSegMRML.fracturelookjobs import PreviewDrawn
from test_fracture_panel import NAME, goTo, run

AMOUNTS = fracture_look.AMOUNTS
SHOW, HIDE = "Show where it looks fractured", "Hide where it looks fractured"


@pytest.fixture
def scene(application):
    for name in ("Red", "Yellow"):
        composite = slicer.vtkMRMLSliceCompositeNode()
        composite.SetLayoutName(name)
        application.scene.AddNode(composite)
    return application.scene


@pytest.fixture
def panel(openPanel, scene):
    panel = openPanel(NAME)
    run(panel)
    networks = panel.logic.networks
    networks.mapper, networks.previewer = mapped, drawn
    assert panel.ui.networksCollapsibleButton.collapsed
    panel.ui.networksCollapsibleButton.collapsed = False
    return panel


@pytest.fixture
def nodes(panel, scene):
    """The digital patient's CT and vertebrae, searched."""
    ct, vertebrae = addPatient(scene)
    panel._parameterNode.inputVolume = ct
    panel._parameterNode.segmentation = vertebrae
    panel.ui.applyButton.click()
    return ct, vertebrae


def mapped(volume, *_, **__):
    return Volume(np.full((6, 5, 4), 80, np.uint8), np.eye(4))


def drawn(volume, segmentation, vertebrae, label, **_):
    """Draw squares that get lower from step to step."""
    name = next(n for n in ("T12", "L1", "L2") if by_name(n).verse == label)
    folder = tempfile.TemporaryDirectory()
    for path, data in pictures().items():
        (Path(folder.name) / path).write_bytes(data)
    return PreviewDrawn(name, AMOUNTS, tuple(np.linspace(0.01, 0.99, len(AMOUNTS))), folder)


@functools.cache
def pictures():
    planes = np.full((len(AMOUNTS), 64, 64), -1000, np.float32)
    for n, plane in enumerate(planes):
        plane[20 + n : 44 - n, 16:40] = 300
    sways = np.zeros((64, 64), np.float32)
    sways[18:22, 16:40] = 1
    made = fracture_look.Preview(20, AMOUNTS, (0.5,) * len(AMOUNTS), planes, planes[4], sways)
    steps = {name: step_png(made, n) for n, name in enumerate(STEP_FILES)}
    return {SWAYS_FILE: sways_png(made), **steps}


def over(scene):
    """Return the names of what lies over the CT in the slice views."""
    found = scene.GetNodesByClass("vtkMRMLSliceCompositeNode")
    ids = {
        found.GetItemAsObject(i).GetForegroundVolumeID() for i in range(found.GetNumberOfItems())
    }
    return {None if id_ is None else scene.GetNodeByID(id_).GetName() for id_ in ids}


def image(label):
    """Return the picture that a label shows, None if it shows none."""
    pixmap = label.__dict__["_qt"].pixmap()
    return None if pixmap.isNull() else pixmap.toImage()


def brightRows(label):
    """Return how many rows of a label's picture show bone."""
    picture = image(label)
    column = picture.width() * 28 // 64
    return sum(picture.pixelColor(column, y).lightness() > 60 for y in range(picture.height()))


def test_before_a_search_the_buttons_say_why_not(panel, scene):
    ui = panel.ui
    assert ui.networksNoteLabel.text == fracture_look.NOT_ANATOMY
    assert "not anatomy" in ui.networksNoteLabel.text
    for button in (ui.mapButton, ui.previewButton):
        assert not button.enabled
        assert button.toolTip == "Search for fractures first."
    assert not ui.previewFrame.visible


def test_the_map_is_shown_hidden_and_shown_again(panel, nodes, scene, messages):
    ui = panel.ui
    assert (ui.mapButton.text, ui.mapButton.enabled) == (SHOW, True)
    assert "voxel classifier" in ui.mapButton.toolTip
    ui.mapButton.click()
    assert "often wrong" in ui.statusLabel.text
    assert over(scene) == {"ct fracture probability"}
    assert ui.mapButton.text == HIDE
    node = panel.logic.networks.mapOf(nodes[1])
    panel.logic.networks.mapper = None  # nothing is worked out again
    ui.mapButton.click()
    assert over(scene) == {None}
    assert ui.mapButton.text == SHOW
    ui.mapButton.click()
    assert over(scene) == {"ct fracture probability"}
    assert panel.logic.networks.mapOf(nodes[1]) is node
    assert messages == []
    assert not ui.refreshButton.visible


def test_an_edit_marks_the_map_and_the_update_removes_it(panel, nodes, scene):
    ui = panel.ui
    ui.mapButton.click()
    goTo(panel, "L1")
    ui.previewButton.click()
    nodes[1].GetSegmentation().RemoveSegment("T10")
    assert ui.staleLabel.text == (
        "Edited since; out of date: ct fractures, ct fracture probability."
    )
    assert (ui.mapButton.text, ui.mapButton.enabled) == (HIDE, True)
    assert not ui.previewFrame.visible
    assert "edited since" in ui.previewButton.toolTip
    ui.mapButton.click()
    assert over(scene) == {None}
    assert not ui.mapButton.enabled
    assert "edited since" in ui.mapButton.toolTip
    ui.refreshButton.click()
    assert not ui.staleLabel.visible
    assert panel.logic.networks.mapOf(nodes[1]) is None
    assert ui.mapButton.enabled


def test_a_map_that_is_deleted_or_left_alone_is_not_shown(panel, nodes, scene, slicerApp):
    ui = panel.ui
    ui.mapButton.click()
    scene.RemoveNode(panel.logic.networks.mapOf(nodes[1]))
    slicerApp.processEvents()
    assert ui.mapButton.text == SHOW
    ui.mapButton.click()
    assert None not in over(scene)
    scene.RemoveNode(nodes[1])
    slicerApp.processEvents()
    assert over(scene) == {None}
    assert (ui.mapButton.text, ui.mapButton.enabled) == (SHOW, False)


def test_the_preview_follows_the_slider(panel, nodes, scene):
    ui = panel.ui
    assert ui.previewButton.toolTip == "Choose a vertebra in the table."
    goTo(panel, "L1")
    assert ui.previewButton.enabled
    assert "L1 from cured to more fractured" in ui.previewButton.toolTip
    ui.previewButton.click()
    assert ui.statusLabel.text == "L1 from cured to more fractured: what the network imagines."
    assert ui.previewFrame.visible
    assert ui.previewSlider.value == 0.0
    text = "L1, as it is: to the network a fracture is 50 % probable."
    assert ui.previewLabel.text == text
    assert (image(ui.stepPictureLabel).width(), image(ui.stepPictureLabel).height()) == (192, 144)
    assert image(ui.swaysPictureLabel).pixelColor(84, 36).red() > 150
    rows = {}
    for amount in (-2.0, 0.0, 1.6, 2.0):
        ui.previewSlider.value = amount
        rows[amount] = brightRows(ui.stepPictureLabel)
    assert rows[-2.0] > rows[0.0] > rows[1.6] > rows[2.0] > 0
    assert ui.previewLabel.text.startswith("L1, more fractured by 2: ")
    assert "99 % probable" in ui.previewLabel.text
    ui.previewSlider.value = -1.6
    assert ui.previewLabel.text.startswith("L1, cured by 1.5: ")


def test_pictures_are_those_of_the_chosen_vertebra(panel, nodes):
    ui = panel.ui
    goTo(panel, "L1")
    ui.previewButton.click()
    ui.previewSlider.value = 2.0
    goTo(panel, "T12")
    assert not ui.previewFrame.visible
    assert image(ui.stepPictureLabel) is None
    assert ui.previewButton.enabled
    panel.logic.networks.previewer = None  # nothing is drawn again
    goTo(panel, "L1")
    assert ui.previewFrame.visible
    assert (ui.previewSlider.value, ui.previewLabel.text[:10]) == (0.0, "L1, as it ")
    goTo(panel, "T9")
    assert not ui.previewButton.enabled
    assert ui.previewButton.toolTip.startswith("T9 is not evaluable: its body")


def test_cervical_and_unsure_ones_are_not_drawn(panel, nodes):
    ui = panel.ui
    for old, new in (("T10", "C7"), ("L3", "unsure 1")):
        nodes[1].GetSegmentation().GetSegment(old).SetName(new)
    ui.applyButton.click()
    for level, text in (("C7", "no cervical vertebra"), ("unsure 1", "level is unsure")):
        goTo(panel, level)
        assert not ui.previewButton.enabled
        assert text in ui.previewButton.toolTip


@pytest.mark.parametrize("button", ["mapButton", "previewButton"])
def test_a_look_can_be_cancelled_and_says_what_went_wrong(panel, nodes, scene, messages, button):
    ui, networks = panel.ui, panel.logic.networks
    goTo(panel, "L1")
    seen = []

    def slow(*_, onProgress=None, token=None, **__):
        from SpineSegMRML.jobs import progressTo

        progress = progressTo(onProgress, token)
        progress("voxels", 0.2, "patch 1")
        seen.append((ui.applyButton.text, ui.networksCollapsibleButton.enabled))
        ui.applyButton.click()
        progress("voxels", 0.4, "patch 2")

    networks.mapper = networks.previewer = slow
    getattr(ui, button).click()
    assert seen == [("Cancel", False)]
    assert "cancel" in ui.statusLabel.text.lower()
    assert ui.applyButton.text == "Search"
    assert ui.networksCollapsibleButton.enabled

    def broken(*_, **__):
        raise RuntimeError("no such thing")

    networks.mapper = networks.previewer = broken
    getattr(ui, button).click()
    assert "no such thing" in messages[-1]["text"]
    assert over(scene) == {None}
    assert not ui.previewFrame.visible


def test_the_panel_can_be_left_closed_and_reloaded(panel, nodes, scene, slicerApp):
    panel.ui.mapButton.click()
    goTo(panel, "L1")
    panel.ui.previewButton.click()
    panel.parent.exit()
    panel.ui.previewSlider.value = 1.0
    panel.parent.enter()
    assert panel.ui.mapButton.text == HIDE
    slicer.util.reloadScriptedModule(NAME)
    new = slicer.util.getModuleWidget(NAME)
    new.logic._runner = atOnce
    new.parent.enter()
    assert new.ui.mapButton.text == HIDE
    new.ui.mapButton.click()
    assert over(scene) == {None}
    scene.Clear(False)
    slicerApp.processEvents()
    assert new.ui.mapButton.toolTip == "Search for fractures first."
    assert not new.ui.previewFrame.visible


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_the_pictures_fit_a_small_dock(openPanel, scene, scale):
    import panelpictures

    with panelpictures.largerText(scale):
        panel = openPanel(NAME)
        run(panel)
        panel.logic.networks.previewer = drawn
        panel._parameterNode.inputVolume, panel._parameterNode.segmentation = addPatient(scene)
        panel.ui.applyButton.click()
        goTo(panel, "L1")
        panel.ui.previewButton.click()
        panelpictures.unfold(panel)
        assert panel.ui.previewFrame.visible
        width = round(300 * scale)
        qt = panelpictures.laidOut(panel, width)
        assert qt.minimumSizeHint().width() <= width
        assert panelpictures.cutOff(qt) == []
        assert panelpictures.overlapping(qt) == []
