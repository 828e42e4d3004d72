"""Takes a crop of a pool item, renders it as a scan would show it, and says what is where in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..intensity import intensity_channels
from ..labels import VERTEBRAE
from ..methods.classes import OFFSET_MM, CoarseClass, FineClass
from ..phantom.codes import OTHER_BONES, Tissue
from ..phantom.render import VERTEBRA_CODES, random_scanner, render_ct
from .pool import Item

Array = npt.NDArray[Any]
#: Target codes beyond the classes: a vertebra's voxel of unknown part, and one that is anything but
#: a vertebra. The loss takes them as sets of classes.
SOME_VERTEBRA, NO_VERTEBRA, IGNORE = 100, 101, 255
ARCH_CODES = (41, 48)
#: How likely a crop is cut at each side: many scans are reconstructed round the spine only.
CUT_OFTEN = {"fine": 0.09, "coarse": 0.25}
#: How likely both sides are cut at once: sagittal series are barely wider than a body.
NARROW_OFTEN = 0.08
OUTSIDE_HU = -1024.0


@dataclass(frozen=True)
class Sample:
    """One training crop.

    Attributes
    ----------
    image : float32 (2, k, j, i)
    target : uint8 (k, j, i), classes or the set codes above
    offsets : float32 (3, k, j, i), vector in RAS x, y, z to the body's centre, in ``OFFSET_MM``;
        zero outside of vertebrae
    """

    image: Array
    target: Array
    offsets: Array


def _fine_table() -> Array:
    table = np.zeros(256, dtype=np.uint8)
    table[ARCH_CODES[0] : ARCH_CODES[1] + 1] = FineClass.POSTERIOR
    table[ARCH_CODES[1] + 1 : VERTEBRA_CODES[1] + 1] = FineClass.BODY
    for code in (Tissue.DISC, Tissue.VACUUM):
        table[code] = FineClass.DISC
    for code in (Tissue.CANAL, Tissue.CORD):
        table[code] = FineClass.CANAL
    table[Tissue.SACRUM] = FineClass.SACRUM
    table[Tissue.RIB] = FineClass.RIB
    return table


def _coarse_tables() -> tuple[Array, Array]:
    tissue = np.zeros(256, dtype=np.uint8)
    for code in (Tissue.CANAL, Tissue.CORD):
        tissue[code] = CoarseClass.CANAL
    tissue[Tissue.SACRUM] = CoarseClass.SACRUM
    tissue[Tissue.RIB] = CoarseClass.RIB
    for code in OTHER_BONES:
        tissue[code] = CoarseClass.OTHER_BONE
    level = np.zeros(256, dtype=np.uint8)
    region = {
        "cervical": CoarseClass.LOWER_CERVICAL,
        "thoracic": CoarseClass.THORACIC,
        "lumbar": CoarseClass.LUMBAR,
    }
    for vertebra in VERTEBRAE:
        upper = vertebra.name in ("C1", "C2")
        level[vertebra.verse] = CoarseClass.UPPER_CERVICAL if upper else region[vertebra.region]
    return tissue, level


FINE_TABLE = _fine_table()
COARSE_TISSUE, COARSE_LEVEL = _coarse_tables()


def _corner(item: Item, size: tuple[int, ...], rng: np.random.Generator) -> list[int]:
    """Where the crop starts; most crops are centred on a voxel of a vertebra."""
    shape = item.layers.shape[1:]
    inside = [
        c
        for c in item.centres.values()
        if all(0 <= v < n for v, n in zip(c[::-1], shape, strict=True))
    ]
    sacrum = np.argwhere(item.layers[0, ::4, ::4, ::4] == Tissue.SACRUM) * 4
    if len(sacrum) and rng.random() < 0.2:
        centre = sacrum[int(rng.integers(len(sacrum)))] + rng.normal(0, 1, 3) * np.array(size) * 0.2
    elif inside and rng.random() < 0.85:
        centre = np.array(inside[int(rng.integers(len(inside)))][::-1])
        centre = centre + rng.normal(0, 1, 3) * np.array(size) * 0.22
    else:
        centre = rng.uniform(0, 1, 3) * np.array(shape)
    return [
        int(np.clip(round(c - s / 2), 0, n - s))
        for c, s, n in zip(centre, size, shape, strict=True)
    ]


def _field_of_view(
    image: Array, target: Array, offsets: Array, often: float, rng: np.random.Generator
) -> None:
    """Cut the scan off at random planes, as the end of a table or a narrow reconstruction does.

    ``often`` is how likely each side is to be cut; the ends of the body axis are twice as likely.
    """
    narrow = rng.random() < NARROW_OFTEN
    for axis in range(3):
        for end in (False, True):
            chance = 1.0 if axis == 2 and narrow else 2 * often if axis == 0 else often
            if rng.random() > chance:
                continue
            n = image.shape[axis]
            cut = int(rng.integers(n // 16, n // 3))
            gone = [slice(None)] * 3
            gone[axis] = slice(n - cut, n) if end else slice(0, cut)
            image[tuple(gone)] = OUTSIDE_HU
            target[tuple(gone)] = 0
            offsets[(slice(None), *gone)] = 0


def make_sample(
    item: Item, size: tuple[int, int, int], spacing: float, kind: str, rng: np.random.Generator
) -> Sample:
    """One crop of ``size`` (k, j, i) voxels; ``kind`` is "fine" or "coarse"."""
    pad = [max(0, s - n) for s, n in zip(size, item.layers.shape[1:], strict=True)]
    layers = item.layers
    if any(pad):
        layers = np.pad(np.asarray(layers), [(0, 0), *((0, p) for p in pad)])
    item = Item(layers, item.centres, item.exact, item.image)
    corner = _corner(item, size, rng)
    where = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
    tissue, ids, depth, overlay = (np.array(layers[n][where]) for n in range(4))
    centres = np.zeros((256, 3), dtype=np.float32)
    for label, centre in item.centres.items():
        centres[label] = np.asarray(centre) - corner[::-1]
    if item.image is not None:
        image = np.array(item.image[where], dtype=np.float32)
        image = image * np.float32(rng.normal(1, 0.05)) + np.float32(rng.normal(0, 15))
        image += np.float32(rng.uniform(0, 15)) * rng.standard_normal(size, dtype=np.float32)
    else:
        image = render_ct(tissue, depth.view(np.int8), overlay, spacing, random_scanner(rng), rng)
    if rng.random() < 0.5:
        image, tissue, ids = (np.ascontiguousarray(a[:, :, ::-1]) for a in (image, tissue, ids))
        centres[:, 0] = size[2] - 1 - centres[:, 0]
    target = _target(tissue, ids, item.exact, kind)
    offsets = np.zeros((3, *size), dtype=np.float32)
    if kind == "fine":
        axes = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in size), indexing="ij")
        inside = (ids > 0) & (target != IGNORE)
        for n, axis in enumerate(axes[::-1]):
            offsets[n] = np.where(inside, (centres[ids, n] - axis) * (spacing / OFFSET_MM), 0)
    _field_of_view(image, target, offsets, CUT_OFTEN[kind], rng)
    return Sample(intensity_channels(image), target, offsets)


def _target(tissue: Array, ids: Array, exact: bool, kind: str) -> Array:
    if kind == "coarse":
        target = COARSE_TISSUE[tissue]
        return np.where(ids > 0, COARSE_LEVEL[ids], target)
    if exact:
        return np.asarray(FINE_TABLE[tissue])
    return np.where(ids > 0, SOME_VERTEBRA, NO_VERTEBRA).astype(np.uint8)
