"""Trains ``spine-vae``: first the autoencoder, then the classifier with it (paper 004, p. 29).

`KINDS` has the paper's three baselines too; ``evaluate fracture`` compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..methods.spine_vae import GROUPS, MODEL
from ..progress import Progress
from .fracture_pool import fill, paths
from .pressed_pool import fill_pressed
from .spine_vae_samples import Boxes, VaeSampler, class_weights, fill_boxes, load_boxes

if TYPE_CHECKING:
    from torch import Tensor, nn

_FULL = 255.0


@dataclass(frozen=True)
class Kind:
    """What a network has: latent noise, the level's group, the weighted loss, and a decoder."""

    variational: bool
    conditioned: bool
    weighted: bool
    decodes: bool


KINDS = {
    "spine-vae": Kind(True, True, True, True),
    "vae": Kind(True, False, False, True),
    "ae-baseline": Kind(False, False, False, True),
    "baseline": Kind(False, False, False, False),
}
"""Spine-VAE and its baselines, as the paper names them (p. 36)."""


@dataclass(frozen=True)
class VaePlan:
    """How the network is built and trained.

    Attributes
    ----------
    widths, latent, hidden
        Of `spineseg.networks.spine_vae.SpineVaeNetwork`.
    batch : int
        Vertebrae a step.
    turn_deg : float
        Most that a vertebra is turned in the sagittal plane, either way.
    rate, decay, steady, average
        Of `spineseg.training.loop.LoopSettings`.
    beta : float
        Weight β of the KL divergence (paper eq. 3).
    zeta : float
        Of the cross-entropy, besides the weights by median frequency.
    mean : bool
        Whether the squares are averaged over what counts, and β and ζ mean that scale; else they
        are summed (paper eq. 1).
    still : int
        Epochs without the KL divergence.
    rise : int
        Epochs in which it then rises to its full weight.
    first : float
        Share of the time before the classifier learns too; the paper's 600 of 630 epochs.
    """

    widths: tuple[int, ...] = (8, 16, 32, 64)
    latent: int = 64
    hidden: int = 32
    batch: int = 8
    turn_deg: float = 10.0
    rate: float = 1e-3
    decay: float = 1e-4
    steady: bool = False
    average: float = 0.99
    beta: float = 2e-6
    zeta: float = 0.02
    mean: bool = True
    still: int = 1
    rise: int = 1
    first: float = 0.35

    def architecture(self, kind: Kind) -> dict[str, Any]:
        """Return the card's ``architecture``."""
        params = {
            "widths": list(self.widths), "latent": self.latent, "hidden": self.hidden,
            "groups": len(GROUPS) if kind.conditioned else 0,
            "variational": kind.variational, "decodes": kind.decodes,
        }  # fmt: skip
        return {"name": "SpineVaeNetwork", "params": params}


