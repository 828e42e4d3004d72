"""Trains ``vertebra-one``, the network that outlines the vertebra at a point.

`spineseg train click --preset small` and `spineseg train cascade --stage instance --preset small`
both end here. It begins with the fine network's weights, which know vertebrae already, and learns
to tell the one that is meant: digital patients and real label maps, points as clicks and walks
give them, and memories as they are left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..methods.one_vertebra import CHANNELS, MODEL, SPACING_MM, WINDOW
from ..progress import Progress
from .one_vertebra_samples import Places, make_one, places
from .pool import Item, is_drawn, item_paths, load_item
from .vertebra import (
    WIDTHS,
    TrainSettings,
    chosen_settings,
    fill_corrections,
    fill_pool,
    fill_real,
)

START = "vertebra-fine"
"""Whose weights the training begins with, unless it goes on from its own."""
IN_CHANNELS = 4


@dataclass
class OneSampler:
    """Draws training batches of windows from a pool's folder."""

    folder: Path
    settings: TrainSettings
    rank: int

    def __post_init__(self) -> None:
        self._items: dict[Path, tuple[Item, Places]] = {}
        self._look()
        if not self._paths:
            raise InputError(f"The pool {self.folder} is empty.", "Draw patients first.")

    def _look(self) -> None:
        self._paths = item_paths(self.folder)
        self._drawn = [p for p in self._paths if is_drawn(p)]
        self._real = [p for p in self._paths if not is_drawn(p)]

    def _item(self, path: Path) -> tuple[Item, Places]:
        if path not in self._items:
            item = load_item(path)
            self._items[path] = item, places(item)
        return self._items[path]

    def batch(self, step: int) -> dict[str, Any]:
        """Batch of a step: image (N, 4, …), target (N, 3, …) and known (N, 3) as tensors."""
        import torch

        if step % 200 == 199:
            self._look()
        rng = np.random.default_rng([self.settings.seed, self.rank, step, 5])
        samples = []
        for _ in range(self.settings.batch):
            real = self._real and (rng.random() < self.settings.real_share or not self._drawn)
            names = self._real if real else self._drawn
            item, where = self._item(names[int(rng.integers(len(names)))])
            samples.append(make_one(item, where, rng))
        image = torch.from_numpy(np.stack([s.image for s in samples]))
        return {
            "image": image.contiguous(memory_format=torch.channels_last_3d),
            "target": torch.from_numpy(np.stack([s.target for s in samples])),
            "known": torch.from_numpy(np.stack([s.known for s in samples])),
        }


def one_loss(network: Any, batch: dict[str, Any]) -> tuple[Any, dict[str, float]]:
    """Dice (paper 004, eq. 1) + cross-entropy of each channel, at full and at half resolution."""
    import torch

    from .losses import binary_terms

    full, half = network.forward_deep(batch["image"])
    target, known = batch["target"], batch["known"]
    with torch.autocast(full.device.type, enabled=False):
        entropy, dice = binary_terms(full, target, known)
        coarse_entropy, coarse_dice = binary_terms(half, target[..., ::2, ::2, ::2], known)
    total = dice + 5 * entropy + 0.5 * (coarse_dice + 5 * coarse_entropy)
    return total, {"dice": float(dice.detach()), "entropy": float(entropy.detach())}


def make_network(start: Mapping[str, Any] | None) -> Any:
    """The network, with its own earlier weights, or the fine network's where they fit.

    To the latter, memory and point enter by new input channels, which begin near zero.
    """
    import torch

    from ..networks.residual_unet import ResidualUNet

    network = ResidualUNet(IN_CHANNELS, len(CHANNELS), WIDTHS["fine"])
    if start is None:
        return network
    state = network.state_dict()
    if all(name in start and start[name].shape == value.shape for name, value in state.items()):
        network.load_state_dict(dict(start))
        return network
    for name, value in start.items():
        if name == "stem.weight":
            state[name].zero_()
            state[name][:, : value.shape[1]] = value.float()
        elif name in state and state[name].shape == value.shape:
            state[name] = value.float().clone()
    # A little of the new channels, or no gradient would tell them apart at first.
    with torch.no_grad():
        state["stem.weight"][:, 2:].normal_(0, 0.02)
    network.load_state_dict(state)
    return network


