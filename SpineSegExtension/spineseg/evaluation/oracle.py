"""What faultless networks would say of a digital patient, and the same with networks' errors.

With it instances and names are measured in a second a patient, and apart from the networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..labels import VERTEBRAE, by_name
from ..methods.classes import FineClass
from ..phantom.canvas import Canvas
from ..phantom.chain import Chain, build_chain
from ..phantom.generate import spine_canvas
from ..phantom.settings import PhantomSettings
from ..phantom.skeleton import draw_skeleton
from ..phantom.spine import draw_spine
from ..training.samples import COARSE_LEVEL, COARSE_TISSUE, FINE_TABLE
from ..volume import Volume

__all__ = ["Errors", "Seen", "drawn", "seen_by_networks"]

Array = npt.NDArray[Any]
_ORDER = {level.name: n for n, level in enumerate(VERTEBRAE)}
_COARSE_STEP = 2  # the coarse pass sees every second voxel of a 2 mm canvas


@dataclass(frozen=True)
class Errors:
    """How networks err; each chance is for one patient unless said otherwise.

    Attributes
    ----------
    vote_mm, vote_share : float
        SD of smooth errors of the votes, and how much of their length is left.
    patches : float
        Patches of body called disc, and holes, per vertebra.
    border : float
        Chance that the coarse pass takes a vertebra beside a border for the other region, at each
        border.
    rib : float
        Chance, at each of the two levels beside the last rib, that ribs are overlooked or a
        transverse process is taken for one.
    merged : float
        Chance that fused vertebrae are seen as one, at each block.
    split, lost : float
        Chance that one vertebra is seen as two, and that one is overlooked.
    """

    vote_mm: float = 3.0
    vote_share: float = 0.85
    patches: float = 1.0
    border: float = 0.15
    rib: float = 0.08
    merged: float = 0.5
    split: float = 0.05
    lost: float = 0.03


@dataclass(frozen=True)
class Seen:
    """What networks give: uint8 `FineClass`, votes (3, k, j, i) in mm, and uint8 `CoarseClass`."""

    classes: Volume
    offsets: Array
    regions: Volume


def drawn(settings: PhantomSettings, seed: int) -> tuple[Chain, Canvas]:
    """Draw a patient's bones, as `spineseg.phantom.generate` does, without soft tissue."""
    chain = build_chain(settings, np.random.default_rng([seed, 1]))
    canvas = spine_canvas(chain, settings)
    spine, skeleton, _, worn = np.random.SeedSequence(seed).spawn(4)
    wear = settings.degeneration
    if wear is None:
        wear = float(np.random.default_rng(worn).beta(1.0, 1.8))
    draw_spine(canvas, chain, settings, wear, np.random.default_rng(spine))
    draw_skeleton(canvas, chain, np.random.default_rng(skeleton), settings)
    return chain, canvas


def seen_by_networks(
    chain: Chain,
    canvas: Canvas,
    settings: PhantomSettings,
    errors: Errors | None = None,
    seed: int = 0,
) -> Seen:
    """Turn a drawing into what networks would give.

    Parameters
    ----------
    chain, canvas : from `drawn`
    settings : PhantomSettings
        As given to `drawn`; its fusions may be seen as one vertebra.
    errors : Errors, optional
        None: faultless networks.
    seed : int
        Of the errors.
    """
    classes = FINE_TABLE[canvas.tissue]
    ids = canvas.ids
    region_of = {body.name: int(COARSE_LEVEL[by_name(body.name).verse]) for body in chain.bodies}
    if errors is None:
        offsets = _votes(canvas, ids, {by_name(b.name).verse: b.centre for b in chain.bodies})
        return _seen(canvas, classes, ids, offsets, region_of)
    rng = np.random.default_rng([seed, 31])
    ids, classes = ids.copy(), classes.copy()
    centres = {by_name(b.name).verse: b.centre for b in chain.bodies}
    for fusion in settings.fusions:
        if rng.random() < errors.merged:
            n = chain.index(fusion.level)
            pair = [by_name(b.name).verse for b in chain.bodies[n : n + 2]]
            middle = (centres[pair[0]] + centres[pair[1]]) / 2
            centres[pair[0]] = centres[pair[1]] = middle
    _move_borders(chain, region_of, errors, rng)
    _mistake_ribs(chain, canvas, classes, errors, rng)
    offsets = _votes(canvas, ids, centres)
    _split_one(chain, canvas, classes, offsets, errors, rng)
    if rng.random() < errors.lost:
        gone = chain.bodies[int(rng.integers(len(chain.bodies)))]
        classes[ids == by_name(gone.name).verse] = 0
    _blur(canvas, classes, offsets, ids, errors, rng)
    return _seen(canvas, classes, ids, offsets, region_of)


def _seen(
    canvas: Canvas, classes: Array, ids: Array, offsets: Array, region_of: dict[str, int]
) -> Seen:
    vertebral = np.isin(classes, (FineClass.BODY, FineClass.POSTERIOR))
    offsets *= vertebral
    level = np.zeros(256, dtype=np.uint8)
    for name, region in region_of.items():
        level[by_name(name).verse] = region
    every = (slice(None, None, _COARSE_STEP),) * 3
    small = ids[every]
    regions = np.where(small > 0, level[small], COARSE_TISSUE[canvas.tissue[every]])
    affine = canvas.affine
    coarse = affine.copy()
    coarse[:3, :3] *= _COARSE_STEP
    return Seen(
        Volume(classes, affine),
        offsets.astype(np.float16),
        Volume(regions.astype(np.uint8), coarse),
    )


