"""Puts the networks that tell fractures, and their cards, into a models folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import registry
from ..methods import fracture_voxels, spine_vae
from ..weights import ModelCard, save_model
from .export import VERSION, current_commit
from .fracture_pool import SPACING_MM
from .pressed_pool import PRESSED

if TYPE_CHECKING:
    from torch import Tensor

    from .fracture_voxels import VoxelTraining
    from .spine_vae import VaeTraining
    from .spine_vae_samples import Boxes

_LIMITS = [
    "Trained on digital patients and, where the card names any, on sound real vertebrae that were "
    "pressed together; density says nothing about such fractures: real ones, old or fresh, and "
    "tumours may look different.",
    "T4 to L5; no cervical vertebra was shown.",
    "CT in Hounsfield units only.",
]


def _training_data(pool: Sequence[Path], fractured: str) -> list[dict[str, Any]]:
    name = f"digital patients of spineseg.phantom with fractures and mimics, at 1 mm{fractured}"
    rows = [{"name": name, "terms": "Apache-2.0", "n": _drawn(pool)}]
    scans: dict[str, int] = {}
    for case in (one.name.removeprefix(PRESSED) for one in pool if one.name.startswith(PRESSED)):
        scan = case.rpartition("-")[0]
        scans[scan] = scans.get(scan, 0) + 1
    for scan, times in scans.items():
        name = f"{scan}, a CT without fractures, with vertebrae pressed together"
        rows.append({"name": name, "terms": "as the scan's makers say", "n": times})
    return rows


def _drawn(pool: Sequence[Path]) -> int:
    return sum(not one.name.startswith(PRESSED) for one in pool)


def _command(start: str, pool: Sequence[Path], hours: float) -> str:
    data = " --data DATA" if len(pool) > _drawn(pool) else ""
    return f"{start}{data} --patients {_drawn(pool)} --hours {hours:g} -o FOLDER"


def export_voxels(
    weights: Mapping[str, Tensor],
    settings: VoxelTraining,
    pool: Sequence[Path],
    steps: int,
    results: Sequence[Mapping[str, Any]],
    folder: Path,
    patch: int = 48,
) -> Path:
    """Save the voxel classifier (float16) with its card; ``pool`` was learned from."""
    plan = settings.chosen
    wide = plan.scan_wide
    command = f"spineseg train {fracture_voxels.MODEL} --preset {settings.preset}"
    command += f" --variant {settings.variant}" + (" --start MODELS" if settings.start else "")
    command = _command(command, pool, settings.hours)
    card = ModelCard(
        name=fracture_voxels.MODEL,
        method=registry.FRACTURE_VOXELS,
        version=VERSION,
        description="Classifies the voxels of a CT as background, normal or fractured vertebra.",
        created=date.today().isoformat(),
        commit=current_commit(),
        command=command,
        training_data=_training_data(pool, ""),
        inputs={
            "spacing_mm": SPACING_MM,
            "intensity": {
                "window": list(fracture_voxels.WINDOW_HU),
                "unit": "HU",
                "mapping": fracture_voxels.MAPPING_PAPER if wide else fracture_voxels.MAPPING,
            },
            "patch": [patch] * 3,
            "segment": plan.segment,
            "steps": steps,
        },
        outputs={"classes": list(fracture_voxels.CLASSES)},
        architecture=plan.architecture(settings.variant),
        results=[dict(one) for one in results],
        limits=_LIMITS,
    )
    save_model(fracture_voxels.MODEL, dict(weights), card, folder)
    return folder / f"{fracture_voxels.MODEL}.safetensors"


def export_vae(
    weights: Mapping[str, Tensor],
    settings: VaeTraining,
    boxes: Boxes,
    pool: Sequence[Path],
    steps: int,
    results: Sequence[Mapping[str, Any]],
    folder: Path,
) -> Path:
    """Save the autoencoder (float16) with its card; ``boxes`` of ``pool`` were learned from."""
    from .spine_vae import KINDS

    ill = int((boxes.grades > 0).sum())
    command = f"spineseg train {spine_vae.MODEL} --preset {settings.preset}"
    command = _command(f"{command} --kind {settings.kind}", pool, settings.hours)
    card = ModelCard(
        name=spine_vae.MODEL,
        method=registry.SPINE_VAE,
        version=VERSION,
        description="Describes a masked vertebra by 64 numbers and tells whether it is fractured.",
        created=date.today().isoformat(),
        commit=current_commit(),
        command=command,
        training_data=_training_data(
            pool, f"; {len(boxes.grades)} vertebrae, {ill} of them fractured"
        ),
        inputs={
            "spacing_mm": spine_vae.SPACING_MM,
            "intensity": {
                "window": list(spine_vae.WINDOW_HU), "unit": "HU", "mapping": spine_vae.MAPPING,
            },
            "patch": [spine_vae.SIZE] * 3,
            "kind": settings.kind,
            "steps": steps,
        },
        outputs={"classes": ["normal", "fracture"], "groups": [list(g) for g in spine_vae.GROUPS]},
        architecture=settings.chosen.architecture(KINDS[settings.kind]),
        results=[dict(one) for one in results],
        limits=[
            *_LIMITS,
            "It sees the mask's outline first of all: where the segmentation is wrong, so is this.",
        ],
    )  # fmt: skip
    save_model(spine_vae.MODEL, dict(weights), card, folder)
    return folder / f"{spine_vae.MODEL}.safetensors"
