"""DICOM series written by pydicom: order, gaps, tilt, choice and damage."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)
from spineseg.errors import DependencyError, InputError
from spineseg.io.dicom import choose_series, find_series, is_dicom, read_series
from spineseg.io.images import read_volume
from spineseg.progress import CancelToken, Progress

AXIAL = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])  # columns i, j, k in LPS
SHAPE = (12, 10, 8)
SPACING = (0.7, 0.8, 2.5)
ORIGIN = np.array([-30.0, -40.0, -500.0])


def turned(*angles):
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()


def values(shape=SHAPE):
    """HU that differ in every voxel."""
    return (np.arange(np.prod(shape)) % 3000 - 1000).reshape(shape).astype(np.int16)


class Maker:
    """Writes series into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def series(
        self, hu=None, axes=AXIAL, places=None, uid=None, patient="p1", folder=".", skip=(), **tags
    ):
        """Write one file a slice, named at random, and return the series' uid."""
        hu = values() if hu is None else hu
        uid = uid or generate_uid()
        if places is None:
            places = [ORIGIN + axes[:, 2] * SPACING[2] * k for k in range(len(hu))]
        where = self.folder / folder
        where.mkdir(parents=True, exist_ok=True)
        for k in np.random.default_rng(self.count).permutation(len(hu)):
            if k in skip:
                continue
            dataset = self.dataset(hu[k], axes, places[k], uid, patient, int(k))
            for name, value in tags.items():
                setattr(dataset, name, value)
            self.save(dataset, where)
        return uid

    def save(self, dataset, where):
        self.count += 1
        path = where / f"IM{self.count:04d}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.save_as(path, enforce_file_format=True)
        return path

    def dataset(self, hu, axes, place, series, patient, number):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.SeriesInstanceUID = series
        ds.PatientID, ds.PatientName = patient, f"Secret^{patient}"
        ds.Modality, ds.SeriesNumber, ds.SeriesDescription = "CT", 3, "Bone 1.0"
        ds.InstanceNumber = 99 - number  # misleads whoever sorts by it
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImagePositionPatient = [float(f"{v:.6f}") for v in place]
        ds.ImageOrientationPatient = [float(f"{v:.9f}") for v in (*axes[:, 0], *axes[:, 1])]
        ds.PixelSpacing = [SPACING[1], SPACING[0]]
        ds.Rows, ds.Columns = hu.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        ds.PixelData = (hu.astype(np.int32) + 1024).astype("<u2").tobytes()
        return ds


@pytest.fixture
def maker(tmp_path):
    return Maker(tmp_path)


def expected_affine(axes=AXIAL, origin=ORIGIN, spacing=SPACING):
    lps = np.eye(4)
    lps[:3, :3] = axes * spacing
    lps[:3, 3] = origin
    return np.diag([-1, -1, 1, 1]) @ lps


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


def test_other_files_in_the_folder_do_not_matter(maker):
    maker.series()
    (maker.folder / "notes.txt").write_text("hello")
    (maker.folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + b"damaged")
    (maker.folder / "empty").write_bytes(b"")
    np.testing.assert_array_equal(read_volume(maker.folder).array, values())
    assert not is_dicom(maker.folder / "notes.txt")


def test_files_without_a_preamble_are_read(maker):
    maker.series()
    for path in maker.folder.iterdir():
        ds = pydicom.dcmread(path)
        bare = Dataset()
        bare.update({element.tag: element for element in ds})
        bare.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read_volume(maker.folder).array, values())


def test_slopes_that_differ_a_slice_give_floats(maker):
    maker.series()
    for number, path in enumerate(sorted(maker.folder.iterdir())):
        ds = pydicom.dcmread(path)
        ds.RescaleSlope = 0.5 + 0.25 * number
        ds.save_as(path)
    volume = read_volume(maker.folder)
    assert volume.dtype == np.float32
    for path in maker.folder.iterdir():
        ds = pydicom.dcmread(path)
        k = round((float(ds.ImagePositionPatient[2]) - ORIGIN[2]) / SPACING[2])
        expected = ds.pixel_array * float(ds.RescaleSlope) - 1024
        np.testing.assert_allclose(volume.array[k], expected, atol=1e-3)


def test_values_beyond_16_bits_are_kept(maker):
    maker.series(BitsStored=16, HighBit=15, RescaleIntercept=40_000)
    volume = read_volume(maker.folder)
    assert volume.dtype == np.int32
    np.testing.assert_array_equal(volume.array, values().astype(np.int32) + 41_024)


def test_monochrome1_is_turned_for_film_like_data_but_never_for_hu(maker):
    maker.series(PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_volume(maker.folder).array, values())
    for path in maker.folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.Modality, ds.RescaleIntercept = "XA", 0
        ds.save_as(path)
    notes = []
    turned_values = read_volume(maker.folder, notes).array
    np.testing.assert_array_equal(turned_values, 4095 - (values().astype(int) + 1024))
    assert "The series is XA, not CT." in notes


