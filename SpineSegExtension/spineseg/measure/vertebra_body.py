"""Six-point morphometry of the vertebral bodies of a label map, in three sagittal planes each.

In a vertebra's own frame (`spineseg.measure.endplates`) columns along its axis give where its upper
and its lower endplate lie. In the middle plane, and half of the half-width to either side, a smooth
curve through each endplate, spurs and focal depressions left out, is read near the front wall, in
the middle and near the back wall: six points a plane, as in quantitative morphometry (Genant et
al., J Bone Miner Res 1993;8:1137–1148). A height is the distance of an upper from its lower point.

All positions are RAS mm. A collapsed body may be thinner than its arch, and its endplates may be no
planes; then its axes are its neighbours' (and see `spineseg.measure.body_places`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg import labels
from spineseg.measure.endplates import (
    BodyFrame,
    MaskField,
    axes_with_up,
    fit_bodies,
    placed_body,
)
from spineseg.volume import Volume

__all__ = ["PLACES", "PLANES", "VertebraBody", "measure_bodies"]

Floats = NDArray[np.float64]

PLANES = ("left", "middle", "right")
PLACES = ("anterior", "middle", "posterior")
SIDE = 0.5  # of the half-width, where the side planes lie: inside the pedicles
EDGE = 0.90  # of the half-depth, where the front and back points lie
_SLAB = np.linspace(
    -0.26, 0.26, 7
)  # of the half-width: lines that count for a plane, to calm steps
_ALONG = np.linspace(-0.86, 0.86, 31)  # of the half-depth; farther out the rim is round
_ACROSS = np.linspace(-0.8, 0.8, 17)
_STEP_MM = 0.5
_GRID_MM = 1.5  # of the maps of endplates
_DEGREE = 2
_DEEP_MM = 1.0  # farther from the smooth endplate a column shows a node or a spur
_LEAST = 12  # columns that an endplate's curve needs
_HEIGHT_MM = (1.5, 45.0)
_BULGE = 1.25  # times front or back: no body is so much higher in its middle, a mask cut askew is
_WITHOUT = tuple(level.name for level in labels.VERTEBRAE[:2])


@dataclass(frozen=True, eq=False)
class VertebraBody:
    """One vertebra, measured.

    Attributes
    ----------
    label : int
        In the label map.
    name : str
        "L1", or "unsure 1".
    centre : (3,) float64
        Middle of its body, RAS mm.
    axes : (3, 3) float64 or None
        Columns: to the patient's right, forwards and up, RAS unit vectors.
    half_mm : (3,) float64 or None
        Half of the body's width, depth and height.
    points : (3, 2, 3, 3) float64 or None
        RAS mm by plane (`PLANES`), endplate (upper, lower) and place (`PLACES`).
    concavity_mm : tuple of float or None
        How deep the upper and the lower endplate lie below their rims in the middle plane.
    node_mm : tuple of float or None
        The deepest focal depression of either endplate, below its smooth surface.
    area_mm2, volume_ml : float or None
        Of the body: in the middle plane, and without arch and processes.
    problem : str
        Why there are no points; empty where there are.
    step_mm : float or None
        How far apart the label map's voxels are along the body's axis: slices, as a rule.
    """

    label: int
    name: str
    centre: Floats
    axes: Floats | None = None
    half_mm: Floats | None = None
    points: Floats | None = None
    concavity_mm: tuple[float, float] | None = None
    node_mm: tuple[float, float] | None = None
    area_mm2: float | None = None
    volume_ml: float | None = None
    problem: str = ""
    step_mm: float | None = None

    @property
    def heights(self) -> Floats | None:
        """Heights (3, 3) in mm by plane and place; None where there are no points."""
        if self.points is None:
            return None
        return np.asarray(np.linalg.norm(self.points[:, 0] - self.points[:, 1], axis=-1))

    @property
    def heights_mm(self) -> dict[str, float] | None:
        """Heights of the middle plane by place."""
        heights = self.heights
        if heights is None:
            return None
        return {name: float(h) for name, h in zip(PLACES, heights[1], strict=True)}

    @property
    def wedge_deg(self) -> float | None:
        """Angle between the endplates in the middle plane, positive where the front is lower."""
        if self.points is None or self.axes is None:
            return None
        rim = self.points[1][:, [0, 2]] @ self.axes[:, 1:]
        upper, lower = rim[:, 0] - rim[:, 1]
        tilts = [np.arctan2(line[1], line[0]) for line in (upper, lower)]
        return float(np.degrees(tilts[1] - tilts[0]))

    def with_points(self, middle: Sequence[Sequence[Sequence[float]]] | Floats) -> VertebraBody:
        """Return the vertebra with other points (2, 3, 3) in its middle plane, RAS mm.

        The rest stays as measured, but for what follows from them: heights and wedge.
        """
        if self.points is None:
            raise ValueError("a vertebra without points has none to move")
        points = self.points.copy()
        points[1] = np.asarray(middle, dtype=float)
        return replace(self, points=points)


def measure_bodies(segmentation: Volume) -> list[VertebraBody]:
    """Measure every vertebra of a label map, from the top.

    Parameters
    ----------
    segmentation : Volume
        Whole numbers (k, j, i): VerSe ids, or 101, 102 … where levels are unsure.

    Returns
    -------
    list of VertebraBody
        None is left out but the sacrum: one that can't be measured says why.
    """
    frames = [f for f in fit_bodies(segmentation) if f.label != labels.SACRUM.verse]
    boxes = ndimage.find_objects(segmentation.array.astype(np.uint8, copy=False))
    fields = {f.label: _field(segmentation, f.label, boxes[f.label - 1]) for f in frames}
    frames = _mended(frames, fields)
    bodies = [_measured(frame, fields[frame.label], segmentation) for frame in frames]
    return _from_the_top([*bodies, *_scraps(segmentation, boxes, {b.label for b in bodies})])


def _scraps(
    segmentation: Volume, boxes: Sequence[tuple[slice, ...] | None], measured: set[int]
) -> list[VertebraBody]:
    """Return the vertebrae that are too little to be fitted at all: told, not dropped."""
    found = []
    for label, box in enumerate(boxes, start=1):
        if box is None or label in measured or not labels.is_vertebra(label):
            continue
        inside = np.argwhere(segmentation.array[box] == label) + [s.start for s in box]
        centre = segmentation.ijk_to_ras(inside[:, ::-1].astype(float)).mean(axis=0)
        name = labels.display_name(label)
        found.append(VertebraBody(label, name, centre, problem="only a scrap of it is there"))
    return found


def _from_the_top(bodies: list[VertebraBody]) -> list[VertebraBody]:
    """Sort vertebrae from the head down: by their levels where all are known, else by height."""
    if any(body.label >= labels.FIRST_UNSURE for body in bodies):
        return sorted(bodies, key=lambda body: -body.centre[2])
    table = [level.verse for level in labels.VERTEBRAE]
    return sorted(bodies, key=lambda body: table.index(body.label))


def _field(segmentation: Volume, label: int, box: tuple[slice, ...]) -> MaskField:
    crop = segmentation.crop([s.start for s in box], [s.stop for s in box])
    filled = ndimage.binary_fill_holes(crop.array == label)
    return MaskField(crop.like(filled.astype(np.float32)).pad((3, 3, 3), (3, 3, 3), 0))


def _mended(frames: list[BodyFrame], fields: dict[int, MaskField]) -> list[BodyFrame]:
    """Give vertebrae without flat endplates, or without an arch, their neighbours' axes."""
    sound = [n for n, f in enumerate(frames) if f.axes is not None]
    mended = list(frames)
    for n, frame in enumerate(frames):
        if n in sound or not sound or frame.name in _WITHOUT:
            continue
        near = sorted(sound, key=lambda m: abs(m - n))[:2]
        known = [a for m in near if (a := frames[m].axes) is not None]
        total = np.sum(known, axis=0)
        axes = axes_with_up(total[:, 2], total[:, 1])
        placed = placed_body(fields[frame.label], frame.centre, axes)
        if placed is not None:
            mended[n] = replace(frame, centre=placed[0], half_mm=placed[1], axes=axes)
    return mended


