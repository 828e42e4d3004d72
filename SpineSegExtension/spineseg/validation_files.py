"""Files of a validation: table, numbers, pictures, coloured models and a report."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spineseg.manifest import FILE_NAME as MANIFEST
from spineseg.manifest import InputRecord, RunManifest, machine, now, output_hashes
from spineseg.progress import Progress
from spineseg.validation import LevelFit, ValidationResult

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkPolyData

CSV, JSON, REPORT, MODELS = "validation.csv", "validation.json", "report.html", "models"
PARTS = (CSV, JSON, REPORT, MODELS)
DISTANCE = "landmark_distance_mm"
COLUMNS = (
    "level", "landmarks", "before_mean_mm", "mean_mm", "sd_mm", "max_mm", "rotation_deg",
    "shift_r_mm", "shift_a_mm", "shift_s_mm",
)  # fmt: skip


def table(result: ValidationResult) -> list[dict[str, Any]]:
    """Return a row a vertebra, of `COLUMNS`; mm and degrees."""
    rows = []
    for fit in result.fits:
        shift = fit.translation_mm
        values = (
            fit.level, len(fit.points), fit.before_mm.mean(), fit.mean, fit.sd, fit.maximum,
            fit.rotation_deg, *shift,
        )  # fmt: skip
        rows.append(
            {
                name: value if isinstance(value, (str, int)) else round(float(value), 3)
                for name, value in zip(COLUMNS, values, strict=True)
            }
        )
    return rows


def save_validation(
    result: ValidationResult,
    surfaces: Mapping[str, vtkPolyData],
    folder: str | Path,
    progress: Progress | None = None,
    *,
    inputs: tuple[InputRecord, ...] = (),
    title: str = "Landmarks",
    overwrite: bool = False,
) -> Path:
    """Write a validation into a folder: all of it, or, on failure or cancel, nothing.

    Raises
    ------
    InputError
        The folder can't be used (see `spineseg.pipeline.check_folder`).
    """
    from spineseg.atomic import atomic_folder
    from spineseg.pipeline import check_folder

    progress = progress or Progress()
    target = check_folder(folder, overwrite, PARTS)
    rows = table(result)
    with atomic_folder(target) as made:
        with (made / CSV).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        (made / JSON).write_text(json.dumps(_numbers(result), indent=1), encoding="utf-8")
        (made / MODELS).mkdir()
        for n, fit in enumerate(result.fits):
            progress("models", 0.4 * n / len(result.fits), fit.level)
            write_distance_model(fit, surfaces[fit.level], made / MODELS / f"{fit.level}.vtp")
        manifest = RunManifest(
            task="validate", method="icp", inputs=list(inputs),
            settings={"iterations": result.iterations}, models=[], timings={},
            warnings=list(result.warnings), grid={}, created=now(), machine=machine(),
        )  # fmt: skip
        _write_report(result, rows, surfaces, made / REPORT, title, progress.part(0.4, 1.0))
        replace(manifest, outputs=output_hashes(made)).write(made / MANIFEST)
    return target


def _numbers(result: ValidationResult) -> dict[str, Any]:
    return {
        "vertebrae": [
            {
                **row,
                "transform": fit.transform.round(6).tolist(),
                "landmarks": [
                    {"label": label, "position_ras_mm": p.round(4).tolist(),
                     "registered_ras_mm": m.round(4).tolist(), "before_mm": round(float(b), 4),
                     "distance_mm": round(float(d), 4)}
                    for label, p, m, b, d in zip(
                        fit.labels, fit.points, fit.moved, fit.before_mm, fit.distances_mm,
                        strict=True)
                ],
                "warnings": list(fit.warnings),
            }
            for row, fit in zip(table(result), result.fits, strict=True)
        ],
        "mean_mm": round(result.mean, 4),
        "sd_mm": round(result.sd, 4),
        "warnings": result.warnings,
    }  # fmt: skip


def distance_scalars(fit: LevelFit, points: NDArray[Any]) -> NDArray[np.float32]:
    """Return for points (n, 3) of a surface how far the landmarks near them lie from it, mm.

    Between landmarks it is interpolated with weights that fall with the squared distance
    (Shepard 1968): a map of few values, for looking, not for measuring.
    """
    away = np.linalg.norm(points[:, None] - fit.moved[None], axis=2)
    weight = 1.0 / np.maximum(away, 0.5) ** 2
    return np.asarray((weight @ fit.distances_mm) / weight.sum(axis=1), dtype=np.float32)


def write_distance_model(fit: LevelFit, surface: vtkPolyData, path: Path) -> None:
    """Write a surface as .vtp (LPS mm) with the scalars `DISTANCE` at its points."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkPolyData as Mesh
    from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

    from spineseg.io.meshes import mesh_arrays, set_points

    mesh = Mesh()
    mesh.DeepCopy(surface)
    points = mesh_arrays(mesh)[0]
    scalars = numpy_to_vtk(distance_scalars(fit, points), deep=True)
    scalars.SetName(DISTANCE)
    mesh.GetPointData().SetScalars(scalars)
    set_points(mesh, points * (-1.0, -1.0, 1.0))
    writer = vtkXMLPolyDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(mesh)
    writer.Write()


def _write_report(
    result: ValidationResult, rows: list[dict[str, Any]], surfaces: Mapping[str, vtkPolyData],
    path: Path, title: str, progress: Progress,
) -> None:  # fmt: skip
    import jinja2

    pictures = []
    for n, fit in enumerate(result.fits):
        progress("report", n / len(result.fits), fit.level)
        pictures.append((fit.level, overlay(fit, surfaces[fit.level])))
    source = resources.files("spineseg").joinpath("resources/validation.html.j2")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    html = environment.from_string(source.read_text(encoding="utf-8")).render(
        title=title, created=now(), rows=rows, warnings=result.warnings, mean=result.mean,
        sd=result.sd, iterations=result.iterations, pictures=pictures,
    )  # fmt: skip
    path.write_text(html, encoding="utf-8", newline="\n")


def overlay(fit: LevelFit, surface: vtkPolyData) -> str:
    """Return a PNG (base64): landmarks on a vertebra before and after registration.

    As figure 4 of paper 000: from the left and from the front; colours are distances in mm.
    """
    from matplotlib.figure import Figure

    from spineseg.io.meshes import mesh_arrays

    corners = mesh_arrays(surface)[0][::7]
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots(1, 4)
    most = max(3.0, float(fit.distances_mm.max()))
    shown: Any = None
    for n, (points, away, name) in enumerate(
        ((fit.points, fit.before_mm, "before"), (fit.moved, fit.distances_mm, "after"))
    ):
        for m, (across, view, flip) in enumerate(((1, "from the left", -1), (0, "from behind", 1))):
            one = axes[2 * n + m]
            one.scatter(flip * corners[:, across], corners[:, 2], s=0.3, c="0.75", rasterized=True)
            shown = one.scatter(
                flip * points[:, across], points[:, 2], s=22, c=away, cmap="viridis", vmin=0,
                vmax=most, edgecolors="k", linewidths=0.4,
            )  # fmt: skip
            one.set_aspect("equal")
            one.set_title(f"{name}, {view}", fontsize=8)
            one.set_axis_off()
    figure.colorbar(shown, ax=axes, label="mm", shrink=0.8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    return base64.b64encode(file.getvalue()).decode("ascii")
