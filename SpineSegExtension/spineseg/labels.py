"""The one table of the spine's levels and structures: names, numbers, codes and colours.

No label number or level name is typed anywhere else.

Sources
-------
VerSe : the data set's own ids (Sekuboyina et al., 2021, doi:10.1016/j.media.2021.102166).
TotalSegmentator : class map "total" of version 2. It has no class for T13 or L6, and it has two
    for the sacrum: 25 (sacrum) and 26 (S1 vertebra).
TPTBox : ``Vertebra_Instance`` and ``Location`` of ``TPTBox.core.vert_constants``.
SNOMED CT : DICOM PS3.16, CID 7603 (vertebra) and CID 7604 (intervertebral disc), and the DICOM
    SNOMED subset that pydicom carries (sacrum, processes, canal, rib). That subset has no code
    for T13, L6, the vertebral body or "intervertebral disc" of no given level: those are None
    here, and `snomed_of` falls back to "Vertebra" for a vertebra without a code of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "BACKGROUND",
    "DISCS",
    "FIRST_UNSURE",
    "LAST_UNSURE",
    "OTHER_BONE",
    "SACRUM",
    "SNOMED_VERTEBRA",
    "STRUCTURES",
    "TOTALSEGMENTATOR_TO_VERSE",
    "USUAL_VERTEBRAE",
    "VERTEBRAE",
    "Color",
    "Level",
    "Structure",
    "SubRegion",
    "by_name",
    "by_verse",
    "color_of",
    "display_name",
    "is_vertebra",
    "label_by_display_name",
    "snomed_of",
]

Color = tuple[int, int, int]
"""Red, green, blue; each 0–255."""

BACKGROUND = 0
OTHER_BONE = 100
"""Label of spine bone that belongs to no vertebra."""
FIRST_UNSURE = 101
"""Label of the uppermost vertebra whose level is unsure; the next one down is 102, and so on."""
LAST_UNSURE = 255
"""Label maps are uint8."""
SNOMED_VERTEBRA = ("51282000", "Vertebra")
"""SNOMED CT code and meaning of a vertebra of no given level."""


@dataclass(frozen=True)
class Level:
    """One vertebral level, or the sacrum.

    Attributes
    ----------
    name : str
        "C1" … "L6", "sacrum".
    verse, tptbox : int
        Label in VerSe's and TPTBox's label maps.
    totalsegmentator : int or None
        Label in TotalSegmentator's version 2 "total" task; None where it has no such class.
    snomed : str or None
        SNOMED CT code of the bone; None where no public source confirms one.
    color : tuple of int
        RGB, 0–255; far from the neighbours' colours also with a colour-vision deficiency.
    region : str
        "cervical", "thoracic", "lumbar" or "sacral".
    """

    name: str
    verse: int
    totalsegmentator: int | None
    tptbox: int
    snomed: str | None
    color: Color
    region: str


@dataclass(frozen=True)
class Structure:
    """A part of a vertebra, or something of the spine that is not a vertebra.

    Attributes
    ----------
    name : str
        Lower case, as shown to a user.
    label : int
        Its number in a sub-region map (see `SubRegion`) or, for `DISCS`, in a map of discs.
    color : tuple of int
        RGB, 0–255.
    snomed : str or None
        SNOMED CT code; None where no public source confirms one.
    """

    name: str
    label: int
    color: Color
    snomed: str | None


class SubRegion(IntEnum):
    """Numbers in a sub-region map; TPTBox's `Location` codes.

    They live in a map of their own: 100 is a disc here and `OTHER_BONE` in a vertebra map.
    """

    ARCH = 41
    SPINOUS = 42
    TRANSVERSE_LEFT = 43
    TRANSVERSE_RIGHT = 44
    SUPERIOR_ARTICULAR_LEFT = 45
    SUPERIOR_ARTICULAR_RIGHT = 46
    INFERIOR_ARTICULAR_LEFT = 47
    INFERIOR_ARTICULAR_RIGHT = 48
    BODY_BORDER = 49
    BODY = 50
    DENS = 51
    CORD = 60
    CANAL = 61
    RIB_LEFT = 63
    RIB_RIGHT = 64
    DISC = 100


# Okabe and Ito's palette for all kinds of colour vision (jfly.uni-koeln.de/color). Light and
# dark tones alternate down the spine, and the order is the one whose neighbours, also seen with
# protanopia, deuteranopia or tritanopia, differ most (searched; a test keeps it so).
_PALETTE: tuple[Color, ...] = (
    (240, 228, 66),
    (0, 158, 115),
    (213, 94, 0),
    (86, 180, 233),
    (230, 159, 0),
    (204, 121, 167),
    (0, 114, 178),
)
_WHITE: Color = (255, 255, 255)
_BLACK: Color = (0, 0, 0)
_GREY: Color = (150, 150, 150)
_SACRUM_COLOR: Color = (235, 225, 205)
# For each two turns through the palette: how much white or black is mixed in.
_LIGHT = (0.3, 0.6)
_DARK = (0.35, 0.6)


def _mixed(color: Color, other: Color, part: float) -> Color:
    red, green, blue = (round(a * (1 - part) + b * part) for a, b in zip(color, other, strict=True))
    return red, green, blue


def _table_color(index: int) -> Color:
    color = _PALETTE[index % len(_PALETTE)]
    strength = index // (2 * len(_PALETTE)) % 2
    if index % 2:
        return _mixed(color, _BLACK, _DARK[strength])
    return _mixed(color, _WHITE, _LIGHT[strength])


# name, VerSe (= TPTBox), TotalSegmentator, SNOMED CT, region; from the head down.
_ROWS: tuple[tuple[str, int, int | None, str | None, str], ...] = (
    ("C1", 1, 50, "14806007", "cervical"),
    ("C2", 2, 49, "39976000", "cervical"),
    ("C3", 3, 48, "113205007", "cervical"),
    ("C4", 4, 47, "5329002", "cervical"),
    ("C5", 5, 46, "36978003", "cervical"),
    ("C6", 6, 45, "36054005", "cervical"),
    ("C7", 7, 44, "87391001", "cervical"),
    ("T1", 8, 43, "64864005", "thoracic"),
    ("T2", 9, 42, "53733008", "thoracic"),
    ("T3", 10, 41, "1626008", "thoracic"),
    ("T4", 11, 40, "73071006", "thoracic"),
    ("T5", 12, 39, "56401006", "thoracic"),
    ("T6", 13, 38, "45296009", "thoracic"),
    ("T7", 14, 37, "62487009", "thoracic"),
    ("T8", 15, 36, "11068009", "thoracic"),
    ("T9", 16, 35, "82687006", "thoracic"),
    ("T10", 17, 34, "7610001", "thoracic"),
    ("T11", 18, 33, "12989004", "thoracic"),
    ("T12", 19, 32, "23215003", "thoracic"),
    ("T13", 28, None, None, "thoracic"),
    ("L1", 20, 31, "66794005", "lumbar"),
    ("L2", 21, 30, "14293000", "lumbar"),
    ("L3", 22, 29, "36470004", "lumbar"),
    ("L4", 23, 28, "11994002", "lumbar"),
    ("L5", 24, 27, "49668003", "lumbar"),
    ("L6", 25, None, None, "lumbar"),
)

VERTEBRAE: tuple[Level, ...] = tuple(
    Level(name, verse, total, verse, snomed, _table_color(index), region)
    for index, (name, verse, total, snomed, region) in enumerate(_ROWS)
)
"""Every level that can occur, from C1 down; T13 stands after T12 and L6 after L5."""

USUAL_VERTEBRAE: tuple[Level, ...] = tuple(
    level for level in VERTEBRAE if level.name not in ("T13", "L6")
)
"""The 24 levels of a spine without an additional vertebra."""

SACRUM = Level("sacrum", 26, 25, 26, "54735007", _SACRUM_COLOR, "sacral")

_TOTALSEGMENTATOR_S1 = 26
TOTALSEGMENTATOR_TO_VERSE: dict[int, int] = {
    **{v.totalsegmentator: v.verse for v in (*VERTEBRAE, SACRUM) if v.totalsegmentator is not None},
    _TOTALSEGMENTATOR_S1: SACRUM.verse,
}
"""Turns TotalSegmentator's labels into VerSe ids; its S1 becomes part of the sacrum."""

