"""Surface models of a segmentation node, as files for printing and planning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spineseg import labels
from spineseg.errors import InputError
from spineseg.progress import Progress
from spineseg.volume import Volume

from SpineSegMRML.i18n import tr as _
from SpineSegMRML.layers import masks
from SpineSegMRML.names import VERTEBRA, meaningOf
from SpineSegMRML.segmentations import labelFor, vertebraVolumeFromNode
from SpineSegMRML.volumes import volumeFromNode

if TYPE_CHECKING:
    from spineseg.planning import Exported

__all__ = [
    "ALL",
    "FORMATS",
    "VISIBLE",
    "ExportOutcome",
    "exportModels",
    "exportProblem",
    "told",
    "vertebraSurfaces",
]

FORMATS = ("STL", "OBJ", "PLY", "3MF", "GLB")
ALL, VISIBLE = "all", "visible"
"""Which segments are exported."""


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
    space: str = "LPS",
    which: str = ALL,
) -> Exported:
    """Write one closed surface for each segment, as it is now: mm, in world coordinates.

    Pedicle points and endplate planes of the vertebrae lie beside them, and ``export.json`` says
    of each surface whether it is watertight. The library makes the surfaces, not Slicer's own
    exporter: that one overwrites files of segments of one name without a word, and its OBJ needs
    OpenGL.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    sourceNode : vtkMRMLVolumeNode
        The volume whose grid the segments are on.
    folder : str or Path
        Made if it is missing. All files appear together at the end, or none. Files of an earlier
        export are replaced, but none that somebody has edited or made.
    fileFormat : str
        One of `FORMATS`.
    progress : Progress, optional
    space : {"LPS", "RAS"}
        Of the coordinates.
    which : str
        `ALL` segments, or those that are `VISIBLE`.

    Returns
    -------
    spineseg.planning.Exported
        The files, and what was checked.

    Raises
    ------
    InputError
        There is nothing to export, the format is unknown, or the folder can't be written.
    DependencyError
        The package that writes the format is not installed.
    CancelledError
        The progress was cancelled; nothing was written.
    """
    from spineseg.planning import ExportSettings, Structure, export_structures

    settings = ExportSettings(fileFormat.lower(), space)
    shown = _visible(segmentationNode) if which == VISIBLE else None
    found = {
        segmentId: mask
        for segmentId, mask in masks(segmentationNode, sourceNode).items()
        if shown is None or segmentId in shown
    }
    if not found:
        raise InputError(
            _("No segment is visible.") if which == VISIBLE else _("The segmentation is empty."),
            _("Show what you want to export.") if which == VISIBLE else _("Segment it first."),
        )
    grid = volumeFromNode(sourceNode).grid
    numbers: dict[str, dict[int, str]] = {}
    structures = []
    for segmentId, mask in found.items():
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
        name = segment.GetName()
        red, green, blue = (round(255 * part) for part in segment.GetColor())
        # Each by itself, for a body lies inside its vertebra.
        box = grid.shifted(mask.low, mask.array.shape)
        volume = Volume(mask.array.astype("uint8"), box.affine)
        structures.append(Structure(_numberOf(name, numbers), name, volume, (red, green, blue)))
    return export_structures(
        structures,
        folder,
        settings,
        progress,
        segmentation=vertebraVolumeFromNode(segmentationNode, sourceNode),
    )


def told(exported: Exported) -> list[str]:
    """Return what to tell a user of an export: how many, what was checked, what is doubtful."""
    whole = sum(model.manifold for model in exported.models)
    text = _("{n} models written to {folder}; watertight and manifold: {whole} of {n}.")
    first = text.format(n=len(exported.models), whole=whole, folder=exported.folder)
    return [first, *exported.warnings]


@dataclass(frozen=True)
class ExportOutcome:
    """An export for `panel.Panel.run`."""

    exported: Exported

    @property
    def warnings(self) -> list[str]:
        """One sentence for everything that makes a model doubtful, or is missing beside it."""
        return self.exported.warnings

    def summary(self) -> str:
        """Return one sentence for a user."""
        return told(self.exported)[0]


def _visible(segmentationNode: Any) -> set[str]:
    """Return the segments that the user sees."""
    display = segmentationNode.GetDisplayNode()
    ids = segmentationNode.GetSegmentation().GetSegmentIDs()
    return {i for i in ids if display is None or display.GetSegmentVisibility(i)}


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
