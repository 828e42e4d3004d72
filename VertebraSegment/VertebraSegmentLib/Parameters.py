"""What a user chooses in the VertebraSegment module; saved with the scene."""

import enum
import pathlib

from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
)
from slicer.parameterNodeWrapper import parameterNodeWrapper
from spineseg import registry
from SpineSegMRML import names
from SpineSegMRML.choices import Device, ExportScope, ModelFormat, Space
from SpineSegMRML.i18n import tr as _

__all__ = ["Device", "Method", "ModelFormat", "Target", "VertebraSegmentParameterNode"]


class Target(enum.Enum):
    """What of a vertebra a click gives; the values are the library's names."""

    VERTEBRA = names.VERTEBRA
    BODY = names.BODY
    CENTRUM = names.CENTRUM

    def label(self):
        """Return the text in the chooser."""
        return {
            Target.VERTEBRA: _("Whole vertebra"),
            Target.BODY: _("Vertebral body"),
            Target.CENTRUM: _("Trabecular centrum"),
        }[self]


class _RegistryRow(enum.Enum):
    def label(self):
        """Return the method's title."""
        return registry.get(self.value).title


# One member for each method of the registry that segments.
Method = _RegistryRow("Method", {name: name for name in registry.names(registry.SEGMENT)})


@parameterNodeWrapper
class VertebraSegmentParameterNode:
    """The module's parameters.

    inputVolume - CT to segment.
    segmentation - Takes the result; none makes a new one.
    resultTable - Takes the table of vertebrae; none makes a new one.
    method - Row of the registry.
    device - Where the network runs.
    points - Each of its points is a click on a vertebra.
    target - What of a vertebra a click gives.
    exportFolder - Where the models go.
    exportFormat - Format of the models.
    exportScope - Which segments become models.
    exportSpace - Coordinates of the files.
    followCursor - Whether the segment under the cursor is the one that is edited.
    protectOthers - Whether strokes leave the voxels of other segments.
    trainingFolder - Where training pairs are saved.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    resultTable: vtkMRMLTableNode
    method: Method = Method[registry.DEFAULT_SEGMENT]
    device: Device = Device.AUTOMATIC
    points: vtkMRMLMarkupsFiducialNode
    target: Target = Target.VERTEBRA
    exportFolder: pathlib.Path
    exportFormat: ModelFormat = ModelFormat.STL
    exportScope: ExportScope = ExportScope.ALL
    exportSpace: Space = Space.LPS
    followCursor: bool = True
    protectOthers: bool = True
    trainingFolder: pathlib.Path
