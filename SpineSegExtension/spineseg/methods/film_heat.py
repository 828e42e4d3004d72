"""Places from maps: the expectation of a softmax, which is finer than a cell.

After Sun et al. 2018 (Integral human pose regression). torch is imported by the caller's tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["expectation", "mass_near"]


def expectation(maps: Tensor) -> Tensor:
    """Mean place (N, n, 2), (x, y) from −1 to 1 over the window, of logits (N, n, y, x)."""
    import torch

    share = maps.flatten(2).softmax(2).view_as(maps)
    rows, columns = maps.shape[2:]
    x = (torch.arange(columns, device=maps.device) + 0.5) * (2 / columns) - 1
    y = (torch.arange(rows, device=maps.device) + 0.5) * (2 / rows) - 1
    return torch.stack([(share.sum(2) * x).sum(-1), (share.sum(3) * y).sum(-1)], dim=-1)


def mass_near(maps: Tensor, points: Tensor, reach: float) -> Tensor:
    """Probability (N, n) that lies within `reach` of points (N, n, 2), in the same unit."""
    import torch

    share = maps.flatten(2).softmax(2).view_as(maps)
    rows, columns = maps.shape[2:]
    x = (torch.arange(columns, device=maps.device) + 0.5) * (2 / columns) - 1
    y = (torch.arange(rows, device=maps.device) + 0.5) * (2 / rows) - 1
    away = (x - points[..., :1])[..., None, :] ** 2 + (y - points[..., 1:])[..., :, None] ** 2
    return (share * (away <= reach**2)).flatten(2).sum(2)
