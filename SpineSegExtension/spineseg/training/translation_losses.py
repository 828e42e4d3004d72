"""Losses of the translation between MR and CT.

The adversarial, cycle and gradient consistency losses are those of the scoliosis paper (paper 000,
equations 1 to 6); pairs, maps and density are what digital patients and outlined bodies add.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from ..methods.classes import FineClass
from .samples import IGNORE
from .translation_samples import NOT_BODY

CLASSES = len(FineClass)


def gradient_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Mean over x, y and z of the normalised cross-correlation of the images' gradients (eq. 5).

    Each image's gradients are taken less their own mean (the printed text lost that part of the
    equation; it follows the definition of De Silva et al. 2016, the paper's reference 17).

    Parameters
    ----------
    a, b : (N, 1, k, j, i)

    Returns
    -------
    (N,), from -1 to 1
    """
    parts = []
    for axis in (2, 3, 4):
        one, two = (torch.diff(image.float(), dim=axis).flatten(1) for image in (a, b))
        one, two = one - one.mean(1, keepdim=True), two - two.mean(1, keepdim=True)
        # Clamped before the root, whose slope at 0 is infinite: padding is flat.
        size = (one.square().sum(1) * two.square().sum(1)).clamp(min=1e-12).sqrt()
        parts.append((one * two).sum(1) / size)
    return torch.stack(parts).mean(0)


def fool(judged: Tensor, kind: str) -> Tensor:
    """Generator's adversarial loss: its volumes' logits are to be taken for real.

    ``kind`` "log" is the paper's (eq. 2 and 3, in the form that does not saturate), "squares" the
    least squares of Mao et al. 2017.
    """
    if kind == "log":
        return F.softplus(-judged.float()).mean()
    return (judged.float() - 1).square().mean()


def judge(real: Tensor, made: Tensor, kind: str) -> Tensor:
    """Discriminator's loss on logits of real and of made volumes (``kind`` as in `fool`)."""
    if kind == "log":
        return F.softplus(-real.float()).mean() + F.softplus(made.float()).mean()
    return 0.5 * ((real.float() - 1).square().mean() + made.float().square().mean())


def paired_loss(made: Tensor, truth: Tensor, paired: Tensor) -> Tensor:
    """Mean absolute difference over the pairs of a batch; bone counts three times.

    ``made``, ``truth`` (N, 1, k, j, i); ``paired`` bool (N,).
    """
    weight = paired[:, None, None, None, None].float() * (1 + 2 * (truth > -0.4).float())
    return ((made.float() - truth).abs() * weight).sum() / weight.sum().clamp(min=1)


def density_loss(made: Tensor, density: Tensor, dense: float, soft: float) -> Tensor:
    """How far bodies fall short of ``dense`` and soft tissue exceeds ``soft`` (network's units).

    ``made`` (N, 1, k, j, i); ``density`` (N, k, j, i): 1, -1 or 0 for unknown.
    """
    value = made[:, 0].float()
    inside, outside = (density > 0).float(), (density < 0).float()
    short = (F.relu(dense - value) * inside).sum() / inside.sum().clamp(min=1)
    above = (F.relu(value - soft) * outside).sum() / outside.sum().clamp(min=1)
    return short + above


def maps_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy and soft Dice of the tissue classes; targets may say only "no body".

    ``logits`` (N, CLASSES, k, j, i); ``target`` (N, k, j, i): classes, ``NOT_BODY``, ``IGNORE``.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    exact = target < CLASSES
    picked = log_p.gather(1, torch.where(exact, target, 0).long()[:, None])[:, 0]
    others = [c for c in range(CLASSES) if c != FineClass.BODY]
    picked = torch.where(target == NOT_BODY, log_p[:, others].logsumexp(1), picked)
    known = (target != IGNORE).float()
    # Windows with exact classes teach seven things, the others one: each voxel counts the same.
    entropy = -(picked * known).sum() / known.sum().clamp(min=1)
    p = log_p.exp()
    parts = []
    for c in range(1, CLASSES):
        truth = (target == c).float()
        if not bool(truth.any()):
            continue
        where = known if c == FineClass.BODY else exact.float()
        shared = (p[:, c] * truth * where).sum()
        total = (p[:, c] * where).sum() + (truth * where).sum()
        dice = 1 - (2 * shared + 1) / (total + 1)
        parts += [dice] * (3 if c == FineClass.BODY else 1)
    return entropy + (torch.stack(parts).mean() if parts else logits.sum() * 0.0)


def sacrum_loss(logits: Tensor, target: Tensor, paired: Tensor) -> Tensor:
    """Cross-entropy of the places in the sacrum that are known in real MR.

    They are few voxels among many of which little is known: in `maps_loss` they would drown.
    ``logits`` (N, CLASSES, k, j, i); ``target`` (N, k, j, i); ``paired`` (N,), of digital windows.
    """
    place = ((target == FineClass.SACRUM) & ~paired[:, None, None, None]).float()
    entropy = -F.log_softmax(logits.float(), dim=1)[:, FineClass.SACRUM]
    return (entropy * place).sum() / place.sum().clamp(min=1)


def votes_loss(made: Tensor, offsets: Tensor, voting: Tensor) -> Tensor:
    """Smooth L1 between offsets (N, 3, k, j, i) where they are known (bool (N, k, j, i))."""
    error = F.smooth_l1_loss(made.float(), offsets, beta=0.1, reduction="none").mean(dim=1)
    weight = voting.float()
    return (error * weight).sum() / weight.sum().clamp(min=1)


def frozen(module: Any, image: Tensor) -> Any:
    """Run a module without a gradient for its weights: what it says, not what it learns."""
    weights = {k: v.detach() for k, v in module.named_parameters()}
    weights |= dict(module.named_buffers())
    return torch.func.functional_call(module, weights, (image,))
