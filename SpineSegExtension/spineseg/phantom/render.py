"""Renders a digital patient as CT in Hounsfield units.

Bone edges are rendered from the depth volume, so that a voxel is shared between bone and what lies
beside it; a cortical shell, cancellous texture, sclerosis and lesions are added, then what the
scanner makes of it (``acquire.py``). The priors are wide on purpose (domain randomisation), their
middle where real scans are (docs/phantom.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .acquire import Scanner, acquire, drift, random_scanner
from .canvas import DEPTH_UNIT
from .codes import Tissue

__all__ = ["VERTEBRA_CODES", "Scanner", "random_scanner", "render_ct"]

Array = npt.NDArray[Any]
#: First and last sub-region code: what belongs to a vertebra.
VERTEBRA_CODES = (41, 51)
#: First code of the vertebral body; the arch and its processes lie before it.
BODY_CODE = 49
_BONES = (
    Tissue.RIB, Tissue.SACRUM, Tissue.PELVIS, Tissue.FEMUR, Tissue.SCAPULA, Tissue.SKULL,
    Tissue.LIMB, Tissue.STERNUM,
)  # fmt: skip


def _bone_codes() -> Array:
    codes = np.zeros(256, dtype=bool)
    codes[VERTEBRA_CODES[0] : VERTEBRA_CODES[1] + 1] = True
    codes[list(_BONES)] = True
    return codes


IS_BONE = _bone_codes()


def _texture(shape: tuple[int, ...], sigma: Any, rng: np.random.Generator) -> Array:
    """Smooth noise of unit standard deviation, float32; ``sigma`` in voxels, one or (k, j, i)."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if np.max(sigma) > 0.2:
        noise = ndimage.gaussian_filter(noise, sigma, mode="nearest", truncate=2.5)
        noise /= max(float(noise.std()), 1e-6)
    return np.asarray(noise)


def _soft_table(scanner: Scanner, rng: np.random.Generator) -> Array:
    """HU of every tissue code, before bone is put in."""
    table = np.full(256, 40.0, dtype=np.float32)
    shift = scanner.soft_shift_hu
    soft = {
        Tissue.AIR: -1000, Tissue.FAT: rng.uniform(-120, -75), Tissue.MUSCLE: rng.uniform(30, 72),
        Tissue.ORGAN: rng.uniform(30, 110), Tissue.LUNG: rng.uniform(-900, -650),
        Tissue.GAS: -950, Tissue.VESSEL: scanner.contrast_hu,
        Tissue.CALCIFICATION: rng.uniform(250, 900),
        Tissue.KIDNEY: rng.uniform(30, 50) + 0.7 * max(scanner.contrast_hu - 45, 0),
        Tissue.BOWEL: rng.choice([rng.uniform(0, 60), rng.uniform(100, 350)], p=[0.8, 0.2]),
        Tissue.SKIN: 10, Tissue.TABLE: rng.uniform(-600, 100), Tissue.CORD: rng.uniform(20, 50),
        Tissue.CANAL: rng.uniform(-20, 45), Tissue.DISC: scanner.disc_hu,
        Tissue.VACUUM: rng.uniform(-700, -150), Tissue.COSTAL_CARTILAGE: rng.uniform(60, 220),
    }  # fmt: skip
    for code, value in soft.items():
        table[code] = value + (shift if value > -300 else 0)
    # What shows beside a bone whose label is a little wider than the bone itself.
    table[VERTEBRA_CODES[0] : VERTEBRA_CODES[1] + 1] = rng.uniform(-20, 60)
    for bone in _BONES:
        table[bone] = rng.uniform(-40, 60)
    return table


def _bone_hu(tissue: Array, depth: Array, scanner: Scanner, spacing: float,
             rng: np.random.Generator) -> Array:  # fmt: skip
    """HU inside bone: a cortical shell round cancellous bone with texture."""
    core = np.zeros(256, dtype=np.float32)
    cancellous = scanner.cancellous_hu
    # The arch has a thick cortex round marrow that is a little denser than the body's.
    core[VERTEBRA_CODES[0] : BODY_CODE] = cancellous + rng.uniform(-60, 150)
    core[BODY_CODE : VERTEBRA_CODES[1] + 1] = cancellous
    shell = np.full(256, scanner.cortex_mm, dtype=np.float32)
    shell[VERTEBRA_CODES[0] : BODY_CODE] = np.maximum(
        scanner.cortex_mm * rng.uniform(1.3, 2.6), rng.uniform(0.7, 2.3)
    )
    hardness = np.full(256, scanner.cortex_hu, dtype=np.float32)
    hardness[VERTEBRA_CODES[0] : BODY_CODE] *= rng.uniform(0.9, 1.35)
    for bone in _BONES:
        core[bone] = cancellous * rng.uniform(0.5, 1.2) + rng.uniform(-10, 120)
        shell[bone] = scanner.cortex_mm * rng.uniform(0.8, 3.0)
    shell[Tissue.FEMUR] *= 2.0
    shell[Tissue.SKULL] *= 3.0
    # The cortex is thicker in some places than in others.
    uneven = np.exp(np.float32(0.35) * drift(tissue.shape, 9.0 / spacing, rng))
    cortical = np.clip((depth + shell[tissue] * uneven) / spacing + 0.5, 0, 1)
    # Trabeculae stand upright more than they lie; density drifts slowly through the body.
    fine = max(0.4, rng.uniform(0.4, 1.3) / spacing)
    grain = _texture(tissue.shape, (fine * rng.uniform(1.0, 3.0), fine, fine), rng)
    slow = drift(tissue.shape, rng.uniform(6, 16) / spacing, rng) * rng.uniform(0, 45)
    hu: Array = core[tissue] + grain * scanner.texture_hu + slow
    if scanner.sclerosis > 0:
        hu += _sclerosis(tissue, scanner, spacing, rng)
    dense = hardness[tissue] * (1 + np.float32(0.1) * grain)
    return np.asarray(hu + cortical * np.maximum(dense - hu, 0), dtype=np.float32)


