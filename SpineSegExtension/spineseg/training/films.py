"""Trains the networks of `spineseg.methods.cobb_landmarks` on films with landmarks.

Both learn in one run: each step takes some films on the canvas, for finding the vertebrae, and
some windows of the same films, for their corners.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..io.film_tables import FilmTruth
from ..labels import SACRUM
from ..methods.cobb_landmarks import MODEL_OF
from ..methods.film_chain import LEVELS_OF
from ..methods.film_picture import Picture
from ..methods.film_result import AP, LATERAL
from ..progress import Progress
from ..weights import card_path, load_state
from .film_data import (
    FOLDS,
    FilmItem,
    centres_of,
    film_cases,
    folds_of,
    proportions,
    read_items,
    tilts,
)
from .film_data import wrong_films as read_wrong
from .film_samples import altered, canvas_sample, window_samples, with_metal, wrong_picture

if TYPE_CHECKING:
    from torch import Tensor

#: Kyphosis and lordosis hang on single endplates of these: they are shown more often.
_MEASURED, _MORE = ("T4", "T12", "L1", SACRUM.name), 3.0
_METAL, _WRONG = 0.12, 0.08  # shares of the films with drawn implants, and turned or negative


@dataclass(frozen=True)
class FilmTraining:
    """How to train.

    Attributes
    ----------
    hours : float
    fold : int or None
        The films of this fold, 0 to 4, are kept aside and measured on afterwards; None learns
        from all.
    view : {"ap", "lateral"}
        Which films to learn from; each view has networks of its own.
    digital : Path or None
        Folder with further films, rendered from digital patients; they are learned from in every
        fold, and make up `digital_share` of what is shown.
    start : Path or None
        Folder of models to begin from: with networks for this view, or else for frontal films,
        whose layers know vertebrae too.
    blend : bool
        Keep the mean of the weights that were begun from and of those that were reached (Wortsman
        et al. 2022): both know the same films, and their errors differ.
    films, windows : int
        Films a step, and windows of each.
    rate : float
        Peak learning rate.
    first : int or None
        Take so many films only, for a quick look.
    find_filters, corner_filters : tuple of int
        Of `spineseg.networks.film_unet.FilmNetworks`.
    """

    hours: float = 1.25
    fold: int | None = None
    view: str = AP
    digital: Path | None = None
    digital_share: float = 0.5
    start: Path | None = None
    blend: bool = False
    films: int = 4
    windows: int = 8
    rate: float = 2e-3
    first: int | None = None
    seed: int = 0
    device: str | None = None
    find_filters: tuple[int, ...] = (32, 64, 96, 128, 160)
    corner_filters: tuple[int, ...] = (24, 48, 64, 96)

    def __post_init__(self) -> None:
        if self.view not in LEVELS_OF:
            raise InputError(f"There is no view “{self.view}”.", f"Choose {AP} or {LATERAL}.")
        if self.blend and (
            self.start is None or not card_path(MODEL_OF[self.view], self.start).exists()
        ):
            raise InputError(
                f"To blend needs weights of {MODEL_OF[self.view]} to begin from.",
                "Name their folder with --start.",
            )
        if self.fold is not None and not 0 <= self.fold < FOLDS:
            raise InputError(
                f"There is no fold {self.fold}.", f"Choose one from 0 to {FOLDS - 1}, or none."
            )


def split(cases: Sequence[FilmTruth], fold: int | None) -> tuple[list[FilmTruth], list[FilmTruth]]:
    """Return the films to learn from and those kept aside."""
    if fold is None:
        return list(cases), []
    folds = folds_of([case.patient for case in cases])
    kept = [case for case, n in zip(cases, folds, strict=True) if n == fold]
    return [case for case, n in zip(cases, folds, strict=True) if n != fold], kept


class FilmBatches:
    """Batches for `film_losses.film_loss`, the same for the same step.

    Parameters
    ----------
    items : sequence of FilmItem
    wrong : sequence of Picture
        Films of another view.
    ratio : (n,)
        Widths of `proportions`.
    digital : sequence of FilmItem
        Rendered films.
    """

    def __init__(
        self,
        items: Sequence[FilmItem],
        wrong: Sequence[Picture],
        ratio: Any,
        settings: FilmTraining,
        rank: int = 0,
        digital: Sequence[FilmItem] = (),
    ) -> None:
        self.items, self.wrong, self.ratio = list(items), list(wrong), np.asarray(ratio)
        self.digital = list(digital)
        levels = LEVELS_OF[settings.view]
        often = settings.view == LATERAL
        weight = np.array([_MORE if often and name in _MEASURED else 1.0 for name in levels])
        self.chance = weight / weight.sum()
        self.settings, self.rank = settings, rank

    def batch(self, step: int) -> dict[str, Tensor]:
        """Tensors of one step."""
        import torch

        from ..networks.film_unet import FIND_STRIDE

        rng = np.random.default_rng([self.settings.seed, self.rank, step])
        canvases, cells, right, windows, local = [], [], [], [], []
        for _ in range(self.settings.films):
            rendered = self.digital and rng.random() < self.settings.digital_share
            among = self.digital if rendered else self.items
            item = among[int(rng.integers(len(among)))]
            if rng.random() < _METAL:
                item = with_metal(item, rng)
            is_right = rng.random() >= _WRONG
            shown = item if is_right else self._wrong(item, rng)
            canvas, corners = canvas_sample(shown, rng, mirrored=self.settings.view == AP)
            canvases.append(altered(canvas, rng))
            cells.append((centres_of(corners) + 0.5) / FIND_STRIDE - 0.5)
            right.append(float(is_right))
            which = rng.choice(
                len(item.corners), self.settings.windows, replace=False, p=self.chance
            )
            seen, at = window_samples(item, self.ratio, np.sort(which), rng)
            for window in seen:
                window[:1] = altered(window[:1], rng)
            windows.append(seen)
            local.append(at)
        return {
            "canvas": torch.stack(canvases),
            "cells": torch.as_tensor(np.stack(cells), dtype=torch.float32),
            "right": torch.tensor(right),
            "windows": torch.cat(windows),
            "local": torch.as_tensor(np.concatenate(local), dtype=torch.float32),
        }

    def _wrong(self, item: FilmItem, rng: np.random.Generator) -> FilmItem:
        picture = wrong_picture(item, rng)
        if self.wrong and rng.random() < 0.4:
            picture = self.wrong[int(rng.integers(len(self.wrong)))]
        return FilmItem(item.name, item.patient, picture, item.corners)


def begin_from(network: Any, state: Mapping[str, Tensor]) -> int:
    """Copy what fits of other weights into a network, in place; return how many tensors did."""
    own = network.state_dict()
    fit = {k: v.to(own[k]) for k, v in state.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict({**own, **fit})
    return len(fit)


def blended(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean of two networks' weights; what only `one` has, or counts, is its own."""
    return {
        k: (v + other[k].to(v)) / 2
        if v.is_floating_point() and k in other and other[k].shape == v.shape
        else v
        for k, v in one.items()
    }


