"""Scans from NIfTI, NRRD and MetaImage: exact geometry, and one sentence for each bad file."""

from __future__ import annotations

import gzip
import struct
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from spineseg.errors import InputError
from spineseg.io.images import read_volume, write_volume
from spineseg.volume import Volume

SUFFIXES = ("nii.gz", "nii", "nrrd", "mha")


def oblique(spacing=(0.7, 0.8, 2.5), angles=(10, 20, -15), origin=(12.5, -30, 400.25)):
    """Return an affine, turned about all axes."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    return affine


def scan(affine=None, shape=(6, 5, 4), dtype=np.int16):
    values = np.random.default_rng(0).integers(-1000, 1500, shape)
    return Volume(values.astype(dtype), oblique() if affine is None else affine)


@pytest.fixture
def nifti(tmp_path):
    """Return the bytes of an unpacked NIfTI file of 6 × 5 × 4 voxels, to be damaged."""
    path = tmp_path / "whole.nii"
    write_volume(scan(), path)
    return bytearray(path.read_bytes())


@pytest.fixture
def small_files():
    """Return a context in which no file may grow beyond a size, as on a full disk."""
    try:
        import resource
    except ImportError:
        pytest.skip("posix: file sizes can't be limited here")

    @contextmanager
    def limit(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_written_volumes_are_read_back_exactly(tmp_path, suffix, dtype):
    volume = scan(dtype=dtype)
    path = tmp_path / f"scan.{suffix}"
    write_volume(volume, path)
    back = read_volume(path)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back.array, volume.array)
    # NIfTI keeps the matrix as float32.
    np.testing.assert_allclose(back.affine, volume.affine, atol=5e-5)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 6)] * 3),
    origin=st.tuples(*[st.floats(-900, 900)] * 3),
    mirrored=st.booleans(),
    form=st.sampled_from(["sform", "qform", "both"]),
    kind=st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]),
    slope=st.sampled_from([None, 1.0, 0.5, -2.0]),
    dtype=st.sampled_from(["<i2", ">i2", "u1", "<f4", ">f8", "<u2"]),
)
def test_nifti_is_read_as_nibabel_reads_it(
    tmp_path, angles, spacing, origin, mirrored, form, kind, slope, dtype
):
    affine = oblique(spacing, angles, origin)
    if mirrored:
        affine[:, 0] *= -1
    stored = np.random.default_rng(1).integers(0, 200, (4, 5, 6)).astype(dtype)
    header = kind.header_class(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype)
    image = kind(stored, affine, header)
    image.set_sform(affine, 1 if form != "qform" else 0)
    image.set_qform(affine, 1 if form != "sform" else 0)
    if slope is not None:
        image.header.set_slope_inter(slope, -3.0)
    path = tmp_path / "scan.nii.gz"
    image.to_filename(path)
    theirs = nibabel.load(path)
    ours = read_volume(path)
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=2e-3)
    np.testing.assert_allclose(ours.array.transpose(2, 1, 0), theirs.get_fdata(), atol=1e-3)
    assert ours.dtype.isnative


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 6)] * 3),
    mirrored=st.booleans(),
    dtype=st.sampled_from([np.uint8, np.int16, np.float32, np.float16, np.bool_]),
)
def test_others_read_our_nifti_alike(tmp_path, angles, spacing, mirrored, dtype):
    affine = oblique(spacing, angles)
    if mirrored:
        affine[:, 1] *= -1
    volume = scan(affine, dtype=dtype)
    path = tmp_path / "scan.nii.gz"
    write_volume(volume, path)
    theirs = nibabel.load(path)
    np.testing.assert_allclose(theirs.get_sform(), affine, atol=2e-4)
    # A quaternion of three float32 can't tell turns of a thousandth from half a turn.
    np.testing.assert_allclose(theirs.get_qform(), affine, atol=2e-3 * max(spacing))
    np.testing.assert_array_equal(np.asarray(theirs.dataobj).transpose(2, 1, 0), volume.array)
    itk = Volume.from_sitk(sitk.ReadImage(str(path)))
    np.testing.assert_allclose(itk.affine, affine, atol=2e-4)
    np.testing.assert_array_equal(itk.array, volume.array)


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(scan(), tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_gzipped_file_under_another_name_is_read(tmp_path):
    write_volume(scan(), tmp_path / "scan.nii.gz")
    (tmp_path / "scan.nii.gz").rename(tmp_path / "download")
    np.testing.assert_array_equal(read_volume(tmp_path / "download").array, scan().array)


def test_a_fourth_axis_of_one_is_no_matter(tmp_path):
    image = sitk.JoinSeries([scan().to_sitk()])
    for suffix in ("nii.gz", "nrrd", "mha"):
        sitk.WriteImage(image, str(tmp_path / f"scan.{suffix}"))
        back = read_volume(tmp_path / f"scan.{suffix}")
        np.testing.assert_array_equal(back.array, scan().array)
        np.testing.assert_allclose(back.affine, oblique(), atol=5e-5)


def test_voxels_that_are_no_numbers_become_the_lowest_value_and_a_note(tmp_path):
    array = scan(dtype=np.float32).array.copy()
    array[0, 0, :3] = np.nan
    array[1, 1, 1] = np.inf
    lowest = array[np.isfinite(array)].min()
    write_volume(Volume(array, oblique()), tmp_path / "scan.nii.gz")
    notes = []
    back = read_volume(tmp_path / "scan.nii.gz", notes)
    assert (back.array[~np.isfinite(array)] == lowest).all()
    np.testing.assert_array_equal(back.array[np.isfinite(array)], array[np.isfinite(array)])
    assert len(notes) == 1
    assert notes[0].startswith("4 voxels")


def test_a_file_without_orientation_says_so(tmp_path, nifti):
    struct.pack_into("<2h", nifti, 252, 0, 0)
    (tmp_path / "scan.nii").write_bytes(nifti)
    notes = []
    volume = read_volume(tmp_path / "scan.nii", notes)
    assert volume.orientation == "LPS"
    np.testing.assert_allclose(volume.spacing, (0.7, 0.8, 2.5), rtol=1e-6)
    assert "no orientation" in notes[0]


def test_metres_and_micrometres_become_millimetres(tmp_path, nifti):
    for unit, factor in ((1, 1000.0), (2, 1.0), (3, 0.001)):
        nifti[123] = unit
        (tmp_path / "scan.nii").write_bytes(nifti)
        spacing = read_volume(tmp_path / "scan.nii").spacing
        np.testing.assert_allclose(spacing, np.array((0.7, 0.8, 2.5)) * factor, rtol=1e-5)


def test_a_sheared_file_is_put_on_perpendicular_axes(tmp_path):
    affine = oblique((1, 1, 2))
    affine[:3, 2] += 0.5 * affine[:3, 1]  # as a tilted gantry does: 14 degrees
    k, j, i = np.meshgrid(*[np.arange(n, dtype=float) for n in (16, 30, 28)], indexing="ij")
    # A field that is linear in the world is the same wherever it is sampled linearly.
    world = np.stack([i, j, k], -1) @ affine[:3, :3].T + affine[:3, 3]
    field = (world @ (1.0, 2.0, -0.5)).astype(np.float32)
    nibabel.Nifti1Image(field.transpose(2, 1, 0), affine).to_filename(tmp_path / "scan.nii.gz")
    notes = []
    volume = read_volume(tmp_path / "scan.nii.gz", notes)
    assert "perpendicular" in notes[0]
    directions = volume.grid.directions
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-9)
    places = volume.ijk_to_ras(np.argwhere(np.ones(volume.shape))[:, ::-1])
    before = Volume(field, affine).ras_to_ijk(places)
    # Beyond the centres of the outermost voxels there is nothing to interpolate.
    inside = ((before >= 0) & (before <= np.array((27, 29, 15)))).all(axis=1)
    assert inside.sum() > 0.8 * field.size * np.linalg.det(affine[:3, :3]) / volume.voxel_mm3
    np.testing.assert_allclose(
        volume.array.ravel()[inside], places[inside] @ (1.0, 2.0, -0.5), atol=0.01
    )


def damage(name, start, form, *values):
    """Return a maker of a NIfTI file with some header bytes replaced."""

    def make(folder: Path, whole: bytearray) -> Path:
        struct.pack_into(form, whole, start, *values)
        (folder / name).write_bytes(whole)
        return folder / name

    return make


def content(name, data):
    def make(folder: Path, whole: bytearray) -> Path:
        (folder / name).write_bytes(data(bytes(whole)) if callable(data) else data)
        return folder / name

    return make


def image(name, make_image):
    def make(folder: Path, whole: bytearray) -> Path:
        sitk.WriteImage(make_image(scan().to_sitk()), str(folder / name))
        return folder / name

    return make


def cut(name, part):
    def make(folder: Path, whole: bytearray) -> Path:
        write_volume(scan(shape=(12, 40, 40)), folder / name)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * part)])
        return folder / name

    return make


def nowhere(folder, whole):
    return folder / "missing.nii.gz"


def empty_folder(folder, whole):
    (folder / "scan").mkdir()
    return folder / "scan"


def header_nan(name, before, after):
    def make(folder: Path, whole: bytearray) -> Path:
        write_volume(scan(oblique((1, 1, 1), (0, 0, 0), (0, 0, 0))), folder / name)
        data = (folder / name).read_bytes()
        assert before in data
        (folder / name).write_bytes(data.replace(before, after))
        return folder / name

    return make


NAN = float("nan")
PHOTO = sitk.GetImageFromArray(np.zeros((20, 30, 3), np.uint8), isVector=True)

BAD = {
    "missing": (nowhere, "no file or folder"),
    "an empty folder": (empty_folder, "no DICOM"),
    "empty": (content("scan.nii.gz", b""), "is empty"),
    "empty when unpacked": (content("scan.nii.gz", gzip.compress(b"")), "is empty"),
    "text": (content("scan.nii.gz", b"no image\n" * 99), "not NIfTI"),
    "gzipped text": (content("a.nii.gz", gzip.compress(b"no image\n" * 99)), "not NIfTI"),
    "a table": (content("scan.csv", b"a,b,c\n1,2,3\n"), "not an image"),
    "zeros": (content("scan.mha", bytes(2000)), "not an image"),
    "header cut": (content("scan.nii", lambda whole: whole[:346]), "cut off"),
    "voxels cut": (content("scan.nii", lambda whole: whole[:-1]), "cut off"),
    "gzip cut": (cut("scan.nii.gz", 0.6), "cut off"),
    "gzip header cut": (cut("scan.nii.gz", 0.002), "cut off"),
    "gzip damaged": (
        content("s.nii.gz", lambda whole: gzip.compress(whole)[:200] + bytes(300)), "cut off"
    ),
    "NRRD cut": (cut("scan.nrrd", 0.6), "cut off"),
    "NRRD header cut": (cut("scan.nrrd", 0.004), "cut off"),
    "MHA cut": (cut("scan.mha", 0.6), "cut off"),
    "MHA header cut": (cut("scan.mha", 0.004), "cut off"),
    "4-D NIfTI": (image("a.nii.gz", lambda one: sitk.JoinSeries([one, one])), "4 dimensions"),
    "4-D NRRD": (image("a.nrrd", lambda one: sitk.JoinSeries([one, one])), "4 dimensions"),
    "4-D MHA": (image("a.mha", lambda one: sitk.JoinSeries([one, one])), "4 dimensions"),
    "vectors": (image("a.nrrd", lambda one: sitk.Compose(one, one)), "2 values"),
    "one slice": (image("a.nii.gz", lambda one: one[:, :, :1]), "single slice"),
    "2-D": (image("a.nii.gz", lambda one: one[:, :, 0]), "single slice"),
    "2-D NRRD": (image("a.nrrd", lambda one: one[:, :, 0]), "2 dimensions"),
    "JPEG": (image("photo.jpg", lambda one: PHOTO), "JPEG picture"),
    "PNG": (image("photo.png", lambda one: PHOTO), "PNG picture"),
    "a JPEG called NIfTI": (
        lambda folder, whole: image("p.jpg", lambda one: PHOTO)(folder, whole).rename(
            folder / "p.nii"
        ),
        "JPEG picture",
    ),
    "NaN sform": (damage("a.nii", 280, "<4f", *[NAN] * 4), "not all finite"),
    "infinite sform": (damage("a.nii", 292, "<f", float("inf")), "not all finite"),
    "NaN qform": (damage("a.nii", 252, "<2h3f", 1, 0, *[NAN] * 3), "not all finite"),
    "flat sform": (damage("a.nii", 280, "<4f", 0, 0, 0, 0), "three dimensions"),
    "no voxels": (damage("a.nii", 40, "<8h", 3, 4, 0, 6, 1, 1, 1, 1), "no voxels"),
    "negative size": (damage("a.nii", 40, "<8h", 3, 4, -5, 6, 1, 1, 1, 1), "cut off"),
    "huge size": (damage("a.nii", 40, "<8h", 3, 32000, 32000, 32000, 1, 1, 1, 1), "cut off"),
    "no dimensions": (damage("a.nii", 40, "<h", 77), "cut off"),
    "colour": (damage("a.nii", 70, "<h", 128), "in colour"),
    "unknown type": (damage("a.nii", 70, "<h", 9), "unknown type"),
    "negative offset": (damage("a.nii", 108, "<f", -4), "cut off"),
    "half of a pair": (damage("a.nii", 344, "4s", b"ni1\x00"), "second file"),
    "NaN in NRRD": (header_nan("a.nrrd", b"origin: (0,0,0)", b"origin: (nan,0,0)"), "damaged"),
    "NaN offset in MHA": (header_nan("a.mha", b"Offset = 0 0 0", b"Offset = NaN 0 0"), "finite"),
    "NaN axes in MHA": (header_nan("a.mha", b"Matrix = -1", b"Matrix = nan"), "finite"),
    "no size in MHA": (header_nan("a.mha", b"Spacing = 1 1 1", b"Spacing = 0 1 1"), "damaged"),
    "only NaN": (
        content("a.nii", lambda whole: bytes(nan_file(whole))), "only NaN"
    ),
}  # fmt: skip


def nan_file(whole: bytes) -> bytearray:
    """Return a float32 file of NaN with the header of `whole`."""
    head = bytearray(whole[:352])
    struct.pack_into("<2h", head, 70, 16, 32)
    return head + np.full(120, NAN, "<f4").tobytes()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gives_one_clear_sentence_and_no_noise(tmp_path, nifti, capfd, name):
    make, words = BAD[name]
    path = make(tmp_path, nifti)
    capfd.readouterr()
    with pytest.raises(InputError, match=words) as caught:
        read_volume(path)
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_half_written_when_a_volume_cannot_be(tmp_path, capfd):
    for name, words in (("scan.jpg", "no format"), ("scan", "no format")):
        with pytest.raises(InputError, match=words):
            write_volume(scan(), tmp_path / name)
    sheared = oblique()
    sheared[:3, 2] += sheared[:3, 1]
    with pytest.raises(InputError, match="not perpendicular"):
        write_volume(scan(sheared), tmp_path / "scan.nii.gz")
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_takes_no_more_leaves_the_old_file(tmp_path, suffix, capfd, small_files):
    path = tmp_path / f"scan.{suffix}"
    path.write_bytes(b"what was there")
    with small_files(20_000), pytest.raises((InputError, OSError)):
        write_volume(scan(shape=(40, 40, 40)), path)
    assert path.read_bytes() == b"what was there"
    assert len(list(tmp_path.iterdir())) == 1
    assert capfd.readouterr().err == ""


def test_a_real_scan_keeps_its_place(realdata):
    path = realdata / "ct/verse014_ct.nii.gz"
    volume = read_volume(path)
    theirs = nibabel.load(path)
    np.testing.assert_allclose(volume.affine, theirs.affine, atol=1e-4)
    np.testing.assert_array_equal(volume.array.transpose(2, 1, 0), np.asarray(theirs.dataobj))