def _measured(frame: BodyFrame, field: MaskField, segmentation: Volume) -> VertebraBody:
    body = VertebraBody(frame.label, frame.name, frame.centre)
    if frame.name in _WITHOUT:
        return replace(body, problem=f"{frame.name} has no body with two endplates")
    if frame.axes is None or frame.half_mm is None:
        return replace(body, problem=_unfit(frame))
    axes = frame.axes
    placed = placed_body(field, frame.centre, axes)
    if placed is None:
        return replace(body, problem=_unfit(frame))
    centre, half = placed
    voxels = np.abs(np.linalg.solve(segmentation.affine[:3, :3], axes[:, 2])).max()
    body = replace(body, centre=centre, axes=axes, half_mm=half, step_mm=1.0 / float(voxels))
    if not frame.complete and _leaves(segmentation, frame.label, centre, axes, half):
        return replace(body, problem="its body is cut by the edge of the scan")
    planes = [_plane(field, centre, axes, half, x) for x in (-SIDE, 0.0, SIDE)]
    if any(plane is None for plane in planes):
        return replace(body, problem="its endplates can't be told")
    points = np.stack([plane for plane in planes if plane is not None])
    heights = np.linalg.norm(points[:, 0] - points[:, 1], axis=-1)
    upside = ((points[:, 0] - points[:, 1]) @ axes[:, 2]).min() <= 0
    front, middle, back = heights.mean(axis=0)
    bulges = middle > _BULGE * max(front, back)
    if upside or bulges or not _HEIGHT_MM[0] <= heights.min() <= heights.max() <= _HEIGHT_MM[1]:
        return replace(body, problem="its heights are not plausible")
    top, bottom, volume = _surfaces(field, centre, axes, half)
    return replace(
        body,
        points=points,
        concavity_mm=(_concavity(points[1, 0], axes), -_concavity(points[1, 1], axes)),
        node_mm=(_node(top), _node(-bottom)),
        area_mm2=_area(field, centre, axes, half),
        volume_ml=volume / 1000.0,
    )


