"""One vertebra at a click: its segment, its name, the point that shows it, and undo."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from spineseg.errors import CancelledError, InputError
from spineseg.volume import Volume
from SpineSegMRML import names, segments, volumes
from SpineSegMRML.choices import AUTOMATIC
from SpineSegMRML.history import Change, History, Recording
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.jobs import Report, progressTo, pythonExecutable
from SpineSegMRML.points import ClickPoint, ClickPoints, PointState
from SpineSegMRML.runs import Runs

from VertebraSegmentLib.ClickResults import ClickOutcome, Request, labelOf, levelIn, showClick

__all__ = ["UNSURE", "ClickLogic", "ClickOutcome"]

UNSURE = "unsure"
"""What a chooser of levels offers besides the levels' names."""

OnProgress = Callable[[Report], None]


class ClickLogic:
    """Segments a vertebra at each point.

    Parameters
    ----------
    runs : Runs
        Shared with the other logic, for one thing is done at a time.
    worker : ResidentWorker, optional
        Keeps the networks and the scan; by default a child process, started at the first click.

    Attributes
    ----------
    history : History
        What can be undone.
    """

    def __init__(self, runs: Runs | None = None, worker: Any = None) -> None:
        self._runs = runs or Runs()
        self._worker = worker
        self._isOwn = worker is None
        self._device = AUTOMATIC
        self._open: tuple[Any, Volume] | None = None
        self._points: dict[str, ClickPoints] = {}
        self.history = History()

    # Clicking

    def click(
        self,
        inputNode: Any,
        point: tuple[float, float, float],
        segmentationNode: Any = None,
        target: str = names.VERTEBRA,
        level: str | None = None,
        device: str = AUTOMATIC,
        onProgress: OnProgress | None = None,
    ) -> ClickOutcome:
        """Segment the vertebra at a point and put it into the scene.

        Other segments keep their voxels. The scene is touched only when the result is there:
        after an error or a cancel it is as it was.

        Parameters
        ----------
        inputNode : vtkMRMLScalarVolumeNode
            CT in HU; any orientation, also under linear transforms.
        point : tuple of float
            RAS mm of the world.
        segmentationNode : vtkMRMLSegmentationNode, optional
            Takes the segment; by default a new node does.
        target : str
            One of `names.TARGETS`: the whole vertebra, its body, or the body's centrum.
        level : str, optional
            What level it is; by default its neighbours tell, or it is unsure.
        device : str
            "auto", "cpu" or "cuda"; the child process is started anew for another one.
        onProgress : callable, optional
            Called in this thread with a `Report`; may call `cancel`.

        Raises
        ------
        SpineSegError
            One sentence, with its remedy: nothing lies there, for example.
        """
        request = Request(inputNode, point, segmentationNode, target, level, device)
        outcome, recording = self._click(request, onProgress)
        self.history.add(recording.change())
        return outcome

    def clickPoint(
        self,
        points: ClickPoints,
        point: ClickPoint,
        inputNode: Any,
        segmentationNode: Any = None,
        target: str = names.VERTEBRA,
        level: str | None = None,
        device: str = AUTOMATIC,
        onProgress: OnProgress | None = None,
    ) -> ClickOutcome:
        """Segment the vertebra at a control point that was placed or moved.

        The point is labelled with the segment's name. After an error a new point is removed, and
        one that was moved goes back. Parameters and errors are as in `click`.
        """
        before = point.state
        position = points.position(point)
        if position is None:
            raise InputError(_("The point is not there any more."), _("Place it again."))
        request = Request(inputNode, position, segmentationNode, target, level, device)
        try:
            outcome, recording = self._click(request, onProgress)
        except Exception:
            points.settle(point, before)
            raise
        after = PointState(position, outcome.segmentationNode, outcome.segmentId)
        points.settle(point, after)

        def also(undone: bool) -> None:
            points.settle(point, before if undone else after)

        self.history.add(recording.change(also))
        self._relabel(outcome.segmentationNode)
        return outcome

    def _click(
        self, request: Request, onProgress: OnProgress | None
    ) -> tuple[ClickOutcome, Recording]:
        request.check()
        started = time.monotonic()
        inputNode, segmentationNode = request.inputNode, request.segmentationNode
        with self._runs.on(inputNode) as token:
            worker, progress = self._resident(request.device), progressTo(onProgress, token)
            scan, isNew = self._scan(inputNode)
            worker.open(scan, progress)
            knownVolume, ids = segments.known(segmentationNode, inputNode)
            result = worker.click(
                request.point, request.target, knownVolume, request.level, progress
            )
        if segmentationNode is not None and segmentationNode.GetScene() is None:
            raise CancelledError(_("The segmentation was closed during the click."))
        mask = segments.maskOf(result.mask, scan)
        if mask is None:
            raise InputError(_("Nothing was found at the point."), _("Click on a vertebra."))
        outcome, recording = showClick(request, result, mask, ids)
        # What is doubtful about the scan itself is said once.
        warnings = [*(worker.warnings if isNew else []), *outcome.warnings]
        seconds = time.monotonic() - started
        return replace(outcome, warnings=warnings, seconds=seconds), recording

    def _scan(self, inputNode: Any) -> tuple[Volume, bool]:
        """Return the scan, and whether it is another one than at the last click."""
        scan = volumes.volumeFromNode(inputNode)
        image = inputNode.GetImageData()
        scalars = image.GetPointData().GetScalars()
        key = (image, image.GetMTime(), scalars.GetMTime(), scan.affine.tobytes())
        if self._open is not None and self._open[0] == key:
            return self._open[1], False
        if self._open is not None and np.may_share_memory(self._open[1].array, scan.array):
            # The worker tells scans by where their voxels lie: it would not notice.
            self._worker.close()
        self._open = (key, scan)
        return scan, True

    def _resident(self, device: str) -> Any:
        if self._isOwn and (self._worker is None or self._device != device):
            from spineseg.methods.click import Settings
            from spineseg.residentclient import ResidentWorker

            if self._worker is not None:
                self._worker.close()
            settings = Settings(device=None if device == AUTOMATIC else device)
            self._worker = ResidentWorker(python=pythonExecutable(), settings=settings)
            self._device = device
        return self._worker

    def close(self) -> None:
        """End the child process, forget the history, and watch no points any more."""
        for points in self._points.values():
            points.stop()
        self._points.clear()
        self.history.forget()
        self._open = None
        if self._worker is not None:
            self._worker.close()

    # Points

    def follow(
        self,
        markupsNode: Any,
        onPoint: Callable[[ClickPoints, ClickPoint], None],
        later: Callable[[Callable[[], None]], None] | None = None,
    ) -> ClickPoints | None:
        """Call `onPoint` for each point that is placed or moved in a node, and in no other.

        Parameters
        ----------
        markupsNode : vtkMRMLMarkupsNode or None
            None watches nothing.
        onPoint, later : callable
            As in `ClickPoints`; `onPoint` gets that object too.
        """
        for points in self._points.values():
            if points.markupsNode is not markupsNode:
                points.stop()
        if markupsNode is None:
            return None
        points = self._points.get(markupsNode.GetID())
        if points is None or points.markupsNode is not markupsNode:
            points = ClickPoints(markupsNode)
            self._points[markupsNode.GetID()] = points
        points.watch(lambda point: onPoint(points, point), later)
        return points

    # Names

    def levelOf(self, segmentationNode: Any, segmentId: str) -> str:
        """Return a segment's level, `UNSURE`, or "" where it is no vertebra or part of one."""
        segmentation = segmentationNode.GetSegmentation() if segmentationNode else None
        if segmentation is None or not segmentId:
            return ""
        name = segments.nameIn(segmentationNode, segmentId)
        isVertebra = names.meaningOf(name) is not None
        return (levelIn(name) or UNSURE) if isVertebra else ""

    def rename(self, segmentationNode: Any, segmentId: str, level: str | None) -> list[str]:
        """Give a segment another level, with its colour and terminology; its id stays.

        Parts of a vertebra are renamed with it. Can be undone.

        Parameters
        ----------
        segmentationNode : vtkMRMLSegmentationNode
        segmentId : str
        level : str or None
            Such as "L1"; None if it is unsure.

        Returns
        -------
        list of str
            A sentence if another segment is called the same now.

        Raises
        ------
        InputError
            There is no such segment or level.
        """
        self._runs.requireNone()
        segmentation = segmentationNode.GetSegmentation() if segmentationNode else None
        if segmentation is None or segmentation.GetSegment(segmentId) is None:
            raise InputError(_("Choose a segment to name."))
        label = None if level is None else labelOf(level)
        renamed = segments.calledAfter(segmentationNode, segmentId)
        with Recording(segmentationNode, renamed) as recording:
            segments.rename(segmentationNode, renamed, label)
        self.history.add(recording.change())
        self._relabel(segmentationNode)
        name = segments.nameIn(segmentationNode, segmentId)
        everything = [segments.nameIn(segmentationNode, i) for i in segmentation.GetSegmentIDs()]
        if everything.count(name) < 2:
            return []
        text = _("Another segment is called {name} too: “Update from here” renumbers the rest.")
        return [text.format(name=name)]

    # Undo

    def undo(self) -> Change:
        """Take the last click, renaming or update back; see `History.undo`."""
        self._runs.requireNone()
        return self._after(self.history.undo())

    def redo(self) -> Change:
        """Do again what was undone last; see `History.redo`."""
        self._runs.requireNone()
        return self._after(self.history.redo())

    def _after(self, change: Change) -> Change:
        self._relabel(change.segmentationNode)
        return change

    def _relabel(self, segmentationNode: Any) -> None:
        """Let the points say what their segments are called now."""
        for points in self._points.values():
            points.relabel(segmentationNode)
