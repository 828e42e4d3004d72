"""The command ``spineseg``.

Progress and messages go to standard error; the last line on standard output is the path of what
was made, so that scripts can take it from there. Exit codes are in `spineseg.errors.ExitCode`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import spineseg
from spineseg import registry
from spineseg.cli_app import app_command
from spineseg.cli_cobb import cobb_command
from spineseg.cli_common import Debug, Output, note, vertebrae, work
from spineseg.cli_evaluate import evaluate_app
from spineseg.cli_export import export_command
from spineseg.cli_fracture import evaluate_fracture_command, fracture_command
from spineseg.cli_label import label_command
from spineseg.cli_train import train_command
from spineseg.cli_translate import translate_command
from spineseg.cli_validate import validate_command
from spineseg.errors import ExitCode, InputError, WeightsError
from spineseg.jobs import SegmentJob, run_segment

app = typer.Typer(
    help="From a CT of the spine to labelled vertebrae, models and a report. Not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
models_app = typer.Typer(help="The trained models that ship.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(evaluate_app, name="evaluate")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"spineseg {spineseg.__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """From a CT of the spine to labelled vertebrae, models and a report. Not a medical device."""


@app.command("segment")
def segment_command(
    scan: Annotated[
        Path, typer.Argument(help="CT: NIfTI, NRRD or MetaImage file, or a DICOM folder.")
    ],
    output: Output,
    method: Annotated[
        str, typer.Option(help="How: " + ", ".join(registry.names(registry.SEGMENT)) + ".")
    ] = registry.DEFAULT_SEGMENT,
    series: Annotated[
        str | None, typer.Option(help="Series Instance UID, if the folder holds several.")
    ] = None,
    mesh_format: Annotated[str, typer.Option(help="Surface models: stl, obj or ply.")] = "stl",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that were edited or made by others.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Label the vertebrae of a CT and write label map, models, report and run manifest.

    Other files in the folder stay. An earlier result there is replaced unless it was edited.
    """
    with work(debug) as progress:
        done = run_segment(
            SegmentJob(
                scan=str(scan),
                output=str(output),
                method=method,
                series=series,
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


@app.command("click")
def click_command(
    scan: Annotated[
        Path, typer.Argument(help="CT: NIfTI, NRRD or MetaImage file, or a DICOM folder.")
    ],
    point: Annotated[
        tuple[str, str, str], typer.Option(metavar="R A S", help="Where to click, RAS mm.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write, on the scan's grid: .nii.gz.")
    ],
    target: Annotated[str, typer.Option(help="vertebra, body or centrum.")] = "vertebra",
    level: Annotated[str | None, typer.Option(help="Its name, as L3; else counted.")] = None,
    segmentation: Annotated[
        Path | None, typer.Option(help="Label map of what is segmented already, to count from.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Series Instance UID, if the folder holds several.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file if it is there.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Segment the vertebra at a point of a CT; the file's value is its VerSe id, or 101."""
    with work(debug) as progress:
        from spineseg.clickjob import ClickJob, parse_point, run_click

        place = parse_point(point)
        job = ClickJob(scan, place, output, target, level, segmentation, series, overwrite)
        result = run_click(job, progress)
    for warning in result.warnings:
        note(f"Note: {warning}")
    note(f"{result.level or 'Level unsure'}: label {result.label}, {result.seconds:.1f} s.")
    print(output.absolute())


@app.command("phantom")
def phantom_command(
    output: Output,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same patient.")] = 0,
    cobb: Annotated[
        float | None, typer.Option(help="Scoliosis, Cobb angle in degrees; else by the seed.")
    ] = None,
    levels: Annotated[str, typer.Option(help="First and last level shown, as T10-L5.")] = "C1-L5",
    spacing: Annotated[float, typer.Option(help="Voxel size in mm.")] = 2.0,
    slices: Annotated[
        float | None, typer.Option("--slice", help="Slice distance in mm, if another.")
    ] = None,
    kyphosis: Annotated[float | None, typer.Option(help="T1–T12 angle in degrees.")] = None,
    lordosis: Annotated[float | None, typer.Option(help="L1–S1 angle in degrees.")] = None,
    fracture: Annotated[
        list[str] | None,
        typer.Option(help="LEVEL[:wedge|biconcave|crush[:LOSS]], as L1:wedge:0.4; repeatable."),
    ] = None,
    mimic: Annotated[
        list[str] | None,
        typer.Option(
            help="LEVEL[:short|wedging|scheuermann|schmorl[:AMOUNT]], as T8:schmorl:4; repeatable."
        ),
    ] = None,
    lesion: Annotated[
        list[str] | None,
        typer.Option(help="LEVEL[:lytic|blastic|mixed[:RADIUS]], as T12:lytic:8; repeatable."),
    ] = None,
    metal: Annotated[list[str] | None, typer.Option(help="Level with screws; repeatable.")] = None,
    t13: Annotated[bool, typer.Option("--t13", help="With a 13th thoracic vertebra.")] = False,
    l6: Annotated[bool, typer.Option("--l6", help="With a 6th lumbar vertebra.")] = False,
    mr: Annotated[
        str | None, typer.Option(help="Also as MR: t1, t2, gradient-echo or water.")
    ] = None,
    film: Annotated[
        str | None, typer.Option(help="Also as a radiograph with its landmarks: ap or lateral.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Make a digital patient: a CT, and on demand an MR or a film, with known answers."""
    with work(debug) as progress:
        from spineseg.phantom import write_phantom
        from spineseg.phantom.settings import Fracture, Lesion, Mimic, PhantomSettings

        settings = PhantomSettings(
            spacing_mm=spacing,
            slice_mm=slices,
            levels=level_range(levels),
            cobb_deg=cobb,
            kyphosis_deg=kyphosis,
            lordosis_deg=lordosis,
            fractures=tuple(Fracture(*at_level(text)) for text in fracture or ()),
            mimics=tuple(Mimic(*at_level(text)) for text in mimic or ()),
            lesions=tuple(Lesion(*at_level(text)) for text in lesion or ()),
            metal=tuple(level_name(text) for text in metal or ()),
            t13=t13,
            l6=l6,
        )
        write_phantom(output, settings, seed, progress, mr, film)
    print(output.absolute())


app.command("train")(train_command)
app.command("translate")(translate_command)
app.command("cobb")(cobb_command)
app.command("label")(label_command)
app.command("export")(export_command)
app.command("fracture")(fracture_command)
evaluate_app.command("fracture")(evaluate_fracture_command)
app.command("validate")(validate_command)
app.command("app")(app_command)


@models_app.command("list")
def models_list(debug: Debug = False) -> None:
    """List the models and what each was trained on."""
    with work(debug):
        from spineseg.weights import list_models

        cards = list_models()
    table = Table("Name", "Version", "Method", "MB", "Trained on")
    for card in cards:
        data = "; ".join(f"{d['name']} ({d['n']})" for d in card.training_data)
        row = (card.name, card.version, card.method, f"{card.size_bytes / 1e6:.1f}", data)
        table.add_row(*(escape(text) for text in row))
    if cards:
        Console().print(table)
    else:
        note("No model is installed.")


@models_app.command("verify")
def models_verify(debug: Debug = False) -> None:
    """Check that the models are complete and undamaged."""
    with work(debug):
        from spineseg.weights import verify

        rows = verify()
        for name, _, text in rows:
            print(f"{name}: {text}")
        bad = [name for name, ok, _ in rows if not ok]
        if bad or not rows:
            raise WeightsError(
                f"Damaged: {', '.join(bad)}." if bad else "No model is installed.",
                "Install spineseg again.",
            )


def level_name(text: str) -> str:
    """Return a level's name as the table writes it (C1 … L6)."""
    from spineseg.labels import VERTEBRAE

    for level in VERTEBRAE:
        if level.name.lower() == text.strip().lower():
            return level.name
    raise InputError(f"“{text}” is no level.", "Levels are C1–C7, T1–T13 and L1–L6.")


def level_range(text: str) -> tuple[str, str]:
    """Return the first and last level of a text such as ``T10-L5`` or ``L3``."""
    names = [level_name(part) for part in text.replace("–", "-").split("-")]
    if len(names) > 2:
        raise InputError(f"“{text}” is no range of levels.", "Write it as T10-L5.")
    return names[0], names[-1]


def at_level(text: str) -> list[Any]:
    """Return level, kind and size, as far as given, of a text such as ``L1:wedge:0.4``."""
    parts: list[Any] = text.split(":")
    parts[0] = level_name(parts[0])
    try:
        parts[2:] = [float(part) for part in parts[2:]]
    except ValueError as error:
        raise InputError(f"“{text}” does not end with a number.", "As in L1:wedge:0.4.") from error
    if len(parts) > 3:
        raise InputError(f"“{text}” has too many parts.", "As in L1:wedge:0.4.")
    return parts


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A Windows console in an old code page must not fail on “ or °.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="spineseg")
    except KeyboardInterrupt:
        sys.exit(int(ExitCode.CANCELLED))


if __name__ == "__main__":
    main()
