"""What is no MR of a spine is refused in one sentence, what is odd is a warning."""

from __future__ import annotations

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.labels import USUAL_VERTEBRAE
from spineseg.methods.classes import FineClass
from spineseg.methods.from_sacrum import name_from_sacrum
from spineseg.methods.instances import Instance
from spineseg.methods.mr_check import check_mr, finite_mr
from spineseg.methods.mr_sacral import count_without_sacrum
from spineseg.volume import Volume


def mr(shape=(80, 80, 40), spacing=(1.5, 1.0, 1.0), low=0.0, high=255.0) -> Volume:
    values = np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)
    return Volume(values, np.diag([*spacing, 1.0]))


def test_an_mr_is_taken() -> None:
    assert check_mr(mr()) == []


@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        (mr(low=-1000, high=1500), "it is a CT"),
        (mr(shape=(1, 80, 80)), "2D series"),
        (mr(shape=(80, 3, 80)), "2D series"),
        (mr(spacing=(0.001, 0.001, 0.001)), "another unit"),
        (mr(spacing=(100.0, 100.0, 100.0)), "another unit"),
    ],
)
def test_what_is_no_mr_of_a_spine_is_refused(volume: Volume, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        check_mr(volume)


def test_a_ct_without_air_is_no_mr() -> None:
    # Cropped to the spine: fat, soft tissue and bone, nothing darker.
    with pytest.raises(InputError, match="it is a CT"):
        check_mr(mr(low=-150, high=900))
    assert check_mr(mr(low=-100, high=100)) == []  # an MR less its mean


def test_voxels_without_a_number_are_dark_and_leave_the_range() -> None:
    volume = mr(low=20)
    volume.array[:20], volume.array[30] = np.nan, np.inf
    found = finite_mr(volume)
    assert found.array.min() == found.array[0, 0, 0] == np.nanmin(volume.array)
    assert found.array[30].max() == found.array.min()
    assert check_mr(found) == []
    with pytest.raises(InputError, match="same value"):
        finite_mr(volume.like(np.full(volume.shape, np.nan, np.float32)))


def test_empty_slices_are_counted_across_the_series() -> None:
    volume = mr(spacing=(4.0, 1.0, 1.0))
    volume.array[:, :, :3] = 7
    assert "3 of the MR's 40 slices" in check_mr(volume)[0]
    volume.array[:, :, :25] = 7
    with pytest.raises(InputError, match="25 of the MR's 40 slices"):
        check_mr(volume)


def test_thick_slices_and_narrow_series_are_doubted() -> None:
    assert "6.5 mm apart" in check_mr(mr(spacing=(6.5, 1.0, 1.0)))[0]
    assert "only 20 mm wide" in check_mr(mr(spacing=(0.5, 1.0, 1.0)))[0]


def spine(count: int, sacrum: bool) -> tuple[Volume, list[Instance]]:
    """A column of bodies 35 mm apart, and a sacrum under it or none."""
    array = np.zeros((40 + 20 * count, 40, 40), np.uint8)
    found = []
    down = np.array([0.0, 0.0, -1.0])
    for n in range(count):
        k = array.shape[0] - 15 - 20 * n
        centre = np.array([20, 20, k]) * 2.0
        found.append(Instance(centre, 1000, 800, False, False, False, True, 0.9, down))
    if sacrum:
        array[10:32, 12:30, 10:30] = FineClass.SACRUM
    return Volume(array, np.diag([2.0, 2.0, 2.0, 1.0])), found


@pytest.mark.parametrize("count", [1, 5, 7, 24])
def test_levels_are_counted_from_the_sacrum(count: int) -> None:
    vertebrae, warnings = name_from_sacrum(*spine(count, True))
    assert [v.level for v in vertebrae] == [level.name for level in USUAL_VERTEBRAE[-count:]]
    assert [v.label for v in vertebrae] == [level.verse for level in USUAL_VERTEBRAE[-count:]]
    assert "off by one" in warnings[0]


def test_more_vertebrae_than_there_are_stay_unnamed_at_the_top() -> None:
    vertebrae, _ = name_from_sacrum(*spine(26, True))
    assert [v.label for v in vertebrae[:3]] == [101, 102, 1]


def test_without_a_sacrum_levels_are_unsure() -> None:
    vertebrae, warnings = name_from_sacrum(*spine(4, False))
    assert [v.label for v in vertebrae] == [101, 102, 103, 104]
    assert all(v.level is None for v in vertebrae)
    assert "levels are unsure" in warnings[0]


def test_a_sacrum_far_below_names_nothing() -> None:
    classes, found = spine(5, True)
    vertebrae, _ = name_from_sacrum(classes, found[:2])
    assert all(v.level is None for v in vertebrae)


def test_half_a_vertebra_that_the_scan_cuts_is_no_sacrum() -> None:
    classes, found = spine(5, True)
    classes.array[:24] = FineClass.BACKGROUND  # 16 mm of what was 44 are left
    vertebrae, _ = name_from_sacrum(classes, found)
    assert all(v.level is None for v in vertebrae)


def column(*ends: tuple[int, float, bool]) -> list[Instance]:
    """Five bodies of 1,000 voxels; below them those of (voxels, degrees backwards, cut)."""
    down = np.array([0.0, 0.0, -1.0])
    at, found = np.zeros(3), []
    for voxels, angle, cut in [(1000, 0.0, False)] * 5 + list(ends):
        step = np.radians(angle)
        at = at + 35 * np.array([0.0, -np.sin(step), -np.cos(step)])
        found.append(Instance(at, 2 * voxels, voxels, False, cut, False, True, 0.9, down))
    return found


@pytest.mark.parametrize(
    ("ends", "count"),
    [
        ([], 5),
        ([(600, 10.0, False)], 6),  # a narrow L5
        ([(500, 20.0, False)], 6),  # a collapsed one
        ([(300, 5.0, False)], 5),  # S1 in part
        ([(300, 5.0, True)], 6),  # a body that the field of view cuts
        ([(200, 5.0, True)], 5),
        ([(700, 30.0, False)], 5),  # S1, steeply behind
        ([(900, 30.0, False)], 6),  # a whole body, whatever the lordosis
        ([(700, 30.0, False), (200, 40.0, False)], 5),
    ],
)
def test_what_lies_below_the_lowest_body_is_left_out(ends, count: int) -> None:
    assert count_without_sacrum(column(*ends)) == count


def test_of_two_vertebrae_none_is_left_out() -> None:
    assert count_without_sacrum(column((100, 60.0, False))[4:]) == 2
