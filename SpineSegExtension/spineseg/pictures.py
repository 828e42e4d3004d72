"""Pictures for a report: the scan with its labels drawn over it, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from spineseg import labels
from spineseg.result import Vertebra
from spineseg.slices import Slice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RGB = npt.NDArray[np.float64]

BONE_WINDOW = (-250.0, 900.0)  # HU: shows bone and still some soft tissue
AIR_BELOW = -200.0  # intensities under this in a picture mean Hounsfield units
FILL = 0.38
DPI = 100


def palette() -> RGB:
    """Return the colour of each of the 256 labels, shape (256, 3), 0–1."""
    return np.array([labels.color_of(label) for label in range(256)]) / 255.0


def windowed(image: npt.NDArray[np.float32]) -> RGB:
    """Return grey values 0–1; a bone window for CT, 1st to 99th percentile for others."""
    known = image[np.isfinite(image)]
    if not known.size:
        return np.zeros(image.shape)
    if float(known.min()) < AIR_BELOW:
        low, high = BONE_WINDOW
    else:
        low, high = (float(v) for v in np.percentile(known, (1, 99)))
    grey = (np.nan_to_num(image, nan=low).astype(float) - low) / max(high - low, 1e-6)
    return np.clip(grey, 0.0, 1.0)


def overlaid(piece: Slice) -> RGB:
    """Return the picture in colour: labels filled lightly, their edges strongly; (row, col, 3)."""
    colors = palette()[piece.labels]
    picture = np.repeat(windowed(piece.image)[..., None], 3, axis=2)
    inside = piece.labels > 0
    edge = inside & (
        (ndimage.maximum_filter(piece.labels, 3) != piece.labels)
        | (ndimage.minimum_filter(piece.labels, 3) != piece.labels)
    )
    weight = np.where(edge, 0.9, np.where(inside, FILL, 0.0))[..., None]
    mixed: RGB = picture * (1 - weight) + colors * weight
    return mixed


def overlay_png(piece: Slice, vertebrae: Sequence[Vertebra], plane: str) -> bytes:
    """Draw a slice with its labels, the names of the levels, a scale bar and the directions.

    Parameters
    ----------
    piece : Slice
        From `slices.take`, with a mark for each of `vertebrae`.
    vertebrae : sequence of Vertebra
        Their names are written at the marks; a vertebra that is unsure has a question mark.
    plane : {"sagittal", "coronal"}
    """
    from matplotlib.figure import Figure

    rows, columns = piece.labels.shape
    picture = overlaid(piece)
    # Small pictures are shown larger, so that the names stay readable.
    scale = max(1.0, 520.0 / max(rows, columns))
    figure = Figure(figsize=(columns * scale / DPI, rows * scale / DPI), dpi=DPI)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(picture, interpolation="bilinear", aspect="auto")
    axes.set_axis_off()
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    for vertebra, (row, column) in zip(vertebrae, piece.marks, strict=True):
        if -0.5 <= row <= rows - 0.5 and -0.5 <= column <= columns - 0.5:
            mark = "" if vertebra.level else "?"
            name = vertebra.level or labels.display_name(vertebra.label)
            _write(axes, column, row, name + mark, "center")
    _directions(axes, plane)
    _scale_bar(axes, piece)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _write(axes: Axes, x: float, y: float, text: str, align: str, relative: bool = False) -> None:
    from matplotlib import patheffects

    axes.text(
        x,
        y,
        text,
        color="white",
        fontsize=8,
        ha=align,
        va="center",
        transform=axes.transAxes if relative else axes.transData,
        path_effects=[patheffects.withStroke(linewidth=2, foreground="black")],
    )


def _directions(axes: Axes, plane: str) -> None:
    left, right = ("A", "P") if plane == "sagittal" else ("R", "L")
    _write(axes, 0.02, 0.5, left, "left", relative=True)
    _write(axes, 0.98, 0.5, right, "right", relative=True)


def _scale_bar(axes: Axes, piece: Slice) -> None:
    """Draw a bar of a round length, at most a third of the picture's width."""
    rows, columns = piece.labels.shape
    width = columns * piece.pixel_mm
    length = next((n for n in (50, 20, 10, 5) if n <= width / 3), None)
    if length is None or rows < 30:
        return
    start, y = 0.03 * columns, 0.97 * rows
    axes.plot([start, start + length / piece.pixel_mm], [y, y], color="white", linewidth=3)
    _write(axes, start, y - 0.02 * rows, f"{length} mm", "left")


def png_of(picture: RGB) -> bytes:
    """Return an RGB picture (row, column, 3; 0–1) as PNG bytes."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, (np.clip(picture, 0.0, 1.0) * 255).astype(np.uint8), format="png")
    return buffer.getvalue()
