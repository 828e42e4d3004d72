"""Samples for the film networks: bent, turned and altered films with their landmarks.

Positions are (x, y) in pixels, y down; corners are in the order upper left, upper right, lower
left, lower right as seen in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..methods.film_chain import Frames, frames_of
from ..methods.film_picture import CANVAS, Picture, canvas_scale, sample
from ..methods.film_windows import MIRRORED, window_points, with_level
from .film_data import FilmItem, centres_of

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
_NODES = 8  # pixels between the nodes of a warp
_TURN_DEG, _SCALE, _STRETCH, _SHIFT = 8.0, 0.14, 0.06, 0.04
_BEND_DEG = 16.0
_METAL = 255


@dataclass(frozen=True, eq=False)
class Bend:
    """Bends the canvas along the spine, so that vertebrae tilt as they do in a curve.

    The line x = middle(y) becomes x = middle(y) + shift(y), and what lies beside it turns with it.

    Attributes
    ----------
    middle, shift, tilt : (rows,) float64
        Pixels, pixels and radians, for each row of the canvas.
    """

    middle: Floats
    shift: Floats
    tilt: Floats

    def forward(self, points: Floats) -> Floats:
        """Where points (…, 2) of the straight canvas go."""
        x, y = points[..., 0], points[..., 1]
        middle, shift, tilt = self._at(y)
        side = x - middle
        return np.stack([middle + shift + side * np.cos(tilt), y - side * np.sin(tilt)], axis=-1)

    def backward(self, points: Floats) -> Floats:
        """Where points (…, 2) of the bent canvas come from; a fixed point, found in a few steps."""
        x, y = points[..., 0], points[..., 1]
        row, side = y, np.zeros_like(y)
        for _ in range(8):
            middle, shift, tilt = self._at(row)
            side = (x - middle - shift) / np.cos(tilt)
            row = y + side * np.sin(tilt)
        return np.stack([self._at(row)[0] + side, row], axis=-1)

    def _at(self, row: Floats) -> tuple[Floats, Floats, Floats]:
        rows = np.arange(len(self.middle))
        return tuple(  # type: ignore[return-value]
            np.interp(row, rows, a) for a in (self.middle, self.shift, self.tilt)
        )


def draw_bend(centers: Floats, rows: int, rng: np.random.Generator) -> Bend:
    """Draw a smooth curve of up to about `_BEND_DEG` of tilt to add to the spine's own."""
    y = np.arange(rows, dtype=np.float64)
    tilt = np.zeros(rows)
    for waves in (0.5, 1.0, 1.6):
        size = np.radians(rng.normal(0, _BEND_DEG / 2.6))
        tilt += size * np.sin(2 * np.pi * (waves * y / rows + rng.random()))
    shift = np.cumsum(np.tan(tilt))
    order = np.argsort(centers[:, 1])
    middle = np.interp(y, centers[order, 1], centers[order, 0])
    shift -= shift[int(np.clip(centers[:, 1].mean(), 0, rows - 1))]
    return Bend(middle, shift, tilt)


def canvas_sample(
    item: FilmItem,
    rng: np.random.Generator,
    plain: bool = False,
    mirrored: bool = True,
    canvas: tuple[int, int] = CANVAS,
) -> tuple[torch.Tensor, Floats]:
    """A film on the canvas, warped at random: float32 (1, rows, columns), and corners on it.

    Half are mirrored, unless `mirrored` is off: which way a patient faces must be seen.
    """
    rows, columns = canvas
    if plain:
        return warped(item, np.eye(2), canvas=canvas)
    matrix = _matrix(rng, _TURN_DEG, _SCALE, _STRETCH)
    move = rng.uniform(-_SHIFT, _SHIFT, 2) * np.array([columns, rows])
    mirror = bool(rng.random() < 0.5) and mirrored
    bend = None
    if rng.random() < 0.7:
        scale, offset = canvas_scale(item.picture, canvas)
        bend = draw_bend(centres_of(item.corners * scale + offset), rows, rng)
    return warped(item, matrix, move, mirror, bend, canvas)


