"""The command ``spineseg train``: one for all methods, each with options of its own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from spineseg import registry
from spineseg.cli_common import Debug, Output, work
from spineseg.errors import InputError

REAL = ("real-scans", "hold-out")
TRAINERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "vertebra-unet": (
        "spineseg.training.vertebra",
        ("stage", "start", "rate", "from-corrections", *REAL),
    ),
    "click": (
        "spineseg.training.click",
        ("preset", "augment", "target", "from-corrections", "start", "rate", *REAL),
    ),
    "cascade": ("spineseg.training.cascade", ("preset", "stage", *REAL)),
    "cyclegan": ("spineseg.training.cyclegan", ("preset", "mr", "ct", "adversarial", "hold-out")),
    "cobb-landmarks": (
        "spineseg.training.films",
        ("fold", "view", "digital", "start", "blend", "rate"),
    ),
    "film-labels": ("spineseg.training.film_labels", ("preset", "fold", "view", "digital")),
    "fracture-voxels": (
        "spineseg.training.fracture_voxels",
        ("preset", "variant", "pool", "start"),
    ),
    "spine-vae": ("spineseg.training.spine_vae", ("preset", "kind", "pool")),
}
"""Method → the module whose ``fit`` trains it, and the options that are its own."""
SYSTEM_OPTIONS = ("fold", "digital", "start", "rate")
"""Of the challenge's systems (`registry.SYSTEMS`)."""
METHODS = (*TRAINERS, *(row.name for row in registry.SYSTEMS))


def trainer(method: str, given: dict[str, Any]) -> Any:
    """Return the ``fit`` of a method.

    Parameters
    ----------
    method : str
        Of `TRAINERS` or of the registry.
    given : dict
        Options beyond those that all methods take; None where not given.

    Raises
    ------
    InputError
        There is no such method, or it does not take an option.
    """
    if method in TRAINERS:
        module, own = TRAINERS[method]
    else:
        known = registry.names()
        if method not in known:
            names = ", ".join(dict.fromkeys((*METHODS, *known)))
            raise InputError(f"There is no training for “{method}”.", f"Choose one of: {names}.")
        module, own = registry.get(method).load().__name__, ()
        if method in (row.name for row in registry.SYSTEMS):
            own = SYSTEM_OPTIONS
    wrong = [f"--{name}" for name, value in given.items() if value is not None and name not in own]
    if wrong:
        remedy = "It takes " + " and ".join(f"--{name}" for name in own) if own else "Leave it out"
        raise InputError(f"The training of {method} has no {wrong[0]}.", f"{remedy}.")
    return importlib.import_module(module).fit


def train_command(
    method: Annotated[str, typer.Argument(help="Which: " + ", ".join(METHODS) + ".")],
    output: Output,
    hours: Annotated[float, typer.Option(min=0.0, help="Time to train.")] = 2.0,
    preset: Annotated[
        str | None,
        typer.Option(help="small (default) or paper; cyclegan: also paper-patch."),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(help="click, paper: STR, SR, ST, S, TR, R, T or N (shape, translation, "
                     "resampling, none); STR by default."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="click, paper: centrum (default), body or vertebra."),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            help="cascade: semantic, instance or both (default); vertebra-unet: coarse or fine,"
            " else both."
        ),
    ] = None,
    mr: Annotated[
        Path | None, typer.Option(help="cyclegan: folder of MR, instead of the data folder's.")
    ] = None,
    ct: Annotated[
        Path | None, typer.Option(help="cyclegan: folder of CT, unpaired.")
    ] = None,
    adversarial: Annotated[
        str | None, typer.Option(help="cyclegan: log (the paper's) or squares.")
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(min=0, help="films: this fold, 0 to 4, is kept aside to measure on."),
    ] = None,
    view: Annotated[
        str | None, typer.Option(help="films: ap (default) or lateral.")
    ] = None,
    digital: Annotated[
        Path | None, typer.Option(help="films: folder of those rendered from digital patients.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="click, vertebra-unet, fracture-voxels: folder of models to go on from; cobb-…:"
            " with cobb-landmarks, to begin from."
        ),
    ] = None,
    blend: Annotated[
        bool | None,
        typer.Option("--blend", help="cobb-landmarks: keep the mean with the weights of --start."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="click, vertebra-unet, cobb-…: peak learning rate, 0.002 by default."
        ),
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="fracture-voxels: 3d (default), 5slices or 1slice.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="spine-vae: spine-vae (default), vae, ae-baseline or baseline."),
    ] = None,
    pool: Annotated[
        Path | None, typer.Option(help="fracture-voxels, spine-vae: folder of drawn patients.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with real label maps to add, else digital spines; or films."),
    ] = None,
    real_scans: Annotated[
        bool,
        typer.Option("--real-scans", help="Also learn from the labelled CTs in the data folder."),
    ] = False,
    from_corrections: Annotated[
        Path | None,
        typer.Option(
            help="vertebra-unet, click: folder of cases corrected in 3D Slicer, to learn from."
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(help="Beginning of the name of a label map to leave out; repeatable."),
    ] = None,
    patients: Annotated[
        int | None, typer.Option(min=1, help="Digital patients to draw for each network.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in the output folder.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; else chosen.")] = None,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Train a method again, on digital spines or films; the card has the command that was used."""
    with work(debug) as progress:
        own: dict[str, Any] = {
            "preset": preset,
            "augment": augment,
            "target": target,
            "stage": stage,
            "mr": mr,
            "ct": ct,
            "adversarial": adversarial,
            "fold": fold,
            "view": view,
            "digital": digital,
            "start": start,
            "blend": blend,
            "rate": rate,
            "variant": variant,
            "kind": kind,
            "pool": pool,
            "from-corrections": from_corrections,
        }
        own |= {"real-scans": real_scans or None, "hold-out": tuple(hold_out or ()) or None}
        fit = trainer(method, own)
        chosen = {"output": output, "hours": hours, "resume": resume, "patients": patients}
        fields = {
            "real-scans": "real_images",
            "hold-out": "hold_out",
            "from-corrections": "corrections",
        }
        chosen |= {fields.get(n, n): value for n, value in own.items() if value is not None}
        fit(data, {**chosen, "device": device}, progress)
    print(output.absolute())
