"""Windows round a point for `vertebra-one`: which vertebra is meant there, and its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..methods.one_vertebra import CENTRUM_DEPTH_MM, SEED, SPACING_MM, WINDOW, network_input
from ..phantom.canvas import DEPTH_UNIT
from ..phantom.codes import Tissue
from ..phantom.render import random_scanner, render_ct
from .pool import Item
from .samples import FINE_TABLE, OUTSIDE_HU

Array = npt.NDArray[Any]
#: A point nearer than this to a vertebra's centre means the nearest one, voxels (15 mm).
NEAR = 10.0
#: Beyond this from every centre, and in no vertebra, a point means none, voxels (30 mm).
FAR = 20.0
_BODY = 1  # FineClass.BODY in FINE_TABLE
_NEGATIVE = 0.1  # share of the points that are meant to hit nothing


@dataclass(frozen=True)
class OneSample:
    """One training window.

    Attributes
    ----------
    image : float32 (4, k, j, i), as `network_input` gives it
    target : uint8 (3, k, j, i), 0 or 1: vertebra, body, centrum
    known : bool (3,), which channels' truth is known
    """

    image: Array
    target: Array
    known: Array


@dataclass(frozen=True)
class Places:
    """Where an item's vertebrae are, voxels (k, j, i): centres of bodies and of the whole."""

    bodies: dict[int, Array]
    wholes: dict[int, Array]
    sacrum: Array

    def away(self, label: int, point: Array) -> float:
        """Distance of a point from a vertebra: from the nearer of its two centres."""
        return float(
            min(
                np.linalg.norm(point - self.bodies[label]),
                np.linalg.norm(point - self.wholes[label]),
            )
        )


def places(item: Item) -> Places:
    """Find the centres of the vertebrae that an item shows at least half of."""
    ids = np.asarray(item.layers[1])
    wholes, bodies = {}, {}
    for label, box in enumerate(ndimage.find_objects(ids), start=1):
        centre = item.centres.get(label)
        if box is None or centre is None:
            continue
        at = np.array(centre[::-1], dtype=float)
        if not all(2 <= c < n - 2 for c, n in zip(at, ids.shape, strict=True)):
            continue
        points = np.argwhere(ids[box] == label) + [s.start for s in box]
        wholes[label], bodies[label] = points.mean(axis=0), at
    sacrum = np.argwhere(item.layers[0, ::4, ::4, ::4] == Tissue.SACRUM) * 4
    return Places(bodies, wholes, sacrum)


