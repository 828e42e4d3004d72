"""What a user chooses in the CycleGANTranslate module; saved with the scene."""

import enum
import pathlib
from typing import Annotated

from slicer import (
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
)
from slicer.parameterNodeWrapper import (
    Default,
    FloatRange,
    RangeBounds,
    WithinRange,
    parameterNodeWrapper,
)
from SpineSegMRML.choices import Device, ExportScope, ModelFormat, Space
from SpineSegMRML.i18n import tr as _

from CycleGANTranslateLib.Threshold import BoneSettings

__all__ = ["CycleGANTranslateParameterNode", "Overlay", "Separate"]

LOWEST_HU, HIGHEST_HU = -500.0, 2000.0
WIDEST_MEDIAN_MM = 10.0


class Separate(enum.Enum):
    """How vertebrae are parted; the values are the library's names."""

    NETWORK = "network"
    OTSU = "otsu"

    def label(self):
        """Return the text in the chooser; the scene keeps the machine's name."""
        return {
            Separate.NETWORK: _("By the network"),
            Separate.OTSU: _("By shape alone, from the bone"),
        }[self]


class Overlay(enum.Enum):
    """What lies over the MR in the slice views."""

    SYNTHETIC_CT = "synthetic CT"
    CONFIDENCE = "confidence"
    NOTHING = "nothing"

    def label(self):
        """Return the text in the chooser."""
        return {
            Overlay.SYNTHETIC_CT: _("Synthetic CT"),
            Overlay.CONFIDENCE: _("Where not to trust it"),
            Overlay.NOTHING: _("Nothing"),
        }[self]


@parameterNodeWrapper
class CycleGANTranslateParameterNode:
    """The module's parameters.

    inputVolume - MR to translate.
    syntheticCt, confidence - Take the volumes; none makes new ones.
    segmentation, bodies - Take the vertebrae and their bodies; none makes new ones.
    resultTable - Takes the table of vertebrae; none makes a new one.
    separate - How vertebrae are parted.
    withConfidence - Whether the MR is translated back to tell where not to trust the result.
    overlay, opacity - What lies over the MR, and how dense it is.
    boneRange - Intensities (HU) that Otsu's method looks at.
    perSlice - One threshold a slice, else one for the volume.
    medianMm - Edge of the median (mm) that smooths the bone.
    landmarks - Points whose names begin with their level.
    landmarkFile - File that they are loaded from.
    validationTable - Takes the table of distances; none makes a new one.
    device - Where the networks run.
    exportFolder - Where the models go.
    exportFormat - Format of the models.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    syntheticCt: vtkMRMLScalarVolumeNode
    confidence: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    bodies: vtkMRMLSegmentationNode
    resultTable: vtkMRMLTableNode
    separate: Separate = Separate.NETWORK
    withConfidence: bool = True
    overlay: Overlay = Overlay.SYNTHETIC_CT
    opacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    boneRange: Annotated[
        FloatRange,
        RangeBounds(LOWEST_HU, HIGHEST_HU),
        Default(FloatRange(BoneSettings.low, BoneSettings.high)),
    ]
    perSlice: bool = BoneSettings.perSlice
    medianMm: Annotated[float, WithinRange(0.0, WIDEST_MEDIAN_MM)] = BoneSettings.medianMm
    landmarks: vtkMRMLMarkupsFiducialNode
    landmarkFile: pathlib.Path
    validationTable: vtkMRMLTableNode
    device: Device = Device.AUTOMATIC
    exportFolder: pathlib.Path
    exportFormat: ModelFormat = ModelFormat.STL
    exportScope: ExportScope = ExportScope.ALL
    exportSpace: Space = Space.LPS
