"""Films that lie on a side, upside down, or are negatives: every way is tried, and no more."""

from __future__ import annotations

import numpy as np
import pytest
from spineseg.methods import cobb_landmarks
from spineseg.methods.cobb_landmarks import Found, Settings
from spineseg.methods.film_checks import Turn, turns
from spineseg.methods.film_picture import Picture
from spineseg.methods.film_result import AP, LATERAL
from spineseg.progress import Progress


@pytest.fixture
def upright() -> Picture:
    array = np.random.default_rng(3).integers(2, 254, (60, 24)).astype(np.uint8)
    return Picture(array, np.ones(2))


@pytest.fixture
def looks(upright: Picture, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A network that knows one film: the shapes of the pictures that it was shown."""
    shown: list[tuple[int, int]] = []

    def find(network: str, picture: Picture, mirror: bool = True) -> Found:
        shown.append(picture.array.shape)
        known = network == AP and np.array_equal(picture.array, upright.array)
        return Found(np.zeros((17, 2)), np.full(17, 0.92 if known else 0.4))

    monkeypatch.setattr(cobb_landmarks, "find", find)
    monkeypatch.setattr(cobb_landmarks, "load", lambda models, device, view: view)
    return shown


@pytest.mark.parametrize("turn", turns())
@pytest.mark.parametrize("views", [[AP], [AP, LATERAL]])
def test_a_film_that_was_turned_is_turned_back(
    upright: Picture, looks: list[tuple[int, int]], turn: Turn, views: list[str]
) -> None:
    given = turn.apply(upright)
    found = cobb_landmarks._sight(given, views, Settings(), Progress())
    assert found.view == AP
    assert np.array_equal(found.turn.apply(given).array, upright.array)


def test_nothing_more_is_tried_once_a_way_is_sure(
    upright: Picture, looks: list[tuple[int, int]]
) -> None:
    cobb_landmarks._sight(upright.negative(), [AP], Settings(), Progress())
    assert len(looks) == 2  # as it lies, and the other way round


def test_a_film_of_something_else_stays_as_it_lies_and_is_never_laid_on_its_side(
    upright: Picture, looks: list[tuple[int, int]]
) -> None:
    other = upright.mirrored()
    found = cobb_landmarks._sight(other, [AP, LATERAL], Settings(), Progress())
    assert found.turn == Turn()
    assert set(looks) == {upright.array.shape}
    assert len(looks) == 3 + 3 + 6  # as it lies, then from the front, then from the side


@pytest.mark.parametrize(("shape", "quarters"), [((60, 24), {0, 2}), ((24, 60), {1, 3})])
def test_only_ways_that_make_a_film_stand_are_tried(
    shape: tuple[int, int], quarters: set[int]
) -> None:
    picture = Picture(np.zeros(shape, np.uint8), np.ones(2))
    standing = turns(True, picture)
    assert {way.quarters for way in standing} == quarters
    square = Picture(np.zeros((30, 30), np.uint8), np.ones(2))
    assert set(turns(True, square)) == set(turns(True)) >= set(standing)
