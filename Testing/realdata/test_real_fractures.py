"""Real label maps, some with collapsed vertebrae: which are graded, and which are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from spineseg import read_volume
from spineseg.evaluation.pressed import press_vertebrae
from spineseg.measure.genant import Graded, grade_spine
from spineseg.measure.vertebra_body import measure_bodies
from spineseg.phantom.settings import Fracture
from spineseg.pipeline import segment
from spineseg.training.real import to_verse


def graded(realdata: Path, name: str, numbering: str = "verse") -> dict[str, Graded]:
    """Return the vertebrae of a label map by level."""
    volume = read_volume(realdata / "vertebra_label_maps" / f"{name}.nii.gz")
    bodies = measure_bodies(volume.like(to_verse(volume.array, numbering)))
    return {one.body.name: one for one in grade_spine(bodies)}


def test_a_collapsed_vertebra_is_graded_and_its_neighbours_are_not(realdata: Path) -> None:
    found = graded(realdata, "verse004_t9_l5_vertebrae")
    assert found["L1"].grade == 3
    assert found["L1"].lost["area"] >= 0.25
    others = [one.grade for name, one in found.items() if name != "L1" and not one.problem]
    assert len(others) == 8
    assert set(others) == {0}


def test_two_deformed_vertebrae_are_at_least_moderate(realdata: Path) -> None:
    found = graded(realdata, "malekosh_t1_l5_vertebrae")
    assert {name for name, one in found.items() if (one.grade or 0) >= 2} == {"L1", "L2"}


@pytest.mark.parametrize(
    ("name", "numbering"),
    [("patient13_t12_l5_vertebrae", "verse"), ("bdmap31_scoliosis_c1_l5_predicted", "c1-is-24")],
)
def test_spines_without_a_fracture_have_none(realdata: Path, name: str, numbering: str) -> None:
    found = graded(realdata, name, numbering)
    assert any(one.grade is not None for one in found.values())
    assert not any((one.grade or 0) >= 2 for one in found.values())


@pytest.mark.parametrize(
    "fracture", [Fracture("L4", "biconcave", 0.58), Fracture("L3", "wedge", 0.45)]
)
def test_a_pressed_real_vertebra_is_found_in_its_ct(realdata: Path, fracture: Fracture) -> None:
    scan, labels = (
        read_volume(realdata / "ct" / f"verse014_{what}.nii.gz") for what in ("ct", "vertebrae")
    )
    pressed, _ = press_vertebrae(scan, labels, [fracture])
    found = {
        each.body.name: each for each in grade_spine(measure_bodies(segment(pressed).segmentation))
    }
    one = found[fracture.level]
    assert (one.grade or 0) >= 2
    assert one.kind == fracture.kind
    whole = {"L1", "L2", "L3", "L4"} - {fracture.level}
    assert {found[name].grade for name in whole} == {0}
