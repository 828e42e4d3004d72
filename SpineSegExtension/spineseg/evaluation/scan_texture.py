"""What a scan looks like near vertebrae: noise, edges and bone, to compare scans by.

Everything is measured on the lattice that the fine networks see: 1.5 mm, along the RAS axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..grid import Grid
from ..volume import Volume
from .vertebra_shape import body_centre

__all__ = ["LOOKS", "looks"]

Array = npt.NDArray[Any]
STEP_MM = 1.5
LOOKS = (
    "noise", "lag right", "lag front", "lag up", "outer", "second", "outer bright", "arch",
    "arch bright",
)  # fmt: skip
"""Names of the figures. ``noise`` is the residual's standard deviation in soft tissue within 18 mm
of a vertebra, ``lag …`` its correlation between neighbouring voxels along an axis. ``outer`` and
``second`` are the median HU of the outermost 1.5 mm of the body's front half and of the next
1.5 mm, ``outer bright`` the 90th percentile; ``arch`` and ``arch bright`` the median and the
90th percentile of what lies 21 mm and more behind the body's centre."""
_FEW = 100


def looks(ct: Volume, labels: Volume) -> list[dict[str, float]]:
    """Return the figures (see `LOOKS`) of each labelled vertebra of a scan; noise with the first.

    Vertebrae whose body the scan cuts from above or below, and C1 and C2, are left out.
    """
    grid = _lattice(labels)
    hu = ct.resampled_like(grid, order=1, fill=-1024.0).array.astype(np.float32)
    ids = labels.resampled_like(grid, order=0).array.astype(np.uint8)
    seen = ndimage.binary_erosion(hu > -1000, iterations=2, border_value=0)
    rows = []
    for label, box in enumerate(ndimage.find_objects(ids), start=1):
        if box is None or label <= 2:
            continue
        # Far enough to see whether the scan goes on above and below.
        wide = tuple(slice(max(s.start - 4, 0), s.stop + 4) for s in box)
        row = _bone(hu[wide], ids[wide] == label, seen[wide])
        if row:
            rows.append(row)
    noise = _noise(hu, ids > 0, seen)
    if rows and noise:
        rows[0].update(noise)
    return rows


def _lattice(labels: Volume) -> Grid:
    """The 1.5 mm grid along the RAS axes round all labels, with 24 mm more on each side."""
    points = labels.ijk_to_ras(np.argwhere(labels.array > 0)[:, ::-1])
    low, high = points.min(axis=0) - 24, points.max(axis=0) + 24
    shape = np.ceil((high - low) / STEP_MM).astype(int)
    affine = np.diag([STEP_MM] * 3 + [1.0])
    affine[:3, 3] = low
    return Grid((int(shape[2]), int(shape[1]), int(shape[0])), affine)


def _bone(hu: Array, own: Array, seen: Array) -> dict[str, float]:
    """Figures of one vertebra's bone."""
    depth = ndimage.distance_transform_edt(np.pad(own, 1))[1:-1, 1:-1, 1:-1] * STEP_MM
    centre = body_centre(Volume(own, np.eye(4)))[::-1]
    _, j, i = np.rint(centre).astype(int)
    column = np.flatnonzero(own[:, j, i])
    if not len(column) or not seen[max(column[0] - 1, 0) : column[-1] + 2, j, i].all():
        return {}
    away = np.linalg.norm(np.indices(own.shape).T - centre, axis=-1).T * STEP_MM
    behind = (centre[1] - np.arange(own.shape[1])) * STEP_MM
    front = own & seen & (away < 30) & (behind < 0)[None, :, None]
    arch = own & seen & (behind > 21)[None, :, None]
    outer, second = (front & (depth > d) & (depth <= d + STEP_MM) for d in (0.0, STEP_MM))
    if min(int(m.sum()) for m in (outer, second, arch)) < _FEW:
        return {}
    return {
        "outer": float(np.median(hu[outer])),
        "second": float(np.median(hu[second])),
        "outer bright": float(np.percentile(hu[outer], 90)),
        "arch": float(np.median(hu[arch])),
        "arch bright": float(np.percentile(hu[arch], 90)),
    }


def _noise(hu: Array, bone: Array, seen: Array) -> dict[str, float]:
    """Loudness and grain of the noise in the soft tissue round the spine."""
    smooth = ndimage.gaussian_filter(hu, 1.0)
    far = ndimage.distance_transform_edt(~bone) * STEP_MM
    soft = seen & (far > 4.5) & (far < 18) & (smooth > 0) & (smooth < 110)
    soft = ndimage.binary_erosion(soft)
    if int(soft.sum()) < 10 * _FEW:
        return {}
    # What is left after a slow trend within the soft tissue is taken off.
    weight = ndimage.gaussian_filter(soft.astype(np.float32), 3.0)
    trend = ndimage.gaussian_filter(np.where(soft, hu, 0), 3.0) / np.maximum(weight, 1e-6)
    rest = np.where(soft, hu - trend, 0)
    variance = float((rest[soft] ** 2).mean())
    out = {"noise": float(np.sqrt(variance))}
    for axis, name in enumerate(("up", "front", "right")):
        lower, upper = (np.delete(np.arange(hu.shape[axis]), end) for end in (-1, 0))
        both = soft.take(lower, axis) & soft.take(upper, axis)
        product = rest.take(lower, axis)[both] * rest.take(upper, axis)[both]
        out[f"lag {name}"] = float(product.mean()) / max(variance, 1e-6)
    return out
