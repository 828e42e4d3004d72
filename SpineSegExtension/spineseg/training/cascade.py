"""Trains the two networks of the cascade.

``--preset small`` trains those that ship: `vertebra-coarse`, which finds the regions, and
`vertebra-one`, which takes one vertebra after another. ``--preset paper`` trains the networks of
Masuzawa et al. 2020 (sections 3.2 and 3.3): the Semantic Segmentation Net with bootstrapped
cross-entropy on 160³ crops, and the Iterative Instance Segmentation Net, whose second channel
is the memory of the vertebrae already found, with the Dice loss; both by Adam at 1e-3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..labels import VERTEBRAE
from ..progress import Progress
from .click import dice_of
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
from .warps import drawn
from .windows import VERTEBRA, Window, Windows

Array = npt.NDArray[Any]
STAGES = ("semantic", "instance")
REGIONS = ("background", "cervical", "thoracic", "lumbar")
#: Noise of section 3.2, on images in [−1, 1].
NOISE = 50.0 / 1536.0
#: How far, in mm (standard deviation), a crop of the second stage is off the next vertebra.
OFF_MM = 6.0
#: How often the second stage starts: nothing is in the memory yet.
FRESH = 0.1
_CHANNELS = {"semantic": (1, len(REGIONS)), "instance": (2, 1)}


@dataclass(frozen=True)
class CascadeTraining:
    """How to train the paper's networks; its numbers are the defaults.

    Attributes
    ----------
    stage : str
        "semantic", "instance" or "both".
    hours : float
        For all stages together.
    patients : int
        Digital patients, one window of 176 mm each; both stages share them.
    semantic_patch, instance_patch : tuple of int
        (k, j, i), multiples of 2 ** (len(widths) − 1). The paper crops 160³ for the first stage,
        and "the spine region" for the second: 128³ is our choice, that of the method it builds on
        (Lessmann et al. 2019).
    widths : tuple of int
        Filters of each level; see `spineseg.networks.cascade_fcn`.
    rate : float
        Of Adam.
    hardest : float
        Share of the voxels in the bootstrapped cross-entropy.
    batch : int
        Not in the paper.
    real_share : float
        Fraction of the crops from real label maps, when there are any.
    """

    stage: str = "both"
    hours: float = 2.0
    patients: int = 200
    semantic_patch: tuple[int, int, int] = (160, 160, 160)
    instance_patch: tuple[int, int, int] = (128, 128, 128)
    widths: tuple[int, ...] = (32, 64, 128, 256)
    rate: float = 1e-3
    hardest: float = 0.1
    batch: int = 1
    real_share: float = 0.2
    seed: int = 0
    device: str | None = None

    def __post_init__(self) -> None:
        one_of(self.stage, (*STAGES, "both"), "stage of the cascade")
        factor = 2 ** (len(self.widths) - 1)
        for patch in (self.semantic_patch, self.instance_patch):
            if any(n % factor for n in patch):
                raise InputError(
                    f"A patch of {patch} can't be halved {len(self.widths) - 1} times.",
                    f"Choose multiples of {factor}.",
                )

    @property
    def stages(self) -> tuple[str, ...]:
        """What is trained, in order."""
        return STAGES if self.stage == "both" else (self.stage,)


def _region_table() -> Array:
    table = np.zeros(256, dtype=np.uint8)
    for level in VERTEBRAE:
        table[level.verse] = REGIONS.index(level.region)
    return table


REGION_OF = _region_table()


def semantic_example(
    window: Window, patch: tuple[int, int, int], rng: np.random.Generator
) -> tuple[Array, Array]:
    """A crop anywhere: image float32 (1, k, j, i) and the index of `REGIONS`, int64 (k, j, i)."""
    size, half = np.array(window.ids.shape), np.array(patch) / 2
    center = rng.uniform(np.minimum(half, size / 2), np.maximum(size - half, size / 2))
    warp = drawn(patch, center, rng)
    image = intensity(warp.take(window.image.astype(np.float32), order=1, fill=-1024))
    target = warp.take(REGION_OF[window.ids], order=0, fill=0)
    return _noisy(image, rng)[None], target.astype(np.int64)


def instance_example(
    window: Window, patch: tuple[int, int, int], rng: np.random.Generator
) -> tuple[Array, Array]:
    """A crop round the vertebra that comes next: image and memory (2, k, j, i), target (1, …).

    The walk comes from above or from below; the memory holds the vertebrae it has passed.
    """
    order = sorted(window.centres, key=lambda label: window.centres[label][2])
    at = int(rng.integers(len(order)))
    passed = order[:at] if rng.random() < 0.5 else order[at + 1 :]
    if rng.random() < FRESH:
        passed = []
    center = window.center(order[at]) + rng.normal(0, OFF_MM, 3)
    warp = drawn(patch, center, rng)
    image = intensity(warp.take(window.image.astype(np.float32), order=1, fill=-1024))
    ids = warp.take(np.asarray(window.ids), order=0, fill=0)
    memory = np.isin(ids, passed).astype(np.float32)
    return np.stack([_noisy(image, rng), memory]), (ids == order[at])[None]


def _noisy(image: Array, rng: np.random.Generator) -> Array:
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return np.asarray(image + np.float32(rng.uniform(0, NOISE)) * noise)


class CascadeBatches:
    """Batches of a stage, the same for the same step."""

    def __init__(self, folder: Path, stage: str, settings: CascadeTraining, rank: int = 0) -> None:
        self.windows = Windows(folder, VERTEBRA, settings.real_share)
        self.stage, self.settings, self.rank = stage, settings, rank

    def batch(self, step: int) -> dict[str, Any]:
        """Tensors ``image`` (N, C, k, j, i) and ``target``."""
        import torch

        settings = self.settings
        rng = np.random.default_rng([settings.seed, self.rank, step, STAGES.index(self.stage)])
        pairs = []
        for _ in range(settings.batch):
            if self.stage == "semantic":
                window = self.windows.draw(rng)
                pairs.append(semantic_example(window, settings.semantic_patch, rng))
            else:
                window = self.windows.draw(rng, occupied=True)
                pairs.append(instance_example(window, settings.instance_patch, rng))
        return {
            "image": torch.from_numpy(np.stack([image for image, _ in pairs])),
            "target": torch.from_numpy(np.stack([target for _, target in pairs])),
        }


def bootstrapped(hardest: float) -> Any:
    """The first stage's loss, for `loop.Trainer`."""
    from .losses import bootstrapped_cross_entropy

    def loss(network: Any, batch: Mapping[str, Any]) -> tuple[Any, dict[str, float]]:
        value = bootstrapped_cross_entropy(network(batch["image"]), batch["target"], hardest)
        return value, {"entropy": float(value.detach())}

    return loss


