"""The commands ``spineseg fracture`` and ``spineseg evaluate fracture``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spineseg import registry
from spineseg.cli_common import Debug, Output, note, work
from spineseg.errors import InputError

if TYPE_CHECKING:
    from spineseg.fracture import Fractures

_SHOWN = (
    "patients", "vertebrae", "fractured", "auc", "patient_auc", "exact_percent", "kappa",
    "found_grade_2_percent", "found_grade_3_percent", "false_per_patient",
    "false_on_mimics_per_patient", "false_on_mimics_percent", "calibration_error",
)  # fmt: skip
_COMPARED = ("auc", "patient_auc", "patient_hull_auc", "recall_percent", "specificity_percent")


def fracture_command(
    scan: Annotated[
        Path, typer.Argument(help="CT: NIfTI, NRRD or MetaImage file, or DICOM folder.")
    ],
    output: Output,
    segmentation: Annotated[
        Path | None,
        typer.Option(help="Label map of its vertebrae; without one, the scan is segmented first."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="Of segmenting: " + ", ".join(registry.names(registry.SEGMENT)) + "."),
    ] = registry.DEFAULT_SEGMENT,
    networks: Annotated[
        bool,
        typer.Option(
            "--networks",
            help="Also show what the networks see: fracture_probability.nii.gz, and each suspect"
            " from cured to more fractured in the report.",
        ),
    ] = False,
    series: Annotated[
        str | None, typer.Option(help="Series Instance UID, if the folder holds several.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that were edited or made by others.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Find fractured vertebrae: heights, Genant's grades, HU and the reasons, with a report."""
    with work(debug) as progress:
        from spineseg.fracture import MAP
        from spineseg.fracturejob import FractureJob, run_fracture

        job = FractureJob(
            scan=str(scan),
            output=str(output),
            method=method,
            series=series,
            segmentation=str(segmentation or ""),
            networks=networks,
            overwrite=overwrite,
        )
        done = run_fracture(job, progress)
    for warning in done.found.warnings:
        note(f"Note: {warning}")
    _tell(done.found)
    if done.found.look is not None:
        from spineseg.fracture_look import NOT_ANATOMY

        note(f"Besides: {MAP}, percent, and pictures in the report. {NOT_ANATOMY}")
    print((done.folder / "report.html").absolute())


def evaluate_fracture_command(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="CSV file; FILE.summary.csv is made beside it.")
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(help="From spineseg phantom; or VerSe, xVertSeg with grades."),
    ] = None,
    phantoms: Annotated[int, typer.Option(min=0, help="Digital patients to draw instead.")] = 0,
    press: Annotated[
        int,
        typer.Option(
            min=0,
            help="FOLDER has label maps of scans without fractures: show each N times, with"
            " vertebrae pressed together in all but the first.",
        ),
    ] = 0,
    masks: Annotated[
        str,
        typer.Option(
            help="true: as drawn; disturbed: with faults; segmented: by the default method, slow."
        ),
    ] = "true,disturbed",
    networks: Annotated[
        bool, typer.Option(help="Also ask the networks, if there are weights: FILE.networks.csv.")
    ] = True,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER of another Spine-VAE's model for that table; repeatable."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the file's rows and skip what is in it.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Grade digital patients whose fractures are known: AUC, grades, false alarms, calibration."""
    with work(debug) as progress:
        from spineseg.evaluation.fractures import Networks, evaluate_fractures
        from spineseg.fracture_networks import networks_here

        names = tuple(name.strip() for name in masks.split(","))
        others = dict(_named(text) for text in compare or ())
        asked = Networks(others=others) if networks and (others or networks_here()) else None
        done = evaluate_fractures(
            output, folder, progress, phantoms=phantoms, masks=names, networks=asked, press=press,
            resume=resume,
        )  # fmt: skip
    for text in done.notes:
        note(f"Note: {text}")
    for line in done.summary:
        known = ((name, line[name]) for name in _SHOWN if line.get(name) is not None)
        parts = (f"{n} {v}" if isinstance(v, int) else f"{n} {v:.3f}" for n, v in known)
        note(f"{line['group']}: {', '.join(parts)}")
    for line in done.networks:
        known = ((name, line[name]) for name in _COMPARED if line.get(name) is not None)
        parts = (f"{n} {v:.3f}" for n, v in known)
        note(f"{line['method']}, {line['masks']} masks: {', '.join(parts)}")
    print(output.absolute())


def _named(text: str) -> tuple[str, str]:
    name, _, folder = text.partition("=")
    if not name or not folder:
        raise InputError(f"“{text}” is no NAME=FOLDER.", "Write it as vae=trained/models.")
    return name, folder


def _tell(found: Fractures) -> None:
    suspects = [f for f in found.findings if f.suspect]
    for one in suspects:
        grade = f"grade {one.graded.grade}" + (f", {one.graded.kind}" if one.graded.kind else "")
        note(f"{one.level}: {grade}, probability {one.probability:.2f}: {one.graded.evidence[0]}")
    seen = sum(f.graded.loss is not None for f in found.findings)
    text = (
        f"{len(suspects)} suspect{'' if len(suspects) == 1 else 's'} among {seen} evaluable"
        f" vertebra{'' if seen == 1 else 'e'}"
    )
    sure = "" if found.probability is None else f"; patient's probability {found.probability:.2f}"
    note(text + sure + ".")
