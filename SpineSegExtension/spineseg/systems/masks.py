"""Masks of corners: vertebrae, the gaps between them, and both boundaries of the spine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.typing import NDArray
from torch import Tensor

from spineseg.methods.film_picture import canvas_scale
from spineseg.methods.film_result import Mark
from spineseg.methods.film_windows import MIRRORED
from spineseg.systems.angles_head import targets_of
from spineseg.training.film_data import FilmItem, centres_of
from spineseg.training.film_samples import draw_bend

__all__ = ["bent_corners", "boundaries", "drawn_targets", "map_mark", "vertebrae_and_gaps"]

Floats = NDArray[np.float64]
_RING = [0, 1, 3, 2]  # corners in the order of an outline


def _fill(outlines: Floats, shape: tuple[int, int]) -> Tensor:
    """Fill outlines (n, m, 2), (x, y): float32 (rows, columns), 0 or 1."""
    from skimage.draw import polygon

    mask = np.zeros(shape, np.float32)
    for outline in outlines:
        mask[polygon(outline[:, 1], outline[:, 0], shape)] = 1.0  # type: ignore[no-untyped-call]
    return torch.from_numpy(mask)


def _halved(maps: Tensor, step: int) -> Tensor:
    return maps if step == 1 else F.avg_pool2d(maps, step)


def vertebrae_and_gaps(corners: Floats, canvas: tuple[int, int], step: int = 2) -> Tensor:
    """Share of each cell of `step` pixels that is vertebra, and gap: (1, 2, rows, columns).

    A gap is what lies between a lower endplate and the next upper one, of corners (17, 4, 2).
    """
    bodies = _fill(corners[:, _RING], canvas)
    between = np.concatenate([corners[:-1, [2, 3]], corners[1:, [1, 0]]], axis=1)
    gaps = _fill(between, canvas) * (1 - bodies)
    return _halved(torch.stack([bodies, gaps])[None], step)


def boundaries(
    corners: Floats, canvas: tuple[int, int], step: int = 2, dilation: float = 3.0
) -> Tensor:
    """The spine's left and right boundary, `dilation` pixels to both sides: (1, 2, rows, columns).

    Each joins the corners of that side from the top to the bottom, as SCG-Net does.
    """
    found = []
    for side in ([0, 2], [1, 3]):
        line = corners[:, side].reshape(-1, 2)
        away = np.diff(line, axis=0)
        normal = np.stack([-away[:, 1], away[:, 0]], axis=1)
        normal = dilation * normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-6)
        one, other = line[:-1], line[1:]
        found.append(
            _fill(np.stack([one - normal, one + normal, other + normal, other - normal], 1), canvas)
        )
    return _halved(torch.stack(found)[None], step)


def bent_corners(
    item: FilmItem, rng: np.random.Generator, canvas: tuple[int, int], jitter: float = 0.6
) -> Floats:
    """A film's corners (17, 4, 2) on the canvas, bent, turned, stretched and moved at random.

    More freely than a film could be; each corner is off by `jitter` pixels (standard deviation).
    """
    rows, columns = canvas
    scale, offset = canvas_scale(item.picture, canvas)
    corners = item.corners * scale + offset
    for _ in range(int(rng.integers(1, 3))):
        corners = draw_bend(centres_of(corners), rows, rng).forward(corners)
    middle = np.array([columns - 1, rows - 1]) / 2
    angle = np.radians(rng.uniform(-10, 10))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    size = np.diag(np.exp(rng.uniform(-0.12, 0.12, 2)))
    flip = bool(rng.random() < 0.5)
    corners = (corners - middle) @ size @ turn.T * ([-1.0, 1.0] if flip else [1.0, 1.0]) + middle
    corners = corners[:, MIRRORED] if flip else corners
    corners = corners + rng.uniform(-0.04, 0.04, 2) * [columns, rows]
    moved: Floats = corners + rng.normal(0, jitter, corners.shape)
    return moved


def drawn_targets(
    item: FilmItem, name: str, draw: Callable[[Floats, tuple[int, int]], Tensor],
    canvas: tuple[int, int], rng: np.random.Generator, count: int,
) -> dict[str, Tensor]:  # fmt: skip
    """Draw maps of a film's corners, each bent anew; no film can have them, but all is known.

    Returns
    -------
    dict
        ``drawn_`` + `name` (count, n, y, x), and ``drawn_`` + those of `angles_head.targets_of`.
    """
    found: dict[str, list[Tensor]] = {}
    for _ in range(count):
        corners = bent_corners(item, rng, canvas)
        for key, value in {name: draw(corners, canvas), **targets_of(corners, canvas)}.items():
            found.setdefault(f"drawn_{key}", []).append(value)
    return {key: torch.cat(values) for key, values in found.items()}


def map_mark(name: str, values: Tensor, canvas: tuple[int, int]) -> Mark:
    """Draw a map (rows, columns) of values 0 to 1 over the canvas, at a quarter of its grid."""
    step = canvas[0] // values.shape[0]
    while step < 4:
        values, step = F.avg_pool2d(values[None], 2)[0], step * 2
    rows, columns = values.shape
    first = (step - 1) / 2
    ends = np.array([[first, first], [first + step * (columns - 1), first + step * (rows - 1)]])
    grey = (values.clamp(0, 1) * 255).round().to(torch.uint8)
    return Mark(name, "map", ends, grey.cpu().numpy())
