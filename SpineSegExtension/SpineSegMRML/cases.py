"""A case as a whole: a scan from a file into the scene, and everything out of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spineseg.errors import InputError
from spineseg.progress import Progress
from spineseg.volume import Volume

from SpineSegMRML import models, segmentations, volumes
from SpineSegMRML.i18n import tr as _

__all__ = [
    "WINDOWS",
    "exportCase",
    "isCt",
    "rowsOf",
    "scanFromFile",
    "setWindow",
    "showScan",
    "tableBytes",
]

CT_AIR_HU = -250
"""A scan that goes below this is taken for a CT: air or fat are there, and MR is not negative."""
WINDOWS = {"bone": (1400.0, 350.0), "soft": (400.0, 50.0)}
"""Width and level, HU."""
ABOUT = """\
{name}, exported by SpineSeg {version}. Not a medical device.

segmentation.nii.gz   label map on the scan's own grid, RAS; numbers below
segmentation.seg.nrrd the same for 3D Slicer, with names and colours
models/               a closed surface a segment (STL, mm, LPS), as it is now; pedicle points
                      and endplate planes beside them; export.json says what was checked
*.csv                 tables, UTF-8; units are in the headings

Numbers in the label map: {numbers}.
"""


def scanFromFile(
    path: str | Path, folder: Path, notes: list[str], progress: Progress | None = None
) -> tuple[Volume, str]:
    """Read a scan from a file, a DICOM folder, or a zip archive of either; touches no node.

    Parameters
    ----------
    path : str or Path
    folder : Path
        Where an archive is unpacked; made if it is needed.
    notes : list of str
        Receives a sentence for each thing that was chosen or repaired.
    progress : Progress, optional

    Returns
    -------
    (Volume, str)
        The scan, and its name.

    Raises
    ------
    SpineSegError
        As `spineseg.io.images.read_volume` and `spineseg.io.archives.unpack`.
    """
    from spineseg.io.archives import is_archive, unpack
    from spineseg.io.images import read_volume

    path = Path(path).expanduser()
    progress = progress or Progress()
    name = _nameOf(path)
    if path.is_file() and is_archive(path):
        path = unpack(path, folder, progress.part(0.0, 0.3))
    progress("read", 0.3, name)
    return read_volume(path, notes, progress=progress.part(0.3, 1.0)), name


def _nameOf(path: Path) -> str:
    name = path.name
    for ending in (".gz", ".zip", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm"):
        name = name.removesuffix(ending)
    return name or _("Scan")


def isCt(volumeNode: Any) -> bool:
    """Whether a volume's values look like HU, so that a window for bone fits them."""
    return bool(volumeNode.GetImageData().GetScalarRange()[0] < CT_AIR_HU)


def rowsOf(tableNode: Any) -> tuple[list[str], list[list[str]]]:
    """Return a table's titles, units included, and its cells as text; NaN is an empty cell."""
    table = tableNode.GetTable()
    columns = [table.GetColumn(index) for index in range(table.GetNumberOfColumns())]
    titles = [tableNode.GetColumnTitle(c.GetName()) or c.GetName() for c in columns]
    rows = [[_cell(column, row) for column in columns] for row in range(table.GetNumberOfRows())]
    return titles, rows


def _cell(column: Any, row: int) -> str:
    value = column.GetValue(row)
    if isinstance(value, str):
        return value
    return "" if value != value else f"{value + 0.0:g}"  # NaN is not itself; no negative zero


def tableBytes(tableNode: Any) -> bytes:
    """Return a table as a CSV file (UTF-8), with its titles and units in the first line."""
    titles, rows = rowsOf(tableNode)
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([titles, *rows])
    return buffer.getvalue().encode()


def exportCase(
    segmentationNode: Any,
    sourceNode: Any,
    target: str | Path,
    files: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a case as one zip archive: label map, models, tables. All of it, or nothing.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
        As it is now.
    sourceNode : vtkMRMLVolumeNode
        The volume that was segmented.
    target : str or Path
        The archive, ``.zip``.
    files : mapping of str to bytes, optional
        More to put in, by name: tables.
    progress : Progress, optional

    Raises
    ------
    InputError
        There is nothing to export, or the file can't be written.
    CancelledError
        The progress was cancelled; nothing was written.
    """
    import tempfile

    from spineseg.atomic import atomic_path

    progress = progress or Progress()
    with tempfile.TemporaryDirectory(prefix="spineseg-export-") as temporary:
        folder = Path(temporary) / "case"
        reason = models.exportProblem(segmentationNode, sourceNode, folder)
        if reason:
            raise InputError(reason)
        folder.mkdir()
        models.exportModels(
            segmentationNode, sourceNode, folder / "models", progress=progress.part(0.0, 0.7)
        )
        _writeLabels(segmentationNode, sourceNode, folder, progress.part(0.7, 0.9))
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        with atomic_path(target) as part:
            _pack(folder, part, progress.part(0.9, 1.0))
    progress("save", 1.0)
    return Path(target)


def _pack(folder: Path, target: Path, progress: Progress) -> None:
    import zipfile

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(target, "w") as archive:
        for index, path in enumerate(files):
            progress("save", index / len(files), path.name)
            packed = path.suffix in (".gz", ".nrrd")  # they are compressed already
            how = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            archive.write(path, path.relative_to(folder).as_posix(), how)


def _writeLabels(segmentationNode: Any, sourceNode: Any, folder: Path, progress: Progress) -> None:
    import spineseg
    from spineseg.io.images import write_volume
    from spineseg.io.segmentations import write_seg_nrrd

    volume, named = segmentations.labelVolumeFromNode(segmentationNode, sourceNode)
    progress("save", 0.0, "segmentation.nii.gz")
    write_volume(volume, folder / "segmentation.nii.gz")
    progress("save", 0.5, "segmentation.seg.nrrd")
    write_seg_nrrd(volume, folder / "segmentation.seg.nrrd")
    numbers = ", ".join(f"{label} {name}" for label, name in named.items())
    text = ABOUT.format(
        name=sourceNode.GetName(), version=spineseg.__version__, numbers=numbers or "none"
    )
    (folder / "README.txt").write_text(text, encoding="utf-8", newline="\n")


def showScan(scene: Any, volume: Volume, name: str) -> Any:
    """Add a scan to the scene, with a window that shows bone if it is a CT; return its node."""
    node = volumes.addVolumeNode(scene, volume, name)
    setWindow(node, "bone" if isCt(node) else "")
    return node


def setWindow(volumeNode: Any, name: str) -> None:
    """Show a volume in a window of `WINDOWS`; any other name lets its values choose."""
    display = volumeNode.GetDisplayNode()
    if name not in WINDOWS:
        display.SetAutoWindowLevel(True)
        return
    display.SetAutoWindowLevel(False)
    width, level = WINDOWS[name]
    display.SetWindowLevel(width, level)
