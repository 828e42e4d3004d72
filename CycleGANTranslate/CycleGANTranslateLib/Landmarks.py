"""The check by landmarks: how far digitised points lie from the surfaces of the vertebrae."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import slicer
from spineseg.errors import InputError, SpineSegError
from spineseg.io.landmarks import Landmark, read_landmarks
from spineseg.validation import LevelFit, ValidationResult, validate
from SpineSegMRML import landmarks as points
from SpineSegMRML import models, names, overlays, segmentations, tables
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.jobs import Report, progressTo
from SpineSegMRML.runs import Runs

__all__ = ["LandmarkLogic", "LandmarkOutcome"]

LEAST_SCALE_MM = 3.0
MODEL_ROLE, MOVED_ROLE = "SpineSeg.DistanceModel", "SpineSeg.MovedLandmarks"
MOVED_COLOR = (0.1, 0.9, 1.0)


@dataclass(frozen=True)
class LandmarkOutcome:
    """What a check has put into the scene.

    Attributes
    ----------
    result : ValidationResult
    tableNode : vtkMRMLTableNode
        A row for each vertebra; it refers to the nodes below.
    movedNode : vtkMRMLMarkupsFiducialNode
        The landmarks as registered.
    modelNodes : list of vtkMRMLModelNode
        The surfaces, coloured by the distances of the landmarks near by; world coordinates.
    """

    result: ValidationResult
    tableNode: Any
    movedNode: Any
    modelNodes: list[Any]

    @property
    def warnings(self) -> list[str]:
        """One sentence for everything that makes the result doubtful."""
        return self.result.warnings

    def summary(self) -> str:
        """Return one sentence for a user."""
        text = _("{vertebrae}: the landmarks lie {mean:.1f} ± {sd:.1f} mm from the surface.")
        result = self.result
        return text.format(
            vertebrae=names.counted(len(result.fits)), mean=result.mean, sd=result.sd
        )


class LandmarkLogic:
    """Registers landmarks to vertebrae and shows what remains.

    Parameters
    ----------
    runs : Runs
        Shared with the rest of the module.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def load(self, scene: Any, path: str | Path) -> Any:
        """Read a file of landmarks (.mrk.json, .fcsv, .csv) into a new Markups node.

        Raises
        ------
        InputError
            As `spineseg.io.landmarks.read_landmarks`; the scene stays as it is.
        """
        path = Path(path)
        return points.addLandmarksNode(scene, read_landmarks(path), path.name.partition(".")[0])

    def validateFile(self, path: Path | None) -> str:
        """Return why no landmarks can be loaded now, in one sentence; "" if they can."""
        # An empty path widget gives the current folder, which nobody has chosen.
        if path is None or not Path(path).is_file():
            return _("Choose a file of landmarks (.mrk.json, .fcsv or .csv).")
        return ""

    def validate(self, segmentationNode: Any, sourceNode: Any, landmarksNode: Any) -> str:
        """Return why nothing can be measured now, in one sentence; "" if it can."""
        if segmentationNode is None or segmentationNode.GetSegmentation() is None:
            return _("Translate an MR first: there is no segmentation yet.")
        if not segmentationNode.GetSegmentation().GetNumberOfSegments():
            return _("The segmentation is empty.")
        if sourceNode is None or sourceNode.GetImageData() is None:
            return _("Choose the volume that was segmented.")
        if landmarksNode is None:
            return _("Choose a list of landmarks, or load a file of them.")
        try:
            points.landmarksFromNode(landmarksNode)
        except SpineSegError as error:
            return str(error)
        return ""

    def measure(
        self,
        segmentationNode: Any,
        sourceNode: Any,
        landmarksNode: Any,
        tableNode: Any = None,
        onProgress: Callable[[Report], None] | None = None,
    ) -> LandmarkOutcome:
        """Register each vertebra's landmarks to its surface, as it is now, and show the distances.

        Parameters
        ----------
        segmentationNode : vtkMRMLSegmentationNode
        sourceNode : vtkMRMLScalarVolumeNode
            The volume whose grid the segments are on.
        landmarksNode : vtkMRMLMarkupsFiducialNode
            Its points' names begin with the level.
        tableNode : vtkMRMLTableNode, optional
            Takes the table in place of what it holds, and with it go the models and points that
            it had; by default a new one is made.
        onProgress : callable, optional
            Called in this thread at each vertebra with a `Report`; may call `cancel`.

        Raises
        ------
        SpineSegError
            One sentence, with its remedy; the scene stays as it is.
        """
        self._runs.requireNone()
        reason = self.validate(segmentationNode, sourceNode, landmarksNode)
        if reason:
            raise InputError(reason)
        with self._runs.on(sourceNode) as token:
            progress = progressTo(onProgress, token)
            surfaces = models.vertebraSurfaces(
                segmentationNode, sourceNode, progress.part(0.0, 0.5)
            )
            given = [
                replace(one, label=points.labelOf(one))
                for one in points.landmarksFromNode(landmarksNode)
            ]
            result = validate(surfaces, given, progress=progress.part(0.5, 1.0))
        if tableNode is not None and tableNode.GetScene() is not sourceNode.GetScene():
            tableNode = None
        return _show(sourceNode, landmarksNode.GetName(), result, surfaces, tableNode)