def _votes(canvas: Canvas, ids: Array, centres: dict[int, Array]) -> Array:
    """Vector in RAS mm from each voxel of a vertebra to its centre, float32 (3, k, j, i)."""
    table = np.zeros((256, 3), dtype=np.float32)
    for label, centre in centres.items():
        table[label] = centre
    offsets = np.zeros((3, *canvas.shape), dtype=np.float32)
    inside = np.nonzero(ids)
    for axis in range(3):
        place = canvas.origin[axis] + canvas.spacing * inside[2 - axis]
        offsets[axis][inside] = table[ids[inside], axis] - place
    return offsets


def _move_borders(
    chain: Chain, region_of: dict[str, int], errors: Errors, rng: np.random.Generator
) -> None:
    """Let the coarse pass take the first or the last level of a region for its neighbour's."""
    names = [body.name for body in chain.bodies]
    own = dict(region_of)
    for upper, lower in zip(names[:-1], names[1:], strict=True):
        if own[upper] != own[lower] and rng.random() < errors.border:
            if rng.random() < 0.5:
                region_of[upper] = own[lower]
            else:
                region_of[lower] = own[upper]


def _mistake_ribs(
    chain: Chain, canvas: Canvas, classes: Array, errors: Errors, rng: np.random.Generator
) -> None:
    """Overlook the lowest ribs, or take the transverse processes below them for ribs."""
    names = [body.name for body in chain.bodies]
    last = names.index("L1") - 1
    overlooked, mistaken = rng.random(2) < errors.rib
    z = canvas.origin[2] + canvas.spacing * np.arange(canvas.shape[0])
    if overlooked:
        body = chain.bodies[last]
        near = np.abs(z - body.centre[2]) < 0.5 * (body.size.height + body.disc)
        part = classes[near]
        part[part == FineClass.RIB] = 0
        classes[near] = part
    if mistaken:
        body = chain.bodies[last + 1]
        own = canvas.ids == by_name(body.name).verse
        x = canvas.origin[0] + canvas.spacing * np.arange(canvas.shape[2])
        aside = np.abs(x - body.centre[0]) > 0.36 * body.size.transverse
        classes[own & aside[None, None, :]] = FineClass.RIB


def _split_one(
    chain: Chain,
    canvas: Canvas,
    classes: Array,
    offsets: Array,
    errors: Errors,
    rng: np.random.Generator,
) -> None:
    """Let the halves of a body vote for their own middles, with something like a disc between."""
    pick = int(rng.integers(2, len(chain.bodies)))
    if rng.random() >= errors.split:
        return
    body = chain.bodies[pick]
    where = np.nonzero((canvas.ids == by_name(body.name).verse) & (classes == FineClass.BODY))
    if not len(where[0]):
        return
    ras = canvas.origin + canvas.spacing * np.stack(where[::-1], axis=1)
    up = (ras - body.centre) @ body.rotation[:, 2]
    quarter = np.where(up > 0, 1.0, -1.0)[:, None] * body.rotation[:, 2] * body.heights[1] / 4
    votes = body.centre + quarter - ras
    for axis in range(3):
        offsets[axis][where] = votes[:, axis]
    slab = np.abs(up) < 1.5
    classes[tuple(index[slab] for index in where)] = FineClass.DISC


def _blur(
    canvas: Canvas,
    classes: Array,
    offsets: Array,
    ids: Array,
    errors: Errors,
    rng: np.random.Generator,
) -> None:
    """Shorten and disturb the votes, call patches of body disc, and make holes."""
    coarse = tuple(n // 4 + 2 for n in canvas.shape)
    for axis in range(3):
        field = ndimage.gaussian_filter(rng.standard_normal(coarse), 1.5)
        field *= errors.vote_mm / max(float(field.std()), 1e-6)
        big = field.repeat(4, 0).repeat(4, 1).repeat(4, 2)
        big = big[: canvas.shape[0], : canvas.shape[1], : canvas.shape[2]]
        offsets[axis] = offsets[axis] * errors.vote_share + big
    body = np.argwhere(classes == FineClass.BODY)
    labels = np.unique(ids[ids > 0])
    for n in range(rng.poisson(errors.patches * len(labels)) if len(body) else 0):
        k, j, i = body[int(rng.integers(len(body)))]
        r = int(np.ceil(5.0 / canvas.spacing))
        box = tuple(slice(max(0, c - r), c + r + 1) for c in (k, j, i))
        grid = np.ogrid[
            tuple(slice(s.start, min(s.stop, n)) for s, n in zip(box, classes.shape, strict=True))
        ]
        away = sum((g - c) ** 2 for g, c in zip(grid, (k, j, i), strict=True))
        patch = (away * canvas.spacing**2 < rng.uniform(2, 5) ** 2) & (
            classes[box] == FineClass.BODY
        )
        classes[box][patch] = FineClass.DISC if n % 2 else FineClass.BACKGROUND
