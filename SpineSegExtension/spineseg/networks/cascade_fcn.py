"""The fully convolutional network of both stages of the cascade (Masuzawa et al. 2020, fig. 4, 5).

The paper gives the blocks: 3³ convolutions with batch norm and ReLU, 2³ max pooling, 4³
deconvolutions of stride 2. Its text leaves the depth and the widths to a figure that could not be
read; four levels from 32 filters, doubling, with concatenated skips, are those of the 3-D U-Net
(Çiçek et al. 2016) that its reference for the architecture builds on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _block(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3³ convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for a in (inputs, outputs):
        # Batch norm has a shift of its own, so the convolutions need none.
        layers += [nn.Conv3d(a, outputs, 3, 1, 1, bias=False), nn.BatchNorm3d(outputs)]
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class CascadeFCN(nn.Module):
    """Encoder and decoder of plain blocks.

    Parameters
    ----------
    in_channels, out_channels : channels of the image (and the memory), and of the logits
    widths : filters of each level, finest first; each level halves the grid, so patch edges must
        be multiples of 2 ** (len(widths) − 1)
    """

    def __init__(
        self, in_channels: int, out_channels: int, widths: Sequence[int] = (32, 64, 128, 256)
    ) -> None:
        super().__init__()
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(
            _block(a, b) for a, b in zip((in_channels, *widths[:-1]), widths, strict=True)
        )
        self.pool = nn.MaxPool3d(2)
        self.deconvolution = nn.ModuleList(nn.ConvTranspose3d(b, a, 4, 2, 1) for a, b in pairs)
        self.up = nn.ModuleList(_block(2 * a, a) for a, _ in pairs)
        self.head = nn.Conv3d(widths[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, out, k, j, i) of an image (N, in, k, j, i)."""
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        x = skips.pop()
        for level in range(len(self.up) - 1, -1, -1):
            x = torch.cat([skips[level], self.deconvolution[level](x)], dim=1)
            x = self.up[level](x)
        return torch.as_tensor(self.head(x))
