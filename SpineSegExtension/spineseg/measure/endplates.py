"""Endplate planes and axes of the vertebrae of a label map.

For each vertebra the body is looked for where the bone is thickest. From its middle, parallel rays
run along the spine to the first voxel that is not of this vertebra; the planes that rest on their
ends, beaks at the outer rim left out, are its endplates, as a clinician lays a line on the rims.
Rays along the mean of the two normals then give the final planes. The body's sideways and forward
axes come from mirror symmetry: the plane through the body along its axis that best maps the
vertebra, with its arch and processes, onto itself.

All positions are RAS mm; normals point to the head. C1 has no body and the upper end of C2 is its
dens: neither gets such a plane. Of the sacrum only the upper endplate (S1's) is measured, with rays
from the vertebra above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from spineseg import labels
from spineseg.measure.body_places import body_centre, in_line
from spineseg.measure.heights import spine_directions
from spineseg.volume import Volume

__all__ = [
    "BodyFrame", "Endplate", "MaskField", "axes_with_up", "fit_bodies", "fit_body",
    "placed_body",
]  # fmt: skip

Floats = NDArray[np.float64]

_REACH_MM = 30.0  # from a body's middle to beyond its endplates; half of its depth and width, too
_STEP_MM = 0.5  # along a ray
_CORE = 0.9  # of the half axes: farther out is the rounded rim, and osteophytes
_ACROSS = 21  # rays along each axis
_ROUNDS = 3
_SMOOTH_VOXELS = 0.7  # of the mask, so that a plate's place is known to parts of a voxel
_TRIM = 2.5  # robust standard deviations
_LEAST_RAYS = 60
_BODY_MM = (3.0, 30.0)  # plausible half depth and half width of a body
_HALF_HEIGHT_MM = (1.5, 25.0)
_ROUGHEST_MM = 3.0  # farther from its own plane an endplate is none (crushed, a wrong label)
_STEEPEST = 0.77  # cosine; an endplate more than 40° from square to the spine is none
_RIM = 0.85  # share of an endplate's surface below its plane, which rests on the rim of a dish
_MIRRORED = 3000  # voxels that are mirrored
_MIRROR_BLUR_MM = 2.0
_ODD = _WITHOUT_BODY, _DENS = tuple(level.name for level in labels.VERTEBRAE[:2])


@dataclass(frozen=True, eq=False)
class Endplate:
    """A plane.

    Attributes
    ----------
    centre : (3,) float64
        RAS mm, over the body's middle.
    normal : (3,) float64
        RAS unit vector towards the head.
    rms_mm : float
        How far the endplate's surface lies from its plane.
    """

    centre: Floats
    normal: Floats
    rms_mm: float


@dataclass(frozen=True, eq=False)
class BodyFrame:
    """Endplates and axes of one vertebra.

    Attributes
    ----------
    label : int
        In the label map.
    name : str
        "L1", or "unsure 1".
    centre : (3,) float64
        Middle of the body, RAS mm.
    upper, lower : Endplate or None
        None where it could not be measured.
    axes : (3, 3) float64 or None
        Columns: to the vertebra's right, forwards and up, RAS unit vectors. None where an endplate
        or the arch is missing.
    half_mm : (3,) float64 or None
        Half of the body's width, depth and height.
    complete : bool
        Whether the vertebra lies within the label map.
    """

    label: int
    name: str
    centre: Floats
    upper: Endplate | None
    lower: Endplate | None
    axes: Floats | None
    half_mm: Floats | None
    complete: bool

    @property
    def standing(self) -> Floats:
        """`axes`, or without an arch those that stand on the upper endplate and face ahead."""
        if self.axes is not None:
            return self.axes
        assert self.upper is not None
        return axes_with_up(self.upper.normal, np.array([0.0, 1.0, 0.0]))


def fit_bodies(segmentation: Volume) -> list[BodyFrame]:
    """Return the vertebrae of a label map, and the sacrum, from the top.

    Parameters
    ----------
    segmentation : Volume
        Whole numbers (k, j, i): VerSe ids, or 101, 102 … where levels are unsure.
    """
    array = segmentation.array.astype(np.uint8, copy=False)
    found = ndimage.find_objects(array)
    masks: dict[int, Volume] = {}
    whole: dict[int, bool] = {}
    for label, box in enumerate(found, start=1):
        if box is None or not (labels.is_vertebra(label) or label == labels.SACRUM.verse):
            continue
        crop = segmentation.crop([s.start for s in box], [s.stop for s in box])
        mask = crop.like((crop.array == label).astype(np.float32)).pad((3, 3, 3), (3, 3, 3), 0)
        if mask.array.sum() * mask.voxel_mm3 < 500.0:  # half a millilitre is no vertebra
            continue
        masks[label] = mask
        ends = zip(box, array.shape, strict=True)
        whole[label] = not any(s.start == 0 or s.stop == n for s, n in ends)
    sacrum = masks.pop(labels.SACRUM.verse, None)
    centres = {label: body_centre(mask) for label, mask in masks.items()}
    order = _from_the_top(centres)
    bodied = [n for n in order if labels.display_name(n) not in _ODD]
    places = in_line([centres[n] for n in bodied], [masks[n] for n in bodied])
    centres.update(zip(bodied, places, strict=True))
    ups = _directions(order, centres)
    frames = [
        fit_body(masks[label], label, centres[label], up, whole[label])
        for label, up in zip(order, ups, strict=True)
    ]
    if sacrum is not None:
        frames.append(_sacrum(sacrum, frames, whole[labels.SACRUM.verse]))
    return frames


def _from_the_top(centres: dict[int, Floats]) -> list[int]:
    """Return the labels from the head down: by their table where known, else by height."""
    if any(label >= labels.FIRST_UNSURE for label in centres):
        return sorted(centres, key=lambda n: -centres[n][2])
    table = [level.verse for level in labels.VERTEBRAE]
    return sorted(centres, key=table.index)


def _directions(order: Sequence[int], centres: dict[int, Floats]) -> Floats:
    """Return the spine's upward direction (n, 3); C1 and C2, whose middles mislead, follow C3's."""
    ups = spine_directions(np.array([centres[n] for n in order]).reshape(-1, 3))
    sound = [n for n, label in enumerate(order) if labels.display_name(label) not in _ODD]
    if sound:
        below = spine_directions(np.array([centres[order[n]] for n in sound]).reshape(-1, 3))
        ups[sound] = below
        ups[: sound[0]] = below[0]
    return ups


class MaskField:
    """A mask that can be looked up anywhere: 1 inside, 0 outside, 0.5 at its surface."""

    def __init__(self, mask: Volume, blur_mm: float | None = None) -> None:
        sigma = (
            np.full(3, _SMOOTH_VOXELS)
            if blur_mm is None
            else blur_mm / np.array(mask.spacing)[::-1]
        )
        self.mask = mask
        self.values = ndimage.gaussian_filter(mask.array.astype(np.float32), sigma)
        self._to_ijk = np.linalg.inv(mask.affine)

    def at(self, points: Floats) -> Floats:
        """Return the values at RAS points (…, 3)."""
        ijk = (points.reshape(-1, 3) @ self._to_ijk[:3, :3].T + self._to_ijk[:3, 3])[:, ::-1].T
        values = ndimage.map_coordinates(self.values, ijk, order=1, mode="constant")
        return np.asarray(values, dtype=np.float64).reshape(points.shape[:-1])

    def exits(self, starts: Floats, direction: Floats) -> Floats:
        """Return the mm (n,) from points (n, 3) inside to the surface; NaN where there is none."""
        steps = np.arange(0.0, _REACH_MM + _STEP_MM / 2, _STEP_MM)
        values = self.at(starts[:, None, :] + steps[None, :, None] * direction)
        outside = values < 0.5
        first = outside.argmax(axis=1)
        rows = np.arange(len(starts))
        inner, outer = values[rows, np.maximum(first - 1, 0)], values[rows, first]
        share = (inner - 0.5) / np.maximum(inner - outer, 1e-6)
        return np.where((first > 0), (first - 1 + share) * _STEP_MM, np.nan)


def fit_body(mask: Volume, label: int, centre: Floats, up: Floats, complete: bool) -> BodyFrame:
    """Return one vertebra's frame from its mask (float32, 1 inside, with a rim of zeros).

    Parameters
    ----------
    mask : Volume
    label : int
        In the label map.
    centre, up : (3,) float64
        Its body's middle, RAS mm, and the spine's direction there.
    complete : bool
        Whether it lies within the label map.
    """
    name = labels.display_name(label)
    empty = BodyFrame(label, name, centre, None, None, None, None, complete)
    if name == _WITHOUT_BODY or abs(up[2]) < 0.2:  # the spine does not stand in this image
        return empty
    field = MaskField(mask)
    axes = axes_with_up(up, _first_front(mask, centre, up))
    ends = (-1.0,) if name == _DENS else (1.0, -1.0)
    for _ in range(_ROUNDS):
        placed = placed_body(field, centre, axes)
        if placed is None:
            return empty
        centre, half = placed
        plates = {sign: _plate(field, centre, axes, half, sign) for sign in ends}
        sound = {n: p for n, p in plates.items() if p and p.normal @ up >= _STEEPEST}
        if not sound:
            return empty
        axes = axes_with_up(np.mean([p.normal for p in sound.values()], axis=0), axes[:, 1])
    own = _mirrored(mask, centre, axes) if len(sound) == 2 else None
    return BodyFrame(label, name, centre, sound.get(1.0), sound.get(-1.0), own, half, complete)


def axes_with_up(up: Floats, front: Floats) -> Floats:
    """Return axes (3, 3), columns right, front, up, from a direction up and one near the front."""
    up = up / np.linalg.norm(up)
    front = front - float(front @ up) * up
    front = front / np.linalg.norm(front)
    return np.stack([np.cross(front, up), front, up], axis=1)


def _first_front(mask: Volume, centre: Floats, up: Floats) -> Floats:
    """Return a direction from the posterior parts to the body, or straight ahead without them."""
    ahead = np.array([0.0, 1.0, 0.0]) - up[1] * up
    ahead /= np.linalg.norm(ahead)
    offsets = mask.ijk_to_ras(np.argwhere(mask.array > 0.5)[:, ::-1]) - centre
    behind = offsets[offsets @ ahead < -15.0]
    if len(behind) < 0.05 * len(offsets):
        return np.asarray(ahead)
    own = -behind.mean(axis=0)
    own -= float(own @ up) * up
    own /= np.linalg.norm(own)
    return np.asarray(own if own @ ahead > 0.7 else ahead)


def placed_body(field: MaskField, centre: Floats, axes: Floats) -> tuple[Floats, Floats] | None:
    """Return the body's middle and its half sizes (right, front, up), mm; None if implausible."""
    shifts = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])
    half = np.zeros(3)
    middle = centre.copy()
    for axis, other in ((1, 0), (0, 1), (2, 0)):
        starts = middle + shifts[:, None] * axes[:, other]
        ends = [field.exits(starts, way * axes[:, axis]) for way in (1.0, -1.0)]
        if any(np.isnan(e).all() for e in ends):
            return None
        there, back = (float(np.nanmedian(e)) for e in ends)
        half[axis] = (there + back) / 2
        middle = middle + (there - back) / 2 * axes[:, axis]
    sound = all(_BODY_MM[0] <= h <= _BODY_MM[1] for h in half[:2])
    if not sound or not _HALF_HEIGHT_MM[0] <= half[2] <= _HALF_HEIGHT_MM[1]:
        return None
    return middle, half


