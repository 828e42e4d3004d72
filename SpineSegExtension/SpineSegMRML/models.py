"""Surface models of a segmentation node, as files for printing and planning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from spineseg import labels
from spineseg.errors import InputError
from spineseg.progress import Progress
from spineseg.volume import Volume

from SpineSegMRML.i18n import tr as _
from SpineSegMRML.layers import masks
from SpineSegMRML.names import VERTEBRA, meaningOf
from SpineSegMRML.segmentations import labelFor
from SpineSegMRML.volumes import volumeFromNode

__all__ = ["FORMATS", "exportModels", "exportProblem", "vertebraSurfaces"]

FORMATS = ("STL", "OBJ", "PLY")


def exportProblem(segmentationNode: Any, sourceNode: Any, folder: Path | None) -> str:
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


def exportModels(
    segmentationNode: Any,
    sourceNode: Any,
    folder: str | Path,
    fileFormat: str = "STL",
    progress: Progress | None = None,
) -> list[Path]:
    """Write one closed surface for each segment, as it is now: mm, LPS, in world coordinates.

    The library makes the surfaces, not Slicer's own exporter: that one overwrites files of
    segments of one name without a word, and its OBJ needs OpenGL.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    sourceNode : vtkMRMLVolumeNode
        The volume whose grid the segments are on.
    folder : str or Path
        Made if it is missing. All files appear together at the end, or none.
    fileFormat : {"STL", "OBJ", "PLY"}
    progress : Progress, optional

    Returns
    -------
    list of Path
        The files: the label's number and the segment's name, such as ``20_L1.stl``.

    Raises
    ------
    InputError
        There is nothing to export, the format is unknown, or the folder can't be written.
    CancelledError
        The progress was cancelled; nothing was written.
    """
    from spineseg.atomic import atomic_folder
    from spineseg.io.meshes import vertebra_mesh, write_mesh

    if fileFormat not in FORMATS:
        raise InputError(
            _("The mesh format {format} is unknown.").format(format=fileFormat),
            _("Use one of {formats}.").format(formats=", ".join(FORMATS)),
        )
    progress = progress or Progress()
    found = masks(segmentationNode, sourceNode)
    if not found:
        raise InputError(_("The segmentation is empty."), _("Segment the volume first."))
    grid = volumeFromNode(sourceNode).grid
    numbers: dict[str, dict[int, str]] = {}
    files = []
    with atomic_folder(folder) as part:
        for index, (segmentId, mask) in enumerate(found.items()):
            name = segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()
            progress("models", index / len(found), name)
            # Each by itself, for a body lies inside its vertebra.
            box = grid.shifted(mask.low, mask.array.shape)
            mesh = vertebra_mesh(Volume(mask.array.astype("uint8"), box.affine), 1)
            fileName = f"{_numberOf(name, numbers):02d}_{_fileNameOf(name)}.{fileFormat.lower()}"
            write_mesh(mesh, part / fileName, "LPS", name)
            files.append(Path(folder) / fileName)
    progress("models", 1.0)
    return files


def vertebraSurfaces(
    segmentationNode: Any, sourceNode: Any, progress: Progress | None = None
) -> dict[str, Any]:
    """Return the closed surface of each vertebra, as it is now.

    Parameters are as in `exportModels`; so are the surfaces, but for their coordinates.

    Returns
    -------
    dict of str to vtkPolyData
        By level ("L1"), or by number ("101") where it is unsure, as the library's validation
        calls them; RAS mm of the world. Of two segments of one name, the first.

    Raises
    ------
    CancelledError
        The progress was cancelled.
    """
    from spineseg.io.meshes import vertebra_mesh
    from spineseg.validation import level_name

    progress = progress or Progress()
    segmentation = segmentationNode.GetSegmentation()
    grid = volumeFromNode(sourceNode).grid
    found = masks(segmentationNode, sourceNode)
    surfaces: dict[str, Any] = {}
    for index, (segmentId, mask) in enumerate(found.items()):
        name = segmentation.GetSegment(segmentId).GetName()
        progress("models", index / len(found), name)
        label, part = meaningOf(name) or (labels.BACKGROUND, VERTEBRA)
        if part != VERTEBRA or not labels.is_vertebra(label) or level_name(label) in surfaces:
            continue
        box = grid.shifted(mask.low, mask.array.shape)
        mesh = vertebra_mesh(Volume(mask.array.astype("uint8"), box.affine), 1)
        surfaces[level_name(label)] = mesh
    progress("models", 1.0)
    return surfaces


def _numberOf(name: str, taken: dict[str, dict[int, str]]) -> int:
    """Return the number of a segment, or of the vertebra that it is a part of."""
    label, part = meaningOf(name) or (0, VERTEBRA)
    mine = taken.setdefault(part, {})
    number = labelFor(labels.display_name(label), mine)
    mine[number] = name
    return number


def _fileNameOf(name: str) -> str:
    """Return a segment's name with only letters, digits, dots and hyphens."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("_.") or "segment"
