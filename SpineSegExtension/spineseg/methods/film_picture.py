"""Films as the networks see them: one size, square pixels, contrast evened out.

Positions are (x, y) in pixels, (0, 0) the middle of the first one. What training and use share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.io.films import Film

if TYPE_CHECKING:
    import torch

__all__ = ["CANVAS", "GREY", "MAPPING", "PREPARED", "Picture", "canvas_scale", "prepare", "sample"]

Floats = NDArray[np.float64]

PREPARED = (1024, 512)
"""Rows and columns that a prepared film fits into."""
CANVAS = (512, 256)
"""Rows and columns in which the vertebrae are looked for."""
GREY = 128
"""A prepared film's value where it is as bright as its surroundings."""
MAPPING = (
    "scaled into 1024 × 512 pixels; (value − mean) / standard deviation over the pixels around "
    "(Gaussian of 1/24 of the height), clipped to ±3"
)
"""In words, for the model card."""

_AROUND = 24  # part of the height over which contrast is evened out
_STEP = 42.0  # of the prepared values per standard deviation, so that ±3 fits into a byte
_FLAT = 0.15  # of the film's own spread: less than this around a pixel is noise
_COARSE = 8  # the surroundings are smooth, so every eighth pixel is enough for them


@dataclass(frozen=True, eq=False)
class Picture:
    """A prepared film.

    Attributes
    ----------
    array : (rows, columns) uint8
        `GREY` plus 42 per standard deviation of the surroundings.
    scale : (2,) float64
        Prepared pixels per pixel of the film, along x and y.
    """

    array: NDArray[np.uint8]
    scale: Floats

    def from_film(self, points: ArrayLike) -> Floats:
        """Move points (…, 2) of the film onto the prepared one."""
        return np.asarray((np.asarray(points, dtype=np.float64) + 0.5) * self.scale - 0.5)

    def to_film(self, points: ArrayLike) -> Floats:
        """Move points (…, 2) of the prepared film onto the film."""
        return np.asarray((np.asarray(points, dtype=np.float64) + 0.5) / self.scale - 0.5)

    def turned(self, quarters: int) -> Picture:
        """Return the picture turned anticlockwise by quarters, with square pixels at one scale."""
        return Picture(np.ascontiguousarray(np.rot90(self.array, quarters)), self.scale)

    def mirrored(self) -> Picture:
        """Return the picture with left and right changed over."""
        return Picture(np.ascontiguousarray(self.array[:, ::-1]), self.scale)

    def negative(self) -> Picture:
        """Return the picture with bright and dark changed over."""
        return Picture((2 * GREY - self.array.astype(np.int16)).astype(np.uint8), self.scale)


def prepare(film: Film, fit: tuple[int, int] = PREPARED) -> Picture:
    """Scale a film to its working size and even out its contrast.

    Parameters
    ----------
    film : Film
        Its pixels need not be square.
    fit : (int, int)
        Rows and columns that it is to fit into.
    """
    rows, columns = film.array.shape
    high, wide = rows * film.pixel_aspect, float(columns)
    factor = min(fit[0] / high, fit[1] / wide)
    shape = (max(8, round(high * factor)), max(8, round(wide * factor)))
    values = _resized(film.array, shape)
    scale = np.array([shape[1] / columns, shape[0] / rows])
    return Picture(_evened(values), scale)


def _resized(array: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    import torch
    import torch.nn.functional as F  # noqa: N812 (torch's own name for it)

    values = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None, None]
    small = F.interpolate(values, size=shape, mode="bilinear", antialias=True)
    return np.asarray(small[0, 0].numpy())


def _evened(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    from scipy import ndimage

    values = values - values.mean()
    coarse = values[::_COARSE, ::_COARSE]
    size = max(values.shape) / _AROUND / _COARSE
    mean = ndimage.gaussian_filter(coarse, size, mode="nearest")
    square = ndimage.gaussian_filter(coarse**2, size, mode="nearest")
    spread = np.sqrt(np.maximum(square - mean**2, 0.0)) + _FLAT * float(values.std()) + 1e-6
    mean, spread = (_smooth(a, values.shape) for a in (mean, spread))
    return np.asarray(
        np.clip(np.rint((values - mean) / spread * _STEP), -126, 126) + GREY, np.uint8
    )


def _smooth(coarse: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Bring every eighth pixel back to all pixels, linearly."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    grid = torch.from_numpy(np.ascontiguousarray(coarse))[None, None]
    whole = (coarse.shape[0] * _COARSE - _COARSE + 1, coarse.shape[1] * _COARSE - _COARSE + 1)
    fine = F.interpolate(grid, size=whole, mode="bilinear", align_corners=True)[0, 0].numpy()
    more = [(0, max(0, n - m)) for n, m in zip(shape, whole, strict=True)]
    return np.asarray(np.pad(fine, more, mode="edge")[: shape[0], : shape[1]])


def canvas_scale(picture: Picture, canvas: tuple[int, int] = CANVAS) -> tuple[float, Floats]:
    """Return how a prepared film lies on the canvas: canvas = scale · prepared + offset (x, y)."""
    rows, columns = picture.array.shape
    scale = min(canvas[0] / rows, canvas[1] / columns)
    offset = np.array([canvas[1] - 1 - scale * (columns - 1), canvas[0] - 1 - scale * (rows - 1)])
    return scale, offset / 2


def sample(picture: Picture, points: ArrayLike, step: int = 1) -> torch.Tensor:
    """Read a prepared film at points, linearly.

    Parameters
    ----------
    picture : Picture
    points : (n, rows, columns, 2) float
        (x, y) on the prepared film.
    step : int
        Pixels that are averaged first, where the points lie that far apart.

    Returns
    -------
    Tensor
        float32 (n, 1, rows, columns), in standard deviations; 0 outside of the film.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812

    values = (torch.from_numpy(picture.array).float() - GREY)[None, None] / _STEP
    if step > 1:
        values = F.avg_pool2d(values, step, ceil_mode=True, count_include_pad=False)
    where = torch.as_tensor(np.asarray(points), dtype=torch.float32)
    size = torch.tensor([picture.array.shape[1], picture.array.shape[0]], dtype=torch.float32)
    # grid_sample: −1 and 1 are the picture's edges (align_corners off).
    where = (where + 0.5) / size * 2 - 1
    return F.grid_sample(
        values.expand(len(where), -1, -1, -1), where, mode="bilinear", align_corners=False
    )