def _unfit(frame: BodyFrame) -> str:
    cut = "" if frame.complete else ", and it is cut by the edge of the scan"
    return "its body can't be told from the rest of the mask" + cut


def _leaves(segmentation: Volume, label: int, centre: Floats, axes: Floats, half: Floats) -> bool:
    """Whether the body, and not just an arch or a process, reaches the edge of the label map."""
    array, shape = segmentation.array, segmentation.shape
    for axis in range(3):
        for end in (0, shape[axis] - 1):
            face = np.argwhere(np.take(array, end, axis=axis) == label)
            if not len(face):
                continue
            index = np.insert(face, axis, end, axis=1)[:, ::-1]
            place = (segmentation.ijk_to_ras(index) - centre) @ axes / half
            if (np.abs(place[:, :2]) < 0.8).all(axis=1).any():
                return True
    return False


def _columns(
    field: MaskField, starts: Floats, up: Floats, half_height: float
) -> tuple[Floats, Floats]:
    """Return the lower and upper end (n,), mm along `up`, of the bone at points (n, 3); NaN: none.

    A column's bone is the run of voxels nearest the point, so that neither a process below nor a
    hole in the mask ends it.
    """
    reach = 1.7 * half_height + 5.0
    steps = np.arange(-reach, reach + _STEP_MM / 2, _STEP_MM)
    values = field.at(starts[:, None, :] + steps[None, :, None] * up)
    inside = values >= 0.5
    far = np.where(inside, np.abs(steps), np.inf)
    first = far.argmin(axis=1)
    rows = np.arange(len(starts))
    known = far[rows, first] < 0.7 * half_height + 1.0
    place = np.arange(len(steps))
    ends = []
    for sign in (-1, 1):
        beyond = ~inside & ((place - first[:, None]) * sign > 0)
        off = np.where(beyond, np.abs(place - first[:, None]), len(steps) * 2).min(axis=1)
        known &= off < len(steps) * 2
        outer = np.clip(first + sign * off, 0, len(steps) - 1)
        inner = np.clip(outer - sign, 0, len(steps) - 1)
        a, b = values[rows, inner], values[rows, outer]
        share = (a - 0.5) / np.maximum(a - b, 1e-6)
        ends.append(steps[inner] + sign * share * _STEP_MM)
    low, high = (np.where(known, end, np.nan) for end in ends)
    return low, high


def _walls(
    field: MaskField, centre: Floats, axes: Floats, half: Floats, x: float
) -> tuple[float, float]:
    """Return where the front and back wall lie in a plane, mm forwards of the centre."""
    shifts = [(a, b) for a in (-3.0, 0.0, 3.0) for b in (-0.35, 0.0, 0.35)]
    side = x * half[0]
    starts = np.array([centre + (side + a) * axes[:, 0] + b * half[2] * axes[:, 2]
                       for a, b in shifts])  # fmt: skip
    front = float(np.nanmedian(np.append(field.exits(starts, axes[:, 1]), half[1])))
    back = field.exits(starts, -axes[:, 1])
    back = np.where(np.isnan(back), half[1], back)
    # Beside the middle plane, pedicles may run on from the wall.
    return min(front, 1.3 * half[1]), -min(float(np.median(back)), 1.1 * half[1])


