"""(d) Corners in boxes: Khanal et al. 2020, AASCE 2019 (challenge figure 25.69 %).

A detector finds vertebrae as boxes of one class; a DenseNet takes four corners, eight numbers, out
of each box alone. Boxes that leave the line of their neighbours are thrown out, and polynomials of
degree 6 smooth the corners. docs/cobb-corners.md says what of the paper was kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from monai.data.box_utils import non_max_suppression
from monai.networks.nets.densenet import DenseNet
from numpy.typing import NDArray
from torch import Tensor, nn

from spineseg.methods.film_chain import Frames
from spineseg.methods.film_result import Mark
from spineseg.methods.film_windows import WINDOW
from spineseg.systems.patches import (
    Close,
    Head,
    across,
    jittered,
    landmarks_state,
    taught,
    windows,
)
from spineseg.systems.polynomial import smoothed_by
from spineseg.systems.system import Answer, Sample, Settings, Sight, System
from spineseg.systems.trunk import Trunk
from spineseg.training.film_losses import gaussians

__all__ = ["SYSTEM", "Corners", "CornersSystem", "Settings", "fit", "predict"]

Floats = NDArray[np.float64]

_MARGIN = np.array([25.0, 5.0])
"""The boxes' width and height beyond the corners: the paper's 50 and 10 pixels, of half of them."""
_USUAL = (60.0, 28.0)  # width and height of a box on the canvas
_CELL = 4  # pixels of the canvas
_SPREAD = 1.0  # cells, of a vertebra's Gaussian
_IN_TRAINING = 8  # boxes of a film
_SEEN = 0.25  # least score of a box
_OVERLAP = 0.4  # IoU above which two boxes are one vertebra's
_LEAST = 5  # boxes without which there is no spine
_COUNT = 17
_DEGREE = 6
_GAP = 1.6  # distances between neighbours from which a vertebra is missing


class Corners(nn.Module):
    """Detector and regressor.

    Attributes
    ----------
    detect : the trunk's finest map → (N, 5, y/4, x/4): logit that a vertebra's middle lies there;
        its box's middle, in cells from there, and the logarithms of its size by the usual one's
    look : the second network of `cobb-landmarks`, not trained further, whose last features the
        regressor sees beside the picture, as the paper's began from ImageNet's
    regress : (M, 11, 96, 96) → (M, 8)
    """

    def __init__(self, growth: int = 8, blocks: tuple[int, ...] = (4, 4, 4, 4, 4)) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.detect = Head(5)
        self.look = Close(4).requires_grad_(False)
        self.narrow = nn.Conv2d(24, 8, 1)
        self.regress = DenseNet(
            2, 11, 8, init_features=32, growth_rate=growth, block_config=blocks,
            norm=("group", {"num_groups": 8}),
        )  # fmt: skip

    def corners(self, seen: Tensor) -> Tensor:
        """Corners (M, 4, 2), from −1 to 1, of windows (M, 2, 96, 96)."""
        with torch.no_grad():
            features = self.look.unet.skip_layers(seen)
        near = F.interpolate(self.narrow(features), size=seen.shape[2:], mode="nearest")
        line = (torch.arange(WINDOW, device=seen.device) + 0.5) * (2 / WINDOW) - 1
        place = torch.stack(torch.meshgrid(line, line, indexing="xy"))
        place = place[None].expand(len(seen), -1, -1, -1)
        found: Tensor = self.regress(torch.cat([seen[:, :1], place, near], dim=1))
        return found.view(-1, 4, 2)


def boxes_of(corners: Floats) -> Floats:
    """Middles and sizes (n, 4) of the boxes round corners (n, 4, 2) of the canvas."""
    low, high = corners.min(axis=1), corners.max(axis=1)
    return np.concatenate([(low + high) / 2, high - low + _MARGIN], axis=1)


def windows_of(boxes: Floats, scale: float = 1.0) -> Frames:
    """Square windows as wide as boxes (n, 4), upright."""
    upright = np.broadcast_to(np.eye(2)[:, None], (2, len(boxes), 2)).copy()
    return Frames(boxes[:, :2], upright[0], upright[1], boxes[:, 2] / 2 * scale)


class CornersSystem(System):
    """Vertebra detector and corner regression."""

    name = "cobb-corners"
    kind = Corners
    outputs = ("vertebrae and their boxes at 1/4", "four corners in a box")
    paper = "25.69 % (challenge)"

    def begin(self, network: Corners, models: Any) -> None:
        """Detect as the trunk's last layer does, and look as `cobb-landmarks` does."""
        state = landmarks_state(models)
        network.detect.begin(state, [17])
        network.look.begin(state)

    def targets(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """All boxes, and windows on some of them with their corners."""
        boxes = boxes_of(sample.corners)
        near = sample.item.corners
        which = rng.choice(len(near), _IN_TRAINING, replace=False)
        # The prepared film is twice as large as the canvas.
        shown = boxes_of(near[which] / 2) * 2
        frames = jittered(windows_of(shown), rng, off=0.05)
        at = np.full(_IN_TRAINING, 8.0)
        seen, local = taught(sample.item.picture, frames, at, near[which], rng)
        return {
            "boxes": torch.as_tensor(boxes, dtype=torch.float32)[None],
            "seen": seen,
            "local": torch.as_tensor(local, dtype=torch.float32),
        }

    def loss(
        self, network: Corners, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Score and box of every vertebra; places and tilt of the corners in some boxes."""
        found = network.detect(network.trunk(batch["image"])[0])
        score, box = box_loss(found, batch["boxes"])
        points, local = network.corners(batch["seen"]), batch["local"]
        place = F.smooth_l1_loss(points, local, beta=0.02)
        turn = across(points - local)[..., 1]
        tilt = F.smooth_l1_loss(turn, torch.zeros_like(turn), beta=0.02)
        loss = 20.0 * score + box + 15.0 * (place + tilt)
        off = (points - local).norm(dim=-1).mean()
        parts = {"loss": loss, "score": score, "box": box, "off": off, "tilt": turn.abs().mean()}
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    def answer(self, network: Corners, sight: Sight) -> Answer | None:
        """Detect, throw out, fill up, take the corners, smooth."""
        device = network.look.width.device
        maps = network.detect(network.trunk(sight.image.to(device))[0]).float()
        boxes, scores = detected(maps[0].cpu())
        kept = in_line(boxes)
        boxes, scores = boxes[kept], scores[kept]
        if len(boxes) < _LEAST:
            return None
        boxes, scores = seventeen(boxes, scores)
        frames = windows_of(
            np.concatenate([sight.to_prepared(boxes[:, :2]), boxes[:, 2:] / sight.scale], axis=1)
        )
        seen = windows(sight.picture, frames, np.full(_COUNT, 8.0)).to(device)
        layout = torch.channels_last
        local = network.corners(seen.contiguous(memory_format=layout)).float().cpu().numpy()
        corners = sight.to_canvas(frames.to_picture(local.astype(np.float64)))
        half = boxes[:, 2:] / 2
        square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64)
        outlines = boxes[:, None, :2] + square * half[:, None]
        return Answer(
            smooth(corners), confidence=scores, marks=(Mark("boxes", "outlines", outlines),)
        )


def box_loss(found: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Losses of maps (N, 5, y, x) for boxes (N, n, 4): of the scores and of the boxes."""
    rows, columns = found.shape[2:]
    cells = (boxes[..., :2] + 0.5) / _CELL - 0.5
    each = gaussians(cells, rows, columns, _SPREAD)  # (N, n, y, x)
    near, which = each.max(dim=1)
    score = F.binary_cross_entropy_with_logits(found[:, 0], near, pos_weight=found.new_tensor(4.0))
    usual = torch.log(boxes[..., 2:] / boxes.new_tensor(_USUAL))
    x = torch.arange(columns, device=found.device).expand(rows, columns)
    y = torch.arange(rows, device=found.device)[:, None].expand(rows, columns)
    wanted = torch.cat([cells, usual], dim=2).gather(
        1, which.flatten(1)[..., None].expand(-1, -1, 4)
    )
    wanted = wanted.transpose(1, 2).reshape(len(boxes), 4, rows, columns)
    here = torch.cat([torch.stack([x, y]), torch.zeros_like(torch.stack([x, y]))])
    off = F.smooth_l1_loss(found[:, 1:], wanted - here, reduction="none", beta=0.2).sum(1)
    return score, (off * near * (near > 0.3)).sum() / near.sum()


def detected(maps: Tensor) -> tuple[Floats, Floats]:
    """Boxes (n, 4), middles and sizes on the canvas, and scores, from the top, of maps."""
    score = maps[0].sigmoid()
    high = F.max_pool2d(score[None], 3, 1, 1)[0]
    y, x = ((score == high) & (score >= _SEEN)).nonzero().unbind(1)
    values = maps[1:, y, x].T
    middle = (torch.stack([x, y], dim=1) + values[:, :2] + 0.5) * _CELL - 0.5
    size = values[:, 2:].clamp(-1.5, 1.5).exp() * torch.tensor(_USUAL)
    ends = torch.cat([middle - size / 2, middle + size / 2], dim=1)
    kept: Any = non_max_suppression(ends, score[y, x], _OVERLAP) if len(ends) else []
    boxes = torch.cat([middle, size], dim=1)[kept].numpy().astype(np.float64)
    order = np.argsort(boxes[:, 1])
    return boxes[order], score[y, x][kept].numpy().astype(np.float64)[order]


def in_line(boxes: Floats) -> NDArray[np.bool_]:
    """Which boxes (n, 4) are less than half their width beside one of their two neighbours."""
    if len(boxes) < 2:
        return np.zeros(len(boxes), dtype=bool)
    aside = np.abs(np.diff(boxes[:, 0]))
    above, below = np.append(np.inf, aside), np.append(aside, np.inf)
    return np.asarray(np.minimum(above, below) <= boxes[:, 2] / 2)


def seventeen(boxes: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Make 17 of boxes (n, 4): fill gaps, leave out the least sure end, or repeat the lowest."""
    index = 0
    while index + 1 < len(boxes) and len(boxes) < _COUNT:
        step = np.diff(boxes[:, 1])
        around = np.delete(step[max(index - 2, 0) : index + 3], min(index, 2))
        if len(around) and step[index] > _GAP * np.median(around):
            boxes = np.insert(boxes, index + 1, boxes[index : index + 2].mean(axis=0), axis=0)
            scores = np.insert(scores, index + 1, 0.0)
        index += 1
    while len(boxes) > _COUNT:
        gone = 0 if scores[0] < scores[-1] else len(boxes) - 1
        boxes, scores = np.delete(boxes, gone, axis=0), np.delete(scores, gone)
    more = _COUNT - len(boxes)
    if more:
        # On from the last one, in its own steps: two corners in one place have no angle.
        step = (boxes[-1, :2] - boxes[-3, :2]) / 2
        last = np.repeat(boxes[-1:], more, axis=0)
        last[:, :2] += step * np.arange(1, more + 1)[:, None]
        boxes = np.concatenate([boxes, last])
        scores = np.concatenate([scores, np.zeros(more)])
    return boxes, scores


def smooth(corners: Floats) -> Floats:
    """Take x of corners (17, 4, 2) from their y, by a polynomial of degree 6 for each kind."""
    made = corners.copy()
    for kind in range(4):
        x, y = corners[:, kind].T
        made[:, kind, 0] = smoothed_by(y, x, _DEGREE)
    return made


SYSTEM = CornersSystem()
predict, fit = SYSTEM.predict, SYSTEM.fit
