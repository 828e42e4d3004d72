"""Reading films: pixel sizes, inverted and odd files, and what is no film."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicomfilm import GREY, write_dicom
from spineseg.errors import InputError
from spineseg.io.film_corners import read_corners
from spineseg.io.film_tables import find_film_truths
from spineseg.io.films import find_films, read_film

NAMES = [f"v{n:02d}_{c}_{a}" for n in range(1, 18) for c in ("ul", "ur", "ll", "lr") for a in "xy"]


def write_picture(path: Path, array: np.ndarray) -> Path:
    colour = array.ndim == 3
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=colour), str(path))
    return path


@pytest.mark.parametrize(
    ("tags", "spacing", "magnified"),
    [
        ({}, None, False),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2), True),
        ({"PixelSpacing": [0.2, 0.2]}, (0.2, 0.2), True),
        ({"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2), True),
        ({"PixelSpacing": [0.17, 0.17], "ImagerPixelSpacing": [0.2, 0.2]}, (0.17, 0.17), False),
        ({"PixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": "FIDUCIAL"},
         (0.2, 0.2), False),
        ({"ImagerPixelSpacing": [0.2, 0.4], "EstimatedRadiographicMagnificationFactor": 1.25},
         (0.16, 0.32), False),
        ({"NominalScannedPixelSpacing": [0.3, 0.3]}, (0.3, 0.3), True),
        ({"PixelSpacing": [0.0, 0.0]}, None, False),
    ],
)  # fmt: skip
def test_the_pixel_size_is_the_calibrated_one(tmp_path: Path, tags, spacing, magnified) -> None:
    film = read_film(write_dicom(tmp_path / "film.dcm", **tags))
    assert film.spacing_mm == (None if spacing is None else pytest.approx(spacing))
    assert film.magnified is magnified
    assert film.pixel_aspect == pytest.approx(spacing[0] / spacing[1] if spacing else 1.0)
    np.testing.assert_array_equal(film.array, GREY)


def test_bone_is_bright_whichever_way_it_was_stored(tmp_path: Path) -> None:
    inverted = write_dicom(tmp_path / "a.dcm", 4095 - GREY, PhotometricInterpretation="MONOCHROME1")
    film = read_film(inverted)
    np.testing.assert_array_equal(film.array, GREY)
    assert any("turned over" in note for note in film.notes)


def test_the_header_tells_the_view_and_the_side(tmp_path: Path) -> None:
    film = read_film(
        write_dicom(tmp_path / "a.dcm", ViewPosition="PA", PatientOrientation=["L", "F"])
    )
    assert (film.view, film.left_is) == ("ap", "R")
    side = read_film(
        write_dicom(tmp_path / "b.dcm", ViewPosition="LL", PatientOrientation=["A", "F"])
    )
    assert (side.view, side.left_is) == ("lateral", "P")
    plain = read_film(write_dicom(tmp_path / "c.dcm", PixelAspectRatio=["2", "1"]))
    assert (plain.view, plain.left_is, plain.pixel_aspect) == (None, None, 2.0)


def test_pictures_keep_their_bits(tmp_path: Path) -> None:
    film = read_film(write_picture(tmp_path / "film.png", GREY))
    assert film.array.dtype == np.uint16
    np.testing.assert_array_equal(film.array, GREY)
    assert film.spacing_mm is None
    small = (GREY // 16).astype(np.uint8)
    jpeg = read_film(write_picture(tmp_path / "film.jpg", small))
    assert np.abs(jpeg.array.astype(int) - small).max() < 12
    same = np.repeat(small[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_film(write_picture(tmp_path / "rgb.png", same)).array, small)
    same[:3, :3] = (255, 0, 0)
    marked = read_film(write_picture(tmp_path / "marked.png", same))
    assert any("coloured" in note for note in marked.notes)


def photograph(path: Path) -> Path:
    rng = np.random.default_rng(0)
    return write_picture(path, rng.integers(0, 255, (90, 80, 3), dtype=np.uint8))


def volume(path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16)), str(path))
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: write_dicom(p / "f.dcm", Modality="CT"), "a CT, not a radiograph"),
        (lambda p: write_dicom(p / "f.dcm", Modality="MR"), "an MR"),
        (lambda p: write_dicom(p / "f.dcm", np.stack([GREY] * 2), NumberOfFrames=2), "2 pictures"),
        (lambda p: photograph(p / "f.png"), "in colour"),
        (lambda p: volume(p / "f.nii.gz"), "3-D"),
        (lambda p: volume(p / "f.mha"), "3-D"),
        (lambda p: write_picture(p / "f.png", GREY[:20, :20]), "20 × 20"),
        (lambda p: write_picture(p / "f.png", GREY * 0), "alike"),
        (lambda p: p / "none.png", "no file"),
        (lambda p: p, "folder"),
    ],
)  # fmt: skip
def test_what_is_no_film_is_refused_in_a_sentence(tmp_path: Path, make, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_film(make(tmp_path))


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "empty"), (b"hello, I am text", "not a picture"), (b"\x89PNG\r\n\x1a\n cut", "damaged")],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "f.png").write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_film(tmp_path / "f.png")


def test_a_cut_off_dicom_file_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "f.dcm")
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match="damaged"):
        read_film(path)


def test_a_folder_gives_its_films_by_name(tmp_path: Path) -> None:
    write_picture(tmp_path / "b.png", GREY)
    write_dicom(tmp_path / "IM0001")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "a.jpg").write_bytes(b"damaged")
    assert [p.name for p in find_films(tmp_path)] == ["IM0001", "a.jpg", "b.png"]


def corner_table(scale: float = 1.0) -> np.ndarray:
    return scale * np.arange(1, 137, dtype=float).reshape(17, 4, 2)


def test_tables_with_headers_are_read(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    write_picture(tmp_path / "images" / "a.png", GREY)
    cells = ",".join(f"{v}" for v in corner_table().ravel())
    (tmp_path / "landmarks.csv").write_text(f"file,{','.join(NAMES)}\na.png,{cells}\n")
    (tmp_path / "films.csv").write_text(
        "file,patient,implants,cobb_major_deg,cobb_upper_deg,cobb_lower_deg\na.png,7,yes,30,20,10\n"
    )
    (only,) = find_film_truths(tmp_path)
    np.testing.assert_array_equal(only.corners_on(80, 90), corner_table())
    assert (only.view, only.patient, only.implants) == ("ap", "7", True)
    assert only.angles_deg == {"major": 30.0, "upper": 20.0, "lower": 10.0}
    assert (only.levels[0], only.levels[-1]) == ("T1", "L5")


def test_lateral_tables_are_read_and_marks_never_placed_are_unknown(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", GREY)
    (tmp_path / "landmarks.csv").write_text(
        "file,T4TB_x,T4TB_y,T4TF_x,T4TF_y,S1TB_x,S1TB_y\na.png,1,2,3,4,0,0\n"
    )
    (only,) = find_film_truths(tmp_path)
    assert (only.view, only.levels[0], only.levels[-1]) == ("lateral", "C2", "sacrum")
    corners = dict(zip(only.levels, only.corners_px, strict=True))
    np.testing.assert_array_equal(corners["T4"][:2], [[1, 2], [3, 4]])
    assert np.isnan(corners["sacrum"]).all()


def test_the_challenges_own_folders_are_read(tmp_path: Path) -> None:
    labels, images = tmp_path / "labels" / "training", tmp_path / "data" / "training"
    labels.mkdir(parents=True)
    images.mkdir(parents=True)
    write_picture(images / "a.png", GREY)
    marks = corner_table(0.001).reshape(68, 2)
    (labels / "filenames.csv").write_text("a.png\nlost.png\n")
    row = ",".join(f"{v}" for v in marks.T.ravel())
    (labels / "landmarks.csv").write_text(f"{row}\n{row}\n")
    (labels / "angles.csv").write_text("30,20,10\n1,2,3\n")
    (only,) = find_film_truths(tmp_path)
    np.testing.assert_allclose(only.corners_on(80, 90), corner_table(0.001) * (80, 90))
    assert only.angles_deg == {"major": 30.0, "upper": 20.0, "lower": 10.0}
    (labels / "angles.csv").write_text("30,20,10\n")
    with pytest.raises(InputError, match="tables"):
        find_film_truths(tmp_path)


def test_films_of_which_the_angles_alone_are_known_are_read(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / name, GREY)
    (tmp_path / "films.csv").write_text(
        "file,cobb_major_deg,cobb_upper_deg,cobb_lower_deg\na.png,30,20,10\nb.png,,,\n"
    )
    (only,) = find_film_truths(tmp_path)
    assert (only.path.name, only.view) == ("a.png", "ap")
    assert only.angles_deg == {"major": 30.0, "upper": 20.0, "lower": 10.0}
    assert not only.known.any()
    with pytest.raises(InputError, match="no row"):
        read_corners(tmp_path / "landmarks.csv", read_film(tmp_path / "a.png"))
    labels, images = tmp_path / "labels" / "test", tmp_path / "data" / "test"
    labels.mkdir(parents=True)
    images.mkdir(parents=True)
    write_picture(images / "c.png", GREY)
    (labels / "filenames.csv").write_text("c.png\n")
    (labels / "angles.csv").write_text("3,2,1\n")
    (other,) = find_film_truths(labels)
    assert (other.path.name, other.known.any()) == ("c.png", False)
    assert other.angles_deg == {"major": 3.0, "upper": 2.0, "lower": 1.0}


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no films with landmarks or angles"):
        find_film_truths(tmp_path)
