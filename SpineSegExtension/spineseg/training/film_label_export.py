"""Puts a trained network for the labels of films and its card into a models folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import registry
from ..io.film_tables import FilmTruth
from ..methods.film_labels import MODEL_OF
from ..methods.film_picture import MAPPING, PREPARED
from ..methods.film_result import AP
from ..progress import Progress
from ..weights import ModelCard, save_model
from .export import VERSION, current_commit
from .film_export import SOURCE, TERMS

if TYPE_CHECKING:
    from torch import Tensor

    from .film_labels import FilmLabelTraining, LabelBatches

_LIMITS = [
    "Films of the whole spine only, as in the paper: the levels that it learned are always all "
    "named, so a film that shows less, or an unusual number of vertebrae, gets wrong levels.",
    "The annotations of the films have errors of their own, and implants were mostly drawn.",
    "The terms of the training films are not stated by their source: research use only.",
]


def command_of(settings: FilmLabelTraining) -> str:
    """The command line that repeats a training."""
    text = f"spineseg train film-labels --data DATA --view {settings.view}"
    text += f" --preset {settings.preset} --hours {settings.hours:g}"
    text += "" if settings.fold is None else f" --fold {settings.fold}"
    text += "" if settings.digital is None else " --digital FILMS"
    return text + " -o FOLDER"


def export_labels(
    weights: Mapping[str, Tensor],
    batches: LabelBatches,
    levels: Sequence[str],
    kept: Sequence[FilmTruth],
    steps: int,
    folder: Path,
    progress: Progress,
) -> list[Path]:
    """Save weights (float16) and card; measure on the films kept aside and write that on it.

    Parameters
    ----------
    weights : of `spineseg.networks.film_labels.FilmLabelNetwork`
    batches : what was learned from
    levels : from the top
    kept : films to measure on, not learned from
    """
    from ..evaluation.film_levels import card_results, score_films
    from ..methods.film_labels import Settings, load

    settings, plan = batches.settings, batches.settings.chosen
    name = MODEL_OF[settings.view]
    seen = "a frontal" if settings.view == AP else "a lateral"
    card = ModelCard(
        name=name,
        method=registry.FILM_LABELS,
        version=VERSION,
        description=f"Finds the centres of {levels[0]}–{levels[-1]} on {seen} film of the spine.",
        created=date.today().isoformat(),
        commit=current_commit(),
        command=command_of(settings),
        training_data=_training_data(batches),
        inputs={
            "spacing_mm": "unknown: films are scaled to their height",
            "intensity": {"window": [-3.0, 3.0], "unit": "standard deviations of the surroundings",
                          "mapping": MAPPING},
            "patch": list(plan.canvas),
            "prepared": list(PREPARED),
            "spread_cells": plan.spread,
            "steps": steps,
        },
        outputs={"classes": [*levels, "background"]},
        architecture=plan.architecture(len(levels)),
        results=[],
        limits=_LIMITS,
    )  # fmt: skip
    save_model(name, dict(weights), card, folder)
    if kept:
        load.cache_clear()  # the weights of a folder may have changed
        chosen = Settings(models=str(folder), device=settings.device, view=settings.view)
        rows: list[dict[str, Any]] = []
        for number, correct in enumerate((True, False)):
            part = progress.part(number / 2, (number + 1) / 2)
            scored = score_films(kept, replace(chosen, correct=correct), part)
            note = "" if correct else ", U-Net alone"
            rows += card_results(scored, f"fold {settings.fold}, patients not learned from{note}")
        save_model(name, dict(weights), replace(card, results=rows), folder)
    return [folder / f"{name}.safetensors"]


def _training_data(batches: LabelBatches) -> list[dict[str, Any]]:
    view = batches.settings.view
    other = next(v for v in SOURCE if v != view)
    rows = [
        (SOURCE[view], TERMS, len(batches.items)),
        ("digital patients, rendered as films (docs/phantom.md)", "Apache-2.0",
         len(batches.digital)),
        (f"{SOURCE[other]}, shown as what is no {view} film", TERMS, len(batches.wrong)),
    ]  # fmt: skip
    return [{"name": name, "terms": terms, "n": n} for name, terms, n in rows if n]
