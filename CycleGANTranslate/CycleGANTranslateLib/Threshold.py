"""Another threshold on a synthetic CT: what it would call bone, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from spineseg import labels
from spineseg.errors import CancelledError, InputError, SpineSegError
from spineseg.geometry.thresholding import ThresholdSettings, bone_mask
from spineseg.result import Vertebra
from spineseg.rethreshold import named_bodies
from spineseg.volume import Volume
from SpineSegMRML import names, segmentations, segments, stale, tables, volumes
from SpineSegMRML.history import History, Recording
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.jobs import JobOutcome, Report
from SpineSegMRML.layers import Mask, boxesOf, masks
from SpineSegMRML.runs import Runs

__all__ = ["BoneSettings", "Preview", "ThresholdLogic", "ThresholdOutcome"]

MODULE = "CycleGANTranslate"

PREVIEW_COLOR = (1.0, 0.85, 0.2)


@dataclass(frozen=True)
class BoneSettings:
    """How bone is found on a synthetic CT; see `spineseg.geometry.thresholding`.

    Attributes
    ----------
    low, high : float
        Range of intensities, HU, that Otsu's method looks at.
    perSlice : bool
        One threshold a slice, else one for the volume.
    medianMm : float
        Edge of the 3D median, mm.
    """

    low: float = ThresholdSettings.low
    high: float = ThresholdSettings.high
    perSlice: bool = ThresholdSettings.per_slice
    medianMm: float = ThresholdSettings.median_mm

    def problem(self) -> str:
        """Return what is wrong with them, in one sentence; "" if nothing is."""
        if not self.low < self.high:
            return _("The range of intensities is empty: drag its ends apart.")
        if self.medianMm < 0:
            return _("The median's edge can't be negative.")
        return ""

    def asSettings(self) -> dict[str, Any]:
        """Return them as the library calls them."""
        return {
            "low": float(self.low),
            "high": float(self.high),
            "per_slice": bool(self.perSlice),
            "median_mm": float(self.medianMm),
        }


@dataclass(frozen=True)
class Preview:
    """What a threshold would call bone.

    Attributes
    ----------
    previewNode : vtkMRMLSegmentationNode
        One segment; not saved with the scene.
    thresholds : list of float
        HU, one a slice or one.
    warnings : list of str
    """

    previewNode: Any
    thresholds: list[float]
    warnings: list[str]

    def summary(self) -> str:
        """Return one sentence for a user."""
        low, high = round(min(self.thresholds)), round(max(self.thresholds))
        if low == high:
            return _("Otsu's threshold is {low} HU.").format(low=low)
        return _("Otsu's thresholds are {low} to {high} HU.").format(low=low, high=high)


@dataclass(frozen=True)
class ThresholdOutcome:
    """What a threshold that was applied has changed."""

    segmentationNode: Any
    tableNode: Any
    vertebrae: list[Vertebra]
    warnings: list[str]
    seconds: float

    def summary(self) -> str:
        """Return one sentence for a user."""
        text = _("{vertebrae} at this threshold, in {seconds} s.")
        return text.format(
            vertebrae=names.counted(len(self.vertebrae)), seconds=max(1, round(self.seconds))
        )


class ThresholdLogic:
    """Previews and applies thresholds.

    Parameters
    ----------
    runs : Runs
        Shared with the rest of the module.
    history : History
        Takes what was applied, so that it can be undone.
    thresholder : callable
        Called as `thresholdInChild` is.
    """

    def __init__(
        self, runs: Runs, history: History, thresholder: Callable[..., JobOutcome]
    ) -> None:
        self._runs = runs
        self._history = history
        self._thresholder = thresholder

    def validatePreview(self, syntheticCtNode: Any, bone: BoneSettings) -> str:
        """Return why there can't be a preview now, in one sentence; "" if there can."""
        if syntheticCtNode is None:
            return _("Translate an MR first, or choose a synthetic CT.")
        if bone.problem():
            return bone.problem()
        try:
            volumes.volumeFromNode(syntheticCtNode)
        except SpineSegError as error:
            return str(error)
        lowest, highest = syntheticCtNode.GetImageData().GetScalarRange()
        if bone.high < lowest or bone.low > highest:
            text = _("No voxel lies between {low:g} and {high:g} HU; widen the range.")
            return text.format(low=bone.low, high=bone.high)
        return ""

    def preview(self, syntheticCtNode: Any, bone: BoneSettings, previewNode: Any = None) -> Preview:
        """Show what a threshold calls bone as a segment of a node of its own.

        Parameters
        ----------
        syntheticCtNode : vtkMRMLScalarVolumeNode
            HU.
        bone : BoneSettings
        previewNode : vtkMRMLSegmentationNode, optional
            The last preview, which is brought up to date; by default a new node is made.

        Raises
        ------
        InputError
            One sentence; the last preview stays.
        """
        reason = self.validatePreview(syntheticCtNode, bone)
        if reason:
            raise InputError(reason)
        volume = volumes.volumeFromNode(syntheticCtNode)
        found = bone_mask(volume, ThresholdSettings(**bone.asSettings()))
        marked = volume.like(found.mask.array * np.uint8(labels.OTHER_BONE))
        scene = syntheticCtNode.GetScene()
        if previewNode is None or previewNode.GetScene() is not scene:
            name = _("{volume} bone preview").format(volume=syntheticCtNode.GetName())
            previewNode = segmentations.addSegmentationNode(marked, syntheticCtNode, name)
            previewNode.SetSaveWithScene(False)
            previewNode.GetDisplayNode().SetAllSegmentsOpacity2DFill(0.35)
            previewNode.GetDisplayNode().SetVisibility3D(False)
        else:
            segmentations.setSegmentation(previewNode, marked, syntheticCtNode)
        segmentation = previewNode.GetSegmentation()
        if segmentation.GetNumberOfSegments():
            segment = segmentation.GetNthSegment(0)
            segment.SetName(_("bone at this threshold"))
            segment.SetColor(*PREVIEW_COLOR)
        return Preview(previewNode, found.thresholds, found.warnings)

    def removePreview(self, previewNode: Any) -> None:
        """Remove a preview; nothing happens if it is not there any more."""
        if previewNode is not None and previewNode.GetScene() is not None:
            segmentations.removeNode(previewNode)

    def validate(
        self, syntheticCtNode: Any, bodiesNode: Any, segmentationNode: Any, bone: BoneSettings
    ) -> str:
        """Return why a threshold can't be applied now, in one sentence; "" if it can."""
        reason = self.validatePreview(syntheticCtNode, bone)
        if reason:
            return reason
        if segmentationNode is None or segmentationNode.GetSegmentation() is None:
            return _("Translate an MR first: there is no segmentation yet.")
        bodies = None if bodiesNode is None else bodiesNode.GetSegmentation()
        if bodies is None or not bodies.GetNumberOfSegments():
            return _("There are no vertebral bodies; translate the MR again.")
        return ""

    def apply(
        self,
        syntheticCtNode: Any,
        bodiesNode: Any,
        segmentationNode: Any,
        bone: BoneSettings,
        tableNode: Any = None,
        onProgress: Callable[[Report], None] | None = None,
    ) -> ThresholdOutcome:
        """Segment the synthetic CT again at a threshold, around the bodies that are known.

        Segments that a user has painted or made keep every voxel; names that a user has given
        stay. After an error or a cancel the scene is as it was. Can be undone.

        Parameters
        ----------
        syntheticCtNode : vtkMRMLScalarVolumeNode
        bodiesNode : vtkMRMLSegmentationNode
            The vertebral bodies.
        segmentationNode : vtkMRMLSegmentationNode
            The vertebrae, which are replaced.
        bone : BoneSettings
        tableNode : vtkMRMLTableNode, optional
            Takes the new volumes and heights.
        onProgress : callable, optional
            Called in this thread about every 50 ms with a `Report`; may call `cancel`.

        Raises
        ------
        SpineSegError
            One sentence, with its remedy; `CancelledError` after `cancel`.
        """
        self._runs.requireNone()
        reason = self.validate(syntheticCtNode, bodiesNode, segmentationNode, bone)
        if reason:
            raise InputError(reason)
        with self._runs.on(syntheticCtNode) as token:
            outcome = self._thresholder(
                volumes.volumeFromNode(syntheticCtNode),
                _bodiesOf(bodiesNode, segmentationNode, syntheticCtNode),
                settings=bone.asSettings(),
                onProgress=onProgress,
                token=token,
            )
        if segmentationNode.GetScene() is not syntheticCtNode.GetScene():
            raise CancelledError(_("The segmentation was closed during the run."))
        kept = segments.painted(segmentationNode, syntheticCtNode)
        recording = _show(segmentationNode, syntheticCtNode, outcome.labelVolume, kept)
        vertebrae, also = outcome.vertebrae, None
        if tableNode is not None and tableNode.GetScene() is not None:
            # How sure the network was of a vertebra does not change with the threshold.
            sure = tables.confidencesIn(tableNode)
            vertebrae = [
                replace(v, confidence=sure.get(labels.display_name(v.label), v.confidence))
                for v in vertebrae
            ]
            also = tables.replaced(tableNode, vertebrae)
            also = stale.undoably(also, tableNode, segmentationNode, MODULE)
        self._history.add(recording.change(also))
        return ThresholdOutcome(
            segmentationNode, tableNode, vertebrae, outcome.warnings, outcome.seconds
        )


