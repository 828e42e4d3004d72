"""From an MR node to a synthetic CT, its vertebrae and their check. It knows no windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spineseg import registry
from spineseg.errors import InputError, SpineSegError
from spineseg.methods.mr_check import check_mr
from spineseg.planning import Exported
from spineseg.result import Vertebra
from spineseg.rethreshold import named_bodies
from SpineSegMRML import models, names, overlays, stale, volumes
from SpineSegMRML.choices import AUTOMATIC, deviceSettings
from SpineSegMRML.corrections import CorrectionLogic
from SpineSegMRML.history import History
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.jobs import (
    JobOutcome,
    Report,
    TranslationOutcome,
    progressTo,
    thresholdInChild,
    translateInChild,
)
from SpineSegMRML.results import Results
from SpineSegMRML.runs import Runs

from CycleGANTranslateLib.Landmarks import LandmarkLogic
from CycleGANTranslateLib.Threshold import MODULE, BoneSettings, ThresholdLogic

__all__ = ["TranslateLogic", "TranslateOutcome", "TranslateTargets"]

BONE_WINDOW, BONE_LEVEL = 1500.0, 300.0  # HU


@dataclass(frozen=True)
class TranslateTargets:
    """Nodes that take the results in place of what they hold; None makes new ones."""

    syntheticCt: Any = None
    confidence: Any = None
    segmentation: Any = None
    bodies: Any = None
    table: Any = None


@dataclass(frozen=True)
class TranslateOutcome:
    """What a translation has put into the scene.

    Attributes
    ----------
    syntheticCtNode : vtkMRMLScalarVolumeNode
        HU, on the MR's grid and under its transforms.
    confidenceNode : vtkMRMLScalarVolumeNode or None
        0 to 100, on the same grid; None if it was not asked for.
    segmentationNode : vtkMRMLSegmentationNode
        The vertebrae.
    bodiesNode : vtkMRMLSegmentationNode
        Their bodies alone, hidden at first.
    tableNode : vtkMRMLTableNode
        A row for each vertebra.
    vertebrae : list of Vertebra
        From the top to the bottom.
    warnings : list of str
        One sentence for everything that makes the result doubtful.
    seconds : float
        What the run took.
    """

    syntheticCtNode: Any
    confidenceNode: Any
    segmentationNode: Any
    bodiesNode: Any
    tableNode: Any
    vertebrae: list[Vertebra]
    warnings: list[str]
    seconds: float

    def summary(self) -> str:
        """Return one sentence for a user."""
        seconds = max(1, round(self.seconds))
        if not self.vertebrae:
            return _("Translated in {seconds} s; no vertebra was found.").format(seconds=seconds)
        unsure = sum(v.level is None for v in self.vertebrae)
        text = _("{vertebrae} in {seconds} s").format(
            vertebrae=names.counted(len(self.vertebrae)), seconds=seconds
        )
        if unsure:
            text += _(", the level of {n} of them is unsure").format(n=unsure)
        return text + "."


class TranslateLogic:
    """What the module does; the same for its panel, a script and the browser app.

    Parameters
    ----------
    runner : callable
        Translates, called as `translateInChild` is; by default in a child process.
    thresholder : callable
        Segments again, called as `thresholdInChild` is.

    Attributes
    ----------
    threshold : ThresholdLogic
        Another threshold: its preview, and what comes of it.
    landmarks : LandmarkLogic
        The check by landmarks.
    """

    def __init__(
        self,
        runner: Callable[..., TranslationOutcome] = translateInChild,
        thresholder: Callable[..., JobOutcome] = thresholdInChild,
    ) -> None:
        self._runner = runner
        self._runs = Runs()
        self._history = History()
        self._checked: tuple[Any, str] = (None, "")
        self.threshold = ThresholdLogic(self._runs, self._history, thresholder)
        self.landmarks = LandmarkLogic(self._runs)
        self.corrections = CorrectionLogic(MODULE)

    @property
    def running(self) -> bool:
        """Whether work is under way."""
        return self._runs.running

    @property
    def canUndo(self) -> bool:
        """Whether a threshold was applied that can be taken back."""
        return self._history.canUndo

    def cancel(self) -> None:
        """Ask what is under way to stop; nothing happens if there is nothing."""
        self._runs.cancel()

    def undo(self) -> None:
        """Take the last threshold back; see `History.undo`."""
        self._runs.requireNone()
        self._history.undo()

    def close(self) -> None:
        """Stop, and forget what could be undone: the scene is closed."""
        self.cancel()
        self._history.forget()

    def validate(
        self,
        inputNode: Any,
        method: str = registry.DEFAULT_TRANSLATE,
        bone: BoneSettings | None = None,
        targets: TranslateTargets | None = None,
    ) -> str:
        """Return why this volume can't be translated now, in one sentence; "" if it can."""
        if inputNode is None:
            return _("Choose an MR volume.")
        try:
            row = registry.get(method)
            if row.task != registry.TRANSLATE:
                return _("“{method}” does not translate.").format(method=row.title)
            reason = self._problemOf(inputNode)
        except SpineSegError as error:
            return str(error)
        if reason:
            return reason
        if targets is not None and inputNode in (targets.syntheticCt, targets.confidence):
            return _("The result would replace the MR itself; choose another volume for it.")
        return (bone or BoneSettings()).problem()

    def _problemOf(self, inputNode: Any) -> str:
        """Return why a volume is no MR; asked again only after it has changed."""
        volume = volumes.volumeFromNode(inputNode)
        image = inputNode.GetImageData()
        scalars = image.GetPointData().GetScalars()
        key = (image, image.GetMTime(), scalars.GetMTime(), volume.affine.tobytes())
        if self._checked[0] != key:
            try:
                check_mr(volume)
                self._checked = (key, "")
            except SpineSegError as error:
                self._checked = (key, str(error))
        return self._checked[1]

    def translate(
        self,
        inputNode: Any,
        targets: TranslateTargets | None = None,
        method: str = registry.DEFAULT_TRANSLATE,
        bone: BoneSettings | None = None,
        separate: str = "network",
        confidence: bool = True,
        device: str = AUTOMATIC,
        onProgress: Callable[[Report], None] | None = None,
    ) -> TranslateOutcome:
        """Translate an MR node to CT, segment its vertebrae, and put the results beside it.

        The scene is touched only when the result is there and sound: after an error or a cancel
        it is as it was.

        Parameters
        ----------
        inputNode : vtkMRMLScalarVolumeNode
            MR of any sequence and orientation, also under linear transforms.
        targets : TranslateTargets, optional
            Nodes that take the results; by default new ones do.
        method : str
            Row of the registry.
        bone : BoneSettings, optional
            How bone is thresholded on the synthetic CT.
        separate : str
            How vertebrae are parted: "network" or "otsu".
        confidence : bool
            Whether to tell where the MR is not recovered.
        device : str
            "auto", "cpu" or "cuda".
        onProgress : callable, optional
            Called in this thread about every 50 ms with a `Report`; may call `cancel`.

        Raises
        ------
        SpineSegError
            One sentence, with its remedy; `CancelledError` after `cancel`.
        """
        self._runs.requireNone()
        bone, targets = bone or BoneSettings(), targets or TranslateTargets()
        reason = self.validate(inputNode, method, bone, targets)
        if reason:
            raise InputError(reason)
        settings = {
            **bone.asSettings(),
            "separate": separate,
            "confidence": confidence,
            **deviceSettings(device),
        }
        with self._runs.on(inputNode) as token:
            made = self._runner(
                volumes.volumeFromNode(inputNode),
                method,
                settings=settings,
                onProgress=onProgress,
                token=token,
            )
        outcome = self._show(inputNode, made, targets)
        # What was thresholded on what is not there any more can't be undone.
        self._history.forget(outcome.segmentationNode)
        return outcome

    def _show(
        self, inputNode: Any, made: TranslationOutcome, targets: TranslateTargets
    ) -> TranslateOutcome:
        """Put a sound result into the scene; if that fails, take it out again."""
        name = inputNode.GetName()
        bodies = named_bodies(made.bodies, made.labelVolume)
        confidenceNode = None
        with Results(inputNode) as results:
            text = _("{volume} synthetic CT").format(volume=name)
            synthetic = results.volume(made.syntheticCt, text, targets.syntheticCt)
            if made.confidence is not None:
                text = _("{volume} confidence").format(volume=name)
                confidenceNode = results.volume(made.confidence, text, targets.confidence)
                overlays.showConfidence(confidenceNode)
            text = _("{volume} vertebrae").format(volume=name)
            segmentation = results.segmentation(made.labelVolume, text, targets.segmentation)
            segmentation.CreateClosedSurfaceRepresentation()
            text = _("{volume} heights and volumes").format(volume=name)
            # The table of what was corrected stays with it.
            former = None if results.warnings else targets.table
            table = results.table(made.vertebrae, text, former)
            text = _("{volume} bodies").format(volume=name)
            bodiesNode = results.segmentation(bodies, text, targets.bodies, names.BODY)
            stale.madeFrom(table, segmentation, MODULE)
        bodiesNode.GetDisplayNode().SetVisibility(False)
        display = synthetic.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(BONE_WINDOW, BONE_LEVEL)
        return TranslateOutcome(
            synthetic,
            confidenceNode,
            segmentation,
            bodiesNode,
            table,
            made.vertebrae,
            [*made.warnings, *results.warnings],
            made.seconds,
        )

    def validateExport(self, segmentationNode: Any, sourceNode: Any, folder: Path | None) -> str:
        """Return why models can't be exported now, in one sentence; "" if they can."""
        return models.exportProblem(segmentationNode, sourceNode, folder)

    def exportModels(
        self,
        segmentationNode: Any,
        sourceNode: Any,
        folder: str | Path,
        fileFormat: str = "STL",
        onProgress: Callable[[Report], None] | None = None,
        space: str = "LPS",
        which: str = models.ALL,
    ) -> Exported:
        """Write models of the segments, as they are now; see `models.exportModels`.

        `onProgress` is called in this thread before each model; it may call `cancel`.

        Raises
        ------
        SpineSegError
            One sentence; nothing was written.
        """
        self._runs.requireNone()
        reason = self.validateExport(segmentationNode, sourceNode, Path(folder))
        if reason:
            raise InputError(reason)
        with self._runs.on(sourceNode) as token:
            progress = progressTo(onProgress, token)
            return self.corrections.export(
                segmentationNode, sourceNode, folder, fileFormat, space, which, progress
            )