def _sclerosis(tissue: Array, scanner: Scanner, spacing: float, rng: np.random.Generator) -> Array:
    """HU that bone gains beside worn discs, and in patches anywhere, float32."""
    disc = ((tissue == Tissue.DISC) | (tissue == Tissue.VACUUM)).astype(np.float32)
    near = ndimage.uniform_filter(disc, max(1, round(rng.uniform(8, 20) / spacing)))
    where = drift(tissue.shape, rng.uniform(12, 30) / spacing, rng)
    patches = np.clip(where - np.float32(rng.uniform(0.0, 1.2)), 0, 1.5)
    share = np.clip(np.float32(2.5) * near, 0, 1) + np.float32(rng.uniform(0, 0.25))
    return np.asarray(patches * share * np.float32(scanner.sclerosis * rng.uniform(150, 600)))


def render_ct(
    tissue: Array, depth: Array, overlay: Array, spacing: float, scanner: Scanner,
    rng: np.random.Generator,
) -> Array:  # fmt: skip
    """Hounsfield units, float32 (k, j, i), of a drawn canvas.

    Parameters
    ----------
    tissue, overlay : uint8 (k, j, i) codes
    depth : int8 (k, j, i) in ``DEPTH_UNIT`` mm
    spacing : voxel edge, mm
    """
    table = _soft_table(scanner, rng)
    soft = table[tissue]
    soft += drift(soft.shape, 7.0 / spacing, rng) * np.float32(rng.uniform(3, 14))
    lungs = tissue == Tissue.LUNG
    if lungs.any():
        soft += drift(soft.shape, 7.0 / spacing, rng) * lungs * np.float32(rng.uniform(3, 40))
    _fatty_muscle(soft, tissue, table[Tissue.FAT], spacing, rng)
    mm = depth.astype(np.float32) * np.float32(DEPTH_UNIT)
    is_bone = IS_BONE[tissue]
    share = np.clip(0.5 - mm / spacing, 0, 1)
    near = is_bone | (share > 0)
    bone = _bone_hu(tissue, mm, scanner, spacing, rng)
    # A soft voxel that bone reaches into takes the cortex's density for its share.
    bone = np.where(is_bone, bone, scanner.cortex_hu)
    hu = np.where(near, soft + share * (bone - soft), soft)
    if overlay.any():
        hu = _inclusions(hu, overlay, spacing, rng)
    return acquire(hu, overlay == Tissue.METAL, spacing, scanner, rng)


def _fatty_muscle(
    soft: Array, tissue: Array, fat_hu: float, spacing: float, rng: np.random.Generator
) -> None:
    """Strands of fat in muscle, as in old backs: changes ``soft`` in place."""
    much = rng.uniform(-0.6, 0.9)
    if much <= 0:
        return
    grain = 1.4 / spacing
    strands = _texture(tissue.shape, (2.5 * grain, grain, grain), rng)
    share = np.clip(strands * np.float32(0.4) + np.float32(much - 0.8), 0, 0.9)
    muscle = tissue == Tissue.MUSCLE
    soft += np.where(muscle, share * (np.float32(fat_hu) - soft), 0)


def _inclusions(hu: Array, overlay: Array, spacing: float, rng: np.random.Generator) -> Array:
    """Lesions and implants in place of what was there."""
    fine, slow = _texture(hu.shape, 1.0, rng), drift(hu.shape, 6.0 / spacing, rng)
    # What a lytic lesion leaves of the bone, and how far a blastic one has filled it.
    left = rng.uniform(0, 0.25)
    soft = rng.uniform(10, 85) + 10 * fine
    hu = np.where(overlay == Tissue.LYTIC, soft + left * (np.maximum(hu, soft) - soft), hu)
    patchy = rng.uniform(0, 0.5)
    dense = rng.uniform(350, 1150) * np.clip(1 + patchy * slow, 0.3, 1.4) + 60 * fine
    # New bone has no sharp border.
    filled = (overlay == Tissue.BLASTIC).astype(np.float32)
    if filled.any():
        filled = ndimage.gaussian_filter(filled, rng.uniform(0.2, 1.6) / spacing, truncate=2.5)
    hu = hu + filled * np.maximum(dense - hu, 0)
    hu = np.where(overlay == Tissue.CEMENT, rng.uniform(1200, 2500), hu)
    # Titanium and steel are far above what a scanner shows: what is blurred is more than its limit.
    return np.asarray(np.where(overlay == Tissue.METAL, rng.uniform(3000, 9000), hu))