def test_an_mr_is_noted_and_refused_where_a_ct_is_needed(maker):
    maker.series(Modality="MR")
    notes = []
    read_volume(maker.folder, notes)
    assert "The series is MR, not CT." in notes
    one = next(maker.folder.iterdir())
    for path in (maker.folder, one):
        with pytest.raises(InputError, match="MR, not CT"):
            read_volume(path, ct_only=True)


def test_run_length_and_jpeg_2000_are_read(maker, tmp_path):
    maker.series(folder="rle")
    for path in (tmp_path / "rle").iterdir():
        ds = pydicom.dcmread(path)
        ds.compress(RLELossless)
        ds.save_as(path)
    np.testing.assert_array_equal(read_volume(tmp_path / "rle").array, values())
    # GDCM inside SimpleITK writes JPEG 2000, tags from the same dataset.
    big = values((12, 64, 64))
    maker.series(hu=big, folder="plain")
    (tmp_path / "j2k").mkdir()
    for path in (tmp_path / "plain").iterdir():
        compress_by_gdcm(path, tmp_path / "j2k" / path.name)
    found = find_series(tmp_path / "j2k")
    syntax = pydicom.dcmread(found[0].slices[0].path).file_meta.TransferSyntaxUID
    assert syntax == JPEG2000Lossless
    np.testing.assert_array_equal(read_volume(tmp_path / "j2k").array, big)


def compress_by_gdcm(source, target):
    """Encode the pixels with GDCM, and put them under the source's own tags."""
    ds = pydicom.dcmread(source)
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(target) + ".dcm")
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG2000")
    writer.Execute(sitk.GetImageFromArray(ds.pixel_array.astype(np.uint16)))
    encoded = pydicom.dcmread(str(target) + ".dcm")
    Path(str(target) + ".dcm").unlink()
    ds.PixelData = encoded.PixelData
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.file_meta.TransferSyntaxUID = encoded.file_meta.TransferSyntaxUID
    ds.save_as(target)


def test_an_unreadable_compression_names_a_package(maker):
    maker.series()
    for path in maker.folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.PixelData = pydicom.encaps.encapsulate([ds.PixelData])
        ds["PixelData"].VR = "OB"
        ds.file_meta.TransferSyntaxUID = MPEG2MPML
        ds.save_as(path)
    with pytest.raises(DependencyError, match="pylibjpeg") as caught:
        read_volume(maker.folder)
    assert caught.value.exit_code == 3
    assert "MPEG2" in str(caught.value)


def test_a_cut_off_slice_is_named(maker, capfd):
    maker.series()
    path = sorted(maker.folder.iterdir())[4]
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=f"{path.name} is damaged"):
        read_volume(maker.folder)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("tags", [
    {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
    {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
])  # fmt: skip
def test_directions_that_are_none_are_refused(maker, tags):
    maker.series(**tags)
    with pytest.raises(InputError, match="no valid orientation"):
        read_volume(maker.folder)


def test_an_enhanced_file_of_many_frames_is_read(maker):
    axes = turned(12, -25, 8)
    ds = maker.dataset(values()[0], axes, ORIGIN, generate_uid(), "p", 0)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    orientation, spacing = ds.ImageOrientationPatient, ds.PixelSpacing
    del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing
    del ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType
    shared = Dataset()
    shared.PlaneOrientationSequence = [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = orientation
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = spacing
    shared.PixelValueTransformationSequence = [Dataset()]
    shared.PixelValueTransformationSequence[0].RescaleSlope = 1
    shared.PixelValueTransformationSequence[0].RescaleIntercept = -1024
    ds.SharedFunctionalGroupsSequence = [shared]
    order = np.random.default_rng(0).permutation(SHAPE[0])
    ds.PerFrameFunctionalGroupsSequence = []
    for k in order:
        frame = Dataset()
        frame.PlanePositionSequence = [Dataset()]
        place = ORIGIN + axes[:, 2] * SPACING[2] * k
        frame.PlanePositionSequence[0].ImagePositionPatient = [round(float(v), 6) for v in place]
        ds.PerFrameFunctionalGroupsSequence.append(frame)
    ds.NumberOfFrames = SHAPE[0]
    ds.PixelData = (values()[order].astype(np.int32) + 1024).astype("<u2").tobytes()
    path = maker.save(ds, maker.folder)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, values())
    np.testing.assert_allclose(volume.affine, expected_affine(axes), atol=1e-5)


def test_progress_is_told_and_can_cancel(maker):
    from spineseg.errors import CancelledError

    maker.series()
    told = []
    series = choose_series(find_series(maker.folder))
    read_series(series, progress=Progress(lambda *event: told.append(event)))
    assert [fraction for _, fraction, _ in told] == pytest.approx(np.arange(1, 13) / 12)
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        read_series(series, progress=Progress(token=token))
