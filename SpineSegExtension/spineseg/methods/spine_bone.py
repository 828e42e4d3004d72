"""Vertebrae from a mask of bone alone: what is spine, where one body ends, which bone is whose.

What a reader of paper 000 does by hand after the threshold (removing everything that is not
spine, then one vertebra after the other), done by shape: bodies are the thickest bone, in a
line; between them a tube along that line is empty. No network takes part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal import find_peaks
from scipy.spatial import cKDTree

from spineseg.geometry.spine_curve import SpineCurve, fit_curve
from spineseg.labels import FIRST_UNSURE, OTHER_BONE
from spineseg.volume import Volume

__all__ = ["assign_bone", "keep_spine", "separate_bodies"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_WORK_MM = 1.5
_CORE_MM = 5.5  # only bodies, sacrum and hips are this deep
_GAP_MM = 24.0  # a disc, and as much of each body as is not deep
_TUBE_MM = 9.0  # round the line: inside every lumbar and thoracic body
_BODY_MM = 27.0  # a body's farthest voxel from the line
_ASIDE_MM, _BEHIND_MM, _AHEAD_MM = 48.0, 85.0, 30.0
_SHORTEST_MM, _LONGEST_MM = 9.0, 48.0  # of a body along the line
_FULL_SHARE = 0.4  # of the tube that bone must fill for a body to be there
_DIP = 0.12  # of that share, by which a disc must be emptier than both bodies
_PEDICLE_MM = 5.0  # thinner bone than this leaves a body at its back
_DROP_MM = 12.0  # posterior parts lie this much lower than their body


def keep_spine(mask: Volume) -> Volume:
    """Remove everything from a mask of bone that is not spine.

    Parameters
    ----------
    mask : Volume
        Non-zero in bone, any orientation.

    Returns
    -------
    Volume
        uint8 0/1 on the same grid; empty where no column of bodies is found.
    """
    work = _working(mask)
    curve = _column(work)
    if curve is None:
        return mask.like(np.zeros(mask.shape, dtype=np.uint8))
    kji = np.argwhere(work.array > 0)
    place = curve.project(np.asarray(work.ijk_to_ras(kji[:, ::-1])))
    inside = (np.abs(place[:, 1]) < _ASIDE_MM) & (place[:, 2] < _BEHIND_MM)
    inside &= place[:, 2] > -_AHEAD_MM
    near = np.zeros(work.shape, dtype=bool)
    near[tuple(kji[inside].T)] = True
    # What hangs together with the bodies, over gaps of a voxel or two; loose specks go.
    parts, _ = ndimage.label(ndimage.binary_dilation(near))
    tube = np.hypot(place[:, 1], place[:, 2]) < _TUBE_MM
    own = np.unique(parts[tuple(kji[inside & tube].T)])
    near &= np.isin(parts, own[own > 0])
    wide = ndimage.binary_dilation(near)
    kept = work.like(wide.astype(np.uint8)).resampled_like(mask, order=0).array > 0
    return mask.like((kept & (mask.array > 0)).astype(np.uint8))


def separate_bodies(mask: Volume, image: Volume | None = None) -> Volume:
    """Part the vertebral bodies at the discs and from their arches.

    Parameters
    ----------
    mask : Volume
        Bone of the spine (`keep_spine`).
    image : Volume, optional
        The CT it was thresholded on, on the same grid: where discs are filled, they still are less
        dense than bodies.

    Returns
    -------
    Volume
        uint8, 1 … n from the top, one a vertebral body; on the same grid.
    """
    work = _working(mask)
    empty = mask.like(np.zeros(mask.shape, dtype=np.uint8))
    curve = _column(work)
    if curve is None:
        return empty
    solid = ndimage.binary_opening(work.array > 0, _ball(_PEDICLE_MM))
    kji = np.argwhere(solid)
    place = curve.project(np.asarray(work.ijk_to_ras(kji[:, ::-1])))
    spans = _spans(work, image, curve)
    labels = np.zeros(work.shape, dtype=np.uint8)
    number = 0
    for begin, end in spans:
        inside = (place[:, 0] >= begin) & (place[:, 0] < end)
        inside &= np.hypot(place[:, 1], place[:, 2]) < _BODY_MM
        own = np.zeros(work.shape, dtype=bool)
        own[tuple(kji[inside].T)] = True
        parts, count = ndimage.label(own)
        if not count:
            continue
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        number += 1
        labels[parts == int(sizes.argmax())] = number
    on_grid = work.like(labels).resampled_like(mask, order=0).array
    return mask.like(np.where(mask.array > 0, on_grid, _filled_in(on_grid, mask)).astype(np.uint8))


def assign_bone(mask: Volume, bodies: Volume) -> Volume:
    """Give each bone voxel of the spine to the vertebra whose body is nearest along the column.

    Posterior parts lie lower than their body, so they are lifted before they are compared.

    Parameters
    ----------
    mask, bodies : Volume
        From `keep_spine` and `separate_bodies`, on one grid.

    Returns
    -------
    Volume
        uint8: 101, 102 … from the top; 100 for bone farther than a vertebra's height from every
        body; on the same grid.
    """
    labels = np.where(bodies.array > 0, bodies.array + (FIRST_UNSURE - 1), 0).astype(np.uint8)
    count = int(bodies.array.max())
    rest = (mask.array > 0) & (labels == 0)
    if not count:
        return mask.like(np.where(rest, OTHER_BONE, 0).astype(np.uint8))
    centres = np.array(
        ndimage.center_of_mass(bodies.array > 0, bodies.array, list(range(1, count + 1)))
    )
    ras = np.asarray(mask.ijk_to_ras(centres[:, ::-1]))
    kji = np.argwhere(rest)
    points = np.asarray(mask.ijk_to_ras(kji[:, ::-1]))
    behind = np.clip((ras[:, 1].max() + 10 - points[:, 1]) / 60.0, 0, 1)
    if count > 1:
        curve = SpineCurve.through(ras)
        place, middle = curve.project(points), curve.project(ras)[:, 0]
        behind = np.clip(place[:, 2] / 50.0, 0, 1)
        away = np.abs((place[:, 0] - _DROP_MM * behind)[:, None] - middle)
    else:
        away = np.abs((-points[:, 2] - _DROP_MM * behind)[:, None] + ras[:, 2])
    nearest = away.argmin(axis=1)
    found = np.where(away.min(axis=1) < 0.75 * _LONGEST_MM, nearest + FIRST_UNSURE, OTHER_BONE)
    labels[tuple(kji.T)] = found.astype(np.uint8)
    return mask.like(labels)


def _working(mask: Volume) -> Volume:
    """Return the mask on a grid of its own, along the RAS axes, without holes; uint8."""
    turned = mask.like((mask.array > 0).astype(np.float32)).reoriented("RAS")
    work = turned.resampled((_WORK_MM,) * 3, order=1)
    solid = np.asarray(work.array > 0.5)
    # Shells with gaps are closed to find what is hollow; thin discs must not be closed with them.
    closed = ndimage.binary_closing(np.pad(solid, 4), _ball(3.0))[4:-4, 4:-4, 4:-4]
    filled = closed.copy()
    for axis in (1, 2):
        for part in np.moveaxis(filled, axis, 0):
            # Cancellous bone may be darker than the threshold. In axial slices the canal would be
            # filled as well; in these it is open, through the foramina and between the arches.
            part |= ndimage.binary_fill_holes(part)
    # Up to the shell, which the closing made thicker on its inside.
    hollow = filled & ~closed
    if hollow.any():
        solid |= ndimage.binary_dilation(hollow, _ball(3.0)) & filled
    return work.like(solid.astype(np.uint8))


def _ball(radius_mm: float) -> Bools:
    n = max(1, round(radius_mm / _WORK_MM))
    grid = np.mgrid[-n : n + 1, -n : n + 1, -n : n + 1]
    return np.asarray((grid**2).sum(axis=0) <= n * n + 0.5)


def _column(work: Volume) -> SpineCurve | None:
    """Follow the line of bodies: the chain of deep bone that reaches farthest along the body."""
    depth = ndimage.distance_transform_edt(np.pad(work.array > 0, 1))[1:-1, 1:-1, 1:-1] * _WORK_MM
    core = np.argwhere(depth >= _CORE_MM)
    if len(core) < 50:
        return None
    points = np.asarray(work.ijk_to_ras(core[:, ::-1]))
    some = points[:: max(1, len(points) // 6000)]
    chain = _chains(some)
    heights = [np.ptp(some[chain == n, 2]) for n in range(chain.max() + 1)]
    own = some[chain == int(np.argmax(heights))]
    if len(own) < 10:
        return None
    return fit_curve(own)


def _chains(points: Floats) -> NDArray[np.int64]:
    """Number the groups of points that hang together over gaps of ``_GAP_MM``."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = cKDTree(points).query_pairs(_GAP_MM, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(points),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _spans(work: Volume, image: Volume | None, curve: SpineCurve) -> list[tuple[float, float]]:
    """Return where bodies begin and end along the line, mm, from the top."""
    length = len(curve.points)
    share = _profile(work, image, curve)
    share = ndimage.gaussian_filter1d(share, 1.5)
    discs, _ = find_peaks(-share, prominence=_DIP, distance=_SHORTEST_MM)
    edges = [0.0, *discs.astype(float), float(length)]
    spans = []
    for begin, end in zip(edges, edges[1:], strict=False):
        inside = share[int(begin) : int(end)]
        full = np.flatnonzero(inside > _FULL_SHARE)
        if not len(full):
            continue
        begin, end = begin + float(full[0]), begin + float(full[-1] + 1)
        if end - begin >= _SHORTEST_MM and end - begin <= _LONGEST_MM:
            spans.append((begin, end))
    return spans


