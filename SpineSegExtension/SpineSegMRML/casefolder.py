"""Everything of a case in one folder: label map, models, landmarks, tables, and the scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import spineseg
from spineseg.errors import InputError, SpineSegError
from spineseg.manifest import FILE_NAME, RunManifest, foreign_files, machine, now, output_hashes
from spineseg.progress import Progress

from SpineSegMRML import cases, guide, models, segmentations, stale
from SpineSegMRML.i18n import tr as _

__all__ = ["SCENE", "exportProblem", "writeCase"]

SCENE = "case.mrb"
MODELS = "models"
ABOUT = """\
{name}, exported by SpineSeg {version}. Not a medical device.

segmentation.nii.gz    label map on the scan's own grid; numbers below
segmentation.seg.nrrd  the same for 3D Slicer, with names and colours
models/                a closed surface a vertebra, pedicle points and endplate planes: mm, LPS;
                       export.json says what was checked
tables/                what was measured, UTF-8; units are in the headings
case.mrb               the whole scene, for 3D Slicer
run.json               what made this, and the hash of each file

Numbers in the label map: {numbers}.
"""
NAMES = (
    "segmentation.nii.gz", "segmentation.seg.nrrd", "README.txt", MODELS, "tables", SCENE, FILE_NAME
)  # fmt: skip


def exportProblem(scanNode: Any, folder: Path | None) -> str:
    """Return why a case can't be exported now, in one sentence; "" if it can."""
    if scanNode is None or scanNode.GetImageData() is None:
        return _("Choose a scan.")
    node = guide.segmentationOf(scanNode)
    if node is None:
        return _("Segment the scan first.")
    return models.exportProblem(node, scanNode, folder)


def writeCase(
    scanNode: Any, folder: str | Path, fileFormat: str = "STL", progress: Progress | None = None
) -> list[str]:
    """Write a case as one folder: all of it, or nothing.

    ``segmentation.nii.gz`` and ``.seg.nrrd``, ``models`` with landmarks and what was checked,
    ``tables`` as CSV, ``case.mrb`` with the whole scene, ``README.txt`` and ``run.json``.

    Parameters
    ----------
    scanNode : vtkMRMLScalarVolumeNode
        The scene is the one that it is in.
    folder : str or Path
        Made if it is missing. Files of an earlier export are replaced, but none that somebody
        has edited or made.
    fileFormat : str
        Of the models.
    progress : Progress, optional

    Returns
    -------
    list of str
        What to tell the user.

    Raises
    ------
    InputError
        There is nothing to export, files would be lost, or the folder can't be written.
    CancelledError
        The progress was cancelled; nothing was written.
    """
    from spineseg.atomic import atomic_folder

    reason = exportProblem(scanNode, Path(folder))
    if reason:
        raise InputError(reason)
    target, progress = Path(folder), progress or Progress()
    lost = foreign_files(target, NAMES) if target.is_dir() else []
    if lost:
        raise InputError(
            _("The folder holds files that were made or edited by somebody: {names}.").format(
                names=", ".join(lost[:3])
            ),
            _("Choose another folder, or move them."),
        )
    node = guide.segmentationOf(scanNode)
    with atomic_folder(target) as part:
        done = models.exportModels(
            node, scanNode, part / MODELS, fileFormat, progress.part(0.0, 0.5)
        )
        progress("save", 0.5, "segmentation")
        _writeLabels(node, scanNode, part)
        (part / "tables").mkdir()
        for table in _tables(node):
            name = "".join(c if c.isalnum() or c in "-_" else "_" for c in table.GetName())
            (part / "tables" / f"{name}.csv").write_bytes(cases.tableBytes(table))
        progress("save", 0.8, SCENE)
        _writeScene(scanNode.GetScene(), part / SCENE)
        manifest = RunManifest(
            task="case", method=fileFormat, warnings=done.warnings, created=now(),
            machine=machine(), outputs=output_hashes(part),
        )  # fmt: skip
        manifest.write(part / FILE_NAME)
    scanNode.SetAttribute(guide.EXPORTED, stale.stateOf(node))
    text = _("The case is in {folder}: {summary}").format(folder=target, summary=done.summary())
    old = stale.outOfDate(node)
    warning = _("Out of date when exported: {names}.").format(names=", ".join(old))
    return [text, *done.warnings, *([warning] if old else [])]


def _writeLabels(segmentationNode: Any, scanNode: Any, folder: Path) -> None:
    from spineseg.io.images import write_volume
    from spineseg.io.segmentations import write_seg_nrrd

    volume, named = segmentations.labelVolumeFromNode(segmentationNode, scanNode)
    write_volume(volume, folder / "segmentation.nii.gz")
    write_seg_nrrd(volume, folder / "segmentation.seg.nrrd")
    numbers = ", ".join(f"{label} {name}" for label, name in named.items())
    text = ABOUT.format(name=scanNode.GetName(), version=spineseg.__version__, numbers=numbers)
    (folder / "README.txt").write_text(text, encoding="utf-8", newline="\n")


def _tables(segmentationNode: Any) -> list[Any]:
    """Return the tables that were made from a segmentation, each name once."""
    found = [n for n in stale.dependents(segmentationNode) if n.IsA("vtkMRMLTableNode")]
    return list({table.GetName(): table for table in found}.values())


def _writeScene(scene: Any, path: Path) -> None:
    if not scene.WriteToMRB(str(path), None):
        raise SpineSegError(
            _("The scene could not be saved as {name}.").format(name=path.name),
            _("Save it in Slicer (File, Save) to see which node is the reason."),
        )
