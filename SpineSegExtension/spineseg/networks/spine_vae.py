"""The autoencoders of Husseini et al. (CSI 2019, paper 004 p. 29): Spine-VAE and its baselines.

The paper's figure names convolutions with batch norm and ReLU, two linear layers for mean and
standard deviation, a one-hot vector of the level's group at the bottleneck, and an MLP; widths are
chosen here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Encoded", "SpineVaeNetwork"]

SIZE = 64
_LEAST, _MOST = -8.0, 8.0  # of the logarithm of a variance, or one bad step would overflow


class Encoded(NamedTuple):
    """What the encoder makes of a vertebra.

    Attributes
    ----------
    mean, log_variance : (N, latent); of the plain autoencoder the latter is None
    logits : (N, 2), normal and fractured
    """

    mean: Tensor
    log_variance: Tensor | None
    logits: Tensor


class SpineVaeNetwork(nn.Module):
    """Encoder, decoder and classifier of a masked vertebra.

    Parameters
    ----------
    widths : filters of each step, each of which halves the grid of 64³
    latent : numbers that describe a vertebra
    hidden : width of the classifier's layer
    groups : of levels, told to the decoder; 0 tells none
    variational : whether the numbers are drawn from a Gaussian in training
    decodes : whether there is a decoder

    Attributes
    ----------
    normal, fractured, spread : (latent,) Tensor
        Mean numbers of normal and of fractured vertebrae, and the spread of all, put in after the
        training.
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64, 64),
        latent: int = 64,
        hidden: int = 32,
        groups: int = 5,
        variational: bool = True,
        decodes: bool = True,
    ) -> None:
        super().__init__()
        self.latent, self.groups, self.variational = latent, groups, variational
        self._edge = SIZE >> len(widths)
        flat = widths[-1] * self._edge**3
        down: list[nn.Module] = []
        for a, b in zip((1, *widths[:-1]), widths, strict=True):
            down += [nn.Conv3d(a, b, 4, 2, 1, bias=False), nn.BatchNorm3d(b), nn.ReLU()]
        self.encoder = nn.Sequential(*down, nn.Flatten())
        self.mean = nn.Linear(flat, latent)
        self.log_variance = nn.Linear(flat, latent) if variational else None
        self.classifier = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 2))
        self.start: nn.Module | None = None
        self.decoder: nn.Module | None = None
        if decodes:
            self.start = nn.Sequential(nn.Linear(latent + groups, flat), nn.ReLU())
            up: list[nn.Module] = []
            back = list(reversed(widths))
            for a, b in zip(back[:-1], back[1:], strict=True):
                up += [nn.ConvTranspose3d(a, b, 4, 2, 1, bias=False), nn.BatchNorm3d(b), nn.ReLU()]
            # Eight numbers for each block of 2³ voxels: much quicker than one more deconvolution.
            self.decoder = nn.Sequential(*up, nn.Conv3d(back[-1], 8, 3, 1, 1))
        for name in ("normal", "fractured", "spread"):
            self.register_buffer(name, torch.zeros(latent))

    def encode(self, x: Tensor) -> Encoded:
        """Describe vertebrae (N, 1, 64, 64, 64)."""
        found = self.encoder(x)
        mean = self.mean(found)
        spread = None
        if self.log_variance is not None:
            spread = self.log_variance(found).clamp(_LEAST, _MOST)
        return Encoded(mean, spread, self.classifier(mean))

    def decode(self, numbers: Tensor, group: Tensor) -> Tensor:
        """Return vertebrae (N, 1, 64, 64, 64) from numbers (N, latent) and groups (N,), int64.

        A group of −1 is unknown: no group is told.
        """
        if self.start is None or self.decoder is None:
            raise ValueError("this network has no decoder")
        if self.groups:
            told = nn.functional.one_hot(group.clamp(min=0), self.groups).to(numbers.dtype)
            told = told * (group >= 0)[:, None]
            numbers = torch.cat([numbers, told], dim=1)
        x = self.start(numbers)
        x = x.reshape(len(x), -1, self._edge, self._edge, self._edge)
        blocks = self.decoder(x)
        count, half = len(x), SIZE // 2
        blocks = blocks.reshape(count, 1, 2, 2, 2, half, half, half)
        return torch.as_tensor(
            blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(count, 1, *[SIZE] * 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 2): normal, fractured."""
        return self.encode(x).logits
