"""Names of vertebrae that are counted upwards from the sacrum, where a scan shows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spineseg.labels import FIRST_UNSURE, USUAL_VERTEBRAE, Level
from spineseg.methods.classes import FineClass
from spineseg.methods.instances import Instance
from spineseg.result import Vertebra
from spineseg.volume import Volume

__all__ = ["name_from_sacrum"]

_SACRUM_ML = 4.0  # less of it may be a misread corner of a vertebra
_NEAR_MM = 60.0  # S1's centre lies 30 to 45 mm from that of L5; what is further away may be a bowel
_TALL_MM = 20.0  # S1 is 25 to 35 mm tall; half of a vertebra that the scan cuts looks like it
_BELOW_MM = (8.0, 55.0)  # of the sacrum's nearest part below the lowest vertebra's centre
_SURE = 0.8


def name_from_sacrum(
    classes: Volume, found: Sequence[Instance]
) -> tuple[list[Vertebra], list[str]]:
    """Name vertebrae from L5 upwards where the sacrum lies right below the lowest one.

    Parameters
    ----------
    classes : Volume
        uint8 `FineClass`.
    found : sequence of Instance
        From the top.

    Returns
    -------
    list of Vertebra
        In the same order; 101, 102 … without a level where the sacrum is not seen.
    list of str
        Warnings.
    """
    levels: list[Level | None] = [None] * len(found)
    warnings = []
    if found and _on_sacrum(classes, found[-1]):
        count = min(len(found), len(USUAL_VERTEBRAE))
        levels[len(found) - count :] = USUAL_VERTEBRAE[-count:]
        warnings.append(
            "Levels are counted upwards from the sacrum: with a sixth lumbar vertebra or a"
            " sacralised fifth one, they are off by one."
        )
    else:
        warnings.append(
            "The sacrum is not seen right below the lowest vertebra: levels are unsure, and"
            " vertebrae are numbered from the top."
        )
    vertebrae = []
    for number, (instance, level) in enumerate(zip(found, levels, strict=True)):
        vertebrae.append(
            Vertebra(
                label=level.verse if level else FIRST_UNSURE + number,
                level=level.name if level else None,
                centroid=tuple(float(v) for v in instance.centroid),  # type: ignore[arg-type]
                complete=instance.complete,
                confidence=round(instance.quality * (_SURE if level else 0.4), 3),
            )
        )
    return vertebrae, warnings


def _on_sacrum(classes: Volume, lowest: Instance) -> bool:
    kji = np.argwhere(classes.array == FineClass.SACRUM)
    away = np.asarray(classes.ijk_to_ras(kji[:, ::-1])) - lowest.centroid
    below = (away @ lowest.down)[np.linalg.norm(away, axis=1) < _NEAR_MM]
    if len(below) * classes.voxel_mm3 / 1000.0 < _SACRUM_ML:
        return False
    top, bottom = np.percentile(below, [5, 95])
    return bool(_BELOW_MM[0] < top < _BELOW_MM[1] and bottom - top >= _TALL_MM)
