"""DICOM series: order, gaps, tilt and choice."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicomseries import AXIAL, ORIGIN, SHAPE, SPACING, Maker, expected_affine, turned, values
from pydicom.uid import (
    generate_uid,
)
from spineseg.errors import InputError
from spineseg.io.dicom import find_series
from spineseg.io.images import read_volume


@pytest.fixture
def maker(tmp_path):
    return Maker(tmp_path)


@pytest.mark.parametrize("axes", [AXIAL, turned(12, -25, 8), turned(90, 0, 0), turned(0, 90, 10)])
def test_slices_are_sorted_by_position_and_rescaled(maker, axes):
    maker.series(axes=axes, folder="a/b/c")
    notes = []
    volume = read_volume(maker.folder, notes)
    assert volume.dtype == np.int16
    np.testing.assert_array_equal(volume.array, values())
    np.testing.assert_allclose(volume.affine, expected_affine(axes), atol=1e-5)
    assert notes == []


def test_simpleitk_agrees_about_the_place(maker):
    axes = turned(12, -25, 8)
    maker.series(axes=axes)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(maker.folder)))
    theirs = reader.Execute()
    ours = read_volume(maker.folder).to_sitk()
    np.testing.assert_allclose(ours.GetOrigin(), theirs.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(ours.GetSpacing(), theirs.GetSpacing(), atol=1e-4)
    np.testing.assert_allclose(ours.GetDirection(), theirs.GetDirection(), atol=1e-4)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))


def test_a_single_file_stands_for_its_series(maker):
    maker.series()
    maker.series(hu=values((20, 10, 8)))
    path = next(p for p in maker.folder.iterdir() if pydicom.dcmread(p).InstanceNumber == 95)
    wanted = pydicom.dcmread(path).SeriesInstanceUID
    depth = 12 if find_series(maker.folder)[1].uid == wanted else 20
    notes = []
    assert read_volume(path, notes).shape[0] == depth
    assert f"All {depth} slices" in notes[0]


def test_rounded_positions_count_as_even(maker):
    places = [ORIGIN + (0, 0, round(0.625 * k, 1)) for k in range(12)]
    maker.series(places=places)
    volume = read_volume(maker.folder)
    assert volume.spacing[2] == pytest.approx(0.625, abs=0.01)
    np.testing.assert_array_equal(volume.array, values())


@pytest.mark.parametrize(("skip", "words"), [((5,), "1 slice is"), ((4, 5, 6), "3 slices are")])
def test_missing_slices_are_an_error_that_names_the_gap(maker, skip, words):
    maker.series(skip=skip)
    with pytest.raises(InputError, match=words) as caught:
        read_volume(maker.folder)
    below, above = (ORIGIN[2] + 2.5 * k for k in (skip[0] - 1, skip[-1] + 1))
    assert f"between z = {below:.1f} mm and z = {above:.1f} mm" in str(caught.value)


def test_a_change_of_slice_distance_is_an_error(maker):
    steps = np.cumsum([0, *[2.0] * 6, *[5.0] * 5])
    maker.series(places=[ORIGIN + (0, 0, step) for step in steps])
    with pytest.raises(InputError, match="missing"):
        read_volume(maker.folder)


def test_slight_unevenness_is_resampled_and_said(maker):
    heights = np.array([0, 2, 4, 6.6, 8, 10, 12, 14, 15.4, 18, 20, 22])
    ramp = np.broadcast_to(np.rint(100 * heights)[:, None, None] - 1000, SHAPE).astype(np.int16)
    maker.series(hu=ramp, places=[ORIGIN + (0, 0, height) for height in heights])
    notes = []
    volume = read_volume(maker.folder, notes)
    assert volume.spacing[2] == pytest.approx(2.0)
    assert len(notes) == 1
    assert "unevenly spaced (1.4 to 2.6 mm)" in notes[0]
    # The values are linear in height, so interpolation must give them back exactly.
    expected = 200 * np.arange(volume.shape[0]) - 1000
    np.testing.assert_allclose(volume.array[:, 4, 4], expected, atol=1)
    assert volume.shape[0] == 12


def test_a_tilted_gantry_is_straightened_and_said(maker):
    tilt = np.radians(18.0)
    axes = turned(18.0, 0, 0)
    # The table moves along the body while the slices lean.
    table = np.array([0, 0, 1.0])
    places = [ORIGIN + table * SPACING[2] * k for k in range(20)]
    j, i = np.meshgrid(np.arange(60), np.arange(8), indexing="ij")
    direction = np.array([3.0, 7.0, 5.0])
    field = np.stack([
        (place + i[..., None] * axes[:, 0] * SPACING[0] + j[..., None] * axes[:, 1] * SPACING[1])
        @ direction
        for place in places
    ])  # fmt: skip
    offset = np.rint(field.mean())
    maker.series(hu=np.rint(field - offset).astype(np.int16), axes=axes, places=places)
    notes = []
    volume = read_volume(maker.folder, notes)
    assert "tilted by 18.0°" in notes[0]
    assert volume.spacing == pytest.approx((*SPACING[:2], SPACING[2] * np.cos(tilt)))
    directions = volume.grid.directions
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-6)
    covered = volume.array != volume.array.min()
    assert covered.mean() > 0.6
    # Every voxel that a slice covers has the value that belongs to its place in space.
    places_ras = volume.ijk_to_ras(np.argwhere(covered)[:, ::-1])
    expected = (places_ras * (-1, -1, 1)) @ direction - offset
    inner = np.abs(volume.array[covered] - expected) <= 2
    # Linear interpolation against the fill value spoils at most a row at each end of a slice.
    assert inner.mean() > 0.95


def test_more_lean_than_a_gantry_has_is_refused(maker):
    maker.series(places=[ORIGIN + (0, 3.0 * k, 2.5 * k) for k in range(12)])
    with pytest.raises(InputError, match="lean by 50°"):
        read_volume(maker.folder)


def test_two_patients_are_refused_without_naming_them(maker, capfd):
    maker.series(patient="anna")
    maker.series(patient="bert")
    with pytest.raises(InputError, match="2 patients") as caught:
        read_volume(maker.folder)
    told = f"{caught.value} {caught.value.details} {capfd.readouterr()} {find_series(maker.folder)}"
    for word in ("anna", "bert", "Secret"):
        assert word not in told


def test_two_patients_under_one_series_uid_are_refused(maker):
    uid = maker.series(patient="anna")
    maker.series(patient="bert", uid=uid)
    with pytest.raises(InputError, match="2 patients"):
        read_volume(maker.folder, series=uid)


def test_two_full_series_are_listed_and_one_can_be_chosen(maker):
    first = maker.series()
    second = maker.series(hu=values((15, 10, 8)), SeriesNumber=4, SeriesDescription="Soft")
    with pytest.raises(InputError, match="2 series") as caught:
        read_volume(maker.folder)
    for part in (first, second, "“Soft” (CT, 15 slices", "“Bone 1.0” (CT, 12 slices"):
        assert part in str(caught.value)
    assert read_volume(maker.folder, series=second).shape[0] == 15
    assert read_volume(maker.folder, series=first).shape[0] == 12
    with pytest.raises(InputError, match="no series with the uid 1.2.3"):
        read_volume(maker.folder, series="1.2.3")


def test_localizers_and_short_series_are_passed_over_and_said(maker):
    wanted = maker.series()
    maker.series(hu=values((3, 10, 8)))
    maker.series(hu=values((14, 10, 8)), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    notes = []
    assert read_volume(maker.folder, notes).shape == SHAPE
    assert len(notes) == 1
    assert wanted in notes[0]


def test_a_localizer_inside_the_series_is_passed_over(maker):
    uid = maker.series()
    maker.series(hu=values((2, 10, 8)), axes=turned(90, 0, 0), uid=uid)
    np.testing.assert_array_equal(read_volume(maker.folder).array, values())


def test_a_folder_exported_twice_is_read_once(maker):
    maker.series()
    for path in list(maker.folder.iterdir()):
        (maker.folder / f"copy of {path.name}").write_bytes(path.read_bytes())
    notes = []
    np.testing.assert_array_equal(read_volume(maker.folder, notes).array, values())
    assert "12 files are copies" in notes[0]


def test_two_phases_in_one_series_are_refused(maker):
    uid = maker.series()
    maker.series(uid=uid)
    with pytest.raises(InputError, match="12 slices .* same place"):
        read_volume(maker.folder)


def test_one_slice_is_refused(maker):
    maker.series(hu=values((1, 10, 8)))
    with pytest.raises(InputError, match="single slice"):
        read_volume(maker.folder)
    with pytest.raises(InputError, match="single slice"):
        read_volume(next(maker.folder.iterdir()))


def test_a_radiograph_is_refused(maker):
    ds = maker.dataset(values()[0], AXIAL, ORIGIN, generate_uid(), "p", 0)
    del ds.ImagePositionPatient, ds.ImageOrientationPatient
    ds.Modality = "DX"
    path = maker.save(ds, maker.folder)
    with pytest.raises(InputError, match="not a slice of a scan"):
        read_volume(path)
    with pytest.raises(InputError, match="no DICOM scan"):
        read_volume(maker.folder)
