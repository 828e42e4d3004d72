"""What the film networks are trained to minimise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..methods.film_heat import expectation

if TYPE_CHECKING:
    from torch import Tensor

    from .loop import Batch

#: Standard deviation of a target's Gaussian, in cells.
FIND_SPREAD, CORNER_SPREAD = 1.2, 1.5
#: Weight of an error of one vertebra's width beside the cross-entropy.
PLACE_WEIGHT = 15.0


def gaussians(cells: Tensor, rows: int, columns: int, spread: float) -> Tensor:
    """Gaussians (N, n, rows, columns) of height 1 round cells (N, n, 2), (x, y); 0 round NaN."""
    import torch

    cells = cells.nan_to_num(-100.0 * spread)
    x = torch.arange(columns, device=cells.device) - cells[..., :1]
    y = torch.arange(rows, device=cells.device) - cells[..., 1:]
    x, y = (torch.exp(-0.5 * (a / spread) ** 2) for a in (x, y))
    return y[..., :, None] * x[..., None, :]


def place_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy (N, n) of maps (N, n, y, x) against Gaussians; 0 where there is no target."""
    mass = target.flatten(2).sum(2, keepdim=True)
    share = target.flatten(2) / mass.clamp(min=1e-6)
    seen = mass[..., 0] > 0.5
    return -(share * logits.flatten(2).log_softmax(2)).sum(2) * seen


def film_loss(network: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Loss of both networks, and its parts.

    The batch has ``canvas`` (F, 1, y, x), ``cells`` (F, n, 2) with the centres in cells of the
    output, ``right`` (F,), 0 where the film is wrong on purpose, ``windows`` (N, 2, y, x) and
    ``local`` (N, 4, 2) with the corners in widths from the window's middle, NaN where unknown.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812

    found = network.find(batch["canvas"].contiguous(memory_format=torch.channels_last)).float()
    right = batch["right"][:, None]
    rows, columns = found.shape[2:]
    target = gaussians(batch["cells"], rows, columns, FIND_SPREAD) * right[..., None, None]
    places = place_loss(found[:, :-1], target)
    find = places.sum() / (right.sum() * target.shape[1]).clamp(min=1.0)
    any_target = target.amax(dim=1)
    seen = F.binary_cross_entropy_with_logits(
        found[:, -1], any_target, pos_weight=torch.tensor(4.0, device=found.device)
    )
    maps = network.corners(batch["windows"].contiguous(memory_format=torch.channels_last)).float()
    local = batch["local"]
    size = maps.shape[-1]
    cells = (local + 1) * (size / 2) - 0.5
    heat = place_loss(maps, gaussians(cells, size, size, CORNER_SPREAD)).mean()
    points = expectation(maps)
    # A corner that is not known costs nothing.
    local = torch.where(local.isnan(), points.detach(), local)
    off = F.smooth_l1_loss(points, local, beta=0.02)
    # What is measured: the direction from the left corners' middle to that of the right ones, and
    # on lateral films that of each endplate.
    across, wanted = (p[:, [1, 3]].mean(1) - p[:, [0, 2]].mean(1) for p in (points, local))
    plates, level = (p[:, [1, 3], 1] - p[:, [0, 2], 1] for p in (points, local))
    tilt = F.smooth_l1_loss(across[:, 1], wanted[:, 1], beta=0.02)
    tilt = tilt + 0.5 * F.smooth_l1_loss(plates, level, beta=0.02)
    loss = find + 5.0 * seen + heat + PLACE_WEIGHT * (off + tilt)
    with torch.no_grad():
        error = (points - local).norm(dim=-1).mean()
        turn = torch.rad2deg((across[:, 1] - wanted[:, 1]).abs().mean())
    parts = {"loss": loss, "find": find, "seen": seen, "heat": heat, "error": error, "tilt": turn}
    return loss, {name: float(value.detach()) for name, value in parts.items()}
