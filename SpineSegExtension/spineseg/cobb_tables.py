"""What was measured on a film or in a label map, as rows: for tables, CSV files and text fields.

Each kind of table has columns with a key, a title and a unit; rows are mappings from keys to
values, None where something is not known.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import spineseg
from spineseg.io.films import Film
from spineseg.measure.cobb import ChallengeAngles
from spineseg.measure.film import FilmMeasurement
from spineseg.measure.spine_angles import SpineAngles

__all__ = [
    "ANGLES", "FILM_ENDPLATES", "NUMBER", "VERTEBRAE", "Column", "csv_bytes", "film_angles",
    "film_endplates", "film_text", "spine_angles", "spine_text", "spine_vertebrae",
]  # fmt: skip

Row = dict[str, Any]
NUMBER = "number"
"""Unit of a column of numbers whose units another column says."""

REGIONS = {"pt": "Proximal thoracic", "mt": "Main thoracic", "tl": "Thoracolumbar or lumbar"}
CURVE = "Curve"
"""What a curve is called whose apex lies in no region."""
_CORNERS = ("upper_left", "upper_right", "lower_left", "lower_right")
_ASCII = str.maketrans({"°": " deg", "–": "-", "—": "-", "−": "-", "“": '"', "”": '"', "’": "'",
                        "×": "x", "…": "..."})  # fmt: skip
_LINE = 1024  # characters; DICOM PS3.5, 6.2: the longest short text


@dataclass(frozen=True)
class Column:
    """One column: its key in the rows, its title, and the unit of its numbers ("" for text)."""

    key: str
    title: str
    unit: str = ""


ANGLES = (
    Column("measure", "Measure"),
    Column("value", "Value", NUMBER),
    Column("unit", "Unit"),
    Column("definition", "Definition"),
    Column("upper_end", "Upper end"),
    Column("lower_end", "Lower end"),
    Column("apex", "Apex"),
    Column("convex", "Convex to"),
    Column("convex_to_patients", "Patient's side"),
)
"""Of `film_angles` and `spine_angles`; the unit is a column of its own, a row's."""

FILM_ENDPLATES = (
    Column("level", "Level"),
    Column("superior_tilt", "Superior tilt", "°"),
    Column("inferior_tilt", "Inferior tilt", "°"),
    Column("confidence", "Confidence", "%"),
    Column("edited", "Edited"),
    *(
        Column(f"{name}_{axis}", f"{name.replace('_', ' ').capitalize()} {axis}", "px")
        for name in _CORNERS
        for axis in "xy"
    ),
)
"""Of `film_endplates`. On a lateral film left and right are back and front."""

VERTEBRAE = (
    Column("level", "Level"),
    Column("axial_rotation", "Axial rotation", "°"),
    *(
        Column(f"{which}_{plane}_tilt", f"{title} tilt {way}", "°")
        for plane, way in (("coronal", "to the right"), ("sagittal", "forwards"))
        for which, title in (("upper", "Superior"), ("lower", "Inferior"))
    ),
    Column("complete", "Complete"),
)
"""Of `spine_vertebrae`."""


def film_angles(measured: FilmMeasurement) -> list[Row]:
    """Return the angles of a film: the challenge's, the clinical curves, or those from the side."""
    rows = []
    for name, value in (measured.angles_deg or {}).items():
        ends = _ends(measured.challenge, name, value, measured.levels)
        rows.append(_row(name.capitalize(), value, "°", definition="challenge", **ends))
    for curve in measured.curves():
        value = curve.pop("angle_deg")
        title = REGIONS.get(curve.pop("region") or "", CURVE)
        rows.append(_row(title, value, "°", definition="clinical", **curve))
    side = measured.sagittal
    if side is not None:
        rows.append(_row("Kyphosis", side.kyphosis_deg, "°", upper_end="T4", lower_end="T12"))
        rows.append(_row("Lordosis", side.lordosis_deg, "°", upper_end="L1", lower_end="S1"))
        length, unit = (side.sva_px, "px") if side.sva_mm is None else (side.sva_mm, "mm")
        rows.append(_row("Sagittal vertical axis", length, unit, upper_end="C7", lower_end="S1"))
    return rows


def _ends(
    challenge: ChallengeAngles | None, name: str, value: float, levels: Sequence[str]
) -> dict[str, str]:
    """Return the vertebrae of an angle by the challenge's rule, if that is where it comes from."""
    if challenge is None or abs(getattr(challenge, f"{name}_deg") - value) > 1e-6:
        return {}
    upper, lower = getattr(challenge, f"{name}_pair")
    return {"upper_end": levels[upper], "lower_end": levels[lower]}


def film_endplates(
    measured: FilmMeasurement, edited: Collection[tuple[str, str]] = ()
) -> list[Row]:
    """Return the endplates of a film, a row a vertebra.

    Parameters
    ----------
    measured : FilmMeasurement
    edited : collection of (str, str)
        Level and "superior" or "inferior" of the endplates that a reader has placed or moved.
    """
    if measured.corners_px is None:
        return []
    rows = []
    for n, (level, corners) in enumerate(zip(measured.levels, measured.corners_px, strict=True)):
        across = corners[[1, 3]] - corners[[0, 2]]
        tilts = [_number(v) for v in np.degrees(np.arctan2(across[:, 1], across[:, 0]))]
        row: Row = {"level": level, "superior_tilt": tilts[0], "inferior_tilt": tilts[1]}
        row["confidence"] = round(100 * measured.confidence[n], 1) if measured.confidence else None
        which = [name for name in ("superior", "inferior") if (level, name) in edited]
        row["edited"] = ", ".join(which)
        for name, point in zip(_CORNERS, corners, strict=True):
            row[f"{name}_x"], row[f"{name}_y"] = (_number(v) for v in point)
        rows.append(row)
    return rows


