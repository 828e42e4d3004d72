"""The two small U-Nets that find vertebrae on a film and then their corners, from MONAI.

Both are `DynUNet` in 2D. The first convolution has a stride, so that they put out maps at a quarter
and at a half of their input's grid: a map's expectation is finer than its cells, and the full grid
is where a U-Net spends most of its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .click_unet import click_unet

#: Cells of the output per pixel of the input.
FIND_STRIDE, CORNER_STRIDE = 4, 2


def unet_params(inputs: int, outputs: int, filters: Sequence[int], stride: int) -> dict[str, Any]:
    """Arguments of `monai.networks.nets.DynUNet`."""
    deeper = len(filters) - 1
    return {
        "spatial_dims": 2,
        "in_channels": inputs,
        "out_channels": outputs,
        "kernel_size": [max(3, 2 * stride - 1)] + [3] * deeper,
        "strides": [stride] + [2] * deeper,
        "upsample_kernel_size": [2] * deeper,
        "filters": list(filters),
        "norm_name": ["GROUP", {"num_groups": 8}],
        "act_name": ["relu", {"inplace": True}],
    }


class FilmNetworks(nn.Module):
    """``find`` and ``corners``, and the mean proportions of a spine.

    Parameters
    ----------
    find_filters, corner_filters : channels of each level, finest first
    vertebrae : how many are looked for, n

    Attributes
    ----------
    find : (N, 1, y, x) → (N, n + 1, y/4, x/4): for each vertebra a map whose softmax is where its
        centre lies; last, the logit that any vertebra's centre lies there
    corners : (N, 2, y, x), picture and level → (N, 4, y/2, x/2): maps of the corners upper left,
        upper right, lower left, lower right
    pitch : (n − 1,) distance from one vertebra's centre to the next, as a fraction of their mean
    width : (n,) of a vertebra, as a fraction of the distance to its neighbours
    tilt, tilt_spread : (2 n,), (2 n, 2 n) mean and covariance of the endplates' tilts, degrees
    """

    pitch: Tensor
    width: Tensor
    tilt: Tensor
    tilt_spread: Tensor

    def __init__(
        self,
        find_filters: Sequence[int] = (32, 64, 96, 128, 160),
        corner_filters: Sequence[int] = (24, 48, 64, 96),
        vertebrae: int = 17,
    ) -> None:
        super().__init__()
        self.find = click_unet(unet_params(1, vertebrae + 1, find_filters, FIND_STRIDE))
        self.corners = click_unet(unet_params(2, 4, corner_filters, CORNER_STRIDE))
        self.register_buffer("pitch", torch.ones(vertebrae - 1))
        self.register_buffer("width", torch.ones(vertebrae))
        self.register_buffer("tilt", torch.zeros(2 * vertebrae))
        self.register_buffer("tilt_spread", 400.0 * torch.eye(2 * vertebrae))
