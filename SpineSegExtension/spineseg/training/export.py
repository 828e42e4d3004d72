"""Puts a trained network and its card into a models folder."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..intensity import MAPPING, WINDOW
from ..methods.classes import CoarseClass, FineClass
from ..weights import ModelCard, save_model
from .vertebra import CLASSES, OUTPUTS, SPACING, WIDTHS, TrainSettings

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "0.1.0"
_WHAT = {
    "coarse": "Finds the spine and its regions in a CT at 4 mm.",
    "fine": "Outlines vertebrae, discs, canal and sacrum along the spine at 1.5 mm and votes for "
    "each vertebra's centre.",
}
LIMITS = [
    "Trained mostly on digital patients; few real scans were at hand, none of a whole spine.",
    "Implants, severe deformity, tumours that break through the cortex and children were drawn "
    "rarely or not at all.",
    "The run that made these weights was resumed several times while the renderer and the pool "
    "were being improved: the command trains with the improved ones from the start.",
    "CT in Hounsfield units only; slices thicker than 5 mm were not in the training.",
]


def current_commit() -> str:
    """The commit that the code is at, or zeros outside of a repository."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "0" * 40
    return done.stdout.strip()


def command_of(settings: TrainSettings, data: bool, method: str = "vertebra-unet") -> str:
    """The command line that repeats a training."""
    text = f"torchrun --nproc-per-node 2 -m spineseg train {method} --hours {settings.hours:g}"
    text += f" --stage {settings.stages[0]}" if len(settings.stages) == 1 else ""
    text += " --data DATA" if data else ""
    text += " --real-scans" if settings.real_images else ""
    text += " --from-corrections CASES" if settings.corrections is not None else ""
    text += " --start MODELS" if settings.start is not None else ""
    text += f" --rate {settings.rate:g}" if settings.rate != TrainSettings.rate else ""
    return text + "".join(f" --hold-out {name}" for name in settings.hold_out) + " -o FOLDER"


def training_data(kind: str, patients: int, real: Mapping[str, int]) -> list[dict[str, Any]]:
    """What a network was trained on, in the card's form; ``real`` counts windows by source."""
    rows: list[dict[str, Any]] = [
        {"name": f"digital patients of spineseg.phantom ({kind})", "terms": "Apache-2.0",
         "n": patients},
    ]  # fmt: skip
    terms = {
        "bdmap": "AbdomenAtlas, CC BY-NC-SA 4.0: research use of these weights",
        "verse": "VerSe, CC BY-SA 4.0",
        "tptbox": "TPTBox tests, Apache-2.0",
        "totalsegmentator": "TotalSegmentator tests, Apache-2.0; pseudo-labels",
        "case_": "corrected by a user: as that user's scans allow",
    }
    for name, count in real.items():
        known = [text for start, text in terms.items() if name.startswith(start)]
        rows.append(
            {"name": f"{name}, turned windows", "terms": (known or ["not stated: research use"])[0],
             "n": count}
        )  # fmt: skip
    return rows


def export(
    kind: str,
    weights: Mapping[str, Tensor],
    settings: TrainSettings,
    data: list[dict[str, Any]],
    results: list[dict[str, Any]],
    command: str,
    folder: Path | None = None,
) -> ModelCard:
    """Save a network as ``vertebra-coarse`` or ``vertebra-fine`` with its card, float16."""
    classes = CoarseClass if kind == "coarse" else FineClass
    names = [c.name.lower() for c in classes]
    if kind == "fine":
        names += ["offset_x", "offset_y", "offset_z"]
    card = ModelCard(
        name=f"vertebra-{kind}",
        method="vertebra-unet",
        version=VERSION,
        description=_WHAT[kind],
        created=date.today().isoformat(),
        commit=current_commit(),
        command=command,
        training_data=data,
        inputs={
            "spacing_mm": SPACING[kind],
            "intensity": {"window": list(WINDOW), "unit": "HU", "mapping": MAPPING},
            "patch": list(settings.patch),
        },
        outputs={"classes": names, "semantic": CLASSES[kind]},
        architecture={
            "name": "ResidualUNet",
            "params": {
                "in_channels": 2, "out_channels": OUTPUTS[kind], "widths": list(WIDTHS[kind]),
            },
        },
        results=results,
        limits=LIMITS,
    )  # fmt: skip
    return save_model(card.name, dict(weights), card, folder)
