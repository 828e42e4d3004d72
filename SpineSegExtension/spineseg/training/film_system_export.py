"""Puts a trained system of the challenge and its card into a models folder."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..methods.film_picture import MAPPING, PREPARED
from ..methods.film_result import AP
from ..progress import Progress
from ..registry import get
from ..weights import ModelCard, load_card, save_model
from .export import VERSION, current_commit
from .film_export import SOURCE, TERMS

if TYPE_CHECKING:
    from torch import Tensor

    from ..systems.system import System
    from .film_systems import SystemTraining

_LIMITS = [
    "Learned from frontal films that are cut to T1–L5; films that show skull, arms or pelvis are "
    "harder: crop them.",
    "Takes every film for an upright frontal one: the default method finds out, this one does not.",
    "The annotations of the films have errors of their own, and implants were mostly drawn.",
    "The terms of the training films are not stated by their source: research use only.",
]


def export_system(
    system: System,
    weights: Mapping[str, Tensor],
    settings: SystemTraining,
    films: int,
    data: Path,
    steps: int,
    folder: Path,
    progress: Progress,
    digital: int = 0,
) -> list[Path]:
    """Save weights (float16) and card; measure on the films kept aside and write that on it.

    Parameters
    ----------
    weights : of the system's network without the trunk, which lies in the folder already
    films : how many were learned from
    data : folder of the films; those of the fold kept aside are measured
    digital : how many films of another kind were only adapted to
    """
    from ..systems.trunk import TRUNK

    more = "" if settings.fold is None else f" --fold {settings.fold}"
    more += "" if settings.start is None else " --start MODELS"
    more += "" if settings.rate == type(settings).rate else f" --rate {settings.rate:g}"
    more += " --digital FILMS" if digital else ""
    learned = [
        {"name": SOURCE[AP], "terms": TERMS, "n": films},
        {"name": "films of another kind, without their landmarks", "terms": "own", "n": digital},
    ]
    card = ModelCard(
        name=system.name,
        method=system.name,
        version=VERSION,
        description=get(system.name).summary,
        created=date.today().isoformat(),
        commit=current_commit(),
        command=f"spineseg train {system.name} --data DATA --hours {settings.hours:g}{more}"
        " -o FOLDER",
        training_data=[row for row in learned if row["n"]],
        inputs={
            "spacing_mm": "unknown: films are scaled to their height",
            "intensity": {"window": [-3.0, 3.0], "unit": "standard deviations of the surroundings",
                          "mapping": MAPPING},
            "patch": list(system.canvas),
            "prepared": list(PREPARED),
            "trunk": load_card(TRUNK, folder).sha256,
            "steps": steps,
        },
        outputs={"classes": list(system.outputs)},
        architecture={"name": system.kind.__name__, "params": dict(system.params)},
        results=[],
        limits=_LIMITS,
    )  # fmt: skip
    save_model(system.name, dict(weights), card, folder)
    if settings.fold is not None:
        rows = _results(system, data, settings, folder, progress)
        save_model(system.name, dict(weights), replace(card, results=rows), folder)
    return [folder / f"{system.name}.safetensors"]


def _results(
    system: System, data: Path, settings: SystemTraining, folder: Path, progress: Progress
) -> list[dict[str, Any]]:
    """Measure the films kept aside as ``spineseg evaluate cobb`` does, as rows of the card."""
    from ..evaluation.cobb import evaluate_cobb
    from ..systems.system import load

    load.cache_clear()  # the weights of a folder may have changed
    chosen = {"models": str(folder), "device": settings.device}
    with tempfile.TemporaryDirectory() as made:
        done = evaluate_cobb(
            data, Path(made) / "films.csv", system.name, progress,
            settings=chosen, fold=settings.fold,
        )  # fmt: skip
    line = done.summary[0]
    wanted = ("smape_percent", "major_mae_deg", "upper_mae_deg", "lower_mae_deg", "failed",
              "corners_heights_percent")  # fmt: skip
    name = f"fold {settings.fold}, patients not learned from"
    return [
        {"data": name, "metric": key, "value": round(float(line[key]), 3), "n": line["films"]}
        for key in wanted
        if line.get(key) is not None
    ]
