"""The middle plane of a vertebra as a picture, with its six points, as PNG bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg.measure.vertebra_body import VertebraBody
from spineseg.volume import Volume

__all__ = ["middle_plane", "suspect_png"]

Floats = NDArray[np.float64]

AHEAD_MM, BEHIND_MM, HIGH_MM = 32.0, 45.0, 48.0  # shown round the body's middle
PIXEL_MM = 0.4
_DARK_HU, _BRIGHT_HU = -200.0, 600.0
_POINT, _LINE, _EDGE = "#ffd84d", "#ff5a36", "#56b4e9"
_INCHES, _DPI = 3.2, 110


def middle_plane(volume: Volume, body: VertebraBody, order: int) -> Floats:
    """Sample a volume in a body's middle plane: rows from the top, columns from the front.

    NaN outside of the volume.
    """
    if body.axes is None:
        raise ValueError("a vertebra without axes has no middle plane")
    up = np.arange(HIGH_MM, -HIGH_MM - 1e-6, -PIXEL_MM)
    ahead = np.arange(AHEAD_MM, -BEHIND_MM - 1e-6, -PIXEL_MM)
    points = (
        body.centre + up[:, None, None] * body.axes[:, 2] + ahead[None, :, None] * body.axes[:, 1]
    )
    index = volume.ras_to_ijk(points.reshape(-1, 3))[:, ::-1].T
    low = [max(int(np.floor(a.min())) - 1, 0) for a in index]
    high = [min(int(np.ceil(a.max())) + 2, n) for a, n in zip(index, volume.shape, strict=True)]
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return np.full(points.shape[:2], np.nan)
    part = volume.array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    values = ndimage.map_coordinates(
        part.astype(np.float32), index - np.array(low)[:, None], order=order, mode="constant",
        cval=np.nan,
    )  # fmt: skip
    return np.asarray(values, dtype=np.float64).reshape(points.shape[:2])


def suspect_png(body: VertebraBody, scan: Volume, segmentation: Volume) -> bytes:
    """Draw a vertebra and its neighbours, its outline and its six points."""
    from matplotlib.figure import Figure

    if body.points is None or body.axes is None:
        raise ValueError("a vertebra without points has no picture")
    extent = (AHEAD_MM, -BEHIND_MM, -HIGH_MM, HIGH_MM)
    width = AHEAD_MM + BEHIND_MM
    figure = Figure(figsize=(_INCHES, _INCHES * 2 * HIGH_MM / width), dpi=_DPI)
    axes: Any = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    grey = (middle_plane(scan, body, 1) - _DARK_HU) / (_BRIGHT_HU - _DARK_HU)
    axes.imshow(
        np.clip(np.nan_to_num(grey), 0, 1), cmap="gray", vmin=0, vmax=1, extent=extent,
        aspect="auto",
    )  # fmt: skip
    mask = np.nan_to_num(middle_plane(segmentation, body, 0)) == body.label
    if mask.any():
        axes.contour(
            np.linspace(extent[0], extent[1], mask.shape[1]),
            np.linspace(extent[3], extent[2], mask.shape[0]),
            mask.astype(float), levels=[0.5], colors=_EDGE, linewidths=0.8,
        )  # fmt: skip
    flat = (body.points[1] - body.centre) @ body.axes[:, 1:]
    for place in range(3):
        axes.plot(flat[:, place, 0], flat[:, place, 1], color=_LINE, linewidth=1.0)
    axes.plot(flat[..., 0].ravel(), flat[..., 1].ravel(), "o", color=_POINT, markersize=3.5)
    axes.text(AHEAD_MM - 2, HIGH_MM - 4, body.name, color="white", fontsize=11, va="top", ha="left")
    axes.set_xlim(extent[:2])
    axes.set_ylim(extent[2:])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
