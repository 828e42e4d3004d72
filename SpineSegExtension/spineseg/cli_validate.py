"""The command ``spineseg validate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spineseg.cli_common import Debug, Output, note, vertebrae, work


def validate_command(
    model: Annotated[
        Path, typer.Argument(help="Label map (VerSe ids, 101 …), or a folder with one STL a level.")
    ],
    landmarks: Annotated[Path, typer.Argument(help="Points: .mrk.json, .fcsv or .csv.")],
    output: Output,
    iterations: Annotated[int, typer.Option(min=0, help="Rounds of ICP.")] = 100,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that were edited or made by others.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Measure how far landmarks lie from the vertebrae's surfaces, after ICP, level by level."""
    with work(debug) as progress:
        from spineseg.io.landmarks import read_landmarks
        from spineseg.manifest import sha256_of
        from spineseg.pipeline import check_folder
        from spineseg.validation import read_surfaces, validate
        from spineseg.validation_files import PARTS, save_validation

        check_folder(output, overwrite, PARTS)
        points = read_landmarks(landmarks)
        surfaces = read_surfaces(model)
        result = validate(surfaces, points, iterations, progress.part(0.0, 0.6))
        inputs = (sha256_of(model), sha256_of(landmarks))
        folder = save_validation(
            result, surfaces, output, progress.part(0.6, 1.0), inputs=inputs, title=landmarks.name,
            overwrite=overwrite,
        )  # fmt: skip
    for warning in result.warnings:
        note(f"Note: {warning}")
    note(f"{vertebrae(len(result.fits))}: {result.mean:.2f} ± {result.sd:.2f} mm.")
    print((folder / "report.html").absolute())
