"""The command ``spineseg label``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spineseg.cli_common import Debug, Output, note, work
from spineseg.errors import ExitCode


def label_command(
    source: Annotated[
        Path, typer.Argument(help="A film (DICOM, PNG, JPEG), or a folder of films.")
    ],
    output: Output,
    view: Annotated[
        str | None, typer.Option(help="ap or lateral; else what the film looks like.")
    ] = None,
    models: Annotated[Path | None, typer.Option(help="Folder of other trained weights.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that were edited or made by others.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Name the vertebrae on a radiograph of the whole spine, and say where they lie.

    A folder of films gets one folder a film; a bad one does not end the run, but makes exit code 2.
    """
    with work(debug) as progress:
        from spineseg.film_labelling import PICTURE, label_films

        settings = {"view": view, "models": None if models is None else str(models)}
        done = label_films(source, output, settings, progress, overwrite)
    for name, film in done.films.items():
        for warning in film.warnings:
            note(f"Note: {name}: {warning}" if len(done.films) > 1 else f"Note: {warning}")
    for failed in done.failed:
        note(f"Error: {failed.name}: {failed.error}")
    print((done.folder if source.is_dir() else done.folder / PICTURE).absolute())
    if done.failed:
        raise typer.Exit(int(ExitCode.INPUT))
