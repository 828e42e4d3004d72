"""What a user chooses in the CobbAngle module; saved with the scene."""

import enum
import pathlib

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import parameterNodeWrapper
from spineseg import registry
from spineseg.methods.film_result import AP, LATERAL
from SpineSegMRML.choices import Device
from SpineSegMRML.i18n import tr as _

from CobbAngleLib import Drawing

__all__ = ["CobbAngleParameterNode", "Device", "Method", "Planes", "Source", "View"]


class Source(enum.Enum):
    """What is measured."""

    FILM = "film"
    SEGMENTATION = "segmentation"

    def label(self):
        """Return the text in the chooser; the scene keeps the machine's name."""
        return {
            Source.FILM: _("A radiograph"),
            Source.SEGMENTATION: _("The vertebrae of a segmentation"),
        }[self]


class View(enum.Enum):
    """From where a film was taken; the values are the library's names."""

    AUTOMATIC = ""
    FRONTAL = AP
    SIDE = LATERAL

    def label(self):
        """Return the text in the chooser."""
        return {
            View.AUTOMATIC: _("Automatic"),
            View.FRONTAL: _("From the front or the back"),
            View.SIDE: _("From the side"),
        }[self]


class Planes(enum.Enum):
    """Which endplates are shown in 3D."""

    ENDS = Drawing.ENDS
    ALL = Drawing.ALL
    NOTHING = Drawing.NOTHING

    def label(self):
        """Return the text in the chooser."""
        return {
            Planes.ENDS: _("Those that angles lie between"),
            Planes.ALL: _("All"),
            Planes.NOTHING: _("None"),
        }[self]


class _RegistryRow(enum.Enum):
    def label(self):
        """Return the method's title."""
        return registry.get(self.value).title if self.value else _("Default")


# One member for each method of the registry that measures films, after the default.
Method = _RegistryRow(
    "Method", {"AUTOMATIC": "", **{name: name for name in registry.names(registry.COBB)}}
)


@parameterNodeWrapper
class CobbAngleParameterNode:
    """The module's parameters.

    source - What is measured.
    film - Radiograph: a volume of one slice.
    filmFile - File that a film is loaded from.
    segmentation - Vertebrae to measure.
    landmarkFile - File that endplates are loaded from.
    showCurves, showNames - What the views show of a film.
    planes - Endplates of a segmentation that are shown in 3D.
    exportFolder - Where the files go.
    withView - Whether a picture of the view goes with them.
    method - Row of the registry that finds endplates on films.
    view - From where the film was taken.
    device - Where the networks run.
    """

    source: Source = Source.FILM
    film: vtkMRMLScalarVolumeNode
    filmFile: pathlib.Path
    segmentation: vtkMRMLSegmentationNode
    landmarkFile: pathlib.Path
    showCurves: bool = True
    showNames: bool = False
    planes: Planes = Planes.ENDS
    exportFolder: pathlib.Path
    withView: bool = True
    method: Method = Method.AUTOMATIC
    view: View = View.AUTOMATIC
    device: Device = Device.AUTOMATIC
