"""What the systems with a second network share: a head for the film, and close looks along it.

Both begin on `cobb-landmarks`: the head on the last layer of its first network, the close look on
the whole of its second one. Places in a window are (u, v) from −1 to 1, cells (x, y).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.typing import NDArray
from torch import Tensor, nn

from spineseg.methods.film_chain import Frames, frames_of
from spineseg.methods.film_picture import Picture, sample
from spineseg.methods.film_windows import MIRRORED, window_points
from spineseg.networks.click_unet import click_unet
from spineseg.networks.film_unet import CORNER_STRIDE, unet_params
from spineseg.systems.trunk import CHANNELS
from spineseg.training.film_losses import gaussians, place_loss
from spineseg.training.film_samples import altered
from spineseg.weights import load_state

__all__ = [
    "CELLS", "WITHIN", "Close", "Head", "across", "close_loss", "frames_at", "jittered",
    "landmarks_state", "local_mean", "output_layer", "taught", "tops", "windows",
]  # fmt: skip

Floats = NDArray[np.float64]

LANDMARKS = "cobb-landmarks"
CELLS = 48
"""Of a window's maps."""
WITHIN = 0.94
"""Of a window: corners farther out are not asked for."""
_SPREAD = 1.5  # cells, of the Gaussians


def landmarks_state(models: Any) -> dict[str, Tensor]:
    """Return the weights of `cobb-landmarks` to begin from (of the package, if None)."""
    return load_state(LANDMARKS, models)


