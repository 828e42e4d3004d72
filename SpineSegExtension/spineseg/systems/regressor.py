"""A narrow DenseNet (MONAI's) that reads maps and puts out angles."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from monai.networks.nets.densenet import DenseNet
from torch import Tensor, nn

from spineseg.systems.angles_head import AngleHead, Found

__all__ = ["DenseRegressor"]

_BLOCKS, _GROWTH, _FIRST = (4, 6, 8), 12, 24


class DenseRegressor(nn.Module):
    """Maps (N, channels, y, x) → `Found`; places are looked for at 1/8 of the maps' grid.

    DenseNet-169 has 14 million weights and learned from ImageNet first; this one has 0.2 million.
    What its last but one block saw, on the finer grid, is looked at as well.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        first = (_FIRST + _BLOCKS[0] * _GROWTH) // 2
        middle = first + _BLOCKS[1] * _GROWTH
        last = middle // 2 + _BLOCKS[2] * _GROWTH
        self.dense: Any = DenseNet(
            2, channels, 1, _FIRST, _GROWTH, _BLOCKS, norm=("group", {"num_groups": 6})
        )
        del self.dense.class_layers
        self.middle = nn.GroupNorm(6, middle)
        self.head = AngleHead(middle + last, last)

    def forward(self, maps: Tensor) -> Found:
        """Read the angles off the maps."""
        middle = maps
        for name, layer in self.dense.features.named_children():
            maps = layer(maps)
            if name == "denseblock2":
                middle = self.middle(maps)
        last = maps.relu()
        both = torch.cat([middle.relu(), F.interpolate(last, size=middle.shape[2:])], dim=1)
        found: Found = self.head(both, last.mean(dim=(2, 3)))
        return found