def warped(
    item: FilmItem,
    matrix: Floats,
    move: Floats | None = None,
    mirror: bool = False,
    bend: Bend | None = None,
    canvas: tuple[int, int] = CANVAS,
) -> tuple[torch.Tensor, Floats]:
    """A film on the canvas, bent, then mirrored, turned and moved, and its corners there.

    Parameters
    ----------
    matrix : (2, 2)
        About the middle of the canvas.
    move : (2,), optional
        Pixels.

    Returns
    -------
    (image, corners) : float32 (1, rows, columns) and (n, 4, 2)
    """
    rows, columns = canvas
    scale, offset = canvas_scale(item.picture, canvas)
    corners = item.corners * scale + offset
    move = np.zeros(2) if move is None else move
    middle = np.array([columns - 1, rows - 1]) / 2
    matrix = matrix @ np.diag([-1.0, 1.0]) if mirror else matrix
    grid = np.stack(
        np.meshgrid(np.arange(0, columns + 1, _NODES), np.arange(0, rows + 1, _NODES)), axis=-1
    ).astype(np.float64)
    source = (grid - middle - move) @ np.linalg.inv(matrix).T + middle
    if bend is not None:
        source, corners = bend.backward(source), bend.forward(corners)
    corners = (corners - middle) @ matrix.T + middle + move
    if mirror:
        corners = corners[:, MIRRORED]
    points = (_dense(source, canvas) - offset) / scale
    return sample(item.picture, points, step=max(1, round(1 / scale)))[0], corners


def _matrix(rng: np.random.Generator, turn_deg: float, scale: float, stretch: float) -> Floats:
    """Draw a turn, a scale and a stretch."""
    angle = np.radians(rng.uniform(-turn_deg, turn_deg))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    size = np.exp(rng.uniform(-scale, scale))
    wide = np.exp(rng.uniform(-stretch, stretch))
    return np.asarray(turn @ np.diag([size * wide, size / wide]))


def _dense(nodes: Floats, canvas: tuple[int, int]) -> Floats:
    """Fill a canvas (1, rows, columns, 2) between the nodes of a warp."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    rows, columns = canvas
    grid = torch.from_numpy(np.moveaxis(nodes, -1, 0)[None].copy())
    dense = F.interpolate(grid, size=(rows + 1, columns + 1), mode="bilinear", align_corners=True)
    return np.asarray(np.moveaxis(dense[:, :, :rows, :columns].numpy(), 1, -1))


def jittered_frames(item: FilmItem, ratio: Floats, rng: np.random.Generator) -> Frames:
    """The windows along a film's chain, as far off as a found chain may be."""
    centers = centres_of(item.corners)
    exact = frames_of(centers, ratio)
    noise = rng.normal(0, 0.07, centers.shape) * exact.width[:, None]
    frames = frames_of(centers + noise, ratio)
    angle = np.radians(rng.normal(0, 5.0, len(centers)))
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    right = cos * frames.right + sin * frames.down
    down = cos * frames.down - sin * frames.right
    width = frames.width * np.exp(rng.normal(0, 0.08, len(centers)))
    return Frames(frames.center, right, down, width)


def window_samples(
    item: FilmItem, ratio: Floats, which: NDArray[np.int64], rng: np.random.Generator
) -> tuple[torch.Tensor, Floats]:
    """Windows on some vertebrae of a film: (n, 2, size, size), and local corners (n, 4, 2)."""
    frames = jittered_frames(item, ratio, rng)
    chosen = Frames(*(a[which] for a in (frames.center, frames.right, frames.down, frames.width)))
    image = sample(item.picture, window_points(chosen))
    local = chosen.to_local(item.corners[which])
    both = with_level(image, which, len(item.corners))
    flip = rng.random(len(which)) < 0.5
    for n in np.flatnonzero(flip):
        both[n] = both[n].flip(-1)
        local[n] = local[n, MIRRORED] * np.array([-1.0, 1.0])
    return both, local


