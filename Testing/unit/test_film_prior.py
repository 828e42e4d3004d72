"""Tilts of endplates, weighed with what is usual."""

from __future__ import annotations

import numpy as np
import pytest
from spineseg.methods.film_prior import plate_tilts, settled, tilt_statistics


def spine(tilts_deg: np.ndarray, facing: float = 1.0) -> np.ndarray:
    """Corners (n, 4, 2) of vertebrae whose endplates (2 n) tilt so."""
    n = len(tilts_deg) // 2
    angle = np.radians(tilts_deg).reshape(n, 2)
    half = 20 * np.stack([np.cos(angle) * facing, np.sin(angle)], axis=-1)
    middle = np.stack([np.full((n, 2), 100.0), 50.0 * np.arange(2 * n).reshape(n, 2)], axis=-1)
    return np.stack([middle - half, middle + half], axis=2).reshape(n, 4, 2)


@pytest.fixture
def usual() -> tuple[np.ndarray, np.ndarray]:
    """Smooth curves: one bend of any size, and a little of each endplate's own."""
    rng = np.random.default_rng(0)
    bends = np.sin(np.linspace(0, np.pi, 20)) * rng.normal(0, 15, (300, 1))
    return tilt_statistics([bends + rng.normal(0, 1, bends.shape)], mirrored=True)


def test_tilts_are_those_of_the_endplates_whichever_way_the_patient_faces() -> None:
    tilts = np.linspace(-30, 40, 20)
    np.testing.assert_allclose(plate_tilts(spine(tilts)), tilts)
    np.testing.assert_allclose(plate_tilts(spine(tilts, facing=-1.0)), tilts)
    corners = spine(tilts)
    corners[-1, 2:] = np.nan
    assert np.isnan(plate_tilts(corners)[-1])


def test_statistics_of_two_sources_count_alike() -> None:
    few, many = np.array([[10.0, np.nan]] * 2), np.array([[0.0, 4.0]] * 98)
    mean, spread = tilt_statistics([few, many], mirrored=False)
    np.testing.assert_allclose(mean, [5.0, 2.0])  # the second is not known in the first
    assert spread[0, 0] == pytest.approx(25.0)
    mean, spread = tilt_statistics([many], mirrored=True)
    np.testing.assert_allclose(mean, 0.0)
    assert spread[1, 1] == pytest.approx(16.0)


@pytest.mark.parametrize("facing", [1.0, -1.0])
def test_an_unsure_endplate_follows_the_others(usual, facing: float) -> None:
    true = 25 * np.sin(np.linspace(0, np.pi, 20))
    seen, sure = true.copy(), np.full(10, 0.9)
    seen[18:] += 40.0
    sure[9] = 0.1
    found = settled(spine(seen, facing), sure, *usual, noise_deg=3.0)
    tilts = plate_tilts(found)
    assert np.abs(tilts - true)[18:].max() < 8.0
    assert np.abs(tilts - true)[:18].max() < 3.0
    middles = spine(seen, facing).reshape(-1, 2, 2).mean(axis=1)
    np.testing.assert_allclose(found.reshape(-1, 2, 2).mean(axis=1), middles)
    across = found[:, [1, 3]] - found[:, [0, 2]]
    np.testing.assert_allclose(np.linalg.norm(across, axis=-1), 40.0)


def test_without_noise_nothing_moves_and_the_unknown_stays_unknown(usual) -> None:
    corners = spine(np.linspace(-20, 20, 20))
    np.testing.assert_array_equal(settled(corners, np.full(10, 0.5), *usual, 0.0), corners)
    corners[0, :2] = np.nan
    found = settled(corners, np.full(10, 0.5), *usual, 2.0)
    assert np.isnan(found[0, :2]).all()
    assert np.isfinite(found[1:]).all()
