"""Cobb angles as a clinician measures them: by the most tilted endplates on both sides of an apex.

A curve lies between two end vertebrae, the ones that tilt most towards each other. Its angle is
that between the upper endplate of the upper one and the lower endplate of the lower one (Cobb
1948; Scoliosis Research Society). The largest such angle of the spine comes first; then the
largest of the opposite direction above and below it, and so on to the ends. A curve's apex is its
vertebra farthest from the line between the middles of its two end vertebrae (the apex may be a
disc; then one of its neighbours is named).

A curve is named by its apex, with the borders of Lenke et al. (J Bone Joint Surg Am 83, 2001):
proximal thoracic down to T5, main thoracic T6 to T11, thoracolumbar or lumbar from T12. Of several
curves of one name the largest counts. None stands where there is no curve of at least
`LEAST_DEG` with its apex there; scoliosis begins at `SCOLIOSIS_DEG`.

The tilt of an endplate is the angle of its line from the picture's left to its right with the
horizontal, in degrees, positive where the right end is the lower one. Left and right are those of
whatever picture or view the tilts come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg import labels
from spineseg.errors import InputError
from spineseg.measure.cobb import LOWER, UPPER, checked_corners

__all__ = [
    "LEAST_DEG", "SCOLIOSIS_DEG", "ClinicalAngles", "CobbCurve", "clinical_angles", "find_curves",
    "tilts_deg",
]  # fmt: skip

Floats = NDArray[np.float64]
LEAST_DEG = 5.0
"""Smaller angles are within what two readers of one film differ by, and are no curve."""
SCOLIOSIS_DEG = 10.0
"""The Scoliosis Research Society's border."""

_ORDER = {level.name: n for n, level in enumerate(labels.VERTEBRAE)}
_LAST_PROXIMAL, _LAST_MAIN = _ORDER["T5"], _ORDER["T11"]
_FIRST = _ORDER["T1"]


@dataclass(frozen=True)
class CobbCurve:
    """One curve.

    Attributes
    ----------
    angle_deg : float
        0–180.
    upper_end, lower_end, apex : int
        Vertebrae by their place in what was measured, 0 on top.
    convex : {"left", "right"}
        Side of the picture to which the curve bulges.
    """

    angle_deg: float
    upper_end: int
    lower_end: int
    apex: int
    convex: str

    def named(self, levels: Sequence[str]) -> dict[str, Any]:
        """Return the curve with names for its vertebrae, for a report or JSON."""
        return {
            "angle_deg": round(self.angle_deg, 2),
            "upper_end": levels[self.upper_end],
            "lower_end": levels[self.lower_end],
            "apex": levels[self.apex],
            "convex": self.convex,
        }


@dataclass(frozen=True)
class ClinicalAngles:
    """The curves of a spine.

    Attributes
    ----------
    curves : tuple of CobbCurve
        From the top; neighbours bulge to opposite sides.
    pt, mt, tl : CobbCurve or None
        Proximal thoracic, main thoracic, and thoracolumbar or lumbar; see above.
    """

    curves: tuple[CobbCurve, ...] = ()
    pt: CobbCurve | None = None
    mt: CobbCurve | None = None
    tl: CobbCurve | None = None

    @property
    def major(self) -> CobbCurve | None:
        """The largest curve."""
        return max(self.curves, key=lambda c: c.angle_deg, default=None)


def tilts_deg(corners_px: ArrayLike) -> tuple[Floats, Floats]:
    """Return the tilts (n,) of the upper and of the lower endplates of corners (n, 4, 2)."""
    corners = checked_corners(corners_px, least=1)
    found = []
    for left, right in (UPPER, LOWER):
        line = corners[:, right] - corners[:, left]
        found.append(np.degrees(np.arctan2(line[:, 1], line[:, 0])))
    return found[0], found[1]


