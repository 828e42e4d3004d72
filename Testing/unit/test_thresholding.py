"""Otsu's threshold over a range, slice by slice, and the median after it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import threshold_otsu
from spineseg.errors import InputError
from spineseg.geometry.thresholding import (
    ThresholdSettings,
    bone_mask,
    otsu_threshold,
    slice_axis,
)
from spineseg.volume import Volume


def scan(seed: int = 0, shape=(20, 24, 28), spacing=(1.0, 1.0, 1.0)) -> tuple[Volume, np.ndarray]:
    """A bright block in darker noise."""
    rng = np.random.default_rng(seed)
    values = rng.normal(40, 20, shape)
    truth = np.zeros(shape, bool)
    truth[5:15, 6:18, 6:22] = True
    values[truth] += 260
    affine = np.diag([*spacing, 1.0])
    return Volume(values.astype(np.float32), affine), truth


def test_it_is_scikit_images_threshold_over_the_range() -> None:
    volume, _ = scan()
    values = volume.array.astype(np.float64).ravel()
    inside = values[(values >= 0) & (values <= 400)]
    assert otsu_threshold(values, 0, 400) == threshold_otsu(inside, nbins=256)


@settings(deadline=None, max_examples=25)
@given(shift=st.floats(-300, 300), gain=st.floats(0.5, 3), seed=st.integers(0, 20))
def test_the_threshold_follows_shift_and_gain(shift: float, gain: float, seed: int) -> None:
    values = scan(seed)[0].array.astype(np.float64)
    plain = otsu_threshold(values, -1e4, 1e4)
    moved = otsu_threshold(gain * values + shift, -1e5, 1e5)
    assert moved == pytest.approx(gain * plain + shift, abs=gain * 3)


@pytest.mark.parametrize("per_slice", [True, False])
def test_bone_is_found_in_both_ways(per_slice: bool) -> None:
    volume, truth = scan()
    found = bone_mask(volume, ThresholdSettings(per_slice=per_slice))
    share = 2 * ((found.mask.array > 0) & truth).sum() / (found.mask.array.sum() + truth.sum())
    assert share > 0.95
    assert len(found.thresholds) == (28 if per_slice else 1)
    assert found.mask.dtype == np.uint8


def test_a_slice_of_another_brightness_has_a_threshold_of_its_own() -> None:
    volume, truth = scan()
    volume.array[:, :, 14:] += 200  # a coil makes them brighter
    slices = bone_mask(volume, ThresholdSettings(median_mm=0)).mask.array > 0
    whole = bone_mask(volume, ThresholdSettings(median_mm=0, per_slice=False)).mask.array > 0
    wrong = [(m[:, :, 14:22] != truth[:, :, 14:22]).mean() for m in (slices, whole)]
    assert wrong[0] < wrong[1]


def test_slices_without_contrast_take_their_neighbours_threshold() -> None:
    volume, _ = scan()
    volume.array[:, :, 10] = 5.0
    volume.array[:, :, 12] = -900.0
    found = bone_mask(volume)
    assert all(np.isfinite(found.thresholds))
    assert "of 28 slices have too little bone" in found.warnings[0]
    low, high = sorted((found.thresholds[9], found.thresholds[11]))
    assert low <= found.thresholds[10] <= high


@pytest.mark.parametrize(("low", "high", "text"), [(2000, 3000, "No voxel lies"), (5, 6, "same")])
def test_a_range_without_contrast_is_refused(low: float, high: float, text: str) -> None:
    volume, _ = scan()
    volume.array[:] = np.where(volume.array > 100, 300.0, 5.5)
    with pytest.raises(InputError, match=text):
        bone_mask(volume, ThresholdSettings(low=low, high=high))


def test_slices_lie_across_the_widest_voxels_or_along_the_body() -> None:
    volume, _ = scan(spacing=(1.0, 1.0, 5.0))
    assert slice_axis(volume, "acquisition") == 0
    assert slice_axis(volume, "sagittal") == 2
    turned = volume.reoriented("SRA")
    assert slice_axis(turned, "sagittal") == 1
    assert slice_axis(scan()[0], "acquisition") == 2


def test_the_median_takes_specks_away_and_is_in_mm() -> None:
    volume, truth = scan(spacing=(1.0, 1.0, 4.0))
    speck = np.zeros_like(truth)
    speck[2, 2, 2] = True
    volume.array[speck] = 500
    kept = bone_mask(volume, ThresholdSettings(median_mm=0)).mask.array[speck]
    gone = bone_mask(volume, ThresholdSettings(median_mm=3)).mask.array[speck]
    assert (kept.max(), gone.max()) == (1, 0)


@pytest.mark.parametrize("wrong", [{"low": 5, "high": 5}, {"axis": "oblique"}, {"median_mm": -1}])
def test_settings_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(ValueError):
        ThresholdSettings(**wrong)
