"""The commands ``spineseg evaluate``: how good methods are, on labelled data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from spineseg import registry
from spineseg.cli_common import Debug, note, work

evaluate_app = typer.Typer(help="How good a method is on labelled scans.", no_args_is_help=True)

Csv = Annotated[
    Path, typer.Option("-o", "--output", help="CSV file; FILE.summary.csv is made beside it.")
]
LayoutOption = Annotated[
    str,
    typer.Option(help="auto, verse, csi2014, glocker, bodies or plain: see docs/datasets.md."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Keep the file's rows and skip the cases that are in it.")
]
_SHOWN = ("vertebrae", "dice", "shape_dice", "assd_mm", "hd_mm", "localisation_mm", "identified")
_COBB_SHOWN = (
    "films", "failed", "failure_percent", "smape_percent", "smape_erasmus_percent",
    "major_mae_deg", "upper_mae_deg", "lower_mae_deg", "kyphosis_mae_deg", "lordosis_mae_deg",
    "corners_heights_percent", "seconds",
)  # fmt: skip
_LEVELS_SHOWN = (
    "films", "failed_films", "disordered_films", "vertebrae", "all_identified_percent",
    "identified_percent", "identified_20mm_percent", "error_px", "error_heights_percent",
    "error_heights_percent_sd", "error_mm", "error_mm_sd", "seconds",
)  # fmt: skip
_CLICK_SHOWN = ("clicks", "refused", "dice", "dice_sd", "concurrency", "concurrency_sd", "seconds")


@evaluate_app.command("vertebrae")
def evaluate_vertebrae(
    folder: Annotated[
        Path, typer.Argument(help="A data set: pairs of scans and labels, or centroids.")
    ],
    output: Csv,
    method: Annotated[str, typer.Option(help="Method to score.")] = registry.DEFAULT_SEGMENT,
    layout: LayoutOption = "auto",
    resume: Resume = False,
    debug: Debug = False,
) -> None:
    """Segment labelled CTs and score every vertebra: Dice, surface distance, place and level."""
    with work(debug) as progress:
        from spineseg.evaluation.vertebrae import evaluate

        done = evaluate(folder, output, method, progress, layout=layout, resume=resume)
    note(f"Layout: {done.layout}.")
    for text in done.notes:
        note(f"Note: {text}")
    for line in done.summary:
        if not line["group"].startswith("case "):
            note(f"{line['group']}: {_figures(line, _SHOWN)}")
            if line["false_vertebrae"] or line["failed_cases"]:
                note(f"  false vertebrae {line['false_vertebrae']}, failed {line['failed_cases']}")
    print(output.absolute())


@evaluate_app.command("click")
def evaluate_click(
    output: Csv,
    folder: Annotated[
        Path | None, typer.Argument(help="A data set: pairs of scans and labels.")
    ] = None,
    target: Annotated[str, typer.Option(help="vertebra, body or centrum.")] = "vertebra",
    conditions: Annotated[
        str, typer.Option(help="N: as it is; T: click moved; R: scan resampled; TR: both.")
    ] = "N,T,R,TR",
    clicks: Annotated[int, typer.Option(min=1, help="Moved clicks on each vertebra.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the moves and the resampling.")] = 0,
    phantoms: Annotated[int, typer.Option(min=0, help="Digital patients to click on.")] = 0,
    lesions: Annotated[
        bool, typer.Option("--lesions", help="Digital patients with metastases.")
    ] = False,
    layout: LayoutOption = "auto",
    resume: Resume = False,
    debug: Debug = False,
) -> None:
    """Click on every vertebra under the click paper's four conditions: Dice and concurrency."""
    with work(debug) as progress:
        from spineseg.evaluation.click import ClickPlan, evaluate_clicks

        names = tuple(name.strip().upper() for name in conditions.split(","))
        done = evaluate_clicks(
            folder, output, ClickPlan(target, names, clicks, seed), progress,
            layout=layout, phantoms=phantoms, lesions=lesions, resume=resume,
        )  # fmt: skip
    note(f"Layout: {done.layout}.")
    for text in done.notes:
        note(f"Note: {text}")
    for line in done.summary:
        note(f"{line['group']} {line['condition']}: {_figures(line, _CLICK_SHOWN)}")
    print(output.absolute())


