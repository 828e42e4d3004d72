"""Boxes of vertebrae: what the detector is told and says, which boxes stay, corners in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.apps.detection.utils.box_coder import BoxCoder
from monai.data.box_utils import box_iou
from spineseg.methods.film_windows import canvas_image
from spineseg.systems.boxes import (
    Detector,
    Found,
    HighResolution,
    boxes_of,
    corners_in,
    detected,
    detector_loss,
    frames_on,
    in_line,
    look,
    seventeen,
)
from spineseg.systems.keypoints import Settings
from spineseg.systems.patches import Close, close_loss
from spineseg.systems.system import Sight
from spineseg.systems.trunk import Trunk
from spineseg.training.film_data import FilmItem
from spineseg.training.film_losses import gaussians
from tinyfilm import drawn_items


@pytest.fixture(scope="module")
def item() -> FilmItem:
    return drawn_items(1)[0]


@pytest.fixture(scope="module")
def sight(item: FilmItem) -> Sight:
    return Sight(item.picture, *canvas_image(item.picture), Settings())


@pytest.fixture(scope="module")
def corners(item: FilmItem, sight: Sight) -> np.ndarray:
    return sight.to_canvas(item.corners)


@pytest.fixture(scope="module")
def blank(sight: Sight) -> Found:
    """What a fresh detector says of the film."""
    torch.manual_seed(0)
    with torch.no_grad():
        return Detector()(Trunk()(sight.image), sight.image)


def told(blank: Found, boxes: np.ndarray) -> Found:
    """The detector's words for boxes (n, 4): each anchor says the one that it overlaps most."""
    true = torch.as_tensor(boxes, dtype=torch.float32)
    overlap, which = box_iou(true, blank.anchors).max(dim=0)
    codes = BoxCoder((1.0, 1.0, 1.0, 1.0)).encode_single(true[which], blank.anchors)
    best = overlap >= box_iou(true, blank.anchors).max(dim=1).values[which]
    return blank._replace(logits=torch.where(best, 4.0, -8.0)[None], codes=codes[None])


def test_anchors_lie_on_the_canvas_as_the_maps_do(blank: Found) -> None:
    middles = (blank.anchors[:, :2] + blank.anchors[:, 2:]) / 2
    assert blank.logits.shape == (1, len(blank.anchors))
    assert blank.codes.shape == (1, len(blank.anchors), 4)
    assert blank.places == [64 * 32, 32 * 16]
    assert middles.amin(0).tolist() == [4.0, 4.0]
    assert middles.amax(0).tolist() == [256 - 4.0, 512 - 4.0]  # columns first
    assert middles[1].tolist() == [12.0, 4.0]  # the next column, not the next row


def test_every_vertebra_has_anchors_to_learn_from(blank: Found, corners: np.ndarray) -> None:
    boxes = boxes_of(torch.as_tensor(corners, dtype=torch.float32))[None]
    assert np.allclose(boxes[0].numpy(), boxes_of(corners), atol=1e-4)
    right = [float(part) for part in detector_loss(told(blank, boxes_of(corners)), boxes)]
    fresh = [float(part) for part in detector_loss(blank, boxes)]
    moved = [float(part) for part in detector_loss(told(blank, boxes_of(corners) + 9.0), boxes)]
    assert right[1] < 0.01 < fresh[1]
    assert moved[1] > 5 * right[1]
    # All anchors that it asks for, and no others, are vertebrae.
    asked = torch.autograd.functional.jacobian(
        lambda logits: detector_loss(blank._replace(logits=logits), boxes)[0], blank.logits
    )
    near = blank.anchors[(asked[0] < 0)]
    assert len(near) >= 2 * 17
    assert (box_iou(near, boxes[0]).amax(1) > 0.3).all()
    assert (box_iou(boxes[0], near).amax(1) > 0.4).all()


