"""Coarse to fine: masks, peeling, corners in windows, the polynomial, and a few steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from spineseg.measure.cobb import challenge_angles
from spineseg.methods.film_chain import Frames
from spineseg.methods.film_picture import Picture, prepare
from spineseg.methods.film_windows import canvas_image
from spineseg.systems.coarse_to_fine import (
    SYSTEM,
    CoarseToFine,
    Region,
    coarse_loss,
    depth_in,
    made_smaller,
    middles_of,
    refined,
)
from spineseg.systems.system import Sight
from spineseg.training.film_data import FilmItem, centres_of
from spineseg.training.film_losses import gaussians
from spineseg.training.film_systems import SystemBatches, SystemTraining
from tinyfilm import drawn_film, drawn_items


@pytest.fixture(scope="module")
def items() -> list[FilmItem]:
    return drawn_items(2)


def maps_of(corners: np.ndarray) -> torch.Tensor:
    """What a coarse network without a fault puts out for corners on the canvas."""
    depth = depth_in(torch.as_tensor(corners, dtype=torch.float32)[None], 128, 64, 4)
    spine = depth.amax(dim=1, keepdim=True)
    return torch.cat([depth, torch.zeros_like(spine), spine + 14, spine + 3], dim=1)


def test_depth_is_measured_from_the_nearest_edge() -> None:
    corners = torch.tensor([[[[10.0, 20.0], [40.0, 20.0], [10.0, 40.0], [40.0, 40.0]]]])
    depth = depth_in(corners, 64, 64, 1)[0, 0]
    assert float(depth[30, 25]) == pytest.approx(10.0)
    assert float(depth[30, 12]) == pytest.approx(2.0)
    assert float(depth[30, 4]) == pytest.approx(-6.0)
    assert int((depth >= 0).sum()) == 31 * 21


def test_middles_come_out_of_the_boxes(items: list[FilmItem]) -> None:
    image, scale, offset = canvas_image(items[0].picture)
    corners = items[0].corners * scale + offset
    maps = maps_of(corners)
    middles, share = middles_of(maps)
    assert share.shape == (1, 17, 128, 64)
    assert np.abs(middles[0].numpy() - corners.mean(axis=1)).max() < 1.0
    right, off = coarse_loss(maps, torch.as_tensor(corners, dtype=torch.float32)[None])
    wrong, _ = coarse_loss(maps.roll(8, 2), torch.as_tensor(corners, dtype=torch.float32)[None])
    assert float(off) < 1.0
    assert float(right) < 0.5 * float(wrong)
    small, moved = made_smaller(
        image, torch.as_tensor(corners, dtype=torch.float32)[None], torch.tensor([0.5])
    )
    middle = np.array([127.5, 255.5])
    assert np.allclose(moved[0].numpy(), (corners - middle) * 0.5 + middle, atol=1e-4)
    x, y = (int(v) for v in moved[0, 8].mean(dim=0))
    assert float(small[0, 0, y, x]) > float(small[0, 0, y, 40])


class _Known(torch.nn.Module):
    """Knows the corners on the prepared film, wherever it looks."""

    def __init__(self, corners: np.ndarray, picture: Picture) -> None:
        super().__init__()
        self.corners, self.picture = corners, picture
        self.regions: list[Region] = []
        self.fine: Any = torch.nn.Module()
        self.fine.register_buffer("width", torch.full((17,), 1.27))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return maps_of(self.corners * self.regions[-1].scale + self.regions[-1].offset)

    def points(self, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        local = torch.as_tensor(self.frames.to_local(self.corners), dtype=torch.float32)
        maps = torch.log(gaussians((local + 1) * 24 - 0.5, 48, 48, 1.5) + 1e-9)
        return maps, maps[:, 0]

    frames: Frames


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[_Known]:
    """Tells the network in it which crop and which windows are looked at."""
    from spineseg.systems import coarse_to_fine as module

    networks: list[_Known] = []
    cut, make = module.windows, Region.image

    def image(self: Region, picture: Picture, canvas: tuple[int, int]) -> torch.Tensor:
        networks[0].regions.append(self)
        return make(self, picture, canvas)

    def windows(picture: Picture, frames: Frames, at: np.ndarray) -> torch.Tensor:
        networks[0].frames = frames
        return cut(picture, frames, at)

    monkeypatch.setattr(Region, "image", image)
    monkeypatch.setattr(module, "windows", windows)
    return networks


def test_a_film_with_wide_margins_is_peeled_to_the_spine(watched: list[_Known]) -> None:
    film, corners = drawn_film(0)
    wide = np.pad(film.array, ((500, 400), (300, 300)), constant_values=90)
    picture = prepare(type(film)(wide, name=film.name))
    corners = picture.from_film(corners + [300, 500])
    sight = Sight(picture, *canvas_image(picture))
    known = _Known(corners, picture)
    known.regions.append(Region(sight.scale, sight.offset))
    watched.append(known)
    found = SYSTEM.answer(known, sight)  # type: ignore[arg-type]
    assert len(known.regions) >= 2
    last = known.regions[-1]
    y = corners[..., 1] * last.scale + last.offset[1]
    assert 0 < y.min() < 80
    assert 430 < y.max() < 512
    assert found is not None
    assert found.corners is not None
    assert np.abs(found.corners - sight.to_canvas(corners)).max() < 2.0
    assert [m.name for m in found.marks] == ["boxes", "crop", "curve"]
    assert found.marks[0].values is not None
    assert found.marks[0].values.shape == (128, 64)


def test_a_film_of_the_spine_alone_is_not_peeled(
    items: list[FilmItem], watched: list[_Known]
) -> None:
    sight = Sight(items[1].picture, *canvas_image(items[1].picture))
    known = _Known(items[1].corners, items[1].picture)
    known.regions.append(Region(sight.scale, sight.offset))
    watched.append(known)
    found = SYSTEM.answer(known, sight)  # type: ignore[arg-type]
    assert len(known.regions) == 1
    assert found is not None
    true, mine = (
        challenge_angles(c, 512).major_deg
        for c in (sight.to_canvas(items[1].corners), found.corners)
    )
    assert mine == pytest.approx(true, abs=2.0)


def test_a_vertebra_that_stands_out_is_turned_back(items: list[FilmItem]) -> None:
    corners = items[0].corners
    kept, line = refined(corners, centres_of(corners))
    assert line.shape == (33, 2)
    turn = np.radians(25.0)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    wrong = corners.copy()
    wrong[9] = (wrong[9] - wrong[9].mean(axis=0)) @ matrix + wrong[9].mean(axis=0)
    mended, _ = refined(wrong, centres_of(corners))
    far = [np.abs(c[9] - corners[9]).max() for c in (wrong, mended)]
    assert far[1] < 0.4 * far[0]
    assert np.abs(mended[:6] - kept[:6]).max() < 1.0


def test_nothing_seen_gives_no_answer(items: list[FilmItem], watched: list[_Known]) -> None:
    sight = Sight(items[0].picture, *canvas_image(items[0].picture))
    known = _Known(items[0].corners + 5000, items[0].picture)
    known.regions.append(Region(sight.scale, sight.offset))
    watched.append(known)
    assert SYSTEM.answer(known, sight) is None  # type: ignore[arg-type]


def test_the_loss_falls(items: list[FilmItem]) -> None:
    torch.manual_seed(0)
    network = CoarseToFine()
    SYSTEM.begin(network, None)
    batch = SystemBatches(SYSTEM, items, SystemTraining(films=2)).batch(0)
    assert batch["seen"].shape == (10, 2, 96, 96)
    assert batch["smaller"].shape == (2,)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 1e-3)
    losses = []
    for _ in range(3):
        loss, _ = SYSTEM.loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]