def altered(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change contrast, brightness, gamma and sharpness of a picture (1, y, x), and add noise."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    power = float(np.exp(rng.uniform(-0.3, 0.3)))
    image = image.sign() * image.abs() ** power
    image = image * float(np.exp(rng.uniform(-0.4, 0.4))) + rng.uniform(-0.4, 0.4)
    if rng.random() < 0.25:
        image = F.avg_pool2d(image[None], 3, 1, 1)[0]
    if rng.random() < 0.4:
        seed = torch.Generator().manual_seed(int(rng.integers(2**31)))
        image = image + rng.uniform(0.05, 0.4) * torch.randn(image.shape, generator=seed)
    if rng.random() < 0.25:
        image = faded(image, rng)
    if rng.random() < 0.2:
        high, wide = (int(n * rng.uniform(0.04, 0.2)) for n in image.shape[1:])
        y, x = (int(rng.integers(n - m)) for n, m in zip(image.shape[1:], (high, wide)))
        image[:, y : y + high, x : x + wide] = float(rng.normal(0, 1))
    return image


def faded(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Let one end of a picture (1, y, x) drown in noise, as behind the pelvis or the shoulders."""
    import torch

    rows = image.shape[1]
    edge, soft = rng.uniform(0.2, 0.8) * rows, rng.uniform(0.02, 0.1) * rows
    side = 1.0 if rng.random() < 0.7 else -1.0  # more often the lower end
    ramp = torch.sigmoid(side * (torch.arange(rows, dtype=image.dtype) - edge) / soft)[:, None]
    seed = torch.Generator().manual_seed(int(rng.integers(2**31)))
    noise = rng.uniform(0.1, 0.6) * torch.randn(image.shape, generator=seed)
    return image * (1 - (1 - rng.uniform(0.15, 0.7)) * ramp) + noise * ramp


def with_metal(item: FilmItem, rng: np.random.Generator) -> FilmItem:
    """Draw two rods with screws over some vertebrae, as after a fusion."""
    count = len(item.corners)
    first = int(rng.integers(0, count - 5))
    last = int(rng.integers(first + 3, count))
    array = item.picture.array.copy()
    thick = rng.uniform(2.0, 4.5)
    for side, (upper, lower) in (("left", (0, 2)), ("right", (1, 3))):
        part = item.corners[first : last + 1]
        edge = centres_of(part[:, [upper, lower]])
        middle = centres_of(part)
        rod = middle + (edge - middle) * rng.uniform(0.3, 0.8)
        along = np.linspace(0, len(rod) - 1, 40 * len(rod))
        line = np.stack([np.interp(along, np.arange(len(rod)), rod[:, a]) for a in (0, 1)], axis=1)
        _stamp(array, line, thick)
        for n in range(len(rod)):
            if rng.random() < 0.6:
                screw = rod[n] + (middle[n] - rod[n]) * np.linspace(0, 0.9, 30)[:, None]
                _stamp(array, screw, thick * (0.8 if side == "left" else 0.9))
    return FilmItem(item.name, item.patient, Picture(array, item.picture.scale), item.corners)


def _stamp(array: NDArray[np.uint8], line: Floats, radius: float) -> None:
    """Draw a bright line of points over a picture, in place."""
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.stack([x, y], axis=-1)[np.hypot(x, y) <= radius]
    points = np.rint(line).astype(int)[:, None] + disc
    inside = ((points >= 0) & (points < np.array(array.shape[::-1]))).all(axis=-1)
    array[points[..., 1][inside], points[..., 0][inside]] = _METAL


def wrong_picture(item: FilmItem, rng: np.random.Generator) -> Picture:
    """Turn a film by a quarter or a half, or change bright and dark over."""
    kind = int(rng.integers(4))
    return item.picture.negative() if kind == 3 else item.picture.turned(kind + 1)
