"""Trains ``fracture-voxels``, the dual-pathway voxel classifier (paper 004, p. 3).

It learns from centroids with normal or fractured: digital patients, drawn and scanned once
(`spineseg.training.fracture_pool`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..methods.fracture_voxels import CLASSES, MODEL
from ..progress import Progress
from ..weights import load_card, load_state
from .fracture_pool import fill, paths
from .fracture_voxel_samples import VoxelSampler
from .pressed_pool import fill_pressed

if TYPE_CHECKING:
    from torch import Tensor, nn

VARIANTS = ("3d", "5slices", "1slice")


@dataclass(frozen=True)
class VoxelPlan:
    """How the network is built and trained.

    Attributes
    ----------
    widths, flat_widths, joined
        Of `spineseg.networks.fracture_voxels.FractureVoxelNetwork`; the flat ones are of the 2D
        variants, which have as many parameters.
    segment : int
        Edge of the answer to a training segment, voxels; a multiple of 3.
    batch : int
        Segments a step.
    shares : tuple of float
        Of segments whose middle is background, normal and fracture.
    flips : tuple of int
        Array axes (k, j, i) that may be flipped.
    noise : tuple of float
        See `VoxelSampler`.
    scan_wide : bool
        Whether intensities have zero mean and unit spread over a scan, else fixed numbers.
    rate, decay, rmsprop, steady, average
        Of `spineseg.training.loop.LoopSettings`.
    l1, l2 : float
        Penalties on the weights in the loss.
    patience : int
        Epochs without a better validation after which the rate is halved; 0 never asks.
    epoch : int
        Steps of one.
    epochs : int
        After which the rate is 0; 0 trains as long as there is time.
    """

    widths: tuple[int, ...] = (16, 16, 16, 16, 32, 32, 32, 32)
    flat_widths: tuple[int, ...] = (32, 32, 32, 32, 48, 48, 48, 48)
    joined: int = 48
    segment: int = 9
    batch: int = 8
    shares: tuple[float, float, float] = (0.2, 0.4, 0.4)
    flips: tuple[int, ...] = (2,)
    noise: tuple[float, float, float] = (0.05, 0.05, 0.1)
    scan_wide: bool = False
    rate: float = 2e-3
    decay: float = 1e-4
    rmsprop: bool = False
    steady: bool = False
    average: float = 0.998
    l1: float = 0.0
    l2: float = 0.0
    patience: int = 0
    epoch: int = 500
    epochs: int = 0

    def architecture(self, variant: str) -> dict[str, Any]:
        """Return the card's ``architecture``."""
        widths = self.widths if variant == "3d" else self.flat_widths
        params = {
            "widths": list(widths), "joined": self.joined, "classes": len(CLASSES),
            "variant": variant,
        }  # fmt: skip
        return {"name": "FractureVoxelNetwork", "params": params}


PLANS = {
    "small": VoxelPlan(),
    "paper": VoxelPlan(
        widths=(20, 20, 24, 24, 24, 24, 28, 28),
        flat_widths=(34, 34, 42, 42, 42, 42, 48, 48),
        joined=80,
        batch=10,
        shares=(1 / 3, 1 / 3, 1 / 3),
        flips=(0, 1, 2),
        noise=(0.0, 0.0, 0.1),
        scan_wide=True,
        rate=1e-3,
        decay=0.0,
        rmsprop=True,
        steady=True,
        average=0.0,
        l1=1e-6,
        l2=1e-4,
        patience=3,
        epochs=35,
    ),
}
"""The paper names noise, weighted sampling, L1 and L2 without numbers: DeepMedic's are used."""


@dataclass(frozen=True)
class VoxelTraining:
    """How to train.

    Attributes
    ----------
    hours : float
    preset : {"small", "paper"}
    variant : {"3d", "5slices", "1slice"}
    patients : int
        Digital patients to learn from.
    pool : Path or None
        Folder where they are, or are put; by default ``pool`` in the output folder.
    plan : VoxelPlan or None
        Instead of the preset's.
    start : Path or None
        Folder of weights of the same preset and variant to begin from.
    """

    hours: float = 2.0
    preset: str = "small"
    variant: str = "3d"
    patients: int = 250
    pool: Path | None = None
    plan: VoxelPlan | None = None
    start: Path | None = None
    seed: int = 0
    device: str | None = None

    def __post_init__(self) -> None:
        if self.preset not in PLANS:
            raise InputError(
                f"“{self.preset}” is no preset.", f"Choose one of: {', '.join(PLANS)}."
            )
        if self.variant not in VARIANTS:
            raise InputError(
                f"“{self.variant}” is no variant.", f"Choose one of: {', '.join(VARIANTS)}."
            )

    @property
    def chosen(self) -> VoxelPlan:
        """The plan, or the preset's."""
        return self.plan or PLANS[self.preset]


