"""Tables of Genant's grades as others publish them, on small made-up files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from spineseg.errors import InputError
from spineseg.evaluation.fracture_gradings import (
    Grading,
    graded_cases,
    read_gradings,
    xvertseg_labels,
)
from spineseg.evaluation.fracture_scenes import FractureScene, drawn_scan
from spineseg.evaluation.fractures import evaluate_fractures
from spineseg.io.images import write_volume
from spineseg.phantom import Fracture, PhantomSettings
from spineseg.volume import Volume

SCENE = FractureScene(
    "one",
    PhantomSettings(
        spacing_mm=2.5, levels=("T12", "L4"), cobb_deg=5.0, margin_mm=(35.0, 55.0, 10.0),
        fractures=(Fracture("L2", "crush", 0.5),), degeneration=0.1, torso=False,
    ),
    700_011,
)  # fmt: skip


def table(folder: Path, text: str, name: str = "fracture_gradings.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


WIDE = """verse_ID;T12_fracture-grading;L1_fracture-grading;L1_fracture-type
sub-verse004;0;3;crush
sub-verse005;;1.0;wedge
"""
LONG = """subject,label,genant grade,type
sub-verse004,19,normal,
sub-verse004,20,severe,crush
sub-verse005,L1,1,wedge
sub-verse005,L2,,
"""


@pytest.mark.parametrize("text", [WIDE, LONG])
def test_rows_of_scans_and_rows_of_vertebrae_say_the_same(text: str, tmp_path: Path) -> None:
    assert read_gradings(table(tmp_path, text)) == {
        "sub-verse004": {"T12": Grading(0), "L1": Grading(3, "crush")},
        "sub-verse005": {"L1": Grading(1, "wedge")},
    }


def test_a_table_without_a_header_is_of_l1_to_l5(tmp_path: Path) -> None:
    found = read_gradings(table(tmp_path, "1,0,0,1,1,2,2,3,3,0,0\n2,0,0,0,0,0,0,0,0,1,1\n"))
    assert found["1"]["L2"] == Grading(1, "wedge")
    assert found["1"]["L3"] == Grading(2, "biconcave")
    assert found["1"]["L4"] == Grading(3, "crush")
    assert found["2"]["L5"] == Grading(1, "wedge")
    assert read_gradings(table(tmp_path, "image3 0 2 0 0 0".replace(" ", ",")))["image3"][
        "L2"
    ] == Grading(2)


@pytest.mark.parametrize(
    ("text", "name"),
    [("", "grades.csv"), ("a,b\n1,2\n", "grades.csv"), ("id,L1\nx,7\n", "grades.csv"),
     ("id,level,grade\nx,Q9,1\n", "grades.csv"), ("x", "grades.xlsx")],
)  # fmt: skip
def test_what_is_no_such_table_is_refused(text: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_gradings(table(tmp_path, text, name))
    assert name in caught.value.cause
    assert caught.value.remedy


def test_cases_of_verse_get_their_grades(tmp_path: Path) -> None:
    labels = Volume(np.full((4, 5, 6), 20, np.uint8), np.diag([1.0, 1.0, 1.0, 1.0]))
    for name in ("sub-verse004", "sub-verse009"):
        for kind, part in (("rawdata", "ct"), ("derivatives", "seg-vert_msk")):
            folder = tmp_path / kind / name
            folder.mkdir(parents=True)
            write_volume(labels.astype(np.int16), folder / f"{name}_{part}.nii.gz")
    with pytest.raises(InputError, match="0 tables"):
        graded_cases(tmp_path)
    table(tmp_path, WIDE)
    (case,) = graded_cases(tmp_path)
    assert case.case.name == "sub-verse004"
    assert case.gradings["L1"].grade == 3
    scan, mask = case.read()
    assert mask.grid.same_as(scan.grid)
    assert set(np.unique(mask.array)) == {20}
    table(tmp_path, "id,L1\n77,2\n")
    with pytest.raises(InputError, match="No scan"):
        graded_cases(tmp_path)


def test_cases_of_xvertseg_get_their_grades_and_verses_ids(tmp_path: Path) -> None:
    data = tmp_path / "xVertSeg.v1" / "Data1"
    array = np.zeros((4, 5, 6), np.uint8)
    array[1], array[2] = 200, 240
    for folder, stem in (("images", "image001"), ("masks", "mask001")):
        (data / folder).mkdir(parents=True)
        sitk.WriteImage(sitk.GetImageFromArray(array), str(data / folder / f"{stem}.mhd"))
    table(data, "1,0,0,0,0,0,0,0,0,2,1\n", "scores/scores.csv")
    (case,) = graded_cases(tmp_path)
    assert case.gradings["L5"] == Grading(2, "wedge")
    _, mask = case.read()
    assert (mask.array[1] == 20).all()
    assert (mask.array[2] == 24).all()
    assert not mask.array[0].any()
    odd = Volume(np.full((2, 2, 2), 205, np.int16), np.eye(4))
    assert not xvertseg_labels(odd).array.any()


def test_published_scans_are_evaluated_like_digital_patients(tmp_path: Path) -> None:
    _, labels, _ = drawn_scan(SCENE)
    for kind, part in (("rawdata", "ct"), ("derivatives", "seg-vert_msk")):
        folder = tmp_path / "set" / kind / "sub-verse004"
        folder.mkdir(parents=True)
        write_volume(labels.astype(np.int16), folder / f"sub-verse004_{part}.nii.gz")
    table(tmp_path / "set", "id,L1,L2\nverse004,0,3\n")
    done = evaluate_fractures(tmp_path / "scores.csv", tmp_path / "set", masks=("true",))
    (line,) = done.summary
    assert (line["vertebrae"], line["fractured"]) == (2, 1)  # nobody graded the others
    assert line["found_grade_3_percent"] == 100.0
