"""What every module lets its user choose: where networks run, and the format of models.

The values are the library's names; a scene keeps the members' names.
"""

from __future__ import annotations

import enum
from typing import Any

from SpineSegMRML.i18n import tr as _

__all__ = ["AUTOMATIC", "Device", "ModelFormat", "deviceSettings"]

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


def deviceSettings(device: str) -> dict[str, Any]:
    """Return the change to a method's settings that a device means."""
    return {} if device == AUTOMATIC else {"device": device}