@evaluate_app.command("cobb")
def evaluate_cobb_command(
    folder: Annotated[
        Path, typer.Argument(help="Films with landmarks; for the layouts see docs/cobb.md.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="CSV file, one row a film; FILE.summary.csv is made beside it."
        ),
    ] = None,
    method: Annotated[str | None, typer.Option(help="Method to score; else the default.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every method and their ensembles, in one table.")
    ] = False,
    fold: Annotated[
        int | None,
        typer.Option(min=0, max=4, help="Only the films that trainings with it kept aside."),
    ] = None,
    resume: Resume = False,
    debug: Debug = False,
) -> None:
    """Measure films with known landmarks: SMAPE, errors of the angles, and failures.

    Without -o the figures are only shown.
    """
    if every:
        _compare_films(folder, output, method, fold, resume, debug)
        return
    with work(debug) as progress, _table(output) as path:
        from spineseg.evaluation.cobb import evaluate_cobb

        done = evaluate_cobb(folder, path, method, progress, resume=resume, fold=fold)
    for text in done.notes:
        note(f"Note: {text}")
    for line in done.summary:
        note(f"{line['group']}: {_figures(line, _COBB_SHOWN)}")
    if output is not None:
        print(output.absolute())


@contextmanager
def _table(output: Path | None) -> Iterator[Path]:
    """Give the table's path; where none is wanted, one in a folder that goes."""
    if output is not None:
        yield output
        return
    with TemporaryDirectory() as folder:
        yield Path(folder) / "films.csv"


def _compare_films(
    folder: Path,
    output: Path | None,
    method: str | None,
    fold: int | None,
    resume: bool,
    debug: bool,
) -> None:
    with work(debug) as progress, _table(output) as path:
        from spineseg.errors import InputError
        from spineseg.evaluation.cobb_table import compare, markdown

        if method is not None:
            raise InputError("--all measures with every method.", "Leave out --method or --all.")
        done = compare(folder, path, progress, fold=fold, resume=resume)
    for text in done.notes:
        note(f"Note: {text}")
    note(markdown(done))
    if output is not None:
        print(output.absolute())


@evaluate_app.command("films")
def evaluate_films_command(
    folder: Annotated[
        Path, typer.Argument(help="Films with landmarks; for the layouts see docs/cobb.md.")
    ],
    output: Csv,
    view: Annotated[str, typer.Option(help="ap or lateral films.")] = "ap",
    models: Annotated[
        Path | None, typer.Option(help="Folder of trained weights; else what is installed.")
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(min=0, help="Only the films that a training with this fold kept aside."),
    ] = None,
    unet: Annotated[
        bool, typer.Option("--unet", help="The U-Net's places, without the corrector.")
    ] = False,
    resume: Resume = False,
    debug: Debug = False,
) -> None:
    """Label films with known landmarks: identification rate and distances, by region."""
    with work(debug) as progress:
        from spineseg.evaluation.film_levels import evaluate_films
        from spineseg.methods.film_labels import Settings
        from spineseg.training.film_labels import FilmLabelTraining

        FilmLabelTraining(view=view, fold=fold)  # says what is wrong with them
        settings = Settings(models=str(models) if models else None, view=view, correct=not unet)
        done = evaluate_films(folder, output, settings, progress, fold=fold, resume=resume)
    for text in done.notes:
        note(f"Note: {text}")
    for line in done.summary:
        note(f"{line['group']}: {_figures(line, _LEVELS_SHOWN)}")
    print(output.absolute())


@evaluate_app.command("cyclegan")
def evaluate_cyclegan(
    folder: Annotated[
        Path, typer.Argument(help="A folder with one folder a case: see docs/validate.md.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="CSV file; FILE.md is made beside it.")
    ],
    debug: Debug = False,
) -> None:
    """Make the table of paper 000: landmarks' distances per level and case, and bodies' scores."""
    with work(debug) as progress:
        from spineseg.evaluation.cyclegan import evaluate, markdown

        done = evaluate(folder, output, progress)
    note(markdown(done))
    print(output.absolute())


def _figures(line: dict[str, Any], names: tuple[str, ...]) -> str:
    known = ((name, line[name]) for name in names if line.get(name) is not None)
    return ", ".join(f"{n} {v}" if isinstance(v, int) else f"{n} {v:.3f}" for n, v in known)