def train(
    items: Sequence[FilmItem],
    wrong: Sequence[Picture],
    settings: FilmTraining,
    folder: Path,
    progress: Progress,
    digital: Sequence[FilmItem] = (),
) -> tuple[dict[str, Tensor], int]:
    """Train both networks in a folder with a checkpoint; return the weights and the steps."""
    import torch

    from ..networks.film_unet import FilmNetworks
    from .film_losses import film_loss
    from .loop import LoopSettings, Trainer, world

    torch.manual_seed(settings.seed)
    rank, _ = world()
    pitch, width = proportions(items)
    network = FilmNetworks(settings.find_filters, settings.corner_filters, len(width))
    if settings.start is not None:
        own = card_path(MODEL_OF[settings.view], settings.start).exists()
        begin_from(network, load_state(MODEL_OF[settings.view if own else AP], settings.start))
    network.pitch.copy_(torch.as_tensor(pitch))
    network.width.copy_(torch.as_tensor(width))
    mean, spread = tilts(items, digital, mirrored=settings.view == AP)
    network.tilt.copy_(torch.as_tensor(mean))
    network.tilt_spread.copy_(torch.as_tensor(spread))
    batches = FilmBatches(items, wrong, width, settings, rank, digital)
    loop = LoopSettings(
        hours=settings.hours, batch=settings.films, rate=settings.rate, seed=settings.seed
    )
    trainer = Trainer(
        network, film_loss, batches.batch, loop, folder, settings.device,
        layout=torch.channels_last, mixed=False,
    )  # fmt: skip
    weights = trainer.run(progress)
    if settings.blend and settings.start is not None:
        weights = blended(weights, load_state(MODEL_OF[settings.view], settings.start))
    return weights, trainer.step


def fit(
    data: Path | str | None, options: Mapping[str, Any], progress: Progress | None = None
) -> list[Path]:
    """Train, leave weights and card in ``output/models``, and measure on the fold kept aside.

    Parameters
    ----------
    data : path
        Folder with films.csv, landmarks.csv and images/, or the folder above ``xray_ap``.
    options : mapping
        Fields of `FilmTraining`, ``output`` and ``resume``.

    Raises
    ------
    InputError
        There are no films; the output folder holds a training and ``resume`` is off.
    """
    from .film_export import export_films
    from .loop import world
    from .paper import check_new

    progress = progress or Progress()
    known = {f.name for f in fields(FilmTraining)}
    settings = FilmTraining(**{k: v for k, v in options.items() if k in known and v is not None})
    output = Path(options["output"])
    folder = MODEL_OF[settings.view]
    check_new(output, bool(options.get("resume")), folder)
    if data is None:
        raise InputError("A film method learns from films.", "Name their folder with --data.")
    learned, kept = split(film_cases(Path(data), settings.view), settings.fold)
    items = read_items(learned[: settings.first], progress.part(0.0, 0.03))
    wrong = read_wrong(Path(data), settings.view, progress.part(0.03, 0.04))
    digital: list[FilmItem] = []
    if settings.digital is not None:
        rendered = film_cases(Path(settings.digital), settings.view)
        digital = read_items(rendered, progress.part(0.04, 0.05))
    weights, steps = train(
        items, wrong, settings, output / folder, progress.part(0.05, 0.98), digital
    )
    if world()[0]:
        return []
    return export_films(
        weights, settings, items, len(wrong), len(digital), kept, steps, output / "models",
        progress.part(0.98, 1.0),
    )  # fmt: skip
