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

if TYPE_CHECKING:
    from torch import Tensor

    from .fracture_voxels import VoxelTraining
    from .spine_vae import VaeTraining
    from .spine_vae_samples import Boxes

_LIMITS = [
    "Trained on digital patients only, whose fractures lose height and whose density says nothing "
    "about them: real fractures, old or fresh, and tumours may look different.",
    "T4 to L5; no cervical vertebra was shown.",
    "CT in Hounsfield units only.",
]


def _training_data(patients: int, fractured: str) -> list[dict[str, Any]]:
    name = f"digital patients of spineseg.phantom with fractures and mimics, at 1 mm{fractured}"
    return [{"name": name, "terms": "Apache-2.0", "n": patients}]


def export_voxels(
    weights: Mapping[str, Tensor],
    settings: VoxelTraining,
    patients: int,
    steps: int,
    results: Sequence[Mapping[str, Any]],
    folder: Path,
    patch: int = 48,
) -> Path:
    """Save the voxel classifier (float16) with its card; ``patients`` were learned from."""
    plan = settings.chosen
    wide = plan.scan_wide
    command = f"spineseg train {fracture_voxels.MODEL} --preset {settings.preset}"
    command += f" --variant {settings.variant} --patients {patients} --hours {settings.hours:g}"
    card = ModelCard(
        name=fracture_voxels.MODEL,
        method=registry.FRACTURE_VOXELS,
        version=VERSION,
        description="Classifies the voxels of a CT as background, normal or fractured vertebra.",
        created=date.today().isoformat(),
        commit=current_commit(),
        command=f"{command} -o FOLDER",
        training_data=_training_data(patients, ""),
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
    patients: int,
    steps: int,
    results: Sequence[Mapping[str, Any]],
    folder: Path,
) -> Path:
    """Save the autoencoder (float16) with its card; ``boxes`` were learned from."""
    from .spine_vae import KINDS

    ill = int((boxes.grades > 0).sum())
    command = f"spineseg train {spine_vae.MODEL} --preset {settings.preset}"
    command += f" --kind {settings.kind} --patients {patients} --hours {settings.hours:g}"
    card = ModelCard(
        name=spine_vae.MODEL,
        method=registry.SPINE_VAE,
        version=VERSION,
        description="Describes a masked vertebra by 64 numbers and tells whether it is fractured.",
        created=date.today().isoformat(),
        commit=current_commit(),
        command=f"{command} -o FOLDER",
        training_data=_training_data(
            patients, f"; {len(boxes.grades)} vertebrae, {ill} of them fractured"
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
