"""Halves of vertebrae are joined, blocks of two are parted, and nothing else is touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from spineseg.methods.classes import FineClass
from spineseg.methods.doubts import two_in_one
from spineseg.methods.instances import Instance
from spineseg.methods.levels import Evidence
from spineseg.methods.mending import mend_slips
from spineseg.methods.naming import name_found
from spineseg.volume import Volume

MM = 2.0
DOWN = np.array([0.0, 0.0, -1.0])
Column = tuple[Volume, list[Instance], Volume]


def column(parts: list[tuple[float, float, float]], gap: float = 6.0) -> Column:
    """Stack vertebrae from the top: each has a body's height and an arch's height and depth, mm."""
    total = sum(height + gap for height, _, _ in parts) + 40
    shape = (int(total / MM), 40, 24)
    labels, classes = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    top = shape[0] - 10
    for number, (height, tall, deep) in enumerate(parts, start=1):
        body, arch = int(height / MM), int(tall / MM)
        low = top - body
        labels[low:top, 20:36, 4:20] = number if body else 0
        classes[low:top, 20:36, 4:20] = FineClass.BODY
        middle = (low + top) // 2
        rows = slice(middle - arch // 2, middle - arch // 2 + arch)
        behind = slice(16 - int(deep / MM), 16)
        labels[rows, behind, 8:16] = number
        classes[rows, behind, 8:16] = FineClass.POSTERIOR
        top = low - int(gap / MM)
    affine = np.diag([MM, MM, MM, 1.0])
    instances, kinds = Volume(labels, affine), Volume(classes, affine)
    return instances, [describe(instances, kinds, n + 1) for n in range(len(parts))], kinds


def describe(instances: Volume, kinds: Volume, number: int) -> Instance:
    mine = instances.array == number
    body = mine & (kinds.array == FineClass.BODY)
    some = body if body.any() else mine
    center = instances.ijk_to_ras(np.argwhere(some)[:, ::-1]).mean(axis=0)
    return Instance(
        center, int(mine.sum()), int(body.sum()), False, False, False, bool(body.any()), 1.0, DOWN
    )


USUAL = (26.0, 20.0, 24.0)


def test_an_ordinary_spine_stays_as_it_is() -> None:
    instances, found, kinds = column([(24 + n, 20.0, 24.0) for n in range(6)])
    same, kept = mend_slips(instances, found, kinds)
    np.testing.assert_array_equal(same.array, instances.array)
    assert [one.slip for one in kept] == [""] * 6


def test_a_block_is_parted_halfway() -> None:
    instances, found, kinds = column([USUAL, USUAL, (58.0, 46.0, 24.0), USUAL, USUAL])
    mended, kept = mend_slips(instances, found, kinds)
    assert [one.slip for one in kept] == ["", "", "parted", "parted", "", ""]
    assert set(np.unique(mended.array)) == set(range(7))
    assert (mended.array > 0).sum() == (instances.array > 0).sum()
    upper, lower = kept[2], kept[3]
    assert upper.body_voxels == pytest.approx(lower.body_voxels, rel=0.2)
    assert 20 < np.linalg.norm(upper.centroid - lower.centroid) < 38
    heights = [one.centroid[2] for one in kept]
    assert heights == sorted(heights, reverse=True)
    assert mended.array[instances.array == 4].min() == 5


def test_halves_are_joined() -> None:
    parts = [USUAL, USUAL, (12.0, 20.0, 24.0), (12.0, 0.0, 0.0), USUAL, USUAL]
    instances, found, kinds = column(parts, gap=4.0)
    mended, kept = mend_slips(instances, found, kinds)
    assert [one.slip for one in kept] == ["", "", "joined", "", ""]
    halves = np.isin(instances.array, (3, 4))
    assert set(np.unique(mended.array[halves])) == {3}
    assert set(np.unique(mended.array)) == set(range(6))
    middle = instances.ijk_to_ras(np.argwhere(halves & (kinds.array == FineClass.BODY))[:, ::-1])
    np.testing.assert_allclose(kept[2].centroid, middle.mean(axis=0), atol=1.0)


def test_two_crushed_vertebrae_stay_two() -> None:
    crushed = (12.0, 20.0, 24.0)
    instances, found, kinds = column([USUAL, USUAL, crushed, crushed, USUAL, USUAL], gap=8.0)
    mended, kept = mend_slips(instances, found, kinds)
    assert len(kept) == 6
    np.testing.assert_array_equal(mended.array, instances.array)


def test_a_tall_axis_is_no_block() -> None:
    parts = [(0.0, 10.0, 20.0), (36.0, 16.0, 24.0), *[(14.0, 14.0, 22.0)] * 4]
    instances, found, kinds = column(parts)
    kept = mend_slips(instances, found, kinds)[1]
    assert [one.slip for one in kept] == [""] * 6
    assert not kept[0].has_body


def test_an_arch_between_two_bodies_goes_to_its_own() -> None:
    instances, found, kinds = column([USUAL, USUAL, USUAL, USUAL])
    array = instances.array.copy()
    lone = (array == 2) & (kinds.array == FineClass.POSTERIOR)
    array[array > 2] += 1
    array[lone] = 3
    seen = instances.like(array)
    parts = [describe(seen, kinds, n + 1) for n in range(5)]
    mended, kept = mend_slips(seen, parts, kinds)
    assert len(kept) == 4
    np.testing.assert_array_equal(mended.array, instances.array)
    assert kept[1].n_voxels == found[1].n_voxels
    assert [one.slip for one in kept] == [""] * 4


def test_what_the_field_cuts_is_left_alone() -> None:
    instances, found, kinds = column([USUAL, USUAL, USUAL, USUAL, (58.0, 46.0, 24.0)])
    found[-1] = replace(found[-1], touches_inferior=True)
    assert len(mend_slips(instances, found, kinds)[1]) == 5


def test_the_user_reads_what_was_mended() -> None:
    instances, found, kinds = column([USUAL, USUAL, (58.0, 46.0, 24.0), USUAL, USUAL])
    kept = mend_slips(instances, found, kinds)[1]
    evidence = [Evidence(one.centroid) for one in kept]
    vertebrae, warnings = name_found(kept, evidence)
    assert len(vertebrae) == 6
    assert any("unsure 3 and unsure 4 were seen as one" in text for text in warnings)


def test_arches_that_a_block_keeps_apart_are_parted_with_it() -> None:
    usual = [USUAL] * 4
    instances, found, kinds = column([*usual, (58.0, 20.0, 24.0), *usual])
    array, seen = instances.array.copy(), kinds.array.copy()
    block = np.argwhere((array == 5) & (seen == FineClass.BODY))
    low, high = block[:, 0].min(), block[:, 0].max() + 1
    array[(array == 5) & (seen == FineClass.POSTERIOR)] = 0
    seen[(array == 0) & (seen == FineClass.POSTERIOR)] = 0
    array[array > 5] += 1
    for number, rows in ((5, slice(high - 12, high - 2)), (6, slice(low + 2, low + 12))):
        array[rows, 4:16, 8:16] = number
        seen[rows, 4:16, 8:16] = FineClass.POSTERIOR
    apart, classes = instances.like(array), kinds.like(seen)
    parts = [describe(apart, classes, n + 1) for n in range(10)]
    assert not parts[5].has_body
    kept = mend_slips(apart, parts, classes)[1]
    assert [one.slip for one in kept] == [*[""] * 4, "parted", "parted", *[""] * 4]
    arches = [one.n_voxels - one.body_voxels for one in kept]
    assert arches[4] == pytest.approx(arches[5], rel=0.3)


def test_the_user_reads_what_may_be_miscounted() -> None:
    found = column([USUAL] * 4)[1]
    evidence = [Evidence(one.centroid) for one in found]
    assert not any("not found" in text for text in name_found(found, evidence)[1])
    evidence[3] = replace(evidence[3], beyond=0.9)
    evidence[2] = replace(evidence[2], double=0.4)
    warnings = name_found(found, evidence)[1]
    assert any("below unsure 4 was taken for the sacrum" in text for text in warnings)
    assert any("unsure 3 is as large as two vertebrae" in text for text in warnings)


def test_a_large_vertebra_may_be_two() -> None:
    parts = [USUAL, USUAL, USUAL, (37.0, 26.0, 24.0), USUAL, USUAL]
    instances, found, kinds = column(parts)
    assert [one.slip for one in mend_slips(instances, found, kinds)[1]] == [""] * 6
    chances = two_in_one(instances, found, kinds)
    assert chances[3] > 0.02
    assert max(chances[:3] + chances[4:]) < 0.001