def test_the_detectors_loss_falls(sight: Sight, corners: np.ndarray) -> None:
    torch.manual_seed(0)
    trunk, detector = Trunk(), Detector()
    boxes = boxes_of(torch.as_tensor(corners, dtype=torch.float32))[None]
    maps = trunk(sight.image)
    optimizer = torch.optim.Adam(detector.parameters(), 2e-3)
    losses = []
    for _ in range(3):
        loss = sum(detector_loss(detector(maps, sight.image), boxes))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_perfect_boxes_are_found_and_kept(blank: Found, corners: np.ndarray) -> None:
    true = boxes_of(corners)
    boxes, scores = detected(told(blank, true))
    assert np.allclose(boxes, true, atol=0.01)
    assert (scores > 0.9).all()
    assert in_line(boxes).all()
    assert np.array_equal(seventeen(boxes, corners + 3.0)[0], boxes)


def test_nothing_seen_gives_no_boxes(blank: Found, corners: np.ndarray) -> None:
    boxes, scores = detected(blank)
    assert boxes.shape == (0, 4)
    assert not len(scores)
    assert not len(in_line(boxes))
    made, seen = seventeen(boxes, corners)
    assert np.array_equal(made, boxes_of(corners))
    assert not seen.any()


def test_boxes_between_two_or_beside_the_spine_are_dropped(corners: np.ndarray) -> None:
    true = boxes_of(corners)
    true[8] += [0, -4, 0, 6]  # tall neighbours, so that one between overlaps both
    true[9] += [0, -6, 0, 4]
    between = (true[8] + true[9]) / 2
    rows = np.insert(true, 9, between, axis=0)
    assert np.flatnonzero(~in_line(rows)).tolist() == [9]
    wide = true[:, 2] - true[:, 0]
    beside = true[4] + [2 * wide[4], 3.0, 2 * wide[4], 3.0]
    rows = np.insert(true, 5, beside, axis=0)
    assert np.flatnonzero(~in_line(rows)).tolist() == [5]


def test_a_gap_costs_neither_neighbour(corners: np.ndarray) -> None:
    true = np.delete(boxes_of(corners), [6, 7], axis=0)
    assert in_line(true).all()


def test_vertebrae_without_a_box_take_the_sketchs_place(corners: np.ndarray) -> None:
    true, sketch = boxes_of(corners), corners + np.array([2.0, -3.0])
    made, seen = seventeen(np.delete(true, [0, 9], axis=0), sketch)
    assert np.flatnonzero(~seen).tolist() == [0, 9]
    assert np.array_equal(made[seen], true[seen])
    assert np.array_equal(made[~seen], boxes_of(sketch)[~seen])
    # One too many: below L5, where the sketch has nothing.
    step = true[-1] - true[-2]
    made, seen = seventeen(np.append(true, [true[-1] + step], axis=0), sketch)
    assert seen.all()
    assert np.array_equal(made, true)


def test_corners_are_read_from_perfect_maps(
    item: FilmItem, sight: Sight, corners: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = boxes_of(corners) + np.array([1.5, -1.0, 0.5, 2.0])
    frames = frames_on(sight.to_prepared(boxes.reshape(-1, 2, 2)).reshape(-1, 4))
    local = torch.as_tensor(frames.to_local(item.corners), dtype=torch.float32)
    maps = torch.log(gaussians((local + 1) * 24 - 0.5, 48, 48, 1.5) + 1e-6)
    assert (local.abs() < 0.94).all()  # the windows show whole vertebrae
    shown: list[torch.Tensor] = []

    def known(network: object, patch: object, seen: torch.Tensor) -> torch.Tensor:
        shown.append(seen)
        return maps

    monkeypatch.setattr("spineseg.systems.boxes.look", known)
    found = corners_in(HighResolution(), Close(4), sight, boxes)
    assert shown[0].shape == (17, 2, 96, 96)
    assert np.abs(found - corners).max() < 0.2


def test_streams_keep_their_grids_and_the_loss_falls(item: FilmItem) -> None:
    torch.manual_seed(0)
    network, patch = HighResolution(), Close(4)
    frames = frames_on(boxes_of(item.corners))
    local = torch.as_tensor(frames.to_local(item.corners), dtype=torch.float32)[:2, None]
    seen = torch.randn(2, 2, 96, 96)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    losses = []
    for _ in range(4):
        maps = look(network, patch, seen)
        loss, _ = close_loss(maps, local)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert maps.shape == (2, 4, 48, 48)
    assert losses[-1] < 0.95 * losses[0]
    assert all(p.grad is not None for p in network.parameters())
    assert all(p.grad is None for p in patch.parameters())  # what the patches' network saw is given
