"""Films that lie on a side or upside down are measured as if they stood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from madeupspine import LEVELS, bent, corners_of
from spineseg.io.films import Film
from spineseg.measure.film import CHALLENGE_LEVELS, measure_film
from spineseg.measure.upright import quarters_to_upright, turned_points
from spineseg.methods.film_result import LATERAL, FilmResult

FILM = Film(np.arange(1000 * 600, dtype=np.float32).reshape(1000, 600))
THREE = corners_of(bent((0, 5), (3, -10), (9, 20), (14, -12), (16, -6)))


def turned(points: np.ndarray, film: Film, quarters: int) -> tuple[np.ndarray, Film]:
    moved = turned_points(points, (film.width_px, film.height_px), quarters)
    return moved, replace(film, array=np.rot90(film.array, quarters))


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_points_go_with_the_pixels(quarters: int) -> None:
    points = np.array([[7.0, 3.0], [599.0, 0.0], [120.0, 999.0]])
    moved, film = turned(points, FILM, quarters)
    values = [FILM.array[int(y), int(x)] for x, y in points]
    assert [film.array[int(y), int(x)] for x, y in moved] == values
    back = turned_points(moved, (film.width_px, film.height_px), -quarters)
    np.testing.assert_allclose(back, points)
    assert quarters_to_upright(turned(THREE[:, 0], FILM, quarters)[0]) == -quarters % 4


def test_a_steep_part_of_a_spine_is_not_turned() -> None:
    assert quarters_to_upright(np.array([[0.0, 0.0], [30.0, 20.0]])) == 0
    assert quarters_to_upright(np.array([[0.0, 0.0], [np.nan, 1.0]])) == 0


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_frontal_film_has_the_angles_of_the_upright_one(quarters: int) -> None:
    upright = measure_film(FilmResult(CHALLENGE_LEVELS, THREE), FILM)
    assert upright.angles_deg["lower"] > 1
    corners, film = turned(THREE, FILM, quarters)
    found = measure_film(FilmResult(CHALLENGE_LEVELS, corners), film)
    assert found.angles_deg == pytest.approx(upright.angles_deg)
    for row, other in zip(found.curves(), upright.curves(), strict=True):
        assert row == {**other, "angle_deg": pytest.approx(other["angle_deg"], abs=0.01)}
    np.testing.assert_allclose(found.corners_px, corners, atol=1e-9)
    line = measure_film(FilmResult(centreline_px=corners.mean(axis=1)), film)
    straight = measure_film(FilmResult(centreline_px=THREE.mean(axis=1)), FILM)
    assert line.angles_deg == pytest.approx(straight.angles_deg)


@pytest.mark.parametrize(("quarters", "side"), [(0, "left"), (2, "right"), (1, None)])
def test_the_patients_side_turns_with_the_film(quarters: int, side: str | None) -> None:
    right = corners_of(bent((0, -20), (16, 20)))  # bulges to the right of the upright picture
    corners, film = turned(right, FILM, quarters)
    # The left edge of the file is the patient's right; upside down that edge is on the right.
    row = measure_film(FilmResult(LEVELS, corners), replace(film, left_is="R")).curves()[0]
    assert (row["convex"], row["convex_to_patients"]) == ("right", side)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_turned_lateral_film_has_its_kyphosis_and_balance(quarters: int) -> None:
    levels = ("C7", "T4", "T12", "L1", "sacrum")
    tilts = np.radians([0.0, 25.0, -12.0, -15.0, 38.0])
    front = np.stack([np.cos(tilts), np.sin(tilts)], axis=1)
    back = np.stack([[330.0, 300.0, 290.0, 300.0, 300.0], 100.0 + 180.0 * np.arange(5)], axis=1)
    down = np.array([0.0, 30.0])
    corners = np.stack([back, back + 40 * front, back + down, back + 40 * front + down], axis=1)
    corners[-1, 2:] = np.nan
    tall = replace(FILM, spacing_mm=(0.2, 0.4), pixel_aspect=0.5)
    upright = measure_film(FilmResult(levels, corners, view=LATERAL), tall).sagittal
    assert (upright.kyphosis_deg, upright.lordosis_deg) > (10, 10)
    moved, film = turned(corners, tall, quarters)
    if quarters % 2:
        film = replace(film, spacing_mm=(0.4, 0.2), pixel_aspect=2.0)
    found = measure_film(FilmResult(levels, moved, view=LATERAL), film).sagittal
    assert found.kyphosis_deg == pytest.approx(upright.kyphosis_deg)
    assert found.lordosis_deg == pytest.approx(upright.lordosis_deg)
    assert found.sva_mm == pytest.approx(upright.sva_mm)
    assert found.faces == "right"