_STRUCTURE_ROWS: tuple[tuple[SubRegion, str, Color, str | None], ...] = (
    (SubRegion.ARCH, "vertebral arch", (204, 121, 167), "40265002"),
    (SubRegion.SPINOUS, "spinous process", (213, 94, 0), "55678000"),
    (SubRegion.TRANSVERSE_LEFT, "left transverse process", (86, 180, 233), "73400003"),
    (SubRegion.TRANSVERSE_RIGHT, "right transverse process", (0, 114, 178), "73400003"),
    (SubRegion.SUPERIOR_ARTICULAR_LEFT, "left superior articular process", (240, 228, 66),
     "317665004"),
    (SubRegion.SUPERIOR_ARTICULAR_RIGHT, "right superior articular process", (190, 178, 30),
     "317665004"),
    (SubRegion.INFERIOR_ARTICULAR_LEFT, "left inferior articular process", (90, 205, 165),
     "317766009"),
    (SubRegion.INFERIOR_ARTICULAR_RIGHT, "right inferior articular process", (0, 130, 95),
     "317766009"),
    (SubRegion.BODY_BORDER, "vertebral body cortex", (245, 240, 225), None),
    (SubRegion.BODY, "vertebral body", (230, 159, 0), None),
    (SubRegion.DENS, "dens of the axis", (170, 80, 125), None),
    (SubRegion.CORD, "spinal cord", (250, 200, 120), "2748008"),
    (SubRegion.CANAL, "spinal canal", (120, 200, 245), "61853006"),
    (SubRegion.RIB_LEFT, "left rib", (200, 200, 200), "113197003"),
    (SubRegion.RIB_RIGHT, "right rib", (120, 120, 120), "113197003"),
    (SubRegion.DISC, "intervertebral disc", (70, 90, 140), None),
)  # fmt: skip

