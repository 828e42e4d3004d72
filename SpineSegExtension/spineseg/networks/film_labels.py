"""The U-Net and the residual corrector of Bayat et al. (CSI 2019, paper 004 p. 39).

The U-Net is MONAI's `DynUNet` in 2D. The paper gives no sizes; those of its presets are in
`spineseg.training.film_label_plans`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..methods.film_heat import expectation
from .click_unet import click_unet
from .film_unet import unet_params


class Labelled(NamedTuple):
    """What the network puts out; places are (x, y) from −1 to 1 over the film.

    Attributes
    ----------
    heat : (N, n + 1, y, x), a Gaussian of height 1 for each level; last, the background
    rough : (N, n, 2), the soft-argmax of each level's map
    places : (N, n, 2), corrected
    """

    heat: Tensor
    rough: Tensor
    places: Tensor


class ResidualCorrector(nn.Module):
    """Fully connected layers that see all places at once, and add what corrects them.

    Parameters
    ----------
    levels : how many places, n
    hidden : width of the layers
    blocks : residual blocks, of two hidden layers each
    heights : whether the height of each map's peak is seen too, which tells how far to trust it
    """

    def __init__(
        self, levels: int, hidden: int = 256, blocks: int = 1, heights: bool = False
    ) -> None:
        super().__init__()
        self.heights = heights
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear((3 if heights else 2) * levels, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Linear(hidden, 2 * levels),
            )
            for _ in range(blocks)
        )
        for block in self.blocks:
            # To begin with nothing is corrected: the maps learn first.
            nn.init.zeros_(block[-1].weight)  # type: ignore[index]
            nn.init.zeros_(block[-1].bias)  # type: ignore[index]

    def forward(self, rough: Tensor, heights: Tensor) -> Tensor:
        """Correct places (N, n, 2) with the peaks' heights (N, n)."""
        places = rough
        for block in self.blocks:
            seen = [places.flatten(1), heights] if self.heights else [places.flatten(1)]
            places = places + block(torch.cat(seen, dim=1)).view_as(places)
        return places


class FilmLabelNetwork(nn.Module):
    """A film (N, 1, y, x) → maps of each level, and the places of all levels.

    Parameters
    ----------
    levels : how many are looked for, n
    filters : channels of each step of the U-Net, finest first
    stride : pixels of the film a cell of the maps; 1 in the paper
    sharpness : the soft-argmax takes the softmax of so many times the map
    hidden, blocks, heights : of `ResidualCorrector`
    background : what the background's map begins with, before anything is learned
    """

    def __init__(
        self,
        levels: int,
        filters: Sequence[int],
        stride: int = 1,
        sharpness: float = 20.0,
        hidden: int = 256,
        blocks: int = 1,
        heights: bool = False,
        background: float = 0.0,
    ) -> None:
        super().__init__()
        self.stride, self.sharpness = stride, sharpness
        self.unet = click_unet(unet_params(1, levels + 1, filters, stride))
        # Maps that are nearly 0 at first (Payer et al. 2019): the usual start is far above any
        # Gaussian, and the first hundred steps would go into coming down.
        last: Any = self.unet.get_submodule("output_block.conv.conv")
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.zeros_(last.bias)
        nn.init.constant_(last.bias[-1:], background)
        self.corrector = ResidualCorrector(levels, hidden, blocks, heights)

    def forward(self, film: Tensor) -> Labelled:
        """Maps and places; all is differentiable, so it is trained end to end."""
        heat = self.unet(film).float()
        levels = heat[:, :-1]
        rough = expectation(self.sharpness * levels)
        # Only the place is to be learned through the soft-argmax, not how high the peak is.
        peaks = levels.detach().flatten(2).amax(2).clamp(0, 1)
        return Labelled(heat, rough, self.corrector(rough, peaks))