def spine_angles(angles: SpineAngles) -> list[Row]:
    """Return the angles of a label map."""
    content = angles.to_json()
    coronal = dict(content["coronal_curve"] or {})
    coronal.pop("angle_deg", None)
    coronal = _patients(coronal)
    rows = [
        _row("Coronal Cobb", content["coronal_cobb_deg"], "°", **coronal),
        _row("3D Cobb", content["cobb_3d_deg"], "°", **coronal),
    ]
    if content["cobb_3d_plane"] is not None:
        turned = content["cobb_3d_plane"]["from_coronal_deg"]
        rows.append(_row("Plane of maximum curvature, from the frontal one", turned, "°"))
    for curve in content["curves"]:
        value, three = curve.pop("angle_deg"), curve.pop("cobb_3d_deg")
        title = REGIONS.get(curve.pop("region") or "", CURVE)
        ends = _patients(curve)
        rows.append(_row(title, value, "°", definition="coronal", **ends))
        rows.append(_row(title, three, "°", definition="3D", **ends))
    for name, key, upper, lower in (
        ("Kyphosis", "kyphosis_deg", "T4", "T12"),
        ("Lordosis", "lordosis_deg", "L1", "S1"),
        ("Lordosis, L1 to L5", "lordosis_l1_l5_deg", "L1", "L5"),
    ):
        rows.append(_row(name, content[key], "°", upper_end=upper, lower_end=lower))
    return rows


def _patients(curve: Row) -> Row:
    """Return a curve of a label map, whose sides are the patient's."""
    return {**curve, "convex_to_patients": curve.get("convex")}


def spine_vertebrae(angles: SpineAngles) -> list[Row]:
    """Return the vertebrae of a label map, a row each."""
    rows = []
    for vertebra in angles.to_json()["vertebrae"]:
        row: Row = {"level": vertebra["level"], "axial_rotation": vertebra["axial_rotation_deg"]}
        for which in ("upper", "lower"):
            for plane in ("coronal", "sagittal"):
                plate = vertebra[f"{which}_endplate"]
                row[f"{which}_{plane}_tilt"] = plate and plate[f"{plane}_tilt_deg"]
        row["complete"] = "yes" if vertebra["complete"] else "cut"
        rows.append(row)
    return rows


def csv_bytes(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a CSV file (UTF-8) with a header of keys and units: ``superior_tilt_deg``."""
    units = {"°": "_deg", "%": "_percent", "px": "_px"}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([f"{c.key}{units.get(c.unit, '')}" for c in columns])
    for row in rows:
        writer.writerow(["" if row[c.key] is None else row[c.key] for c in columns])
    return buffer.getvalue().encode()


def film_text(
    measured: FilmMeasurement, film: Film, method: str, edited: Collection[tuple[str, str]] = ()
) -> bytes:
    """Return what was measured on a film as lines for a text field of DICOM.

    Plain ASCII, lines of at most 1024 characters ended by CR LF (DICOM PS3.5, 6.1.3 and 6.2).
    """
    spacing = "unknown"
    if film.spacing_mm is not None:
        spacing = f"{film.spacing_mm[0]:.4g} x {film.spacing_mm[1]:.4g} mm"
    head = [f"Film: {film.name}", f"View: {measured.view}", f"Pixel spacing: {spacing}"]
    head.append(f"Endplates: {method or 'placed by hand'}")
    if edited and method:
        names = ", ".join(f"{level} {which}" for level, which in sorted(edited))
        head.append(f"Corrected by hand: {names}")
    return _text(head, film_angles(measured), measured.warnings)


def spine_text(angles: SpineAngles, name: str) -> bytes:
    """Return what was measured in a label map as lines for a text field; see `film_text`."""
    lines = [
        f"Axial rotation of {level}: {value:.1f} deg (positive: front to the patient's left)"
        for level, value in angles.axial_rotation_deg.items()
    ]
    head = [f"Segmentation: {name}", "Endplates: planes fitted to each vertebra"]
    return _text(head, spine_angles(angles), angles.warnings, lines)


def _text(
    head: Sequence[str],
    rows: Sequence[Row],
    warnings: Sequence[str],
    more: Sequence[str] = (),
) -> bytes:
    lines = [f"Spinal angles (spineseg {spineseg.__version__}, not a medical device)", *head]
    lines += [_sentence(row) for row in rows]
    lines += [*more, *(f"Note: {text}" for text in warnings)]
    plain = [" ".join(line.translate(_ASCII).split())[:_LINE] for line in lines]
    return "".join(f"{line}\r\n" for line in plain).encode("ascii", "replace")


def _sentence(row: Row) -> str:
    value = "not measured" if row["value"] is None else f"{row['value']:.1f} {row['unit']}"
    parts = [f"{row['measure']}: {value}"]
    if row["definition"]:
        parts[0] += f" ({row['definition']})"
    if row["upper_end"] and row["value"] is not None:
        parts.append(f"{row['upper_end']} to {row['lower_end']}")
    if row["apex"]:
        parts.append(f"apex {row['apex']}")
    if row["convex_to_patients"]:
        parts.append(f"convex to the patient's {row['convex_to_patients']}")
    elif row["convex"]:
        parts.append(f"convex to the {row['convex']} of the picture")
    return ", ".join(parts)


def _row(measure: str, value: float | None, unit: str, **more: Any) -> Row:
    row: Row = {column.key: None for column in ANGLES}
    row.update(measure=measure, unit=unit, **more)
    row["value"] = None if value is None else round(float(value), 2)
    return {key: "" if v is None and key != "value" else v for key, v in row.items()}


def _number(value: float) -> float | None:
    return round(float(value), 2) if np.isfinite(value) else None
