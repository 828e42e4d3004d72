"""Real label maps and labelled scans as items of the training pool.

Label maps without their scan are placed in a made-up body and rendered like digital patients,
turned and scaled a little each time: real shapes, any scanner. Labelled scans keep their own
voxels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..errors import InputError
from ..evaluation.pressed import press_some
from ..io.images import read_volume
from ..labels import SubRegion
from ..phantom.canvas import DEPTH_UNIT
from ..phantom.codes import Tissue
from ..volume import Volume
from .pool import FINE_MM, Item, save_item

Array = npt.NDArray[Any]
#: Working resolution of a label map before it is turned.
WORK_MM = 1.0
_PRESSED = 0.4  # of a scan's vertebrae, where some are


@dataclass(frozen=True)
class LabelSource:
    """One real label map.

    Parameters
    ----------
    labels : file of the label map
    numbering : "verse", "c1-is-24" (24 = C1 … 1 = L5) or "totalsegmentator"
    subregions, image : files on the same grid, when there are any
    name : of its windows in the pool; by default the beginning of the label map's own
    press : 1 and more press some of its vertebrae together, others with every number; 0 leaves it
        as it is. It needs an image.
    """

    labels: Path
    numbering: str = "verse"
    subregions: Path | None = None
    image: Path | None = None
    name: str = ""
    press: int = 0


def pressed(source: LabelSource, times: int) -> list[LabelSource]:
    """Return a labelled scan so often, each time with other vertebrae to be pressed together.

    None where the source has no image: what is rendered has drawn fractures beside it.
    """
    if source.image is None:
        return []
    name = source.name or source.labels.name.split(".")[0]
    return [
        replace(source, subregions=None, name=f"{name}-pressed{n}", press=n)
        for n in range(1, times + 1)
    ]


def known_sources(data: Path, images: bool, leave_out: tuple[str, ...] = ()) -> list[LabelSource]:
    """What the project's data folder holds; ``leave_out`` names files' beginnings to hold out.

    Raises
    ------
    InputError : the folder has no ``vertebra_label_maps``.
    """
    maps, ct = data / "vertebra_label_maps", data / "ct"
    if not maps.is_dir():
        raise InputError(f"{data} has no folder vertebra_label_maps.", "Leave out --data.")
    sources = [
        LabelSource(maps / "bdmap6_c1_l5_predicted.nii.gz", "c1-is-24"),
        LabelSource(maps / "bdmap31_scoliosis_c1_l5_predicted.nii.gz", "c1-is-24"),
        LabelSource(
            maps / "malekosh_t1_l5_vertebrae.nii.gz",
            subregions=maps / "malekosh_t1_l5_subregions.nii.gz",
        ),
        LabelSource(maps / "verse004_t9_l5_vertebrae.nii.gz"),
        LabelSource(maps / "patient13_t12_l5_vertebrae.nii.gz"),
    ]
    if images:
        sources += [
            LabelSource(ct / "verse014_vertebrae.nii.gz", image=ct / "verse014_ct.nii.gz"),
            LabelSource(
                ct / "tptbox_l3_vertebrae.nii.gz",
                subregions=ct / "tptbox_l3_subregions.nii.gz",
                image=ct / "tptbox_l3_ct.nii.gz",
            ),
            LabelSource(
                ct / "totalsegmentator_lumbar_3mm_pseudolabels.nii.gz",
                "totalsegmentator",
                image=ct / "totalsegmentator_lumbar_3mm_ct.nii.gz",
            ),
        ]
    return [s for s in sources if s.labels.exists() and not s.labels.name.startswith(leave_out)]


def to_verse(labels: Array, numbering: str) -> Array:
    """Label map in VerSe ids, uint8; what is no vertebra becomes 0."""
    table = np.zeros(256, dtype=np.uint8)
    if numbering == "verse":
        table[1:26] = np.arange(1, 26)
        table[28] = 28
    elif numbering == "c1-is-24":
        table[1:25] = 25 - np.arange(1, 25)
    elif numbering == "totalsegmentator":
        # 27 is L5 and 50 is C1 in version 2; 26 is S1.
        table[27:51] = 51 - np.arange(27, 51)
    else:
        raise InputError(
            f"'{numbering}' is no known numbering.", "Choose verse or totalsegmentator."
        )
    return np.asarray(table[labels.astype(np.uint8)])


def body_centre(mask: Array) -> Array:
    """Centre of a vertebra's body in voxels (k, j, i) of an isotropic mask.

    The body is the thickest part: voxels weigh by the fourth power of their depth. C1 has no body;
    there the lateral masses give a point near the dens.
    """
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1] ** 4
    axes = np.meshgrid(*(np.arange(n) for n in mask.shape), indexing="ij", sparse=True)
    total = depth.sum()
    return np.array([float((depth * a).sum() / total) for a in axes])


@dataclass(frozen=True)
class Working:
    """A source at ``WORK_MM``, RAS: labels, sub-regions, image, body centres (k, j, i)."""

    ids: Array
    depth: Array
    parts: Array | None
    image: Array | None
    centres: dict[int, Array]


def load_source(source: LabelSource) -> Working:
    """Read a source onto a grid of ``WORK_MM`` along the RAS axes, cut to its vertebrae."""
    labels = read_volume(source.labels)
    ids = Volume(to_verse(labels.array, source.numbering), labels.affine).reoriented("RAS")
    where = ndimage.find_objects((ids.array > 0).astype(np.uint8))[0]
    margin = [int(np.ceil(60.0 / s)) for s in ids.spacing[::-1]]
    low = [max(0, s.start - m) for s, m in zip(where, margin, strict=True)]
    high = [min(n, s.stop + m) for s, m, n in zip(where, margin, ids.shape, strict=True)]
    ids = ids.crop(low, high).resampled((WORK_MM,) * 3, order=0)
    image = parts = None
    if source.image is not None:
        image = read_volume(source.image).resampled_like(ids, order=1, fill=-1024).array
    if source.subregions is not None:
        parts = read_volume(source.subregions).resampled_like(ids, order=0).array.astype(np.uint8)
    centres = {}
    for label, box in enumerate(ndimage.find_objects(ids.array), start=1):
        if box is not None:
            start = np.array([s.start for s in box])
            centres[label] = body_centre(ids.array[box] == label) + start
    if source.press and image is not None:
        # The centres stay: bodies are pressed towards them, and then no longer the thickest parts.
        scan, ids = press_some(ids.like(image), ids, source.press, _PRESSED)
        image = scan.array
    soft = ndimage.gaussian_filter((ids.array > 0).astype(np.float32), 0.8)
    inside = soft > 0.5
    depth = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    return Working(ids.array, depth.astype(np.float32) * WORK_MM, parts, image, centres)


def _surroundings(
    ids: Array, depth: Array, centre_y: float, rng: np.random.Generator, spacing_mm: float
) -> Array:
    """Tissue codes of a body round real vertebrae: muscle behind, organs and fat in front."""

    def blobs() -> Array:
        small = rng.standard_normal([max(4, n // 8) for n in ids.shape])
        zoom = [n / s for n, s in zip(ids.shape, small.shape, strict=True)]
        out = ndimage.zoom(ndimage.gaussian_filter(small, 1.0), zoom, order=1, grid_mode=True,
                           mode="nearest")  # fmt: skip
        return np.asarray(out / out.std())

    first, second = blobs(), blobs()
    tissue = np.full(ids.shape, Tissue.MUSCLE, dtype=np.uint8)
    tissue[first > 1.0] = Tissue.FAT
    front = np.arange(ids.shape[1])[None, :, None] > centre_y + 14
    tissue[front & (second > 0.2)] = Tissue.FAT
    tissue[front & (second < -0.3)] = rng.choice([Tissue.ORGAN, Tissue.LUNG, Tissue.BOWEL])
    tissue[front & (first < -1.2)] = Tissue.VESSEL
    # Between two vertebrae lie discs and the canal; which is which is not said.
    near = ndimage.distance_transform_edt(ids == 0) * spacing_mm < 8.0
    closed = ndimage.distance_transform_edt(near) * spacing_mm > 8.0
    between = closed & (ids == 0)
    tissue[between] = Tissue.DISC
    outer = (ids == 0) & ~between & (depth < 6) & (first > -0.5)
    tissue[outer] = rng.choice([Tissue.FAT, Tissue.MUSCLE])
    return tissue


def turned(
    work: Working, shape: tuple[int, int, int], rng: np.random.Generator,
    spacing_mm: float = FINE_MM, wander: bool = True,
) -> Item:  # fmt: skip
    """A window of ``shape`` voxels near a vertebra, turned and scaled at random.

    ``wander`` moves it off the body's centre, and backwards; else that is the window's middle.
    """
    labels = sorted(work.centres)
    centre = work.centres[labels[int(rng.integers(len(labels)))]]
    middle = centre
    if wander:
        middle = centre + rng.normal(0, 8, 3) + np.array([0, -15 / WORK_MM, 0])
    angles = np.radians(rng.normal(0, 8, 3))
    scale = rng.uniform(0.88, 1.14) * rng.uniform(0.95, 1.05, 3)
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        one = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        one[a, a], one[a, b], one[b, a], one[b, b] = c, -s, s, c
        turn = turn @ one
    matrix = turn @ np.diag(spacing_mm / WORK_MM / scale)
    offset = middle - matrix @ (np.array(shape) / 2)

    def take(array: Array, order: int, fill: float) -> Array:
        return np.asarray(
            ndimage.affine_transform(
                array, matrix, offset, output_shape=shape, order=order, mode="constant", cval=fill
            )
        )

    ids = take(work.ids, 0, 0)
    depth = take(work.depth, 1, 12.7)
    inverse = np.linalg.inv(matrix)
    centres = {
        n: tuple(float(v) for v in (inverse @ (c - offset))[::-1]) for n, c in work.centres.items()
    }
    image = None
    if work.image is not None:
        image = np.rint(take(work.image.astype(np.float32), 1, -1024)).astype(np.int16)
        tissue = np.zeros(shape, dtype=np.uint8)
    else:
        tissue = _surroundings(ids, depth, shape[1] / 2 + 10, rng, spacing_mm)
    part = np.full(shape, SubRegion.BODY, dtype=np.uint8)
    if work.parts is not None:
        known = take(work.parts, 0, 0)
        part = np.where(known > 0, known, SubRegion.BODY).astype(np.uint8)
    tissue = np.where(ids > 0, part, tissue).astype(np.uint8)
    steps = np.clip(np.rint(depth / DEPTH_UNIT), -127, 127).astype(np.int8)
    layers = np.stack([tissue, ids, steps.view(np.uint8), np.zeros(shape, np.uint8)])
    return Item(layers, centres, exact=False, image=image)  # type: ignore[arg-type]


def add_real(
    pool: Path, sources: list[LabelSource], each: int, seed: int = 0,
    shape: tuple[int, int, int] = (112, 96, 96),
) -> Iterator[str]:  # fmt: skip
    """Add ``each`` turned windows of every source to a fine pool, yielding the names written."""
    pool.mkdir(parents=True, exist_ok=True)
    for source in sources:
        name = source.name or source.labels.name.split(".")[0]
        paths = [pool / f"{name}_{n:03d}" for n in range(each)]
        missing = [p for p in paths if not p.with_suffix(".npy").exists()]
        if not missing:
            continue
        work = load_source(source)
        for path in missing:
            rng = np.random.default_rng([seed, int(path.name[-3:]), len(name), ord(name[0])])
            save_item(turned(work, shape, rng), path)
            yield path.name