def _show(
    sourceNode: Any, name: str, result: ValidationResult, surfaces: dict[str, Any], tableNode: Any
) -> LandmarkOutcome:
    """Put a check into the scene in place of the table's last one; if that fails, not at all."""
    scene = sourceNode.GetScene()
    before = [] if tableNode is None else _shownBy(tableNode)
    most = max(LEAST_SCALE_MM, *(fit.maximum for fit in result.fits))
    with ExitStack() as undo:
        moved = _movedNode(scene, result, _("{name}, registered").format(name=name))
        undo.callback(segmentations.removeNode, moved)
        segmentations.placeBeside(moved, sourceNode)
        modelNodes = []
        for fit in result.fits:
            model = _modelNode(scene, fit, surfaces[fit.level], most)
            undo.callback(segmentations.removeNode, model)
            segmentations.placeBeside(model, sourceNode)
            modelNodes.append(model)
        if tableNode is None:
            tableNode = slicer.vtkMRMLTableNode()
            tableNode.SetName(scene.GenerateUniqueName(_("{name} distances").format(name=name)))
            tableNode = scene.AddNode(tableNode)
            undo.callback(segmentations.removeNode, tableNode)
        segmentations.placeBeside(tableNode, sourceNode)
        tables.setValidationTable(tableNode, result)
        undo.pop_all()
    for node in before:
        segmentations.removeNode(node)
    tableNode.RemoveNodeReferenceIDs(MODEL_ROLE)
    tableNode.SetNodeReferenceID(MOVED_ROLE, moved.GetID())
    for model in modelNodes:
        tableNode.AddNodeReferenceID(MODEL_ROLE, model.GetID())
    return LandmarkOutcome(result, tableNode, moved, modelNodes)


def _shownBy(tableNode: Any) -> list[Any]:
    """Return the nodes that a table's last check has put into the scene, and that are there."""
    nodes = [
        tableNode.GetNthNodeReference(role, index)
        for role in (MODEL_ROLE, MOVED_ROLE)
        for index in range(tableNode.GetNumberOfNodeReferences(role))
    ]
    return [node for node in nodes if node is not None]


def _movedNode(scene: Any, result: ValidationResult, name: str) -> Any:
    moved = [
        Landmark(fit.level, label, (float(p[0]), float(p[1]), float(p[2])))
        for fit in result.fits
        for label, p in zip(fit.labels, fit.moved)
    ]
    away = [float(d) for fit in result.fits for d in fit.distances_mm]
    node = points.addLandmarksNode(scene, moved, name)
    for index, distance in enumerate(away):
        node.SetNthControlPointDescription(index, f"{distance:.2f} mm")
    node.SetLocked(True)
    node.GetDisplayNode().SetSelectedColor(*MOVED_COLOR)
    return node


def _modelNode(scene: Any, fit: LevelFit, surface: Any, most: float) -> Any:
    from spineseg.io.meshes import mesh_arrays
    from spineseg.validation_files import DISTANCE, distance_scalars

    node = slicer.vtkMRMLModelNode()
    node.SetName(scene.GenerateUniqueName(_("{level} distance").format(level=fit.level)))
    node.SetAndObservePolyData(surface)
    node = scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    overlays.showDistance(node, DISTANCE, distance_scalars(fit, mesh_arrays(surface)[0]), most)
    return node
