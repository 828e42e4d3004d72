"""Steadied vertebrae: their wedges are drawn to what is usual at their level, and no farther."""

from __future__ import annotations

import numpy as np
import pytest
from spineseg.measure.endplates import BodyFrame, Endplate
from spineseg.measure.spine_angles import maximum_curvature, tilt_deg
from spineseg.measure.steady import steadied, usual_half_wedge


def column(half_deg: dict[str, float], aside: bool = False) -> list[BodyFrame]:
    """Upright vertebrae, 30 mm apart, wedged by twice this: low in front, or on the right."""
    frames = []
    for n, (name, half) in enumerate(half_deg.items()):
        lean = np.sin(np.radians(half)) * np.array([1.0, 0.0, 0.0] if aside else [0.0, 1.0, 0.0])
        up = np.array([0.0, 0.0, np.cos(np.radians(half))])
        centre = np.array([0.0, 0.0, -30.0 * n])
        plates = [Endplate(centre + (0, 0, 10.0 * s), up + s * lean, 0.3) for s in (1.0, -1.0)]
        half_mm = np.array([18.0, 14.0, 10.0])
        frames.append(BodyFrame(n + 1, name, centre, *plates, np.eye(3), half_mm, True))
    return frames


def half_wedges(frames: list[BodyFrame], plane: float = 90.0) -> np.ndarray:
    upper, lower = (np.array([getattr(f, e).normal for f in frames]) for e in ("upper", "lower"))
    return (tilt_deg(upper, plane) - tilt_deg(lower, plane)) / 2


def test_the_thorax_is_low_in_front_and_l5_behind() -> None:
    assert 0.3 < np.degrees(usual_half_wedge("T8")) < 2.0
    assert np.degrees(usual_half_wedge("L5")) < -1.0
    assert usual_half_wedge("unsure 3") == 0.0


def test_bumps_are_taken_for_the_usual_wedge_of_the_level() -> None:
    usual = np.degrees([usual_half_wedge(f"T{n}") for n in range(6, 11)])
    bumps = np.array([0.6, -0.6, 0.3, -0.4, 0.6])
    seen = {f"T{n}": float(v) for n, v in zip(range(6, 11), usual + bumps, strict=True)}
    found = half_wedges(steadied(column(seen)))
    assert np.abs(found - usual).max() < 0.15


def test_a_fractured_vertebra_keeps_its_wedge() -> None:
    seen = {"T11": 1.0, "T12": 9.0, "L1": 0.5}
    found = half_wedges(steadied(column(seen)))
    assert found[1] == pytest.approx(9.0, abs=0.5)


@pytest.mark.parametrize("names", [("unsure 1", "unsure 2", "unsure 3"), ("T7", "T8", "T9")])
def test_sideways_and_where_levels_are_unsure_even_vertebrae_are_usual(names: tuple) -> None:
    aside = names[0].startswith("T")
    found = half_wedges(steadied(column(dict.fromkeys(names, 0.5), aside)), 0.0 if aside else 90.0)
    assert np.abs(found).max() < 0.15


def test_the_plane_of_maximum_curvature_is_the_best_of_all() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        upper, lower = rng.normal([0.0, 0.0, 1.0], [0.3, 0.3, 0.05], (2, 3))
        found = maximum_curvature(upper, lower)
        both = np.stack([upper, lower])
        tried = [abs(float(np.diff(tilt_deg(both, p))[0])) for p in np.arange(-90.0, 90.0, 0.5)]
        assert found.angle_deg == pytest.approx(max(tried), abs=1e-9)
        assert tried[round((found.plane_deg + 90) * 2)] == pytest.approx(max(tried), abs=1e-9)
