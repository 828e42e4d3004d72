"""The case that is open: its nodes, and what can be done with it. It knows no page.

Every method that takes long waits by `SpineSegWeb.waiting`, so it must be run by `on_loop`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from CobbAngleLib.Drawing import ENDS, planesOf
from CobbAngleLib.Logic import CobbLogic
from FractureDetectLib.Logic import FractureLogic
from slicer import vtkMRMLScene
from spineseg.errors import CancelledError, InputError, SpineSegError
from spineseg.progress import CancelToken, Progress
from SpineSegMRML import cases, jobs, picking, segmentations, segments, stale, volumes
from SpineSegMRML.cobbjobs import spineInChild
from SpineSegMRML.fracturejobs import fracturesInChild
from SpineSegMRML.history import Recording
from SpineSegMRML.jobs import Report
from VertebraSegmentLib.Logic import SegmentLogic

from SpineSegWeb.waiting import in_thread, wait_for

__all__ = ["WaitingWorker", "Workspace"]

OnProgress = Callable[[Report], None]


class WaitingWorker:
    """A `spineseg.residentclient.ResidentWorker` whose answers are waited for on the loop."""

    def __init__(self, worker: Any = None) -> None:
        if worker is None:
            from spineseg.methods.click import Settings
            from spineseg.residentclient import ResidentWorker

            worker = ResidentWorker(python=jobs.pythonExecutable(), settings=Settings())
        self._worker = worker
        self._opening: asyncio.Future[Any] | None = None
        self.click = in_thread(worker.click)
        self.close = worker.close

    def open(self, volume: Any, progress: Progress | None = None) -> None:
        """Hand a scan over; where `prepare` is doing that, wait for its end first."""
        if self._opening is not None:
            # Its error is this call's, which tries again.
            wait_for(asyncio.wait({self._opening}))
            self._opening = None
        in_thread(self._worker.open)(volume, progress)

    def prepare(self, volume: Any) -> None:
        """Hand a scan over without waiting, so that the first click finds all ready."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(asyncio.to_thread(self._worker.open, volume))
            self._opening.add_done_callback(lambda done: done.cancelled() or done.exception())

    @property
    def warnings(self) -> list[str]:
        """What makes the open scan itself doubtful."""
        return list(self._worker.warnings)


