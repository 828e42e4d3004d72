"""Vertebrae of a scan that are pressed together, so that it holds fractures that are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.evaluation.fracture_cases import find_patients, whole_levels
from spineseg.evaluation.fracture_mimics import cut_levels
from spineseg.evaluation.fractures import evaluate_fractures
from spineseg.evaluation.pressed import PressedScene, press_vertebrae, pressed_cases
from spineseg.io.images import write_volume
from spineseg.measure.genant import grade_spine
from spineseg.measure.vertebra_body import measure_bodies
from spineseg.phantom.generate import Phantom, generate
from spineseg.phantom.settings import Fracture, PhantomSettings
from spineseg.training.fracture_pool import load_item, paths
from spineseg.training.pressed_pool import fill_pressed, pressed_item

SETTINGS = PhantomSettings(
    spacing_mm=1.5, levels=("T11", "L5"), cobb_deg=5.0, degeneration=0.1, torso=False,
    margin_mm=(45.0, 55.0, 14.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def patient() -> Phantom:
    return generate(SETTINGS, 31)


@pytest.mark.parametrize(
    ("kind", "loss"), [("wedge", 0.45), ("biconcave", 0.45), ("crush", 0.3), ("crush", 0.5)]
)
def test_a_pressed_vertebra_loses_what_was_asked_and_no_other_does(
    patient: Phantom, kind: str, loss: float
) -> None:
    before = {b.name: b.heights_mm for b in measure_bodies(patient.vertebrae)}
    fracture = Fracture("L2", kind, loss)
    scan, labels = press_vertebrae(patient.ct, patient.vertebrae, [fracture])
    after = {b.name: b.heights_mm for b in measure_bodies(labels)}
    assert before["L2"] is not None
    assert after["L2"] is not None
    left = [after["L2"][p] / before["L2"][p] for p in ("anterior", "middle", "posterior")]
    assert left == pytest.approx(fracture.kept, abs=0.07)
    for name in ("L1", "L3"):
        assert before[name] is not None
        assert after[name] == pytest.approx(before[name], abs=0.8)
    changed = np.argwhere(scan.array != patient.ct.array)[:, ::-1]
    middle = next(b for b in patient.chain.bodies if b.name == "L2").centre
    assert np.abs(patient.ct.ijk_to_ras(changed) - middle).max() < 55.0


def test_pressed_vertebrae_are_graded_as_fractures(patient: Phantom) -> None:
    pressed = [Fracture("L1", "crush", 0.5), Fracture("L3", "biconcave", 0.5)]
    labels = press_vertebrae(patient.ct, patient.vertebrae, pressed)[1]
    graded = {one.body.name: one for one in grade_spine(measure_bodies(labels))}
    assert (graded["L1"].grade, graded["L1"].kind) == (3, "crush")
    assert graded["L3"].grade in (2, 3)
    assert graded["L3"].kind == "biconcave"
    assert [graded[name].grade for name in ("L2", "L4")] == [0, 0]


def test_levels_are_whole_however_slices_lie(patient: Phantom) -> None:
    sagittal = patient.vertebrae.reoriented("ASR")
    assert whole_levels(sagittal) == whole_levels(patient.vertebrae)
    assert cut_levels(sagittal) == cut_levels(patient.vertebrae)
    assert "L2" in whole_levels(sagittal)


def test_what_is_not_there_is_not_pressed(patient: Phantom) -> None:
    with pytest.raises(InputError, match="T5"):
        press_vertebrae(patient.ct, patient.vertebrae, [Fracture("T5")])


def test_scans_of_a_folder_are_pressed_and_evaluated(patient: Phantom, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_volume(patient.ct, data / "a_ct.nii.gz")
    write_volume(patient.vertebrae, data / "a_vertebrae.nii.gz")
    scenes = [scene for scene, _ in pressed_cases(data, 3)]
    assert [scene.name for scene in scenes] == [f"a-pressed{n}" for n in range(3)]
    assert not scenes[0].fractures
    assert all(scene.fractures for scene in scenes[1:])
    assert scenes == [scene for scene, _ in pressed_cases(data, 3)]
    first = scenes[1].fractures[0]
    assert scenes[1].truth(first.level)[1] == first.kind  # type: ignore[index]
    assert len(find_patients(data, [], 0, True, press=2)) == 2
    with pytest.raises(InputError, match="not pressed"):
        find_patients(None, range(2), 0, True, press=2)

    done = evaluate_fractures(tmp_path / "rows.csv", data, press=2, masks=("true",))
    (line,) = done.summary
    assert line["patients"] == 2
    assert line["fractured"] == len(scenes[1].fractures)

    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none"):
        pressed_cases(tmp_path / "none", 1)


def test_a_pool_takes_pressed_scans(patient: Phantom, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_volume(patient.ct, data / "a_ct.nii.gz")
    write_volume(patient.vertebrae, data / "a_vertebrae.nii.gz")
    names = list(fill_pressed(tmp_path / "pool", data, times=2))
    assert names == ["a-pressed0", "a-pressed1"]
    items = [load_item(path) for path in paths(tmp_path / "pool")]
    assert {one.grade for one in items[0].vertebrae} == {0}
    assert any(one.grade for one in items[1].vertebrae) or any(
        f.loss < 0.2 for f in pressed_cases(data, 2)[1][0].fractures
    )
    for item in items:
        for one in item.vertebrae:
            i, j, k = (round(v) for v in one.centre)
            assert item.bodies[k, j, i] == 1
            assert item.labels[k, j, i] == one.label


def test_a_little_pressed_is_no_fracture(patient: Phantom) -> None:
    scene = PressedScene("a", 0, (Fracture("L2", "crush", 0.1), Fracture("L3", "wedge", 0.3)))
    assert scene.truth("L2") == (0, "")
    assert scene.truth("L3") == (2, "wedge")
    item = pressed_item(scene, patient.ct, patient.vertebrae)
    assert {one.level: one.grade for one in item.vertebrae}["L3"] == 2
    assert replace(scene, fractures=()).truth("L3") == (0, "")
