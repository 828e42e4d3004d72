"""Key points of patches: clusters, the vote, maps read back, and a few steps of training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from spineseg.measure.cobb import challenge_angles
from spineseg.methods.film_chain import Frames
from spineseg.methods.film_windows import canvas_image
from spineseg.systems.boxes import Found, boxes_of
from spineseg.systems.clusters import clustered, density_clusters, end_clusters
from spineseg.systems.keypoints import (
    SYSTEM,
    KeyPoints,
    Settings,
    all_patches,
    fair,
    gather,
    key_points,
    sketched,
    voted,
    without_squeezed,
)
from spineseg.systems.patches import close_loss
from spineseg.systems.system import Sight
from spineseg.training.film_data import FilmItem
from spineseg.training.film_losses import gaussians
from spineseg.training.film_systems import SystemBatches, SystemTraining
from tinyfilm import drawn_items


@pytest.fixture(scope="module")
def items() -> list[FilmItem]:
    return drawn_items(2)


@pytest.fixture(scope="module")
def network() -> KeyPoints:
    torch.manual_seed(0)
    made = KeyPoints()
    SYSTEM.begin(made, None)
    return made.eval()


class _Corners(torch.nn.Module):
    """Sees the corners that lie in each of the windows it is asked about."""

    def __init__(self, corners: np.ndarray, frames: Frames) -> None:
        super().__init__()
        every = np.broadcast_to(corners.reshape(1, -1, 2), (len(frames.center), 68, 2))
        cells = torch.as_tensor((frames.to_local(every) + 1) * 24 - 0.5, dtype=torch.float32)
        cells[~((cells > 1.5) & (cells < 45.5)).all(-1)] = torch.nan
        heat = gaussians(cells, 48, 48, 1.5).unflatten(1, (17, 4)).amax(1)
        self.maps = torch.log(heat + 1e-6)
        self.register_buffer("width", torch.ones(17))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return self.maps


def test_clusters_are_dense_and_noise_is_none() -> None:
    rng = np.random.default_rng(0)
    middles = np.array([[0.0, 0.0], [0.0, 10.0], [3.0, 20.0]])
    points = np.concatenate([m + rng.normal(0, 0.3, (12, 2)) for m in middles])
    label = density_clusters(np.concatenate([points, [[40.0, 5.0], [8.0, 8.0]]]), 1.0, 3)
    assert label[-2:].tolist() == [-1, -1]
    assert [len(set(label[n : n + 12])) for n in (0, 12, 24)] == [1, 1, 1]
    assert len(set(label[:-2])) == 3
    assert len(density_clusters(np.zeros((0, 2)), 1.0, 3)) == 0


def test_ends_beside_the_line_are_left_out() -> None:
    points = np.stack([np.zeros(8), np.arange(8) * 10.0], axis=1)
    points[0, 0] = 60.0  # beside the spine
    points[7, 1] = 62.0  # too near to the one above it
    assert sorted(end_clusters(points, np.arange(8))) == [1, 2, 3, 4, 5, 6]


def test_clusters_begin_at_the_sketch_and_fill_gaps() -> None:
    y = 20 + 25.0 * np.arange(17)
    true = np.stack([100 + 10 * np.sin(y / 60), y], axis=1)[:, None].repeat(4, axis=1)
    sketch = true + np.array([4.0, -3.0])
    points = np.concatenate([true[:, 0]] * 3)
    points = points[points[:, 1] != true[8, 0, 1]]
    corners, counts = clustered([points] * 4, sketch, 25.0)
    assert np.allclose(corners, true, atol=0.5)
    assert counts[8].tolist() == [0] * 4
    assert counts[0].tolist() == [3] * 4


def test_no_kind_of_corner_is_a_vertebra_off_by_itself(items: list[FilmItem]) -> None:
    _, scale, offset = canvas_image(items[0].picture)
    corners = items[0].corners * scale + offset
    cells = torch.as_tensor((corners.reshape(1, 68, 2) + 0.5) / 4 - 0.5, dtype=torch.float32)
    heat = gaussians(cells, 128, 64, 1.2)[0].unflatten(0, (17, 4))
    heat[4:12, 1] = 0.4 * heat[4:12, 1] + 0.6 * heat[5:13, 1]  # one takes its neighbour
    found = sketched(torch.log(heat.flatten(0, 1) + 1e-6), np.full(17, 1.27))
    assert np.linalg.norm(found - corners, axis=-1).max() < 5.0


def test_what_is_seen_in_patches_becomes_the_corners(items: list[FilmItem]) -> None:
    corners = items[0].corners
    rng = np.random.default_rng(1)
    sketch = corners + rng.normal(0, 6.0, corners.shape)
    frames, at, reach = all_patches(np.full(17, 1.27), sketch)
    assert len(at) == len(reach) == len(frames.width) == 17 + 16 + 17
    points, patch = key_points(_Corners(corners, frames), torch.zeros(1, 2, 4, 4), frames)
    assert patch.max() < len(at)
    pitch = np.linalg.norm(np.diff(corners.mean(axis=1), axis=0), axis=1).mean()
    for squeezed in (False, True):
        found, near = gather(points, sketch, pitch, squeezed)
        assert np.abs(found - corners).max() < 1.5
        assert near.min() > 0.2
    true, mine = (challenge_angles(c, 1024) for c in (corners, found))
    assert mine.major_deg == pytest.approx(true.major_deg, abs=0.7)


def test_squeezed_vertebrae_lie_between_their_neighbours(items: list[FilmItem]) -> None:
    corners = items[1].corners
    bent = corners.copy()
    bent[6, :2, 0] += 40.0  # its upper endplate slid aside: a parallelogram
    mended = without_squeezed(bent)
    assert np.array_equal(np.delete(mended, 6, axis=0), np.delete(corners, 6, axis=0))
    assert np.allclose(mended[6], (corners[5] + corners[7]) / 2)


def test_results_vote_on_the_end_vertebrae(items: list[FilmItem]) -> None:
    one, other = items[0].corners, items[0].corners.copy()
    true = challenge_angles(one, 1024)
    hi, _ = true.major_pair
    side = other[hi] - other[hi].mean(axis=0)
    turn = np.radians(30.0)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    other[(hi + 4) % 17] = side @ matrix + other[(hi + 4) % 17].mean(axis=0)
    assert challenge_angles(other, 1024).major_pair != true.major_pair
    found = voted([one, one, other], 1024)
    assert found[0] == pytest.approx(true.major_deg, abs=1e-6)
    assert fair(one)
    crushed = one.copy()
    crushed[:, 1, 1] = crushed[:, 3, 1] - 1.0
    assert not fair(crushed)


def test_loss_is_small_for_what_is_true(items: list[FilmItem]) -> None:
    frames, _, _ = all_patches(np.full(17, 1.27), items[0].corners)
    every = np.broadcast_to(items[0].corners.reshape(1, -1, 2), (len(frames.center), 68, 2))
    local = torch.as_tensor(frames.to_local(every), dtype=torch.float32).view(-1, 17, 4, 2)
    known = _Corners(items[0].corners, frames).maps
    right, parts = close_loss(known, local)
    wrong, _ = close_loss(known.flip(-1), local)
    assert parts["off"] < 0.02
    assert right < 0.6 * wrong


def test_the_loss_falls(items: list[FilmItem]) -> None:
    torch.manual_seed(0)
    made = KeyPoints()
    SYSTEM.begin(made, None)
    batch = SystemBatches(SYSTEM, items, SystemTraining(films=2)).batch(0)
    assert batch["seen"].shape == (8, 2, 96, 96)
    assert batch["local"].shape == (8, 17, 4, 2)
    assert batch["boxed"].shape == (10, 2, 96, 96)
    assert batch["inside"].shape == (10, 1, 4, 2)
    assert batch["inside"].abs().max() < 1.3  # jittered, but about the vertebra itself
    optimizer = torch.optim.Adam([p for p in made.parameters() if p.requires_grad], 1e-3)
    losses = []
    for _ in range(3):
        loss, _ = SYSTEM.loss(made, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]


class _Known(torch.nn.Module):
    """Sketches a film's corners; a fresh detector that sees no vertebra."""

    def __init__(self, network: KeyPoints, heat: torch.Tensor) -> None:
        super().__init__()
        self.patch, self.look, self.detect, self.heat = (
            network.patch, network.look, network.detect, heat,
        )  # fmt: skip
        self.trunk = network.trunk

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, Found]:
        return self.heat, self.detect(self.trunk(image), image)