def _plate(
    field: MaskField, centre: Floats, axes: Floats, half: Floats, sign: float
) -> Endplate | None:
    """Fit the plane of the upper (sign 1) or lower (−1) endplate."""
    grid = np.linspace(-_CORE, _CORE, _ACROSS)
    right, front = (a.ravel() for a in np.meshgrid(grid, grid, indexing="ij"))
    inside = np.hypot(right, front) <= _CORE
    place = np.stack([right[inside] * half[0], front[inside] * half[1]], axis=1)
    starts = centre + place @ axes[:, :2].T
    height = field.exits(starts, sign * axes[:, 2])
    known = np.isfinite(height) & (height < 2.0 * half[2])
    fitted = _plane(place[known], sign * height[known], max(field.mask.spacing))
    if fitted is None:
        return None
    _, rms = fitted
    at, slope_right, slope_front = sign * _resting(place[known], height[known])
    normal = axes @ np.array([-slope_right, -slope_front, 1.0])
    return Endplate(centre + at * axes[:, 2], normal / np.linalg.norm(normal), rms)


def _plane(place: Floats, height: Floats, voxel_mm: float) -> tuple[Floats, float] | None:
    """Fit height = a + b·x + c·y to points, outliers left out; None if they are no plane."""
    keep = np.ones(len(height), dtype=bool)
    terms = np.column_stack([np.ones(len(height)), place])
    for _ in range(5):
        if keep.sum() < _LEAST_RAYS:
            return None
        found = np.linalg.lstsq(terms[keep], height[keep], rcond=None)[0]
        away = np.abs(height - terms @ found)
        spread = 1.4826 * float(np.median(away[keep]))
        keep = away <= max(_TRIM * spread, voxel_mm)  # a voxel's step is no outlier
    rms = float(np.sqrt((away[keep] ** 2).mean()))
    return (np.asarray(found, dtype=np.float64), rms) if rms <= _ROUGHEST_MM else None


