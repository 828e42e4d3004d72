"""The steps of the default method for CT, each by itself."""

from __future__ import annotations

import blockspine
import numpy as np
import pytest
from scipy import ndimage
from spineseg.grid import Grid
from spineseg.methods.classes import CoarseClass, FineClass
from spineseg.methods.instances import Instance
from spineseg.methods.naming import gather_evidence
from spineseg.methods.refine import refine_edges, tidy
from spineseg.methods.spine_region import find_spine, on_grid, widened
from spineseg.methods.to_scan import FineMaps, covered
from spineseg.volume import Volume


def coarse_map(shape: tuple[int, int, int] = (60, 30, 60)) -> tuple[Volume, np.ndarray]:
    classes = np.zeros(shape, dtype=np.uint8)
    classes[5:55, 12:18, 10:16] = CoarseClass.THORACIC
    classes[5:55, 9:11, 12:14] = CoarseClass.CANAL
    return Volume(classes, np.diag([4.0, 4.0, 4.0, 1.0])), classes


def test_the_spine_is_what_lies_near_the_canal() -> None:
    volume, classes = coarse_map()
    classes[10:20, 12:20, 45:55] = CoarseClass.LUMBAR  # a hip, 120 mm aside
    classes[40:42, 2:4, 50:52] = CoarseClass.CANAL  # and a canal where there is none
    spine = find_spine(volume, 48.0)
    assert spine is not None
    assert spine.array[5:55, 12:18, 10:16].all()
    assert not spine.array[:, :, 40:].any()


def test_a_canal_with_a_gap_is_followed_beyond_it() -> None:
    volume, classes = coarse_map()
    classes[25:33] = 0  # 32 mm of metal
    spine = find_spine(volume, 48.0)
    assert spine is not None
    assert spine.array[5:25, 12:18, 10:16].all()
    assert spine.array[33:55, 12:18, 10:16].all()


def test_without_a_canal_the_largest_bone_leads() -> None:
    volume, classes = coarse_map()
    classes[classes == CoarseClass.CANAL] = 0
    classes[10:14, 12:16, 50:54] = CoarseClass.LUMBAR
    spine = find_spine(volume, 48.0)
    assert spine is not None
    assert spine.array[5:55, 12:18, 10:16].all()
    assert not spine.array[:, :, 48:].any()


def test_no_spine_is_none() -> None:
    volume, classes = coarse_map()
    classes[:] = 0
    classes[5, 5, 5:9] = CoarseClass.LUMBAR
    assert find_spine(volume, 48.0) is None


def test_a_mask_is_widened_in_mm_and_sampled_elsewhere() -> None:
    mask = np.zeros((21, 21, 21), dtype=bool)
    mask[10, 10, 10] = True
    wide = widened(Volume(mask, np.diag([4.0, 4.0, 4.0, 1.0])), 12.0)
    assert wide.array[10, 10, 7:14].all()
    assert wide.array.sum() == (np.linalg.norm(np.indices(mask.shape) - 10.0 * np.ones(
        (3, 1, 1, 1)), axis=0) <= 3).sum()  # fmt: skip
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = 20
    fine = on_grid(wide, Grid((20, 20, 20), affine))
    kji = np.argwhere(np.ones(fine.shape, bool))
    near = np.rint((kji * 2.0 + 20) / 4).astype(int)
    np.testing.assert_array_equal(fine.ravel(), wide.array[tuple(near.T)])


def test_the_field_of_view_on_the_fine_grid() -> None:
    scan = Volume(np.zeros((20, 30, 40), np.int16), blockspine.oblique_grid().affine)
    low, high = scan.grid.corners().min(axis=0), scan.grid.corners().max(axis=0)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = low - 10
    shape = tuple(int(n) for n in np.ceil((high - low + 20) / 3)[::-1])
    zeros = Volume(np.zeros(shape, np.uint8), affine)
    inside = covered(FineMaps(zeros, zeros, np.zeros((3, *shape), np.float16)), scan).array
    kji = np.argwhere(np.ones(shape, bool))
    ijk = scan.ras_to_ijk(zeros.ijk_to_ras(kji[:, ::-1]))
    expected = ((ijk >= -0.5) & (ijk <= np.array([40, 30, 20]) - 0.5)).all(axis=1)
    np.testing.assert_array_equal(inside.ravel(), expected)
    assert 0 < inside.sum() < inside.size


