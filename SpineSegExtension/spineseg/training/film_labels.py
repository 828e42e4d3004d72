"""Trains the network that labels vertebrae on films (`spineseg.methods.film_labels`).

The paper's U-Net and its residual corrector learn in one run, end to end. How many levels there are
is what the table of films says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.film_tables import FilmTruth
from ..labels import SACRUM, VERTEBRAE
from ..methods.film_labels import MODEL_OF
from ..methods.film_picture import Picture
from ..methods.film_result import AP
from ..progress import Progress
from .film_data import FOLDS, FilmItem, centres_of, read_items, view_cases
from .film_data import wrong_films as read_wrong
from .film_label_plans import PLANS, Plan
from .film_samples import altered, canvas_sample, warped, with_metal, wrong_picture

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FilmLabelTraining:
    """How to train.

    Attributes
    ----------
    hours : float
    fold : int or None
        The films of this fold, 0 to 4, are kept aside and measured on afterwards; None learns
        from all.
    view : {"ap", "lateral"}
        Each view has a network of its own.
    preset : {"small", "paper"}
    plan : Plan or None
        Instead of the preset's.
    digital : Path or None
        Folder with further films, rendered from digital patients, learned from in every fold.
    digital_share : float
        Of what is shown, where there are both.
    first : int or None
        Take so many films only, for a quick look.
    """

    hours: float = 2.0
    fold: int | None = None
    view: str = AP
    preset: str = "small"
    plan: Plan | None = None
    digital: Path | None = None
    digital_share: float = 0.5
    first: int | None = None
    seed: int = 0
    device: str | None = None

    def __post_init__(self) -> None:
        if self.view not in MODEL_OF:
            raise InputError(
                f"There is no view “{self.view}”.", f"Choose one of: {', '.join(MODEL_OF)}."
            )
        if self.preset not in PLANS:
            raise InputError(
                f"“{self.preset}” is no preset.", f"Choose one of: {', '.join(PLANS)}."
            )
        if self.fold is not None and not 0 <= self.fold < FOLDS:
            raise InputError(
                f"There is no fold {self.fold}.", f"Choose one from 0 to {FOLDS - 1}, or none."
            )

    @property
    def chosen(self) -> Plan:
        """The plan, or the preset's."""
        return self.plan or PLANS[self.preset]


def in_order(truth: FilmTruth) -> bool:
    """Whether a film's vertebrae follow each other down the spine.

    Some public annotations begin with the second vertebra and end with the first, or name one
    twice; the levels on those are not what they say.
    """
    centres = centres_of(truth.corners_px)
    step = np.diff(centres, axis=0)
    long = np.linalg.norm(step, axis=1)
    along = centres[-1] - centres[0]
    down = step @ along / max(float(np.linalg.norm(along)), 1e-9)
    return bool((down > 0.3 * np.median(long)).all() and along[1] > 0)


def label_cases(
    folder: Path, view: str, levels: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[FilmTruth]]:
    """Return the levels, and the films on which all of them are known and in order.

    Parameters
    ----------
    levels : sequence of str, optional
        Those that are wanted; by default all that are known on any film.

    Raises
    ------
    InputError
        There are none.
    """
    cases = view_cases(folder, view)
    seen = [{n for n, known in zip(c.levels, c.known, strict=True) if known} for c in cases]
    if levels is None:
        any_seen = set().union(*seen)
        levels = [n.name for n in (*VERTEBRAE, SACRUM) if n.name in any_seen]
    whole = [c for c, names in zip(cases, seen, strict=True) if names and set(levels) <= names]
    found = [case for case in (_only(c, levels) for c in whole) if in_order(case)]
    if not found:
        raise InputError(
            f"There are no {view} films in {folder} that show all levels from the top.",
            "Layouts are in docs/cobb.md; all films of a training need the same levels.",
        )
    return tuple(levels), found


def _only(truth: FilmTruth, levels: Sequence[str]) -> FilmTruth:
    rows = [truth.levels.index(level) for level in levels]
    return replace(truth, levels=tuple(levels), corners_px=truth.corners_px[rows])


