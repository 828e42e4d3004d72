"""Tissue codes of a digital patient: what every voxel is made of.

Vertebra voxels carry the sub-region codes of :class:`spineseg.labels.SubRegion`; everything else
carries a code of :class:`Tissue`. Both live in one ``uint8`` volume; cord, canal and disc have the
same number in both.
"""

from __future__ import annotations

from enum import IntEnum


class Tissue(IntEnum):
    """What a voxel outside the vertebrae is made of."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    ORGAN = 3
    LUNG = 4
    GAS = 5
    VESSEL = 6
    CALCIFICATION = 7
    KIDNEY = 8
    BOWEL = 9
    SKIN = 10
    TABLE = 11
    RIB = 20
    SACRUM = 21
    PELVIS = 22
    FEMUR = 23
    SCAPULA = 24
    SKULL = 25
    LIMB = 26
    STERNUM = 27
    COSTAL_CARTILAGE = 28
    CORD = 60
    CANAL = 61
    DISC = 100
    VACUUM = 62
    LYTIC = 70
    BLASTIC = 71
    METAL = 72
    CEMENT = 73


#: Bones that are not vertebrae: a network must not call them one.
OTHER_BONES = (
    Tissue.PELVIS,
    Tissue.FEMUR,
    Tissue.SCAPULA,
    Tissue.SKULL,
    Tissue.LIMB,
    Tissue.STERNUM,
)
#: Codes drawn inside a vertebra that do not change which vertebra or part it belongs to.
INCLUSIONS = (Tissue.LYTIC, Tissue.BLASTIC, Tissue.METAL, Tissue.CEMENT)