def _mirrored(mask: Volume, centre: Floats, axes: Floats) -> Floats | None:
    """Return axes whose first is square to the vertebra's plane of symmetry; None without an arch.

    The plane may be turned about all of `axes` but the first: with the processes, symmetry shows
    the tilt to the side better than the endplates alone.
    """
    points = mask.ijk_to_ras(np.argwhere(mask.array > 0.5)[:, ::-1]) - centre
    if (points @ axes[:, 1] < -15.0).mean() < 0.05:
        return None  # a body alone is too round to show how it is turned
    points = points[:: max(1, len(points) // _MIRRORED)]
    field = MaskField(mask, _MIRROR_BLUR_MM)

    def side_of(what: Sequence[float]) -> Floats:
        side = axes @ np.array([1.0, float(what[0]) / 10.0, float(what[1]) / 10.0])
        return np.asarray(side / np.linalg.norm(side))

    def cost(what: Sequence[float]) -> float:
        side = side_of(what)
        across = points @ side - float(what[2])
        return -float(field.at(centre + points - 2.0 * across[:, None] * side).mean())

    # Tenths of a radian and millimetres change the overlap about equally.
    trials = [(turn, 0.0, 0.0) for turn in np.arange(-4.0, 4.1, 1.0)]
    start = np.array(min(trials, key=cost))
    simplex = start + np.vstack([np.zeros(3), 0.5 * np.eye(3)])
    best = optimize.minimize(
        cost, start, method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 0.02, "fatol": 1e-5, "maxiter": 120},
    )  # fmt: skip
    side = side_of(best.x)
    up = axes[:, 2] - float(axes[:, 2] @ side) * side
    up /= np.linalg.norm(up)
    return np.stack([side, np.cross(up, side), up], axis=1)


def _sacrum(mask: Volume, frames: Sequence[BodyFrame], complete: bool) -> BodyFrame:
    """Measure the upper endplate of S1, seen from the lower endplate of the vertebra above."""
    label, name = labels.SACRUM.verse, labels.SACRUM.name
    centre = body_centre(mask)
    above = frames[-1] if frames else None
    plate = _first_plate(mask, above) if above else None
    return BodyFrame(label, name, centre, plate, None, None, None, complete)


def _first_plate(mask: Volume, above: BodyFrame) -> Endplate | None:
    """Lay a plane on the rim of S1's upper endplate, which is often a deep dish."""
    if above.lower is None or above.axes is None or above.half_mm is None:
        return None
    field = MaskField(mask)
    grid = np.linspace(-1.0, 1.0, _ACROSS)
    right, front = (a.ravel() for a in np.meshgrid(grid, grid, indexing="ij"))
    inside = np.hypot(right, front) <= 1.0
    place = np.stack([right[inside], front[inside]], axis=1) * above.half_mm[:2]
    axes, origin = axes_with_up(above.lower.normal, above.axes[:, 1]), above.lower.centre
    plate: Endplate | None = None
    for _ in range(_ROUNDS):
        # From above the disc's far side down, whichever way that is tilted.
        steps = np.arange(-5.0, _REACH_MM, _STEP_MM)
        starts = origin + place @ axes[:, :2].T
        values = field.at(starts[:, None, :] - steps[None, :, None] * axes[:, 2])
        first = (values >= 0.5).argmax(axis=1)
        known = first > 0
        if known.sum() < _LEAST_RAYS:
            return plate
        at, slope_right, slope_front = _resting(place[known], -steps[first[known]])
        normal = axes @ np.array([-slope_right, -slope_front, 1.0])
        normal /= np.linalg.norm(normal)
        away = -steps[first[known]] - at - place[known] @ np.array([slope_right, slope_front])
        rms = float(np.sqrt((away**2).mean()))
        plate = Endplate(origin + at * axes[:, 2], normal, rms)
        axes = axes_with_up(normal, axes[:, 1])
    sound = plate is not None and plate.normal @ above.lower.normal >= _STEEPEST
    return plate if sound else None


def _resting(place: Floats, height: Floats) -> Floats:
    """Return a, b, c of the plane a + b·x + c·y that a share `_RIM` of points lies below.

    Quantile regression (Koenker and Bassett, Econometrica 46, 1978) by reweighted least squares.
    """
    terms = np.column_stack([np.ones(len(height)), place])
    weight = np.ones(len(height))
    found = np.zeros(3)
    for _ in range(30):
        root = np.sqrt(weight)[:, None]
        found = np.linalg.lstsq(terms * root, height * root[:, 0], rcond=None)[0]
        away = height - terms @ found
        weight = np.where(away > 0, _RIM, 1.0 - _RIM) / np.maximum(np.abs(away), 0.1)
    return np.asarray(found)
