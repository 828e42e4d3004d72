"""Angles and mask in one network: averages of all its stages are connected to three angles.

After Wang et al. 2020 (A multi-task learning method for direct estimation of spinal curvature);
which of its steps are kept, and how, is in docs/cobb-multitask.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spineseg.systems.angles_head import AngleHead, Found, angle_loss, angle_targets
from spineseg.systems.masks import map_mark, vertebrae_and_gaps
from spineseg.systems.system import Answer, Sample, Settings, Sight, System
from spineseg.systems.trunk import CHANNELS, Neck, Trunk
from spineseg.weights import load_state

__all__ = ["SYSTEM", "Multitask", "MultitaskNetwork", "Settings", "fit", "predict"]

_WIDTH = 48
_STRIDE = 4  # of the mask
_SOFTER = 0.4  # what a vertebra's average is taken of is larger than its middle
_SEEN = 0.15  # share of a cell's vertebra, over the spine's best cells, below which nothing is seen


class MultitaskNetwork(nn.Module):
    """The trunk as encoder, the neck as decoder, and what their stages' averages say of angles."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.neck = Trunk(), Neck(_WIDTH)
        self.fine = nn.Sequential(
            nn.GroupNorm(6, _WIDTH),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=2, dilation=2),
            nn.GroupNorm(6, _WIDTH),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
        )
        self.mask = nn.Conv2d(_WIDTH, 2, 1)
        stages = CHANNELS[-1] + len(CHANNELS) * _WIDTH
        self.head = AngleHead(_WIDTH + CHANNELS[0], stages)

    def forward(self, image: Tensor) -> tuple[Tensor, Found]:
        """(N, 1, y, x) → logits of the mask (N, 2, y/4, x/4), and the angles."""
        maps = self.trunk(image)
        stages = self.neck(maps)
        fine = stages[0] + self.fine(stages[0])
        averages = [stage.mean(dim=(2, 3)) for stage in (maps[-1], fine, *stages[1:])]
        found = self.head(torch.cat([fine, maps[0]], dim=1), torch.cat(averages, dim=1))
        return self.mask(fine), found


class Multitask(System):
    """The system (i) of the challenge."""

    name = "cobb-multitask"
    kind = MultitaskNetwork
    paper = "12.97 % (public films)"
    outputs = ("background", "vertebra", "major", "upper", "lower")

    def begin(self, network: MultitaskNetwork, models: Any) -> None:
        """Look at first where `cobb-landmarks` finds the vertebrae."""
        state = load_state("cobb-landmarks", models)
        weight = state["find.output_block.conv.conv.weight"]
        where = network.head.where
        with torch.no_grad():
            where.weight.mul_(0.1)
            # The trunk gives the way down and the way up; its own last layer saw the latter.
            where.weight[:, -weight.shape[1] :] = _SOFTER * weight[: len(where.weight)]

    def targets(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """The mask of all vertebrae, and the angles."""
        mask = vertebrae_and_gaps(sample.corners, self.canvas, _STRIDE)[:, :1]
        return {"mask": mask, **angle_targets(sample)}

    def loss(self, network: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Mask and angle, equation (1): Dice (2), and SMAPE, which (3) has the wrong way round."""
        logits, found = network(batch["image"])
        share, wanted = logits.softmax(1)[:, 1], batch["mask"][:, 0]
        both, all_ = (share * wanted).sum((1, 2)), share.sum((1, 2)) + wanted.sum((1, 2))
        mask = (1 - 2 * both / all_).mean()
        angle, parts = angle_loss(found, batch)
        loss = mask + angle
        parts |= {"mask": mask, "loss": loss}
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    def answer(self, network: Any, sight: Sight) -> Answer | None:
        """The angles, the mask, and where the angles were looked for."""
        logits, found = network(sight.image)
        bone = logits[0].softmax(0)[1]
        if float(bone.flatten().topk(bone.numel() // 50).values.mean()) < _SEEN:
            return None
        looked = found.places[0].flatten(1).softmax(1).view_as(found.places[0])
        looked = (looked / looked.amax(dim=(1, 2), keepdim=True)).amax(0)
        marks = (
            map_mark("vertebrae", bone, self.canvas),
            map_mark("saliency", looked, self.canvas),
        )
        return Answer(angles=found.angles[0].double().cpu().numpy(), marks=marks)


SYSTEM = Multitask()
predict, fit = SYSTEM.predict, SYSTEM.fit
