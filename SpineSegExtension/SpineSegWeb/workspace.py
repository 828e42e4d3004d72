"""The case that is open: its nodes, and what can be done with it. It knows no page.

Every method that takes long waits by `SpineSegWeb.waiting`, so it must be run by `on_loop`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from CobbAngleLib.Drawing import ENDS, planesOf
from CobbAngleLib.Logic import CobbLogic
from slicer import vtkMRMLScene
from spineseg.errors import InputError
from spineseg.progress import CancelToken, Progress
from SpineSegMRML import cases, jobs, picking, segmentations, segments
from SpineSegMRML.cobbjobs import spineInChild
from SpineSegMRML.history import Recording
from SpineSegMRML.jobs import Report
from VertebraSegmentLib.Logic import SegmentLogic

from SpineSegWeb.waiting import in_thread

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
        self.open = in_thread(worker.open)
        self.click = in_thread(worker.click)
        self.close = worker.close

    @property
    def warnings(self) -> list[str]:
        """What makes the open scan itself doubtful."""
        return list(self._worker.warnings)


class Workspace:
    """One case in a scene.

    Parameters
    ----------
    scene : vtkMRMLScene
    runner, spine_runner : callable
        As in `SegmentLogic` and `CobbLogic`; here without waiting.
    worker : ResidentWorker, optional

    Attributes
    ----------
    volume, segmentation, vertebrae : MRML nodes or None
        The scan, its segmentation, and the table of vertebrae that came with it.
    name : str
    changed : bool
        Whether the segments are others than those that the table of vertebrae tells of.
    """

    def __init__(
        self,
        scene: vtkMRMLScene,
        runner: Callable[..., Any] = jobs.segmentInChild,
        spine_runner: Callable[..., Any] = spineInChild,
        worker: Any = None,
    ) -> None:
        self.scene = scene
        self.logic = SegmentLogic(in_thread(runner), worker=WaitingWorker(worker))
        self.cobb = CobbLogic(spineRunner=in_thread(spine_runner))
        self.volume: Any = None
        self.segmentation: Any = None
        self.vertebrae: Any = None
        self.angles: list[Any] = []
        self.name = ""
        self.changed = False
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
        planes = () if self.segmentation is None else planesOf(self.segmentation).values()
        everything = (*planes, *self.angles, self.vertebrae, self.segmentation, self.volume)
        for old in everything:
            if old is not None and old.GetScene() is not None:
                segmentations.removeNode(old)
        self.changed = False
        self.volume, self.segmentation, self.vertebrae, self.angles = node, None, None, []
        self.name = name

    # Segments

    def segment(self, on_progress: OnProgress) -> Any:
        """Segment all vertebrae; see `SegmentLogic.segment`."""
        outcome = self.logic.segment(
            self.volume, self.segmentation, self.vertebrae, onProgress=on_progress
        )
        self.segmentation, self.vertebrae = outcome.segmentationNode, outcome.tableNode
        self.changed = False
        return outcome

    def click(self, point: tuple[float, float, float], on_progress: OnProgress) -> Any:
        """Segment the vertebra at a point (RAS mm); see `ClickLogic.click`."""
        outcome = self.logic.clicks.click(
            self.volume, point, self.segmentation, onProgress=on_progress
        )
        self.segmentation = outcome.segmentationNode
        return outcome

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
        """Return the tables that there are, by title; after an edit, not that of the run before."""
        titles = ("Vertebrae", "Angles", "Rotation and tilt")
        nodes = (None if self.changed else self.vertebrae, *self.angles)
        return {t: n for t, n in zip(titles, nodes) if n is not None and n.GetScene() is not None}

    def show_surfaces(self) -> None:
        """Bring the surfaces up to date with what was painted."""
        if self.segmentation is not None:
            self.segmentation.CreateClosedSurfaceRepresentation()

    # Measures, files

    def measure(self, on_progress: OnProgress) -> Any:
        """Measure the segmentation as it is now; see `SpineLogic.measure`."""
        outcome = self.cobb.spines.measure(self.segmentation, planes=ENDS, onProgress=on_progress)
        self.angles = [outcome.anglesNode, outcome.vertebraeNode]
        return outcome

    def export(self, target: Path, tables: dict[str, Any], on_progress: OnProgress) -> Path:
        """Write everything as one archive; see `cases.exportCase`.

        Parameters
        ----------
        tables : dict of str to vtkMRMLTableNode
            By title.
        """
        files = {
            f"{title.lower().replace(' ', '_')}.csv": cases.tableBytes(node)
            for title, node in tables.items()
        }
        with self._cancellable(on_progress) as progress:
            return cases.exportCase(self.segmentation, self.volume, target, files, progress)

    def cancel(self) -> None:
        """Ask what is under way to stop."""
        self.logic.cancel()
        self.cobb.cancel()
        if self._token is not None:
            self._token.cancel()

    def close(self) -> None:
        """End what is under way, and the child processes."""
        self.cancel()
        with suppress(InputError):
            self.logic.clicks.close()
        self.cobb.close()

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
