"""Losses of the vertebra networks.

Targets may be sets of classes ("some vertebra", "anything but a vertebra"): the probability of a
set is the sum of its members', so scans with coarser labels can be learned from too.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from ..methods.classes import FineClass
from .samples import IGNORE, NO_VERTEBRA, SOME_VERTEBRA

VERTEBRA = (int(FineClass.BODY), int(FineClass.POSTERIOR))


def set_cross_entropy(logits: Tensor, target: Tensor, classes: int) -> Tensor:
    """Mean negative log-probability of the target class or set of classes.

    ``logits`` (N, ≥ classes, k, j, i); ``target`` (N, k, j, i), ``IGNORE`` left out.
    """
    log_p = F.log_softmax(logits[:, :classes].float(), dim=1)
    exact = target < classes
    index = torch.where(exact, target, torch.zeros_like(target)).long()
    picked = log_p.gather(1, index[:, None])[:, 0]
    if not bool(exact.all()):
        members = [c for c in range(classes) if c in VERTEBRA]
        others = [c for c in range(classes) if c not in VERTEBRA]
        picked = torch.where(target == SOME_VERTEBRA, log_p[:, members].logsumexp(1), picked)
        picked = torch.where(target == NO_VERTEBRA, log_p[:, others].logsumexp(1), picked)
    known = (target != IGNORE).float()
    return -(picked * known).sum() / known.sum().clamp(min=1)


def _overlap(probability: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Soft Dice of one class over the whole batch (Milletari et al. 2016, squares left out)."""
    shared = (probability * truth * known).sum()
    total = (probability * known).sum() + (truth * known).sum()
    return (2 * shared + 1) / (total + 1)


def dice_loss(logits: Tensor, target: Tensor, classes: int, fine: bool) -> Tensor:
    """One minus the mean soft Dice over the classes that are present, background left out."""
    p = logits[:, :classes].float().softmax(dim=1)
    exact = (target < classes).float()
    present = [c for c in range(1, classes) if bool((target == c).any())]
    parts = [_overlap(p[:, c], (target == c).float(), exact) for c in present]
    if fine:
        # The vertebra as a whole is known in every scan, and is what is measured in the end.
        vertebra = (target == VERTEBRA[0]) | (target == VERTEBRA[1]) | (target == SOME_VERTEBRA)
        if bool(vertebra.any()):
            known = (target != IGNORE).float()
            whole = _overlap(p[:, VERTEBRA[0]] + p[:, VERTEBRA[1]], vertebra.float(), known)
            parts += [whole, whole]
    if not parts:
        return logits.sum() * 0.0
    return 1.0 - torch.stack(parts).mean()


def offset_loss(prediction: Tensor, offsets: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 between offsets (N, 3, k, j, i) on the voxels of vertebrae."""
    inside = (target == VERTEBRA[0]) | (target == VERTEBRA[1]) | (target == SOME_VERTEBRA)
    error = F.smooth_l1_loss(prediction.float(), offsets, beta=0.1, reduction="none").mean(dim=1)
    weight = inside.float()
    return (error * weight).sum() / weight.sum().clamp(min=1)


def negative_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Negative soft Dice of single-channel logits, mean over the batch: −1 is a perfect match.

    Equation 1 of Klein et al. 2019 on probabilities; ``logits`` and ``target`` (0 or 1) are
    (N, 1, k, j, i).
    """
    p, truth = logits.float().sigmoid().flatten(1), target.float().flatten(1)
    return -((2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)).mean()


def bootstrapped_cross_entropy(logits: Tensor, target: Tensor, share: float = 0.1) -> Tensor:
    """Mean cross-entropy over the hardest ``share`` of all voxels of the batch.

    Masuzawa et al. 2020 learn from 10 % of the voxels, those whose true class is least probable;
    so a scan's many easy voxels do not drown its vertebrae. ``logits`` (N, C, k, j, i); ``target``
    (N, k, j, i), classes.
    """
    each = F.cross_entropy(logits.float(), target, reduction="none").flatten()
    return each.topk(max(1, round(share * each.numel())), sorted=False).values.mean()


def binary_terms(logits: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and one minus soft Dice of independent channels, means over what is known.

    ``logits`` and ``target`` (0 or 1) are (N, C, k, j, i); ``known`` bool (N, C). Where a target is
    empty, only the cross-entropy teaches: a Dice of nothing has no gradient worth following.
    """
    truth, weight = target.float(), known.float()
    entropy = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    entropy = (entropy.mean(dim=(2, 3, 4)) * weight).sum() / weight.sum().clamp(min=1)
    p = logits.float().sigmoid()
    shared, total = (p * truth).sum(dim=(2, 3, 4)), (p + truth).sum(dim=(2, 3, 4))
    present = weight * (truth.sum(dim=(2, 3, 4)) > 0)
    dice = 1.0 - (2 * shared + 1) / (total + 1)
    return entropy, (dice * present).sum() / present.sum().clamp(min=1)
