"""A residual 3-D U-Net whose full-resolution level is kept light.

After Çiçek et al. 2016 (3D U-Net) and Lee et al. 2017 (residual blocks, summed skips). Most of a
U-Net's time goes into its first level; here that level has two plain convolutions in all, which
on a CPU halves the time of a step and costs little, since edges are refined at the scan's own
resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3³ convolutions with group norm and a summed shortcut; ``stride`` 2 halves the grid."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        groups = max(1, min(8, outputs // 4))
        self.first = nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(groups, outputs)
        self.second = nn.Conv3d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(groups, outputs)
        # A learned mean of the voxels that become one: pooling apart from the convolution is slow.
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Conv3d(inputs, outputs, stride, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, k, j, i) → (N, outputs, k/stride, j/stride, i/stride)."""
        y = F.relu(self.norm1(self.first(x)), inplace=True)
        y = self.norm2(self.second(y))
        return F.relu(y + self.shortcut(x), inplace=True)


class ResidualUNet(nn.Module):
    """Encoder and decoder with summed skips, trilinear upsampling and a second, coarser head.

    Parameters
    ----------
    in_channels, out_channels : channels of the image and of the logits
    widths : channels of each level, finest first; each level halves the grid, so patch edges must
        be multiples of 2 ** (len(widths) − 1)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int] = (16, 32, 64, 128, 192),
    ) -> None:
        super().__init__()
        self.stem = nn.Conv3d(in_channels, widths[0], 3, 1, 1)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(ResidualBlock(a, b, 2) for a, b in pairs)
        self.lateral = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in pairs)
        self.up = nn.ModuleList(ResidualBlock(a, a) for a, _ in pairs[1:])
        self.last = nn.Conv3d(widths[0], widths[0], 3, 1, 1)
        self.head = nn.Conv3d(widths[0], out_channels, 1)
        self.coarse_head = nn.Conv3d(widths[1], out_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for head in (self.head, self.coarse_head):
            nn.init.normal_(head.weight, std=0.01)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features at full and at half resolution."""
        skips = [F.relu(self.stem(x))]
        for down in self.down:
            skips.append(down(skips[-1]))
        y = half = skips.pop()
        for level in range(len(self.down) - 1, -1, -1):
            y = self.lateral[level](y)
            y = F.interpolate(y, scale_factor=2.0, mode="trilinear") + skips[level]
            if level > 0:
                y = half = self.up[level - 1](y)
        return F.relu(self.last(F.relu(y))), half

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, out, k, j, i) of an image (N, in, k, j, i)."""
        return torch.as_tensor(self.head(self.features(x)[0]))

    def forward_deep(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits at full and at half resolution, for deep supervision."""
        full, half = self.features(x)
        return self.head(full), self.coarse_head(half)