def draw_point(where: Places, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """A point (k, j, i) as a click, a walk's guess or a second look would be; now and then off."""
    labels = sorted(where.bodies)
    if not labels or rng.random() < _NEGATIVE:
        if len(where.sacrum) and rng.random() < 0.6:
            chosen = where.sacrum[int(rng.integers(len(where.sacrum)))]
            return np.asarray(chosen + rng.normal(0, 3, 3))
        return np.asarray(rng.uniform(0.1, 0.9, 3) * np.array(shape))
    label = labels[int(rng.integers(len(labels)))]
    kind = rng.random()
    if kind < 0.35:  # a second look, from a centre that was found
        return np.asarray(where.bodies[label] + rng.normal(0, 1.5, 3))
    if kind < 0.55:  # a step along the spine
        return np.asarray(where.bodies[label] + rng.normal(0, 1, 3) * np.array([4.0, 2.5, 2.0]))
    middle = where.bodies if kind < 0.8 else where.wholes
    away = rng.standard_normal(3)
    away *= 8.0 * rng.random() ** (1 / 3) / np.linalg.norm(away)
    return np.asarray(middle[label] + away)


def meant(where: Places, ids: Array, point: Array, known: set[int]) -> int | None:
    """The vertebra that a point means: its label, 0 for none, None where that can't be said."""
    free = [n for n in where.bodies if n not in known]
    away = {n: where.away(n, point) for n in free}
    nearest = min(away, key=lambda n: away[n], default=0)
    if nearest and away[nearest] < NEAR:
        others = [d for n, d in away.items() if n != nearest]
        # Two as near: either answer would be right.
        return None if others and min(others) < away[nearest] + 1.0 else nearest
    at = np.rint(point).astype(int)
    inside = 0
    if all(0 <= a < n for a, n in zip(at, ids.shape, strict=True)):
        inside = int(ids[tuple(at)])
    if inside in away:
        return inside
    if inside == 0 and (not nearest or away[nearest] > FAR):
        return 0
    return None


def _memory(where: Places, label: int, rng: np.random.Generator) -> set[int]:
    """Vertebrae known beforehand: none, all above, all below, or both."""
    kind = rng.random()
    if kind < 0.4:
        return set()
    above = {n for n in where.bodies if n != label and where.bodies[n][0] > where.bodies[label][0]}
    below = set(where.bodies) - above - {label}
    if kind < 0.6:
        return above
    return below if kind < 0.8 else above | below


def _rough(mask: Array, rng: np.random.Generator) -> Array:
    """A memory as an earlier look would leave it: a voxel too thick or too thin in places."""
    kind = rng.random()
    if not mask.any() or kind < 0.4:
        return mask
    small = rng.standard_normal([max(2, n // 8) for n in mask.shape])
    zoom = [n / s for n, s in zip(mask.shape, small.shape, strict=True)]
    field = ndimage.zoom(small, zoom, order=1, grid_mode=True, mode="nearest")
    thin = ndimage.binary_erosion(mask)
    thick = ndimage.binary_dilation(mask)
    return np.asarray(np.where(field > 0.7, thick, np.where(field < -0.7, thin, mask)))


def _window(array: Array, corner: Array, fill: int) -> Array:
    """The window of ``array`` (k, j, i) that starts at ``corner``; ``fill`` lies outside."""
    lo = np.maximum(corner, 0)
    hi = np.minimum(corner + WINDOW, array.shape)
    out = np.full(WINDOW, fill, dtype=array.dtype)
    if (hi > lo).all():
        into = tuple(slice(a, b) for a, b in zip(lo - corner, hi - corner, strict=True))
        out[into] = array[tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))]
    return out


def make_one(item: Item, where: Places, rng: np.random.Generator) -> OneSample:
    """One window round a point of an item."""
    shape = item.layers.shape[1:]
    ids_all = item.layers[1]
    for _ in range(20):
        point = draw_point(where, shape, rng)
        near = min(where.bodies, key=lambda n: where.away(n, point), default=0)
        remembered = _memory(where, near, rng) if near else set()
        label = meant(where, ids_all, point, remembered)
        if label is not None:
            break
    else:
        label, remembered = 0, set(where.bodies)
    corner = np.rint(point).astype(int) - np.array(SEED)
    tissue, ids, depth, overlay = (_window(np.asarray(item.layers[n]), corner, 0) for n in range(4))
    if item.image is not None:
        image = _window(np.asarray(item.image), corner, -1024).astype(np.float32)
        image = image * np.float32(rng.normal(1, 0.05)) + np.float32(rng.normal(0, 15))
        image += np.float32(rng.uniform(0, 15)) * rng.standard_normal(WINDOW, dtype=np.float32)
    else:
        scanner = random_scanner(rng)
        image = render_ct(tissue, depth.view(np.int8), overlay, SPACING_MM, scanner, rng)
    target = np.zeros((3, *WINDOW), dtype=np.uint8)
    if label:
        own = ids == label
        body = own & (FINE_TABLE[tissue] == _BODY)
        deep = depth.view(np.int8) <= -CENTRUM_DEPTH_MM / DEPTH_UNIT
        target[:] = own, body, body & deep
    memory = _rough(np.isin(ids, list(remembered)), rng) if remembered else ids < 0
    parts_known = item.exact or bool(((tissue >= 41) & (tissue <= 48) & (ids > 0)).any())
    if rng.random() < 0.25:
        _cut(image, target, memory, rng)
    if rng.random() < 0.5:
        image, memory, target = image[..., ::-1], memory[..., ::-1], target[..., ::-1]
    known = np.array([True, parts_known, parts_known])
    return OneSample(network_input(image, memory), np.ascontiguousarray(target), known)


def _cut(image: Array, target: Array, memory: Array, rng: np.random.Generator) -> None:
    """End the scan at a plane, as the top and bottom of a table do, or at both sides of the spine.

    A spine scanned alone, 80 mm wide, ends on both sides within one window.
    """
    axis = int(rng.choice(3, p=[0.55, 0.1, 0.35]))
    ends = (False, True) if axis == 2 and rng.random() < 0.7 else (bool(rng.random() < 0.5),)
    n = image.shape[axis]
    # At most up to near the point, where a vertebra would be cut through its body.
    most = n // 2 - 6
    for end in ends:
        cut = int(rng.integers(1, most))
        gone = [slice(None)] * 3
        gone[axis] = slice(n - cut, n) if end else slice(0, cut)
        image[tuple(gone)] = OUTSIDE_HU
        memory[tuple(gone)] = False
        target[(slice(None), *gone)] = 0
