"""Another threshold on a synthetic CT node: the preview, and what applying it changes."""

from __future__ import annotations

import numpy as np
import pytest
import tinytranslate
from CycleGANTranslateLib.Logic import TranslateLogic
from CycleGANTranslateLib.Threshold import BoneSettings
from nodecases import addTransform, obliqueAffine, rigid
from spineseg import labels
from spineseg.errors import CancelledError, InputError
from spineseg.geometry.thresholding import ThresholdSettings, bone_mask
from spineseg.result import Vertebra
from spineseg.volume import Volume
from SpineSegMRML import segmentations, volumes
from SpineSegMRML.jobs import JobOutcome, TranslationOutcome
from SpineSegMRML.layers import masks

SETTINGS = BoneSettings(0, 700, perSlice=False, medianMm=0)


def translated(volume, method, **_):
    """Answer as the tiny translation does, without a child."""
    vertebrae = [
        Vertebra(label, level, (0.0, 0.0, 0.0), confidence=0.75)
        for label, level in zip(tinytranslate.LABELS, tinytranslate.LEVELS)
    ]
    return TranslationOutcome(
        volume.like(tinytranslate.truth()),
        vertebrae,
        syntheticCt=volume.like(tinytranslate.hounsfield()),
        bodies=volume.like(tinytranslate.bodies()),
    )


def bodiesAlone(volume, bodies, **_):
    """Answer as if nothing but the bodies were above the threshold."""
    found = np.unique(bodies.array[bodies.array > 0])
    vertebrae = [Vertebra(int(n), None, (0.0, 0.0, 0.0), 1.5, confidence=np.nan) for n in found]
    return JobOutcome(bodies, vertebrae, ["Look at it."])


@pytest.fixture
def logic():
    return TranslateLogic(translated, bodiesAlone)


@pytest.fixture
def mr(scene):
    node = volumes.addVolumeNode(scene, tinytranslate.mr(), "mr")
    addTransform(scene, node, rigid(obliqueAffine()))
    return node


@pytest.fixture
def shown(logic, mr):
    """The outcome of a translation."""
    return logic.translate(mr)


def voxels(node, mr):
    return segmentations.labelVolumeFromNode(node, mr)[0].array


def apply(logic, shown, **more):
    return logic.threshold.apply(
        shown.syntheticCtNode, shown.bodiesNode, shown.segmentationNode, SETTINGS, shown.tableNode,
        **more,
    )  # fmt: skip


def paint(node, mr, name, box):
    """Add voxels (k, j, i slices of the MR) to a segment, as a brush does."""
    segmentation = node.GetSegmentation()
    mask = np.zeros(tinytranslate.SHAPE, np.uint8)
    for part in masks(node, mr, [name]).values():
        mask[part.box] |= part.array
    mask[box] = 1
    image = segmentations.segmentationFromVolume(
        Volume(mask * np.uint8(50), volumes.affineFromNode(mr, world=False))
    )
    segmentation.SeparateSegmentLabelmap(name)
    segment = segmentation.GetSegment(name)
    painted = image.GetNthSegment(0)
    segment.AddRepresentation("Binary labelmap", painted.GetRepresentation("Binary labelmap"))
    segment.SetLabelValue(50)


def test_the_preview_is_the_librarys_mask_in_its_place(logic, shown):
    preview = logic.threshold.preview(shown.syntheticCtNode, SETTINGS)
    source = volumes.volumeFromNode(shown.syntheticCtNode)
    wanted = bone_mask(source, ThresholdSettings(0, 700, per_slice=False, median_mm=0))
    mask = next(iter(masks(preview.previewNode, shown.syntheticCtNode).values()))
    found = np.zeros(source.shape, bool)
    found[mask.box] = mask.array
    np.testing.assert_array_equal(found, wanted.mask.array > 0)
    assert preview.thresholds == wanted.thresholds
    assert preview.previewNode.GetTransformNodeID() == shown.syntheticCtNode.GetTransformNodeID()
    assert not preview.previewNode.GetSaveWithScene()
    assert f"{wanted.thresholds[0]:.0f} HU" in preview.summary()


