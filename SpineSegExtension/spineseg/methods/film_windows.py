"""What the film networks get to see: the film on its canvas, and a window on each vertebra.

Shared by training and use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spineseg.methods.film_chain import Frames
from spineseg.methods.film_picture import CANVAS, Picture, canvas_scale, sample

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MIRRORED", "WINDOW", "canvas_image", "window_points", "with_level"]

Floats = NDArray[np.float64]

MIRRORED = [1, 0, 3, 2]
"""Corners after left and right have changed places."""
WINDOW = 96
"""Pixels of a window, which is two widths of the vertebra across."""


def canvas_image(
    picture: Picture, canvas: tuple[int, int] = CANVAS
) -> tuple[Tensor, float, Floats]:
    """Return a prepared film on the canvas (1, 1, rows, columns), and its scale and offset."""
    scale, offset = canvas_scale(picture, canvas)
    columns, rows = np.meshgrid(np.arange(canvas[1]), np.arange(canvas[0]))
    points = (np.stack([columns, rows], axis=-1)[None] - offset) / scale
    return sample(picture, points, step=max(1, round(1 / scale))), scale, offset


def window_points(frames: Frames, size: int = WINDOW) -> Floats:
    """Pixels (n, size, size, 2) of each window on the prepared film."""
    line = (np.arange(size) + 0.5) * (2 / size) - 1
    across, along = np.meshgrid(line, line)
    shape = (len(frames.center), size, size, 2)
    return frames.to_picture(np.broadcast_to(np.stack([across, along], axis=-1), shape))


def with_level(windows: Tensor, level: NDArray[np.int64], count: int) -> Tensor:
    """Add a second channel that says which of `count` levels a window (n, 1, y, x) is on.

    −1 is the uppermost (0), 1 the lowest.
    """
    import torch

    value = torch.as_tensor(level * (2.0 / (count - 1)) - 1.0, dtype=torch.float32)
    return torch.cat([windows, value[:, None, None, None].expand_as(windows)], dim=1)
