"""DICOM files: what lies beside them, values, compression, damage, many frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicomseries import ORIGIN, SHAPE, SPACING, Maker, expected_affine, turned, values
from pydicom.dataset import Dataset
from pydicom.uid import (
    MPEG2MPML,
    EnhancedCTImageStorage,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)
from spineseg.errors import DependencyError, InputError
from spineseg.io.dicom import choose_series, find_series, is_dicom, read_series
from spineseg.io.images import read_volume
from spineseg.progress import CancelToken, Progress


@pytest.fixture
def maker(tmp_path):
    return Maker(tmp_path)


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