STRUCTURES: dict[SubRegion, Structure] = {
    region: Structure(name, int(region), color, snomed)
    for region, name, color, snomed in _STRUCTURE_ROWS
}
"""Name, colour and SNOMED CT code of each sub-region. Sides share their code, as DICOM does."""

# SNOMED CT code of the disc below each of the usual vertebrae from C2 on.
_DISC_SNOMED: tuple[str, ...] = (
    "1078209008", "58820006", "49400002", "73959003", "75095006", "37414007",
    "40908007", "6004007", "2620004", "82965004", "72692000", "74401007", "28693002", "9188009",
    "113209001", "34959001", "1537001", "76206002",
    "80064006", "67459009", "62551000", "84020006", "715056000",
)  # fmt: skip

_DISC_OFFSET = 100
DISCS: tuple[Structure, ...] = tuple(
    Structure(
        f"{upper.name}/{'S1' if lower is SACRUM else lower.name} disc",
        _DISC_OFFSET + upper.verse,
        _mixed(upper.color, lower.color, 0.5),
        snomed,
    )
    for upper, lower, snomed in zip(
        USUAL_VERTEBRAE[1:], (*USUAL_VERTEBRAE[2:], SACRUM), _DISC_SNOMED, strict=True
    )
)
"""The discs by level, C2/C3 to L5/S1. In a map of discs the label is 100 + the upper vertebra's,
as in TPTBox; such a map is apart from vertebra maps, where those numbers are unsure levels."""

_BY_NAME = {level.name: level for level in (*VERTEBRAE, SACRUM)}
_BY_VERSE = {level.verse: level for level in (*VERTEBRAE, SACRUM)}


def by_name(name: str) -> Level:
    """Return the level called `name` ("C1" … "L6", "sacrum"); KeyError if there is none."""
    return _BY_NAME[name]


def by_verse(label: int) -> Level:
    """Return the level whose VerSe id is `label`; KeyError if there is none."""
    return _BY_VERSE[int(label)]


def is_vertebra(label: int) -> bool:
    """Whether `label` of a vertebra map is one vertebra, of a known or an unsure level."""
    label = int(label)
    return FIRST_UNSURE <= label <= LAST_UNSURE or (label in _BY_VERSE and label != SACRUM.verse)


def display_name(label: int) -> str:
    """Return what a user reads for `label` of a vertebra map.

    "L1", "sacrum", "spine bone" (100), "unsure 1" (101, the uppermost), "background" (0), and
    "label 77" for a number that has no meaning here.
    """
    label = int(label)
    if label in _BY_VERSE:
        return _BY_VERSE[label].name
    if label == OTHER_BONE:
        return "spine bone"
    if FIRST_UNSURE <= label <= LAST_UNSURE:
        return f"unsure {label - FIRST_UNSURE + 1}"
    return "background" if label == BACKGROUND else f"label {label}"


def label_by_display_name(name: str) -> int:
    """Return the label for which `display_name` gives `name`; KeyError if there is none."""
    for label in range(LAST_UNSURE + 1):
        if display_name(label) == name:
            return label
    raise KeyError(name)


def color_of(label: int) -> Color:
    """Return the colour (RGB, 0–255) of `label` of a vertebra map; background is black.

    Unsure levels take the table's colours, greyer, so that neighbours still differ.
    """
    label = int(label)
    if label in _BY_VERSE:
        return _BY_VERSE[label].color
    if label == BACKGROUND:
        return (0, 0, 0)
    if FIRST_UNSURE <= label <= LAST_UNSURE:
        index = (label - FIRST_UNSURE) % (2 * len(_PALETTE))
        return _mixed(_table_color(index), _GREY, 0.3)
    return _GREY


def snomed_of(label: int) -> tuple[str, str]:
    """Return the SNOMED CT code and meaning of `label` of a vertebra map.

    T13, L6, unsure levels and spine bone of no vertebra give `SNOMED_VERTEBRA`; KeyError for a
    number that has no meaning here, background included.
    """
    label = int(label)
    if label == SACRUM.verse:
        return SACRUM.snomed or SNOMED_VERTEBRA[0], "Sacrum"
    level = _BY_VERSE.get(label)
    if level is not None and level.snomed is not None:
        return level.snomed, f"{level.name} vertebra"
    if level is not None or label == OTHER_BONE or is_vertebra(label):
        return SNOMED_VERTEBRA
    raise KeyError(label)
