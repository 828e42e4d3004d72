"""Corners in boxes: detection, outliers, smoothing, and a few steps of training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from spineseg.measure.cobb import challenge_angles
from spineseg.methods.film_windows import canvas_image
from spineseg.systems.corners import (
    SYSTEM,
    Corners,
    box_loss,
    boxes_of,
    detected,
    in_line,
    seventeen,
    smooth,
    windows_of,
)
from spineseg.systems.polynomial import robust_fit, smoothed_by
from spineseg.systems.system import Sight
from spineseg.training.film_data import FilmItem
from spineseg.training.film_losses import gaussians
from spineseg.training.film_systems import SystemBatches, SystemTraining
from tinyfilm import drawn_items


@pytest.fixture(scope="module")
def items() -> list[FilmItem]:
    return drawn_items(2)


@pytest.fixture(scope="module")
def sight(items: list[FilmItem]) -> Sight:
    return Sight(items[0].picture, *canvas_image(items[0].picture))


def maps_of(boxes: np.ndarray) -> torch.Tensor:
    """What a detector without a fault puts out, (5, 128, 64)."""
    cells = torch.as_tensor((boxes[:, :2] + 0.5) / 4 - 0.5, dtype=torch.float32)
    each = gaussians(cells[None], 128, 64, 1.0)[0]
    near, which = each.max(dim=0)
    y, x = torch.meshgrid(torch.arange(128), torch.arange(64), indexing="ij")
    off = cells[which] - torch.stack([x, y], dim=-1)
    size = torch.as_tensor(boxes[:, 2:] / [60.0, 28.0], dtype=torch.float32).log()[which]
    return torch.cat([torch.logit(near, 1e-4)[None], off.movedim(2, 0), size.movedim(2, 0)])


def test_boxes_are_found_again(items: list[FilmItem], sight: Sight) -> None:
    boxes = boxes_of(sight.to_canvas(items[0].corners))
    found, scores = detected(maps_of(boxes))
    assert np.allclose(found, boxes, atol=0.05)
    assert scores.min() > 0.7
    score, place = box_loss(maps_of(boxes)[None], torch.as_tensor(boxes)[None].float())
    _, wrong = box_loss(maps_of(boxes + 4.0)[None], torch.as_tensor(boxes)[None].float())
    assert float(place) < 1e-4 < float(wrong)
    assert float(score) < 0.1


def test_boxes_beside_both_neighbours_are_thrown_out() -> None:
    boxes = np.stack([np.full(6, 100.0), 30.0 * np.arange(6), np.full(6, 50.0), np.full(6, 20.0)])
    boxes = boxes.T.copy()
    assert in_line(boxes).all()
    boxes[2, 0] += 30.0
    boxes[5, 0] -= 26.0
    assert in_line(boxes).tolist() == [True, True, False, True, True, False]
    assert in_line(boxes[:1]).tolist() == [False]


def test_there_are_seventeen_boxes_in_the_end() -> None:
    y = 25.0 * np.arange(17)
    boxes = np.stack([np.full(17, 128.0), y, np.full(17, 50.0), np.full(17, 20.0)], axis=1)
    scores = np.linspace(0.9, 0.6, 17)
    found, sure = seventeen(np.delete(boxes, 7, axis=0), np.delete(scores, 7))
    assert np.allclose(found, boxes)
    assert sure[7] == 0
    found, sure = seventeen(boxes[:14], scores[:14])
    assert np.allclose(found, boxes)
    assert sure[-3:].tolist() == [0, 0, 0]
    more = np.concatenate([boxes[:1] - [0, 25, 0, 0], boxes])
    found, _ = seventeen(more, np.insert(scores, 0, 0.3))
    assert np.allclose(found, boxes)


def test_polynomials_leave_out_what_is_far_from_them() -> None:
    at = np.arange(17.0)
    true = 0.01 * at**3 - 0.2 * at**2
    values = true.copy()
    values[5] += 30.0
    assert np.abs(robust_fit(at, values, 6)(at) - true).max() < 1e-6
    both = smoothed_by(at, np.stack([values, -values], axis=1), 6)
    assert np.allclose(both[:, 0], -both[:, 1])


def test_smoothing_keeps_a_spine_and_mends_a_corner(items: list[FilmItem]) -> None:
    corners = items[0].corners
    kept = smooth(corners)
    assert np.abs(kept - corners).max() < 6.0  # of 1024
    before, after = (challenge_angles(c, 1024).major_deg for c in (corners, kept))
    assert after == pytest.approx(before, abs=1.5)
    wrong = corners.copy()
    wrong[8, 1, 0] += 40.0
    assert np.abs(smooth(wrong) - kept).max() < 6.0
    assert np.array_equal(smooth(wrong)[..., 1], corners[..., 1])


class _Known(torch.nn.Module):
    """A detector and a regressor that know the corners on the canvas."""

    def __init__(self, corners: np.ndarray) -> None:
        super().__init__()
        boxes = boxes_of(corners)
        self.maps = maps_of(boxes)[None]
        self.local = torch.as_tensor(windows_of(boxes).to_local(corners), dtype=torch.float32)
        self.look: Any = torch.nn.Module()
        self.look.register_buffer("width", torch.ones(17))

    def trunk(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [image]

    def detect(self, image: torch.Tensor) -> torch.Tensor:
        return self.maps

    def corners(self, seen: torch.Tensor) -> torch.Tensor:
        assert seen.shape == (17, 2, 96, 96)
        return self.local


def test_corners_come_back_onto_the_film(items: list[FilmItem], sight: Sight) -> None:
    corners = sight.to_canvas(items[0].corners)
    found = SYSTEM.answer(_Known(corners), sight)  # type: ignore[arg-type]
    assert found is not None
    assert found.corners is not None
    assert np.allclose(found.corners, smooth(corners), atol=0.1)
    assert found.marks[0].points_px.shape == (17, 4, 2)
    assert found.confidence is not None
    assert found.confidence.min() > 0.7


def test_too_few_boxes_give_no_answer(items: list[FilmItem], sight: Sight) -> None:
    known = _Known(sight.to_canvas(items[0].corners))
    known.maps = maps_of(boxes_of(sight.to_canvas(items[0].corners))[:4])[None]
    assert SYSTEM.answer(known, sight) is None  # type: ignore[arg-type]


def test_the_loss_falls_and_what_was_learned_before_stays(items: list[FilmItem]) -> None:
    torch.manual_seed(0)
    network = Corners()
    SYSTEM.begin(network, None)
    before = {k: v.clone() for k, v in network.look.state_dict().items()}
    batch = SystemBatches(SYSTEM, items, SystemTraining(films=2)).batch(0)
    assert batch["seen"].shape == (16, 2, 96, 96)
    assert batch["boxes"].shape == (2, 17, 4)
    assert network.corners(batch["seen"]).shape == (16, 4, 2)
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 2e-3)
    losses = []
    for _ in range(4):
        loss, _ = SYSTEM.loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert all(torch.equal(v, before[k]) for k, v in network.look.state_dict().items())
