"""Angles and mask in one network: what its head can say, its loss, and its answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from spineseg.methods.film_picture import CANVAS
from spineseg.methods.film_windows import canvas_image
from spineseg.systems.angles_head import AngleHead, Found, angle_loss, targets_of
from spineseg.systems.multitask import SYSTEM, MultitaskNetwork
from spineseg.systems.system import Sight
from spineseg.training.film_data import FilmItem
from spineseg.training.film_losses import gaussians
from spineseg.training.film_samples import canvas_sample
from spineseg.training.film_systems import SystemBatches, SystemTraining
from tinyfilm import drawn_items


@pytest.fixture(scope="module")
def items() -> list[FilmItem]:
    return drawn_items(2)


def _perfect(wanted: dict[str, torch.Tensor]) -> Found:
    cells = wanted["places"] * torch.tensor([64.0, 128.0]) - 0.5
    places = 20 * gaussians(cells, 128, 64, 3.2)
    case = 20.0 * torch.nn.functional.one_hot(wanted["case"], 3)
    return Found(wanted["angles"], wanted["tilts"], case, places)


def test_a_head_that_knows_all_has_hardly_any_loss(items: list[FilmItem]) -> None:
    _, corners = canvas_sample(items[0], np.random.default_rng(0), plain=True)
    wanted = targets_of(corners, CANVAS)
    perfect = _perfect(wanted)
    loss, parts = angle_loss(perfect, wanted)
    assert float(parts["smape"]) == pytest.approx(0.0, abs=1e-4)
    assert float(parts["tilt"]) == 0.0
    worse = Found(perfect.angles + 10, perfect.tilts - 5, perfect.case, perfect.places)
    assert float(angle_loss(worse, wanted)[0]) > float(loss) + 1.0


def test_a_head_without_training_gives_the_rules_angles(items: list[FilmItem]) -> None:
    torch.manual_seed(0)
    head = AngleHead(16, 5)
    found = head(torch.randn(2, 16, 32, 16), torch.randn(2, 5))
    assert found.places.shape == (2, 17, 32, 16)
    spread = found.tilts.amax(1) - found.tilts.amin(1)
    # The last layer adds its bias only, and the major angle is the same in all three cases.
    bias = 10 * head.out.bias.detach()[0]
    assert torch.allclose(found.angles[:, 0], spread + bias, atol=1e-3)


def test_places_begin_where_vertebrae_usually_lie() -> None:
    head = AngleHead(16, 5)
    torch.nn.init.zeros_(head.where.weight)
    places = head(torch.zeros(1, 16, 64, 32), torch.zeros(1, 5)).places[0]
    rows = places.mean(dim=2).argmax(dim=1)
    assert (rows.diff() > 0).all()
    assert int(rows[0]) < 6
    assert 54 < int(rows[-1]) < 64


def test_the_loss_falls(items: list[FilmItem]) -> None:
    torch.manual_seed(0)
    network = MultitaskNetwork()
    batch = SystemBatches(SYSTEM, items, SystemTraining(films=2)).batch(0)
    assert batch["mask"].shape == (2, 1, 128, 64)
    assert batch["tilts"].shape == (2, 17)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 2e-3)
    losses = []
    for _ in range(5):
        loss, parts = SYSTEM.loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(parts)
    assert losses[-1]["loss"] < 0.9 * losses[0]["loss"]
    assert losses[-1]["mask"] < losses[0]["mask"]


class _Known(torch.nn.Module):
    def __init__(self, mask: torch.Tensor, found: Found) -> None:
        super().__init__()
        self.mask, self.found = mask, found

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, Found]:
        return self.mask, self.found


def test_an_answer_is_what_was_found_or_nothing(items: list[FilmItem]) -> None:
    sight: Any = Sight(items[0].picture, *canvas_image(items[0].picture))
    corners = sight.to_canvas(items[0].corners)
    wanted = targets_of(corners, CANVAS)
    mask = SYSTEM.targets(_sample(items[0], sight, corners), None)["mask"]  # type: ignore[arg-type]
    logits = torch.cat([-mask, mask], dim=1) * 20
    found = SYSTEM.answer(_Known(logits, _perfect(wanted)), sight)
    assert found is not None
    assert found.angles is not None
    assert found.angles.tolist() == pytest.approx(wanted["angles"][0].tolist(), abs=1e-4)
    assert [m.name for m in found.marks] == ["vertebrae", "saliency"]
    assert all(m.values is not None and m.values.shape == (128, 64) for m in found.marks)
    nothing = torch.cat([mask * 0 + 9, mask * 0], dim=1)
    assert SYSTEM.answer(_Known(nothing, _perfect(wanted)), sight) is None


def _sample(item: FilmItem, sight: Sight, corners: Any) -> Any:
    from spineseg.systems.system import Sample

    return Sample(item, sight.image[0], corners)