def clinical_angles(
    corners_px: ArrayLike, levels: Sequence[str], least_deg: float = LEAST_DEG
) -> ClinicalAngles:
    """Measure the curves of a frontal film.

    Parameters
    ----------
    corners_px : (n, 4, 2) array_like
        Upper left, upper right, lower left, lower right of each vertebra from the top, (x, y).
    levels : sequence of str
        Their names; a name that is no level (an unsure one) belongs to no region.
    least_deg : float
        Smallest curve.

    Raises
    ------
    InputError
        As `spineseg.measure.cobb.checked_corners`; not one level a vertebra.
    """
    corners = checked_corners(corners_px)
    if len(levels) != len(corners):
        raise InputError(f"There are {len(levels)} levels for {len(corners)} vertebrae.")
    upper, lower = tilts_deg(corners)
    curves = find_curves(upper, lower, corners.mean(axis=1), least_deg)
    return name_curves(curves, levels)


def name_curves(curves: Sequence[CobbCurve], levels: Sequence[str]) -> ClinicalAngles:
    """Sort curves into the three regions by the levels of their apices."""
    best: dict[str, CobbCurve] = {}
    for curve in curves:
        region = _region(levels[curve.apex])
        if region and (region not in best or curve.angle_deg > best[region].angle_deg):
            best[region] = curve
    return ClinicalAngles(tuple(curves), best.get("pt"), best.get("mt"), best.get("tl"))


def _region(apex: str) -> str | None:
    place = _ORDER.get(apex, -1)
    if place < _FIRST:
        return None
    return "pt" if place <= _LAST_PROXIMAL else "mt" if place <= _LAST_MAIN else "tl"


def find_curves(
    upper_tilt_deg: Floats, lower_tilt_deg: Floats, places: Floats, least_deg: float = LEAST_DEG
) -> tuple[CobbCurve, ...]:
    """Find the curves of a row of vertebrae.

    Parameters
    ----------
    upper_tilt_deg, lower_tilt_deg : (n,) ndarray
        Tilts of the endplates; NaN where there is none (then it ends no curve).
    places : (n, 2) ndarray
        Middles of the vertebrae in the same view, x to the right and y down, any unit.
    least_deg : float
        Smallest curve.

    Returns
    -------
    tuple of CobbCurve
        From the top.
    """
    # bend[i, j]: how much the lower endplate of j is turned against the upper one of i.
    bend = lower_tilt_deg[None, :] - upper_tilt_deg[:, None]
    bend = (bend + 180.0) % 360.0 - 180.0
    # Of three or more vertebrae at least one lies between the ends of a curve.
    bend[np.tril_indices(len(bend), 1 if len(bend) > 2 else 0)] = np.nan
    first = _largest(np.abs(bend), least_deg)
    if first is None:
        return ()
    found = [first]
    sign = np.sign(bend[first])
    for upwards in (True, False):
        ends, wanted = first, -sign
        while True:
            part = np.full_like(bend, np.nan)
            if upwards:
                part[:, : ends[0] + 1] = wanted * bend[:, : ends[0] + 1]
            else:
                part[ends[1] :] = wanted * bend[ends[1] :]
            following = _largest(part, least_deg)
            if following is None:
                break
            found.append(following)
            ends, wanted = following, -wanted
    return tuple(_curve(i, j, float(bend[i, j]), places) for i, j in sorted(found))


def _largest(bend: Floats, least: float) -> tuple[int, int] | None:
    if not np.isfinite(bend).any():
        return None
    i, j = np.unravel_index(int(np.nanargmax(bend)), bend.shape)
    return (int(i), int(j)) if bend[i, j] >= least else None


def _curve(upper: int, lower: int, bend: float, places: Floats) -> CobbCurve:
    chord = places[lower] - places[upper]
    between = range(upper + 1, lower) if lower - upper > 1 else range(upper, lower + 1)
    inner = places[list(between)] - places[upper]
    away = chord[0] * inner[:, 1] - chord[1] * inner[:, 0]
    # y runs down, so that a bulge to the right gives bend > 0 and away < 0.
    apex = between[int(np.argmax(-np.sign(bend) * away))]
    return CobbCurve(abs(bend), upper, lower, apex, "right" if bend > 0 else "left")
