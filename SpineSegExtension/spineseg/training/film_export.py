"""Puts the trained film networks and their card into a models folder, with what they measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..io.film_tables import FilmTruth
from ..methods.cobb_landmarks import MODEL_OF
from ..methods.film_chain import LEVELS_OF
from ..methods.film_picture import MAPPING, PREPARED
from ..methods.film_result import AP, LATERAL
from ..methods.film_windows import WINDOW
from ..progress import Progress
from ..weights import ModelCard, save_model
from .export import current_commit
from .film_data import FilmItem

if TYPE_CHECKING:
    from torch import Tensor

    from .films import FilmTraining

#: The sources' terms for the films, as they stand.
TERMS = "image terms not stated: research use"
#: Where the films of each view come from.
SOURCE = {
    AP: "SpineWeb dataset 16 (AASCE 2019), public frontal films",
    LATERAL: "full-spine lateral films, open test set of a published vertebra detector",
}
_LIMITS = {
    AP: [
        "Learned from frontal films that are cut to T1–L5. Films that show skull, arms or pelvis "
        "are harder: crop them.",
        "Always names 17 vertebrae T1–L5: with 11 or 13 ribs, or 4 or 6 lumbar vertebrae, the "
        "levels at the end are wrong.",
    ],
    LATERAL: [
        "Learned from very few real films, of standing patients, from C2 to the sacrum.",
        "Always names C2–L5 and the sacrum: a film that shows less, or an unusual number of "
        "vertebrae, gets wrong levels.",
    ],
}
_COMMON = [
    "The annotations of the films have errors of their own, and implants were mostly drawn.",
    "The terms of the training films are not stated by their source: research use only.",
]


def command_of(settings: FilmTraining) -> str:
    """The command line that repeats a training."""
    more = "" if settings.fold is None else f" --fold {settings.fold}"
    more += "" if settings.view == AP else f" --view {settings.view}"
    more += "" if settings.digital is None else " --digital FILMS"
    more += "" if settings.start is None else " --start MODELS"
    more += " --blend" if settings.blend else ""
    more += "" if settings.rate == type(settings).rate else f" --rate {settings.rate:g}"
    return f"spineseg train cobb-landmarks --data DATA --hours {settings.hours:g}{more} -o FOLDER"


def _training_data(
    settings: FilmTraining, films: int, wrong: int, digital: int
) -> list[dict[str, Any]]:
    other = SOURCE[LATERAL if settings.view == AP else AP]
    rows = [
        (SOURCE[settings.view], TERMS, films),
        ("digital patients, rendered as films (docs/phantom.md)", "Apache-2.0", digital),
        (f"{other}, shown as what is no {settings.view} film", TERMS, wrong),
    ]
    return [{"name": name, "terms": terms, "n": n} for name, terms, n in rows if n]


def export_films(
    weights: Mapping[str, Tensor],
    settings: FilmTraining,
    items: Sequence[FilmItem],
    wrong: int,
    digital: int,
    kept: Sequence[FilmTruth],
    steps: int,
    folder: Path,
    progress: Progress,
) -> list[Path]:
    """Save weights (float16) and card; measure on the films kept aside and write that on it.

    Parameters
    ----------
    weights : of `spineseg.networks.film_unet.FilmNetworks`
    items : learned from
    wrong : number of films of the other view, shown as what is none of this one
    digital : number of rendered films learned from
    kept : films to measure on, not learned from
    """
    from ..evaluation.film_folds import card_results, score_films

    view, model = settings.view, MODEL_OF[settings.view]
    card = ModelCard(
        name=model,
        method=MODEL_OF[AP],
        version="0.1.0",
        description=f"Finds the corners of {LEVELS_OF[view][0]}–{LEVELS_OF[view][-1]} on "
        f"{'a frontal' if view == AP else 'a lateral'} film of the spine.",
        created=date.today().isoformat(),
        commit=current_commit(),
        command=command_of(settings),
        training_data=_training_data(settings, len(items), wrong, digital),
        inputs={
            "spacing_mm": "unknown: films are scaled to their height",
            "intensity": {"window": [-3.0, 3.0], "unit": "standard deviations of the surroundings",
                          "mapping": MAPPING},
            "patch": [WINDOW, WINDOW],
            "prepared": list(PREPARED),
            "steps": steps,
        },
        outputs={"classes": [*LEVELS_OF[view], "any vertebra"],
                 "corners": ["upper left", "upper right", "lower left", "lower right"]},
        architecture={
            "name": "FilmNetworks",
            "params": {"find_filters": list(settings.find_filters),
                       "corner_filters": list(settings.corner_filters),
                       "vertebrae": len(LEVELS_OF[view])},
        },
        results=[],
        limits=[*_LIMITS[view], *_COMMON],
    )  # fmt: skip
    save_model(model, dict(weights), card, folder)
    if kept:
        scores = score_films(kept, str(folder), progress, device=settings.device, view=view)
        name = f"fold {settings.fold}, patients not learned from"
        card = ModelCard(**{**card.to_dict(), "results": card_results(scores, name)})
        save_model(model, dict(weights), card, folder)
    return [folder / f"{model}.safetensors"]
