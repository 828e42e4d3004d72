"""Kyphosis, lordosis and sagittal balance from a lateral film.

Thoracic kyphosis is the angle between the upper endplate of T4 and the lower one of T12, lumbar
lordosis that between the upper endplates of L1 and S1; both are positive where the curve goes the
usual way. The sagittal vertical axis is how far the plumb line from the middle of C7's body falls
in front of the back corner of S1's upper endplate (Scoliosis Research Society; Glassman et al.,
Spine 30, 2005); negative behind it.

Positions are (x, y) in pixels, y down. Each endplate is given by its back and its front corner, so
it does not matter which way the patient faces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.errors import InputError
from spineseg.labels import SACRUM

__all__ = ["SagittalAngles", "sagittal_angles"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SagittalAngles:
    """What a lateral film gives; None where an endplate that it needs is missing.

    Attributes
    ----------
    kyphosis_deg, lordosis_deg : float or None
        T4 upper to T12 lower, and L1 upper to S1 upper.
    sva_px, sva_mm : float or None
        Sagittal vertical axis; in mm only where the pixel size is known.
    faces : {"left", "right"}
        Side of the picture that the patient looks to.
    """

    kyphosis_deg: float | None
    lordosis_deg: float | None
    sva_px: float | None
    sva_mm: float | None
    faces: str


def sagittal_angles(
    corners_px: Mapping[str, ArrayLike], spacing_mm: tuple[float, float] | None = None
) -> SagittalAngles:
    """Measure a lateral film.

    Parameters
    ----------
    corners_px : mapping of str to (4, 2) array_like
        By level ("C2" … "L5", "sacrum" for S1): upper back, upper front, lower back, lower front.
        NaN where an endplate is unknown.
    spacing_mm : (float, float), optional
        Between rows and between columns.

    Raises
    ------
    InputError
        There is no whole endplate, or a level's corners are no such array.
    """
    plates = {level: np.asarray(points, dtype=np.float64) for level, points in corners_px.items()}
    if any(points.shape != (4, 2) for points in plates.values()):
        raise InputError(
            "A level's corners are not four (x, y) positions.",
            "Give upper back, upper front, lower back and lower front.",
        )
    # Pixels that are not square bend angles; columns are the unit of what is measured.
    aspect = spacing_mm[0] / spacing_mm[1] if spacing_mm else 1.0
    square = {level: points * (1.0, aspect) for level, points in plates.items()}
    lines = [p[k + 1] - p[k] for p in square.values() for k in (0, 2)]
    forwards = np.array([line[0] for line in lines if np.isfinite(line).all()])
    if not len(forwards):
        raise InputError("No endplate has both its corners.", "Place back and front corners.")
    facing = 1.0 if np.median(forwards) >= 0 else -1.0

    def tilt(level: str, row: int) -> float | None:
        line = (
            square[level][row + 1] - square[level][row] if level in square else np.full(2, np.nan)
        )
        known = bool(np.isfinite(line).all())
        return float(np.degrees(np.arctan2(line[1], facing * line[0]))) if known else None

    sva = _sva(square, facing)
    return SagittalAngles(
        kyphosis_deg=_difference(tilt("T4", 0), tilt("T12", 2)),
        lordosis_deg=_difference(tilt(SACRUM.name, 0), tilt("L1", 0)),
        sva_px=sva,
        sva_mm=None if sva is None or spacing_mm is None else sva * spacing_mm[1],
        faces="right" if facing > 0 else "left",
    )


def _difference(first: float | None, second: float | None) -> float | None:
    if first is None or second is None:
        return None
    return (first - second + 180.0) % 360.0 - 180.0


def _sva(plates: Mapping[str, Floats], facing: float) -> float | None:
    if "C7" not in plates or SACRUM.name not in plates:
        return None
    value = facing * float(plates["C7"].mean(axis=0)[0] - plates[SACRUM.name][0, 0])
    return value if np.isfinite(value) else None
