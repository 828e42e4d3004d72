"""Published data sets are found and read in their makers' layouts."""

from __future__ import annotations

import json
from pathlib import Path

import madeupsets
import numpy as np
import pytest
import SimpleITK as sitk
from spineseg.errors import InputError
from spineseg.evaluation.datasets import Case, find_cases
from spineseg.evaluation.truth import Truth, read_scan, read_truth
from spineseg.grid import Grid
from spineseg.io.images import write_volume
from spineseg.labels import FIRST_UNSURE
from spineseg.volume import Volume


def only(folder: Path, layout: str = "auto") -> tuple[Case, Truth]:
    found = find_cases(folder, layout)
    assert len(found.cases) == 1
    case = found.cases[0]
    return case, read_truth(case, read_scan(case))


def assert_at(truth: Truth, place: Grid, tolerance: float = 0.01) -> None:
    """The centroids are those of the balls, from the top."""
    assert list(truth.centroids) == [20, 21, 22]
    points = np.array(list(truth.centroids.values()))
    assert np.abs(points - madeupsets.centres(place)).max() <= tolerance


def levels(truth: Truth) -> list[int]:
    """Labels from the top to the bottom."""
    assert truth.labels is not None
    heights = {
        int(n): truth.labels.ijk_to_ras(np.argwhere(truth.labels.array == n)[:, ::-1])[:, 2].mean()
        for n in np.unique(truth.labels.array)[1:]
    }
    return sorted(heights, key=lambda n: -heights[n])


def test_verse_by_subject(tmp_path: Path) -> None:
    place = madeupsets.verse_subjects(tmp_path)
    case, truth = only(tmp_path)
    assert (case.name, case.layout) == ("sub-verse500_dir-sag", "verse")
    assert levels(truth) == [20, 21, 22]
    assert_at(truth, place)


@pytest.mark.parametrize("year", [2019, 2020])
def test_verse_as_in_the_challenges(tmp_path: Path, year: int) -> None:
    place = madeupsets.verse_challenge(tmp_path, year)
    case, truth = only(tmp_path)
    assert case.layout == "verse"
    assert levels(truth) == [20, 21, 22]
    assert_at(truth, place, 0.51)  # their 1 mm grid is rounded to whole voxels


def test_verse_centroids_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    madeupsets.verse_subjects(tmp_path)
    path = next(tmp_path.rglob("*_ctd.json"))
    entries = json.loads(path.read_text())
    entries[1]["X"] = float("nan")
    path.write_text(json.dumps(entries))
    assert list(only(tmp_path)[1].centroids) == [21, 22]


def test_verse_labels_turned_against_their_scan(tmp_path: Path) -> None:
    place = madeupsets.verse_subjects(tmp_path)
    path = next(tmp_path.rglob("*_msk.nii.gz"))
    write_volume(madeupsets.small(madeupsets.balls(place, (20, 21, 22))).reoriented("SAR"), path)
    _, truth = only(tmp_path)
    assert truth.labels is not None
    assert (truth.labels.array == madeupsets.balls(place, (20, 21, 22)).array).all()


def test_csi2014_counts_up_from_l5(tmp_path: Path) -> None:
    madeupsets.csi2014(tmp_path)
    case, truth = only(tmp_path)
    assert (case.name, case.layout) == ("case1", "csi2014")
    assert levels(truth) == [22, 23, 24]
    assert not truth.centroids


def test_glocker_has_centroids_only(tmp_path: Path) -> None:
    place = madeupsets.glocker(tmp_path)
    case, truth = only(tmp_path)
    assert (case.name, case.layout) == ("4511471", "glocker")
    assert truth.labels is None
    assert_at(truth, place, 1e-3)


@pytest.mark.parametrize("pattern", ["ct", "seg", "folders"])
def test_plain_pairs(tmp_path: Path, pattern: str) -> None:
    madeupsets.plain(tmp_path, pattern)
    case, truth = only(tmp_path)
    assert (case.name, case.layout) == ("anna", "plain")
    assert levels(truth) == [20, 21, 22]