def test_the_preview_follows_in_the_same_node_and_is_removed(scene, logic, shown):
    before = scene.GetNumberOfNodes()
    first = logic.threshold.preview(shown.syntheticCtNode, SETTINGS)
    more = BoneSettings(200, 700, perSlice=False, medianMm=0)
    second = logic.threshold.preview(shown.syntheticCtNode, more, first.previewNode)
    assert second.previewNode is first.previewNode
    assert second.thresholds > first.thresholds
    with pytest.raises(InputError, match="No voxel lies between 900 and 1200"):
        logic.threshold.preview(shown.syntheticCtNode, BoneSettings(900, 1200), first.previewNode)
    assert first.previewNode.GetSegmentation().GetNumberOfSegments() == 1
    logic.threshold.removePreview(first.previewNode)
    logic.threshold.removePreview(first.previewNode)
    assert scene.GetNumberOfNodes() == before


def test_applying_replaces_the_bone_and_the_table_and_can_be_undone(logic, mr, shown):
    outcome = apply(logic, shown)
    expected = np.where(tinytranslate.bodies() > 0, tinytranslate.truth(), 0)
    np.testing.assert_array_equal(voxels(shown.segmentationNode, mr), expected)
    table = shown.tableNode
    assert table.GetCellText(0, table.GetColumnIndex("Volume")) == "1.5"
    # The threshold says nothing of how sure the network was.
    assert float(table.GetCellText(0, table.GetColumnIndex("Confidence"))) == 75.0
    assert outcome.warnings == ["Look at it."]
    assert logic.canUndo
    logic.undo()
    np.testing.assert_array_equal(voxels(shown.segmentationNode, mr), tinytranslate.truth())
    assert table.GetCellText(0, table.GetColumnIndex("Volume")) == ""


def test_what_was_painted_stays_and_a_name_that_was_given(logic, mr, shown):
    node = shown.segmentationNode
    node.GetSegmentation().GetSegment("unsure 1").SetName("L2")
    stroke = (slice(30, 33), slice(27, 29), slice(10, 14))
    paint(node, mr, "T12", stroke)
    before = voxels(node, mr)
    assert (before[stroke] == labels.by_name("T12").verse).all()
    apply(logic, shown)
    after = voxels(node, mr)
    t12, l2 = labels.by_name("T12").verse, labels.by_name("L2").verse
    np.testing.assert_array_equal(after == t12, before == t12)
    np.testing.assert_array_equal(after == l2, tinytranslate.bodies() == 3)
    assert labels.FIRST_UNSURE not in after


def test_an_error_or_a_cancel_leaves_the_segmentation(mr):
    def cancels(volume, bodies, **_):
        raise CancelledError()

    logic = TranslateLogic(translated, cancels)
    shown = logic.translate(mr)
    with pytest.raises(CancelledError):
        apply(logic, shown)
    np.testing.assert_array_equal(voxels(shown.segmentationNode, mr), tinytranslate.truth())
    assert not logic.canUndo
    assert not logic.running


def test_the_real_child_finds_the_processes_again(mr):
    logic = TranslateLogic(translated)
    shown = logic.translate(mr)
    seen = []
    outcome = apply(logic, shown, onProgress=lambda report: seen.append(report.stage))
    assert {"bone", "measure"} <= set(seen)
    after = voxels(shown.segmentationNode, mr)
    body = tinytranslate.bodies() > 0
    np.testing.assert_array_equal(after[body], tinytranslate.truth()[body])
    process = (tinytranslate.truth() > 0) & ~body
    assert (after[process] == tinytranslate.truth()[process]).mean() > 0.7
    assert not after[tinytranslate.truth() == 0].any()
    assert [v.label for v in outcome.vertebrae] == list(tinytranslate.LABELS)


def test_validate_says_why_in_one_sentence(logic, shown):
    why = logic.threshold.validate
    synthetic, bodies, node = shown.syntheticCtNode, shown.bodiesNode, shown.segmentationNode
    assert why(synthetic, bodies, node, SETTINGS) == ""
    assert "Translate an MR first" in why(None, bodies, node, SETTINGS)
    assert "Translate an MR first" in why(synthetic, bodies, None, SETTINGS)
    assert "no vertebral bodies" in why(synthetic, None, node, SETTINGS)
    assert "range of intensities is empty" in why(synthetic, bodies, node, BoneSettings(9, 9))
    assert "No voxel lies between" in why(synthetic, bodies, node, BoneSettings(800, 900))
    with pytest.raises(InputError, match="no vertebral bodies"):
        logic.threshold.apply(synthetic, None, node, SETTINGS)
