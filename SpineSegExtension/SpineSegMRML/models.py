"""Surface models of a segmentation node, as files for printing and planning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from scipy import ndimage
from spineseg.errors import InputError
from spineseg.progress import Progress

from SpineSegMRML.i18n import tr as _
from SpineSegMRML.segmentations import labelVolumeFromNode

__all__ = ["FORMATS", "exportModels"]

FORMATS = ("STL", "OBJ", "PLY")


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
    volume, names = labelVolumeFromNode(segmentationNode, sourceNode)
    boxes = ndimage.find_objects(volume.array)
    present = {label: name for label, name in names.items() if _boxOf(boxes, label)}
    if not present:
        raise InputError(_("The segmentation is empty."), _("Segment the volume first."))
    files = []
    with atomic_folder(folder) as part:
        for index, (label, name) in enumerate(present.items()):
            progress("models", index / len(present), name)
            box = _boxOf(boxes, label)
            one = volume.crop([s.start for s in box], [s.stop for s in box])
            fileName = f"{label:02d}_{_fileNameOf(name)}.{fileFormat.lower()}"
            write_mesh(vertebra_mesh(one, label), part / fileName, "LPS", name)
            files.append(Path(folder) / fileName)
    progress("models", 1.0)
    return files


def _boxOf(boxes: list[Any], label: int) -> Any:
    """Return a label's bounding box (k, j, i slices), None if the label does not occur."""
    return boxes[label - 1] if label <= len(boxes) else None


def _fileNameOf(name: str) -> str:
    """Return a segment's name with only letters, digits, dots and hyphens."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("_.") or "segment"
