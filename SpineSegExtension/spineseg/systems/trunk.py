"""What the systems' networks are built on: one trunk that knows vertebrae, and what joins its maps.

The trunk is the first network of `cobb-landmarks` (MONAI's `DynUNet`) without its last layer. The
challenge's systems began from ImageNet's weights, which are not at hand; these began from this one.
It is not trained further, so its weights are there once for all systems.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from torch import Tensor, nn

from spineseg.networks.click_unet import click_unet
from spineseg.networks.film_unet import FIND_STRIDE, unet_params

__all__ = ["CHANNELS", "TRUNK", "Fine", "Neck", "Trunk", "trunk_state"]

TRUNK = "cobb-trunk"
"""Name of its weights."""
_FILTERS = (32, 64, 96, 128, 160)
CHANNELS = (64, 128, 192, 256, 160)
"""Channels of the trunk's maps at 1/4, 1/8, 1/16, 1/32 and 1/64 of the canvas: way down and up."""


class Trunk(nn.Module):
    """The U-Net, as it is: (N, 1, y, x) → maps with `CHANNELS`, the finest first; no gradients.

    Its values are those of float32 or of the caller's autocast.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unet: Any = click_unet(unet_params(1, 1, _FILTERS, FIND_STRIDE))
        self.unet.output_block = nn.Identity()
        self.unet.skip_layers = nn.Identity()  # the same layers again, which would be saved twice
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> list[Tensor]:
        """Go down and up, and keep both sides of every level."""
        down = [self.unet.input_block(image)]
        for layer in self.unet.downsamples:
            down.append(layer(down[-1]))
        up = [self.unet.bottleneck(down[-1])]
        for layer, skip in zip(self.unet.upsamples, reversed(down), strict=True):
            up.append(layer(up[-1], skip))
        up.reverse()
        return [torch.cat(pair, dim=1) for pair in zip(down, up, strict=False)] + up[-1:]


def trunk_state(landmarks: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the trunk's weights out of those of `cobb-landmarks`."""
    parts = ("input_block", "downsamples", "bottleneck", "upsamples")
    return {
        "unet." + name[len("find.") :]: value
        for name, value in landmarks.items()
        if name.startswith(tuple(f"find.{part}." for part in parts))
    }


class Neck(nn.Module):
    """MONAI's feature pyramid on the trunk: `levels` of its maps, all with `width` channels.

    The finest of them is the trunk's map number `first`.
    """

    def __init__(self, width: int = 48, levels: int = 5, first: int = 0) -> None:
        super().__init__()
        self.first, self.out_channels = first, width  # as detectors of MONAI ask for it
        self.names = [str(n) for n in range(levels)]
        self.join = FeaturePyramidNetwork(2, list(CHANNELS[first : first + levels]), width)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Join maps, coarse into fine; the finest is first."""
        return list(self.join(dict(zip(self.names, maps[self.first :], strict=False))).values())


class Fine(nn.Module):
    """Maps at half of the canvas' grid: the neck's finest map, and edges seen closely.

    (N, 1, y, x) and (N, width, y/4, x/4) → (N, outputs, y/2, x/2)
    """

    def __init__(self, outputs: int, width: int = 48, near: int = 16) -> None:
        super().__init__()
        self.near = nn.Sequential(
            nn.Conv2d(1, near, 5, stride=2, padding=2),
            nn.GroupNorm(4, near),
            nn.ReLU(),
            nn.Conv2d(near, near, 3, padding=1),
        )
        self.mix = nn.Sequential(
            nn.GroupNorm(8, width + near),
            nn.ReLU(),
            nn.Conv2d(width + near, 32, 3, padding=1),
            nn.GroupNorm(8, 32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, outputs, 1),
        )

    def forward(self, image: Tensor, features: Tensor) -> Tensor:
        """Join both and put out the maps."""
        coarse = F.interpolate(features, scale_factor=2.0, mode="bilinear")
        found: Tensor = self.mix(torch.cat([coarse, self.near(image)], dim=1))
        return found