def voxel_loss(
    network: nn.Module, batch: Mapping[str, Tensor], plan: VoxelPlan
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy over the classes, and penalties on the weights."""
    import torch

    logits = network(batch["image"]).float()
    total = entropy = torch.nn.functional.cross_entropy(logits, batch["label"])
    if plan.l1 or plan.l2:
        weights = [p for name, p in network.named_parameters() if p.dim() == 5]
        total = entropy + plan.l1 * sum(w.abs().sum() for w in weights)
        total = total + plan.l2 * sum((w**2).sum() for w in weights)
    right = logits.detach().argmax(dim=1) == batch["label"]
    parts = {"entropy": float(entropy.detach())}
    for number, name in enumerate(CLASSES):
        own = batch["label"] == number
        if bool(own.any()):
            parts[name] = float(right[own].float().mean())
    return total, parts


class Plateau:
    """Halves the rate where the entropy of batches that are not learned from stops falling.

    Parameters
    ----------
    batches : of step numbers, from patients kept aside
    plan : its ``patience`` and ``epoch``
    """

    def __init__(
        self, batches: Callable[[int], dict[str, Any]], plan: VoxelPlan, count: int = 20
    ) -> None:
        self._batches, self._plan, self._count = batches, plan, count
        self._best, self._waited, self.share = float("inf"), 0, 1.0

    def __call__(self, network: nn.Module, step: int) -> float:
        """Return what to multiply the rate by at a step."""
        plan = self._plan
        if step == 0 or step % plan.epoch:
            return self.share
        if plan.epochs and step // plan.epoch >= plan.epochs:
            self.share = 0.0
            return self.share
        entropy = self._entropy(network)
        if entropy < self._best - 1e-3:
            self._best, self._waited = entropy, 0
        else:
            self._waited += 1
            if self._waited >= plan.patience:
                self.share, self._waited = self.share / 2, 0
        return self.share

    def _entropy(self, network: nn.Module) -> float:
        import torch

        network.eval()
        device = next(network.parameters()).device
        total = 0.0
        with torch.inference_mode():
            for n in range(self._count):
                batch = {k: v.to(device) for k, v in self._batches(n).items()}
                total += voxel_loss(network, batch, VoxelPlan())[1]["entropy"]
        network.train()
        return total / self._count


def make_sampler(
    pool: Path, kept: list[Path], settings: VoxelTraining, reach: tuple[int, int, int]
) -> VoxelSampler:
    """Return the sampler of a training on all of a pool's patients but ``kept``."""
    from .loop import world

    plan = settings.chosen
    return VoxelSampler(
        pool, kept, plan.segment, reach, plan.shares, plan.flips, plan.noise, plan.scan_wide,
        plan.batch, settings.seed, world()[0],
    )  # fmt: skip


def train(
    pool: Path, settings: VoxelTraining, folder: Path, progress: Progress
) -> tuple[dict[str, Tensor], int]:
    """Train in a folder with a checkpoint; return the weights and the steps."""
    import torch

    from ..networks.fracture_voxels import FractureVoxelNetwork
    from .loop import LoopSettings, Trainer

    plan = settings.chosen
    torch.manual_seed(settings.seed)
    network = FractureVoxelNetwork(**plan.architecture(settings.variant)["params"])
    if settings.start is not None:
        network.load_state_dict(load_state(MODEL, settings.start))
    names = paths(pool)
    # The paper keeps 15 % of a fold aside to watch the training by.
    kept = names[-round(0.15 * len(names)) :] if plan.patience and len(names) > 6 else []
    anneal = None
    if kept:
        watch = make_sampler(pool, [n for n in names if n not in kept], settings, network.reach)
        anneal = Plateau(watch.batch, plan)
    loop = LoopSettings(
        hours=settings.hours, batch=plan.batch, rate=plan.rate, decay=plan.decay,
        rmsprop=plan.rmsprop, steady=plan.steady, average=plan.average, seed=settings.seed,
    )  # fmt: skip
    sampler = make_sampler(pool, kept, settings, network.reach)
    trainer = Trainer(
        network, partial(voxel_loss, plan=plan), sampler.batch, loop, folder, settings.device,
        mixed=False, anneal=anneal,
    )  # fmt: skip
    return trainer.run(progress), trainer.step


def _check_start(settings: VoxelTraining) -> None:
    """Raise InputError unless the weights to begin from are of the same network."""
    made = load_card(MODEL, settings.start).architecture
    if made != settings.chosen.architecture(settings.variant):
        raise InputError(
            f"The weights in {settings.start} are of another network.",
            "Choose the --preset and --variant that they were trained with.",
        )


def fit(
    data: Path | str | None, options: Mapping[str, Any], progress: Progress | None = None
) -> list[Path]:
    """Train and leave weights and card in ``output/models``.

    Parameters
    ----------
    data : path, optional
        Labelled scans without fractures (docs/datasets.md), to be pressed together, besides the
        digital patients (`spineseg.training.pressed_pool`).
    options : mapping
        Fields of `VoxelTraining`, ``output`` and ``resume``.

    Raises
    ------
    InputError
        The data hold no labelled scan; the output folder holds a training and ``resume`` is off.
    """
    from .fracture_export import export_voxels
    from .loop import barrier, world
    from .paper import check_new, settings_of

    progress = progress or Progress()
    settings = settings_of(VoxelTraining, options)
    if settings.start is not None:
        _check_start(settings)
    output = Path(options["output"])
    check_new(output, bool(options.get("resume")), MODEL)
    pool = Path(settings.pool or output / "pool")
    rank, size = world()
    for name in fill_pressed(pool, data, first=rank, step=size) if data is not None else ():
        progress("pressing vertebrae", 0.0, name)
    for n in fill(pool, settings.patients, rank, size):
        progress("drawing patients", 0.1 * min(1.0, n / settings.patients), f"{n}")
    barrier()
    weights, steps = train(pool, settings, output / MODEL, progress.part(0.1, 1.0))
    if rank:
        return []
    return [export_voxels(weights, settings, paths(pool), steps, [], output / "models")]
