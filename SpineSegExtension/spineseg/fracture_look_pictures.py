"""Pictures of a vertebra between cured and more fractured, as PNG bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg.fracture_look import Preview

__all__ = ["amount_words", "preview_strip", "step_png", "sways_png"]

Floats = NDArray[np.float64]

ZOOM = 3
_ROWS = slice(8, 56)  # above and below there is nothing but the tip of a long process
_DARK_HU, _BRIGHT_HU = -200.0, 600.0
_SWAY = np.array([1.0, 0.35, 0.1])  # vermilion on grey bone
_LEAST, _MOST = 0.15, 0.85  # of the greatest sway: from where it is drawn; its opacity
_CALM = 0.8  # voxels: one voxel's gradient is noise
_INCHES, _DPI = 1.25, 100


def amount_words(amount: float) -> str:
    """Return what a step is called, such as "cured by 1.5" or "as it is"."""
    if not amount:
        return "as it is"
    return f"{'cured' if amount < 0 else 'more fractured'} by {abs(amount):g}"


def step_png(preview: Preview, step: int) -> bytes:
    """Draw one step, 192 × 144."""
    return _png(_colour(preview.pictures[step]))


def sways_png(preview: Preview) -> bytes:
    """Draw the vertebra as the CT shows it, 192 × 144; red is what sways the answer."""
    return _png(_swayed(preview))


def preview_strip(preview: Preview) -> bytes:
    """Draw the vertebra, where the network looks, and all steps in a row, with probabilities."""
    from matplotlib.figure import Figure

    count = len(preview.amounts)
    figure = Figure(figsize=(_INCHES * (count + 1), _INCHES * 1.05), dpi=_DPI, facecolor="black")
    pictures = [_swayed(preview), *(_colour(plane) for plane in preview.pictures)]
    words = [
        "CT, and where\nit looks (red)",
        *(
            f"{'as it is' if not amount else f'{amount:+g}'}\n{100 * sure:.0f} %"
            for amount, sure in zip(preview.amounts, preview.probabilities, strict=True)
        ),
    ]
    for n, (picture, text) in enumerate(zip(pictures, words, strict=True)):
        axes: Any = figure.add_axes((n / (count + 1), 0.286, 1 / (count + 1), 0.714))
        axes.imshow(picture, aspect="auto")
        axes.set_axis_off()
        figure.text((n + 0.5) / (count + 1), 0.14, text, color="white", fontsize=7,
                    ha="center", va="center")  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="black")
    return buffer.getvalue()


def _colour(hu: NDArray[Any]) -> Floats:
    """Return a plane (rows, columns) of HU as a larger picture in grey (rows, columns, 3)."""
    grey = np.clip((hu[_ROWS].astype(float) - _DARK_HU) / (_BRIGHT_HU - _DARK_HU), 0, 1)
    larger = np.clip(ndimage.zoom(grey, ZOOM, order=1), 0, 1)
    return np.repeat(larger[..., None], 3, axis=2)


def _swayed(preview: Preview) -> Floats:
    calm = ndimage.gaussian_filter(preview.sways.astype(float), _CALM)[_ROWS]
    calm = np.clip(ndimage.zoom(calm / max(float(calm.max()), 1e-12), ZOOM, order=1), 0, 1)
    weight = (_MOST * np.where(calm < _LEAST, 0.0, calm))[..., None]
    return np.asarray(_colour(preview.original) * (1 - weight) + _SWAY * weight)


def _png(picture: Floats) -> bytes:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, picture, format="png")
    return buffer.getvalue()
