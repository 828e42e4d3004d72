"""Renders a digital patient as CT in Hounsfield units.

Bone edges are rendered from the depth volume, so that a voxel is shared between bone and what lies
beside it; a cortical shell, cancellous texture, the scanner's kernel, noise and streaks are added.
The priors are wide on purpose (domain randomisation), their middle where real scans are: cancellous
bone 10–280 HU, mostly 10–200; cortex 280–1250; discs 40–140.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .canvas import DEPTH_UNIT
from .codes import Tissue

Array = npt.NDArray[Any]
#: First and last sub-region code: what belongs to a vertebra.
VERTEBRA_CODES = (41, 51)
_BONES = (
    Tissue.RIB, Tissue.SACRUM, Tissue.PELVIS, Tissue.FEMUR, Tissue.SCAPULA, Tissue.SKULL,
    Tissue.LIMB, Tissue.STERNUM,
)  # fmt: skip


@dataclass(frozen=True)
class Scanner:
    """How a scan was made.

    Parameters
    ----------
    cancellous_hu : mean of the vertebral bodies' cancellous bone
    cortex_hu, cortex_mm : density and thickness of the cortical shell
    disc_hu : mean of the discs
    contrast_hu : vessels; kidneys take up part of it
    noise_hu : standard deviation of the noise before the kernel
    kernel_mm : Gaussian blur (standard deviation) of the reconstruction in the plane
    slice_mm : slice thickness along the body axis
    texture_hu : standard deviation of the trabecular texture
    """

    cancellous_hu: float = 140.0
    cortex_hu: float = 600.0
    cortex_mm: float = 1.0
    disc_hu: float = 85.0
    contrast_hu: float = 45.0
    noise_hu: float = 25.0
    kernel_mm: float = 0.6
    slice_mm: float = 1.0
    texture_hu: float = 30.0
    soft_shift_hu: float = 0.0


def random_scanner(rng: np.random.Generator, osteoporosis: float | None = None) -> Scanner:
    """A scanner and a patient's densities at random; ``osteoporosis`` is 0 (none) to 1 (severe)."""
    loss = float(rng.beta(1.6, 1.6)) if osteoporosis is None else osteoporosis
    cancellous = float(np.clip(rng.normal(240 - 235 * loss, 30), -10, 320))
    cortex = float(np.exp(rng.uniform(np.log(280), np.log(1250)))) * (1.0 - 0.25 * loss)
    contrast = float(rng.choice([rng.uniform(25, 60), rng.uniform(90, 380)], p=[0.5, 0.5]))
    return Scanner(
        cancellous_hu=cancellous,
        cortex_hu=max(cortex, cancellous + 90),
        cortex_mm=float(np.exp(rng.uniform(np.log(0.6), np.log(2.4)))),
        disc_hu=float(rng.uniform(45, 130)),
        contrast_hu=contrast,
        noise_hu=float(np.exp(rng.uniform(np.log(4), np.log(70)))),
        kernel_mm=float(rng.uniform(0.35, 1.1)),
        slice_mm=float(rng.choice([rng.uniform(0.6, 1.6), rng.uniform(1.6, 5.0)], p=[0.6, 0.4])),
        texture_hu=float(rng.uniform(5, 95)),
        soft_shift_hu=float(rng.normal(0, 12)),
    )


