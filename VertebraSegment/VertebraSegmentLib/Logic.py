"""From a CT node to a segmentation node, a table and model files. It knows no windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spineseg import registry
from spineseg.errors import CancelledError, InputError, SpineSegError
from spineseg.progress import CancelToken, Progress
from spineseg.result import Vertebra
from SpineSegMRML import models, segmentations, tables, volumes
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.jobs import JobOutcome, Report, segmentInChild

__all__ = ["AUTOMATIC", "SegmentLogic", "SegmentOutcome"]

AUTOMATIC = "auto"
"""Device that the method chooses itself."""
MINIMUM_SLICES = 2

Runner = Callable[..., JobOutcome]
"""Called as ``segmentInChild`` is."""


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
        text = _("{n} vertebrae in {seconds} s").format(
            n=len(self.vertebrae), seconds=max(1, round(self.seconds))
        )
        if unsure:
            text += _(", the level of {n} of them is unsure").format(n=unsure)
        return text + "."


class SegmentLogic:
    """What the module does; the same for its panel, a script and the browser app.

    Parameters
    ----------
    runner : callable
        Does the work; by default in a child process.
    """

    def __init__(self, runner: Runner = segmentInChild) -> None:
        self._runner = runner
        self._token: CancelToken | None = None

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._token is not None

    def cancel(self) -> None:
        """Ask the run that is under way to stop; nothing happens if there is none."""
        if self._token is not None:
            self._token.cancel()

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
        if segmentationNode is None or segmentationNode.GetSegmentation() is None:
            return _("Segment a volume first.")
        if segmentationNode.GetSegmentation().GetNumberOfSegments() == 0:
            return _("The segmentation is empty.")
        if sourceNode is None or sourceNode.GetImageData() is None:
            return _("Choose the volume that was segmented.")
        # An empty path widget gives the current folder, which nobody has chosen.
        if folder is None or Path(folder) == Path():
            return _("Choose a folder for the models.")
        if Path(folder).is_file():
            return _("{name} is a file; choose a folder.").format(name=Path(folder).name)
        return ""

    def segment(
        self,
        inputNode: Any,
        segmentationNode: Any = None,
        tableNode: Any = None,
        method: str = registry.DEFAULT_SEGMENT,
        device: str = AUTOMATIC,
        onProgress: Callable[[Report], None] | None = None,
    ) -> SegmentOutcome:
        """Segment the vertebrae of a CT node and put the result beside it.

        The scene is touched only when the result is there and sound: after an error or a cancel
        it is as it was.

        Parameters
        ----------
        inputNode : vtkMRMLScalarVolumeNode
            CT in HU; any orientation, also under linear transforms.
        segmentationNode : vtkMRMLSegmentationNode, optional
            Takes the result, in place of what it holds; by default a new node does.
        tableNode : vtkMRMLTableNode, optional
            Takes the table; by default a new node does.
        method : str
            Row of the registry.
        device : str
            "auto", "cpu" or "cuda".
        onProgress : callable, optional
            Called in this thread about every 50 ms with a `Report`; may call `cancel`.

        Raises
        ------
        SpineSegError
            One sentence, with its remedy; `CancelledError` after `cancel`.
        """
        if self.running:
            raise InputError(_("A run is under way."), _("Wait for its end, or cancel it."))
        reason = self.validate(inputNode, method)
        if reason:
            raise InputError(reason)
        scene = inputNode.GetScene()
        grid = volumes.volumeFromNode(inputNode).grid
        token = self._token = CancelToken()
        try:
            outcome = self._runner(
                volumes.volumeFromNode(inputNode),
                method,
                settings=_settings(device),
                onProgress=onProgress,
                token=token,
            )
            token.check()
        finally:
            self._token = None
        if inputNode.GetScene() is not scene:
            raise CancelledError(_("The volume was closed while it was segmented."))
        if not volumes.volumeFromNode(inputNode).grid.same_as(grid):
            raise InputError(
                _("The volume was moved or changed while it was segmented."),
                _("Segment it again."),
            )
        node, table = self._show(inputNode, outcome, segmentationNode, tableNode)
        return SegmentOutcome(node, table, outcome.vertebrae, outcome.warnings, outcome.seconds)

    def _show(
        self, inputNode: Any, outcome: JobOutcome, segmentationNode: Any, tableNode: Any
    ) -> tuple[Any, Any]:
        """Put a sound result into the scene; if that fails, take it out again."""
        scene = inputNode.GetScene()
        # A node that was deleted during the run is replaced by a new one.
        if segmentationNode is not None and segmentationNode.GetScene() is not scene:
            segmentationNode = None
        if tableNode is not None and tableNode.GetScene() is not scene:
            tableNode = None
        name = _("{volume} vertebrae").format(volume=inputNode.GetName())
        isNew = segmentationNode is None
        if isNew:
            segmentationNode = segmentations.addSegmentationNode(
                outcome.labelVolume, inputNode, name
            )
        before = segmentations.remember(segmentationNode)
        try:
            if not isNew:
                segmentations.setSegmentation(segmentationNode, outcome.labelVolume, inputNode)
                segmentations.placeBeside(segmentationNode, inputNode)
            segmentationNode.CreateClosedSurfaceRepresentation()
            if tableNode is None:
                tableNode = tables.addVertebraTable(scene, outcome.vertebrae, name)
            else:
                tables.setVertebraTable(tableNode, outcome.vertebrae)
            segmentations.placeBeside(tableNode, inputNode)
        except Exception:
            if isNew:
                segmentations.removeNode(segmentationNode)
            else:
                segmentations.restore(segmentationNode, before)
            raise
        return segmentationNode, tableNode

    def exportModels(
        self,
        segmentationNode: Any,
        sourceNode: Any,
        folder: str | Path,
        fileFormat: str = "STL",
        progress: Progress | None = None,
    ) -> list[Path]:
        """Write a surface file for each segment, as it is now: mm, LPS, world coordinates.

        Raises
        ------
        InputError
            One sentence; nothing was written.
        """
        reason = self.validateExport(segmentationNode, sourceNode, Path(folder))
        if reason:
            raise InputError(reason)
        return models.exportModels(segmentationNode, sourceNode, folder, fileFormat, progress)


def _settings(device: str) -> Mapping[str, Any]:
    return {} if device == AUTOMATIC else {"device": device}
