"""Top-down: the curve in the water pipe, and vertebrae's directions from their edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from spineseg.methods.film_picture import CANVAS, canvas_scale
from spineseg.systems.bands import band_mask, endplate_edges
from spineseg.systems.lines import along, line_of, tilts_of
from spineseg.systems.system import Sample
from spineseg.systems.topdown import (
    PLACES,
    STRIDE,
    SYSTEM,
    Settings,
    SpineAndEdges,
    fitted,
    responses,
)
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


class Known(SpineAndEdges):
    """A network that knows the mask and the edges of a film."""

    def __init__(self, corners: np.ndarray) -> None:
        super().__init__()
        spine = torch.from_numpy(band_mask(corners, CANVAS, STRIDE)) * 20 - 10
        edges = torch.from_numpy(endplate_edges(corners, CANVAS, STRIDE)).clamp(1e-4, 1 - 1e-4)
        self.known = torch.stack([-spine, spine, edges.logit()])[None]
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        return self.known


@pytest.mark.parametrize("seed", [0, 1])
def test_the_curve_lies_in_the_middle_of_the_pipe(items: list[FilmItem], seed: int) -> None:
    corners = on_canvas(items[seed])
    curve = fitted(band_mask(corners, CANVAS, STRIDE) > 0.5)
    assert curve is not None
    line, _ = line_of(corners)
    at = np.linspace(0, 1, 21)
    found = along(at, curve * STRIDE + (STRIDE - 1) / 2)
    assert np.abs(found - along(at, line)).max() < 4.0


def test_a_mask_without_a_spine_has_no_curve() -> None:
    assert fitted(np.zeros((256, 128), bool)) is None
    blob = np.zeros((256, 128), bool)
    blob[100:150, 50:70] = True
    assert fitted(blob) is None


@pytest.mark.parametrize("tilt", [-20.0, 0.0, 7.0, 25.0])
def test_kernels_answer_most_in_the_direction_of_an_edge(tilt: float) -> None:
    angle = np.radians(tilt)
    right, down = (
        np.array([np.cos(angle), np.sin(angle)]),
        np.array([-np.sin(angle), np.cos(angle)]),
    )
    middle = np.array([[120.0, 240.0], [120.0, 262.0]])
    corners = np.stack(
        [m + 18 * s * right + 8 * t * down for m in middle for t in (-1, 1) for s in (-1, 1)]
    ).reshape(2, 4, 2)
    edges = torch.from_numpy(endplate_edges(corners, CANVAS, STRIDE))[None, None]
    place = torch.tensor([[[120.0, 250.0, 0.0, 36.0, 420.0]]])
    answer = responses(edges, place, CANVAS)[0, 0]
    turns = np.linspace(-40, 40, len(answer))
    assert turns[int(answer.argmax())] == pytest.approx(tilt, abs=2.5)
    found = SpineAndEdges().corrected(edges, place, CANVAS).detach()
    assert float(torch.rad2deg(found)) == pytest.approx(tilt, abs=2.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_edges_correct_the_curve(items: list[FilmItem], seed: int) -> None:
    corners = on_canvas(items[seed])
    found = SYSTEM.answer(Known(corners), SYSTEM._sight(items[seed].picture, Settings()))
    assert found is not None
    assert found.angles is not None
    image = torch.zeros(1, *CANVAS)
    assert np.abs(found.angles - Sample(items[seed], image, corners).angles).max() < 3.0
    lines = next(mark.points_px for mark in found.marks if mark.name == "directions")
    assert lines.shape == (PLACES, 2, 2)
    step = lines[:, 1] - lines[:, 0]
    _, middles = line_of(corners)
    wanted = np.interp(np.linspace(0, 1, PLACES), middles, tilts_of(corners))
    assert np.abs(np.degrees(np.arctan2(step[:, 1], step[:, 0]) - wanted)[2:-2]).max() < 3.0


def test_no_mask_gives_no_answer(items: list[FilmItem]) -> None:
    network = Known(on_canvas(items[0]))
    network.known[:, 1] = -10
    network.known[:, 0] = 10
    assert SYSTEM.answer(network, SYSTEM._sight(items[0].picture, Settings())) is None


def test_targets_and_that_the_loss_falls(items: list[FilmItem]) -> None:
    torch.manual_seed(0)
    batch = SystemBatches(SYSTEM, items, SystemTraining(films=2)).batch(0)
    assert tuple(batch["spine"].shape) == (2, 256, 128)
    assert tuple(batch["edges"].shape) == (2, 1, 256, 128)
    assert tuple(batch["places"].shape) == (2, 12, 5)
    perfect = SpineAndEdges().corrected(batch["edges"], batch["places"], CANVAS).detach()
    assert float(torch.rad2deg(perfect - batch["tilts"]).abs().mean()) < 2.0
    network = SpineAndEdges()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss, parts = SYSTEM.loss(network, batch)
        loss.backward()
        optimiser.step()
        losses.append(parts["loss"])
    assert min(losses[-2:]) < 0.98 * losses[0]
