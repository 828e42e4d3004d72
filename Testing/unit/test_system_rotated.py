"""Turned boxes: from corners and back, what is read in them, and proposals along the cord."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from spineseg.methods.film_picture import CANVAS, canvas_scale
from spineseg.systems.bands import band_mask
from spineseg.systems.rotated import (
    STRIDE,
    SYSTEM,
    Settings,
    TurnedBoxes,
    box_of,
    look,
    on_canvas,
    on_patch,
    patches_of,
)
from spineseg.training.film_data import FilmItem
from spineseg.training.film_losses import gaussians
from spineseg.training.film_systems import SystemBatches, SystemTraining
from tinyfilm import drawn_items
from torch import Tensor


@pytest.fixture(scope="module")
def items() -> list[FilmItem]:
    return drawn_items(2)


def on_the_canvas(item: FilmItem) -> Tensor:
    scale, offset = canvas_scale(item.picture)
    return torch.as_tensor(item.corners * scale + offset, dtype=torch.float32)[None]


class Known(torch.nn.Module):
    """A network that knows a film's corners."""

    def __init__(self, corners: Tensor) -> None:
        super().__init__()
        self.truth = torch.nn.Parameter(corners, requires_grad=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        truth = box_of(self.truth)
        rows, columns = CANVAS[0] // STRIDE, CANVAS[1] // STRIDE
        places = (gaussians((truth[..., :2] + 0.5) / STRIDE - 0.5, rows, columns, 1.2) + 1e-6).log()
        near = places[0].argmax(0)
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        cells = torch.stack([x, y], dim=-1) * STRIDE + (STRIDE - 1) / 2
        box = truth[0][near]
        unit = torch.tensor([36.0, 22.0])
        maps = [box[..., :2] - cells, (box[..., 2:4] / unit).log(), box[..., 4:]]
        cord = torch.from_numpy(band_mask(self.truth[0].numpy(), CANVAS, STRIDE, 0.3))
        boxes = torch.cat([*maps, 20 * cord[..., None] - 10], dim=-1)
        return places, boxes.permute(2, 0, 1)[None], torch.zeros(1, 24, rows, columns)

    def corners(self, image: Tensor, features: Tensor, patches: Tensor) -> Tensor:
        local = on_patch(self.truth[0], patches[0])
        cells = (local + 1) * torch.tensor([32.0, 24.0]) / 2 - 0.5
        return (gaussians(cells, 24, 32, 1.0) + 1e-9).log()


def test_a_box_is_turned_as_its_vertebra_is() -> None:
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright = np.array([[-20, -10], [20, -10], [-20, 10], [20, 10]])
    corners = torch.as_tensor(upright @ turn.T + [100, 50], dtype=torch.float32)
    box = box_of(corners[None])[0]
    assert torch.allclose(box, torch.tensor([100, 50, 40, 20, float(angle)]), atol=1e-4)
    patch = patches_of(box[None], 1.0, 1.0)
    signs = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    assert torch.allclose(on_patch(corners[None], patch)[0], signs, atol=1e-4)
    assert torch.allclose(on_canvas(signs[None], patch)[0], corners, atol=1e-3)


def test_a_turned_look_reads_the_pixels_under_it() -> None:
    y, x = torch.meshgrid(torch.arange(512.0), torch.arange(256.0), indexing="ij")
    maps = torch.stack([x, y])[None].expand(2, -1, -1, -1)
    boxes = torch.tensor([[[90.0, 200.0, 40.0, 20.0, 0.4]], [[120.0, 300.0, 30.0, 20.0, -0.2]]])
    patches = patches_of(boxes)
    seen = look(maps, patches, (48, 64), CANVAS)
    assert tuple(seen.shape) == (2, 2, 48, 64)
    for n in range(2):
        assert torch.allclose(seen[n].mean(dim=(1, 2)), boxes[n, 0, :2], atol=0.1)
        right = seen[n, :, 24, 63] - seen[n, :, 24, 0]
        assert float(torch.atan2(right[1], right[0])) == pytest.approx(float(boxes[n, 0, 4]), 1e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_network_that_knows_all_gives_the_corners(items: list[FilmItem], seed: int) -> None:
    truth = on_the_canvas(items[seed])
    found = SYSTEM.answer(Known(truth), SYSTEM._sight(items[seed].picture, Settings()))
    assert found is not None
    assert found.corners is not None
    assert found.confidence is not None
    assert np.abs(found.corners - truth[0].numpy()).max() < 1.0
    assert found.confidence.min() > 0.5
    outlines = next(mark for mark in found.marks if mark.kind == "outlines")
    assert outlines.points_px.shape == (17, 4, 2)
    assert np.abs(outlines.points_px.mean(axis=1) - truth[0].numpy().mean(axis=1)).max() < 1.5


def test_without_a_cord_there_is_no_spine(items: list[FilmItem]) -> None:
    network = Known(on_the_canvas(items[0]))
    given = network.forward

    def blind(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        places, boxes, features = given(image)
        return places, torch.cat([boxes[:, :5], torch.full_like(boxes[:, 5:], -10)], 1), features

    network.forward = blind  # type: ignore[method-assign]
    assert SYSTEM.answer(network, SYSTEM._sight(items[0].picture, Settings())) is None


def test_targets_and_that_the_loss_falls(items: list[FilmItem]) -> None:
    torch.manual_seed(0)
    batch = SystemBatches(SYSTEM, items, SystemTraining(films=2)).batch(0)
    assert tuple(batch["corners"].shape) == (2, 17, 4, 2)
    assert tuple(batch["cord"].shape) == (2, 1, 128, 64)
    assert tuple(batch["chosen"].shape) == (2, 9)
    network = TurnedBoxes()
    SYSTEM.begin(network, None)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        loss, parts = SYSTEM.loss(network, batch)
        loss.backward()
        optimiser.step()
        losses.append(parts["loss"])
    assert min(losses[-2:]) < 0.95 * losses[0]
    assert network.fcn[0][0].weight.grad is not None
    assert network.boxes[0][0].weight.grad is not None
