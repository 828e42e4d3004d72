"""The reports of ``spineseg cobb``: one HTML file each that needs nothing else, for people."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from spineseg import cobb_pictures
from spineseg.io.films import Film
from spineseg.manifest import RunManifest
from spineseg.measure.film import FilmMeasurement
from spineseg.measure.spine_angles import SpineAngles
from spineseg.volume import Volume

__all__ = ["write_film_report", "write_spine_report"]

DASH = "–"
_REGIONS = {"pt": "proximal thoracic", "mt": "main thoracic", "tl": "thoracolumbar or lumbar"}
_FILM_NOTE = (
    "Major, upper and lower are the angles of the AASCE 2019 challenge, whose rule also depends on"
    " how much of the patient the film shows; upper and lower are its names, not places. The curves"
    " are measured between the most tilted endplates on both sides of an apex. Left and right are"
    " those of the picture unless the patient's side is named."
)
_SPINE_NOTE = (
    "Curves are measured between the most tilted endplates on both sides of an apex, in the frontal"
    " plane, seen from behind; 3D in the vertical plane in which the same endplates differ most."
    " Axial rotation is about the vertebra's own axis, positive where its front turns to the"
    " patient's left."
)


def write_film_report(
    measured: FilmMeasurement, film: Film, path: Path, manifest: RunManifest
) -> None:
    """Write the report of a film, with its picture, to an HTML file."""
    angles = [(name.capitalize(), _degrees(v)) for name, v in (measured.angles_deg or {}).items()]
    if measured.sagittal is not None:
        side = measured.sagittal
        angles = [
            ("Kyphosis, T4 to T12", _degrees(side.kyphosis_deg)),
            ("Lordosis, L1 to S1", _degrees(side.lordosis_deg)),
            ("Sagittal vertical axis", _length(side.sva_mm, side.sva_px)),
        ]
    levels = [
        (level, f"{100 * sure:.0f} %")
        for level, sure in zip(measured.levels, measured.confidence, strict=False)
    ]
    pictures = [_picture(cobb_pictures.film_png(measured, film), "The film and its endplates.")]
    if measured.marks:
        seen = f"What {manifest.method} saw: {', '.join(m.name for m in measured.marks)}."
        pictures.append(_picture(cobb_pictures.marks_png(measured.marks, film), seen))
    _write(
        path,
        manifest,
        title=film.name,
        angles=angles,
        curves=_curves(measured.curves()),
        columns=("Level", "Confidence"),
        levels=levels,
        pictures=pictures,
        note=_FILM_NOTE if measured.sagittal is None else "",
        warnings=[*measured.warnings, *film.notes],
    )


def write_spine_report(
    angles: SpineAngles, segmentation: Volume, path: Path, manifest: RunManifest, title: str
) -> None:
    """Write the report of a label map, with pictures from behind and from the left."""
    content = angles.to_json()
    shown = [
        ("Coronal Cobb", _degrees(content["coronal_cobb_deg"])),
        ("3D Cobb", _degrees(content["cobb_3d_deg"])),
        ("Kyphosis, T4 to T12", _degrees(content["kyphosis_deg"])),
        ("Lordosis, L1 to S1", _degrees(content["lordosis_deg"])),
        ("Lordosis, L1 to L5", _degrees(content["lordosis_l1_l5_deg"])),
    ]
    if content["cobb_3d_plane"] is not None:
        turned = _degrees(content["cobb_3d_plane"]["from_coronal_deg"])
        shown.insert(2, ("Its plane, from the frontal one", turned))
    levels = [
        (row["level"], _degrees(row["axial_rotation_deg"]), _tilt(row["upper_endplate"], "coronal"),
         _tilt(row["lower_endplate"], "coronal"), _tilt(row["upper_endplate"], "sagittal"),
         _tilt(row["lower_endplate"], "sagittal"))
        for row in content["vertebrae"]
    ]  # fmt: skip
    views = (("coronal", "From behind: the patient's right is on the right."),
             ("sagittal", "From the patient's left."))  # fmt: skip
    _write(
        path,
        manifest,
        title=title,
        angles=shown,
        curves=_curves(content["curves"]),
        columns=("Level", "Axial rotation", "Tilt to the right, upper", "lower",
                 "Tilt forwards, upper", "lower"),
        levels=levels,
        pictures=[
            _picture(cobb_pictures.spine_png(angles, segmentation, view), caption)
            for view, caption in views
        ],
        note=_SPINE_NOTE,
        warnings=list(angles.warnings),
    )  # fmt: skip


def _write(path: Path, manifest: RunManifest, **content: Any) -> None:
    import jinja2

    source = resources.files("spineseg").joinpath("resources/cobb.html.j2")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    html = environment.from_string(source.read_text(encoding="utf-8")).render(
        **content,
        created=manifest.created,
        version=manifest.version,
        settings=json.dumps(json.loads(manifest.to_json()), indent=2, ensure_ascii=False),
    )
    path.write_text(html, encoding="utf-8", newline="\n")


def _picture(png: bytes, caption: str) -> dict[str, str]:
    return {"data": base64.b64encode(png).decode("ascii"), "caption": caption}


def _curves(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "name": _REGIONS.get(row["region"] or "", DASH),
            "angle": _degrees(row["angle_deg"]),
            "three": _degrees(row.get("cobb_3d_deg")),
            "ends": f"{row['upper_end']} to {row['lower_end']}",
            "apex": row["apex"],
            "convex": _side(row),
        }
        for row in rows
    ]


def _side(row: dict[str, Any]) -> str:
    if "convex_to_patients" not in row:  # of a label map, which knows the patient's sides
        return f"patient's {row['convex']}"
    known = row["convex_to_patients"]
    return f"{row['convex']} of the picture" + (f", patient's {known}" if known else "")


def _tilt(plate: dict[str, Any] | None, plane: str) -> str:
    return DASH if plate is None else _degrees(plate[f"{plane}_tilt_deg"])


def _degrees(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}°"


def _length(millimetres: float | None, pixels: float | None) -> str:
    if millimetres is not None:
        return f"{millimetres:.0f} mm"
    return DASH if pixels is None else f"{pixels:.0f} pixels"