def test_boxes_are_drawn_and_missing_ones_cost_no_answer(
    items: list[FilmItem], network: KeyPoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = items[0].picture
    sight = Sight(picture, *canvas_image(picture), Settings())
    corners = sight.to_canvas(items[0].corners)
    cells = torch.as_tensor((corners.reshape(1, 68, 2) + 0.5) / 4 - 0.5, dtype=torch.float32)
    known = _Known(network, torch.log(gaussians(cells, 128, 64, 1.2) + 1e-6))
    with torch.inference_mode():
        none = SYSTEM.answer(known, sight)  # type: ignore[arg-type]
        seen = np.delete(boxes_of(corners), 5, axis=0)
        monkeypatch.setattr("spineseg.systems.keypoints.detected", lambda found: (seen, seen[:, 0]))
        most = SYSTEM.answer(known, sight)  # type: ignore[arg-type]
        off = SYSTEM.answer(known, replace(sight, settings=Settings(boxes=False)))  # type: ignore[arg-type]
    assert none is not None
    assert none.corners is not None
    assert "boxes" not in [mark.name for mark in none.marks]
    assert most is not None
    assert off is not None
    drawn = next(mark for mark in most.marks if mark.name == "boxes")
    assert drawn.points_px.shape == (16, 4, 2)
    assert np.allclose(drawn.points_px[:, 0], seen[:, :2])
    assert np.allclose(drawn.points_px[:, 2], seen[:, 2:])
    assert "boxes" not in [mark.name for mark in off.marks]


def test_no_spine_gives_no_answer(items: list[FilmItem], network: KeyPoints) -> None:
    sight = Sight(items[0].picture, *canvas_image(items[0].picture), Settings())
    blind = _Known(network, torch.zeros(1, 68, 128, 64))
    with torch.inference_mode():
        assert SYSTEM.answer(blind, sight) is None  # type: ignore[arg-type]
