"""Volume and body heights of the vertebrae of a label map.

Heights are taken in each vertebra's own mid-sagittal plane: the plane through the centre of its
body that holds the spine's direction there and the direction to its own posterior parts (so an
axially rotated vertebra is cut along its own middle). In that plane the body is

- the given body mask, where the method has one;
- else the part of the vertebra connected to its centre: in the middle plane the canal separates
  the body from the lamina and the spinous process.

The second way fails where the canal is not a gap in the label map (canal painted in, vertebra
fused with its neighbour's label, centre outside the vertebra). Implausible sizes, a vertebra cut
by the field of view, C1 (no body), C2 (the dens) and the sacrum give None: no number is invented.

A height is the mean distance between the endplates along the spine's direction over a tenth of
the body's depth: 5–15 % from the front edge (anterior), 45–55 % (middle), 85–95 % (posterior). The
outermost 5 % are left out because the rounded rim of a voxel mask would shorten them. So a wedge
is measured about 10 % milder than between its outermost corners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from spineseg import labels
from spineseg.result import Vertebra
from spineseg.volume import Volume

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Heights = dict[str, float]  # anterior, middle, posterior, in mm

STEP_MM = 0.25  # sampling step in the mid-sagittal plane
REACH_MM = 45.0  # half size of the sampled plane: the largest lumbar body and its tilt fit
SLAB_MM = (-3.0, -1.5, 0.0, 1.5, 3.0)  # planes averaged: calms voxel steps, stays inside pedicles
DEPTH_MM = (8.0, 55.0)  # plausible depth of a body, from C3 to a large osteophytic L5
HEIGHT_MM = (2.0, 55.0)  # a crushed body up to a tall lumbar one
ZONES = {"anterior": (0.05, 0.15), "middle": (0.45, 0.55), "posterior": (0.85, 0.95)}
BULGE = 1.2  # largest middle height, as a multiple of the higher edge
WITHOUT_BODY = tuple(v.name for v in labels.VERTEBRAE[:2])  # C1 has none, C2 has the dens


def spine_directions(centroids: Points) -> Points:
    """Return the spine's upward direction at each centroid.

    Parameters
    ----------
    centroids : ndarray, shape (N, 3)
        Body centres from the top to the bottom, RAS mm.

    Returns
    -------
    ndarray, shape (N, 3)
        Unit vectors from the lower towards the upper neighbour; a lone vertebra gets +S.
    """
    centroids = np.asarray(centroids, dtype=float)
    up = np.tile([0.0, 0.0, 1.0], (len(centroids), 1))
    if len(centroids) < 2:
        return up
    steps = centroids[:-1] - centroids[1:]
    steps = np.divide(
        steps,
        np.linalg.norm(steps, axis=1, keepdims=True),
        out=np.tile([0.0, 0.0, 1.0], (len(steps), 1)),
        where=np.linalg.norm(steps, axis=1, keepdims=True) > 0,
    )
    tangents = np.vstack([steps[:1], steps[:-1] + steps[1:], steps[-1:]])
    lengths = np.linalg.norm(tangents, axis=1, keepdims=True)
    return np.where(lengths > 1e-6, tangents / np.maximum(lengths, 1e-6), up)


def mask_volume_ml(mask: Volume) -> float:
    """Return the volume of the non-zero voxels of `mask`, in mL."""
    return float(np.count_nonzero(mask.array) * abs(np.linalg.det(mask.affine[:3, :3])) / 1000.0)


def body_heights(
    mask: Volume, centroid: Sequence[float], direction: Sequence[float], body: Volume | None = None
) -> Heights | None:
    """Measure the body heights of one vertebra.

    Parameters
    ----------
    mask : Volume
        Crop (k, j, i) of the label map, non-zero inside this vertebra only.
    centroid : sequence of 3 float
        Centre of its body, RAS mm.
    direction : sequence of 3 float
        The spine's upward direction there, RAS unit vector.
    body : Volume, optional
        Mask of its body on the grid of `mask`.

    Returns
    -------
    dict of str to float, or None
        ``anterior``, ``middle`` and ``posterior`` in mm. None where the body can't be told apart
        or its size is implausible.
    """
    centre = np.asarray(centroid, dtype=float)
    up = np.asarray(direction, dtype=float)
    if not mask.array.any() or not (np.isfinite(centre).all() and np.isfinite(up).all()):
        return None
    front = _anterior(mask, centre, up)
    if front is None:
        return None
    section = _piece_at_centre(_section(mask if body is None else body, centre, front, up))
    return None if section is None else _heights_of(section)


def _anterior(mask: Volume, centre: Points, up: Points) -> Points | None:
    """Return the unit vector (RAS) from the posterior parts to the body, square to `up`."""
    index = np.argwhere(mask.array)[:, ::-1].astype(float)
    offsets = mask.ijk_to_ras(index) - centre
    offsets -= np.outer(offsets @ up, up)
    default = np.array([0.0, 1.0, 0.0]) - up[1] * up
    if np.linalg.norm(default) < 0.2:  # the spine runs front to back: not a standing axis at all
        return None
    default = np.asarray(default / np.linalg.norm(default))
    # Voxels farther back than a body reaches are posterior parts: their mean shows the midline.
    distance = -(offsets @ default)
    behind = offsets[distance > 0.5 * max(float(distance.max()), 1e-6)]
    own = -behind.mean(axis=0) if len(behind) else default
    length = np.linalg.norm(own)
    if length < 8.0 or own @ default < 0.7 * length:
        return default
    unit: Points = own / length
    return unit


def _section(mask: Volume, centre: Points, front: Points, up: Points) -> Mask:
    """Sample a mask in the mid-sagittal plane: rows from the top, columns from the front."""
    aside = np.cross(up, front)
    steps = np.arange(-REACH_MM, REACH_MM + STEP_MM / 2, STEP_MM)
    plane = (
        centre
        - steps[:, None, None] * up  # rows go down
        - steps[None, :, None] * front  # columns go back
    )
    inside = (mask.array != 0).astype(np.float32)
    total = np.zeros(plane.shape[:2])
    for shift in SLAB_MM:
        ijk = mask.ras_to_ijk((plane + shift * aside).reshape(-1, 3))
        values = ndimage.map_coordinates(inside, ijk[:, ::-1].T, order=1, mode="constant")
        total += values.reshape(total.shape)
    section: Mask = total / len(SLAB_MM) >= 0.5
    return section


def _piece_at_centre(section: Mask) -> Mask | None:
    """Return the connected part of a section nearest its centre, or None if that is far."""
    # Opening by 1.5 mm cuts thin bridges (a partial-volume lamina, an osteophyte's tip).
    opened = ndimage.binary_opening(section, iterations=round(0.75 / STEP_MM))
    pieces, count = ndimage.label(opened)
    if not count:
        return None
    middle = section.shape[0] // 2
    away, (row, column) = ndimage.distance_transform_edt(pieces == 0, return_indices=True)
    if away[middle, middle] * STEP_MM > 5.0:
        return None
    piece: Mask = pieces == pieces[row[middle, middle], column[middle, middle]]
    return piece


def _heights_of(section: Mask) -> Heights | None:
    """Return the heights of a body's section, or None where its size is implausible."""
    columns = section.sum(axis=0)
    # A spur thinner than half the body is no part of its depth.
    full = np.flatnonzero(columns > 0.5 * np.median(columns[columns > 0]))
    start, stop = int(full[0]), int(full[-1]) + 1
    depth = (stop - start) * STEP_MM
    touches = section[0].any() or section[-1].any() or section[:, 0].any() or section[:, -1].any()
    if touches or not DEPTH_MM[0] <= depth <= DEPTH_MM[1]:
        return None
    values = {}
    for name, (first, last) in ZONES.items():
        low = start + round(first * (stop - start))
        high = max(low + 1, start + round(last * (stop - start)))
        values[name] = float(columns[low:high].mean() * STEP_MM)
    if not all(HEIGHT_MM[0] <= value <= HEIGHT_MM[1] for value in values.values()):
        return None
    # A sound body is waisted and a crushed one more so: bulging means that the section is wrong.
    if values["middle"] > BULGE * max(values["anterior"], values["posterior"]):
        return None
    return {name: round(value, 1) for name, value in values.items()}