def _plane(field: MaskField, centre: Floats, axes: Floats, half: Floats, x: float) -> Floats | None:
    """Return the six points (2, 3, 3) of a sagittal plane at `x` half-widths; None if unknown."""
    front, back = _walls(field, centre, axes, half, x)
    middle, deep = (front + back) / 2, (front - back) / 2
    u, side = (a.ravel() for a in np.meshgrid(_ALONG, _SLAB, indexing="ij"))
    starts = centre + ((x + side) * half[0])[:, None] * axes[:, 0]
    starts = starts + (middle + u * deep)[:, None] * axes[:, 1]
    low, high = _columns(field, starts, axes[:, 2], float(half[2]))
    points = np.zeros((2, 3, 3))
    for n, ends in enumerate((high, low)):
        known = np.isfinite(ends)
        if known.sum() < _LEAST * len(_SLAB) / 2:
            return None
        curve = _curve(u[known], ends[known])
        for place, at in enumerate((EDGE, 0.0, -EDGE)):
            forward = (middle + at * deep) * axes[:, 1]
            height = np.polyval(curve, at) * axes[:, 2]
            points[n, place] = centre + x * half[0] * axes[:, 0] + forward + height
    return points


def _curve(u: Floats, ends: Floats) -> Floats:
    """Fit a polynomial through an endplate, what lies far from it left out."""
    keep = np.ones(len(u), dtype=bool)
    found = np.polyfit(u, ends, _DEGREE)
    for _ in range(4):
        away = np.abs(ends - np.polyval(found, u))
        spread = 1.4826 * float(np.median(away[keep]))
        keep = away <= max(2.5 * spread, _DEEP_MM)
        if keep.sum() < _LEAST:
            break
        found = np.polyfit(u[keep], ends[keep], _DEGREE)
    return np.asarray(found)


def _surfaces(
    field: MaskField, centre: Floats, axes: Floats, half: Floats
) -> tuple[Floats, Floats, float]:
    """Return maps (x, y) of the upper and lower endplate, mm up, and the body's volume, mm³."""
    front, back = _walls(field, centre, axes, half, 0.0)
    x = np.arange(-1.15 * half[0], 1.15 * half[0], _GRID_MM)
    y = np.arange(back, front + 4.0, _GRID_MM)
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    starts = centre + grid.reshape(-1, 2) @ axes[:, :2].T
    low, high = (e.reshape(grid.shape[:2])
                 for e in _columns(field, starts, axes[:, 2], float(half[2])))  # fmt: skip
    volume = float(np.nansum(high - low)) * _GRID_MM**2
    middle, deep = (front + back) / 2, (front - back) / 2
    oval = np.hypot(grid[..., 0] / half[0], (grid[..., 1] - middle) / deep) <= 0.85
    return np.where(oval, high, np.nan), np.where(oval, low, np.nan), volume


def _node(surface: Floats) -> float:
    """Return how far a place of an endplate (map, mm outwards) lies below its smooth surface."""
    known = np.isfinite(surface)
    if known.sum() < 30:
        return 0.0
    x, y = (a / max(surface.shape) for a in np.nonzero(known))
    z = surface[known]
    x, y = x - x.mean(), y - y.mean()
    terms = np.stack([x**a * y**b for a in range(4) for b in range(4 - a)], axis=1)
    keep = np.ones(len(z), dtype=bool)
    away = np.zeros(len(z))
    for _ in range(4):
        away = z - terms @ np.linalg.lstsq(terms[keep], z[keep], rcond=None)[0]
        keep = np.abs(away) < max(2.5 * 1.4826 * float(np.median(np.abs(away[keep]))), _DEEP_MM)
        if keep.sum() < 2 * terms.shape[1]:
            break
    full = np.zeros(surface.shape)
    full[known] = away
    # The mean over 3 mm: single voxels are no depression.
    return max(0.0, -float(ndimage.uniform_filter(full, 2).min()))


def _concavity(plate: Floats, axes: Floats) -> float:
    """Return how far the middle of an endplate (3, 3) lies below the line of its rims, mm."""
    return float(((plate[0] + plate[2]) / 2 - plate[1]) @ axes[:, 2])


def _area(field: MaskField, centre: Floats, axes: Floats, half: Floats) -> float:
    """Return the body's area in the middle plane, mm²."""
    front, back = _walls(field, centre, axes, half, 0.0)
    y = np.arange(back, front + 4.0, 0.5)
    low, high = _columns(field, centre + y[:, None] * axes[:, 1], axes[:, 2], float(half[2]))
    return float(np.nansum(high - low) * 0.5)
