"""The spines that there are: how many vertebrae of each region, and how common that is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from spineseg.labels import VERTEBRAE
from spineseg.methods.level_statistics import LUMBAR_6, SPACING

__all__ = [
    "REGIONS", "Column", "bears_ribs", "border_error", "columns", "region_of", "spacing",
]  # fmt: skip

REGIONS = ("C1-C2", "C3-C7", "thoracic", "lumbar")

_SACRALISED = LUMBAR_6[0] / LUMBAR_6[1]  # assumed as frequent as L6: the data cannot tell it
# Only who can be counted from the neck or T1 shows that T12 is missing: 6 of 108 scans of the
# keypoint data, 17 of 293 people (Yan et al., J Orthop Surg Res 2018;13:124), 4 of 1446 (Yun et
# al., Korean J Radiol 2018;19:1140).
_THORACIC_11 = (6 + 17 + 4) / (108 + 293 + 1446)
# Of those, with L6: ribs that end one level higher without a vertebra less. 1 of 5 in the keypoint
# data, 5 of 17 in Yan's.
_LUMBAR_6_OF_11 = (1 + 5) / (5 + 17)
# Assumed, between 5 (a true T13) and 65 (some rib at the 20th vertebra) of Yun's 1446. The
# keypoint data's annotators never used T13.
_THORACIC_13 = 0.01
# The four below were read off what the networks say of 80 digital patients that were not learned
# from (docs/levels.md), less sure than there: real scans differ.
_RIBS, _NO_RIBS = 0.96, 0.01
_RIBS_AT = {"C7": 0.25, "T12": 0.92, "T13": 0.92, "L1": 0.04}
# A network takes the last vertebra of a region for one of the next: it goes by the place along the
# trunk where chest and loin usually meet, not by the count.
_BORDER_ERROR = 0.05
_BORDER_ERRORS = {"T12": 0.1, "T13": 0.55, "L1": 0.08}
_BELOW_T11 = 0.35  # of an L1 where there is no T12


@dataclass(frozen=True)
class Column:
    """A spine: its levels from C1 down, and the log of how common it is."""

    names: tuple[str, ...]
    prior: float


@cache
def columns() -> tuple[Column, ...]:
    """Return all spines: 11, 12 or 13 thoracic and 4, 5 or 6 lumbar vertebrae."""
    thoracic = {11: _THORACIC_11, 12: 1 - _THORACIC_11 - _THORACIC_13, 13: _THORACIC_13}
    result = []
    for (n_thoracic, p), n_lumbar in product(thoracic.items(), (4, 5, 6)):
        six = _LUMBAR_6_OF_11 if n_thoracic == 11 else LUMBAR_6[0] / LUMBAR_6[1]
        q = {4: _SACRALISED, 5: 1 - _SACRALISED - six, 6: six}[n_lumbar]
        counts = {"cervical": 7, "thoracic": n_thoracic, "lumbar": n_lumbar}
        names = tuple(
            level.name for level in VERTEBRAE if int(level.name[1:]) <= counts[level.region]
        )
        result.append(Column(names, float(np.log(p) + np.log(q))))
    return tuple(result)


def spacing(upper: str, lower: str) -> tuple[float, float]:
    """Mean mm between the bodies of two neighbours, and the SD of its log."""
    if (upper, lower) in SPACING:
        return SPACING[upper, lower][:2]
    # T13 and what lies beside it, and the last discs of unusual spines: as T12–L1.
    return SPACING["T12", "L1"][:2]


def region_of(name: str) -> int:
    """Index of a level's region in `REGIONS`."""
    if name in ("C1", "C2"):
        return 0
    return {"C": 1, "T": 2, "L": 3}[name[0]]


def bears_ribs(name: str, column: Column) -> float:
    """Chance that ribs are seen at this level of a spine; T12's are small or missing in some.

    Of 25 vertebrae above the sacrum, the 20th is called T13 if it bears ribs, and else L1.
    """
    if name == "L1" and "L6" in column.names:
        return _NO_RIBS
    return _RIBS_AT.get(name, _RIBS if name[0] == "T" else _NO_RIBS)


def border_error(column: Column, n: int) -> float:
    """Chance that a network takes level `n`, at the border of a region, for the other region."""
    name = column.names[n]
    if name == "L1" and column.names[n - 1] == "T11":
        return _BELOW_T11
    return _BORDER_ERRORS.get(name, _BORDER_ERROR)
