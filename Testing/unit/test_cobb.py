"""Cobb angles of films: the challenge's rule, the clinician's, lines, lateral films, doubts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from madeupspine import LEVELS, bent, corners_of, mirrored
from spineseg.errors import InputError, SpineSegError
from spineseg.io.films import Film
from spineseg.measure.centreline import centreline_curves, corners_of_centreline
from spineseg.measure.cobb import challenge_angles, middles
from spineseg.measure.cobb_clinical import clinical_angles
from spineseg.measure.corner_check import corner_doubts
from spineseg.measure.film import CHALLENGE_LEVELS, measure_film
from spineseg.measure.sagittal import sagittal_angles
from spineseg.methods.film_result import LATERAL, FilmResult

TALL = 1000.0
ONE_BEND = bent((0, 18), (16, -18))
THREE = bent((0, 5), (3, -10), (9, 20), (14, -12), (16, -6))
FILM = Film(np.arange(1000 * 600, dtype=np.float32).reshape(1000, 600))


def three(tilts: np.ndarray, height: float = TALL) -> tuple[float, float, float]:
    found = challenge_angles(corners_of(tilts), height)
    return found.major_deg, found.upper_deg, found.lower_deg


def test_a_straight_spine_has_no_angle() -> None:
    assert three(np.full(17, 4.0)) == pytest.approx((0, 0, 0), abs=1e-6)


def test_one_bend_gives_its_angle_between_the_ends() -> None:
    found = challenge_angles(corners_of(ONE_BEND), TALL)
    assert found.major_pair == (0, 16)
    assert not found.s_shaped
    assert (found.major_deg, found.upper_deg, found.lower_deg) == pytest.approx((36, 0, 0))


def test_without_an_s_the_ends_are_measured_from_the_first_and_the_last() -> None:
    tilts = bent((0, 10), (3, 18), (13, -18), (16, -12))
    found = challenge_angles(corners_of(tilts), TALL)
    assert not found.s_shaped
    assert found.major_pair == (3, 13)
    assert found.upper_pair == (0, 3)
    assert found.lower_pair == (13, 16)
    assert (found.major_deg, found.upper_deg, found.lower_deg) == pytest.approx((36, 8, 6))


def test_an_s_takes_the_next_curves_by_its_place_in_the_picture() -> None:
    tilts = bent((0, 5), (3, -10), (9, 20), (14, -12), (16, -6))
    low = challenge_angles(corners_of(tilts), 1e6)
    assert low.s_shaped
    assert low.major_pair == (9, 14)
    assert low.upper_pair == (3, 9)
    assert (low.major_deg, low.upper_deg, low.lower_deg) == pytest.approx((32, 30, 6))
    # The same spine in the lower half of a picture: the third curve is looked for above.
    high = challenge_angles(corners_of(tilts), 10.0)
    assert high.lower_pair == (0, 3)
    assert (high.major_deg, high.upper_deg, high.lower_deg) == pytest.approx((32, 30, 15))


def test_the_last_but_one_middle_does_not_make_an_s() -> None:
    corners = corners_of(bent((0, 15), (16, -15)))
    assert not challenge_angles(corners, TALL).s_shaped
    chord = middles(corners)[-1] - middles(corners)[0]
    # The upper endplate of the last vertebra goes to the other side of the chord, others do not.
    across = np.array([chord[1], -chord[0]]) / np.linalg.norm(chord)
    bulge = np.sign((middles(corners)[16] - middles(corners)[0]) @ across)
    for step in (1, 30, 60):
        moved = corners.copy()
        moved[16, :2] -= step * bulge * across
        assert not challenge_angles(moved, TALL).s_shaped
    moved = corners.copy()
    moved[15, 2:] -= 60 * bulge * across
    assert challenge_angles(moved, TALL).s_shaped


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(st.floats(-30, 30), min_size=17, max_size=17),
    st.floats(-20, 20),
    st.floats(0.3, 3.0),
)
def test_major_is_the_same_for_a_turned_scaled_or_mirrored_film(tilts, turn, scale) -> None:
    corners = corners_of(np.array(tilts))
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = challenge_angles(corners, TALL).major_deg
    assert expected == pytest.approx(max(tilts) - min(tilts), abs=1e-6)
    turned = scale * corners @ rotation.T
    assert challenge_angles(turned, TALL).major_deg == pytest.approx(expected, abs=1e-6)
    assert challenge_angles(mirrored(corners), TALL).major_deg == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("count", [2, 5, 12, 24])
def test_any_number_of_vertebrae_is_measured(count: int) -> None:
    tilts = np.linspace(10, -10, count)
    assert three(tilts)[0] == pytest.approx(20)


@pytest.mark.parametrize(
    ("corners", "says"),
    [
        (corners_of(np.zeros(1)), "at least 2"),
        (np.zeros((17, 2)), "four"),
        (np.full((3, 4, 2), np.nan), "finite"),
        (np.zeros((3, 4, 2)), "coincide"),
    ],
)
def test_what_is_no_spine_is_refused(corners: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        challenge_angles(corners, TALL)


def test_three_curves_are_found_with_ends_apex_and_side() -> None:
    found = clinical_angles(corners_of(THREE), LEVELS)
    named = [c.named(LEVELS) for c in found.curves]
    assert [(c["upper_end"], c["lower_end"]) for c in named] == [
        ("T1", "T4"), ("T4", "T10"), ("T10", "L3"), ("L3", "L5"),
    ]  # fmt: skip
    assert [c["angle_deg"] for c in named] == pytest.approx([15, 30, 32, 6], abs=0.01)
    assert [c["convex"] for c in named] == ["left", "right", "left", "right"]
    assert found.pt is found.curves[0]
    assert found.mt is found.curves[1]
    assert found.tl is found.curves[2]
    assert found.major is found.curves[2]


def test_a_bulge_to_the_right_is_convex_to_the_right() -> None:
    corners = corners_of(bent((0, -20), (16, 20)))
    middle = corners.mean(axis=1)
    assert middle[8, 0] > max(middle[0, 0], middle[16, 0])
    only = clinical_angles(corners, LEVELS).curves
    assert [(c.convex, c.apex) for c in only] == [("right", 8)]
    flipped = clinical_angles(mirrored(corners), LEVELS).curves
    assert [(c.convex, c.apex) for c in flipped] == [("left", 8)]
    assert flipped[0].angle_deg == pytest.approx(only[0].angle_deg)


def test_the_upper_and_lower_endplates_of_the_ends_are_taken() -> None:
    corners = corners_of(bent((0, -20), (16, 20)))
    # A wedged upper end vertebra: its upper endplate tilts more than its lower one.
    corners[0, 0, 1] += 5.0
    corners[0, 1, 1] -= 5.0
    more = np.degrees(np.arctan2(corners[0, 1, 1] - corners[0, 0, 1], corners[0, 1, 0]
                                 - corners[0, 0, 0]))  # fmt: skip
    assert clinical_angles(corners, LEVELS).curves[0].angle_deg == pytest.approx(20 - more)


def test_small_bends_and_unsure_levels_are_no_named_curves() -> None:
    assert clinical_angles(corners_of(bent((0, -2), (16, 2))), LEVELS).curves == ()
    unsure = [f"unsure {n}" for n in range(1, 18)]
    found = clinical_angles(corners_of(ONE_BEND), unsure)
    assert len(found.curves) == 1
    assert found.pt is found.mt is found.tl is None


def test_a_line_gives_the_angle_of_its_arc() -> None:
    angle = np.radians(np.linspace(-25, 25, 200))
    arc = 800 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    curves, points = centreline_curves(arc)
    assert len(curves) == 1
    assert curves[0].angle_deg == pytest.approx(50, abs=4)  # drawn in at both ends
    assert curves[0].convex == "right"
    assert points[curves[0].apex, 1] == pytest.approx(0, abs=20)
    whole = challenge_angles(corners_of_centreline(arc), 2000.0)
    assert whole.major_deg == pytest.approx(48.5, abs=4)
    assert not whole.s_shaped


def test_smoothing_a_line_takes_noise_away_and_bends_nothing() -> None:
    rng = np.random.default_rng(3)
    straight = np.stack([np.linspace(200, 260, 400), np.linspace(0, 1000, 400)], axis=1)
    noisy = straight + rng.normal(0, 1.0, straight.shape)
    corners = corners_of_centreline(noisy)
    raw = np.degrees(np.arctan2(*np.diff(noisy[::4], axis=0).T))
    assert challenge_angles(corners, 1000.0).major_deg < 0.15 * np.ptp(raw)
    exact = corners_of_centreline(straight)
    assert challenge_angles(exact, 1000.0).major_deg == pytest.approx(0, abs=1e-6)
    assert np.allclose(middles(exact)[[0, -1]], straight[[0, -1]])


@pytest.mark.parametrize("points", [np.zeros((2, 2)), np.zeros((9, 2)), np.full((9, 2), np.inf)])
def test_what_is_no_line_is_refused(points: np.ndarray) -> None:
    with pytest.raises(InputError):
        corners_of_centreline(points)


def lateral(tilts: dict[str, float], facing: float = 1.0) -> dict[str, np.ndarray]:
    """Bodies 40 × 30 pixels whose front sinks by the tilt; C7 lies 50 pixels in front of S1."""
    found = {}
    for n, (level, tilt) in enumerate(tilts.items()):
        angle = np.radians(tilt)
        front = np.array([facing * np.cos(angle), np.sin(angle)])
        back = np.array([300.0 + (facing * 50 if level == "C7" else 0), 100.0 * n])
        if level == "C7":
            back -= front * 20
        down = np.array([0.0, 30.0])
        found[level] = np.stack([back, back + 40 * front, back + down, back + down + 40 * front])
    return found


SIDE = {"C7": 0.0, "T4": 25.0, "T12": -12.0, "L1": -15.0, "sacrum": 38.0}


@pytest.mark.parametrize("facing", [1.0, -1.0])
def test_a_lateral_film_gives_kyphosis_lordosis_and_balance(facing: float) -> None:
    found = sagittal_angles(lateral(SIDE, facing))
    assert found.kyphosis_deg == pytest.approx(37)
    assert found.lordosis_deg == pytest.approx(53)
    assert found.sva_px == pytest.approx(50)
    assert found.sva_mm is None
    assert found.faces == ("right" if facing > 0 else "left")


def test_pixels_that_are_not_square_bend_no_angle() -> None:
    corners = lateral(SIDE)
    squeezed = {level: points * (1.0, 0.5) for level, points in corners.items()}
    found = sagittal_angles(squeezed, spacing_mm=(0.4, 0.2))
    assert found.kyphosis_deg == pytest.approx(37)
    assert found.sva_mm == pytest.approx(10)


def test_a_missing_endplate_leaves_its_angle_out() -> None:
    corners = lateral(SIDE)
    corners["T12"][2] = np.nan
    found = sagittal_angles(corners)
    assert found.kyphosis_deg is None
    assert found.lordosis_deg == pytest.approx(53)
    with pytest.raises(InputError, match="endplate"):
        sagittal_angles({"L1": np.full((4, 2), np.nan)})


def doubts_of(corners: np.ndarray) -> set[tuple[int | None, str]]:
    return {(d.vertebra, d.reason.split()[-1]) for d in corner_doubts(corners, (600.0, 1000.0))}


def test_wrong_corners_are_doubted_and_sound_ones_not() -> None:
    good = corners_of(THREE)
    assert doubts_of(good) == set()
    crossed = good.copy()
    crossed[5] = good[5][[1, 0, 2, 3]]
    rotated = np.concatenate([good[1:], good[:1]])
    twice = good.copy()
    twice[9] = good[8] + 1.0
    outside = good + (0.0, 120.0)
    skipped = np.delete(good, 7, axis=0)
    flat = good.copy()
    flat[:, 2:] = good[:, :2] + 0.2 * (good[:, 2:] - good[:, :2])
    assert (5, "order") in doubts_of(crossed)
    assert doubts_of(rotated) == {(16, "it")}
    assert (9, "vertebra") in doubts_of(twice)
    assert (16, "film") in doubts_of(outside)
    assert (7, "it") in doubts_of(skipped)
    assert (None, "bodies") in doubts_of(flat)


def test_corners_a_line_or_angles_alone_are_measured_alike() -> None:
    corners = corners_of(ONE_BEND)
    whole = measure_film(FilmResult(CHALLENGE_LEVELS, corners), FILM)
    assert whole.angles_deg["major"] == pytest.approx(36)
    assert whole.to_json()["angles_deg_clinical"] == {"pt": None, "mt": 36.0, "tl": None}
    line = measure_film(FilmResult(centreline_px=middles(corners)), FILM)
    assert line.angles_deg["major"] == pytest.approx(36, abs=3)
    assert np.shape(line.to_json()["corners_px"]) == (17, 4, 2)
    only = measure_film(FilmResult(angles_deg={"major": 36.0, "upper": 1.0, "lower": 2.0}), FILM)
    assert only.to_json()["angles_deg"] == {"major": 36.0, "upper": 1.0, "lower": 2.0}
    assert only.corners_px is None
    with pytest.raises(InputError, match="nothing"):
        measure_film(FilmResult(), FILM)


def test_a_part_of_a_spine_is_measured_and_said_to_be_one() -> None:
    part = measure_film(FilmResult(LEVELS[5:12], corners_of(ONE_BEND)[5:12]), FILM)
    assert part.angles_deg["major"] == pytest.approx(13.5)
    assert any("T6 to T12 only" in text for text in part.warnings)
    line = middles(corners_of(ONE_BEND))[10:24]
    found = measure_film(FilmResult(levels=("T6",), centreline_px=line), FILM)
    assert found.angles_deg is None
    assert found.clinical.major.angle_deg == pytest.approx(13.5, abs=2.5)


def test_the_patients_side_is_named_where_the_film_tells_it() -> None:
    corners = corners_of(bent((0, -20), (16, 20)))
    result = FilmResult(CHALLENGE_LEVELS, corners, confidence=(1.0,) * 17)
    known = Film(FILM.array, left_is="R", view=LATERAL)
    row = measure_film(result, known).curves()[0]
    assert (row["convex"], row["convex_to_patients"]) == ("right", "left")
    assert measure_film(result, FILM).curves()[0]["convex_to_patients"] is None
    assert any("lateral" in text for text in measure_film(result, known).warnings)


def test_tall_pixels_are_squared_before_measuring() -> None:
    squeezed = corners_of(ONE_BEND) * (1.0, 0.5)
    found = measure_film(FilmResult(CHALLENGE_LEVELS, squeezed), Film(FILM.array, pixel_aspect=2.0))
    assert found.angles_deg["major"] == pytest.approx(36)


def test_parts_that_do_not_fit_are_a_fault_of_the_method() -> None:
    with pytest.raises(SpineSegError, match="fit"):
        FilmResult(("T1",), np.zeros((2, 4, 2)))
    with pytest.raises(SpineSegError, match="fit"):
        FilmResult(("T1",), np.zeros((1, 4, 2)), confidence=(1.0, 0.5))