def test_edges_follow_the_scan_where_it_is_clear_and_stay_where_not() -> None:
    k, j, i = np.mgrid[:40, :40, :40] - 19.5
    truth = np.sqrt(k**2 + j**2 + i**2) < 14
    # The network's edge is off by a voxel, and soft.
    off = np.sqrt(k**2 + j**2 + (i - 1.2) ** 2) < 14
    share = ndimage.gaussian_filter(off.astype(np.float32), 1.5)
    noise = np.random.default_rng(0).normal(0, 15, truth.shape)
    hu = (np.where(truth, 400.0, 30.0) + noise).astype(np.float32)
    refined = refine_edges(hu, share, (1.0, 1.0, 1.0))
    assert blockspine.dice(refined, truth) > blockspine.dice(share >= 0.5, truth) + 0.02
    assert not refined[share < 0.2].any()
    assert refined[share > 0.7].all()
    weak = (np.where(truth, 70.0, 30.0) + noise).astype(np.float32)
    np.testing.assert_array_equal(refine_edges(weak, share, (1.0, 1.0, 1.0)), share >= 0.5)


def test_metal_beside_the_bone_is_not_added() -> None:
    share = np.tile(np.linspace(0.97, 0.0, 40, dtype=np.float32), (40, 40, 1))
    hu = np.where(share > 0.5, 500, 20).astype(np.float32)
    hu[:, :, 20:23] = 2900
    refined = refine_edges(hu, share, (1.0, 1.0, 1.0))
    assert not refined[share < 0.5].any()


def test_holes_are_filled_and_crumbs_dropped() -> None:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[2:12, 2:12, 2:12] = True
    mask[6, 6, 6] = False
    mask[17, 17, 17] = True
    clean = tidy(mask)
    assert clean[6, 6, 6]
    assert not clean[17, 17, 17]
    assert clean.sum() == 1000


def test_evidence_is_taken_from_both_passes() -> None:
    shape = (60, 60, 60)
    classes = np.zeros(shape, dtype=np.uint8)
    marks = np.zeros(shape, dtype=np.uint8)
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    for number, k in ((1, 45), (2, 25)):
        classes[k - 6 : k + 6, 20:36, 20:40] = FineClass.BODY
        marks[k - 6 : k + 6, 20:36, 20:40] = number
    classes[43:48, 22:30, 8:20] = FineClass.RIB  # touches the upper one, on its left side
    classes[43:48, 22:30, 40:52] = FineClass.RIB
    classes[2:12, 20:36, 20:40] = FineClass.SACRUM
    regions = np.zeros((30, 30, 30), dtype=np.uint8)
    regions[12:] = CoarseClass.THORACIC
    regions[:12] = CoarseClass.LUMBAR
    found = [
        Instance(np.array([44.25, 41.25, k * 1.5]), 3840, 3840, False, False, False, True, 1.0,
                 np.array([0.0, 0.0, -1.0]))
        for k in (44.5, 24.5)
    ]  # fmt: skip
    upper, lower = gather_evidence(
        Volume(classes, affine), Volume(marks, affine), found,
        Volume(regions, np.diag([3.0, 3.0, 3.0, 1.0])),
    )  # fmt: skip
    assert upper.ribs is not None and upper.ribs > 0.9  # noqa: PT018
    assert lower.ribs is not None and lower.ribs < 0.1  # noqa: PT018
    np.testing.assert_allclose(upper.region, [0, 0, 1, 0])
    assert lower.region is not None
    np.testing.assert_allclose(lower.region, [0, 0, 2 / 3, 1 / 3])
    # From the body's centre to the sacrum's upper end, 13.5 voxels below.
    assert lower.sacrum_mm == pytest.approx(13.5 * 1.5, abs=1.6)
