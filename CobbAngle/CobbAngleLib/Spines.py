"""Segmentations: the angles of their spine, shown as endplate planes, and files of all that."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spineseg import cobb, cobb_tables
from spineseg.errors import InputError, SpineSegError
from spineseg.measure.spine_angles import SpineAngles
from spineseg.measure.spine_json import spine_from_json
from spineseg.volume import Volume
from SpineSegMRML import segmentations, stale, tables
from SpineSegMRML.cobbjobs import SpineFound, spineInChild
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.jobs import Report
from SpineSegMRML.runs import Runs

from CobbAngleLib.Drawing import ENDS, showPlanes
from CobbAngleLib.Films import ANGLES_ROLE

__all__ = ["SpineLogic", "SpineOutcome"]

MODULE = "CobbAngle"
MEASURED = "SpineSeg.Angles"
"""Attribute of a segmentation's node: JSON of what was measured, and of which voxels."""
LEVELS_ROLE = "SpineSegVertebrae"


@dataclass(frozen=True)
class SpineOutcome:
    """What a measurement has put into the scene."""

    angles: SpineAngles
    anglesNode: Any
    vertebraeNode: Any
    planeNodes: list[Any]
    seconds: float = 0.0

    @property
    def warnings(self) -> list[str]:
        """One sentence for everything that makes the result doubtful."""
        return list(self.angles.warnings)

    def summary(self) -> str:
        """Return one sentence for a user."""
        found = self.angles
        parts = []
        if found.coronal is not None and found.maximum is not None:
            ends = found.coronal.named(found.levels)
            text = _("Coronal Cobb {angle:.1f}° ({upper} to {lower}), 3D {three:.1f}°")
            parts.append(
                text.format(
                    angle=found.coronal.angle_deg,
                    upper=ends["upper_end"],
                    lower=ends["lower_end"],
                    three=found.maximum.angle_deg,
                )
            )
        if found.kyphosis_deg is not None:
            parts.append(_("kyphosis {angle:.1f}°").format(angle=found.kyphosis_deg))
        if found.lordosis_deg is not None:
            parts.append(_("lordosis {angle:.1f}°").format(angle=found.lordosis_deg))
        return (", ".join(parts) or _("No angle could be measured")) + "."


