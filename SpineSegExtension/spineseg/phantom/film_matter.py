"""What a drawn patient weighs: grams of water-like matter and of bone mineral in every voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .canvas import DEPTH_UNIT
from .codes import Tissue
from .film_beam import BeamCanvas, Slab
from .render import BODY_CODE, IS_BONE, VERTEBRA_CODES

Array = npt.NDArray[Any]
#: g/cm³ of water-like matter; bones' marrow and what is not named here are as muscle.
_DENSITY = {
    Tissue.AIR: 0.0, Tissue.FAT: 0.93, Tissue.GAS: 0.0, Tissue.TABLE: 0.0, Tissue.LUNG: 0.28,
    Tissue.SKIN: 1.08, Tissue.CALCIFICATION: 1.1, Tissue.VACUUM: 0.5, Tissue.DISC: 1.07,
}  # fmt: skip
#: Bone mineral of 1000 HU in g/cm³, from the attenuation at 70 keV.
_OF_HU = 0.57 / 1000
_CALCIUM = {Tissue.CALCIFICATION: 0.25, Tissue.COSTAL_CARTILAGE: 0.03}
_METAL = 6.0  # as so much mineral: titanium to steel


class Matter:
    """One patient's densities at random.

    Parameters
    ----------
    osteoporosis : 0 (none) to 1 (severe)
    """

    def __init__(self, osteoporosis: float, rng: np.random.Generator) -> None:
        self.water = np.full(256, 1.04, dtype=np.float32)
        for code, density in _DENSITY.items():
            self.water[code] = density
        self.water[Tissue.LUNG] = rng.uniform(0.15, 0.4)
        core = np.zeros(256, dtype=np.float32)
        shell = np.zeros(256, dtype=np.float32)
        spongy = float(np.clip(rng.normal(250 - 200 * osteoporosis, 30), 20, 350))
        cortex = float(rng.uniform(600, 1300)) * (1 - 0.25 * osteoporosis)
        thick = float(rng.uniform(0.5, 1.3)) * (1 - 0.3 * osteoporosis)
        core[IS_BONE] = spongy * rng.uniform(0.6, 1.1)
        core[BODY_CODE : VERTEBRA_CODES[1] + 1] = spongy
        shell[IS_BONE] = thick * rng.uniform(0.6, 1.4)
        shell[VERTEBRA_CODES[0] : BODY_CODE] = thick * rng.uniform(0.6, 1.4)
        shell[BODY_CODE : VERTEBRA_CODES[1] + 1] = thick
        shell[Tissue.SKULL] = 2.5 * thick
        shell[Tissue.FEMUR] = shell[Tissue.LIMB] = 3.5 * thick
        self.core, self.shell, self.cortex = core * _OF_HU, shell, cortex * _OF_HU
        self.calcium = np.zeros(256, dtype=np.float32)
        for code, density in _CALCIUM.items():
            self.calcium[code] = density

    def body(self, canvas: BeamCanvas, axis: int, spine: Array) -> Slab:
        """Everything but the bones of ``spine``, which count as muscle.

        Parameters
        ----------
        axis : the beam's (0 is x, 1 is y)
        spine : bool (256,), codes that another canvas shows
        """
        bone = IS_BONE & ~spine
        water = np.where(IS_BONE, np.float32(1.04), self.water).astype(np.float32)

        def slab(cut: tuple[slice, slice, slice]) -> Array:
            tissue = canvas.tissue[cut]
            out = np.empty((2, *np.delete(tissue.shape, 2 - axis)), dtype=np.float32)
            out[0] = water[tissue].sum(axis=2 - axis)
            mineral = self.calcium[tissue]
            at = bone[tissue]
            if at.any():
                codes, mm = tissue[at], canvas.depth[cut][at] * np.float32(DEPTH_UNIT)
                hard = np.clip((mm + self.shell[codes]) / canvas.spacing + 0.5, 0, 1)
                core = self.core[codes]
                mineral[at] = core + hard * (self.cortex - core)
            out[1] = mineral.sum(axis=2 - axis)
            return out / 10  # cm of each mm

        return slab

    def spine(self, canvas: BeamCanvas, axis: int) -> Slab:
        """The mineral of all bones drawn on a canvas, to parts of a voxel, and of implants."""
        reach = np.float32(0.5 * canvas.spacing / DEPTH_UNIT)

        def slab(cut: tuple[slice, slice, slice]) -> Array:
            depth, overlay = canvas.depth[cut], canvas.overlay[cut]
            out = np.zeros((2, *np.delete(depth.shape, 2 - axis)), dtype=np.float32)
            mineral = np.zeros(depth.shape, dtype=np.float32)
            at = depth < reach
            if at.any():
                codes, mm = canvas.tissue[cut][at], depth[at] * np.float32(DEPTH_UNIT)
                inside = np.clip(0.5 - mm / canvas.spacing, 0, 1)
                shell = np.where(IS_BONE[codes], self.shell[codes], np.float32(0.8))
                deep = np.clip(0.5 - (mm + shell) / canvas.spacing, 0, 1)
                mineral[at] = self.cortex * (inside - deep) + self.core[codes] * deep
            if overlay.any():
                mineral[overlay == Tissue.LYTIC] *= 0.1
                mineral[overlay == Tissue.BLASTIC] += 0.3
                mineral[overlay == Tissue.CEMENT] = 1.0
                mineral[overlay == Tissue.METAL] = _METAL
            out[1] = mineral.sum(axis=2 - axis)
            return out / 10

        return slab