class Workspace:
    """One case in a scene.

    Parameters
    ----------
    scene : vtkMRMLScene
    runner, spine_runner, fracture_runner : callable
        As in the Logics; here without waiting.
    worker : ResidentWorker, optional

    Attributes
    ----------
    volume, segmentation, vertebrae : MRML nodes or None
        The scan, its segmentation, and the table of vertebrae that came with it.
    name : str
    """

    def __init__(
        self,
        scene: vtkMRMLScene,
        runner: Callable[..., Any] = jobs.segmentInChild,
        spine_runner: Callable[..., Any] = spineInChild,
        fracture_runner: Callable[..., Any] = fracturesInChild,
        worker: Any = None,
    ) -> None:
        self.scene = scene
        self._worker = WaitingWorker(worker)
        self.logic = SegmentLogic(in_thread(runner), worker=self._worker)
        self.cobb = CobbLogic(spineRunner=in_thread(spine_runner))
        self.fractures = FractureLogic(in_thread(fracture_runner))
        # Points and colours of the fractures' own panel would hide what is corrected here.
        self.fractures.showPoints = self.fractures.showSides = False
        self.fractures.colorSuspects = False
        self.volume: Any = None
        self.segmentation: Any = None
        self.vertebrae: Any = None
        self.name = ""
        self._watch = stale.EditWatch(scene)
        self._token: CancelToken | None = None

    # The scan

    def open(self, path: str, folder: Path, on_progress: OnProgress) -> list[str]:
        """Put a scan from a file in the place of the case; return what there is to say about it.

        An error leaves the case as it was.
        """
        notes: list[str] = []
        with self._cancellable(on_progress) as progress:
            volume, name = in_thread(cases.scanFromFile)(path, folder, notes, progress)
        self._take(volume, name)
        return notes

    def open_patient(self, settings: Any, seed: int, on_progress: OnProgress) -> list[str]:
        """Put a digital patient in the place of the case."""
        from spineseg.phantom import generate

        with self._cancellable(on_progress) as progress:
            progress("draw", 0.0, "drawing a digital patient")
            patient = in_thread(generate)(settings, seed)
        self._take(patient.ct, "Digital patient")
        return []

    def _take(self, volume: Any, name: str) -> None:
        """Show another scan; the nodes of the one before go, its scan last of all."""
        node = cases.showScan(self.scene, volume, name)
        self.logic.clicks.history.forget()
        drawn = () if self.segmentation is None else planesOf(self.segmentation).values()
        nodes = (*drawn, *self.tables().values(), self.vertebrae, self.segmentation, self.volume)
        for old in nodes:
            if old is not None and old.GetScene() is not None:
                segmentations.removeNode(old)
        self.volume, self.segmentation, self.vertebrae = node, None, None
        self.name = name

    # Segments

    def segment(self, on_progress: OnProgress) -> Any:
        """Segment all vertebrae; see `SegmentLogic.segment`."""
        outcome = self.logic.segment(
            self.volume,
            self.segmentation,
            self.vertebrae,
            onProgress=on_progress,
            overwriteEdits=True,  # the user was asked
        )
        self.segmentation, self.vertebrae = outcome.segmentationNode, outcome.tableNode
        return outcome

    def click(self, point: tuple[float, float, float], on_progress: OnProgress) -> Any:
        """Segment the vertebra at a point (RAS mm); see `ClickLogic.click`."""
        outcome = self.logic.clicks.click(
            self.volume, point, self.segmentation, onProgress=on_progress
        )
        self.segmentation = outcome.segmentationNode
        return outcome

    def prepare(self) -> None:
        """Get ready for clicks, without waiting."""
        if not self.logic.running:
            self._worker.prepare(volumes.volumeFromNode(self.volume))

    def edited(self) -> list[str]:
        """Return the names of the segments that hold a user's work."""
        if self.segmentation is None:
            return []
        ids = segments.touched(self.segmentation, self.volume)
        return [segments.nameIn(self.segmentation, segment) for segment in ids]

    def stroke(self, segment_id: str, paint: Callable[[], None]) -> None:
        """Let a brush change a segment, so that it can be undone."""
        with Recording(self.segmentation, [segment_id]) as recording:
            paint()
        self.logic.clicks.history.add(recording.change())

    def remove(self, segment_id: str) -> None:
        """Remove a segment, so that it can be undone."""
        with Recording(self.segmentation, [segment_id]) as recording:
            segments.removeSegments(self.segmentation, [segment_id])
        self.logic.clicks.history.add(recording.change())

    def listed(self) -> list[dict[str, Any]]:
        """Return id, name, colour (CSS) and visibility of each segment, for a list."""
        if self.segmentation is None:
            return []
        found, display = [], self.segmentation.GetDisplayNode()
        for segment_id in self.segmentation.GetSegmentation().GetSegmentIDs():
            segment = self.segmentation.GetSegmentation().GetSegment(segment_id)
            color = ", ".join(str(round(255 * part)) for part in segment.GetColor())
            visible = bool(display.GetSegmentVisibility(segment_id))
            found.append(
                {"id": segment_id, "name": segment.GetName(), "color": f"rgb({color})",
                 "visible": visible}
            )  # fmt: skip
        return found

    def segment_at(self, point: tuple[float, float, float]) -> str:
        """Return the segment that holds a point (RAS mm); "" if none does."""
        return picking.segmentAt(self.segmentation, self.volume, point)

    def center(self, segment_id: str) -> tuple[float, float, float] | None:
        """Return a segment's centre, RAS mm; None if it is empty."""
        return picking.centerOf(self.segmentation, self.volume, segment_id)

    def tables(self) -> dict[str, Any]:
        """Return the tables that there are, by title; see `is_old` of each."""
        node = self.segmentation
        if node is None:
            return {}
        titles = ("Vertebrae", "Angles", "Rotation and tilt", "Fractures")
        nodes = (self.vertebrae, *self.cobb.tablesOf(node), self.fractures.tableOf(node))
        return {t: n for t, n in zip(titles, nodes) if n is not None and n.GetScene() is not None}

    @staticmethod
    def is_old(table: Any) -> bool:
        """Whether the segmentation was edited since a table was made."""
        return stale.isOutOfDate(table)

    def undo(self) -> None:
        """Take the last change back, and look which tables are true again."""
        self.logic.undo()
        stale.verify(self.segmentation)

    def redo(self) -> None:
        """Do it again."""
        self.logic.redo()
        stale.verify(self.segmentation)

    def show_surfaces(self) -> None:
        """Bring the surfaces up to date with what was painted."""
        if self.segmentation is not None:
            segmentations.showSurfaces(self.segmentation)

    # Measures, files

    def measure(self, on_progress: OnProgress) -> tuple[list[str], list[str]]:
        """Measure angles and grade fractures, of the segmentation as it is now.

        Returns
        -------
        (list of str, list of str)
            What was found, a sentence each, and what makes it doubtful. What can't be measured
            (there is no angle of one vertebra, and no grade without HU) is among the latter.

        Raises
        ------
        SpineSegError
            Neither could be done.
        """
        node, told, doubts = self.segmentation, [], []
        errors: list[SpineSegError] = []
        for part, work in enumerate((self._angles, self._grades)):

            def shown(report: Report, part: int = part) -> None:
                on_progress(replace(report, fraction=(part + report.fraction) / 2))

            try:
                outcome = work(node, shown)
            except CancelledError:
                raise
            except SpineSegError as error:
                errors.append(error)
                doubts.append(str(error))
                continue
            told.append(outcome.summary())
            doubts += outcome.warnings
        if not told:
            raise errors[0]
        if stale.outOfDate(node):
            self.logic.corrections.refresh(node, self.volume)
        return told, doubts

    def _angles(self, node: Any, on_progress: OnProgress) -> Any:
        return self.cobb.spines.measure(node, planes=ENDS, onProgress=on_progress)

    def _grades(self, node: Any, on_progress: OnProgress) -> Any:
        if not cases.isCt(self.volume):
            raise InputError("Fractures are graded in CT only.")
        return self.fractures.search(self.volume, node, onProgress=on_progress)

    def export(self, target: Path, on_progress: OnProgress) -> Path:
        """Write everything that is not out of date as one archive; see `cases.exportCase`."""
        files = {
            f"{title.lower().replace(' ', '_')}.csv": cases.tableBytes(node)
            for title, node in self.tables().items()
            if not self.is_old(node)
        }
        with self._cancellable(on_progress) as progress:
            return cases.exportCase(self.segmentation, self.volume, target, files, progress)

    def cancel(self) -> None:
        """Ask what is under way to stop."""
        self.logic.cancel()
        self.cobb.cancel()
        self.fractures.cancel()
        if self._token is not None:
            self._token.cancel()

    def close(self) -> None:
        """End what is under way, and the child processes."""
        self.cancel()
        with suppress(InputError):
            self.logic.clicks.close()
        self.cobb.close()
        self.fractures.close()
        self._watch.stop()

    def _cancellable(self, on_progress: OnProgress) -> Any:
        return _Cancellable(self, on_progress)


class _Cancellable:
    """Work of this layer's own, with a progress that `Workspace.cancel` stops."""

    def __init__(self, workspace: Workspace, on_progress: OnProgress) -> None:
        self._workspace = workspace
        self._on_progress = on_progress

    def __enter__(self) -> Progress:
        token = self._workspace._token = CancelToken()
        return jobs.progressTo(self._on_progress, token)

    def __exit__(self, *error: object) -> None:
        self._workspace._token = None
