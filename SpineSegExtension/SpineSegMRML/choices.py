"""What every module lets its user choose: where networks run, and the format of models.

The values are the library's names; a scene keeps the members' names.
"""

from __future__ import annotations

import enum
from typing import Any

from SpineSegMRML.i18n import tr as _

__all__ = ["AUTOMATIC", "Device", "ExportScope", "ModelFormat", "Space", "deviceSettings"]

AUTOMATIC = "auto"
"""Device that the method chooses itself."""


class Device(enum.Enum):
    """Where the network runs."""

    AUTOMATIC = AUTOMATIC
    CPU = "cpu"
    GPU = "cuda"

    def label(self) -> str:
        """Return the text in the chooser; the scene keeps the machine's name."""
        return {
            Device.AUTOMATIC: _("Automatic"),
            Device.CPU: _("Processor"),
            Device.GPU: _("Graphics card (NVIDIA)"),
        }[self]


class ModelFormat(enum.Enum):
    """Mesh file formats of the export."""

    STL = "STL"
    OBJ = "OBJ"
    PLY = "PLY"
    THREE_MF = "3MF"
    GLB = "GLB"

    def label(self) -> str:
        """Return the text in the chooser."""
        return {
            ModelFormat.STL: _("STL: a file a vertebra"),
            ModelFormat.OBJ: _("OBJ: a file a vertebra"),
            ModelFormat.PLY: _("PLY: a file a vertebra"),
            ModelFormat.THREE_MF: _("3MF: one file, in colour"),
            ModelFormat.GLB: _("GLB: one file for the web"),
        }[self]


class Space(enum.Enum):
    """Coordinates of exported files; stated in their names."""

    LPS = "LPS"
    RAS = "RAS"

    def label(self) -> str:
        """Return the text in the chooser."""
        return {
            Space.LPS: _("LPS, as in DICOM"),
            Space.RAS: _("RAS, as in 3D Slicer's views"),
        }[self]


class ExportScope(enum.Enum):
    """Which segments are exported."""

    ALL = "all"
    VISIBLE = "visible"

    def label(self) -> str:
        """Return the text in the chooser."""
        return {
            ExportScope.ALL: _("All segments"),
            ExportScope.VISIBLE: _("Those that are shown"),
        }[self]


def deviceSettings(device: str) -> dict[str, Any]:
    """Return the change to a method's settings that a device means."""
    return {} if device == AUTOMATIC else {"device": device}