def _profile(work: Volume, image: Volume | None, curve: SpineCurve) -> Floats:
    """Return how much of a tube round the line is bone, per millimetre; 0 to 1."""
    ring = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    turns = [(0.0, 0.0), *((r * np.cos(a), r * np.sin(a)) for r in (4.0, _TUBE_MM) for a in ring)]
    total = np.zeros(len(curve.points))
    values = work.array.astype(np.float32)
    if image is not None:
        dense = image.resampled_like(work, order=1).array.astype(np.float32)
        bone = dense[work.array > 0]
        low, high = np.percentile(bone, (5, 60)) if len(bone) else (0.0, 1.0)
        values = values * np.clip((dense - low) / max(high - low, 1.0), 0.3, 1.0)
    for right, back in turns:
        at = curve.points + right * curve.right + back * curve.back
        index = np.asarray(work.ras_to_ijk(at))[:, ::-1].T
        total += ndimage.map_coordinates(values, index, order=1, mode="constant")
    return np.asarray(total / len(turns))


def _filled_in(labels: NDArray[np.uint8], mask: Volume) -> NDArray[np.uint8]:
    """Return the labels inside bodies' hollows, where the mask itself has none."""
    hollow = np.zeros(labels.shape, dtype=np.uint8)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        own = (labels[box] == label) & (mask.array[box] > 0)
        full = own.copy()
        for n in range(own.shape[0]):
            full[n] |= ndimage.binary_fill_holes(own[n])
        for n in range(own.shape[2]):
            full[:, :, n] |= ndimage.binary_fill_holes(own[:, :, n])
        view = hollow[box]
        view[full & (labels[box] == label)] = label
    return hollow
