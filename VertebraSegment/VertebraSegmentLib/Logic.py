"""From a CT node to a segmentation node, a table and model files. It knows no windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spineseg import labels, registry
from spineseg.errors import CancelledError, InputError, SpineSegError
from spineseg.planning import Exported
from spineseg.result import Vertebra
from SpineSegMRML import models, names, segmentations, segments, stale, tables, volumes
from SpineSegMRML.choices import AUTOMATIC, deviceSettings
from SpineSegMRML.corrections import CorrectionLogic
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.jobs import (
    JobOutcome,
    Report,
    progressTo,
    segmentInChild,
    updateInChild,
)
from SpineSegMRML.results import Results
from SpineSegMRML.runs import Runs

from VertebraSegmentLib.ClickResults import labelOf
from VertebraSegmentLib.Clicks import ClickLogic
from VertebraSegmentLib.Updates import showUpdate

__all__ = ["SegmentLogic", "SegmentOutcome"]

MODULE = "VertebraSegment"
MINIMUM_SLICES = 2

Runner = Callable[..., JobOutcome]
"""Called as ``segmentInChild`` is, or as ``updateInChild``."""


@dataclass(frozen=True)
class SegmentOutcome:
    """What a run has put into the scene.

    Attributes
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    tableNode : vtkMRMLTableNode
        A row for each vertebra.
    vertebrae : list of Vertebra
        From the top to the bottom.
    warnings : list of str
        One sentence for everything that makes the result doubtful.
    seconds : float
        What the run took.
    """

    segmentationNode: Any
    tableNode: Any
    vertebrae: list[Vertebra]
    warnings: list[str]
    seconds: float

    def summary(self) -> str:
        """Return one sentence for a user."""
        if not self.vertebrae:
            return _("No vertebra was found.")
        unsure = sum(v.level is None for v in self.vertebrae)
        text = _("{vertebrae} in {seconds} s").format(
            vertebrae=names.counted(len(self.vertebrae)), seconds=max(1, round(self.seconds))
        )
        if unsure:
            text += _(", the level of {n} of them is unsure").format(n=unsure)
        return text + "."


class SegmentLogic:
    """What the module does; the same for its panel, a script and the browser app.

    Parameters
    ----------
    runner, updater : callable
        Do the work on all vertebrae; by default in a child process.
    worker : ResidentWorker, optional
        Answers clicks; by default a child process that is started at the first one.

    Attributes
    ----------
    clicks : ClickLogic
        Clicks on single vertebrae, their names, undo and redo.
    corrections : CorrectionLogic
        What follows from edits: results made again, training pairs.
    """

    def __init__(
        self,
        runner: Runner = segmentInChild,
        updater: Runner = updateInChild,
        worker: Any = None,
    ) -> None:
        self._runner = runner
        self._updater = updater
        self._runs = Runs()
        self.clicks = ClickLogic(self._runs, worker)
        self.corrections = CorrectionLogic(MODULE)

    @property
    def running(self) -> bool:
        """Whether a run, a click or an update is under way."""
        return self._runs.running

    def cancel(self) -> None:
        """Ask what is under way to stop; nothing happens if there is nothing."""
        self._runs.cancel()

    def undo(self) -> None:
        """Take the last click, renaming or update back; see `ClickLogic.undo`."""
        self.clicks.undo()

    def redo(self) -> None:
        """Do again what was undone last; see `ClickLogic.redo`."""
        self.clicks.redo()

    def validate(self, inputNode: Any, method: str = registry.DEFAULT_SEGMENT) -> str:
        """Return why this volume can't be segmented now, in one sentence; "" if it can."""
        if inputNode is None:
            return _("Choose a CT volume.")
        try:
            row = registry.get(method)
            volume = volumes.volumeFromNode(inputNode)
        except SpineSegError as error:
            return str(error)
        if row.task != registry.SEGMENT:
            return _("“{method}” does not segment.").format(method=row.title)
        if min(volume.shape) < MINIMUM_SLICES:
            return _("“{name}” is a single slice; a volume is needed.").format(
                name=inputNode.GetName()
            )
        return ""

    def validateExport(self, segmentationNode: Any, sourceNode: Any, folder: Path | None) -> str:
        """Return why models can't be exported now, in one sentence; "" if they can."""
        return models.exportProblem(segmentationNode, sourceNode, folder)

    def segment(
        self,
        inputNode: Any,
        segmentationNode: Any = None,
        tableNode: Any = None,
        method: str = registry.DEFAULT_SEGMENT,
        device: str = AUTOMATIC,
        onProgress: Callable[[Report], None] | None = None,
        overwriteEdits: bool = False,
    ) -> SegmentOutcome:
        """Segment the vertebrae of a CT node and put the result beside it.

        The scene is touched only when the result is there and sound: after an error or a cancel
        it is as it was.

        Parameters
        ----------
        inputNode : vtkMRMLScalarVolumeNode
            CT in HU; any orientation, also under linear transforms.
        segmentationNode : vtkMRMLSegmentationNode, optional
            Takes the result, in place of what it holds; by default a new node does, and also
            where a user has corrected it, unless `overwriteEdits`.
        tableNode : vtkMRMLTableNode, optional
            Takes the table; by default a new node does.
        method : str
            Row of the registry.
        device : str
            "auto", "cpu" or "cuda".
        onProgress : callable, optional
            Called in this thread about every 50 ms with a `Report`; may call `cancel`.
        overwriteEdits : bool
            Whether corrections may be lost that were there when the run began.

        Raises
        ------
        SpineSegError
            One sentence, with its remedy; `CancelledError` after `cancel`.
        """
        self._runs.requireNone()
        reason = self.validate(inputNode, method)
        if reason:
            raise InputError(reason)
        before = stale.stateOf(segmentationNode) if overwriteEdits and segmentationNode else ""
        with self._runs.on(inputNode) as token:
            outcome = self._runner(
                volumes.volumeFromNode(inputNode),
                method,
                settings=deviceSettings(device),
                onProgress=onProgress,
                token=token,
            )
        name = _("{volume} vertebrae").format(volume=inputNode.GetName())
        # What was painted during the run was not meant.
        overwrite = bool(before) and stale.stateOf(segmentationNode) == before
        with Results(inputNode, overwrite) as results:
            node = results.segmentation(outcome.labelVolume, name, segmentationNode)
            segmentations.showSurfaces(node)
            # The table of what was corrected stays with it.
            text = _("{volume} heights and volumes").format(volume=inputNode.GetName())
            former = None if results.warnings else tableNode
            table = results.table(outcome.vertebrae, text, former)
            stale.madeFrom(table, node, MODULE)
        # Clicks on what is not there any more can't be undone.
        self.clicks.history.forget(node)
        warnings = [*outcome.warnings, *results.warnings]
        return SegmentOutcome(node, table, outcome.vertebrae, warnings, outcome.seconds)

    def validateUpdate(self, segmentationNode: Any, inputNode: Any, segmentId: str) -> str:
        """Return why an update can't go on from a segment, in one sentence; "" if it can."""
        if inputNode is None or inputNode.GetImageData() is None:
            return _("Choose the volume that was segmented.")
        if segmentationNode is None or segmentationNode.GetSegmentation() is None:
            return _("Segment a volume first.")
        if segmentationNode.GetSegmentation().GetSegment(segmentId or "") is None:
            return _("Choose a segment in the list of segments.")
        name = segments.nameIn(segmentationNode, segmentId)
        meaning = names.meaningOf(name)
        if meaning is None or meaning[1] != names.VERTEBRA or not labels.is_vertebra(meaning[0]):
            return _("“{name}” is not a vertebra; choose one.").format(name=name)
        try:
            segments.requireSource(segmentationNode, inputNode)
        except SpineSegError as error:
            return str(error)
        return ""

    def updateFrom(
        self,
        segmentationNode: Any,
        inputNode: Any,
        segmentId: str,
        level: str | None = None,
        tableNode: Any = None,
        device: str = AUTOMATIC,
        onProgress: Callable[[Report], None] | None = None,
    ) -> SegmentOutcome:
        """Go on from a corrected vertebra: find the others again, and renumber them.

        Segments that the user has painted, named or clicked keep every voxel, and the named ones
        their names. After an error or a cancel the scene is as it was. Can be undone.

        Parameters
        ----------
        segmentationNode : vtkMRMLSegmentationNode
        inputNode : vtkMRMLScalarVolumeNode
            The volume that was segmented.
        segmentId : str
            The vertebra to go on from.
        level : str, optional
            What level it is; by default its name tells.
        tableNode : vtkMRMLTableNode, optional
            Takes the new table.
        device, onProgress
            As in `segment`; so are the errors.
        """
        self._runs.requireNone()
        reason = self.validateUpdate(segmentationNode, inputNode, segmentId)
        if reason:
            raise InputError(reason)
        if level is not None:
            labelOf(level)
        with self._runs.on(inputNode) as token:
            touched = segments.touched(segmentationNode, inputNode)
            volume, ids = segments.known(
                segmentationNode, inputNode, [segmentId, *touched], parts=False
            )
            kept = {label: i for label, i in ids.items() if i == segmentId or i in touched}
            outcome = self._updater(
                volumes.volumeFromNode(inputNode),
                volume,
                next((label for label, i in ids.items() if i == segmentId), 0),
                keep=sorted(kept),
                level=level,
                settings=deviceSettings(device),
                onProgress=onProgress,
                token=token,
            )
        if segmentationNode.GetScene() is not inputNode.GetScene():
            raise CancelledError(_("The segmentation was closed during the update."))
        shown = showUpdate(
            segmentationNode, inputNode, outcome, ids, list(kept.values()), (segmentId, level)
        )
        also = None
        if tableNode is not None and tableNode.GetScene() is not None:
            also = tables.replaced(tableNode, shown.vertebrae)
            also = stale.undoably(also, tableNode, segmentationNode, MODULE)
        self.clicks.history.add(shown.recording.change(also))
        return SegmentOutcome(
            segmentationNode, tableNode, shown.vertebrae, shown.warnings, outcome.seconds
        )

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