def train_one(
    pool: Path, folder: Path, settings: TrainSettings, start: Any, progress: Progress
) -> dict[str, Any]:
    """Train on a pool and return the averaged weights."""
    import torch

    from .loop import LoopSettings, Trainer, world

    rank, _ = world()
    torch.manual_seed(settings.seed)
    sampler = OneSampler(pool, settings, rank)
    loop = LoopSettings(
        hours=settings.hours, batch=settings.batch, rate=settings.rate, seed=settings.seed
    )
    trainer = Trainer(make_network(start), one_loss, sampler.batch, loop, folder, settings.device)
    return trainer.run(progress)


def fit(
    data: Path | str | None,
    options: TrainSettings | Mapping[str, Any],
    progress: Progress | None = None,
) -> list[Path]:
    """Train ``vertebra-one`` and leave its weights and card in ``output/models``.

    Parameters and errors as in `spineseg.training.vertebra.fit`.
    """
    from ..weights import load_state
    from .corrections import correction_sources
    from .export import command_of
    from .loop import barrier, world

    progress = progress or Progress()
    settings, output, resume = chosen_settings(options)
    folder = output / MODEL
    if not resume and (folder / "checkpoint.safetensors").exists():
        raise InputError(
            f"{output} holds a training already.", "Add --resume, or choose another folder."
        )
    if settings.corrections is not None:  # before patients are drawn for an hour
        correction_sources(settings.corrections, settings.hold_out)
    own = settings.start is not None
    start = load_state(MODEL if own else START, settings.start)
    rank, _ = world()
    pool = output / "pool" / "fine"
    fill_pool(pool, "fine", settings, progress.part(0.0, 0.1))
    if data is not None and rank == 0:
        fill_real(pool, Path(data), settings, progress)
    if settings.corrections is not None and rank == 0:
        fill_corrections(pool, Path(settings.corrections), settings, progress)
    barrier()
    weights = train_one(pool, folder, settings, start, progress.part(0.1, 1.0))
    if rank:
        return []
    real: dict[str, int] = {}
    for path in item_paths(pool):
        if not is_drawn(path):
            source = path.name.rsplit("_", 1)[0]
            real[source] = real.get(source, 0) + 1
    command = command_of(settings, data is not None, "click")
    export_one(weights, settings, real, [], command, output / "models")
    return [output / "models" / f"{MODEL}.safetensors"]


def export_one(
    weights: Mapping[str, Any],
    settings: TrainSettings,
    real: Mapping[str, int],
    results: list[dict[str, Any]],
    command: str,
    folder: Path | None = None,
) -> Any:
    """Save the network with its card, float16; ``real`` counts windows by source."""
    from ..intensity import MAPPING
    from ..intensity import WINDOW as HU_WINDOW
    from ..weights import ModelCard, save_model
    from .export import LIMITS, current_commit, training_data

    card = ModelCard(
        name=MODEL,
        method="click",
        version="0.3.0",
        description="Outlines the vertebra at a point, its body and its trabecular centrum, beside "
        "vertebrae that are known already.",
        created=date.today().isoformat(),
        commit=current_commit(),
        command=command,
        training_data=training_data("fine", settings.patients, real),
        inputs={
            "spacing_mm": SPACING_MM,
            "intensity": {"window": list(HU_WINDOW), "unit": "HU", "mapping": MAPPING},
            "patch": list(WINDOW),
        },
        outputs={"classes": list(CHANNELS), "semantic": len(CHANNELS)},
        architecture={
            "name": "ResidualUNet",
            "params": {
                "in_channels": IN_CHANNELS,
                "out_channels": len(CHANNELS),
                "widths": list(WIDTHS["fine"]),
            },
        },
        results=results,
        limits=[
            *LIMITS,
            "A smaller network than the paper's (about 4 M parameters at 1.5 mm), started from "
            "vertebra-fine, which its training needs.",
        ],
    )
    return save_model(MODEL, dict(weights), card, folder)
