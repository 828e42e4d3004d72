"""Both generators and both discriminators of a translation between MR and CT.

The paper (paper 000) names none of them. Chosen here: residual U-Nets as generators, for skips keep
edges where they are, and MONAI's patch discriminators (Isola et al. 2017, in 3D).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..methods.classes import FineClass
from .residual_unet import ResidualUNet

CLASSES = len(FineClass)
#: Channels of MR → CT: the CT, tissue classes, and votes for the body's centre (x, y, z).
OUTPUTS = 1 + CLASSES + 3
WIDTHS_CT = (16, 32, 64, 128, 192)
WIDTHS_MR = (12, 24, 48, 96)


def split_ct(output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """CT (N, 1, …) in -1 … 1, class logits (N, CLASSES, …) and votes (N, 3, …) of an output."""
    return torch.tanh(output[:, :1]), output[:, 1 : 1 + CLASSES], output[:, 1 + CLASSES :]


def as_mr(output: Tensor) -> Tensor:
    """An MR in its unit, -1 … 1.5, of what the generator CT → MR puts out."""
    return 0.25 + 1.25 * torch.tanh(output)


class Translation(nn.Module):
    """``to_ct`` (N, 1, k, j, i) → (N, OUTPUTS, …), ``to_mr`` (N, 1, …) → (N, 1, …), two judges."""

    def __init__(
        self,
        widths_ct: tuple[int, ...] = WIDTHS_CT,
        widths_mr: tuple[int, ...] = WIDTHS_MR,
        judge_width: int = 16,
    ) -> None:
        # Only a training needs the judges: a translation does without MONAI.
        from monai.networks.nets.patchgan_discriminator import PatchDiscriminator

        super().__init__()
        self.to_ct = ResidualUNet(1, OUTPUTS, widths_ct)
        self.to_mr = ResidualUNet(1, 1, widths_mr)
        self.judge_ct, self.judge_mr = (
            PatchDiscriminator(
                spatial_dims=3,
                channels=judge_width,
                in_channels=1,
                num_layers_d=2,
                norm=("GROUP", {"num_groups": 4}),
            )
            for _ in range(2)
        )
