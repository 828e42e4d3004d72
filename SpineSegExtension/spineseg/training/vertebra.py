"""Trains the two networks of ``vertebra-unet``.

``spineseg train vertebra-unet -o FOLDER --hours H`` draws a pool of digital patients, adds real
label maps (and real labelled scans) where ``--data`` has them, trains the coarse and then the fine
network, and leaves their weights in FOLDER. Under ``torchrun --nproc-per-node N -m spineseg …`` all
processes share the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..methods.classes import CoarseClass, FineClass
from ..progress import Progress
from ..weights import load_state
from .pool import COARSE_MM, FINE_MM, Item, fill, is_drawn, item_paths, load_item

STAGES = ("coarse", "fine")
WIDTHS = {"coarse": (16, 32, 64, 128, 160), "fine": (16, 32, 64, 128, 192)}
SPACING = {"coarse": COARSE_MM, "fine": FINE_MM}
CLASSES = {"coarse": len(CoarseClass), "fine": len(FineClass)}
PATCH = {"coarse": (64, 48, 48), "fine": (64, 64, 64)}
SCAN_WINDOWS = 40  # of each labelled scan
PRESSED_TIMES, PRESSED_WINDOWS = 4, 16  # with vertebrae pressed together, and windows of each
OUTPUTS = {"coarse": len(CoarseClass), "fine": len(FineClass) + 3}


@dataclass(frozen=True)
class TrainSettings:
    """How to train one or both networks.

    Parameters
    ----------
    stages : which networks
    hours : for each of them
    patients : digital patients in the pool of each
    patch : crop in voxels (k, j, i), multiples of 16
    batch : crops a step and process
    real_share : fraction of the crops that comes from real label maps and scans, when there are any
    real_images : also learn from the labelled real scans in the data folder, not only from the
        shapes of its label maps; they are then no longer fit to test on
    hold_out : beginnings of the names of real label maps to leave out, to test on
    corrections : folder of corrected cases to learn from too (``spineseg.training.corrections``)
    start : folder of models with the network itself, to go on from
    device : None chooses
    """

    stages: tuple[str, ...] = STAGES
    hours: float = 1.0
    patients: int = 320
    patch: tuple[int, int, int] = (64, 64, 64)
    batch: int = 2
    rate: float = 2e-3
    real_share: float = 0.2
    real_images: bool = False
    hold_out: tuple[str, ...] = ()
    seed: int = 0
    device: str | None = None
    corrections: Path | None = None
    start: Path | None = None


class Sampler:
    """Draws training batches from a pool's folder; new patients are seen as they arrive."""

    def __init__(self, folder: Path, kind: str, settings: TrainSettings, rank: int) -> None:
        self.folder, self.kind, self.settings, self.rank = folder, kind, settings, rank
        self._items: dict[Path, Item] = {}
        self._look()
        if not self._items:
            raise InputError(f"The pool {folder} is empty.", "Draw patients first.")

    def _look(self) -> None:
        for path in item_paths(self.folder):
            if path not in self._items:
                self._items[path] = load_item(path)
        self._drawn = [p for p in self._items if is_drawn(p)]
        self._real = [p for p in self._items if not is_drawn(p)]

    def batch(self, step: int) -> dict[str, Any]:
        """Batch of a step: image, target and offsets as tensors."""
        import torch

        from .samples import make_sample

        if step % 200 == 199:
            self._look()
        rng = np.random.default_rng([self.settings.seed, self.rank, step])
        samples = []
        for _ in range(self.settings.batch):
            real = self._real and (rng.random() < self.settings.real_share or not self._drawn)
            names = self._real if real else self._drawn
            item = self._items[names[int(rng.integers(len(names)))]]
            samples.append(
                make_sample(item, self.settings.patch, SPACING[self.kind], self.kind, rng)
            )
        image = torch.from_numpy(np.stack([s.image for s in samples]))
        return {
            "image": image.contiguous(memory_format=torch.channels_last_3d),
            "target": torch.from_numpy(np.stack([s.target for s in samples])).long(),
            "offsets": torch.from_numpy(np.stack([s.offsets for s in samples])),
        }


def segmentation_loss(kind: str) -> Any:
    """Cross-entropy + Dice (+ offsets) at full resolution, and half as much at half resolution."""
    import torch

    from .losses import dice_loss, offset_loss, set_cross_entropy

    classes, fine = CLASSES[kind], kind == "fine"

    def terms(logits: Any, target: Any, offsets: Any) -> tuple[Any, dict[str, float]]:
        entropy = set_cross_entropy(logits, target, classes)
        dice = dice_loss(logits, target, classes, fine)
        total = entropy + dice
        parts = {"entropy": float(entropy.detach()), "dice": float(dice.detach())}
        if fine:
            shift = offset_loss(logits[:, classes:], offsets, target)
            total = total + shift
            parts["offset"] = float(shift.detach())
        return total, parts

    def loss(network: Any, batch: dict[str, Any]) -> tuple[Any, dict[str, float]]:
        full, half = network.forward_deep(batch["image"])
        with torch.autocast(full.device.type, enabled=False):
            total, parts = terms(full, batch["target"], batch["offsets"])
            # Every second voxel: a mean of codes would mean nothing.
            coarser, _ = terms(
                half, batch["target"][:, ::2, ::2, ::2], batch["offsets"][:, :, ::2, ::2, ::2]
            )
        return total + 0.5 * coarser, parts

    return loss


