"""The windows that `vertebra-one` is trained on, and its first steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from spineseg.errors import InputError
from spineseg.methods.one_vertebra import SEED, WINDOW
from spineseg.phantom.codes import Tissue
from spineseg.training.export import command_of
from spineseg.training.losses import binary_terms
from spineseg.training.one_vertebra import OneSampler, fit, make_network, one_loss
from spineseg.training.one_vertebra_samples import make_one, meant, places
from spineseg.training.paper import preset_of
from spineseg.training.pool import Item, draw_fine, save_item
from spineseg.training.vertebra import TrainSettings


@pytest.fixture(scope="module")
def item() -> Item:
    return draw_fine(5)


def test_a_window_shows_the_vertebra_meant_and_its_parts_are_nested(item: Item) -> None:
    where = places(item)
    hit = 0
    for n in range(12):
        one = make_one(item, where, np.random.default_rng(n))
        assert one.image.shape == (4, *WINDOW)
        assert one.known.all()
        whole, body, centrum = one.target.astype(bool)
        assert not (body & ~whole).any()
        assert not (centrum & ~body).any()
        # What is to be found is never in the memory, but for its rough edge.
        assert (whole & (one.image[2] > 0)).sum() < 0.1 * max(1, whole.sum())
        if whole.any():
            hit += 1
            away = np.abs(np.argwhere(body if body.any() else whole).mean(axis=0) - SEED)
            assert away.max() < 25
            assert centrum.sum() < body.sum()
    assert hit >= 8


def test_a_point_means_the_nearest_vertebra_that_is_not_known(item: Item) -> None:
    where = places(item)
    ids = np.asarray(item.layers[1])
    for label, at in where.bodies.items():
        assert meant(where, ids, at, set()) == label
        assert meant(where, ids, at, {label}) != label
    assert meant(where, ids, np.array([-300.0, 0, 0]), set()) == 0


def test_real_maps_teach_no_parts() -> None:
    shape = (80, 80, 80)
    layers = np.zeros((4, *shape), np.uint8)
    layers[2] = 127
    layers[:, 30:50, 30:50, 30:50] = np.array([50, 22, 200, 0], np.uint8)[:, None, None, None]
    item = Item(layers, {22: (40.0, 40.0, 40.0)}, exact=False)
    one = make_one(item, places(item), np.random.default_rng(3))
    assert one.known.tolist() == [True, False, False]


def test_a_point_in_the_sacrum_means_nothing() -> None:
    shape = (80, 80, 80)
    layers = np.zeros((4, *shape), np.uint8)
    layers[0, :20] = Tissue.SACRUM
    layers[:, 55:75, 30:50, 30:50] = np.array([50, 24, 200, 0], np.uint8)[:, None, None, None]
    item = Item(layers, {24: (40.0, 40.0, 65.0)}, exact=True)
    assert meant(places(item), layers[1], np.array([10.0, 40, 40]), set()) == 0
    # Between the two it can't be said, so nothing is taught there.
    assert meant(places(item), layers[1], np.array([48.0, 40, 40]), set()) is None


def test_the_fine_networks_weights_are_taken_over() -> None:
    from spineseg.networks.residual_unet import ResidualUNet

    fine = ResidualUNet(2, 10, (16, 32, 64, 128, 192))
    network = make_network(fine.state_dict())
    assert torch.equal(network.stem.weight[:, :2], fine.stem.weight)
    assert torch.equal(network.down[2].first.weight, fine.down[2].first.weight)
    assert network.head.weight.shape[0] == 3


def test_a_training_goes_on_from_the_networks_own_weights() -> None:
    torch.manual_seed(1)
    earlier = make_network(None).state_dict()
    again = make_network(earlier).state_dict()
    assert all(torch.equal(again[name], value) for name, value in earlier.items())


def test_corrected_cases_are_looked_for_before_patients_are_drawn(tmp_path: Path) -> None:
    options = {"output": tmp_path / "out", "corrections": tmp_path, "patients": 1}
    with pytest.raises(InputError, match="no corrected case"):
        fit(None, options)
    assert not (tmp_path / "out").exists()


def test_the_cards_command_says_where_a_training_began_and_how_fast(tmp_path: Path) -> None:
    plain = command_of(TrainSettings(), False, "click")
    assert "--start" not in plain
    assert "--rate" not in plain
    on = command_of(TrainSettings(start=tmp_path, rate=1e-3), False, "click")
    assert "--start MODELS --rate 0.001" in on


@pytest.mark.parametrize("given", [{"corrections": Path("cases")}, {"start": Path("models")}])
def test_the_papers_network_takes_no_cases_and_begins_anew(given: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="shapes alone"):
        preset_of({"preset": "paper", **given})


def test_channels_without_truth_teach_nothing() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, 8, requires_grad=True)
    target = (torch.rand(2, 3, 8, 8, 8) > 0.5).to(torch.uint8)
    known = torch.tensor([[True, False, False], [True, True, False]])
    entropy, dice = binary_terms(logits, target, known)
    (entropy + dice).backward()
    assert logits.grad is not None
    taught = logits.grad.abs().sum(dim=(2, 3, 4)) > 0
    assert taught.tolist() == known.tolist()


def test_a_perfect_answer_costs_nothing_and_an_empty_truth_has_no_dice() -> None:
    target = torch.zeros(1, 1, 8, 8, 8)
    target[..., 2:6] = 1
    entropy, dice = binary_terms((target - 0.5) * 60, target, torch.ones(1, 1, dtype=torch.bool))
    assert float(entropy) < 1e-6
    assert float(dice) < 1e-3
    none = torch.zeros_like(target)
    _, dice = binary_terms(torch.full_like(target, 5.0), none, torch.ones(1, 1, dtype=torch.bool))
    assert float(dice) == 0


def test_a_few_steps_lower_the_loss(item: Item, tmp_path: Path) -> None:
    save_item(item, tmp_path / "patient000005")
    sampler = OneSampler(tmp_path, TrainSettings(batch=1), 0)
    torch.manual_seed(1)
    network = make_network(None)
    batch = sampler.batch(0)
    again = sampler.batch(0)
    assert torch.equal(batch["image"], again["image"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(4):
        loss, parts = one_loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        assert set(parts) == {"dice", "entropy"}
    assert losses[-1] < losses[0]


def test_an_empty_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        OneSampler(tmp_path, TrainSettings(), 0)
