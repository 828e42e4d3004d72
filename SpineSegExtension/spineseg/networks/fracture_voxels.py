"""The dual-pathway network that classifies voxels (Nicolaes et al., CSI 2019, paper 004 p. 3).

Kamnitsas et al.'s DeepMedic (Med Image Anal 2017;36:61–78) with eleven layers: eight convolutions
in either pathway, two layers that join them, and the classes. No convolution is padded, so each
voxel's answer is the same however large a part of the scan is looked at. The paper gives the fields
of view and the number of parameters; widths are DeepMedic's, scaled to that number.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["KERNELS", "FractureVoxelNetwork"]

KERNELS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "1slice": ((3, 3, 1), (3, 3, 1)),
    "5slices": ((3, 3, 5), (3, 3, 1)),
    "3d": ((3, 3, 3), (3, 3, 3)),
}
"""Variant → kernel of the first and of the further convolutions, (k, j, i): the paper's table 1.
Slices are sagittal, so they follow each other along i."""
_LAYERS = 8
_STEP = 3  # voxels of the fine grid in one of the coarse grid


def _pathway(widths: Sequence[int], variant: str) -> nn.Sequential:
    first, further = KERNELS[variant]
    layers: list[nn.Module] = []
    for n, (a, b) in enumerate(zip((1, *widths[:-1]), widths, strict=True)):
        # Batch norm has a shift of its own, so the convolutions need none.
        layers += [nn.Conv3d(a, b, further if n else first, bias=False), nn.BatchNorm3d(b)]
        layers.append(nn.PReLU(b))
    return nn.Sequential(*layers)


class FractureVoxelNetwork(nn.Module):
    """Two pathways, one of them on a grid three times as coarse.

    Parameters
    ----------
    widths : filters of each of the eight convolutions, the same in both pathways
    joined : width of the two layers that see both
    classes : of the logits
    variant : of `KERNELS`

    Attributes
    ----------
    reach : (3,) int
        Voxels (k, j, i) that the image has to reach beyond the answer on each side.
    """

    def __init__(
        self,
        widths: Sequence[int],
        joined: int,
        classes: int = 3,
        variant: str = "3d",
    ) -> None:
        super().__init__()
        if len(widths) != _LAYERS:
            raise ValueError(f"{_LAYERS} widths are needed, not {len(widths)}")
        if variant not in KERNELS:
            raise ValueError(f"unknown variant {variant}")
        flat = variant != "3d"
        self._pool = (_STEP, _STEP, 1 if flat else _STEP)
        side = {"1slice": 0, "5slices": 2}.get(variant, _LAYERS)
        self._fine = (_LAYERS, _LAYERS, side)
        k, j, i = (n * p for n, p in zip(self._fine, self._pool, strict=True))
        self.reach = (k, j, i)
        self.normal = _pathway(widths, variant)
        self.coarse = _pathway(widths, variant)
        layers: list[nn.Module] = []
        for a in (2 * widths[-1], joined):
            layers += [nn.Conv3d(a, joined, 1, bias=False), nn.BatchNorm3d(joined)]
            layers.append(nn.PReLU(joined))
        self.joined = nn.Sequential(*layers)
        self.head = nn.Conv3d(joined, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes, k, j, i) for an image (N, 1, k, j, i).

        The image is larger by `reach` on each side; the answer's edges are multiples of 3.
        """
        crop = [r - f for r, f in zip(self.reach, self._fine, strict=True)]
        where = [slice(c, n - c) for c, n in zip(crop, x.shape[2:], strict=True)]
        fine = self.normal(x[:, :, where[0], where[1], where[2]])
        low = self.coarse(nn.functional.avg_pool3d(x, self._pool))
        scale = tuple(float(p) for p in self._pool)
        low = nn.functional.interpolate(low, scale_factor=scale, mode="nearest")
        return torch.as_tensor(self.head(self.joined(torch.cat([fine, low], dim=1))))
