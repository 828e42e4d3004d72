"""Pyramid pooling: what lies around, at several scales, beside each place of a map."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from monai.networks.blocks.aspp import SimpleASPP
from torch import Tensor, nn

__all__ = ["PyramidPooling", "dilated"]


class PyramidPooling(nn.Module):
    """The pyramid of PSPNet (Zhao et al. 2017): averages over `bins` × `bins` parts of a map.

    (N, width, y, x) → the same shape.
    """

    def __init__(self, width: int, bins: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.bins = bins
        part = width // len(bins)
        self.parts = nn.ModuleList(nn.Conv2d(width, part, 1) for _ in bins)
        self.join = nn.Sequential(
            nn.Conv2d(width + part * len(bins), width, 1), nn.GroupNorm(4, width), nn.ReLU()
        )

    def forward(self, features: Tensor) -> Tensor:
        """Put averages over large parts beside each place."""
        found = [features]
        for bins, part in zip(self.bins, self.parts, strict=True):
            pooled = part(F.adaptive_avg_pool2d(features, bins)).relu()
            found.append(F.interpolate(pooled, size=features.shape[2:], mode="bilinear"))
        joined: Tensor = self.join(torch.cat(found, dim=1))
        return joined


def dilated(width: int, dilations: tuple[int, ...] = (2, 4, 6)) -> SimpleASPP:
    """Return MONAI's pyramid of dilated convolutions, (N, width, y, x) → the same shape."""
    count = len(dilations)
    return SimpleASPP(
        2, width, width // count, (3,) * count, dilations,
        norm_type=("group", {"num_groups": 4}), acti_type="RELU", bias=True,
    )  # fmt: skip