def fit(
    data: Path | str | None, options: Mapping[str, Any], progress: Progress | None = None
) -> list[Path]:
    """Train one or both networks of the cascade; both share the hours.

    Parameters
    ----------
    data : folder with real label maps (laid out as the project's data folder), or None
    options : ``output``, ``hours``, ``patients``, ``resume``, ``device``, ``stage``, ``preset``
        ("small" or "paper"); with "paper" also the fields of `CascadeTraining`

    Returns
    -------
    The weights' files, in ``output/models``.

    Raises
    ------
    InputError
        An option is unknown; the output folder holds that training and ``resume`` is off.
    """
    progress = progress or Progress()
    settings = settings_of(CascadeTraining, options)
    output = Path(options["output"])
    small = preset_of(options) == "small"
    patterns = ["*"] if small else [f"cascade-{stage}" for stage in settings.stages]
    for pattern in patterns:
        check_new(output, bool(options.get("resume")), pattern)
    written = []
    for n, stage in enumerate(settings.stages):
        part = progress.part(n / len(settings.stages), (n + 1) / len(settings.stages))
        if small:
            written += _fit_small(data, stage, settings, options, part)
        else:
            written.append(_fit_paper(data, stage, settings, output, part))
    return written


def _fit_small(
    data: Path | str | None,
    stage: str,
    settings: CascadeTraining,
    options: Mapping[str, Any],
    progress: Progress,
) -> list[Path]:
    rest = {k: v for k, v in options.items() if k not in ("preset", "stage")}
    # The output was looked at before the first stage, which the second would take for its own.
    rest |= {"resume": True, "hours": settings.hours / len(settings.stages)}
    if stage == "semantic":
        from .vertebra import fit as fit_coarse

        return fit_coarse(data, {**rest, "stages": ("coarse",)}, progress)
    from .one_vertebra import fit as fit_one

    return list(fit_one(data, rest, progress))


def _fit_paper(
    data: Path | str | None, stage: str, settings: CascadeTraining, output: Path, progress: Progress
) -> Path:
    import torch

    from ..networks.cascade_fcn import CascadeFCN
    from .loop import world

    folder = output / "pool" / "spine"
    real = fill_folder(folder, "spine", settings.patients, data, progress.part(0.0, 0.1))
    torch.manual_seed(settings.seed)
    inputs, outputs = _CHANNELS[stage]
    params: dict[str, Any] = {
        "in_channels": inputs,
        "out_channels": outputs,
        "widths": list(settings.widths),
    }
    semantic = stage == "semantic"
    run = PaperRun(
        f"cascade-{stage}",
        "cascade",
        "Tells cervical, thoracic and lumbar vertebrae in a CT at 1 mm." if semantic else
        "Outlines the vertebra that follows those in its memory channel, at 1 mm.",
        {"name": CascadeFCN.__name__, "params": params},
        REGIONS if semantic else ("vertebra",),
        settings.semantic_patch if semantic else settings.instance_patch,
        settings.hours / len(settings.stages),
        settings.rate,
        settings.batch,
        settings.seed,
        settings.device,
        f"spineseg train cascade --preset paper --stage {settings.stage} "
        f"--hours {settings.hours:g} --patients {settings.patients}"
        + (" --data DATA" if data else "") + " -o FOLDER",
        {},
    )  # fmt: skip
    batches = CascadeBatches(folder, stage, settings, world()[0])
    return train_paper(
        run,
        CascadeFCN(**params),
        bootstrapped(settings.hardest) if semantic else dice_of,
        batches.batch,
        output,
        data_rows("spine", settings.patients, real),
        progress.part(0.1, 1.0),
    )
