"""One measurement for all methods that look at films: corners, a centreline or angles in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg import labels
from spineseg.errors import InputError
from spineseg.io.films import Film
from spineseg.measure.centreline import centreline_curves, corners_of_centreline
from spineseg.measure.cobb import ChallengeAngles, challenge_angles
from spineseg.measure.cobb_clinical import (
    SCOLIOSIS_DEG,
    ClinicalAngles,
    clinical_angles,
    find_curves,
    name_curves,
)
from spineseg.measure.corner_check import corner_doubts, doubt_texts
from spineseg.measure.sagittal import SagittalAngles, sagittal_angles
from spineseg.measure.upright import stood_up, turned_points
from spineseg.methods.film_result import LATERAL, FilmResult, Mark

__all__ = ["CHALLENGE_LEVELS", "FilmMeasurement", "measure_film"]

_NAMES = [level.name for level in labels.USUAL_VERTEBRAE]
_DOUBTFUL = 0.3  # confidence of a level below which an angle that hangs on it is doubted
CHALLENGE_LEVELS = tuple(_NAMES[_NAMES.index("T1") : _NAMES.index("L5") + 1])
"""The 17 vertebrae of the challenge, T1 to L5."""


@dataclass(frozen=True, eq=False)
class FilmMeasurement:
    """What a film gives; positions are (x, y) in pixels of the film.

    Attributes
    ----------
    view : {"ap", "lateral"}
    levels : tuple of str
        Of the rows of the corners.
    corners_px : (n, 4, 2) float64 or None
        As in `spineseg.methods.film_result.FilmResult`; made from the line where there were none.
        On a frontal film, too, an endplate may be NaN: one that a reader has not placed.
    angles_deg : mapping or None
        ``major``, ``upper`` and ``lower`` by the challenge's rule.
    challenge : ChallengeAngles or None
        The same, with the vertebrae.
    clinical : ClinicalAngles or None
        By end vertebrae and apex.
    sagittal : SagittalAngles or None
        Of a lateral film.
    left_is : str or None
        The patient's side at the left edge of the picture, where it is known.
    confidence : tuple of float
        0–1, one a level; empty if the method gives none.
    warnings : tuple of str
    marks : tuple of Mark
        What the method saw.
    """

    view: str
    levels: tuple[str, ...] = ()
    corners_px: NDArray[np.float64] | None = None
    angles_deg: Mapping[str, float] | None = None
    challenge: ChallengeAngles | None = None
    clinical: ClinicalAngles | None = None
    sagittal: SagittalAngles | None = None
    left_is: str | None = None
    confidence: tuple[float, ...] = ()
    warnings: tuple[str, ...] = field(default_factory=tuple)
    marks: tuple[Mark, ...] = ()

    def curves(self) -> list[dict[str, Any]]:
        """Return the clinical curves with names, from the top, for a report or JSON."""
        if self.clinical is None:
            return []
        rows = []
        for curve in self.clinical.curves:
            row = curve.named(self.levels)
            row["region"] = next(
                (name for name in ("pt", "mt", "tl") if getattr(self.clinical, name) is curve), None
            )
            row["convex_to_patients"] = _patients_side(curve.convex, self.left_is)
            rows.append(row)
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        found: dict[str, Any] = {
            "format": "spineseg-cobb",
            "kind": "film",
            "view": self.view,
            "levels": list(self.levels),
            "corners_px": None if self.corners_px is None else _listed(self.corners_px),
            "angles_deg": None if self.angles_deg is None else _rounded(self.angles_deg),
        }
        if self.clinical is not None:
            regions = {name: getattr(self.clinical, name) for name in ("pt", "mt", "tl")}
            found["angles_deg_clinical"] = {
                name: None if curve is None else round(curve.angle_deg, 2)
                for name, curve in regions.items()
            }
            found["curves"] = self.curves()
        if self.sagittal is not None:
            for name in ("kyphosis_deg", "lordosis_deg", "sva_px", "sva_mm"):
                value = getattr(self.sagittal, name)
                found[name] = None if value is None else round(value, 2)
            found["faces"] = self.sagittal.faces
        found["patient_side_at_left_edge"] = self.left_is
        found["confidence"] = [round(value, 3) for value in self.confidence]
        found["warnings"] = list(self.warnings)
        # Maps are for pictures; what can be measured again is points.
        found["marks"] = [
            {"name": m.name, "kind": m.kind, "points_px": np.round(m.points_px, 2).tolist()}
            for m in self.marks
            if m.values is None
        ]
        return found


def measure_film(result: FilmResult, film: Film) -> FilmMeasurement:
    """Measure what a method found on a film.

    Angles and sides are those of the film upright, however it lies; corners stay where they are.

    Raises
    ------
    InputError
        The method found too little to measure.
    """
    warnings = list(result.warnings)
    if film.view is not None and film.view != result.view:
        warnings.append(
            f"The film's header says {film.view}, but it was measured as {result.view}."
        )
    upright, standing, quarters = stood_up(result, film)
    found = (_lateral if result.view == LATERAL else _frontal)(upright, standing, warnings)
    corners = found.corners_px
    if quarters and corners is not None:
        corners = turned_points(corners, (standing.width_px, standing.height_px), -quarters)
    return replace(found, corners_px=corners, marks=result.marks)


def _lateral(result: FilmResult, film: Film, warnings: list[str]) -> FilmMeasurement:
    if result.corners_px is None:
        raise InputError("No vertebral corners were found on this lateral film.")
    spacing = film.spacing_mm or (film.pixel_aspect, 1.0)
    corners = dict(zip(result.levels, result.corners_px, strict=True))
    found = sagittal_angles(corners, spacing)
    if film.spacing_mm is None:
        found = SagittalAngles(
            found.kyphosis_deg, found.lordosis_deg, found.sva_px, None, found.faces
        )
    elif film.magnified:
        warnings.append("Lengths are those at the detector, larger than on the patient.")
    sure = dict(zip(result.levels, result.confidence, strict=False))
    for value, what, ends in (
        (found.kyphosis_deg, "kyphosis", ("T4", "T12")),
        (found.lordosis_deg, "lordosis", ("L1", labels.SACRUM.name)),
    ):
        doubtful = [level for level in ends if sure.get(level, 1.0) < _DOUBTFUL]
        if value is None:
            warnings.append(f"An endplate that the {what} needs was not found.")
        elif doubtful:
            warnings.append(
                f"Don't trust the {what} yet: the endplate of {' and '.join(doubtful)} is unsure."
            )
    return FilmMeasurement(
        view=LATERAL,
        levels=result.levels,
        corners_px=result.corners_px,
        sagittal=found,
        left_is=film.left_is,
        confidence=result.confidence,
        warnings=tuple(warnings),
    )


def _frontal(result: FilmResult, film: Film, warnings: list[str]) -> FilmMeasurement:
    corners, levels = result.corners_px, result.levels
    challenge: ChallengeAngles | None = None
    clinical: ClinicalAngles | None = None
    angles: Mapping[str, float] | None = result.angles_deg
    tall = np.array([1.0, film.pixel_aspect])  # so that pixels that are not square bend no angle
    if corners is None and result.centreline_px is not None:
        if not levels or tuple(levels) == CHALLENGE_LEVELS:
            corners = corners_of_centreline(result.centreline_px)
            levels = CHALLENGE_LEVELS
            warnings.append("The endplates are drawn square to a centreline.")
        else:
            clinical, levels = _of_line(result.centreline_px * tall)
            warnings.append("A part of the spine was measured along a centreline: no levels.")
    if corners is not None and not np.isfinite(corners).all():
        corners, levels, clinical = _of_endplates(corners, levels, tall)
        warnings.append(
            "Single endplates were measured: major, upper and lower need both of every vertebra,"
            " and an apex is one of those that are there."
        )
    elif corners is not None:
        challenge = challenge_angles(corners * tall, film.height_px * film.pixel_aspect)
        clinical = clinical_angles(corners * tall, levels)
        angles = angles or {
            "major": challenge.major_deg,
            "upper": challenge.upper_deg,
            "lower": challenge.lower_deg,
        }
        doubts = corner_doubts(corners, (film.width_px, film.height_px))
        warnings += doubt_texts(doubts, levels)
        if tuple(levels) != CHALLENGE_LEVELS:
            warnings.append(f"The angles are those of {levels[0]} to {levels[-1]} only.")
    if angles is None and clinical is None:
        raise InputError("The method found nothing on this film that could be measured.")
    return FilmMeasurement(
        view=result.view,
        levels=tuple(levels),
        corners_px=corners,
        angles_deg=angles,
        challenge=challenge,
        clinical=clinical,
        left_is=film.left_is,
        confidence=result.confidence,
        warnings=tuple(warnings) + _verdict(clinical),
    )


def _of_endplates(
    corners: NDArray[np.float64], levels: Sequence[str], tall: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[str, ...], ClinicalAngles]:
    """Return what is known of the endplates (NaN else), its levels, and the curves between them."""
    plates = corners.reshape(-1, 2, 2, 2).copy()
    plates[~np.isfinite(plates).all(axis=(2, 3))] = np.nan
    there = np.asarray(np.isfinite(plates).any(axis=(1, 2, 3)))
    plates = plates[there] * tall
    levels = [levels[int(n)] for n in np.flatnonzero(there)]
    line = plates[:, :, 1] - plates[:, :, 0]
    upper, lower = np.degrees(np.arctan2(line[..., 1], line[..., 0])).T
    first, last = np.flatnonzero(np.isfinite(upper)), np.flatnonzero(np.isfinite(lower))
    least = 2 if len(plates) > 2 else 1  # as in find_curves
    if not len(first) or not len(last) or last[-1] - first[0] < least:
        raise InputError(
            "An angle needs the superior endplate of one vertebra and the inferior one of another,"
            " farther down.",
            "Place both.",
        )
    curves = find_curves(upper, lower, np.nanmean(plates, axis=(1, 2)))
    # Of a curve with nothing between its ends nobody knows the apex, which would name it.
    known = name_curves([c for c in curves if c.upper_end < c.apex < c.lower_end], levels)
    return (plates / tall).reshape(-1, 4, 2), tuple(levels), replace(known, curves=curves)


def _of_line(points: NDArray[np.float64]) -> tuple[ClinicalAngles, tuple[str, ...]]:
    """Return the curves of a part of a spine, and names of places along it, in % from its top."""
    curves, line = centreline_curves(points)
    names = tuple(f"{100 * n / (len(line) - 1):.0f} %" for n in range(len(line)))
    return ClinicalAngles(curves), names


def _verdict(clinical: ClinicalAngles | None) -> tuple[str, ...]:
    if clinical is None or (clinical.major and clinical.major.angle_deg >= SCOLIOSIS_DEG):
        return ()
    return (f"No curve reaches {SCOLIOSIS_DEG:.0f}°, where scoliosis begins.",)


def _patients_side(side: str, left_is: str | None) -> str | None:
    """Return the patient's side for a side of the picture."""
    if left_is not in ("L", "R"):
        return None
    straight = left_is == "L"
    return side if straight else {"left": "right", "right": "left"}[side]


def _listed(corners: NDArray[np.float64]) -> list[Any]:
    """Return nested lists; null where an endplate is unknown, which JSON has no number for."""
    return [
        [[round(float(v), 2) if np.isfinite(v) else None for v in point] for point in row]
        for row in corners
    ]


def _rounded(angles: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), 3) for name, value in angles.items()}