def test_bodies_from_slices(tmp_path: Path) -> None:
    place = madeupsets.grid(count=1)
    truth = madeupsets.balls(place, (1,))
    case = tmp_path / "set4" / "vertebra07"
    madeupsets.dicom_slices(madeupsets.scan_of(truth), case / "ct")
    (case / "masks").mkdir()
    for k, plane in enumerate(truth.array[::-1]):  # as the slices are numbered: from the top
        picture = sitk.GetImageFromArray((plane > 0).astype(np.uint8) * 255)
        sitk.WriteImage(picture, str(case / "masks" / f"mask{k + 1}.png"))
    found, read = only(tmp_path)
    assert (found.name, found.layout) == ("vertebra07", "bodies")
    assert read.labels is not None
    assert read.bodies is not None
    same = read.labels.resampled_like(place, order=0)
    assert ((same.array == FIRST_UNSURE) == (truth.array > 0)).all()
    (case / "masks" / "mask3.png").unlink()
    with pytest.raises(InputError, match="masks for"):
        read_truth(found, read_scan(found))


def test_subregions_tell_the_bodies(tmp_path: Path) -> None:
    place = madeupsets.plain(tmp_path, "ct")
    parts = np.where(madeupsets.balls(place, (1, 1, 1)).array > 0, 41, 0).astype(np.uint8)
    parts[:, 5:12][parts[:, 5:12] > 0] = 50
    write_volume(Volume(parts, place.affine), tmp_path / "anna_subregions.nii.gz")
    truth = only(tmp_path)[1]
    assert truth.bodies is not None
    assert (truth.bodies.array == (parts == 50)).all()


def test_a_file_without_its_pair_is_told(tmp_path: Path) -> None:
    madeupsets.plain(tmp_path, "ct")
    write_volume(madeupsets.scan_of(madeupsets.balls(madeupsets.grid(), (1, 1, 1))),
                 tmp_path / "berta_ct.nii.gz")  # fmt: skip
    found = find_cases(tmp_path)
    assert [case.name for case in found.cases] == ["anna"]
    assert found.notes == ["berta_ct.nii.gz has no label map and is left out."]


def test_two_cases_of_one_name_keep_apart(tmp_path: Path) -> None:
    madeupsets.plain(tmp_path / "one", "ct")
    madeupsets.plain(tmp_path / "two", "ct")
    assert [case.name for case in find_cases(tmp_path).cases] == ["one/anna", "two/anna"]


def test_bad_folders_and_layouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no labelled case"):
        find_cases(tmp_path)
    with pytest.raises(InputError, match="There is no folder"):
        find_cases(tmp_path / "none")
    with pytest.raises(InputError, match="no layout called"):
        find_cases(tmp_path, "totalsegmentator")


def test_labels_of_another_scan_are_refused(tmp_path: Path) -> None:
    place = madeupsets.plain(tmp_path, "ct")
    moved = place.affine.copy()
    moved[0, 3] += 30.0
    labels = madeupsets.small(madeupsets.balls(place, (20, 21, 22)))
    write_volume(Volume(labels.array, moved), tmp_path / "anna_vertebrae.nii.gz")
    with pytest.raises(InputError, match="not on its scan's grid"):
        only(tmp_path)


def test_labels_without_a_vertebra_are_refused(tmp_path: Path) -> None:
    madeupsets.plain(tmp_path, "ct", (26, 99, 0))  # sacrum, and a number without meaning
    with pytest.raises(InputError, match="No vertebra is labelled"):
        only(tmp_path)


def test_damaged_centroids_are_one_sentence(tmp_path: Path) -> None:
    madeupsets.verse_challenge(tmp_path, 2019)
    (tmp_path / "verse014_ctd.json").write_text('[{"label": 20, "X": 3.0}]')
    with pytest.raises(InputError, match="not a list of centroids"):
        only(tmp_path)
