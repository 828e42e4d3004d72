"""The command ``spineseg translate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spineseg import registry
from spineseg.cli_common import Debug, Output, note, vertebrae, work
from spineseg.jobs import TranslateJob, run_translate


def translate_command(
    mr: Annotated[Path, typer.Argument(help="MR: NIfTI, NRRD or MetaImage file, or DICOM folder.")],
    output: Output,
    method: Annotated[
        str, typer.Option(help="How: " + ", ".join(registry.names(registry.TRANSLATE)) + ".")
    ] = registry.DEFAULT_TRANSLATE,
    low: Annotated[
        float | None, typer.Option(help="Lower end of the range that Otsu looks at, HU.")
    ] = None,
    high: Annotated[float | None, typer.Option(help="Its upper end, HU.")] = None,
    whole: Annotated[
        bool, typer.Option("--whole-volume", help="One threshold, not one for each slice.")
    ] = False,
    median: Annotated[
        float | None,
        typer.Option(help="Edge of the median that smooths the bone, mm; 0 leaves it out."),
    ] = None,
    separate: Annotated[
        str | None,
        typer.Option(help="network (default) or otsu: vertebrae from the mask alone."),
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Series Instance UID, if the folder holds several.")
    ] = None,
    mesh_format: Annotated[str, typer.Option(help="Surface models: stl, obj or ply.")] = "stl",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that were edited or made by others.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Translate an MR to CT and write it with its vertebrae, bodies, models and a report."""
    given = {
        "low": low, "high": high, "per_slice": False if whole else None, "median_mm": median,
        "separate": separate,
    }  # fmt: skip
    with work(debug) as progress:
        done = run_translate(
            TranslateJob(
                scan=str(mr),
                output=str(output),
                method=method,
                series=series,
                settings={name: value for name, value in given.items() if value is not None},
                mesh_format=mesh_format,
                overwrite=overwrite,
            ),
            progress,
        )
    for warning in done.result.warnings:
        note(f"Note: {warning}")
    names = [v.level or "?" for v in done.result.vertebrae]
    note(f"{vertebrae(len(names))}: {', '.join(names)}" if names else "No vertebra was found.")
    print((done.folder / "report.html").absolute())
