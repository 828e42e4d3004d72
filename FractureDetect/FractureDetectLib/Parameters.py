"""What a user chooses in the FractureDetect module; saved with the scene."""

import enum
import pathlib

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import parameterNodeWrapper
from spineseg import registry
from SpineSegMRML.choices import Device

__all__ = ["Device", "FractureDetectParameterNode", "Method"]


class _RegistryRow(enum.Enum):
    def label(self):
        """Return the method's title."""
        return registry.get(self.value).title


# One member for each method of the registry that segments.
Method = _RegistryRow("Method", {name: name for name in registry.names(registry.SEGMENT)})


@parameterNodeWrapper
class FractureDetectParameterNode:
    """The module's parameters.

    inputVolume - CT to search.
    segmentation - Its vertebrae; none segments the CT first.
    showPoints, showSides - Which points the views show.
    colorSuspects - Whether suspects have their grade's colour in the segmentation.
    ownPlane - Whether the sagittal view turns into the middle plane of the chosen vertebra.
    exportFolder - Where the files go.
    method - Row of the registry that segments.
    device - Where its networks run.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    showPoints: bool = True
    showSides: bool = True
    colorSuspects: bool = True
    ownPlane: bool = True
    exportFolder: pathlib.Path
    method: Method = Method(registry.DEFAULT_SEGMENT)
    device: Device = Device.AUTOMATIC