class LabelBatches:
    """Batches for `film_label_losses.label_loss`, the same for the same step.

    Parameters
    ----------
    items : sequence of FilmItem
    wrong : sequence of Picture
        Films of another view.
    digital : sequence of FilmItem
        Rendered films.
    """

    def __init__(
        self,
        items: Sequence[FilmItem],
        wrong: Sequence[Picture],
        settings: FilmLabelTraining,
        rank: int = 0,
        digital: Sequence[FilmItem] = (),
    ) -> None:
        self.items, self.wrong, self.digital = list(items), list(wrong), list(digital)
        self.settings, self.rank = settings, rank

    def batch(self, step: int) -> dict[str, Tensor]:
        """Tensors of one step."""
        import torch

        rng = np.random.default_rng([self.settings.seed, self.rank, step])
        plan = self.settings.chosen
        films, cells = [], []
        for _ in range(plan.films):
            rendered = self.digital and rng.random() < self.settings.digital_share
            among = self.digital if rendered else self.items
            image, centres = self._sample(among[int(rng.integers(len(among)))], plan, rng)
            films.append(image)
            cells.append((centres + 0.5) / plan.stride - 0.5)
        return {
            "canvas": torch.stack(films),
            "cells": torch.as_tensor(np.stack(cells), dtype=torch.float32),
        }

    def _sample(
        self, item: FilmItem, plan: Plan, rng: np.random.Generator
    ) -> tuple[Tensor, Floats]:
        if plan.turns_deg:
            angle = np.radians(rng.choice(plan.turns_deg))
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            image, corners = warped(item, turn, canvas=plan.canvas)
            return image, centres_of(corners)
        if rng.random() < plan.metal:
            item = with_metal(item, rng)
        is_wrong = rng.random() < plan.wrong
        shown = self._wrong(item, rng) if is_wrong else item
        # Centres have no left and right, so lateral films may be mirrored as well.
        image, corners = canvas_sample(shown, rng, canvas=plan.canvas)
        centres = centres_of(corners)
        return altered(image, rng), np.full_like(centres, np.nan) if is_wrong else centres

    def _wrong(self, item: FilmItem, rng: np.random.Generator) -> FilmItem:
        picture = wrong_picture(item, rng)
        if self.wrong and rng.random() < 0.4:
            picture = self.wrong[int(rng.integers(len(self.wrong)))]
        return FilmItem(item.name, item.patient, picture, item.corners)


def train(
    batches: LabelBatches, levels: int, folder: Path, progress: Progress
) -> tuple[dict[str, Tensor], int]:
    """Train in a folder with a checkpoint; return the weights and the steps."""
    import torch

    from ..networks.film_labels import FilmLabelNetwork
    from .film_label_losses import label_loss
    from .loop import LoopSettings, Trainer

    settings, plan = batches.settings, batches.settings.chosen
    torch.manual_seed(settings.seed)
    network = FilmLabelNetwork(**plan.architecture(levels)["params"])
    loop = LoopSettings(
        hours=settings.hours, batch=plan.films, rate=plan.rate, decay=plan.decay,
        steady=plan.steady, average=plan.average, seed=settings.seed,
    )  # fmt: skip
    trainer = Trainer(
        network, partial(label_loss, plan=plan), batches.batch, loop, folder, settings.device,
        layout=torch.channels_last, mixed=False,
    )  # fmt: skip
    return trainer.run(progress), trainer.step


def fit(
    data: Path | str | None, options: Mapping[str, Any], progress: Progress | None = None
) -> list[Path]:
    """Train, leave weights and card in ``output/models``, and measure on the fold kept aside.

    Parameters
    ----------
    data : path
        Folder with landmarks.csv, films.csv and images/, or the folder above ``xray_ap`` and
        ``xray_lateral``.
    options : mapping
        Fields of `FilmLabelTraining`, ``output`` and ``resume``.

    Raises
    ------
    InputError
        There are no films; the output folder holds a training and ``resume`` is off.
    """
    from .film_label_export import export_labels
    from .films import split
    from .loop import world
    from .paper import check_new, settings_of

    progress = progress or Progress()
    settings = settings_of(FilmLabelTraining, options)
    output, folder = Path(options["output"]), MODEL_OF[settings.view]
    check_new(output, bool(options.get("resume")), folder)
    if data is None:
        raise InputError("The labels of films are learned from films.", "Name it with --data.")
    levels, cases = label_cases(Path(data), settings.view)
    learned, kept = split(cases, settings.fold)
    items = read_items(learned[: settings.first], progress.part(0.0, 0.03))
    wrong: list[Picture] = []
    if settings.chosen.wrong:
        wrong = read_wrong(Path(data), settings.view, progress.part(0.03, 0.04))
    digital: list[FilmItem] = []
    if settings.digital is not None:
        _, rendered = label_cases(Path(settings.digital), settings.view, levels)
        digital = read_items(rendered, progress.part(0.04, 0.05))
    rank, _ = world()
    batches = LabelBatches(items, wrong, settings, rank, digital)
    weights, steps = train(batches, len(levels), output / folder, progress.part(0.05, 0.98))
    if rank:
        return []
    return export_labels(
        weights, batches, levels, kept, steps, output / "models", progress.part(0.98, 1.0)
    )