def _texture(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Array:
    """Smooth noise of unit standard deviation, float32."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if sigma > 0.2:
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
    # Processes are denser than bodies, and more so in worn spines (measured: see docs/phantom.md).
    core[VERTEBRA_CODES[0] : 49] = cancellous + rng.uniform(40, 420)
    core[49 : VERTEBRA_CODES[1] + 1] = cancellous
    shell = np.full(256, scanner.cortex_mm, dtype=np.float32)
    shell[VERTEBRA_CODES[0] : 49] *= rng.uniform(1.0, 2.4)
    for bone in _BONES:
        core[bone] = cancellous * rng.uniform(0.5, 1.2) + rng.uniform(-10, 120)
        shell[bone] = scanner.cortex_mm * rng.uniform(0.7, 2.0)
    shell[Tissue.FEMUR] *= 2.0
    shell[Tissue.SKULL] *= 3.0
    inner = depth + shell[tissue]
    cortical = np.clip(inner / spacing + 0.5, 0, 1)
    hu: Array = core[tissue]
    # Texture with two grains, and a slow drift of density through the body.
    grain = _texture(tissue.shape, max(0.5, rng.uniform(0.5, 1.6) / spacing), rng)
    drift = _texture(tissue.shape, rng.uniform(3, 7) / spacing, rng)
    hu = hu + grain * scanner.texture_hu + drift * rng.uniform(0, 45)
    return np.asarray(hu + cortical * np.maximum(scanner.cortex_hu - hu, 0), dtype=np.float32)


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
    soft = _soft_table(scanner, rng)[tissue]
    blotches = _texture(tissue.shape, 3.0 / spacing, rng)
    soft += blotches * np.where(soft > -300, rng.uniform(3, 14), rng.uniform(3, 40))
    mm = depth.astype(np.float32) * np.float32(DEPTH_UNIT)
    is_bone = (tissue >= VERTEBRA_CODES[0]) & (tissue <= VERTEBRA_CODES[1])
    is_bone |= np.isin(tissue, _BONES)
    share = np.clip(0.5 - mm / spacing, 0, 1)
    near = is_bone | (share > 0)
    bone = _bone_hu(tissue, mm, scanner, spacing, rng)
    # A soft voxel that bone reaches into takes the cortex's density for its share.
    bone = np.where(is_bone, bone, scanner.cortex_hu)
    hu = np.where(near, soft + share * (bone - soft), soft)
    if overlay.any():
        hu = _inclusions(hu, overlay, scanner, rng)
    return _acquire(hu, overlay == Tissue.METAL, spacing, scanner, rng)


def _inclusions(hu: Array, overlay: Array, scanner: Scanner, rng: np.random.Generator) -> Array:
    fine = _texture(hu.shape, 1.0, rng)
    hu = np.where(overlay == Tissue.LYTIC, rng.uniform(10, 75) + 10 * fine, hu)
    hu = np.where(overlay == Tissue.BLASTIC, rng.uniform(350, 900) + 80 * fine, hu)
    hu = np.where(overlay == Tissue.CEMENT, rng.uniform(1200, 2500), hu)
    return np.asarray(np.where(overlay == Tissue.METAL, 3071.0, hu))


def _streaks(metal: Array, rng: np.random.Generator) -> Array:
    """Dark and bright rays from metal in the slice plane, HU: the source's shadow, smeared."""
    out = np.zeros(metal.shape, dtype=np.float32)
    grid_y, grid_x = np.meshgrid(*(np.arange(n) for n in metal.shape[1:]), indexing="ij")
    for k in np.flatnonzero(metal.any(axis=(1, 2))):
        y, x = np.nonzero(metal[k])
        angle = np.arctan2(grid_y - y.mean(), grid_x - x.mean())
        far = np.hypot(grid_y - y.mean(), grid_x - x.mean())
        waves = sum(np.cos(n * angle + rng.uniform(0, 6.3)) for n in rng.integers(2, 24, 6))
        out[k] = waves * rng.uniform(20, 120) * np.exp(-far / rng.uniform(20, 70))
    return out


def _acquire(
    hu: Array, metal: Array, spacing: float, scanner: Scanner, rng: np.random.Generator
) -> Array:
    """Kernel, slice thickness, noise, streaks and the scanner's range."""
    if metal.any():
        hu = hu + _streaks(metal, rng)
    # A box of the slice's thickness has the same variance as this Gaussian.
    along = max(scanner.kernel_mm, scanner.slice_mm / np.sqrt(12.0))
    sigma = (along / spacing, scanner.kernel_mm / spacing, scanner.kernel_mm / spacing)
    hu = ndimage.gaussian_filter(hu, sigma, mode="nearest", truncate=2.5)
    # Noise is correlated by the kernel; thick slices average it.
    noise = _texture(hu.shape, 0.5 * scanner.kernel_mm / spacing, rng)
    hu += noise * scanner.noise_hu * min(1.0, np.sqrt(2.0 / max(scanner.slice_mm, 0.5)))
    return np.asarray(np.clip(hu, -1024, 3071), dtype=np.float32)
