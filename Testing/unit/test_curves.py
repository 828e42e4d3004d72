"""A curve through points: its length, places, directions and nearest places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from spineseg.errors import InputError
from spineseg.geometry.curves import Curve


def spine(seed: int, count: int) -> np.ndarray:
    """Points like vertebral centres: 15–35 mm apart, from the head down, wavy."""
    rng = np.random.default_rng(seed)
    height = -np.cumsum(rng.uniform(15, 35, count))
    phase = rng.uniform(0, 6, 2)
    side = rng.uniform(0, 25) * np.sin(height / 90 + phase[0])
    front = rng.uniform(0, 35) * np.sin(height / 110 + phase[1])
    return np.stack([side, front, height], axis=1)


spines = st.builds(spine, st.integers(0, 10_000), st.integers(2, 24))


@given(spines)
def test_it_goes_through_its_points_at_unit_speed(points: np.ndarray) -> None:
    curve = Curve.through(points)
    np.testing.assert_allclose(curve.at(curve.knots), points, atol=2e-3)
    assert curve.knots[0] == 0
    assert curve.knots[-1] == curve.length
    straight = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert (np.diff(curve.knots) >= straight - 1e-6).all()
    s = np.linspace(0, curve.length, 5000)
    walked = np.linalg.norm(np.diff(curve.at(s), axis=0), axis=1).sum()
    assert walked == pytest.approx(curve.length, rel=1e-4)
    step = 0.01
    numeric = (curve.at(s + step) - curve.at(s)) / step
    np.testing.assert_allclose(np.linalg.norm(numeric, axis=1), 1, atol=2e-3)
    np.testing.assert_allclose(numeric, curve.tangent(s + step / 2), atol=2e-3)


def test_a_circle_has_its_known_length_and_curvature() -> None:
    radius = 120.0
    angle = np.radians(np.linspace(-70, 70, 15))
    points = radius * np.stack([np.zeros(15), np.cos(angle), np.sin(angle)], axis=1)
    curve = Curve.through(points)
    assert curve.length == pytest.approx(radius * np.radians(140), rel=1e-3)
    # The natural ends are straight; two spans further in that is forgotten.
    inner = np.linspace(0.2, 0.8, 31) * curve.length
    np.testing.assert_allclose(curve.curvature(inner), 1 / radius, rtol=0.02)
    along, distance = curve.nearest(np.zeros((1, 3)))
    # The nearest place is an end, flattened a little.
    assert distance[0] == pytest.approx(radius, rel=2e-3)
    assert 0 <= along[0] <= curve.length
    assert curve.curvature([-1.0, curve.length + 1]).tolist() == [0, 0]


@given(spines, st.integers(0, 10_000))
def test_nearest_undoes_a_step_aside(points: np.ndarray, seed: int) -> None:
    curve = Curve.through(points)
    rng = np.random.default_rng(seed)
    s = rng.uniform(0, curve.length, 20)
    frames = curve.frame(s)
    # Well inside the radius of curvature, where the nearest place is the one stepped from.
    aside = rng.uniform(-5, 5, (20, 2))
    away = curve.at(s) + np.einsum("ncd,nd->nc", frames[:, :, :2], aside)
    along, distance = curve.nearest(away)
    tight = curve.curvature(s) > 0.05
    np.testing.assert_allclose(along[~tight], s[~tight], atol=0.01)
    size = np.linalg.norm(aside, axis=1)
    np.testing.assert_allclose(distance[~tight], size[~tight], atol=0.01)
    assert (distance <= size + 1e-3).all()


@given(spines)
def test_no_sample_is_nearer_than_nearest(points: np.ndarray) -> None:
    curve = Curve.through(points)
    far = points + [40.0, -25.0, 10.0]
    along, distance = curve.nearest(far)
    np.testing.assert_allclose(np.linalg.norm(curve.at(along) - far, axis=1), distance, atol=1e-9)
    samples = curve.at(np.linspace(0, curve.length, 2000))
    least = np.linalg.norm(samples[None] - far[:, None], axis=2).min(axis=1)
    assert (distance <= least + 1e-6).all()


@settings(max_examples=30)
@given(spines, st.tuples(*[st.floats(-180, 180)] * 3))
def test_turning_the_points_turns_the_curve(
    points: np.ndarray, angles: tuple[float, float, float]
) -> None:
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    curve, turned = Curve.through(points), Curve.through(points @ turn.T)
    assert turned.length == pytest.approx(curve.length)
    s = np.linspace(-20, curve.length + 20, 40)
    np.testing.assert_allclose(turned.at(s), curve.at(s) @ turn.T, atol=1e-6)
    expected = turn @ curve.frame(s)
    np.testing.assert_allclose(turned.frame(s, turn[:, 0]), expected, atol=1e-6)


def test_frames_are_anatomical_rotations() -> None:
    curve = Curve.through(spine(1, 20))
    frames = curve.frame(np.linspace(0, curve.length, 30))
    np.testing.assert_allclose(np.linalg.det(frames), 1)
    np.testing.assert_allclose(
        np.swapaxes(frames, 1, 2) @ frames, np.broadcast_to(np.eye(3), (30, 3, 3)), atol=1e-12
    )
    down = Curve.through([[0, 0, 0], [0, 0, -50]])
    across, aside, tangent = down.frame(10.0).T
    np.testing.assert_allclose(across, [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(aside, [0, -1, 0], atol=1e-9)
    np.testing.assert_allclose(tangent, [0, 0, -1], atol=1e-9)
    with pytest.raises(ValueError, match="reference"):
        down.frame(10.0, reference=(0, 0, 1))


def test_beyond_the_ends_it_goes_on_straight() -> None:
    curve = Curve.through([[0, 0, 0], [0, 0, -30], [0, 10, -60], [0, 12, -90]])
    end = curve.at(curve.length)
    np.testing.assert_allclose(
        curve.at(curve.length + 7), end + 7 * curve.tangent(curve.length), atol=1e-9
    )
    np.testing.assert_allclose(curve.at(-7), -7 * curve.tangent(0), atol=1e-9)
    assert curve.nearest([[0, 0, 50]])[0][0] == 0
    assert curve.nearest(np.zeros((0, 3)))[0].shape == (0,)


@pytest.mark.parametrize(
    "points",
    [
        [[0, 0, 0]],
        [[0, 0], [1, 1]],
        [[0, 0, 0], [0, 0, 0], [1, 1, 1]],
        [[0, 0, 0], [0, np.nan, 1]],
        [0, 1, 2],
    ],
)
def test_points_without_a_curve_are_refused(points: list[list[float]]) -> None:
    with pytest.raises(InputError, match="curve"):
        Curve.through(points)
