"""Renders a digital patient as MR: the same anatomy as its CT, voxel on voxel.

Bone gives signal by its marrow, inside a dark line of cortex; discs have a nucleus that ages; a
surface coil, noise and thick slices do the rest. None is simulated physics (``sequence.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .acquire import drift, interpolated
from .canvas import DEPTH_UNIT
from .codes import Tissue
from .render import IS_BONE
from .sequence import Sequence

__all__ = ["render_mr"]

Array = npt.NDArray[Any]
_METAL_VOID_MM = 6.0


def render_mr(
    tissue: Array, depth: Array, overlay: Array, spacing: float, sequence: Sequence,
    rng: np.random.Generator,
) -> Array:  # fmt: skip
    """Brightness, float32 (k, j, i), 0 to about 1, of a drawn canvas.

    Parameters
    ----------
    tissue, overlay : uint8 (k, j, i) codes
    depth : int8 (k, j, i) in ``DEPTH_UNIT`` mm, negative inside bone
    spacing : voxel edge, mm
    """
    soft = _soft(tissue, spacing, sequence, rng)
    mm = depth.astype(np.float32) * np.float32(DEPTH_UNIT)
    bone = _bone(tissue, mm, spacing, sequence, rng)
    share = np.clip(0.5 - mm / spacing, 0, 1)
    is_bone = IS_BONE[tissue]
    bone = np.where(is_bone, bone, np.float32(sequence.cortex))
    image = np.where(is_bone | (share > 0), soft + share * (bone - soft), soft)
    _lesions(image, overlay, spacing, sequence, rng)
    return _acquired(image, spacing, sequence, rng)


def _soft(tissue: Array, spacing: float, sequence: Sequence, rng: np.random.Generator) -> Array:
    table = np.zeros(256, dtype=np.float32)
    for code, value in sequence.brightness.items():
        table[code] = value
    # What shows beside a bone whose label is a little wider than the bone itself.
    table[IS_BONE] = sequence.brightness.get(int(Tissue.MUSCLE), 0.3) * rng.uniform(0.3, 1.0)
    soft = table[tissue]
    discs = tissue == Tissue.DISC
    if discs.any():
        inner = ndimage.distance_transform_edt(discs) * spacing
        # Each disc has aged by itself: the drift is about as coarse as the discs are apart.
        age = np.clip(0.6 + 0.5 * drift(tissue.shape, 30.0 / spacing, rng), 0, 1)
        core = np.clip((inner - 1.5) / 2.5, 0, 1) * age
        soft = np.where(discs, soft + core * (sequence.nucleus - soft), soft)
    # Fat runs through muscle, and organs are not even.
    patchy = drift(soft.shape, 8.0 / spacing, rng)
    fat = sequence.brightness.get(int(Tissue.FAT), 0.8)
    muscle = tissue == Tissue.MUSCLE
    streaks = np.clip(patchy - np.float32(rng.uniform(0.6, 2.0)), 0, 1)
    soft = np.where(muscle, soft + streaks * (fat - soft), soft)
    return np.asarray(soft * (1 + np.float32(rng.uniform(0.02, 0.15)) * patchy), np.float32)


def _bone(tissue: Array, mm: Array, spacing: float, sequence: Sequence,
          rng: np.random.Generator) -> Array:  # fmt: skip
    """Marrow inside a dark line; marrow turns to fat in patches, most of all beside discs."""
    uneven = np.exp(np.float32(0.3) * drift(tissue.shape, 9.0 / spacing, rng))
    cortical = np.clip((mm + np.float32(sequence.cortex_mm) * uneven) / spacing + 0.5, 0, 1)
    slow = drift(tissue.shape, rng.uniform(6, 20) / spacing, rng)
    marrow = sequence.marrow * (1 + np.float32(rng.uniform(0.02, 0.2)) * slow)
    if rng.random() < 0.3:  # Modic changes: bright or dark marrow beside a worn disc
        disc = (tissue == Tissue.DISC).astype(np.float32)
        near = ndimage.uniform_filter(disc, max(1, round(12.0 / spacing)))
        patches = np.clip(drift(tissue.shape, 20.0 / spacing, rng) - 0.3, 0, 1)
        change = float(rng.choice([-0.5, 0.6]) * sequence.marrow)
        marrow = marrow + np.clip(3 * near, 0, 1) * patches * change
    return np.asarray(marrow + cortical * (sequence.cortex - marrow), np.float32)


def _lesions(image: Array, overlay: Array, spacing: float, sequence: Sequence,
             rng: np.random.Generator) -> None:  # fmt: skip
    """Metastases replace fatty marrow (dark on T1, bright on T2); metal leaves a hole."""
    if not overlay.any():
        return
    bright = sequence.kind in ("t2", "water")
    image[overlay == Tissue.LYTIC] = sequence.marrow * (1.6 if bright else 0.5)
    image[overlay == Tissue.BLASTIC] = sequence.marrow * float(rng.uniform(0.2, 0.5))
    image[overlay == Tissue.CEMENT] = sequence.cortex
    metal = overlay == Tissue.METAL
    if metal.any():
        away = ndimage.distance_transform_edt(~metal) * spacing
        reach = float(rng.uniform(0.4, 1.0)) * _METAL_VOID_MM
        image *= np.clip(away / reach, 0, 1).astype(np.float32)


def _acquired(image: Array, spacing: float, sequence: Sequence, rng: np.random.Generator) -> Array:
    axis = sequence.slice_axis
    sigma = np.full(3, sequence.kernel_mm / spacing)
    sigma[axis] = max(sequence.kernel_mm, sequence.slice_mm / np.sqrt(12.0)) / spacing
    image = ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=2.5)
    bias = np.float32(sequence.bias) * drift(image.shape, 70.0 / spacing, rng)
    # The coil lies behind the patient: j grows to the front.
    away = np.arange(image.shape[1], dtype=np.float32) * np.float32(spacing / sequence.coil_mm)
    image = image * np.exp(bias - away[None, :, None])
    # The size of a complex number whose parts are noisy (Gudbjartsson and Patz 1995).
    real, imaginary = (
        np.float32(sequence.noise) * rng.standard_normal(image.shape, dtype=np.float32)
        for _ in range(2)
    )
    image = np.hypot(image + real, imaginary)
    if sequence.slice_mm > 1.2 * spacing:
        step = sequence.slice_mm / spacing
        image = interpolated(image, axis, step, float(rng.uniform(0, step)))
    return np.asarray(image, dtype=np.float32)
