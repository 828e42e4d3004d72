"""SCG-Net: boundaries of corners, its loss, and its answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from spineseg.methods.film_picture import CANVAS
from spineseg.methods.film_windows import canvas_image
from spineseg.systems.angles_head import Found
from spineseg.systems.masks import boundaries
from spineseg.systems.scgnet import SYSTEM, SCGNetwork
from spineseg.systems.system import Sight
from spineseg.training.film_data import FilmItem
from spineseg.training.film_systems import SystemBatches, SystemTraining
from tinyfilm import drawn_items


@pytest.fixture(scope="module")
def items() -> list[FilmItem]:
    return drawn_items(2)


def test_boundaries_run_through_the_corners_of_their_side(items: list[FilmItem]) -> None:
    sight = Sight(items[0].picture, *canvas_image(items[0].picture))
    corners = sight.to_canvas(items[0].corners)
    curves = boundaries(corners, CANVAS)[0]
    assert curves.shape == (2, 256, 128)
    for curve, side in zip(curves, ([0, 2], [1, 3]), strict=True):
        x, y = np.rint(corners[:, side].reshape(-1, 2)[1:-1].T / 2).astype(int)
        assert (curve[y, x] > 0.4).all()
        # It goes on between vertebrae and is as thick as it is to be, some seven pixels.
        rows = curve[y.min() : y.max()].sum(1)
        assert float(rows.min()) > 1.8
        assert float(rows.median()) == pytest.approx(3.5, abs=0.8)
    assert float((curves[0] * curves[1]).max()) == 0.0


def test_the_loss_falls(items: list[FilmItem]) -> None:
    torch.manual_seed(0)
    network = SCGNetwork()
    batch = SystemBatches(SYSTEM, items, SystemTraining(films=2)).batch(0)
    assert batch["curves"].shape == (2, 2, 256, 128)
    assert batch["drawn_curves"].shape == (4, 2, 256, 128)
    assert batch["drawn_tilts"].shape == (4, 17)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 2e-3)
    losses = []
    for _ in range(4):
        loss, parts = SYSTEM.loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(parts)
    assert losses[-1]["loss"] < 0.9 * losses[0]["loss"]
    assert losses[-1]["curves"] < losses[0]["curves"]


class _Known(torch.nn.Module):
    def __init__(self, curves: torch.Tensor) -> None:
        super().__init__()
        none = torch.zeros(1, 17)
        self.curves = curves
        angles = torch.tensor([[40.0, 20.0, 10.0]])
        self.found = Found(angles, none, none[:, :3], none[..., None, None])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, Found]:
        return self.curves, self.found


def test_an_answer_is_what_was_found_or_nothing(items: list[FilmItem]) -> None:
    sight: Any = Sight(items[0].picture, *canvas_image(items[0].picture))
    curves = boundaries(sight.to_canvas(items[0].corners), CANVAS)
    found = SYSTEM.answer(_Known(curves), sight)
    assert found is not None
    assert found.angles is not None
    assert found.angles.tolist() == [40.0, 20.0, 10.0]
    assert found.marks[0].kind == "map"
    assert found.marks[0].values is not None
    assert found.marks[0].values.shape == (128, 64)
    assert SYSTEM.answer(_Known(curves * 0.05), sight) is None


def test_a_curve_alone_can_be_read(items: list[FilmItem]) -> None:
    torch.manual_seed(0)
    network = SCGNetwork().eval()
    sight: Any = Sight(items[0].picture, *canvas_image(items[0].picture))
    with torch.inference_mode():
        curves, found = network(sight.image)
        alone = network.read(torch.zeros_like(sight.image), curves)
    assert curves.shape == (1, 2, 256, 128)
    assert found.angles.shape == alone.angles.shape == (1, 3)
    assert not torch.allclose(found.tilts, alone.tilts)
