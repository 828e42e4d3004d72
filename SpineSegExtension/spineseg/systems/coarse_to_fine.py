"""(g) Corners from coarse to fine: Zhong et al. 2020, AASCE 2019 (challenge figure 24.80 %).

Coarse: masks of the whole spine, of the target spine and of each vertebra. They crop the film step
by step ("peeling") and say where each vertebra lies. Fine: in a window on each vertebra a mask and
four heatmaps, which are multiplied. A polynomial of degree 9 through the vertebrae turns back those
that stand out. docs/cobb-coarse-to-fine.md says what of the paper was kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from spineseg.methods.film_chain import best_chain, smoothed
from spineseg.methods.film_heat import expectation, mass_near
from spineseg.methods.film_picture import Picture, sample
from spineseg.methods.film_result import Mark
from spineseg.methods.film_windows import MIRRORED
from spineseg.systems.patches import (
    Close,
    Head,
    across,
    frames_at,
    jittered,
    landmarks_state,
    windows,
)
from spineseg.systems.polynomial import robust_fit
from spineseg.systems.system import Answer, Sample, Settings, Sight, System
from spineseg.systems.trunk import Trunk
from spineseg.training.film_data import centres_of
from spineseg.training.film_losses import gaussians, place_loss
from spineseg.training.film_samples import altered

__all__ = ["SYSTEM", "CoarseToFine", "CoarseToFineSystem", "Settings", "fit", "predict"]

Floats = NDArray[np.float64]

_COUNT = 17
_CELL = 4  # pixels of the canvas
_CELLS = 48  # of a window's maps
_SPREAD = 1.5  # cells of a window, of a corner's Gaussian
_IN_TRAINING = 5  # windows of a film
_OUT = (0.7, 1.0)  # films are made so much smaller, half of them, for the peeling
_BLURS = ((14.0, 5.0), (3.0, 2.0), (0.0, 1.5))
"""How far the whole spine, the target spine and a vertebra's box reach, and how soft their edges
are, in pixels of the canvas."""
_BOX = 0.25  # widths of a vertebra by which the mask in its window reaches beyond it
_PEELS = 3
_MARGIN = 0.08  # of the spine's height, left at both of its ends
_NARROWER = 0.9  # the next crop must be so much smaller, or the peeling ends
_LEAST = 0.35  # of a mask's highest value: less is no vertebra
_OFF = 0.5  # distances between neighbours that a mean place may be off from its chain
_STIFF = 0.3  # of the chain, in `smoothed`
_DEGREE = 9
_STANDS_OUT_DEG = 5.0  # beyond its neighbours
_SOFT = 0.8  # vertebrae over which the lean is smoothed


class CoarseToFine(nn.Module):
    """Coarse and fine network.

    Attributes
    ----------
    coarse : the trunk's finest map → (N, 20, y/4, x/4): logits of 17 boxes and of what is none of
        them, of which one holds; of the whole spine; of the target spine
    fine : windows (M, 2, 96, 96) → (M, 5, 48, 48): logits of four corners, and of the mask
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.coarse = Head(_COUNT + 3)
        self.fine = Close(5)

    def forward(self, image: Tensor) -> Tensor:
        """Coarse maps."""
        found: Tensor = self.coarse(self.trunk(image)[0])
        return found

    def points(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the corners (M, 4, 48, 48) in the mask, and the mask's (M, 48, 48)."""
        maps = self.fine(seen)
        return maps[:, :4] + F.logsigmoid(maps[:, 4:]), maps[:, 4]


@dataclass(frozen=True, eq=False)
class Region:
    """What a crop of the prepared film shows: crop = scale · prepared + offset."""

    scale: float
    offset: Floats

    def to_prepared(self, points: Floats) -> Floats:
        return np.asarray((points - self.offset) / self.scale)

    def image(self, picture: Picture, canvas: tuple[int, int]) -> Tensor:
        columns, rows = np.meshgrid(np.arange(canvas[1]), np.arange(canvas[0]))
        points = self.to_prepared(np.stack([columns, rows], axis=-1)[None].astype(np.float64))
        return sample(picture, points, step=max(1, round(1 / self.scale)))


class CoarseToFineSystem(System):
    """Peeling crop, coarse masks, fine heatmaps, polynomial."""

    name = "cobb-coarse-to-fine"
    kind = CoarseToFine
    outputs = ("17 boxes, whole spine and target spine at 1/4", "four corners and mask in a window")
    paper = "24.80 % (challenge)"
    _ratio = np.full(_COUNT, 1.27)  # of a vertebra's width to the distance to the next

    def begin(self, network: CoarseToFine, models: Any) -> None:
        """Boxes begin as the vertebrae's middles; windows are seen as `cobb-landmarks` does."""
        state = landmarks_state(models)
        network.coarse.begin(state, list(range(_COUNT)))
        network.fine.begin(state)
        self._ratio = network.fine.width.numpy().astype(np.float64)

    def targets(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """All corners, and some windows with theirs."""
        corners = sample.item.corners
        which = np.sort(rng.choice(_COUNT, _IN_TRAINING, replace=False))
        chain = centres_of(corners)
        frames = frames_at(chain, self._ratio, which.astype(np.float64), np.ones(_IN_TRAINING))
        frames = jittered(frames, rng)
        seen = windows(sample.item.picture, frames, which.astype(np.float64))
        local = frames.to_local(corners[which])
        for n in range(_IN_TRAINING):
            seen[n, :1] = altered(seen[n, :1], rng)
            if rng.random() < 0.5:
                seen[n] = seen[n].flip(-1)
                local[n] = local[n, MIRRORED] * [-1.0, 1.0]
        smaller = rng.uniform(*_OUT) if rng.random() < 0.5 else 1.0
        return {
            "corners": torch.as_tensor(sample.corners, dtype=torch.float32)[None],
            "smaller": torch.tensor([smaller]),
            "seen": seen,
            "local": torch.as_tensor(local, dtype=torch.float32),
        }

    def loss(
        self, network: CoarseToFine, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Losses of the coarse masks and of the windows."""
        image, corners = made_smaller(batch["image"], batch["corners"], batch["smaller"])
        coarse, off = coarse_loss(network(image), corners)
        maps, mask = network.points(batch["seen"])
        local = batch["local"]
        cells = (local + 1) * (_CELLS / 2) - 0.5
        heat = place_loss(maps, gaussians(cells, _CELLS, _CELLS, _SPREAD)).mean()
        box = depth_in(cells[:, None], _CELLS, _CELLS, 1)[:, 0] / (_CELLS / 2)
        inside = F.binary_cross_entropy_with_logits(mask, torch.sigmoid((box + _BOX) / 0.03))
        points = expectation(maps)
        place = F.smooth_l1_loss(points, local, beta=0.02)
        turn = across(points - local)[..., 1]
        tilt = F.smooth_l1_loss(turn, torch.zeros_like(turn), beta=0.02)
        loss = coarse + heat + inside + 15.0 * (place + tilt)
        parts = {
            "loss": loss,
            "coarse": coarse,
            "off_px": off,
            "heat": heat,
            "mask": inside,
            "off": (points - local).norm(dim=-1).mean(),
            "tilt": turn.abs().mean(),
        }
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    def answer(self, network: CoarseToFine, sight: Sight) -> Answer | None:
        """Peel, find the vertebrae, look at each, turn back what stands out."""
        peeled = peel(network, sight)
        if peeled is None:
            return None
        region, middles, sure, mass = peeled
        chain = smoothed(region.to_prepared(middles), sure + 0.02, _STIFF)
        at = np.arange(_COUNT, dtype=np.float64)
        width = network.fine.width
        frames = frames_at(chain, width.cpu().numpy().astype(np.float64), at, np.ones(_COUNT))
        seen = windows(sight.picture, frames, at).to(width.device)
        maps, _ = network.points(seen.contiguous(memory_format=torch.channels_last))
        points = expectation(maps.float())
        near = mass_near(maps.float(), points, 0.25).mean(1).cpu().numpy().astype(np.float64)
        local = points.cpu().numpy().astype(np.float64)
        corners = sight.to_canvas(frames.to_picture(local))
        corners, line = refined(corners, sight.to_canvas(chain))
        rows, columns = mass.shape
        last = np.array([columns - 1, rows - 1])
        ends = np.array([[0, 0], last]) * _CELL + (_CELL - 1) / 2
        square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * (last + 1) * _CELL - 0.5
        marks = (
            Mark("boxes", "map", sight.to_canvas(region.to_prepared(ends)), mass),
            Mark("crop", "outlines", sight.to_canvas(region.to_prepared(square))[None]),
            Mark("curve", "line", line),
        )
        return Answer(corners, confidence=np.clip(near * np.sqrt(sure), 0, 1), marks=marks)


def made_smaller(image: Tensor, corners: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Make films (N, 1, y, x) smaller about their middle by scales (N,), and move their corners."""
    if bool((scale == 1).all()):
        return image, corners
    matrix = torch.zeros(len(image), 2, 3, device=image.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1 / scale
    grid = F.affine_grid(matrix, list(image.shape), align_corners=False)
    layout = torch.channels_last
    small = F.grid_sample(image, grid, align_corners=False).contiguous(memory_format=layout)
    middle = corners.new_tensor([image.shape[3] - 1, image.shape[2] - 1]) / 2
    return small, (corners - middle) * scale[:, None, None, None] + middle


def depth_in(corners: Tensor, rows: int, columns: int, cell: int) -> Tensor:
    """How deep (N, n, rows, columns) cells lie in outlines (N, n, 4, 2); negative is outside.

    Pixels, along the nearest of the four edges.
    """
    around = corners[..., [0, 1, 3, 2], :]
    edge = around.roll(-1, dims=-2) - around
    edge = edge / edge.norm(dim=-1, keepdim=True).clamp(min=1e-3)
    middle = (cell - 1) / 2
    x = torch.arange(columns, device=corners.device) * cell + middle
    y = torch.arange(rows, device=corners.device) * cell + middle
    # edge × (cell − corner), which is positive inside, as the outline runs clockwise.
    shift = edge[..., 1] * around[..., 0] - edge[..., 0] * around[..., 1]
    across_x = -edge[..., 1, None, None] * x
    across_y = (edge[..., 0, None] * y)[..., None]
    depth: Tensor = (across_x + across_y + shift[..., None, None]).amin(dim=2)
    return depth


def coarse_loss(maps: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of the coarse maps (N, 20, y, x), and the mean error of the middles in pixels."""
    depth = depth_in(corners, maps.shape[2], maps.shape[3], _CELL)
    spine = depth.amax(dim=1)
    whole, target = (torch.sigmoid((spine + more) / soft) for more, soft in _BLURS[:2])
    each = torch.sigmoid((depth + _BLURS[2][0]) / _BLURS[2][1])
    each = torch.cat([each, (1 - each.sum(1, keepdim=True)).clamp(min=0)], dim=1)
    each = each / each.sum(1, keepdim=True)
    boxes = -(each * maps[:, : _COUNT + 1].log_softmax(1)).sum(1).mean()
    masks = F.binary_cross_entropy_with_logits(maps[:, -2], whole)
    masks = masks + F.binary_cross_entropy_with_logits(maps[:, -1], target)
    middles, _ = middles_of(maps)
    off = (middles - corners.mean(dim=2)) / _CELL
    place = F.smooth_l1_loss(off, torch.zeros_like(off))
    return 3.0 * boxes + masks + place, off.norm(dim=-1).mean() * _CELL


def middles_of(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Middles (N, 17, 2) of the boxes on the canvas, and the boxes in the masks (N, 17, y, x)."""
    share = maps[:, : _COUNT + 1].softmax(1)[:, :_COUNT]
    share = share * maps[:, -2:-1].sigmoid() * maps[:, -1:].sigmoid()
    rows, columns = share.shape[2:]
    x = torch.arange(columns, device=maps.device, dtype=maps.dtype)
    y = torch.arange(rows, device=maps.device, dtype=maps.dtype)
    # Squared, so that a little of a box far away moves it less.
    weight = share**2
    total = weight.sum((2, 3)).clamp(min=1e-6)
    middles = torch.stack([(weight.sum(2) * x).sum(-1), (weight.sum(3) * y).sum(-1)], dim=-1)
    return (middles / total[..., None] + 0.5) * _CELL - 0.5, share


def peel(
    network: CoarseToFine, sight: Sight
) -> tuple[Region, Floats, Floats, NDArray[np.uint8]] | None:
    """Crop the film to the spine, step by step.

    Returns
    -------
    (region, middles, sure, mass) : the last crop; the vertebrae's middles (17, 2) there; how sure
        each is (17,); the boxes as they were seen (128, 64). None if no vertebra is seen.
    """
    canvas = (sight.image.shape[2], sight.image.shape[3])
    region, image = Region(sight.scale, sight.offset), sight.image
    device = network.fine.width.device
    for number in range(_PEELS):
        maps = network(image.to(device)).float()
        places, share = middles_of(maps)
        middles = in_order(share[0].cpu().numpy(), places[0].cpu().numpy().astype(np.float64))
        sure = share[0].amax(dim=(1, 2)).cpu().numpy().astype(np.float64)
        boxes = share[0].amax(dim=0).cpu().numpy()
        if (sure > _LEAST).sum() < _COUNT // 2:
            return None
        smaller = narrowed(region, share[0].cpu().numpy(), middles, sure, canvas)
        if smaller is None or number == _PEELS - 1:
            break
        region = smaller
        image = region.image(sight.picture, canvas)
    return region, middles, sure, np.asarray(np.clip(boxes * 255, 0, 255), np.uint8)


def in_order(share: NDArray[Any], places: Floats) -> Floats:
    """Put places (17, 2) that no chain down the spine goes through where one does.

    `share` (17, y, x) are the boxes. This is the paper's judgement of continuity.
    """
    # A box is flat on top; its middle is what is looked for.
    soft = ndimage.gaussian_filter(share, (0, 1.5, 3.0))
    logs = np.log(soft / np.maximum(soft.sum(axis=(1, 2), keepdims=True), 1e-6) + 1e-9)
    cells, _ = best_chain(logs.astype(np.float32), np.ones(_COUNT - 1))
    chain = (cells + 0.5) * _CELL - 0.5
    pitch = float(np.median(np.linalg.norm(np.diff(chain, axis=0), axis=1)))
    far = np.linalg.norm(places - chain, axis=1) > _OFF * pitch
    return np.where(far[:, None], chain, places)


def narrowed(
    region: Region, share: NDArray[Any], middles: Floats, sure: Floats, canvas: tuple[int, int]
) -> Region | None:
    """Return the next crop, of the canvas' proportions; None if it is hardly smaller."""
    index = np.arange(_COUNT, dtype=np.float64)
    # What lies far from the line of the others, or is hardly seen, is no end of the spine.
    line = [robust_fit(index, middles[:, k], 3, np.sqrt(sure + 0.02))(index) for k in (0, 1)]
    pitch = np.median(np.diff(line[1]))
    good = (np.hypot(*(middles.T - line)) < max(pitch, 1.0)) & (sure > _LEAST)
    if good.sum() < _COUNT // 2:
        return None
    first, last = np.flatnonzero(good)[[0, -1]]
    rows = [np.flatnonzero(share[k].max(axis=1) > _LEAST * sure[k]) for k in (first, last)]
    # Vertebrae that are not seen at the ends have room there.
    top = rows[0].min() * _CELL - first * pitch
    bottom = (rows[1].max() + 1) * _CELL + (_COUNT - 1 - last) * pitch
    height = (bottom - top) * (1 + 2 * _MARGIN)
    if height >= _NARROWER * canvas[0]:
        return None
    low, high = middles[good].min(axis=0), middles[good].max(axis=0)
    middle = np.array([(low[0] + high[0]) / 2, (top + bottom) / 2])
    zoom = canvas[0] / height
    new = np.array([canvas[1] - 1, canvas[0] - 1]) / 2
    return Region(region.scale * zoom, (region.offset - middle) * zoom + new)


def refined(corners: Floats, chain: Floats) -> tuple[Floats, Floats]:
    """Turn back vertebrae that stand out from a polynomial of degree 9.

    It goes through the middles of the corners (17, 4, 2) and those of the masks (17, 2), x over y,
    and straight on over the last vertebra of each end. How each vertebra leans away from square to
    it is smoothed along the spine, and what stands out from its neighbours counts as they do.

    Returns
    -------
    (corners, line) : line (33, 2), the curve
    """
    middles = corners.mean(axis=1)
    x, y = np.concatenate([middles, chain]).T
    curve = robust_fit(y, x, _DEGREE)
    slope = np.asarray(curve.deriv()(middles[:, 1]))
    # A polynomial swings at its ends: there the line from one middle to the next counts.
    step = np.gradient(middles, axis=0)
    ends = [0, 1, -2, -1]
    slope[ends] = step[ends, 0] / np.maximum(step[ends, 1], 1e-3)
    side = across(corners)
    lean = np.degrees(np.arctan2(side[:, 1], side[:, 0]) - np.arctan2(-slope, 1.0))
    usual = ndimage.median_filter(lean, 5, mode="nearest")
    lean_kept = usual + np.clip(lean - usual, -_STANDS_OUT_DEG, _STANDS_OUT_DEG)
    turn = np.radians(ndimage.gaussian_filter1d(lean_kept, _SOFT, mode="nearest") - lean)
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    away = corners - middles[:, None]
    turned = np.stack(
        [cos * away[..., 0] - sin * away[..., 1], sin * away[..., 0] + cos * away[..., 1]], axis=-1
    )
    at = np.linspace(middles[0, 1], middles[-1, 1], 33)
    return turned + middles[:, None], np.stack([curve(at), at], axis=1)


SYSTEM = CoarseToFineSystem()
predict, fit = SYSTEM.predict, SYSTEM.fit
