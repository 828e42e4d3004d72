"""Grading again after points were moved: what is kept for it, and what comes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.fracture import Fractures, find_fractures, save_fractures
from spineseg.fracture_networks import NetworkScore
from spineseg.fracture_state import FractureState
from spineseg.labels import by_name
from spineseg.phantom import Fracture, Phantom, PhantomSettings, generate

SETTINGS = PhantomSettings(
    spacing_mm=2.5, levels=("T10", "L4"), cobb_deg=5.0, margin_mm=(45.0, 60.0, 14.0),
    fractures=(Fracture("L1", "wedge", 0.5),), degeneration=0.1, osteoporosis=0.6,
)  # fmt: skip
L1, L3 = (by_name(name).verse for name in ("L1", "L3"))


@pytest.fixture(scope="module")
def patient() -> Phantom:
    return generate(SETTINGS, 700_003)


@pytest.fixture(scope="module")
def found(patient: Phantom) -> Fractures:
    return find_fractures(patient.ct, patient.vertebrae)


@pytest.fixture(scope="module")
def state(found: Fractures) -> FractureState:
    return FractureState.from_json(json.loads(json.dumps(FractureState.of(found).to_json())))


def six_of(state: FractureState, label: int) -> np.ndarray:
    points = next(body.points for body in state.bodies if body.label == label)
    assert points is not None
    return points[1].copy()


def test_nothing_is_lost_on_the_way(found: Fractures, state: FractureState) -> None:
    again = state.fractures(found.segmentation)
    assert again.to_json() == found.to_json()
    for one, other in zip(again.findings, found.findings, strict=True):
        assert one.probability == other.probability
        np.testing.assert_array_equal(one.graded.body.centre, other.graded.body.centre)
        assert one.graded.body.half_mm is None or isinstance(one.graded.body.half_mm, np.ndarray)


def test_a_moved_point_changes_the_grade_and_is_told(state: FractureState) -> None:
    six = six_of(state, L3)
    up = six[0, 0] - six[1, 0]
    six[0, 0] -= 0.45 * up  # the front height loses 45 %
    findings, probability = state.with_points({L3: six}).findings()
    graded = {f.level: f.graded for f in findings}
    assert graded["L3"].grade == 3
    assert graded["L3"].kind == "wedge"
    assert graded["L3"].evidence[-1] == "its points were moved by hand"
    assert graded["L3"].body.heights_mm is not None
    assert graded["L3"].body.heights_mm["anterior"] == pytest.approx(0.55 * np.linalg.norm(up))
    assert probability is not None
    assert probability > 0.9
    told = state.with_points({L3: six}).warnings(findings)
    assert told[-1] == "Points moved by hand: L3."


def test_a_straightened_vertebra_is_no_suspect_any_more(state: FractureState) -> None:
    six = six_of(state, L1)
    back = six[0, 2] - six[1, 2]
    six[0, 0], six[0, 1] = six[1, 0] + 0.98 * back, six[1, 1] + 0.88 * back
    (finding,) = (f for f in state.with_points({L1: six}).findings()[0] if f.level == "L1")
    assert finding.graded.grade == 0
    assert finding.probability is not None
    assert finding.probability < 0.15


def test_points_on_each_other_make_it_not_evaluable(state: FractureState) -> None:
    six = six_of(state, L3)
    six[0, 1] = six[1, 1]
    findings, _ = state.with_points({L3: six}).findings()
    (finding,) = (f for f in findings if f.level == "L3")
    assert finding.graded.grade is None
    assert "moved onto each other" in finding.graded.problem
    assert len(findings) == len(state.bodies)


def test_a_vertebra_without_points_has_none_to_move(state: FractureState) -> None:
    lost = state.bodies[0]
    same = state.with_points({lost.label: np.zeros((2, 3, 3))})
    assert same.findings()[0][0].graded.problem == lost.problem
    assert same.moved == frozenset()


def test_the_segmentations_own_warnings_stay(found: Fractures) -> None:
    noted = replace(found, warnings=["Levels are unsure.", *found.warnings], made=True)
    state = FractureState.of(noted)
    assert state.notes == ("Levels are unsure.",)
    assert state.fractures(found.segmentation).warnings == noted.warnings


def test_what_the_networks_say_stays_when_points_move(found: Fractures) -> None:
    score = NetworkScore(0.25, 0.75)
    asked = [replace(f, score=score) if f.level == "L3" else f for f in found.findings]
    kept = FractureState.of(replace(found, findings=asked))
    again = FractureState.from_json(json.loads(json.dumps(kept.to_json())))
    six = six_of(again, L3)
    six[0, 0] -= 0.45 * (six[0, 0] - six[1, 0])
    findings, _ = again.with_points({L3: six}).findings()
    said = {f.level: f.score for f in findings}
    assert said["L3"] == score
    assert said["L1"] == next(f.score for f in found.findings if f.level == "L1")


def test_what_was_moved_is_written(state: FractureState, patient: Phantom, tmp_path: Path) -> None:
    six = six_of(state, L3)
    six[0, 0] -= 0.45 * (six[0, 0] - six[1, 0])
    done = state.with_points({L3: six}).fractures(patient.vertebrae)
    folder = save_fractures(done, patient.ct, tmp_path / "out")
    content = json.loads((folder / "fractures.json").read_text(encoding="utf-8"))
    row = {one["level"]: one for one in content["vertebrae"]}["L3"]
    assert row["genant_grade"] == 3
    np.testing.assert_allclose(row["points_ras"]["middle"], six, atol=0.006)
    assert "Points moved by hand: L3." in (folder / "report.html").read_text(encoding="utf-8")


def test_damaged_states_are_refused() -> None:
    with pytest.raises(InputError, match="damaged"):
        FractureState.from_json({"bodies": []})
    with pytest.raises(InputError, match="damaged"):
        FractureState.from_json(None)
