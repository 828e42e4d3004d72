"""Trains any of the challenge's systems (`spineseg.systems`) on films with landmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..methods.film_result import AP
from ..progress import Progress
from ..weights import ModelCard, load_card, load_state, save_model
from .film_data import FOLDS, FilmItem, film_cases, folds_of, read_items
from .film_samples import altered, canvas_sample, with_metal
from .films import split

if TYPE_CHECKING:
    from torch import Tensor

    from ..io.film_tables import FilmTruth
    from ..systems.system import System

_METAL = 0.12  # share of the films with drawn implants


@dataclass(frozen=True)
class SystemTraining:
    """How to train.

    Attributes
    ----------
    hours : float
    fold : int or None
        The films of this fold, 0 to 4, are kept aside and measured on afterwards; None learns
        from all.
    start : Path or None
        Folder of models with `cobb-landmarks`, whose first network becomes the trunk; else the
        package's own trunk, which learned from all folds but 0.
    digital : Path or None
        Folder with films of another kind, as those rendered from digital patients are; their
        landmarks are not looked at. Half as many of them as of the others are shown to a system
        that adapts its features until both kinds look alike.
    films : int
        A step.
    rate : float
        Peak learning rate.
    first : int or None
        Take so many films only, for a quick look.
    """

    hours: float = 0.5
    fold: int | None = None
    start: Path | None = None
    digital: Path | None = None
    films: int = 4
    rate: float = 2e-3
    first: int | None = None
    seed: int = 0
    device: str | None = None

    def __post_init__(self) -> None:
        if self.fold is not None and not 0 <= self.fold < FOLDS:
            raise InputError(
                f"There is no fold {self.fold}.", f"Choose one from 0 to {FOLDS - 1}, or none."
            )


class SystemBatches:
    """Batches of a system, the same for the same step."""

    def __init__(
        self, system: System, items: Sequence[FilmItem], settings: SystemTraining, rank: int = 0,
        digital: Sequence[FilmItem] = (),
    ) -> None:  # fmt: skip
        self.system, self.items, self.digital = system, list(items), list(digital)
        self.settings, self.rank = settings, rank

    def batch(self, step: int) -> dict[str, Tensor]:
        """Tensors of one step: ``image`` (films, 1, y, x) and the system's targets."""
        import torch

        from ..systems.system import Sample

        rng = np.random.default_rng([self.settings.seed, self.rank, step])
        images: list[Tensor] = []
        targets: dict[str, list[Tensor]] = {}
        for _ in range(self.settings.films):
            item = self.items[int(rng.integers(len(self.items)))]
            if rng.random() < _METAL:
                item = with_metal(item, rng)
            image, corners = canvas_sample(item, rng, canvas=self.system.canvas)
            sample = Sample(item, altered(image, rng), corners)
            images.append(sample.image)
            for name, value in self.system.targets(sample, rng).items():
                targets.setdefault(name, []).append(value)
        layout = torch.channels_last
        batch = {"image": torch.stack(images).contiguous(memory_format=layout)}
        if self.digital:
            chosen = rng.integers(len(self.digital), size=max(1, self.settings.films // 2))
            shown = (
                canvas_sample(self.digital[int(n)], rng, canvas=self.system.canvas)[0]
                for n in chosen
            )
            other = torch.stack([altered(image, rng) for image in shown])
            batch["other"] = other.contiguous(memory_format=layout)
        return {**batch, **{name: torch.cat(parts) for name, parts in targets.items()}}


def trunk_card(settings: SystemTraining) -> tuple[ModelCard, dict[str, Tensor]]:
    """Return the card and the weights of the trunk to build on.

    Raises
    ------
    InputError
        The trunk has learned from the films that are to be kept aside.
    """
    from ..systems.trunk import TRUNK, trunk_state

    if settings.start is None:
        card, state = load_card(TRUNK), load_state(TRUNK)
    else:
        landmarks = load_card("cobb-landmarks", settings.start)
        state = trunk_state(load_state("cobb-landmarks", settings.start))
        card = ModelCard.from_dict(
            {
                **landmarks.to_dict(),
                "name": TRUNK,
                "description": "The first network of cobb-landmarks without its last layer: what"
                " the systems of the challenge are built on.",
                "outputs": {"classes": ["features at 1/4 to 1/64 of the canvas"]},
                "architecture": {"name": "Trunk", "params": {}},
                "results": [
                    {**row, "data": f"cobb-landmarks with it, {row['data']}"}
                    for row in landmarks.results
                ],
            }
        )
    if settings.fold is not None and f"--fold {settings.fold} " not in card.command + " ":
        raise InputError(
            f"The trunk has learned from films of fold {settings.fold}.",
            f"Train one without them (spineseg train cobb-landmarks --fold {settings.fold}) and"
            " name its folder of models with --start.",
        )
    return card, state


def _items(
    cases: Sequence[FilmTruth], settings: SystemTraining, progress: Progress
) -> list[FilmItem]:
    """Read the films to learn from; those of the folds left over are numbered from 0."""
    of = dict(zip([c.path for c in cases], folds_of([c.patient for c in cases]), strict=True))
    learned = split(cases, settings.fold)[0][: settings.first]
    left = [n for n in range(FOLDS) if n != settings.fold]
    items = read_items(learned, progress)
    return [
        replace(item, fold=left.index(of[case.path]))
        for item, case in zip(items, learned, strict=True)
    ]


def train(
    system: System, items: Sequence[FilmItem], settings: SystemTraining, trunk: Mapping[str, Any],
    folder: Path, progress: Progress, digital: Sequence[FilmItem] = (),
) -> tuple[dict[str, Tensor], int]:  # fmt: skip
    """Train a system in a folder with a checkpoint; return its own weights and the steps."""
    import torch

    from .loop import LoopSettings, Trainer, world

    torch.manual_seed(settings.seed)
    network = system.kind(**system.params)
    own = getattr(network, "trunk", None)
    if own is not None:
        own.load_state_dict(trunk)
    system.begin(network, settings.start)
    batches = SystemBatches(system, items, settings, world()[0], digital)
    loop = LoopSettings(
        hours=settings.hours, batch=settings.films, rate=settings.rate, seed=settings.seed
    )
    trainer = Trainer(
        network, system.loss, batches.batch, loop, folder, settings.device,
        layout=torch.channels_last, mixed=False,
    )  # fmt: skip
    state = trainer.run(progress)
    return {k: v for k, v in state.items() if not k.startswith("trunk.")}, trainer.step


def fit_system(
    system: System, data: Path | str | None, options: Mapping[str, Any],
    progress: Progress | None = None,
) -> list[Path]:  # fmt: skip
    """Train, leave weights and card in ``output/models``, and measure on the fold kept aside.

    Parameters
    ----------
    data : path
        Folder with films.csv, landmarks.csv and images/, or the folder above ``xray_ap``.
    options : mapping
        Fields of `SystemTraining`, ``output`` and ``resume``.

    Raises
    ------
    InputError
        There are no films; the output folder holds a training and ``resume`` is off; the trunk
        has learned from the fold; ``digital`` is given to a system that does not adapt.
    """
    from .film_system_export import export_system
    from .loop import world
    from .paper import check_new, settings_of

    progress = progress or Progress()
    settings = settings_of(SystemTraining, options)
    output = Path(options["output"])
    check_new(output, bool(options.get("resume")), system.name)
    if data is None:
        raise InputError("A film method learns from films.", "Name their folder with --data.")
    if settings.digital is not None and not system.adapts:
        raise InputError(
            f"{system.name} does not adapt to films of another kind.", "Leave --digital out."
        )
    card, trunk = trunk_card(settings)
    items = _items(film_cases(Path(data), AP), settings, progress.part(0.0, 0.05))
    digital: list[FilmItem] = []
    if settings.digital is not None:
        digital = read_items(film_cases(Path(settings.digital), AP), progress.part(0.04, 0.05))
    weights, steps = train(
        system, items, settings, trunk, output / system.name, progress.part(0.05, 0.97), digital
    )
    if world()[0]:
        return []
    models = output / "models"
    save_model(card.name, trunk, card, models)
    return export_system(
        system, weights, settings, len(items), Path(data), steps, models, progress.part(0.97, 1.0),
        len(digital),
    )  # fmt: skip
