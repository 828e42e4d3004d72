"""Trains the networks of the click.

``--preset small`` trains `vertebra-one`, which ships. ``--preset paper`` trains the network of
Klein et al. 2019 (Metastatic vertebrae, trabecular centrum: section 4): a six-level 3-D U-Net of
32 base filters on 128 × 128 × 64 patches of 1 mm, negative Dice, Adam at 1e-4, and three
augmentations as switches, which make the eight models of its table 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..progress import Progress
from .paper import (
    PaperRun,
    check_new,
    data_rows,
    fill_folder,
    intensity,
    one_of,
    preset_of,
    settings_of,
    train_paper,
)
from .warps import drawn, lower_resolution, straight
from .windows import BODY, CENTRUM, VERTEBRA, Window, Windows

Array = npt.NDArray[Any]
#: The eight models of the paper's table 1: shape, translation, resampling, none.
AUGMENTATIONS = ("STR", "SR", "ST", "S", "TR", "R", "T", "N")
TARGETS = {"centrum": CENTRUM, "body": BODY, "vertebra": VERTEBRA}
#: Farthest that translation moves the patch along each axis: half a vertebra.
SHIFT_MM = 16.0
#: Standard deviation of the elastic displacement; the paper gives no number.
BEND_MM = 2.0
#: Voxel sizes that resampling passes through (section 4.2).
COARSER_MM = (1.0, 2.0)


@dataclass(frozen=True)
class ClickTraining:
    """How to train the paper's network; its numbers are the defaults.

    Attributes
    ----------
    target : str
        "centrum" (the paper's), "body" or "vertebra".
    augment : str
        One of `AUGMENTATIONS`.
    hours : float
        The paper trains for 200 epochs; docs/paper-networks.md says how long that takes.
    patients : int
        Digital patients, one window each; 530 is the paper's number of training vertebrae.
    patch : tuple of int
        (k, j, i), multiples of 2 ** (levels − 1); the 64 run along the axial slices.
    filters, levels : int
    rate : float
        Of Adam.
    batch : int
        Not in the paper.
    real_share : float
        Fraction of the patches from real label maps, where they know the target.
    """

    target: str = "centrum"
    augment: str = "STR"
    hours: float = 2.0
    patients: int = 530
    patch: tuple[int, int, int] = (64, 128, 128)
    filters: int = 32
    levels: int = 6
    rate: float = 1e-4
    batch: int = 1
    real_share: float = 0.2
    seed: int = 0
    device: str | None = None

    def __post_init__(self) -> None:
        one_of(self.target, tuple(TARGETS), "target of a click")
        one_of(self.augment, AUGMENTATIONS, "set of augmentations")
        if any(n % 2 ** (self.levels - 1) for n in self.patch):
            raise InputError(
                f"A patch of {self.patch} can't be halved {self.levels - 1} times.",
                f"Choose multiples of {2 ** (self.levels - 1)}.",
            )

    @property
    def name(self) -> str:
        """Of the model: as ``click-centrum-str``."""
        return f"click-{self.target}-{self.augment.lower()}"


def example(
    window: Window, settings: ClickTraining, rng: np.random.Generator
) -> tuple[Array, Array]:
    """One patch: image float32 (k, j, i) in [−1, 1] and target bool, of the window's vertebra.

    Without an augmentation the patch is centred on the vertebra's body, voxel on voxel.
    """
    label = window.middle()
    shape, letters = settings.patch, settings.augment
    center = window.center(label)
    if "T" in letters:
        center = center + rng.uniform(-SHIFT_MM, SHIFT_MM, 3)
    if "S" in letters:
        warp = drawn(shape, center, rng, mirror=True, bend_mm=BEND_MM)
    else:
        warp = straight(shape, center)
    image = warp.take(window.image.astype(np.float32), order=1, fill=-1024)
    mask = (window.ids == label) & (window.parts >= TARGETS[settings.target])
    target = warp.take(mask.astype(np.uint8), order=0, fill=0) > 0
    if "R" in letters:
        image = lower_resolution(image, rng.uniform(*COARSER_MM))
    return intensity(image), target


class ClickBatches:
    """Batches of examples, the same for the same step."""

    def __init__(self, folder: Path, settings: ClickTraining, rank: int = 0) -> None:
        self.windows = Windows(folder, TARGETS[settings.target], settings.real_share)
        self.settings, self.rank = settings, rank

    def batch(self, step: int) -> dict[str, Any]:
        """Tensors ``image`` and ``target``, (N, 1, k, j, i)."""
        import torch

        rng = np.random.default_rng([self.settings.seed, self.rank, step])
        pairs = [
            example(self.windows.draw(rng, occupied=True), self.settings, rng)
            for _ in range(self.settings.batch)
        ]
        return {
            "image": torch.from_numpy(np.stack([image[None] for image, _ in pairs])),
            "target": torch.from_numpy(np.stack([target[None] for _, target in pairs])),
        }


def dice_of(network: Any, batch: Mapping[str, Any]) -> tuple[Any, dict[str, float]]:
    """The papers' Dice loss, for `loop.Trainer`."""
    from .losses import negative_dice

    value = negative_dice(network(batch["image"]), batch["target"])
    return value, {"dice": -float(value.detach())}


def fit(
    data: Path | str | None, options: Mapping[str, Any], progress: Progress | None = None
) -> list[Path]:
    """Train a network of the click.

    Parameters
    ----------
    data : folder with real label maps (laid out as the project's data folder), or None
    options : ``output``, ``hours``, ``patients``, ``resume``, ``device``, ``preset`` ("small" or
        "paper"); with "paper" also the fields of `ClickTraining`

    Returns
    -------
    The weights' file, in ``output/models``.

    Raises
    ------
    InputError
        An option is unknown or does not go with the preset; the output folder holds that training
        and ``resume`` is off.
    """
    progress = progress or Progress()
    if preset_of(options) == "small":
        for name in ("augment", "target"):
            if options.get(name) is not None:
                raise InputError(
                    f"--{name} belongs to the paper's network: the small one learns every target "
                    "with every augmentation.",
                    "Add --preset paper.",
                )
        from .one_vertebra import fit as fit_small

        return list(fit_small(data, {k: v for k, v in options.items() if k != "preset"}, progress))
    settings = settings_of(ClickTraining, {**options, "augment": _letters(options)})
    return [_fit_paper(data, settings, Path(options["output"]), options, progress)]


def _letters(options: Mapping[str, Any]) -> str | None:
    letters = options.get("augment")
    return None if letters is None else str(letters).upper()


def _fit_paper(
    data: Path | str | None,
    settings: ClickTraining,
    output: Path,
    options: Mapping[str, Any],
    progress: Progress,
) -> Path:
    import torch

    from ..networks.click_unet import click_unet, click_unet_params
    from .loop import world

    check_new(output, bool(options.get("resume")), settings.name)
    torch.manual_seed(settings.seed)
    params = click_unet_params(settings.filters, settings.levels)
    network = click_unet(params)  # before the patients are drawn: MONAI may be missing
    folder = output / "pool" / "click"
    real = fill_folder(folder, "click", settings.patients, data, progress.part(0.0, 0.1))
    batches = ClickBatches(folder, settings, world()[0])
    command = (
        f"spineseg train click --preset paper --augment {settings.augment} "
        f"--target {settings.target} --hours {settings.hours:g} --patients {settings.patients}"
        + (" --data DATA" if data else "") + " -o FOLDER"
    )  # fmt: skip
    run = PaperRun(
        settings.name,
        "click",
        f"Outlines one vertebra in the middle of a patch at 1 mm: {settings.target}.",
        {"name": "monai.networks.nets.DynUNet", "params": params},
        (settings.target,),
        settings.patch,
        settings.hours,
        settings.rate,
        settings.batch,
        settings.seed,
        settings.device,
        command,
        {"augmentations": settings.augment},
    )
    used = real if batches.windows.real else {}
    rows = data_rows("click", settings.patients, used)
    return train_paper(run, network, dice_of, batches.batch, output, rows, progress.part(0.1, 1.0))
