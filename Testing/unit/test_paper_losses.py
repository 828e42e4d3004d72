"""The papers' own losses, against what they are made of."""

from __future__ import annotations

import pytest
import torch
from spineseg.training.losses import bootstrapped_cross_entropy, negative_dice


def test_bootstrapping_takes_the_hardest_tenth() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, 6, 10, generator=generator)
    target = torch.randint(0, 4, (2, 5, 6, 10), generator=generator)
    each = -logits.log_softmax(1).gather(1, target[:, None]).flatten()
    want = each.sort(descending=True).values[:60].mean()
    assert torch.isclose(bootstrapped_cross_entropy(logits, target), want, atol=1e-6)
    everything = torch.nn.functional.cross_entropy(logits, target)
    assert torch.isclose(bootstrapped_cross_entropy(logits, target, 1.0), everything, atol=1e-6)
    assert bootstrapped_cross_entropy(logits, target) > everything


def test_negative_dice_is_the_dice_coefficient() -> None:
    truth = torch.zeros(1, 1, 8, 8, 8)
    truth[..., :4] = 1
    guess = torch.zeros(1, 1, 8, 8, 8)
    guess[..., 2:6] = 1
    assert negative_dice(truth * 60 - 30, truth) == pytest.approx(-1.0)
    assert negative_dice(guess * 60 - 30, truth) == pytest.approx(-0.5, abs=2e-3)
    both = torch.cat([truth, guess]) * 60 - 30
    assert negative_dice(both, torch.cat([truth, truth])) == pytest.approx(-0.75, abs=2e-3)
