"""The command ``spineseg cobb``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spineseg import registry
from spineseg.cli_common import Debug, Output, note, work
from spineseg.errors import ExitCode

if TYPE_CHECKING:
    from spineseg.cobbjob import CobbDone
    from spineseg.measure.film import FilmMeasurement
    from spineseg.measure.spine_angles import SpineAngles


def cobb_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="A film (DICOM, PNG, JPEG), a folder of films, or a label map of vertebrae."
        ),
    ],
    output: Output,
    method: Annotated[
        str | None,
        typer.Option(help="For films: " + (", ".join(registry.names(registry.COBB)) or "–") + "."),
    ] = None,
    view: Annotated[
        str | None,
        typer.Option(help="For films: ap or lateral; else what the header or the film says."),
    ] = None,
    members: Annotated[
        str | None,
        typer.Option(help="cobb-ensemble: its methods, separated by commas; all by default."),
    ] = None,
    combine: Annotated[
        str | None, typer.Option(help="cobb-ensemble: vote (default) or mean, both weighted.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that were edited or made by others.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Measure Cobb angles on films, or the angles of a spine in a segmentation.

    A folder of films gets one folder a film; a bad one does not end the run, but makes exit code 2.
    """
    with work(debug) as progress:
        from spineseg.cobbjob import CobbJob, run_cobb

        own = {"view": view, "members": members, "combine": combine}
        settings = {name: value for name, value in own.items() if value is not None}
        job = CobbJob(str(source), str(output), method, settings, overwrite=overwrite)
        done = run_cobb(job, progress)
    _tell(done)
    one = done.angles is not None or (len(done.films) == 1 and source.is_file())
    print((done.folder / "report.html" if one else done.folder).absolute())
    if done.failed:
        raise typer.Exit(int(ExitCode.INPUT))


def _tell(done: CobbDone) -> None:
    if done.angles is not None:
        for warning in done.angles.warnings:
            note(f"Note: {warning}")
        note(_spine(done.angles))
    for name, film in done.films.items():
        for warning in film.measurement.warnings:
            note(f"Note: {name}: {warning}" if len(done.films) > 1 else f"Note: {warning}")
        note(f"{name}: {_film(film.measurement)}")
    for failed in done.failed:
        note(f"Error: {failed.name}: {failed.error}")


def _film(measured: FilmMeasurement) -> str:
    if measured.sagittal is not None:
        parts = [_part("kyphosis", measured.sagittal.kyphosis_deg)]
        parts.append(_part("lordosis", measured.sagittal.lordosis_deg))
        return ", ".join(parts) + "."
    angles = measured.angles_deg or {}
    parts = [_part(name, value) for name, value in angles.items()]
    curves = [f"{c['upper_end']}–{c['lower_end']} {c['angle_deg']:.1f}°" for c in measured.curves()]
    return ", ".join(parts) + (f" ({'; '.join(curves)})." if curves else ".")


def _spine(angles: SpineAngles) -> str:
    parts = []
    if angles.coronal is not None and angles.maximum is not None:
        ends = angles.coronal.named(angles.levels)
        parts.append(
            f"Coronal Cobb {angles.coronal.angle_deg:.1f}°"
            f" ({ends['upper_end']}–{ends['lower_end']}, 3D {angles.maximum.angle_deg:.1f}°)"
        )
    parts.append(_part("kyphosis", angles.kyphosis_deg))
    parts.append(_part("lordosis", angles.lordosis_deg))
    return ", ".join(parts) + "."


def _part(name: str, value: float | None) -> str:
    return f"{name} not measured" if value is None else f"{name} {value:.1f}°"
