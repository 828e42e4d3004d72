"""Puts the trained film networks and their card into a models folder, with what they measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ..methods.cobb_landmarks import MODEL
from ..methods.film_chain import LEVELS
from ..methods.film_picture import MAPPING, PREPARED
from ..methods.film_windows import WINDOW
from ..progress import Progress
from ..weights import ModelCard, save_model
from .export import current_commit
from .film_data import FilmCase, FilmItem

if TYPE_CHECKING:
    from torch import Tensor

    from .films import FilmTraining

#: The source's terms for the films, as they stand.
TERMS = "image terms not stated: research use"
LIMITS = [
    "Learned from frontal films that are cut to T1–L5. Films that show skull, arms or pelvis are "
    "harder: crop them.",
    "The annotations of the films have errors of their own, and implants were mostly drawn.",
    "Always names 17 vertebrae T1–L5: with 11 or 13 ribs, or 4 or 6 lumbar vertebrae, the levels "
    "at the end are wrong.",
    "The terms of the training films are not stated by their source: research use only.",
]


def command_of(settings: FilmTraining) -> str:
    """The command line that repeats a training."""
    fold = "" if settings.fold is None else f" --fold {settings.fold}"
    return f"spineseg train cobb-landmarks --data DATA --hours {settings.hours:g}{fold} -o FOLDER"


def export_films(
    weights: Mapping[str, Tensor],
    settings: FilmTraining,
    items: Sequence[FilmItem],
    wrong: int,
    kept: Sequence[FilmCase],
    steps: int,
    folder: Path,
    progress: Progress,
) -> list[Path]:
    """Save weights (float16) and card; measure on the films kept aside and write that on it.

    Parameters
    ----------
    weights : of `spineseg.networks.film_unet.FilmNetworks`
    items : learned from
    wrong : number of lateral films shown as what is no frontal film
    kept : films to measure on, not learned from
    """
    from ..evaluation.film_folds import card_results, score_films

    rows = [
        {"name": "SpineWeb dataset 16 (AASCE 2019), public frontal films", "terms": TERMS,
         "n": len(items)},
    ]  # fmt: skip
    if wrong:
        rows.append(
            {"name": "lateral films, shown as what is no frontal film",
             "terms": "not stated: research use", "n": wrong}
        )  # fmt: skip
    card = ModelCard(
        name=MODEL,
        method=MODEL,
        version="0.1.0",
        description="Finds the corners of T1–L5 on a frontal film of the spine.",
        created=date.today().isoformat(),
        commit=current_commit(),
        command=command_of(settings),
        training_data=rows,
        inputs={
            "spacing_mm": "unknown: films are scaled to their height",
            "intensity": {"window": [-3.0, 3.0], "unit": "standard deviations of the surroundings",
                          "mapping": MAPPING},
            "patch": [WINDOW, WINDOW],
            "prepared": list(PREPARED),
            "steps": steps,
        },
        outputs={"classes": [*LEVELS, "any vertebra"],
                 "corners": ["upper left", "upper right", "lower left", "lower right"]},
        architecture={
            "name": "FilmNetworks",
            "params": {"find_filters": list(settings.find_filters),
                       "corner_filters": list(settings.corner_filters)},
        },
        results=[],
        limits=LIMITS,
    )  # fmt: skip
    save_model(MODEL, dict(weights), card, folder)
    if kept:
        scores = score_films(kept, str(folder), progress, device=settings.device)
        name = f"fold {settings.fold}, patients not learned from"
        card = ModelCard(**{**card.to_dict(), "results": card_results(scores, name)})
        save_model(MODEL, dict(weights), card, folder)
    return [folder / f"{MODEL}.safetensors"]
