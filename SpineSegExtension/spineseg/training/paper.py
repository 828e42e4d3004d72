"""What the trainings of the papers' own networks have in common.

Plain Adam at a rate that stays as it is, the last weights kept, one loop (`loop.Trainer`), and a
card that says which paper's network it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..progress import Progress
from ..weights import ModelCard, save_model
from .export import VERSION, current_commit, training_data
from .windows import WINDOW_MM, add_real_windows, fill_windows

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .loop import Batch

Array = npt.NDArray[Any]
S = TypeVar("S")
PRESETS = ("small", "paper")
#: HU clipped to [−512, 1024] and mapped to [−1, 1] (Masuzawa et al. 2020; the other paper gives
#: no window).
WINDOW_HU = (-512.0, 1024.0)
#: Windows of each real label map.
REAL_EACH = 20


def intensity(hu: Array) -> Array:
    """Map HU to [−1, 1], float32 of the same shape."""
    low, high = WINDOW_HU
    scaled = (np.clip(hu, low, high).astype(np.float32) - low) * (2 / (high - low)) - 1
    return np.asarray(scaled, dtype=np.float32)


def preset_of(options: Mapping[str, Any]) -> str:
    """Return "small" or "paper"; InputError if it is neither."""
    preset = options.get("preset") or PRESETS[0]
    small = ("real_images", "hold_out", "corrections", "start")
    if preset == "paper" and any(options.get(name) for name in small):
        raise InputError(
            "The papers' networks are trained on shapes alone, without real scans, from the start.",
            "Leave out --real-scans, --hold-out, --from-corrections and --start, or choose"
            " --preset small.",
        )
    return one_of(str(preset), PRESETS, "preset")


def one_of(value: str, known: tuple[str, ...], what: str) -> str:
    """Return `value`, if it is known."""
    if value not in known:
        raise InputError(f"“{value}” is no {what}.", f"Choose one of: {', '.join(known)}.")
    return value


def settings_of(kind: type[S], options: Mapping[str, Any]) -> S:
    """Build a settings dataclass of those options that it has and that are given."""
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: v for k, v in options.items() if k in names and v is not None})


def check_new(output: Path, resume: bool, pattern: str) -> None:
    """InputError if a training's folder is there already and is not to be resumed."""
    if not resume and any(output.glob(f"{pattern}/checkpoint.safetensors")):
        raise InputError(
            f"{output} holds that training already.", "Add --resume, or choose another folder."
        )


@dataclass(frozen=True)
class PaperRun:
    """One training of a paper's network.

    Attributes
    ----------
    name : str
        Of the model, and of the folder of its checkpoint.
    method, description : str
        For the card.
    architecture : dict
        ``name`` and ``params`` of the network.
    classes : tuple of str
        Output channels.
    patch : tuple of int
        (k, j, i) voxels of 1 mm.
    hours, rate, batch, seed, device
        As in `spineseg.training.loop.LoopSettings`.
    command : str
        The command that repeats it.
    more : dict
        What else the card says about the inputs.
    """

    name: str
    method: str
    description: str
    architecture: dict[str, Any]
    classes: tuple[str, ...]
    patch: tuple[int, int, int]
    hours: float
    rate: float
    batch: int
    seed: int
    device: str | None
    command: str
    more: dict[str, Any]


def fill_folder(
    folder: Path, kind: str, patients: int, data: Path | str | None, progress: Progress
) -> dict[str, int]:
    """Draw the windows of a training, shared among the processes; count real ones by source."""
    from .loop import barrier, world
    from .real import known_sources

    rank, size = world()
    for n in fill_windows(folder, kind, patients, rank, size):
        progress("drawing patients", min(0.9, n * size / patients), f"{n * size}")
    if data is not None and rank == 0:
        for name in add_real_windows(folder, kind, known_sources(Path(data), False), REAL_EACH):
            progress("real label maps", 0.9, name)
    barrier()
    real: dict[str, int] = {}
    for path in sorted(folder.glob("*_[0-9][0-9][0-9].json")):
        source = path.stem.rsplit("_", 1)[0]
        real[source] = real.get(source, 0) + 1
    return real


def train_paper(
    run: PaperRun,
    network: nn.Module,
    loss: Callable[[nn.Module, Batch], tuple[Tensor, dict[str, float]]],
    make_batch: Callable[[int], Batch],
    output: Path,
    data: list[dict[str, Any]],
    progress: Progress,
) -> Path:
    """Train a network in ``output/NAME`` and leave weights and card in ``output/models``."""
    from .loop import LoopSettings, Trainer, world

    settings = LoopSettings(
        hours=run.hours, batch=run.batch, rate=run.rate, decay=0.0, steady=True, average=0.0,
        seed=run.seed,
    )  # fmt: skip
    trainer = Trainer(network, loss, make_batch, settings, output / run.name, run.device)
    weights = trainer.run(progress)
    path = output / "models" / f"{run.name}.safetensors"
    if world()[0] == 0:
        save_model(run.name, weights, card_of(run, trainer.step, data), output / "models")
    return path


def card_of(run: PaperRun, steps: int, data: list[dict[str, Any]]) -> ModelCard:
    """The card of a trained paper's network."""
    low, high = WINDOW_HU
    return ModelCard(
        name=run.name,
        method=run.method,
        version=VERSION,
        description=run.description,
        created=date.today().isoformat(),
        commit=current_commit(),
        command=run.command,
        training_data=data,
        inputs={
            "spacing_mm": WINDOW_MM,
            "intensity": {
                "window": [low, high],
                "unit": "HU",
                "mapping": "clip(HU, -512, 1024) mapped to -1 ... 1",
            },
            "patch": list(run.patch),
            "steps": steps,
            **run.more,
        },
        outputs={"classes": list(run.classes)},
        architecture=run.architecture,
        results=[],
        limits=[
            "Not measured: trained to compare with the paper, no method of SpineSeg uses it.",
            "Trained on digital patients, not on the paper's scans, which are not public.",
            "CT in Hounsfield units only.",
        ],
    )


def data_rows(kind: str, patients: int, real: Mapping[str, int]) -> list[dict[str, Any]]:
    """What a network was trained on, in the card's form."""
    return training_data(f"{kind} windows at {WINDOW_MM:g} mm", patients, real)
