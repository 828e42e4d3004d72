"""What the labelling network is trained to minimise (paper 004 p. 39, eq. 1–5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .film_losses import gaussians

if TYPE_CHECKING:
    from torch import Tensor

    from .film_label_plans import Plan
    from .loop import Batch


def targets(cells: Tensor, shape: tuple[int, int], plan: Plan) -> Tensor:
    """Gaussians (N, n + 1, y, x) round cells (N, n, 2), the background last."""
    import torch

    maps = gaussians(cells, *shape, plan.spread)
    return torch.cat([maps, plan.background - maps.amax(dim=1, keepdim=True)], dim=1)


def image_loss(heat: Tensor, wanted: Tensor, spread: float) -> tuple[Tensor, Tensor]:
    """L_Gaussian and L_ce of maps, eq. 1 and 2, each over the energy of all Gaussians.

    The paper's sums grow with the film and the number of levels. Over πσ² n, which is the sum of
    squares of n Gaussians, 1 means that nothing is found, whatever the size. Of the cross-entropy
    its least value is taken off, which changes no gradient.
    """
    import math

    import torch.nn.functional as F  # noqa: N812

    energy = math.pi * spread**2 * (heat.shape[1] - 1) * heat.shape[0]
    square = (heat - wanted).square().sum() / energy
    share = wanted.softmax(dim=1)
    apart = F.kl_div(heat.log_softmax(dim=1), share, reduction="sum") / energy
    return square, apart


def label_loss(network: Any, batch: Batch, plan: Plan) -> tuple[Tensor, dict[str, float]]:
    """Loss of the maps and of the corrected places, and its parts.

    The batch has ``canvas`` (N, 1, y, x) and ``cells`` (N, n, 2), the centres in cells of the
    maps, all NaN where nothing is to be found. The Huber loss of eq. 4 bends at one cell.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812

    found = network(batch["canvas"].contiguous(memory_format=torch.channels_last))
    rows, columns = found.heat.shape[2:]
    cells = batch["cells"]
    square, apart = image_loss(found.heat, targets(cells, (rows, columns), plan), plan.spread)
    size = torch.tensor([columns, rows], device=cells.device)
    places, rough = ((p + 1) / 2 * size - 0.5 for p in (found.places, found.rough))
    known = cells.isfinite().all(dim=2)
    # A film on which nothing is to be found has no places to be right about.
    count = known.sum().clamp(min=1) * 2
    place, first = (
        F.smooth_l1_loss(p[known], cells[known], reduction="sum") / count for p in (places, rough)
    )
    loss = plan.image_weight * (square + apart) + plan.place_weight * place
    loss = loss + plan.rough_weight * first
    with torch.no_grad():
        off = (places - cells).norm(dim=2)[known].sum() / (count / 2)
        before = (rough - cells).norm(dim=2)[known].sum() / (count / 2)
    parts = {"loss": loss, "gaussian": square, "entropy": apart, "place": place,
             "rough_cells": before, "cells": off}  # fmt: skip
    return loss, {name: float(value.detach()) for name, value in parts.items()}
