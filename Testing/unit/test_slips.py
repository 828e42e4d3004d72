"""Distances between vertebrae that do not fit a spine, and counting from a named vertebra."""

from __future__ import annotations

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.labels import FIRST_UNSURE, USUAL_VERTEBRAE, VERTEBRAE, by_name
from spineseg.methods.counting import checked_level, column_of, count_from
from spineseg.methods.levels import spacing
from spineseg.methods.slips import Slip, find_slips

NAMES = [level.name for level in USUAL_VERTEBRAE]
GAPS = np.array([spacing(a, b)[0] for a, b in zip(NAMES[:-1], NAMES[1:], strict=True)])
HEIGHTS = -np.concatenate([[0.0], np.cumsum(GAPS)])


def centers(index, scale: float = 1.0, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Return body centres (n, 3) of some of the usual levels."""
    points = np.zeros((len(index), 3))
    points[:, 2] = HEIGHTS[index] * scale
    return points + np.random.default_rng(seed).normal(0, noise, points.shape)


@pytest.mark.parametrize("missed", range(2, 22))
def test_a_vertebra_left_out_anywhere_is_noticed(missed: int) -> None:
    index = [n for n in range(24) if n != missed]
    found = find_slips(centers(index, 0.9, 0.8, missed), [False] * 23)
    assert [(slip.upper, slip.missing) for slip in found] == [(missed - 1, 1)]
    assert found[0].chance > 0.5


@pytest.mark.parametrize("halved", range(3, 23, 4))
def test_a_vertebra_counted_twice_is_noticed(halved: int) -> None:
    points = centers(range(24), 1.05, 0.8, halved)
    away = np.array([0, 0, 0.23 * GAPS[halved]])
    twice = [*points[:halved], points[halved] + away, points[halved] - away, *points[halved + 1 :]]
    found = find_slips(np.array(twice), [False] * 25)
    assert [(slip.upper, slip.missing) for slip in found] == [(halved, -1)]


def test_sound_spines_of_all_sizes_have_no_slip() -> None:
    rng = np.random.default_rng(1)
    for seed in range(40):
        first = int(rng.integers(0, 16))
        size = float(np.exp(rng.normal(0, 0.1)))
        index = range(first, first + 8)
        assert find_slips(centers(index, size, 1.5, seed), [False] * 8) == []


def test_an_additional_lumbar_vertebra_is_no_slip() -> None:
    points = centers(range(24))
    more = np.concatenate([points, points[-1:] - [0, 0, spacing("L5", "L6")[0]]])
    assert find_slips(more, [False] * 25) == []


def test_a_cut_vertebra_at_the_end_is_no_slip() -> None:
    points = centers(range(10, 20))
    points[0, 2] -= 9.0  # the centre of what is left of it
    assert find_slips(points, [True] + [False] * 9) == []
    assert find_slips(points[:2], [True, False]) == []


def test_more_vertebrae_than_a_spine_has_give_no_nonsense() -> None:
    points = np.zeros((40, 3))
    points[:, 2] = -30.0 * np.arange(40)
    assert all(0 <= slip.chance <= 1 for slip in find_slips(points, [False] * 40))


# --- counting ----------------------------------------------------------------------------------


def verse(*names: str) -> list[int]:
    return [by_name(name).verse for name in names]


def test_counting_goes_both_ways() -> None:
    labels, warnings = count_from(column_of([]), 2, "L1", 5)
    assert labels == verse("T11", "T12", "L1", "L2", "L3")
    assert warnings == []


def test_rare_levels_are_counted_only_where_named() -> None:
    assert count_from(column_of([]), 0, "L5", 2)[0] == [by_name("L5").verse, FIRST_UNSURE + 1]
    assert count_from(column_of(["L6"]), 0, "L5", 2)[0] == verse("L5", "L6")
    assert count_from(column_of(["T13"]), 0, "T12", 3)[0] == verse("T12", "T13", "L1")
    assert count_from(column_of([]), 0, "T12", 2)[0] == verse("T12", "L1")
    assert count_from(column_of([], no_t12=True), 0, "T11", 2)[0] == verse("T11", "L1")
    assert set(column_of(["T13", "L6"])) == {level.name for level in VERTEBRAE}


def test_what_lies_beyond_the_table_is_told() -> None:
    labels, warnings = count_from(column_of([]), 1, "C1", 3)
    assert labels == [FIRST_UNSURE, *verse("C1", "C2")]
    assert "above C1" in warnings[0]
    labels, warnings = count_from(column_of([]), 0, "L4", 4)
    assert labels == [*verse("L4", "L5"), FIRST_UNSURE + 2, FIRST_UNSURE + 3]
    assert "2 vertebrae lie below L5" in warnings[0]


def test_a_gap_takes_its_level_with_it() -> None:
    labels, warnings = count_from(column_of([]), 1, "T12", 3, [Slip(0, 1, 0.9)])
    assert labels == verse("T10", "T12", "L1")
    assert "90%" in warnings[0]


def test_names_are_checked() -> None:
    assert checked_level(" l1 ") == "L1"
    for name in ("L9", "sacrum", ""):
        with pytest.raises(InputError) as caught:
            checked_level(name)
        assert caught.value.remedy
