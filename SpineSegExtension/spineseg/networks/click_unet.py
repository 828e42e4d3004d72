"""The 3-D U-Net of the click (Klein et al. 2019: six levels, 32 base filters), from MONAI.

`DynUNet` is MONAI's U-Net with two 3³ convolutions a level, concatenated skips and 2³ transposed
convolutions, of any depth. It halves the grid by convolutions of stride 2 instead of pooling. The
paper does not name a norm: instance norm, as one patch a step leaves no batch to take a mean over.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import DependencyError


def click_unet_params(filters: int = 32, levels: int = 6) -> dict[str, Any]:
    """Arguments of `monai.networks.nets.DynUNet`; filters double from level to level."""
    return {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1,
        "kernel_size": [3] * levels,
        "strides": [1] + [2] * (levels - 1),
        "upsample_kernel_size": [2] * (levels - 1),
        "filters": [filters * 2**level for level in range(levels)],
        "norm_name": ["INSTANCE", {"affine": True}],
        "act_name": ["relu", {"inplace": True}],
    }


def click_unet(params: dict[str, Any]) -> nn.Module:
    """Build the network: (N, 1, k, j, i) → logits of the same shape.

    Raises
    ------
    DependencyError
        MONAI is not installed.
    """
    try:
        from monai.networks.nets.dynunet import DynUNet
    except ImportError as error:
        raise DependencyError(
            "MONAI is not installed, and this network is taken from it.",
            "Install it with: pip install monai.",
            str(error),
        ) from error
    pairs = ("norm_name", "act_name")  # lists on a card, which is JSON
    tuples: dict[str, Any] = {k: tuple(v) if k in pairs else v for k, v in params.items()}
    network: nn.Module = DynUNet(**tuples)
    # MONAI keeps every layer under a second name here, which would save each weight twice.
    nest = network._modules.pop("skip_layers")
    object.__setattr__(network, "skip_layers", nest)
    return network