def measure_vertebrae(
    segmentation: Volume, vertebrae: Sequence[Vertebra], bodies: Volume | None = None
) -> list[Vertebra]:
    """Return the vertebrae with their volume and, where they can be measured, their heights.

    Parameters
    ----------
    segmentation : Volume
        uint8 label map (k, j, i).
    vertebrae : sequence of Vertebra
        From the top to the bottom; heights that are there already are kept.
    bodies : Volume, optional
        Mask of all vertebral bodies on the same grid.
    """
    boxes = ndimage.find_objects(segmentation.array)
    directions = spine_directions(np.array([v.centroid for v in vertebrae]).reshape(-1, 3))
    measured = []
    for vertebra, direction in zip(vertebrae, directions, strict=True):
        box = boxes[vertebra.label - 1] if 0 < vertebra.label <= len(boxes) else None
        if box is None:
            measured.append(replace(vertebra, volume_ml=0.0, heights_mm=None))
            continue
        lo, hi = [s.start for s in box], [s.stop for s in box]
        crop = segmentation.crop(lo, hi)
        mask = crop.like((crop.array == vertebra.label).astype(np.uint8))
        # A rim of zeros, so that a section ends at the mask's edge and not half a voxel inside.
        padded = mask.pad((1, 1, 1), (1, 1, 1), 0)
        body = None
        if bodies is not None:
            inside = (bodies.crop(lo, hi).array != 0) & (mask.array != 0)
            if inside.any():
                body = mask.like(inside.astype(np.uint8)).pad((1, 1, 1), (1, 1, 1), 0)
        heights = vertebra.heights_mm
        has_body = vertebra.level not in WITHOUT_BODY and vertebra.label != labels.SACRUM.verse
        if heights is None and vertebra.complete and has_body:
            heights = body_heights(padded, vertebra.centroid, direction, body)
        measured.append(replace(vertebra, volume_ml=mask_volume_ml(mask), heights_mm=heights))
    return measured
