"""The command ``spineseg export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spineseg.cli_common import Debug, Output, note, work


def export_command(
    segmentation: Annotated[
        Path,
        typer.Argument(help="Label map, .seg.nrrd, or the folder that spineseg segment wrote."),
    ],
    output: Output,
    fmt: Annotated[
        str,
        typer.Option(
            "--format", help="stl, obj, ply: a file a vertebra; 3mf, glb: one file, in colour."
        ),
    ] = "stl",
    levels: Annotated[
        list[str] | None,
        typer.Option(help="Which, as L1, T10-L2, sacrum or 101; repeatable. Else all."),
    ] = None,
    frame: Annotated[str, typer.Option(help="Of all coordinates: lps or ras.")] = "lps",
    smoothing: Annotated[
        float, typer.Option(help="0 (the voxels' stairs stay) to 1; keeps volume within 1 %.")
    ] = 0.5,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that were edited or made by others.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Write surface models, pedicle points and endplate planes of vertebrae for planning."""
    with work(debug) as progress:
        from spineseg.cobb import read_vertebrae
        from spineseg.errors import InputError
        from spineseg.manifest import sha256_of
        from spineseg.pipeline import LABELS
        from spineseg.planning import (
            ExportSettings,
            export_structures,
            levels_of,
            structures_of,
        )

        source = segmentation / LABELS if segmentation.is_dir() else segmentation
        if not source.is_file():
            raise InputError(f"There is no file {source}.", "Check the path.")
        settings = ExportSettings(fmt.lower(), frame.upper(), smoothing)
        chosen = levels_of(levels) if levels else None
        volume = read_vertebrae(source)
        done = export_structures(
            structures_of(volume, chosen),
            output,
            settings,
            progress,
            segmentation=volume,
            inputs=[sha256_of(source)],
            overwrite=overwrite,
        )
    for warning in done.warnings:
        note(f"Note: {warning}")
    note(done.summary())
    print(done.folder.absolute())
