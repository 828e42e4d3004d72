"""SCG-Net: both boundaries of the spine are segmented, and guide the regression of the angles.

After Wang, Huang and Wang 2020 (Spinal curve guide network for accurate automated spinal curvature
estimation); which of its steps are kept, and how, is in docs/cobb-scgnet.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from spineseg.systems.angles_head import Found, angle_loss, angle_targets
from spineseg.systems.masks import boundaries, drawn_targets, map_mark
from spineseg.systems.pyramid import PyramidPooling
from spineseg.systems.regressor import DenseRegressor
from spineseg.systems.system import Answer, Sample, Settings, Sight, System
from spineseg.systems.trunk import CHANNELS, Neck, Trunk

__all__ = ["SYSTEM", "SCGNet", "SCGNetwork", "Settings", "fit", "predict"]

_WIDTH = 48
_FINE = 8  # channels at half of the canvas' grid
_DRAWN = 2  # boundaries a film that are drawn from bent corners
_SEEN = 0.15  # of a boundary's likelihood, over its best cells, below which nothing is seen


class SCGNetwork(nn.Module):
    """A U-Net with pyramid pooling at its bottom, and a DenseNet on the film and the boundaries."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.neck = Trunk(), Neck(_WIDTH)
        self.pool = PyramidPooling(CHANNELS[-1], bins=(1, 2, 4))
        # Four cells of the finer grid for each of the coarser one.
        self.up = nn.Sequential(
            nn.Conv2d(_WIDTH, _FINE * 4, 3, padding=1), nn.PixelShuffle(2), nn.ReLU()
        )
        self.near = nn.Sequential(nn.Conv2d(1, _FINE, 5, stride=2, padding=2), nn.ReLU())
        self.curves = nn.Conv2d(2 * _FINE, 2, 5, padding=2)
        self.regress = DenseRegressor(3)

    def segment(self, image: Tensor) -> Tensor:
        """(N, 1, y, x) → logits (N, 2, y/2, x/2) of the left and the right boundary."""
        maps = self.trunk(image)
        features = self.neck([*maps[:-1], self.pool(maps[-1])])[0]
        found: Tensor = self.curves(torch.cat([self.up(features), self.near(image)], dim=1))
        return found

    def read(self, image: Tensor, curves: Tensor) -> Found:
        """Angles of a film and of its boundaries, as they were found or drawn."""
        found: Found = self.regress(torch.cat([F.avg_pool2d(image, 2), curves], dim=1))
        return found

    def forward(self, image: Tensor) -> tuple[Tensor, Found]:
        """The boundaries (N, 2, y/2, x/2), 0 to 1, and the angles."""
        curves = self.segment(image).sigmoid()
        return curves, self.read(image, curves)


class SCGNet(System):
    """The system (h) of the challenge."""

    name = "cobb-scgnet"
    kind = SCGNetwork
    paper = "22.18 % (challenge)"
    outputs = ("left boundary", "right boundary", "major", "upper", "lower")

    def targets(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """The film's boundaries and angles, and drawn boundaries with theirs."""
        found = {"curves": boundaries(sample.corners, self.canvas), **angle_targets(sample)}
        return found | drawn_targets(sample.item, "curves", boundaries, self.canvas, rng, _DRAWN)

    def loss(self, network: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Boundaries, angles of the film with the boundaries found, and of drawn ones alone."""
        image, wanted = batch["image"], batch["curves"]
        logits = network.segment(image)
        entropy = F.binary_cross_entropy_with_logits(logits, wanted)
        share = logits.sigmoid()
        both, all_ = (share * wanted).sum((2, 3)), share.sum((2, 3)) + wanted.sum((2, 3))
        curves = 2.0 * entropy + (1 - (2 * both + 1) / (all_ + 1)).mean()
        angles, parts = angle_loss(network.read(image, share.detach()), batch)
        drawn = {k.removeprefix("drawn_"): v for k, v in batch.items() if k.startswith("drawn_")}
        nothing = image.new_zeros(len(drawn["curves"]), *image.shape[1:])
        ideal, of_drawn = angle_loss(network.read(nothing, drawn["curves"]), drawn)
        loss = curves + angles + 0.5 * ideal
        parts |= {"curves": curves, "drawn": of_drawn["smape"], "loss": loss}
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    def answer(self, network: Any, sight: Sight) -> Answer | None:
        """The angles, and the boundaries."""
        curves, found = network(sight.image)
        line = curves[0].amax(0)
        if float(line.flatten().topk(line.numel() // 100).values.mean()) < _SEEN:
            return None
        angles = found.angles[0].double().cpu().numpy()
        return Answer(angles=angles, marks=(map_mark("boundary", line, self.canvas),))


SYSTEM = SCGNet()
predict, fit = SYSTEM.predict, SYSTEM.fit