class Head(nn.Module):
    """Maps on the trunk's finest grid, a quarter of the canvas': (N, 64, y, x) → (N, outputs, …).

    What it adds to the trunk's own last layer, `start`, has a wider view.
    """

    def __init__(self, outputs: int, width: int = 64) -> None:
        super().__init__()
        self.start = nn.Conv2d(CHANNELS[0], outputs, 1)
        self.more = nn.Sequential(
            nn.Conv2d(CHANNELS[0], width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=2, dilation=2),
            nn.GroupNorm(8, width),
            nn.ReLU(),
            nn.Conv2d(width, outputs, 1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Put out logits."""
        found: Tensor = self.start(maps) + self.more(maps)
        return found

    def begin(self, state: dict[str, Tensor], rows: list[int]) -> None:
        """Start the first outputs as rows of the trunk's own last layer, as in `output_layer`."""
        layer = output_layer(state, rows)
        with torch.no_grad():
            for name, value in (("weight", self.start.weight), ("bias", self.start.bias)):
                value.zero_()  # type: ignore[union-attr]
                value[: len(rows)] = layer[name]  # type: ignore[index]
            self.more[-1].weight.mul_(0.1)  # type: ignore[operator]


def output_layer(state: dict[str, Tensor], rows: list[int]) -> dict[str, Tensor]:
    """Return the weight and bias of the trunk's own last layer, for its finest map.

    Parameters
    ----------
    state : of `cobb-landmarks`
    rows : list of int
        0–16 are the middles of T1–L5, 17 is that of any vertebra.
    """
    weight, bias = (state[f"find.output_block.conv.conv.{n}"] for n in ("weight", "bias"))
    # The trunk gives the way down and the way up; its own last layer saw the latter.
    wide = torch.zeros(len(rows), CHANNELS[0], 1, 1)
    wide[:, -weight.shape[1] :] = weight[rows]
    return {"weight": wide, "bias": bias[rows]}


class Close(nn.Module):
    """The second network of `cobb-landmarks`: windows (M, 2, 96, 96) → maps (M, outputs, 48, 48).

    Its first four are the corners upper left, upper right, lower left and lower right.

    Attributes
    ----------
    width : (17,)
        Of a vertebra, as a fraction of the distance to its neighbours.
    """

    width: Tensor

    def __init__(self, outputs: int = 4, filters: tuple[int, ...] = (24, 48, 64, 96)) -> None:
        super().__init__()
        self.unet: Any = click_unet(unet_params(2, outputs, filters, CORNER_STRIDE))
        self.register_buffer("width", torch.ones(17))

    def forward(self, seen: Tensor) -> Tensor:
        """Put out logits."""
        found: Tensor = self.unet(seen)
        return found

    def begin(self, state: dict[str, Tensor]) -> None:
        """Start from those weights; outputs beyond the fourth start from nothing."""
        own = self.unet.state_dict()
        for name, value in own.items():
            given = state[f"corners.{name}"]
            value[: len(given)] = given
        self.unet.load_state_dict(own)
        self.width.copy_(state["width"])


def frames_at(chain: Floats, ratio: Floats, at: Floats, reach: Floats) -> Frames:
    """Return windows along a chain of centres (17, 2).

    Parameters
    ----------
    at : (m,)
        Where, in vertebrae from the first one's centre.
    reach : (m,)
        How far the windows reach from their middle, in widths of the vertebra there.
    """
    frames = frames_of(chain, ratio)
    index = np.arange(len(chain), dtype=np.float64)
    center, down = (
        np.stack([np.interp(at, index, a[:, k]) for k in (0, 1)], axis=1)
        for a in (frames.center, frames.down)
    )
    down /= np.maximum(np.linalg.norm(down, axis=1, keepdims=True), 1e-6)
    right = np.stack([down[:, 1], -down[:, 0]], axis=1)
    return Frames(center, right, down, np.interp(at, index, frames.width) * reach)


def jittered(frames: Frames, rng: np.random.Generator, off: float = 0.07) -> Frames:
    """Return windows that lie as far off as found ones may: moved, turned, larger or smaller."""
    count = len(frames.center)
    angle = np.radians(rng.normal(0, 5.0, count))
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return replace(
        frames,
        center=frames.center + rng.normal(0, off, (count, 2)) * frames.width[:, None],
        right=cos * frames.right + sin * frames.down,
        down=cos * frames.down - sin * frames.right,
        width=frames.width * np.exp(rng.normal(0, 0.08, count)),
    )


def windows(picture: Picture, frames: Frames, at: Floats) -> Tensor:
    """What `Close` sees: (m, 2, 96, 96), the prepared film and how far down the spine that is."""
    seen = sample(picture, window_points(frames))
    level = torch.as_tensor(at / 8.0 - 1.0, dtype=torch.float32)
    return torch.cat([seen, level[:, None, None, None].expand_as(seen)], dim=1)


def taught(
    picture: Picture, frames: Frames, at: Floats, corners: Floats, rng: np.random.Generator
) -> tuple[Tensor, Floats]:
    """Windows as `windows` gives them, altered and half of them mirrored, and corners in them.

    Parameters
    ----------
    corners : (m, …, 4, 2)
        On the prepared film, for each window.

    Returns
    -------
    (seen, local) : (m, 2, 96, 96) and, from −1 to 1, (m, …, 4, 2)
    """
    seen = windows(picture, frames, at)
    local = frames.to_local(corners.reshape(len(at), -1, 2)).reshape(corners.shape)
    for n in range(len(at)):
        seen[n, :1] = altered(seen[n, :1], rng)
        if rng.random() < 0.5:
            seen[n] = seen[n].flip(-1)
            local[n] = local[n][..., MIRRORED, :] * [-1.0, 1.0]
    return seen, local


def local_mean(maps: Tensor, cells: Tensor, reach: int = 5) -> Tensor:
    """Expectation (m, n, k, 2) of the softmax of maps (m, n, y, x) near cells (m, n, k, 2).

    Finer than a cell, and for maps that have several peaks; (x, y) in cells, as `cells`.
    """
    rows, columns = maps.shape[2:]
    line = torch.arange(-reach, reach + 1, device=maps.device)
    off = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).view(-1, 2)
    where = cells.round().long()[..., None, :] + off  # (m, n, k, window, 2)
    x, y = where.unbind(-1)
    inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    flat = (y.clamp(0, rows - 1) * columns + x.clamp(0, columns - 1)).flatten(2)
    values = maps.flatten(2).gather(2, flat).view(inside.shape)
    # A window that lies outside as a whole says its own middle.
    share = values.masked_fill(~inside, -1e4).softmax(-1)
    return (share[..., None] * where).sum(-2)


def tops(maps: Tensor, least: float) -> Tensor:
    """Peaks of maps (m, n, y, x) not less than `least` of the highest: rows (m, n, y, x)."""
    share = (maps - maps.amax(dim=(2, 3), keepdim=True)).exp()
    share = F.avg_pool2d(share, 3, 1, 1)
    share = share / share.amax(dim=(2, 3), keepdim=True)
    high = F.max_pool2d(share, 5, 1, 2)
    return ((share == high) & (share >= least)).nonzero()


def across(points: Any) -> Any:
    """Middle of the right corners minus that of the left ones: (…, 4, 2) → (…, 2)."""
    return (points[..., 1, :] + points[..., 3, :] - points[..., 0, :] - points[..., 2, :]) / 2


def close_loss(maps: Tensor, local: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Loss of maps (m, 4, 48, 48) for corners (m, 17, 4, 2) in their windows, and its parts."""
    wanted = local.transpose(1, 2)  # (m, 4, 17, 2)
    inside = (wanted.abs() < WITHIN).all(-1)
    cells = (wanted + 1) * (CELLS / 2) - 0.5
    missing = torch.where(inside[..., None], cells, torch.nan)
    heat = gaussians(missing.flatten(1, 2), CELLS, CELLS, _SPREAD)
    heat = heat.view(len(maps), 4, -1, CELLS, CELLS).sum(2)
    some = inside.any(-1)
    score = (place_loss(maps, heat) * some).sum() / some.sum().clamp(min=1)
    begin = cells.clamp(-1e3, 1e3) + torch.randn_like(cells)
    off = (local_mean(maps, begin) - cells) / (CELLS / 2)
    each = F.smooth_l1_loss(off, torch.zeros_like(off), reduction="none", beta=0.02).mean(-1)
    place = (each * inside).sum() / inside.sum().clamp(min=1)
    whole = inside.all(1)  # (m, 17)
    turn = across(off.transpose(1, 2))[..., 1]
    tilt = F.smooth_l1_loss(turn, torch.zeros_like(turn), reduction="none", beta=0.02)
    tilt = (tilt * whole).sum() / whole.sum().clamp(min=1)
    error = (off.detach().norm(dim=-1) * inside).sum() / inside.sum().clamp(min=1)
    turned = (turn.detach().abs() * whole).sum() / whole.sum().clamp(min=1)
    loss = score + 15.0 * (place + tilt)
    return loss, {"heat": float(score.detach()), "off": float(error), "tilt": float(turned)}
