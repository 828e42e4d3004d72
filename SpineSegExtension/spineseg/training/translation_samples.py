"""Windows for the translation of MR to CT: digital pairs, real MR and real CT.

A digital patient gives an MR and a CT of the same anatomy, voxel on voxel, and says what is where.
A real MR gives itself and, where its bodies were outlined, where bone must be; a real CT only
itself. Arrays are (k, j, i) on 1.5 mm along the RAS axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..intensity import ct_to_unit, mr_range, mr_to_unit
from ..methods.classes import OFFSET_MM, FineClass
from ..phantom.render import random_scanner, render_ct
from ..phantom.render_mr import render_mr
from ..phantom.sequence import random_sequence
from .pool import FINE_MM, Item
from .samples import FINE_TABLE, IGNORE
from .translation_pool import SACRUM, Real
from .warps import Warp

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]
#: Target code of a voxel that is anything but a vertebral body.
NOT_BODY = 102
#: Above the uppermost outlined body lie others, cut or left out: nothing is known there.
_UNSURE_MM = 6.0
#: Shares of the windows of real MR that lie anywhere, and of the rest round a place in the sacrum.
_ELSEWHERE, _ON_SACRUM = 0.25, 0.25
#: Soft tissue is known this far round a body's mask; nearer than ``_EDGE_MM`` masks are not exact.
_EDGE_MM, _RING_MM = 2.0, 6.0


@dataclass(frozen=True)
class PairSample:
    """One window of an MR and what is known of it.

    Attributes
    ----------
    mr, ct : float32 (k, j, i) in the networks' units; ``ct`` is zero where ``paired`` is False
    target : uint8, `FineClass`, or ``NOT_BODY`` or ``IGNORE``
    offsets : float32 (3, k, j, i), to the own body's centre, RAS, in ``OFFSET_MM``
    voting : bool, where the offsets are known
    density : int8, 1 where bone must be dense, -1 where there is soft tissue, 0 unknown
    """

    mr: Array
    ct: Array
    paired: bool
    target: Array
    offsets: Array
    voting: Array
    density: Array


def _corner(item: Item, size: Shape, rng: np.random.Generator) -> list[int]:
    shape = item.layers.shape[1:]
    inside = [
        np.array(c[::-1])
        for c in item.centres.values()
        if all(0 <= v < n for v, n in zip(c[::-1], shape, strict=True))
    ]
    centre = np.array(shape) / 2
    if inside and rng.random() < 0.9:
        centre = inside[int(rng.integers(len(inside)))] + rng.normal(0, 0.2, 3) * np.array(size)
    return [
        int(np.clip(round(c - s / 2), 0, n - s))
        for c, s, n in zip(centre, size, shape, strict=True)
    ]


def digital_pair(item: Item, size: Shape, rng: np.random.Generator) -> PairSample:
    """An MR and a CT of a drawn patient."""
    corner = _corner(item, size, rng)
    where = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
    tissue, ids, depth, overlay = (np.array(item.layers[n][where]) for n in range(4))
    centres = np.zeros((256, 3), dtype=np.float32)
    for label, centre in item.centres.items():
        centres[label] = np.asarray(centre) - corner[::-1]
    depth = depth.view(np.int8)
    mr = render_mr(tissue, depth, overlay, FINE_MM, random_sequence(rng), rng)
    ct = render_ct(tissue, depth, overlay, FINE_MM, _calm_scanner(rng), rng)
    target = FINE_TABLE[tissue]
    offsets = np.zeros((3, *size), dtype=np.float32)
    axes = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in size), indexing="ij")
    inside = ids > 0
    for n, axis in enumerate(axes[::-1]):
        offsets[n] = np.where(inside, (centres[ids, n] - axis) * (FINE_MM / OFFSET_MM), 0)
    image = _varied(mr_to_unit(mr, mr_range(mr)), rng)
    sample = PairSample(
        image, ct_to_unit(ct), True, target, offsets, inside, np.zeros(size, np.int8)
    )
    return _narrowed(_mirrored(sample) if rng.random() < 0.5 else sample, rng)


def _calm_scanner(rng: np.random.Generator) -> Any:
    """A scanner with little noise, and bone of one density: what an MR can't tell is not asked.

    Cancellous bone is as dense as in young adults and cortex less dense than it is, so that a
    threshold between bone and soft tissue finds whole bodies, not their shells.
    """
    scanner = random_scanner(rng, osteoporosis=0.3)
    return replace(
        scanner, cancellous_hu=float(rng.normal(320, 10)), cortex_hu=600.0, cortex_mm=0.9,
        disc_hu=80.0, contrast_hu=45.0, noise_hu=6.0, kernel_mm=0.5, slice_mm=1.5, texture_hu=12.0,
        soft_shift_hu=0.0, edge=0.0, noise_taps=(0.0, 0.0, 0.0), slice_gap_mm=0.0, sclerosis=0.0,
    )  # fmt: skip


def _mirrored(sample: PairSample) -> PairSample:
    """Left and right change places."""

    def flip(array: Array) -> Array:
        return np.ascontiguousarray(array[..., ::-1])

    offsets = flip(sample.offsets)
    offsets[0] *= -1
    return PairSample(
        flip(sample.mr), flip(sample.ct), sample.paired, flip(sample.target), offsets,
        flip(sample.voting), flip(sample.density),
    )  # fmt: skip


def _narrowed(sample: PairSample, rng: np.random.Generator) -> PairSample:
    """Cut the field of view, as sagittal series barely wider than a body are; often on top too."""
    mr, ct, target = sample.mr, sample.ct, sample.target
    voting, density = sample.voting, sample.density
    for axis, chance in ((2, 0.5), (0, 0.3), (1, 0.1)):
        for end in (False, True):
            if rng.random() > chance:
                continue
            n = mr.shape[axis]
            cut = int(rng.integers(1, n // 4))
            gone: list[Any] = [slice(None)] * 3
            gone[axis] = slice(n - cut, n) if end else slice(0, cut)
            at = tuple(gone)
            mr[at], ct[at], target[at], voting[at], density[at] = -1, -1, 0, False, 0
    return sample


def _varied(image: Array, rng: np.random.Generator) -> Array:
    """Another brightness, contrast and noise: what `mr_range` of a whole scan would change."""
    base = np.clip((image + 1) / 2, 0, None)
    base = base ** np.float32(np.exp(rng.uniform(-0.4, 0.4))) * np.float32(rng.uniform(0.75, 1.3))
    out = 2 * base - 1 + np.float32(rng.uniform(-0.08, 0.08))
    if rng.random() < 0.5:
        out = out + np.float32(rng.uniform(0, 0.08)) * rng.standard_normal(
            image.shape, dtype=np.float32
        )
    return np.asarray(np.clip(out, -1, 1.5), dtype=np.float32)


def _bent(shape: Shape, centre: Array, rng: np.random.Generator) -> Warp:
    """A window round ``centre`` (k, j, i), turned, scaled, and often bent to a side.

    Real MR of scoliosis are not at hand: slices are shifted along a sine, as in a scoliotic spine,
    within the little room that a lumbar series leaves.
    """
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.normal(0, 7, 3))):
        one = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    matrix = turn @ np.diag(1 / (rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)))
    if rng.random() < 0.5:
        matrix = matrix @ np.diag([1.0, 1.0, -1.0])
    offset = centre - matrix @ (np.array(shape) / 2)
    bend = None
    if rng.random() < 0.5:
        k = np.arange(shape[0], dtype=np.float32)
        wave = np.sin(2 * np.pi * (k / rng.uniform(80, 200) + rng.random()))
        bend = np.zeros((3, *shape), dtype=np.float32)
        bend[2] = (rng.uniform(0, 8) * wave)[:, None, None]
        bend[1] = (rng.uniform(-3, 3) * np.roll(wave, shape[0] // 4))[:, None, None]
    return Warp(shape, matrix, np.asarray(offset), bend)


def real_mr(real: Real, size: Shape, rng: np.random.Generator) -> PairSample:
    """A window of a real MR, with what its outlined bodies say, if they were outlined."""
    shape = np.array(real.image.shape)
    centre = rng.uniform(0.25, 0.75, 3) * shape
    if real.bodies is not None:
        marked = np.asarray(real.bodies)
        labels = np.where(marked == SACRUM, 0, marked)
        boxes = [b for b in ndimage.find_objects(labels) if b is not None]
        box = boxes[int(rng.integers(len(boxes)))]
        # Now and then away from the spine: organs and fat must not be taken for bodies.
        if rng.random() < _ELSEWHERE:
            centre = rng.uniform(0.1, 0.9, 3) * shape
        else:
            place = np.argwhere(marked == SACRUM)
            if len(place) and rng.random() < _ON_SACRUM:
                centre = place.mean(axis=0)
            else:
                centre = np.array([(s.start + s.stop) / 2 for s in box])
            centre = centre + rng.normal(0, 1, 3) * [14, 8, 4]
    warp = _bent(size, centre, rng)
    image = warp.take(np.asarray(real.image, dtype=np.float32), 1, -1.0)
    if rng.random() < 0.3:  # thicker slices than these series have
        image = ndimage.gaussian_filter1d(image, rng.uniform(0.3, 1.0), axis=2)
    unknown = np.full(size, IGNORE, dtype=np.uint8)
    nothing = np.zeros(size, dtype=bool)
    offsets = np.zeros((3, *size), dtype=np.float32)
    density = np.zeros(size, dtype=np.int8)
    mr = _varied(image, rng)
    zero = np.zeros(size, dtype=np.float32)
    if real.bodies is None:
        return PairSample(mr, zero, False, unknown, offsets, nothing, density)
    bodies = warp.take(marked, 0, 0)
    target = np.full(size, NOT_BODY, dtype=np.uint8)
    target[bodies == SACRUM] = FineClass.SACRUM
    bodies = np.where(bodies == SACRUM, 0, bodies)
    target[bodies > 0] = FineClass.BODY
    _forget_above(target, bodies, len(boxes), labels, warp)
    voting = _votes(bodies, offsets)
    density = _density(bodies)
    sample = PairSample(mr, zero, False, target, offsets, voting, density)
    for axis, chance in ((0, 0.15), (2, 0.15)):
        if rng.random() < chance:
            _cut_off(sample, axis, rng)
    return sample


def _forget_above(target: Array, bodies: Array, count: int, labels: Array, warp: Warp) -> None:
    """Mark what lies above the uppermost outlined body as unknown, for it shows more of them."""
    rows = np.flatnonzero((labels > 0).any(axis=(1, 2)))
    top = rows.max() - _UNSURE_MM / 1.5
    height = warp.take(
        np.broadcast_to(np.arange(labels.shape[0], dtype=np.float32)[:, None, None], labels.shape),
        1, -1.0,
    )  # fmt: skip
    target[(height > top) & (bodies == 0)] = IGNORE


def _votes(bodies: Array, offsets: Array) -> Array:
    """Write each body's voxels' offsets to its centre; return where they are known."""
    voting = np.zeros(bodies.shape, dtype=bool)
    for label, box in enumerate(ndimage.find_objects(bodies), start=1):
        if box is None:
            continue
        cut = any(s.start == 0 or s.stop == n for s, n in zip(box, bodies.shape, strict=True))
        if cut:  # its centre may lie outside of the window
            continue
        points = np.argwhere(bodies[box] == label) + [s.start for s in box]
        away = (points.mean(axis=0) - points) * (1.5 / OFFSET_MM)
        at = tuple(points.T)
        for axis in range(3):
            offsets[(axis, *at)] = away[:, 2 - axis]
        voting[at] = True
    return voting


def _density(bodies: Array) -> Array:
    """Where bone must be dense and where tissue soft: in bodies, and in front and between them.

    Behind a body are pedicles, and right beside its outline nobody's mask is exact.
    """
    inside = bodies > 0
    if not inside.any():
        return np.zeros(bodies.shape, dtype=np.int8)
    away = ndimage.distance_transform_edt(~inside) * 1.5
    density = inside.astype(np.int8)
    columns = np.flatnonzero(inside.any(axis=(0, 2)))
    back = int(columns.min())
    ring = (away > _EDGE_MM) & (away < _RING_MM)
    # Per slice along the spine, soft tissue is sure in front of the back wall only.
    wall = np.where(inside.any(axis=1), inside.argmax(axis=1), back)
    front = np.asarray(np.arange(bodies.shape[1])[None, :, None] > wall[:, None, :] + 3)
    sides = np.asarray(inside.any(axis=1))[:, None, :]
    density[ring & front & sides] = -1
    return density


def _cut_off(sample: PairSample, axis: int, rng: np.random.Generator) -> None:
    n = sample.mr.shape[axis]
    cut = int(rng.integers(1, n // 4))
    gone: list[Any] = [slice(None)] * 3
    gone[axis] = slice(n - cut, n) if rng.random() < 0.5 else slice(0, cut)
    at = tuple(gone)
    sample.mr[at], sample.target[at] = -1, 0
    sample.voting[at], sample.density[at] = False, 0


def real_ct(real: Real, size: Shape, rng: np.random.Generator) -> Array:
    """A window of a real CT, float32 in the networks' units."""
    shape = np.array(real.image.shape)
    centre = rng.uniform(0.3, 0.7, 3) * shape
    window = _bent(size, centre, rng).take(np.asarray(real.image, dtype=np.float32), 1, -1.0)
    return np.asarray(window)


def digital_ct(item: Item, size: Shape, rng: np.random.Generator) -> Array:
    """A window of a drawn patient's CT, as any scanner shows it, in the networks' units."""
    corner = _corner(item, size, rng)
    where = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
    tissue, _, depth, overlay = (np.array(item.layers[n][where]) for n in range(4))
    ct = render_ct(tissue, depth.view(np.int8), overlay, FINE_MM, random_scanner(rng), rng)
    return ct_to_unit(ct)


def whole_mr(real: Real, size: Shape, rng: np.random.Generator) -> PairSample:
    """A whole MR of the paper's preset, which was brought to ``size`` and varied beforehand."""
    image = np.array(real.image, dtype=np.float32)
    zero, nothing = np.zeros(size, dtype=np.float32), np.zeros(size, dtype=bool)
    unknown, offsets = np.full(size, IGNORE, np.uint8), np.zeros((3, *size), dtype=np.float32)
    return PairSample(image, zero, False, unknown, offsets, nothing, np.zeros(size, np.int8))


def whole_ct(real: Real, size: Shape, rng: np.random.Generator) -> Array:
    """A whole CT of the paper's preset."""
    return np.array(real.image, dtype=np.float32)