class SpineLogic:
    """Measures segmentations of vertebrae.

    Parameters
    ----------
    runs : Runs
        Shared with the rest of the module.
    runner : callable
        Measures, called as `spineInChild` is.
    """

    def __init__(self, runs: Runs, runner: Callable[..., SpineFound] = spineInChild) -> None:
        self._runs = runs
        self._runner = runner

    def validate(self, segmentationNode: Any) -> str:
        """Return why a segmentation can't be measured, in one sentence; "" if it can."""
        if segmentationNode is None:
            return _("Choose a segmentation of vertebrae.")
        try:
            segmentations.SegmentationGrid(segmentationNode)
            found = segmentations.vertebraeIn(segmentationNode)
        except SpineSegError as error:
            return str(error)
        if len(found) < 2:
            text = _("“{name}” holds too few segments that are called as vertebrae (L1, L2 …): {n},"
                     " but an angle needs two.")  # fmt: skip
            return text.format(name=segmentationNode.GetName(), n=len(found))
        return ""

    def measure(
        self,
        segmentationNode: Any,
        planes: str = ENDS,
        anglesNode: Any = None,
        vertebraeNode: Any = None,
        onProgress: Callable[[Report], None] | None = None,
    ) -> SpineOutcome:
        """Measure a segmentation as it is now, and show its endplates as planes.

        The scene is touched only when the result is there: after an error or a cancel it is as it
        was. Angles are those of the world's axes.

        Parameters
        ----------
        segmentationNode : vtkMRMLSegmentationNode
            Segments are called as in the label table; others do not count.
        planes : str
            Which endplates are shown: `Drawing.ENDS`, `ALL` or `NOTHING`.
        anglesNode, vertebraeNode : vtkMRMLTableNode, optional
            Take the tables; by default those of the segmentation do, or new ones.
        onProgress : callable, optional
            Called in this thread about every 50 ms with a `Report`; may call `cancel`.

        Raises
        ------
        SpineSegError
            One sentence, with its remedy; `CancelledError` after `cancel`.
        """
        self._runs.requireNone()
        reason = self.validate(segmentationNode)
        if reason:
            raise InputError(reason)
        with self._runs.on(segmentations.SegmentationGrid(segmentationNode)) as token:
            volume = _labelVolumeOf(segmentationNode)
            before = segmentations.fingerprintOf(volume)
            found = self._runner(volume, onProgress=onProgress, token=token)
        if segmentations.fingerprintOf(_labelVolumeOf(segmentationNode)) != before:
            raise InputError(
                _("The segmentation was edited while it was measured."), _("Start again.")
            )
        content = {**found.angles.to_json(), "fingerprint": before, "seconds": found.seconds}
        for role, node in ((ANGLES_ROLE, anglesNode), (LEVELS_ROLE, vertebraeNode)):
            if node is not None and node.GetScene() is segmentationNode.GetScene():
                segmentationNode.SetNodeReferenceID(role, node.GetID())
        former = segmentationNode.GetAttribute(MEASURED)
        segmentationNode.SetAttribute(MEASURED, json.dumps(content))
        try:
            shown = self._show(segmentationNode, planes)
            for node in (shown.anglesNode, shown.vertebraeNode):
                stale.madeFrom(node, segmentationNode, MODULE, before)
            return replace(shown, seconds=found.seconds)
        except Exception:
            if former is None:
                segmentationNode.RemoveAttribute(MEASURED)
            else:
                segmentationNode.SetAttribute(MEASURED, former)
            raise

    def angles(self, segmentationNode: Any) -> SpineAngles | None:
        """Return what was measured last in a segmentation; None if it never was."""
        text = segmentationNode.GetAttribute(MEASURED) if segmentationNode is not None else None
        return spine_from_json(json.loads(text)) if text else None

    def showPlanes(self, segmentationNode: Any, planes: str) -> list[Any]:
        """Show other endplates of what was measured last; return the planes."""
        return showPlanes(segmentationNode, self.angles(segmentationNode), planes)

    def _show(self, segmentationNode: Any, planes: str) -> SpineOutcome:
        angles = self.angles(segmentationNode)
        assert angles is not None
        anglesNode = self._table(segmentationNode, ANGLES_ROLE, _("{name} angles"))
        vertebraeNode = self._table(segmentationNode, LEVELS_ROLE, _("{name} rotation and tilt"))
        rows = cobb_tables.spine_angles(angles), cobb_tables.spine_vertebrae(angles)
        nodes = showPlanes(segmentationNode, angles, planes)
        tables.setRows(anglesNode, cobb_tables.ANGLES, rows[0])
        tables.setRows(vertebraeNode, cobb_tables.VERTEBRAE, rows[1])
        return SpineOutcome(angles, anglesNode, vertebraeNode, nodes)

    @staticmethod
    def _table(segmentationNode: Any, role: str, text: str) -> Any:
        node = segmentationNode.GetNodeReference(role)
        if node is None:
            name = text.format(name=segmentationNode.GetName())
            node = tables.addTableNode(segmentationNode.GetScene(), name)
            segmentationNode.SetNodeReferenceID(role, node.GetID())
            segmentations.placeBeside(node, segmentationNode)
        return node

    def validateExport(self, segmentationNode: Any, folder: Path | None) -> str:
        """Return why nothing can be written now, in one sentence; "" if it can."""
        reason = self.validate(segmentationNode)
        if reason:
            return reason
        if not segmentationNode.GetAttribute(MEASURED):
            return _("Measure the segmentation first.")
        # An empty path widget gives the current folder, which nobody has chosen.
        if folder is None or str(folder) in ("", "."):
            return _("Choose a folder for the files.")
        return ""

    def export(
        self, segmentationNode: Any, folder: str | Path, more: Mapping[str, bytes] | None = None
    ) -> Path:
        """Write what was measured last: all files, or none.

        ``result.json``, ``report.html`` and ``run.json`` as ``spineseg cobb`` writes them,
        ``angles.csv``, ``vertebrae.csv``, ``report.txt`` for a DICOM text field, and pictures from
        behind and from the left.

        Raises
        ------
        InputError
            One sentence, also where the segmentation was edited since; nothing was written.
        """
        from spineseg.cobb_pictures import spine_png

        reason = self.validateExport(segmentationNode, Path(folder))
        if reason:
            raise InputError(reason)
        content = json.loads(segmentationNode.GetAttribute(MEASURED))
        volume = _labelVolumeOf(segmentationNode)
        if segmentations.fingerprintOf(volume) != content["fingerprint"]:
            raise InputError(
                _("The segmentation was edited or moved since it was measured."),
                _("Measure it again."),
            )
        angles, name = spine_from_json(content), segmentationNode.GetName()
        rows = cobb_tables.spine_angles(angles), cobb_tables.spine_vertebrae(angles)
        files = {
            "angles.csv": cobb_tables.csv_bytes(cobb_tables.ANGLES, rows[0]),
            "vertebrae.csv": cobb_tables.csv_bytes(cobb_tables.VERTEBRAE, rows[1]),
            "report.txt": cobb_tables.spine_text(angles, name),
            "coronal.png": spine_png(angles, volume, "coronal"),
            "sagittal.png": spine_png(angles, volume, "sagittal"),
            **(more or {}),
        }
        return cobb.save_spine(
            angles, volume, folder, title=name, seconds=content["seconds"], more=files
        )


def _labelVolumeOf(segmentationNode: Any) -> Volume:
    """Return the vertebrae of a segmentation as it is now, on its own grid."""
    grid = segmentations.SegmentationGrid(segmentationNode)
    return segmentations.vertebraVolumeFromNode(segmentationNode, grid)
