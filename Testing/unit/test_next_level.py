"""A vertebra's level, counted from the neighbours that are known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from spineseg.evaluation.level_statistics import is_held_out, read_keypoints
from spineseg.labels import VERTEBRAE, by_name
from spineseg.methods.level_statistics import SPACING
from spineseg.methods.next_level import level_beside


def spine(*names: str, size: float = 1.0) -> dict[str, tuple[float, float, float]]:
    """Body centres of neighbours one below the other."""
    z, result = 0.0, {}
    for name, below in zip(names, (*names[1:], "")):
        result[name] = (0.0, 0.0, z)
        z -= size * SPACING.get((name, below), (32.0,))[0]
    return result


def named(points: dict[str, tuple[float, float, float]], *names: str) -> dict[int, tuple]:
    return {by_name(name).verse: points[name] for name in names}


def test_steps_are_counted_up_and_down() -> None:
    points = spine("T11", "T12", "L1", "L2", "L3")
    for start, target in (("T12", "L1"), ("L2", "L1"), ("L3", "L2"), ("T11", "T12")):
        guess = level_beside([points[target]], named(points, start))
        assert (guess.level, guess.warning) == (target, "")
    for start, target in (("T11", "L1"), ("L3", "L1")):
        guess = level_beside([points[target]], named(points, start))
        assert guess.level == target
        assert "check the level" in guess.warning
    far = level_beside([points["L3"]], named(points, "T11"))
    assert far.level is None
    assert "too far to count" in far.warning
    assert level_beside([points["L1"]], {}) == level_beside([points["L1"]], {101: (0, 0, 0)})


def test_the_patients_size_is_taken_from_pairs_that_are_known() -> None:
    child = spine("T12", "L1", "L2", "L3", size=0.72)
    assert level_beside([child["L3"]], named(child, "T12", "L1")).level == "L3"
    assert level_beside([child["L2"]], named(child, "T12", "L1")).level == "L2"


def test_additional_levels_count_where_they_are_known() -> None:
    points = spine("T12", "T13", "L1")
    assert level_beside([points["L1"]], named(points, "T12", "T13")).level == "L1"
    assert level_beside([points["T13"]], named(points, "T12")).level == "L1"
    points = spine("L4", "L5", "L6")
    assert level_beside([points["L5"]], named(points, "L6")).level == "L5"
    below = level_beside([points["L6"]], named(points, "L4", "L5"))
    assert below.level is None
    assert "sacrum" in below.warning
    above = level_beside([(0, 0, 18)], named(spine("C1"), "C1"))
    assert above.level is None
    assert "no name" in above.warning


def test_neighbours_that_contradict_each_other_leave_it_unsure() -> None:
    points = spine("L1", "L2", "L3")
    wrong = {by_name("L1").verse: points["L1"], by_name("L4").verse: points["L3"]}
    guess = level_beside([points["L2"]], wrong)
    assert guess.level is None
    assert "L2" in guess.warning
    assert "L3" in guess.warning


def test_either_centre_will_do() -> None:
    points = spine("L1", "L2")
    whole = np.array(points["L2"]) - [0, 19, 0]
    body = np.array(points["L2"])
    for neighbour in (np.array(points["L1"]), np.array(points["L1"]) - [0, 19, 0]):
        known = {by_name("L1").verse: tuple(neighbour)}
        assert level_beside([body, whole], known).level == "L2"


@pytest.mark.parametrize(("steps", "right", "wrong"), [(1, 0.99, 0.003), (2, 0.96, 0.004)])
def test_real_spines_are_counted_right(realdata, steps: int, right: float, wrong: float) -> None:
    scans = read_keypoints(realdata / "ct_keypoints" / "vertebra_keypoints.jsonl.gz")
    order = {level.name: n for n, level in enumerate(VERTEBRAE)}
    told: Counter[str] = Counter()
    for scan in scans:
        if not is_held_out(scan.name):
            continue
        points = dict(zip(scan.levels, map(tuple, scan.bodies), strict=True))
        names = sorted(points, key=order.__getitem__)
        for start, target in (*zip(names, names[steps:]), *zip(names[steps:], names)):
            guess = level_beside([points[target]], named(points, start)).level
            told["right" if guess == target else "unsure" if guess is None else "wrong"] += 1
    assert told.total() > 5000
    assert told["right"] >= right * told.total()
    assert told["wrong"] <= wrong * told.total()