def _bodiesOf(bodiesNode: Any, segmentationNode: Any, sourceNode: Any) -> Volume:
    """Return the bodies as a label map, called as the vertebrae that they lie in are called now."""
    now, _names = segmentations.labelVolumeFromNode(segmentationNode, sourceNode)
    numbered = np.zeros(now.shape, np.uint8)
    for number, mask in enumerate(masks(bodiesNode, sourceNode).values(), start=1):
        numbered[mask.box][mask.array] = number
    return named_bodies(now.like(numbered), now)


def _show(
    segmentationNode: Any, sourceNode: Any, labelVolume: Volume, kept: Collection[str]
) -> Recording:
    """Replace the program's segments by a label map's, and record it; painted ones stay."""
    segmentation = segmentationNode.GetSegmentation()
    array = labelVolume.array
    free = np.ones(array.shape, bool)
    taken = set()
    for segmentId, mask in masks(segmentationNode, sourceNode, list(kept)).items():
        free[mask.box] &= ~mask.array
        meaning = names.meaningOf(segmentation.GetSegment(segmentId).GetName())
        if meaning is not None and meaning[1] == names.VERTEBRA:
            taken.add(meaning[0])
    added = {}
    for label, box in boxesOf(array).items():
        if label not in taken:
            mask = Mask.trimmed([s.start for s in box], (array[box] == label) & free[box])
            if mask is not None:
                added[label] = mask
    gone = [i for i in segmentation.GetSegmentIDs() if i not in kept]
    with Recording(segmentationNode, gone) as recording:
        segments.removeSegments(segmentationNode, gone)
        segments.addMasks(segmentationNode, sourceNode, added)
        segmentationNode.CreateClosedSurfaceRepresentation()
    return recording
