"""The losses of the translation between MR and CT."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spineseg.errors import InputError
from spineseg.methods.classes import FineClass
from spineseg.training.cyclegan import (
    MadeBefore,
    TranslationLoss,
    TranslationSettings,
    fit,
    preset,
)
from spineseg.training.samples import IGNORE
from spineseg.training.translation_losses import (
    CLASSES,
    density_loss,
    fool,
    frozen,
    gradient_correlation,
    judge,
    maps_loss,
    paired_loss,
    sacrum_loss,
    votes_loss,
)
from spineseg.training.translation_samples import NOT_BODY

SHAPE = (1, 1, 8, 9, 10)


def noise(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=20)
@given(gain=st.floats(0.1, 10), shift=st.floats(-5, 5), seed=st.integers(0, 50))
def test_gradients_of_an_image_correlate_with_their_own(gain, shift, seed) -> None:
    image = noise(seed)
    assert gradient_correlation(image, gain * image + shift).item() == pytest.approx(1, abs=1e-4)
    assert gradient_correlation(image, -gain * image).item() == pytest.approx(-1, abs=1e-4)
    assert abs(gradient_correlation(image, noise(seed + 1000)).item()) < 0.3


def test_gradient_correlation_is_the_formula() -> None:
    a, b = noise(1), noise(2)
    parts = []
    for axis in (2, 3, 4):
        x, y = (np.diff(v.numpy(), axis=axis).ravel() for v in (a, b))
        parts.append(np.corrcoef(x, y)[0, 1])
    assert gradient_correlation(a, b).item() == pytest.approx(np.mean(parts), abs=1e-5)


def test_a_flat_image_has_no_gradient_and_gives_no_nan() -> None:
    flat = torch.zeros(SHAPE, requires_grad=True)
    value = gradient_correlation(flat, noise(0)).sum()
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(flat.grad).all()


@pytest.mark.parametrize("kind", ["log", "squares"])
def test_judge_and_generator_want_the_opposite(kind: str) -> None:
    real, made = torch.full((4,), 3.0), torch.full((4,), -3.0)
    assert judge(real, made, kind) < judge(made, real, kind)
    assert fool(real, kind) < fool(made, kind)


def test_only_pairs_are_compared_and_bone_counts_more() -> None:
    truth = torch.stack([torch.full(SHAPE[1:], -0.9), torch.full(SHAPE[1:], 0.5)])
    made = truth.clone()
    made[1] += 1
    assert paired_loss(made, truth, torch.tensor([True, False])) == 0
    # Three of four parts of the weight lie on the second, whose error is 1.
    assert paired_loss(made, truth, torch.tensor([True, True])).item() == pytest.approx(0.75)


def test_bone_must_be_dense_where_bodies_were_outlined() -> None:
    density = torch.zeros(1, 2, 2, 2, dtype=torch.int8)
    density[0, 0] = 1
    density[0, 1] = -1
    made = torch.full((1, 1, 2, 2, 2), 0.0)
    assert density_loss(made, density, dense=0.2, soft=-0.3).item() == pytest.approx(0.5)
    made[0, 0, 0], made[0, 0, 1] = 0.9, -0.9
    assert density_loss(made, density, dense=0.2, soft=-0.3).item() == 0


def test_no_body_can_be_taught_without_saying_what_it_is() -> None:
    target = torch.full((1, 4, 4, 4), NOT_BODY)
    target[:, :2] = FineClass.BODY
    target[:, 3, 3] = IGNORE
    right = torch.zeros(1, CLASSES, 4, 4, 4)
    right[:, FineClass.BODY, :2] = 9
    right[:, FineClass.DISC, 2:] = 9
    wrong = torch.zeros_like(right)
    wrong[:, FineClass.BODY] = 9
    also_right = right.clone()
    also_right[:, FineClass.DISC, 2:], also_right[:, FineClass.CANAL, 2:] = 0, 9
    assert maps_loss(right, target) < 0.05 < maps_loss(wrong, target)
    assert maps_loss(also_right, target) == pytest.approx(maps_loss(right, target).item(), abs=1e-5)
    unknown = right.clone()
    unknown[:, :, 3, 3] = torch.randn(CLASSES, 4)[None]
    assert maps_loss(unknown, target) == pytest.approx(maps_loss(right, target).item(), abs=1e-5)


def test_votes_count_only_where_they_are_known() -> None:
    offsets, made = torch.zeros(1, 3, 4, 4, 4), torch.ones(1, 3, 4, 4, 4)
    voting = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    assert votes_loss(made, offsets, voting) == 0
    voting[:, 0] = True
    assert votes_loss(made, offsets, voting).item() == pytest.approx(0.95)


def test_a_place_in_the_sacrum_counts_in_real_mr_alone_and_whatever_its_size() -> None:
    target = torch.full((2, 8, 8, 8), NOT_BODY)
    target[:, :2, :2, :2] = FineClass.SACRUM
    logits = torch.zeros(2, CLASSES, 8, 8, 8)
    logits[0, FineClass.SACRUM] = 4.0  # the first window is right, the second doesn't know
    real = torch.tensor([False, False])
    right, unknown = (-logits[n, :, 0, 0, 0].log_softmax(0)[FineClass.SACRUM] for n in (0, 1))
    want = (right + unknown) / 2
    assert sacrum_loss(logits, target, real) == pytest.approx(want.item(), abs=1e-5)
    second = torch.tensor([False, True])
    assert sacrum_loss(logits, target, second) == pytest.approx(right.item(), abs=1e-5)
    target[:, :4] = FineClass.SACRUM
    assert sacrum_loss(logits, target, real) == pytest.approx(want.item(), abs=1e-5)
    assert sacrum_loss(logits, target, torch.tensor([True, True])) == 0


def test_a_frozen_judge_teaches_but_does_not_learn() -> None:
    judge_net = torch.nn.Conv3d(1, 1, 3)
    image = noise(0).requires_grad_()
    frozen(judge_net, image).sum().backward()
    assert image.grad is not None
    assert all(p.grad is None for p in judge_net.parameters())


def test_the_pool_gives_earlier_volumes_back() -> None:
    pool = MadeBefore(size=3)
    given_back = [float(pool.swap(torch.full((1,), float(n)))) for n in range(60)]
    assert given_back[:3] == [0, 1, 2]
    earlier = [back for n, back in enumerate(given_back) if back != n]
    assert len(earlier) > 10
    assert len(pool.kept) == 3


def test_the_papers_preset_is_the_papers() -> None:
    paper = preset("paper")
    assert paper.patch == (256, 128, 48)
    assert (paper.cycle, paper.gradient, paper.adversarial) == (10.0, 1.0, "log")
    assert (paper.pairs, paper.maps, paper.density, paper.patients) == (0, 0, 0, 0)
    assert paper.first == 0
    windows = preset("paper-patch")
    assert windows.patch == TranslationSettings().patch
    assert windows.patients > 0  # curves in both domains, but none of their pairs
    for name in ("cycle", "gradient", "adversarial", "pairs", "maps", "density", "first", "rate"):
        assert getattr(windows, name) == getattr(paper, name)


def test_an_unknown_adversarial_loss_is_refused_before_any_work(tmp_path) -> None:
    with pytest.raises(InputError, match="no adversarial loss “wasserstein”"):
        fit(None, {"output": tmp_path / "out", "adversarial": "wasserstein"})
    assert not (tmp_path / "out").exists()


def test_every_loss_takes_part_in_a_step_and_every_network_learns() -> None:
    from spineseg.networks.translation import Translation

    torch.manual_seed(0)
    network = Translation((4, 8, 8), (4, 8), judge_width=4)
    size = (16, 16, 16)
    batch = {
        "mr": torch.rand(1, 1, *size), "ct": torch.rand(1, 1, *size),
        "other": torch.rand(1, 1, *size), "paired": torch.tensor([True]),
        "target": torch.full((1, *size), int(FineClass.BODY)),
        "offsets": torch.zeros(1, 3, *size), "voting": torch.ones(1, *size, dtype=torch.bool),
        "density": torch.ones(1, *size, dtype=torch.int8),
    }  # fmt: skip
    loss = TranslationLoss(TranslationSettings(identity=0.5))
    total, parts = loss(network, batch)
    assert parts["cycle"] == 0
    assert parts["pairs"] > 0
    loss.done = 0.9
    total, parts = loss(network, batch)
    assert min(parts[n] for n in ("cycle", "gradient", "fooled", "judged", "identity")) > 0
    total.backward()
    for name in ("to_ct", "to_mr", "judge_ct", "judge_mr"):
        gradients = [p.grad for p in getattr(network, name).parameters() if p.grad is not None]
        assert sum(float(g.abs().sum()) for g in gradients) > 0
