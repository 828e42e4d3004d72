"""A narrow DenseNet (MONAI's) that reads maps and puts out angles."""

from __future__ import annotations

from typing import Any

from monai.networks.nets.densenet import DenseNet
from torch import Tensor, nn

from spineseg.systems.angles_head import AngleHead, Found

__all__ = ["DenseRegressor"]

_BLOCKS, _GROWTH, _FIRST = (4, 6, 8), 12, 24


class DenseRegressor(nn.Module):
    """Maps (N, channels, y, x) → `Found`; places are looked for at 1/16 of the maps' grid.

    DenseNet-169 has 14 million weights and learned from ImageNet first; this one has 0.2 million.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = _FIRST
        for layers in _BLOCKS[:-1]:
            width = (width + layers * _GROWTH) // 2
        width += _BLOCKS[-1] * _GROWTH
        self.dense: Any = DenseNet(
            2, channels, 1, _FIRST, _GROWTH, _BLOCKS, norm=("group", {"num_groups": 6})
        )
        self.dense.class_layers = nn.ReLU()
        self.head = AngleHead(width, width)

    def forward(self, maps: Tensor) -> Found:
        """Read the angles off the maps."""
        features = self.dense(maps)
        found: Found = self.head(features, features.mean(dim=(2, 3)))
        return found
