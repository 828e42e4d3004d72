"""How dense the trabecular bone of a vertebral body is on CT, in HU, and what that suggests.

The centrum is what lies well inside a body's six points: away from the endplates, the walls, and
the basivertebral vein behind. `THRESHOLDS` are for L1 in unenhanced scans at about 120 kV. Contrast
raises L1 (`CONTRAST`): `density_words` takes that off before it compares, and says so; HU are given
as measured. Metal and cement make the figures meaningless: then there are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spineseg.measure.vertebra_body import VertebraBody
from spineseg.volume import Volume

__all__ = [
    "CONTRAST", "CONTRAST_HU", "THRESHOLDS", "BoneDensity", "ContrastRise", "Threshold", "aorta_hu",
    "density_words", "measure_density",
]  # fmt: skip

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """What a mean HU of L1 suggests.

    Attributes
    ----------
    name : str
        For people.
    at_most : float
        HU.
    specific : bool
        Whether it is to be believed where it applies; else, where it does not.
    source : str
    """

    name: str
    at_most: float
    specific: bool
    source: str


_PICKHARDT = "Pickhardt et al., Ann Intern Med 2013;158:588–595"
THRESHOLDS = (
    Threshold(
        "osteoporosis is likely", 110.0, True, f"{_PICKHARDT}: more than 90 % specific, 120 kV"
    ),
    Threshold(
        "osteoporosis can't be ruled out", 160.0, False, f"{_PICKHARDT}: 90 % sensitive, 120 kV"
    ),
)
"""The first that applies is told."""


@dataclass(frozen=True)
class ContrastRise:
    """How much brighter contrast makes L1: the least and the most of the phases, HU."""

    least: float
    most: float
    source: str


CONTRAST = ContrastRise(
    14.0, 18.0,
    "Pompe et al., Eur Radiol 2015;25:283–289: 14 HU in the arterial, 18 HU in the portal venous"
    " phase",
)  # fmt: skip
CONTRAST_HU = 120.0
"""Above this in front of the spine, blood holds contrast: unenhanced, it has 30 to 60 HU."""
METAL_HU = 1800.0
"""No bone is denser; cement has 1000 to 3000 HU, implants more."""
_CEMENT_HU, _CEMENT = 900.0, 0.02  # a centrum with a share of voxels above this is filled
_WALL_MM = 3.5  # from walls and endplates: cortex, and what it blurs into
_BEHIND = 0.45  # of the depth, left out behind: the basivertebral vein
_LEAST = 30  # voxels
_STEP_MM = 1.0
_AORTA_MM = 9.0  # half of the box that is looked for in front of the spine
_VESSEL_SD = 30.0  # a vessel's lumen is even


@dataclass(frozen=True)
class BoneDensity:
    """HU of one centrum; all None where `problem` says why.

    Attributes
    ----------
    mean, p10, median, p90 : float or None
    problem : str
    """

    mean: float | None = None
    p10: float | None = None
    median: float | None = None
    p90: float | None = None
    problem: str = ""


def measure_density(scan: Volume, body: VertebraBody) -> BoneDensity:
    """Measure a body's trabecular bone.

    Parameters
    ----------
    scan : Volume
        CT in HU (k, j, i).
    body : VertebraBody
        Measured on a label map of this scan.
    """
    if body.points is None or body.axes is None or body.half_mm is None:
        return BoneDensity(problem=body.problem)
    values = _at(scan, _centrum(body))
    values = values[np.isfinite(values)]
    if len(values) < _LEAST:
        return BoneDensity(problem="too little bone is left between its walls")
    if values.max() >= METAL_HU:
        return BoneDensity(problem="metal or cement")
    if (values >= _CEMENT_HU).mean() > _CEMENT:
        return BoneDensity(problem="cement, or very dense bone")
    p10, median, p90 = (float(v) for v in np.percentile(values, (10, 50, 90)))
    return BoneDensity(float(values.mean()), p10, median, p90)


def _centrum(body: VertebraBody) -> Floats:
    """Return points (n, 3), RAS mm, inside a body and away from its surface."""
    if body.points is None or body.axes is None or body.half_mm is None:
        return np.zeros((0, 3))
    axes, half = body.axes, body.half_mm
    local = (body.points - body.centre) @ axes  # (plane, plate, place, 3)
    width, depth = half[0] - _WALL_MM, half[1] - _WALL_MM
    x = np.arange(-width, width + 1e-6, _STEP_MM)
    y = np.arange(-depth, depth + 1e-6, _STEP_MM)
    x, y = (a.ravel() for a in np.meshgrid(x, y, indexing="ij"))
    keep = (np.hypot(x / max(width, 0.1), y / max(depth, 0.1)) <= 1) & (
        y > (2 * _BEHIND - 1) * half[1]
    )
    x, y = x[keep], y[keep]
    # The endplates' height by the middle plane's three points: a parabola through them.
    front, middle, back = (local[1, :, place] for place in range(3))
    ends = []
    for plate in (0, 1):
        curve = np.polyfit(
            [front[plate, 1], middle[plate, 1], back[plate, 1]],
            [front[plate, 2], middle[plate, 2], back[plate, 2]],
            2,
        )
        ends.append(np.polyval(curve, y))
    top, bottom = ends[0] - _WALL_MM, ends[1] + _WALL_MM
    points = [
        np.stack([x[ok], y[ok], np.full(int(ok.sum()), z)], axis=1)
        for z in np.arange(bottom.min(), top.max() + 1e-6, _STEP_MM)
        if (ok := (z <= top) & (z >= bottom)).any()
    ]
    found = np.concatenate(points) if points else np.zeros((0, 3))
    return np.asarray(body.centre + found @ axes.T)


def _at(scan: Volume, points: Floats) -> Floats:
    """Return a scan's values at RAS points (n, 3), each the nearest voxel's; NaN outside."""
    if not len(points):
        return np.zeros(0)
    index = np.rint(scan.ras_to_ijk(points)).astype(int)[:, ::-1]
    inside = ((index >= 0) & (index < np.array(scan.shape))).all(axis=1)
    values = np.full(len(points), np.nan)
    values[inside] = scan.array[tuple(index[inside].T)]
    return values


def aorta_hu(scan: Volume, bodies: Sequence[VertebraBody]) -> float | None:
    """Return how bright the blood in front of the spine is, HU; None where no vessel is found.

    In front and to the left of each body, the brightest even ball of 9 mm across is taken for the
    aorta; the median over the bodies.
    """
    shift = np.arange(-4.5, 4.6, 1.5)
    ball = np.stack(np.meshgrid(shift, shift, shift, indexing="ij"), axis=-1).reshape(-1, 3)
    ball = ball[np.linalg.norm(ball, axis=1) <= 4.5]
    found = []
    for body in bodies:
        if body.axes is None or body.half_mm is None or body.name[0] == "C":
            continue
        near = []
        for left in np.arange(-8.0, 30.0, 4.0):
            for ahead in np.arange(8.0, 26.0, 4.0):
                at = np.array([-left, body.half_mm[1] + ahead, 0.0])
                values = _at(scan, body.centre + (at + ball) @ body.axes.T)
                if np.isfinite(values).all() and values.std() < _VESSEL_SD and values.mean() > 0:
                    near.append(float(np.median(values)))
        if near:
            found.append(max(near))
    return float(np.median(found)) if found else None


def density_words(mean: float, contrast: bool = False) -> str:
    """Return what a mean HU of L1 suggests by `THRESHOLDS`; "" where nothing.

    Parameters
    ----------
    mean : float
        HU, as measured.
    contrast : bool
        Whether blood holds contrast. The phase is not known: a specific threshold is compared with
        what is left after the least rise, a sensitive one with what is left after the most.
    """
    low, high = (mean - CONTRAST.most, mean - CONTRAST.least) if contrast else (mean, mean)
    for one in THRESHOLDS:
        if (high if one.specific else low) <= one.at_most:
            less = f" with contrast, about {low:.0f} to {high:.0f} without" if contrast else ""
            return f"{mean:.0f} HU{less}: {one.name} (at most {one.at_most:.0f} HU in L1)"
    return ""