def train_stage(
    kind: str, pool: Path, folder: Path, settings: TrainSettings, progress: Progress
) -> dict[str, Any]:
    """Train one network on a pool and return its averaged weights."""
    import torch

    from ..networks.residual_unet import ResidualUNet
    from .loop import LoopSettings, Trainer, world

    rank, _ = world()
    torch.manual_seed(settings.seed)
    network = ResidualUNet(2, OUTPUTS[kind], WIDTHS[kind])
    if settings.start is not None:
        network.load_state_dict(load_state(f"vertebra-{kind}", settings.start))
    sampler = Sampler(pool, kind, settings, rank)
    loop = LoopSettings(
        hours=settings.hours, batch=settings.batch, rate=settings.rate, seed=settings.seed
    )
    trainer = Trainer(
        network, segmentation_loss(kind), sampler.batch, loop, folder, settings.device
    )
    return trainer.run(progress)


def fill_pool(pool: Path, kind: str, settings: TrainSettings, progress: Progress) -> None:
    """Draw the digital patients of one stage, shared among the processes."""
    from .loop import world

    rank, size = world()
    for n in fill(pool, kind, settings.patients, rank, size):
        progress("drawing patients", min(1.0, n * size / settings.patients), f"{n * size}")


def fill_real(pool: Path, data: Path, settings: TrainSettings, progress: Progress) -> None:
    """Add turned windows of real label maps to a fine pool, and of labelled scans if wanted.

    Scans are added with vertebrae pressed together, too: none has a fracture of its own.
    """
    from .real import add_real, known_sources, pressed

    for source in known_sources(data, settings.real_images, settings.hold_out):
        # A scan can't be rendered anew: more windows of it are worth their room.
        for name in add_real(pool, [source], 20 if source.image is None else SCAN_WINDOWS):
            progress("real label maps", 0.1, name)
        for name in add_real(pool, pressed(source, PRESSED_TIMES), PRESSED_WINDOWS):
            progress("pressed scans", 0.1, name)


def fill_corrections(pool: Path, folder: Path, settings: TrainSettings, progress: Progress) -> None:
    """Add turned windows of corrected cases to a fine pool."""
    from .corrections import correction_sources
    from .real import add_real

    for source in correction_sources(folder, settings.hold_out):
        for name in add_real(pool, [source], SCAN_WINDOWS):
            progress("corrected cases", 0.1, name)


def chosen_settings(options: TrainSettings | Mapping[str, Any]) -> tuple[TrainSettings, Path, bool]:
    """Training settings, output folder and whether to go on, from what the terminal gives."""
    if isinstance(options, TrainSettings):
        return options, Path("training"), True
    known = {f.name for f in fields(TrainSettings)}
    chosen = {k: v for k, v in options.items() if k in known and v is not None}
    if options.get("stage") is not None:
        if options["stage"] not in STAGES:
            raise InputError(
                f"There is no stage “{options['stage']}” here.", "Choose coarse or fine."
            )
        chosen["stages"] = (options["stage"],)
    return TrainSettings(**chosen), Path(options["output"]), bool(options.get("resume", False))


def fit(
    data: Path | str | None,
    options: TrainSettings | Mapping[str, Any],
    progress: Progress | None = None,
) -> list[Path]:
    """Train the coarse and the fine network; each takes half of the hours.

    Parameters
    ----------
    data : folder with real label maps (laid out as the project's data folder), or None
    options : ``TrainSettings``, or a mapping of its fields with ``output`` and ``resume``

    Returns
    -------
    The weights' files, in ``output/models``; ``SPINESEG_MODELS`` pointing there uses them.

    Raises
    ------
    InputError : the output folder holds another training and ``resume`` is off, or there are no
        corrected cases where some are named.
    """
    from .export import command_of, export, training_data
    from .loop import barrier, world

    progress = progress or Progress()
    settings, output, resume = chosen_settings(options)
    if not resume and any(output.glob("*/checkpoint.safetensors")):
        raise InputError(
            f"{output} holds a training already.", "Add --resume, or choose another folder."
        )
    if settings.corrections is not None:  # before patients are drawn for an hour
        from .corrections import correction_sources

        correction_sources(settings.corrections, settings.hold_out)
    settings = replace(settings, hours=settings.hours / len(settings.stages))
    rank, _ = world()
    written = []
    for n, kind in enumerate(settings.stages):
        part = progress.part(n / len(settings.stages), (n + 1) / len(settings.stages))
        pool = output / "pool" / kind
        fill_pool(pool, kind, settings, part.part(0.0, 0.1))
        real: dict[str, int] = {}
        if data is not None and kind == "fine" and rank == 0:
            fill_real(pool, Path(data), settings, part)
        if settings.corrections is not None and kind == "fine" and rank == 0:
            fill_corrections(pool, Path(settings.corrections), settings, part)
        barrier()
        for path in item_paths(pool):
            if not is_drawn(path):
                source = path.name.rsplit("_", 1)[0]
                real[source] = real.get(source, 0) + 1
        stage = replace(settings, patch=PATCH[kind])
        weights = train_stage(kind, pool, output / kind, stage, part.part(0.1, 1.0))
        if rank == 0:
            rows = training_data(kind, settings.patients, real)
            command = command_of(replace(settings, hours=settings.hours * len(settings.stages)),
                                 data is not None)  # fmt: skip
            export(kind, weights, stage, rows, [], command, output / "models")
            written.append(output / "models" / f"vertebra-{kind}.safetensors")
    return written
