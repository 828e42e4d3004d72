"""Angles of a spine from a label map of its vertebrae, in the patient's axes (RAS).

- Coronal Cobb: as `spineseg.measure.cobb_clinical`, with the endplates' normals projected to the
  frontal plane, seen from behind (the patient's right is right).
- 3D Cobb: the angle between the same two endplates projected to the vertical plane in which it is
  largest, the plane of maximum curvature (Stokes, "Three-dimensional terminology of spinal
  deformity", Spine 19, 1994).
- Kyphosis: T4 upper to T12 lower endplate, lordosis: L1 upper to S1 upper endplate, projected to
  the sagittal plane; positive where the curve goes the usual way.
- Axial rotation: the last of three turns that bring a vertebra from the patient's axes to its own:
  first to the side, then forwards, then about its own axis (Skalli et al., Spine 20, 1995).
  Positive where its front turns to the patient's left.

The endplates of a label map are rough. So before angles are taken, each vertebra is steadied by
what else is known of it (`spineseg.measure.steady`): a single bump or spur then moves no angle by
much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg import labels
from spineseg.errors import InputError
from spineseg.measure.cobb_clinical import LEAST_DEG, CobbCurve, find_curves, name_curves
from spineseg.measure.endplates import BodyFrame, fit_bodies
from spineseg.measure.steady import normals, steadied
from spineseg.volume import Volume

__all__ = [
    "MaximumCurvature", "SpineAngles", "axial_rotation_deg", "maximum_curvature", "measure_spine",
]  # fmt: skip

Floats = NDArray[np.float64]

_PLANES_DEG = np.arange(-90.0, 90.0, 0.5)
_FIRST_THORACIC = "T1"
_AS_LARGE_DEG = 1.0  # curves whose frontal angles differ by less may be one or the other
_AGREE_DEG = 2.0


@dataclass(frozen=True)
class MaximumCurvature:
    """A 3D Cobb angle and its plane.

    Attributes
    ----------
    angle_deg : float
    plane_deg : float
        Of the vertical plane, from the frontal one: −90 to 90, positive where its right half is
        turned forwards; ±90 is the sagittal plane.
    normal_ras : tuple of float
        The plane's unit normal.
    """

    angle_deg: float
    plane_deg: float
    normal_ras: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class SpineAngles:
    """The angles of a spine, degrees; None where they could not be measured.

    Attributes
    ----------
    vertebrae : tuple of BodyFrame
        From the top, steadied; the sacrum last where there is one.
    measured : tuple of int
        The rows of `vertebrae` that curves may end at, in the order of the curves' numbers.
    coronal : CobbCurve or None
        The largest curve, however small; its numbers are places in `measured`.
    curves : tuple of CobbCurve
        All of at least 5°.
    maximum : MaximumCurvature or None
        Of the largest curve.
    maximum_range_deg : (2,) tuple of float or None
        Least and greatest 3D angle, were the curve to end at other vertebrae near by between which
        the frontal angle is as large, within 1°.
    kyphosis_deg, lordosis_deg, lordosis_l1_l5_deg : float or None
        The last one to the lower endplate of L5, for maps without a sacrum.
    axial_rotation_deg : dict of str to float
        By level.
    warnings : tuple of str
    """

    vertebrae: tuple[BodyFrame, ...]
    measured: tuple[int, ...]
    coronal: CobbCurve | None
    curves: tuple[CobbCurve, ...]
    maximum: MaximumCurvature | None
    maximum_range_deg: tuple[float, float] | None
    kyphosis_deg: float | None
    lordosis_deg: float | None
    lordosis_l1_l5_deg: float | None
    axial_rotation_deg: dict[str, float]
    warnings: tuple[str, ...] = field(default_factory=tuple)

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the vertebrae that curves may end at."""
        return tuple(self.vertebrae[n].name for n in self.measured)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; lengths in mm, positions RAS."""
        plane = None
        if self.maximum is not None:
            plane = {
                "from_coronal_deg": round(self.maximum.plane_deg, 1),
                "normal_ras": [round(v, 4) for v in self.maximum.normal_ras],
            }
        return {
            "format": "spineseg-cobb",
            "kind": "segmentation",
            "space": "RAS mm",
            "coronal_cobb_deg": _rounded(self.coronal.angle_deg if self.coronal else None),
            "coronal_curve": self.coronal.named(self.levels) if self.coronal else None,
            "cobb_3d_deg": _rounded(self.maximum.angle_deg if self.maximum else None),
            "cobb_3d_plane": plane,
            "cobb_3d_range_deg": self.maximum_range_deg and list(self.maximum_range_deg),
            "curves": self._curves(),
            "kyphosis_deg": _rounded(self.kyphosis_deg),
            "lordosis_deg": _rounded(self.lordosis_deg),
            "lordosis_l1_l5_deg": _rounded(self.lordosis_l1_l5_deg),
            "axial_rotation_deg": {k: round(v, 2) for k, v in self.axial_rotation_deg.items()},
            "vertebrae": [_row(frame) for frame in self.vertebrae],
            "warnings": list(self.warnings),
        }

    def _curves(self) -> list[dict[str, Any]]:
        regions = name_curves(self.curves, self.levels)
        rows = []
        for curve in self.curves:
            row = curve.named(self.levels)
            names = ("pt", "mt", "tl")
            row["region"] = next((n for n in names if getattr(regions, n) is curve), None)
            upper, lower = self._ends(curve)
            row["cobb_3d_deg"] = _rounded(maximum_curvature(upper, lower).angle_deg)
            rows.append(row)
        return rows

    def _ends(self, curve: CobbCurve) -> tuple[Floats, Floats]:
        upper = self.vertebrae[self.measured[curve.upper_end]].upper
        lower = self.vertebrae[self.measured[curve.lower_end]].lower
        assert upper is not None
        assert lower is not None
        return upper.normal, lower.normal


def measure_spine(segmentation: Volume, steady: bool = True) -> SpineAngles:
    """Measure the vertebrae of a label map.

    Parameters
    ----------
    segmentation : Volume
        Whole numbers (k, j, i): VerSe ids, or 101, 102 … where levels are unsure.
    steady : bool
        See `spineseg.measure.steady`; without it the endplates are taken as they are.

    Raises
    ------
    InputError
        Fewer than two vertebrae could be measured.
    """
    frames = fit_bodies(segmentation)
    warnings = _left_out(frames)
    whole = [f for f in frames if f.upper is not None and f.lower is not None]
    if len(whole) < 2:
        raise InputError(
            f"An angle needs two whole vertebrae, but {len(whole)} could be measured.",
            "Use a label map that shows more of the spine.",
        )
    frames = steadied(frames) if steady else frames
    measured = _scope(frames, warnings)
    upper, lower = normals(frames, measured)
    places = np.array([frames[n].centre for n in measured])[:, [0, 2]] * (1.0, -1.0)
    tilts = tilt_deg(upper, 0.0), tilt_deg(lower, 0.0)
    largest = find_curves(*tilts, places, 0.0)
    coronal = max(largest, key=lambda c: c.angle_deg, default=None)
    maximum, spread = None, None
    if coronal is not None:
        maximum = maximum_curvature(upper[coronal.upper_end], lower[coronal.lower_end])
        spread = _range_3d(coronal, upper, lower)
        if spread[1] - spread[0] > _AGREE_DEG:
            ends = [frames[measured[n]].name for n in (coronal.upper_end, coronal.lower_end)]
            warnings.append(
                f"Neighbours of {ends[0]} and {ends[1]} are tilted nearly alike: if the curve ends "
                f"there, its 3D Cobb angle is from {spread[0]:.0f}° to {spread[1]:.0f}°."
            )
    by_name = {f.name: f for f in frames}
    return SpineAngles(
        vertebrae=tuple(frames),
        measured=tuple(measured),
        coronal=coronal,
        curves=find_curves(*tilts, places, LEAST_DEG),
        maximum=maximum,
        maximum_range_deg=spread,
        kyphosis_deg=_between(by_name, ("T12", "lower"), ("T4", "upper")),
        lordosis_deg=_between(by_name, ("L1", "upper"), (labels.SACRUM.name, "upper")),
        lordosis_l1_l5_deg=_between(by_name, ("L1", "upper"), ("L5", "lower")),
        axial_rotation_deg={
            f.name: axial_rotation_deg(f.axes) for f in frames if f.axes is not None
        },
        warnings=tuple(warnings),
    )


def tilt_deg(normals: Floats, plane_deg: float) -> Floats:
    """Return the tilts of normals (…, 3) in a vertical plane, degrees.

    Parameters
    ----------
    normals : (…, 3) ndarray
        RAS, upwards.
    plane_deg : float
        Of the plane, from the frontal one; 0: positive where the right side is lower, 90: where
        the front is lower.
    """
    along = np.array([np.cos(np.radians(plane_deg)), np.sin(np.radians(plane_deg)), 0.0])
    return np.asarray(np.degrees(np.arctan2(normals @ along, normals[..., 2])))


def maximum_curvature(upper: Floats, lower: Floats) -> MaximumCurvature:
    """Return the largest angle between two normals (3,), RAS, projected to a vertical plane."""
    planes = np.radians(_PLANES_DEG)
    along = np.stack([np.cos(planes), np.sin(planes), np.zeros_like(planes)])
    turns = np.degrees(np.arctan2(lower @ along, lower[2]) - np.arctan2(upper @ along, upper[2]))
    best = int(np.abs(turns).argmax())
    plane = float(_PLANES_DEG[best])
    angle = np.radians(plane)
    normal = (float(-np.sin(angle)), float(np.cos(angle)), 0.0)
    return MaximumCurvature(float(abs(turns[best])), plane, normal)


def _range_3d(curve: CobbCurve, upper: Floats, lower: Floats) -> tuple[float, float]:
    """Return the least and greatest 3D angle of a curve and of those near it that are as large.

    Where neighbours are tilted alike, a degree decides which of them is the end vertebra, though
    they differ in the sagittal plane, and so in the 3D angle.
    """
    angles = []
    for first in range(max(0, curve.upper_end - 2), min(len(upper), curve.upper_end + 3)):
        for last in range(
            max(first + 1, curve.lower_end - 2), min(len(lower), curve.lower_end + 3)
        ):
            both = np.stack([upper[first], lower[last]])
            frontal = abs(float(np.diff(tilt_deg(both, 0.0))[0]))
            if frontal >= curve.angle_deg - _AS_LARGE_DEG:
                angles.append(maximum_curvature(*both).angle_deg)
    return round(min(angles), 2), round(max(angles), 2)


def axial_rotation_deg(axes: Floats) -> float:
    """Return the turn of a vertebra about its own axis (see above), degrees, to the left positive.

    Parameters
    ----------
    axes : (3, 3) ndarray
        Columns: to its right, forwards and up, RAS.
    """
    up, front = axes[:, 2], axes[:, 1]
    forwards = np.arcsin(np.clip(up[1], -1.0, 1.0))
    aside = np.arctan2(up[0], up[2])
    ca, sa, cf, sf = np.cos(aside), np.sin(aside), np.cos(forwards), np.sin(forwards)
    right_before = np.array([ca, 0.0, -sa])
    front_before = np.array([-sa * sf, cf, -ca * sf])
    return float(np.degrees(np.arctan2(-front @ right_before, front @ front_before)))


def _scope(frames: Sequence[BodyFrame], warnings: list[str]) -> list[int]:
    """Return the vertebrae that curves may end at: from T1 down, or all where there are too few."""
    rows = [n for n, f in enumerate(frames) if f.upper is not None and f.lower is not None]
    cervical = {level.name for level in labels.VERTEBRAE if level.region == "cervical"}
    below = [n for n in rows if frames[n].name not in cervical]
    if len(below) >= 2:
        return below
    warnings.append(
        f"Curves are those of the neck: fewer than two vertebrae from {_FIRST_THORACIC} down."
    )
    return rows


def _left_out(frames: Sequence[BodyFrame]) -> list[str]:
    usual = {level.name for level in labels.VERTEBRAE[:2]} | {labels.SACRUM.name}
    cut = [f.name for f in frames if not f.complete and f.name not in usual]
    bare = [f.name for f in frames if f.upper is None or f.lower is None]
    odd = [name for name in bare if name not in usual and name not in cut]
    warnings = []
    if odd:
        warnings.append(f"No endplates could be measured at {', '.join(odd)}.")
    if cut:
        warnings.append(f"Cut by the edge of the label map, so less exact: {', '.join(cut)}.")
    if any(f.label >= labels.FIRST_UNSURE for f in frames):
        warnings.append("Levels are unsure, so kyphosis and lordosis can't be measured.")
    return warnings


def _between(
    frames: dict[str, BodyFrame], upwards: tuple[str, str], downwards: tuple[str, str]
) -> float | None:
    """Return how much more the second endplate tilts forwards than the first, degrees."""
    plates = [getattr(frames.get(name), which, None) for name, which in (upwards, downwards)]
    tilts = [float(tilt_deg(p.normal, 90.0)) for p in plates if p is not None]
    return tilts[1] - tilts[0] if len(tilts) == 2 else None


def _row(frame: BodyFrame) -> dict[str, Any]:
    row: dict[str, Any] = {
        "level": frame.name,
        "label": frame.label,
        "complete": frame.complete,
        "centre": [round(float(v), 2) for v in frame.centre],
        "axial_rotation_deg": None
        if frame.axes is None
        else round(axial_rotation_deg(frame.axes), 2),
        "half_size_mm": None
        if frame.half_mm is None
        else [round(float(v), 2) for v in frame.half_mm],
        "axes_ras": None if frame.axes is None else _directions(frame.axes.T),
    }
    for name in ("upper", "lower"):
        plate = getattr(frame, name)
        row[f"{name}_endplate"] = plate and {
            "centre": [round(float(v), 2) for v in plate.centre],
            "normal": _directions(plate.normal),
            "rms_mm": round(plate.rms_mm, 2),
            "coronal_tilt_deg": round(float(tilt_deg(plate.normal, 0.0)), 2),
            "sagittal_tilt_deg": round(float(tilt_deg(plate.normal, 90.0)), 2),
        }
    return row


def _directions(vectors: Floats) -> Any:
    """Return unit vectors as JSON, exact enough that angles taken from them agree to 0.01°."""
    return np.round(vectors, 8).tolist()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
