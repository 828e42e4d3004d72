"""From a CT to graded vertebrae whose points a user may move. It knows no windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from spineseg import fracture, labels, registry
from spineseg.errors import CancelledError, InputError
from SpineSegMRML import segmentations, stale, tables, volumes
from SpineSegMRML.choices import AUTOMATIC, deviceSettings
from SpineSegMRML.fracturejobs import FracturesFound, fracturesInChild
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.jobs import Report
from SpineSegMRML.markupswatch import MarkupsWatch
from SpineSegMRML.results import Results
from SpineSegMRML.runs import Runs

from FractureDetectLib import Inputs, Points, Views
from FractureDetectLib.Findings import COLUMNS, FractureOutcome, rowsOf
from FractureDetectLib.Networks import Networks
from FractureDetectLib.Record import FOUND, SCAN_ROLE, Record, recordOf
from FractureDetectLib.Steps import Snapshot, Steps, snapshotOf

__all__ = ["MODULE", "TABLE_ROLE", "FractureLogic"]

MODULE = "FractureDetect"
TABLE_ROLE = "SpineSegFractures"
"""Role of a segmentation's reference to its table."""


class FractureLogic:
    """What the module does; the same for its panel, a script and the browser app.

    Parameters
    ----------
    runner : callable
        Searches, called as `fracturesInChild` is; by default in a child process.

    Attributes
    ----------
    showPoints, showSides, colorSuspects : bool
        What the views show of a search from its next `refresh` on.
    networks : Networks
        What the networks see of what was searched.
    """

    def __init__(self, runner: Callable[..., FracturesFound] = fracturesInChild) -> None:
        self._runner = runner
        self._runs = Runs()
        self._steps = Steps()
        self._record: tuple[str, Record] | None = None
        self.networks = Networks(self._runs, self._recordOf, MODULE)
        self.watch = MarkupsWatch(Points.listsOf, Points.KIND)
        self.showPoints = self.showSides = self.colorSuspects = True

    @property
    def running(self) -> bool:
        """Whether a search is under way."""
        return self._runs.running

    def cancel(self) -> None:
        """Ask the search to stop; nothing happens if there is none."""
        self._runs.cancel()

    def close(self) -> None:
        """Stop what is under way, and follow no points any more: the scene or the panel closes."""
        self._runs.cancel()
        self.watch.stop()
        self._steps.clear()
        self.networks.clear()

    # Before a search

    def validate(
        self,
        scanNode: Any,
        segmentationNode: Any = None,
        method: str = registry.DEFAULT_SEGMENT,
    ) -> str:
        """Return why nothing can be searched now, in one sentence; "" if it can.

        Parameters
        ----------
        scanNode : vtkMRMLScalarVolumeNode or None
        segmentationNode : vtkMRMLSegmentationNode, optional
            Of its vertebrae; without one the CT is segmented first, by `method`.
        """
        return Inputs.problem(scanNode, segmentationNode, method)

    # Searching

    def search(
        self,
        scanNode: Any,
        segmentationNode: Any = None,
        method: str = registry.DEFAULT_SEGMENT,
        keepEdits: bool = True,
        device: str = AUTOMATIC,
        onProgress: Callable[[Report], None] | None = None,
    ) -> FractureOutcome:
        """Search a CT for fractured vertebrae and put the result beside it.

        The scene is touched only when the result is there and sound: after an error or a cancel
        it is as it was.

        Parameters
        ----------
        scanNode : vtkMRMLScalarVolumeNode
            CT in HU; any orientation, also under linear transforms.
        segmentationNode : vtkMRMLSegmentationNode, optional
            Its vertebrae, called as in the label table. Without one the CT is segmented first,
            into a new node.
        method : str
            Row of the registry that segments.
        keepEdits : bool
            Whether points that the user has moved stay where they are.
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
        reason = self.validate(scanNode, segmentationNode, method)
        if reason:
            raise InputError(reason)
        volume = volumes.volumeFromNode(scanNode)
        given = None if segmentationNode is None else Inputs.vertebrae(segmentationNode, scanNode)
        with self._runs.on(scanNode) as token:
            found = self._runner(
                volume, given, method, settings=deviceSettings(device) if given is None else {},
                onProgress=onProgress, token=token,
            )  # fmt: skip
        if given is not None:
            if segmentationNode.GetScene() is not scanNode.GetScene():
                raise CancelledError(_("The segmentation was closed during the search."))
            now = segmentations.vertebraVolumeFromNode(segmentationNode, scanNode)
            if segmentations.fingerprintOf(now) != segmentations.fingerprintOf(given):
                raise InputError(
                    _("The segmentation was edited during the search."), _("Start again.")
                )
            found = Inputs.withAbsent(found, segmentationNode, given)
        return self._show(scanNode, segmentationNode, found, keepEdits)

    def _show(
        self, scanNode: Any, segmentationNode: Any, found: FracturesFound, keepEdits: bool
    ) -> FractureOutcome:
        """Put a sound result into the scene; if that fails, take it out again."""
        with Results(scanNode) as results, self.watch.unnoticed():
            node = segmentationNode
            if found.labelVolume is not None:
                name = _("{volume} vertebrae").format(volume=scanNode.GetName())
                node = results.segmentation(found.labelVolume, name)
                node.CreateClosedSurfaceRepresentation()
            before = snapshotOf(node)
            former = recordOf(node)
            results.onFailure(self._putBack, before, node.GetNodeReference(TABLE_ROLE) is None)
            kept = former.moved(before.sixes) if former is not None and keepEdits else {}
            searched = segmentations.vertebraVolumeFromNode(node, scanNode)
            record = Record(
                found.state,
                volumes.parentMatrix(scanNode),
                segmentations.fingerprintOf(searched),
                found.seconds,
            )
            node.SetNodeReferenceID(SCAN_ROLE, scanNode.GetID())
            node.SetAttribute(FOUND, record.toText())
            sixes = {n: kept.get(n, six) for n, six in record.sixes().items()}
            self._setPoints(node, sixes)
            outcome = self._refresh(node)
            stale.madeFrom(outcome.tableNode, node, MODULE)
        if before.found is not None:
            self._steps.add(before)
        self._steps.settle(node)
        self.networks.dropOld(node)
        return replace(outcome, seconds=found.seconds)

    def _setPoints(self, segmentationNode: Any, sixes: dict[int, Any]) -> None:
        record = self._recordOf(segmentationNode)
        scanNode = segmentationNode.GetNodeReference(SCAN_ROLE)
        there = list(Points.listsOf(segmentationNode).values())
        over = next((node for node in (scanNode, *there) if node is not None), None)
        transformId = None if over is None else over.GetTransformNodeID()
        sides = {} if record is None else record.sides()
        Points.setLists(segmentationNode, sixes, transformId)
        Points.setSides(segmentationNode, sides, transformId)

    def _putBack(self, before: Snapshot, withoutTable: bool = False) -> None:
        """Bring a segmentation's search and points back to what they were."""
        node = before.segmentationNode
        table = node.GetNodeReference(TABLE_ROLE)
        if withoutTable and table is not None:
            segmentations.removeNode(table)
        if before.found is None:
            node.RemoveAttribute(FOUND)
        else:
            node.SetAttribute(FOUND, before.found)
        self._setPoints(node, dict(before.sixes))

    # What there is now

    def _recordOf(self, segmentationNode: Any) -> Record | None:
        """Return the record of a segmentation; while a point is dragged, it is not read anew."""
        text = segmentationNode.GetAttribute(FOUND) if segmentationNode is not None else None
        if not text:
            return None
        if self._record is None or self._record[0] != text:
            self._record = (text, Record.fromText(text))
        return self._record[1]

    def isSearched(self, segmentationNode: Any) -> bool:
        """Whether a segmentation was searched."""
        return segmentationNode is not None and bool(segmentationNode.GetAttribute(FOUND))

    def tableOf(self, segmentationNode: Any) -> Any:
        """Return the table of a segmentation; None where it has none."""
        return None if segmentationNode is None else segmentationNode.GetNodeReference(TABLE_ROLE)

    def edited(self, segmentationNode: Any) -> list[str]:
        """Return the names of the vertebrae whose points a user has moved, from the top."""
        record = self._recordOf(segmentationNode)
        moved = {} if record is None else record.moved(Points.sixesOf(segmentationNode))
        return [labels.display_name(label) for label in moved]

    def follow(
        self,
        segmentationNode: Any,
        onChange: Callable[[], None],
        later: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """Tell of each change to a segmentation's points; see `MarkupsWatch.follow`."""
        if segmentationNode is not self.watch.ownerNode:
            self._steps.settle(segmentationNode)
        self.watch.follow(segmentationNode, onChange, later)

    def refresh(self, segmentationNode: Any) -> FractureOutcome:
        """Grade again with the points as they are, and bring table and colours up to date.

        Raises
        ------
        InputError
            It was not searched yet.
        """
        self._steps.notice(segmentationNode, self.watch.drags)
        return self._refresh(segmentationNode)

    def _refresh(self, segmentationNode: Any) -> FractureOutcome:
        record = self._recordOf(segmentationNode)
        if record is None:
            raise InputError(_("Search the segmentation for fractures first."))
        state = record.asMoved(Points.sixesOf(segmentationNode))
        findings, probability = state.findings()
        table = self._table(segmentationNode)
        tables.setRows(table, COLUMNS, rowsOf(findings, state.moved))
        with self.watch.unnoticed():
            colors = {f.graded.body.label: Views.colorOf(f) for f in findings}
            Points.colorLists(segmentationNode, colors)
            Points.showLists(segmentationNode, self.showPoints, self.showSides)
            Views.colorSegments(segmentationNode, findings, self.colorSuspects)
        return FractureOutcome(
            findings, probability, segmentationNode, table, state.moved, state.warnings(findings),
            record.seconds,
        )  # fmt: skip

    @staticmethod
    def _table(segmentationNode: Any) -> Any:
        node = segmentationNode.GetNodeReference(TABLE_ROLE)
        if node is None:
            scanNode = segmentationNode.GetNodeReference(SCAN_ROLE)
            name = _("{volume} fractures").format(volume=(scanNode or segmentationNode).GetName())
            node = tables.addTableNode(segmentationNode.GetScene(), name)
            segmentationNode.SetNodeReferenceID(TABLE_ROLE, node.GetID())
            segmentations.placeBeside(node, scanNode or segmentationNode)
        return node

    # Points

    def validateAsFound(self, segmentationNode: Any) -> str:
        """Return why no points can be put back to where they were found, in one sentence."""
        record = self._recordOf(segmentationNode)
        if record is None:
            return _("Nothing was searched yet.")
        now, found = Points.sixesOf(segmentationNode), record.sixes()
        if set(now) == set(found) and not record.moved(now):
            return _("Every point is where it was found.")
        return ""

    def asFound(self, segmentationNode: Any) -> FractureOutcome:
        """Put all points back to where they were found."""
        self._runs.requireNone()
        record = self._recordOf(segmentationNode)
        if record is None:
            raise InputError(_("Nothing was searched yet."))
        self._steps.add(snapshotOf(segmentationNode))
        sixes = record.sixes()
        return self._changed(segmentationNode, lambda: self._setPoints(segmentationNode, sixes))

    @property
    def canUndo(self) -> bool:
        """Whether a move, a search or a return to what was found can be taken back."""
        return self._steps.canUndo

    def undo(self) -> FractureOutcome:
        """Take the last move of a point back, or the last search again or “As found”.

        Raises
        ------
        InputError
            There is nothing to undo.
        """
        self._runs.requireNone()
        if not self.canUndo:
            raise InputError(_("There is nothing to undo."))
        before = self._steps.pop()
        return self._changed(before.segmentationNode, lambda: self._putBack(before))

    def _changed(self, segmentationNode: Any, change: Callable[[], None]) -> FractureOutcome:
        with self.watch.unnoticed():
            change()
        self._steps.settle(segmentationNode)
        return self._refresh(segmentationNode)

    # Views

    def jump(self, scene: Any, segmentationNode: Any, level: str, ownPlane: bool = True) -> bool:
        """Bring the slice views and the crosshair to a vertebra; return whether it is there.

        Parameters
        ----------
        scene : vtkMRMLScene
        segmentationNode : vtkMRMLSegmentationNode
            That was searched.
        level : str
            As in the table.
        ownPlane : bool
            Whether the sagittal view turns into the vertebra's own middle plane, where its six
            points are.
        """
        record = self._recordOf(segmentationNode)
        bodies = [] if record is None else [b for b in record.state.bodies if b.name == level]
        if record is None or not bodies:
            return False
        scanNode = segmentationNode.GetNodeReference(SCAN_ROLE)
        now = record.frame if scanNode is None else volumes.parentMatrix(scanNode)
        moved = now @ np.linalg.inv(record.frame)
        centre = moved[:3, :3] @ bodies[0].centre + moved[:3, 3]
        axes = None
        if ownPlane and bodies[0].axes is not None:
            axes = moved[:3, :3] @ bodies[0].axes
            axes = axes / np.linalg.norm(axes, axis=0)
        Views.jumpTo(scene, centre, axes)
        return True

    # Files

    def validateExport(self, segmentationNode: Any, folder: Path | None) -> str:
        """Return why nothing can be written now, in one sentence; "" if it can."""
        if not self.isSearched(segmentationNode):
            return _("Search for fractures first.")
        if segmentationNode.GetNodeReference(SCAN_ROLE) is None:
            return _("The CT that was searched is not in the scene any more.")
        # An empty path widget gives the current folder, which nobody has chosen.
        if folder is None or str(folder) in ("", "."):
            return _("Choose a folder for the files.")
        return ""

    def export(self, segmentationNode: Any, folder: str | Path) -> Path:
        """Write what is graded now as ``spineseg fracture`` does: all files, or none.

        ``report.html``, ``fractures.csv``, ``fractures.json`` and ``run.json``, and the label map
        where it was made on the way.

        Raises
        ------
        InputError
            One sentence, also where the segmentation was edited since; nothing was written.
        """
        reason = self.validateExport(segmentationNode, Path(folder))
        if reason:
            raise InputError(reason)
        record = self._recordOf(segmentationNode)
        assert record is not None
        scanNode = segmentationNode.GetNodeReference(SCAN_ROLE)
        volume = segmentations.vertebraVolumeFromNode(segmentationNode, scanNode)
        if segmentations.fingerprintOf(volume) != record.fingerprint:
            raise InputError(
                _("The segmentation was edited or moved since it was searched."),
                _("Search again."),
            )
        found = record.asMoved(Points.sixesOf(segmentationNode)).fractures(volume)
        scan = volumes.volumeFromNode(scanNode)
        return fracture.save_fractures(found, scan, folder, title=scanNode.GetName())
