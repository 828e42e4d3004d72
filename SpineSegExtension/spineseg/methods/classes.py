"""The classes of the vertebra networks' two passes."""

from __future__ import annotations

from enum import IntEnum

OFFSET_MM = 20.0
"""The fine network's votes for a body's centre are in units of this many mm."""


class CoarseClass(IntEnum):
    """Coarse pass, 4 mm, the whole field of view: where the spine is and which region of it."""

    BACKGROUND = 0
    UPPER_CERVICAL = 1  # C1 and C2
    LOWER_CERVICAL = 2  # C3 to C7
    THORACIC = 3
    LUMBAR = 4
    SACRUM = 5
    CANAL = 6
    RIB = 7
    OTHER_BONE = 8


class FineClass(IntEnum):
    """Fine pass, 1.5 mm, along the spine: vertebrae by part, and what lies between them."""

    BACKGROUND = 0
    BODY = 1
    POSTERIOR = 2
    DISC = 3
    CANAL = 4
    SACRUM = 5
    RIB = 6
