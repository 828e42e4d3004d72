"""Seg4Reg: masks of corners, the regression on them, equalised histograms, and adaptation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from spineseg.errors import InputError
from spineseg.measure.cobb import challenge_angles
from spineseg.methods.film_picture import CANVAS
from spineseg.methods.film_windows import canvas_image
from spineseg.progress import Progress
from spineseg.systems.angles_head import Found, angle_loss, by_rule, smape, targets_of
from spineseg.systems.masks import bent_corners, drawn_targets, map_mark, vertebrae_and_gaps
from spineseg.systems.regressor import DenseRegressor
from spineseg.systems.seg4reg import SYSTEM, Seg4RegNetwork, Settings, _Reversed, equalised
from spineseg.systems.system import Sight
from spineseg.training.film_data import FilmItem
from spineseg.training.film_systems import SystemBatches, SystemTraining, fit_system
from tinyfilm import drawn_items


@pytest.fixture(scope="module")
def items() -> list[FilmItem]:
    return drawn_items(3)


def _corners(tilts_deg: np.ndarray, wide: float = 40.0, columns: int = 256) -> np.ndarray:
    """A column of vertebrae with these tilts, that leans with them."""
    tilts = np.radians(tilts_deg)
    y = np.linspace(30, 480, len(tilts))
    x = columns / 2 - np.cumsum(np.tan(tilts)) * (y[1] - y[0])
    middle = np.stack([x, y], axis=1)[:, None]
    right = np.stack([np.cos(tilts), np.sin(tilts)], axis=1)[:, None] * wide / 2
    down = np.stack([-np.sin(tilts), np.cos(tilts)], axis=1)[:, None] * 10
    return np.concatenate(
        [
            middle - right - down,
            middle + right - down,
            middle - right + down,
            middle + right + down,
        ],
        axis=1,
    )


@pytest.mark.parametrize(
    "tilts",
    [
        20 * np.sin(np.linspace(-1.4, 1.4, 17)),
        25 * np.sin(np.linspace(-4.0, 3.2, 17)),
        25 * np.sin(np.linspace(0.3, 7.0, 17)) * np.linspace(0.3, 1.2, 17),
        25 * np.sin(np.linspace(-1.0, 6.0, 17)) * np.linspace(1.2, 0.3, 17),
    ],
)
def test_the_rule_gives_the_angles_of_the_case_that_the_corners_are(tilts: np.ndarray) -> None:
    wanted = targets_of(_corners(tilts), CANVAS)
    found = by_rule(wanted["tilts"])[0, int(wanted["case"][0])]
    assert torch.allclose(wanted["tilts"][0].double(), torch.as_tensor(tilts), atol=1e-3)
    assert torch.allclose(found, wanted["angles"][0], atol=1e-3)


def test_both_cases_of_an_s_are_told_from_one_bow() -> None:
    bow = np.sin(np.linspace(-1.4, 1.4, 17))
    above = np.sin(np.linspace(-1, 6, 17)) * np.linspace(1.2, 0.3, 17)
    below = np.sin(np.linspace(0.3, 7, 17)) * np.linspace(0.3, 1.2, 17)
    tilts = [20 * t for t in (bow, above, below)]
    cases = [int(targets_of(_corners(t), CANVAS)["case"][0]) for t in tilts]
    assert cases == [0, 1, 2]


def test_smape_is_the_challenges() -> None:
    found, wanted = torch.tensor([[30.0, 10.0, 20.0]]), torch.tensor([[20.0, 20.0, 20.0]])
    assert float(smape(found, wanted)) == pytest.approx(20 / 120)


def test_masks_hold_vertebrae_and_the_gaps_between_them() -> None:
    corners = _corners(np.zeros(17))
    mask = vertebrae_and_gaps(corners, CANVAS)
    assert mask.shape == (1, 2, 256, 128)
    bone, gap = mask[0].sum((1, 2)).tolist()
    assert bone * 4 == pytest.approx(17 * 41 * 21, rel=0.06)
    step = corners[1, 0, 1] - corners[0, 0, 1]
    assert gap * 4 == pytest.approx(16 * 41 * (step - 20), rel=0.12)
    assert float(mask.sum(1).max()) <= 1.0


def test_drawn_corners_stay_vertebrae(items: list[FilmItem]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        corners = bent_corners(items[0], rng, CANVAS)
        assert corners.shape == (17, 4, 2)
        assert (corners[:, 1, 0] > corners[:, 0, 0]).all()
        assert (np.diff(corners.mean(axis=1)[:, 1]) > 0).all()


def test_a_map_is_drawn_where_it_was_seen() -> None:
    values = torch.zeros(256, 128)
    values[100:104, 40:44] = 1.0
    mark = map_mark("mask", values, CANVAS)
    assert mark.values is not None
    assert mark.values.shape == (128, 64)
    at = np.argwhere(mark.values > 128).mean(axis=0)[::-1]
    step = (mark.points_px[1] - mark.points_px[0]) / (np.array([64, 128]) - 1)
    assert np.allclose(mark.points_px[0] + at * step, [41.5 * 2 + 0.5, 101.5 * 2 + 0.5])


def test_brightness_of_a_film_does_not_matter_after_equalising() -> None:
    torch.manual_seed(0)
    film = torch.randn(2, 1, 64, 64).cumsum(2) / 5
    one, other = equalised(film), equalised((film * 0.3).exp() + 4)
    assert float((one - other).abs().mean()) < 0.1
    assert float(one.mean().abs()) < 0.15
    assert float(one.std()) == pytest.approx(1.0, abs=0.15)


def test_gradients_of_the_domain_are_turned_round() -> None:
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    (_Reversed.apply(values) * torch.tensor([3.0, -1.0])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [-3.0, 1.0]


def test_the_regression_learns_from_drawn_masks_alone(items: list[FilmItem]) -> None:
    torch.manual_seed(0)
    network = DenseRegressor(2)
    rng = np.random.default_rng(0)
    drawn = drawn_targets(items[0], "mask", vertebrae_and_gaps, CANVAS, rng, 3)
    wanted = {name.removeprefix("drawn_"): value for name, value in drawn.items()}
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    losses = []
    for _ in range(8):
        loss, _ = angle_loss(network(wanted["mask"]), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-3:]) < 0.9 * losses[0]


def test_the_mask_is_learned_and_the_domain_takes_part(items: list[FilmItem]) -> None:
    torch.manual_seed(0)
    network = Seg4RegNetwork()
    settings = SystemTraining(films=1)
    batch = SystemBatches(SYSTEM, items[:2], settings, digital=items[2:]).batch(0)
    assert batch["mask"].shape == (1, 2, 256, 128)
    assert batch["drawn_mask"].shape == (3, 2, 256, 128)
    assert batch["drawn_angles"].shape == (3, 3)
    assert batch["other"].shape == (1, 1, *CANVAS)
    found = challenge_angles(np.zeros((17, 4, 2)) + _corners(np.linspace(-9, 9, 17)), 512)
    assert found.major_deg == pytest.approx(18)
    free = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(free, 2e-3)
    losses = []
    for _ in range(3):
        loss, parts = SYSTEM.loss(network, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(parts)
    assert losses[-1]["mask"] < 0.95 * losses[0]["mask"]
    assert "domain" in losses[0]


class _Known(torch.nn.Module):
    """A network that saw what it is told."""

    def __init__(self, mask: torch.Tensor, angles: list[float]) -> None:
        super().__init__()
        none = torch.zeros(1, 17)
        self.mask = mask
        self.found = Found(torch.tensor([angles]), none, none[:, :3], none[..., None, None])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, Found]:
        return self.mask, self.found


def test_small_angles_are_put_out_as_nothing(items: list[FilmItem]) -> None:
    sight: Any = (items[0].picture, *canvas_image(items[0].picture))
    known = _Known(vertebrae_and_gaps(_corners(np.zeros(17)), CANVAS), [30.0, 3.5, 4.5])
    found = SYSTEM.answer(known, Sight(*sight, Settings(zero_below_deg=4.0)))
    assert found is not None
    assert found.angles is not None
    assert found.angles.tolist() == [30.0, 0.0, 4.5]
    found = SYSTEM.answer(known, Sight(*sight, Settings()))
    assert found is not None
    assert found.angles is not None
    assert found.angles.tolist() == [30.0, 3.5, 4.5]
    assert [m.name for m in found.marks] == ["vertebrae", "gaps"]


def test_no_vertebrae_give_no_answer(items: list[FilmItem]) -> None:
    sight: Any = (items[0].picture, *canvas_image(items[0].picture))
    empty = _Known(torch.zeros(1, 2, 256, 128), [30.0, 3.5, 4.5])
    assert SYSTEM.answer(empty, Sight(*sight)) is None


def test_only_a_system_that_adapts_takes_films_of_another_kind(tmp_path: Any) -> None:
    from spineseg.systems.multitask import SYSTEM as OTHER

    with pytest.raises(InputError, match="does not adapt"):
        fit_system(OTHER, tmp_path, {"output": tmp_path / "o", "digital": tmp_path}, Progress())