PLANS = {
    "small": VaePlan(),
    "paper": VaePlan(
        widths=(32, 64, 128, 256), batch=16, turn_deg=30.0, rate=1e-4, decay=0.0, steady=True,
        average=0.0, beta=0.1, zeta=1.0, mean=False, still=150, rise=450, first=600 / 630,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class VaeTraining:
    """How to train.

    Attributes
    ----------
    hours : float
    preset : {"small", "paper"}
    kind : str
        Of `KINDS`.
    patients : int
        Digital patients to learn from.
    pool : Path or None
        Folder where they are, or are put; by default ``pool`` in the output folder.
    plan : VaePlan or None
        Instead of the preset's.
    """

    hours: float = 2.0
    preset: str = "small"
    kind: str = "spine-vae"
    patients: int = 250
    pool: Path | None = None
    plan: VaePlan | None = None
    seed: int = 0
    device: str | None = None

    def __post_init__(self) -> None:
        for value, known, what in ((self.preset, PLANS, "preset"), (self.kind, KINDS, "kind")):
            if value not in known:
                raise InputError(f"“{value}” is no {what}.", f"Choose one of: {', '.join(known)}.")

    @property
    def chosen(self) -> VaePlan:
        """The plan, or the preset's."""
        return self.plan or PLANS[self.preset]


def turned(batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return pictures and weights (N, 1, k, j, i), 0–1, turned in the sagittal plane."""
    import torch

    # A turn in the sagittal plane is the same for every i: these are channels of a 2D picture.
    both = torch.cat([batch["picture"], batch["weight"]], dim=1).movedim(-1, 2).float() / _FULL
    angle = batch["turn"]
    cos, sin, zero = angle.cos(), angle.sin(), angle * 0
    rows = [torch.stack([cos, -sin, zero], dim=1), torch.stack([sin, cos, zero], dim=1)]
    flat = both.flatten(1, 2)
    grid = torch.nn.functional.affine_grid(
        torch.stack(rows, dim=1), list(flat.shape), align_corners=False
    )
    flat = torch.nn.functional.grid_sample(flat, grid, align_corners=False)
    both = flat.reshape(both.shape).movedim(2, -1)
    gain = batch["gain"][:, None, None, None]
    picture = (both[:, :1] * gain[:, None]).clamp(0, 1)
    return picture.contiguous(), both[:, 1:].contiguous()


@dataclass
class VaeLoss:
    """The losses of both stages (paper eq. 1–3).

    Parameters
    ----------
    kind, plan : what is trained, and how
    epoch : steps of one
    classify : whether the classifier learns too
    weights : of normal and fractured, by median frequency
    """

    kind: Kind
    plan: VaePlan
    epoch: int
    classify: bool
    weights: tuple[float, float]

    def beta(self, step: int) -> float:
        """Weight of the KL divergence at a step: none at first, then rising."""
        if self.classify:
            return self.plan.beta
        epochs = step / max(self.epoch, 1) - self.plan.still
        return self.plan.beta * min(max(epochs / max(self.plan.rise, 1e-6), 0.0), 1.0)

    def __call__(
        self, network: nn.Module, batch: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and its parts."""
        import torch

        picture, weight = turned(batch)
        found = network.encode(picture)  # type: ignore[operator]
        total = picture.new_zeros(())
        parts: dict[str, float] = {}
        if self.kind.decodes:
            numbers = found.mean
            if found.log_variance is not None:
                noise = torch.randn_like(numbers)
                numbers = numbers + noise * (found.log_variance / 2).exp()
            drawn = network.decode(numbers, batch["group"])  # type: ignore[operator]
            counts = weight if self.kind.weighted else torch.ones_like(weight)
            squares = (counts * (picture - drawn) ** 2).flatten(1).sum(dim=1)
            if self.plan.mean:
                squares = squares / counts.flatten(1).sum(dim=1)
            total = squares.mean()
            parts["recon"] = 1000 * float(total.detach()) if self.plan.mean else float(total)
            if found.log_variance is not None:
                spread = found.log_variance
                divergence = 0.5 * (found.mean**2 + spread.exp() - spread - 1).sum(dim=1).mean()
                total = total + self.beta(int(batch["step"])) * divergence
                parts["kl"] = float(divergence.detach())
        if self.classify:
            balance = torch.tensor(self.weights, device=found.logits.device)
            entropy = torch.nn.functional.cross_entropy(found.logits, batch["ill"], balance)
            total = total + (self.plan.zeta if self.kind.decodes else 1.0) * entropy
            right = found.logits.detach().argmax(dim=1) == batch["ill"]
            parts |= {"entropy": float(entropy.detach()), "right": float(right.float().mean())}
        return total, parts


def train(
    boxes: Boxes, settings: VaeTraining, folder: Path, progress: Progress
) -> tuple[dict[str, Tensor], int]:
    """Train both stages in a folder with checkpoints; return the weights and the steps.

    A network without a decoder has the second stage only, with all of the time.
    """
    import torch

    from ..networks.spine_vae import SpineVaeNetwork
    from .loop import LoopSettings, Trainer, world

    plan, kind = settings.chosen, KINDS[settings.kind]
    torch.manual_seed(settings.seed)
    network = SpineVaeNetwork(**plan.architecture(kind)["params"])
    sampler = VaeSampler(boxes, plan.batch, plan.turn_deg, settings.seed, world()[0])
    epoch = max(1, len(boxes.grades) // plan.batch)
    first = plan.first if kind.decodes else 0.0
    stages = [("vae", False, first), ("classifier", True, 1.0 - first)]
    steps = 0
    for name, classify, share in stages:
        if not share:
            continue
        loop = LoopSettings(
            hours=settings.hours * share, batch=plan.batch, rate=plan.rate, decay=plan.decay,
            steady=plan.steady, average=plan.average, seed=settings.seed,
        )  # fmt: skip
        loss = VaeLoss(kind, plan, epoch, classify, class_weights(boxes.grades > 0))
        trainer = Trainer(
            network, loss, sampler.batch, loop, folder / name, settings.device, mixed=False
        )
        low = 0.0 if not classify else first
        weights = trainer.run(progress.part(low, low + share))
        steps += trainer.step
        network.load_state_dict(weights)
    _remember(network, boxes)
    return dict(network.state_dict()), steps


def _remember(network: nn.Module, boxes: Boxes) -> None:
    """Put the mean numbers of normal and fractured vertebrae into the network."""
    import torch

    network.eval()
    device = next(network.parameters()).device
    found = []
    with torch.inference_mode():
        for n in range(0, len(boxes.grades), 16):
            part = torch.from_numpy(boxes.pictures[n : n + 16][:, None]).float() / _FULL
            found.append(network.encode(part.to(device)).mean.cpu())  # type: ignore[operator]
    numbers = torch.cat(found)
    ill = torch.from_numpy(boxes.grades > 0)
    state = network.state_dict()
    if bool(ill.any()) and not bool(ill.all()):
        state["normal"].copy_(numbers[~ill].mean(dim=0))
        state["fractured"].copy_(numbers[ill].mean(dim=0))
    state["spread"].copy_(numbers.std(dim=0))


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
        Fields of `VaeTraining`, ``output`` and ``resume``.

    Raises
    ------
    InputError
        The data hold no labelled scan; the output folder holds a training and ``resume`` is off.
    """
    from .fracture_export import export_vae
    from .loop import barrier, world
    from .paper import check_new, settings_of

    progress = progress or Progress()
    settings = settings_of(VaeTraining, options)
    output = Path(options["output"])
    check_new(output, bool(options.get("resume")), f"{MODEL}/*")
    pool = Path(settings.pool or output / "pool")
    rank, size = world()
    for name in fill_pressed(pool, data, first=rank, step=size) if data is not None else ():
        progress("pressing vertebrae", 0.0, name)
    for n in fill(pool, settings.patients, rank, size):
        progress("drawing patients", 0.1 * min(1.0, n / settings.patients), f"{n}")
    barrier()
    for n in fill_boxes(pool, pool / "boxes", rank, size):
        progress("cutting vertebrae out", 0.1, f"{n}")
    barrier()
    boxes = load_boxes(pool / "boxes")
    weights, steps = train(boxes, settings, output / MODEL, progress.part(0.1, 1.0))
    if rank:
        return []
    names = paths(pool / "boxes")
    return [export_vae(weights, settings, boxes, names, steps, [], output / "models")]
