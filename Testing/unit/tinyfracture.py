"""Made-up patients in the pool's form: four blocks in a row, one of them flat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from spineseg.networks.fracture_voxels import FractureVoxelNetwork
from spineseg.networks.spine_vae import SpineVaeNetwork
from spineseg.training.fracture_export import export_vae, export_voxels
from spineseg.training.fracture_pool import PoolItem, PoolVertebra, save_item
from spineseg.training.fracture_voxels import PLANS as VOXEL_PLANS
from spineseg.training.fracture_voxels import VoxelTraining
from spineseg.training.spine_vae import KINDS, VaeTraining
from spineseg.training.spine_vae import PLANS as VAE_PLANS
from spineseg.training.spine_vae_samples import boxes_of

LEVELS = (("T11", 18, 0), ("T12", 19, 0), ("L1", 20, 3), ("L2", 21, 0))
AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])
POOL = (Path("patient0000"), Path("patient-somebody-pressed1"))


def tiny_item(seed: int = 0) -> PoolItem:
    """Four vertebrae 30 mm apart, 27 mm high (the flat one 9), each with a spike behind."""
    rng = np.random.default_rng(seed)
    shape = (130, 90, 60)
    labels, bodies = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    scan = rng.normal(30, 10, shape)
    found = []
    for n, (level, label, grade) in enumerate(LEVELS):
        k = 115 - 30 * n
        half = 4 if grade else 13
        body = (slice(k - half, k + half + 1), slice(45, 75), slice(8, 52))
        labels[body] = bodies[body] = label
        labels[k - 3 : k + 3, 15:45, 27:33] = label
        found.append(PoolVertebra(level, label, (29.5, 59.5, float(k)), grade, "crush", "", True))
    scan[labels > 0] += 200
    bodies[bodies > 0] = 1
    return PoolItem(scan.astype(np.int16), labels, bodies, tuple(found), AFFINE)


def tiny_pool(folder: Path, patients: int = 2) -> Path:
    """Write a pool of such patients."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(patients):
        save_item(tiny_item(n), folder / f"patient{n:04d}")
    return folder


def tiny_models(folder: Path) -> Path:
    """Write small networks that learned nothing, with their cards."""
    torch.manual_seed(0)
    voxels = VoxelTraining(plan=replace(VOXEL_PLANS["small"], widths=(4,) * 8, joined=4))
    network = FractureVoxelNetwork(**voxels.chosen.architecture("3d")["params"])
    export_voxels(network.state_dict(), voxels, POOL, 0, [], folder)
    vae = VaeTraining(plan=replace(VAE_PLANS["small"], widths=(2, 4, 4, 4)))
    other = SpineVaeNetwork(**vae.chosen.architecture(KINDS[vae.kind])["params"])
    export_vae(other.state_dict(), vae, boxes_of(tiny_item(), 0), POOL, 0, [], folder)
    return folder
