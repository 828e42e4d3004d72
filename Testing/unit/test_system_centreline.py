"""The cascade for the centreline: bands, lines, how maps are read, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from spineseg.errors import InputError
from spineseg.methods.film_picture import CANVAS, canvas_scale
from spineseg.systems.bands import band_mask
from spineseg.systems.centreline import STRIDE, SYSTEM, Cascades, Settings, curve_of
from spineseg.systems.lines import along, angles_of, length_of, line_of, tilts_of
from spineseg.systems.system import Sight
from spineseg.training.film_data import FilmItem
from spineseg.training.film_systems import SystemBatches, SystemTraining
from tinyfilm import drawn_items
from torch import Tensor


@pytest.fixture(scope="module")
def items() -> list[FilmItem]:
    return drawn_items(2)


def on_canvas(item: FilmItem) -> np.ndarray:
    scale, offset = canvas_scale(item.picture)
    return item.corners * scale + offset


class Known(torch.nn.Module):
    """A network that puts out given maps."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        super().__init__()
        self.first = torch.nn.Parameter(first, requires_grad=False)
        self.second = torch.nn.Parameter(second, requires_grad=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.first, self.second


def known(corners: np.ndarray) -> Known:
    """A network that knows bands and tilts of corners."""
    tilts = np.interp(np.arange(0.5, 512, 2), corners.mean(axis=1)[:, 1], tilts_of(corners))
    masks = [torch.from_numpy(band_mask(corners, CANVAS, STRIDE, s)) for s in (1.0, 0.2)]
    field = torch.as_tensor(tilts, dtype=torch.float32)[:, None].expand(256, 128)
    spine, line = (20 * m - 10 for m in masks)
    first = torch.stack([spine, field])[None]
    # Two members, of which one is a little turned.
    return Known(torch.stack([first, first + torch.tensor([0.0, 0.02])[:, None, None]]),
                 torch.stack([line[None, None]] * 2))  # fmt: skip


def sight_of(item: FilmItem) -> Sight:
    return SYSTEM._sight(item.picture, Settings())


def test_a_line_lies_where_its_vertebrae_do(items: list[FilmItem]) -> None:
    corners = on_canvas(items[0])
    line, middles = line_of(corners)
    assert np.allclose(along(middles, line), corners.mean(axis=1), atol=0.5)
    assert np.allclose(line[0], corners[0, :2].mean(axis=0))
    assert np.allclose(line[-1], corners[-1, 2:].mean(axis=0))
    assert np.allclose(np.diff(length_of(line)), length_of(line)[-1] / 400, rtol=0.01)


def test_a_band_is_as_wide_as_its_share(items: list[FilmItem]) -> None:
    corners = on_canvas(items[0])
    whole, thin = (band_mask(corners, CANVAS, STRIDE, share) for share in (1.0, 0.5))
    assert thin.sum() == pytest.approx(whole.sum() / 2, rel=0.03)
    assert (whole[thin > 0] == 1).all()
    x, y = np.rint(corners[8].mean(axis=0) / STRIDE).astype(int)
    assert whole[y, x] == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_perfect_maps_give_the_angles_of_the_film(items: list[FilmItem], seed: int) -> None:
    corners = on_canvas(items[seed])
    found = SYSTEM.answer(known(corners), sight_of(items[seed]))
    assert found is not None
    assert found.angles is not None
    assert found.centreline is not None
    line, middles = line_of(corners)
    at = np.linspace(0, 1, 19)
    wanted = angles_of(along(at, line), np.interp(at, middles, tilts_of(corners)), CANVAS[0])
    assert np.abs(found.angles - wanted).max() < 4.0
    assert np.abs(found.centreline - along(np.linspace(0, 1, 41), line)).max() < 3.0
    assert {mark.kind for mark in found.marks} == {"map", "line"}


def test_what_is_no_spine_gives_no_answer(items: list[FilmItem]) -> None:
    empty = known(on_canvas(items[0]))
    empty.second.data.fill_(-10)
    assert SYSTEM.answer(empty, sight_of(items[0])) is None
    short = np.zeros((256, 128), np.float32)
    short[100:140, 60:70] = 1
    assert curve_of(short) is None


def test_small_parts_are_dropped_and_gaps_are_bridged() -> None:
    chance = np.zeros((256, 128), np.float32)
    chance[20:120, 60:65] = chance[130:240, 60:65] = 0.3  # low, but more than a quarter
    chance[30:40, 10:16] = 1.0
    curve = curve_of(chance)
    assert curve is not None
    assert np.allclose(curve[:, 0], 62.0)
    assert tuple(curve[[0, -1], 1]) == (20, 239)


def batch_of(items: list[FilmItem]) -> dict[str, Tensor]:
    return SystemBatches(SYSTEM, items, SystemTraining(films=2)).batch(0)


def test_targets_have_one_row_a_film(items: list[FilmItem]) -> None:
    batch = batch_of(items)
    assert tuple(batch["masks"].shape) == (2, 2, 256, 128)
    assert tuple(batch["places"].shape) == (2, 19, 5, 9, 2)
    assert tuple(batch["tilts"].shape) == (2, 19)
    inside = torch.nn.functional.grid_sample(
        batch["masks"][:, :1], batch["places"].flatten(2, 3), align_corners=False
    )
    assert float(inside.mean()) > 0.9  # the tilt is read within the spine


def test_the_loss_falls(items: list[FilmItem]) -> None:
    torch.manual_seed(0)
    network = Cascades(2)
    batch = batch_of(items)
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-4)
    losses: list[Any] = []
    for _ in range(5):
        optimiser.zero_grad()
        loss, parts = SYSTEM.loss(network, batch)
        loss.backward()
        optimiser.step()
        losses.append(parts["loss"])
    assert min(losses[-2:]) < 0.97 * losses[0]
    assert network.trunk.unet.input_block.conv1.conv.weight.grad is None


def test_a_member_does_not_learn_from_its_own_fold(items: list[FilmItem]) -> None:
    network = Cascades(2)
    batch = batch_of([replace(item, fold=1) for item in items])
    loss, _ = SYSTEM.loss(network, batch)
    loss.backward()
    learned = [any(p.grad is not None for p in m.parameters()) for m in network.members]
    assert learned == [True, False]


def test_maps_or_angles_are_averaged(items: list[FilmItem]) -> None:
    network, item = known(on_canvas(items[0])), items[0]
    network.first.data[1, :, 1] += 0.3  # one member sees the film's lower half turned
    network.first.data[1, :, 1, :128] -= 0.3
    ways = [
        SYSTEM.answer(network, SYSTEM._sight(item.picture, Settings(average=way)))
        for way in ("maps", "angles")
    ]
    assert all(way is not None and way.angles is not None for way in ways)
    one, other = (way.angles for way in ways if way is not None)
    assert one is not None
    assert other is not None
    assert 0 < np.abs(one - other).max() < 4.0
    with pytest.raises(InputError, match="Choose maps or angles"):
        Settings(average="median")
