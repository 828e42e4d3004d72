"""Seg4Reg: a mask of vertebrae and of the gaps between them, and the angles read off that mask.

After Lin et al. 2020 (Seg4Reg networks for automated spinal curvature estimation); which of its
steps are kept, and how, is in docs/cobb-seg4reg.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from spineseg.systems import system
from spineseg.systems.angles_head import Found, angle_loss, angle_targets
from spineseg.systems.masks import drawn_targets, map_mark, vertebrae_and_gaps
from spineseg.systems.pyramid import PyramidPooling, dilated
from spineseg.systems.regressor import DenseRegressor
from spineseg.systems.system import Answer, Sample, Sight, System
from spineseg.systems.trunk import Neck, Trunk

__all__ = ["SYSTEM", "Seg4Reg", "Seg4RegNetwork", "Settings", "fit", "predict"]

_WIDTH = 48
_BACK, _BONE, _GAP = 0, 1, 2
_DRAWN = 3  # masks a film that are drawn from bent corners
_LAMBDA = 1.0  # of the domain loss, the paper's
_SEEN = 0.15  # share of a cell's vertebra, over the spine's best cells, below which nothing is seen


@dataclass(frozen=True)
class Settings(system.Settings):
    """How to use this system.

    Attributes
    ----------
    zero_below_deg : float
        Angles under it are put out as 0: the paper takes 4, which makes films worse here.
    """

    zero_below_deg: float = 0.0


class Seg4RegNetwork(nn.Module):
    """Segmentation with a pyramid on the trunk, and the regression on its mask."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.neck = Trunk(), Neck(_WIDTH)
        self.pool, self.dilated = PyramidPooling(_WIDTH), dilated(_WIDTH)
        # Four cells of the finer grid for each of the coarser one.
        self.classes = nn.Sequential(nn.Conv2d(_WIDTH, 3 * 4, 3, padding=1), nn.PixelShuffle(2))
        self.domain = nn.Sequential(nn.Conv2d(_WIDTH, 16, 1), nn.ReLU(), nn.Conv2d(16, 1, 1))
        self.regress = DenseRegressor(2)

    def features(self, image: Tensor) -> Tensor:
        """(N, 1, y, x) → (N, 48, y/4, x/4)."""
        joined = self.neck(self.trunk(equalised(image)))[0]
        around: Tensor = self.dilated(self.pool(joined))
        return around

    def segment(self, features: Tensor) -> Tensor:
        """Logits (N, 3, y/2, x/2) of background, vertebra and gap."""
        found: Tensor = self.classes(features)
        return found

    def forward(self, image: Tensor) -> tuple[Tensor, Found]:
        """The mask (N, 2, y/2, x/2) of vertebra and gap, and what is read off it."""
        mask = self.segment(self.features(image)).softmax(1)[:, _BONE:]
        return mask, self.regress(mask)


def equalised(image: Tensor) -> Tensor:
    """Equalise the histograms of films (N, 1, y, x) to that of a normal distribution.

    Levels are counted in the middle half of the canvas, which a film always fills.
    """
    bins, reach = 256, 4.0
    columns = image.shape[-1]
    middle = image[..., columns // 4 : -(columns // 4)]
    out = []
    for whole, part in zip(image, middle, strict=True):
        low, high = part.mean() - reach * part.std(), part.mean() + reach * part.std() + 1e-6
        count = torch.histc(part.clamp(low, high), bins, float(low), float(high))
        share = (count.cumsum(0) - count / 2) / count.sum()
        level = torch.erfinv((2 * share - 1).clamp(-0.999, 0.999)) * 2**0.5
        at = ((whole - low) / (high - low) * bins).clamp(0, bins - 1).long()
        out.append(level[at])
    return torch.stack(out).to(image.dtype)


class _Reversed(torch.autograd.Function):
    """Passes values on and turns gradients round (Ganin et al. 2015)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return -_LAMBDA * gradients[0]


def mask_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy and Dice of logits (N, 3, y, x) against shares (N, 2, y, x)."""
    target = torch.cat([1 - wanted.sum(1, keepdim=True), wanted], dim=1)
    entropy = -(target * logits.log_softmax(1)).sum(1).mean()
    share = logits.softmax(1)[:, _BONE:]
    both = (share * wanted).sum((2, 3))
    dice = 1 - (2 * both + 1) / (share.sum((2, 3)) + wanted.sum((2, 3)) + 1)
    return entropy + dice.mean()


class Seg4Reg(System):
    """The system (b) of the challenge."""

    name = "cobb-seg4reg"
    kind = Seg4RegNetwork
    outputs = ("background", "vertebra", "gap", "major", "upper", "lower")
    paper = "21.71 % (challenge)"
    adapts = True

    def targets(self, sample: Sample, rng: np.random.Generator) -> dict[str, Tensor]:
        """The film's mask and angles, and drawn masks with theirs."""
        found = {"mask": vertebrae_and_gaps(sample.corners, self.canvas), **angle_targets(sample)}
        return found | drawn_targets(
            sample.item, "mask", vertebrae_and_gaps, self.canvas, rng, _DRAWN
        )

    def loss(self, network: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Mask, angles of the mask found and of drawn ones, and the domain where films have two."""
        features = network.features(batch["image"])
        logits = network.segment(features).float()
        mask = mask_loss(logits, batch["mask"])
        share = logits.softmax(1)[:, _BONE:].detach()
        angles, parts = angle_loss(network.regress(share), batch)
        wanted = {k.removeprefix("drawn_"): v for k, v in batch.items() if k.startswith("drawn_")}
        ideal, drawn = angle_loss(network.regress(_blurred(wanted["mask"])), wanted)
        loss = mask + angles + 0.5 * ideal
        parts |= {"mask": mask, "drawn": drawn["smape"]}
        if "other" in batch:
            both = torch.cat([features, network.features(batch["other"])])
            said = network.domain(_Reversed.apply(both))  # type: ignore[no-untyped-call]
            which = torch.arange(len(both), device=said.device) >= len(features)
            domain = F.binary_cross_entropy_with_logits(
                said, which[:, None, None, None].to(said.dtype).expand_as(said)
            )
            loss, parts["domain"] = loss + domain, domain
        parts["loss"] = loss
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    def answer(self, network: Any, sight: Sight) -> Answer | None:
        """The angles, small ones as 0, and the mask."""
        mask, found = network(sight.image)
        bone = mask[0, 0]
        if float(bone.flatten().topk(bone.numel() // 50).values.mean()) < _SEEN:
            return None
        angles = found.angles[0].double().cpu().numpy()
        least = getattr(sight.settings, "zero_below_deg", 0.0)
        angles = np.where(angles < least, 0.0, angles)
        marks = (
            map_mark("vertebrae", bone, self.canvas),
            map_mark("gaps", mask[0, 1], self.canvas),
        )
        return Answer(angles=angles, marks=marks)


def _blurred(masks: Tensor) -> Tensor:
    """Make every second drawn mask as soft as a found one."""
    soft = F.avg_pool2d(masks, 3, 1, 1)
    every = torch.arange(len(masks), device=masks.device) % 2 == 0
    return torch.where(every[:, None, None, None], soft, masks)


SYSTEM = Seg4Reg()
predict, fit = SYSTEM.predict, SYSTEM.fit
