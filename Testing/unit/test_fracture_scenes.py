"""Digital patients with fractures and mimics, and masks with faults."""

from __future__ import annotations

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.evaluation.fracture_scenes import (
    FIRST_SEED,
    FractureScene,
    disturbed,
    drawn_labels,
    fracture_scene,
)
from spineseg.measure.vertebra_body import VertebraBody, measure_bodies
from spineseg.phantom.chain import build_chain
from spineseg.phantom.settings import Fracture, Mimic, PhantomSettings
from spineseg.volume import Volume

PLAIN = PhantomSettings(
    spacing_mm=1.5, levels=("T11", "L2"), cobb_deg=5.0, torso=False, margin_mm=(45.0, 60.0, 12.0),
    degeneration=0.0,
)  # fmt: skip
SEED = 700_007


def heights(settings: PhantomSettings, level: str) -> np.ndarray:
    chain = build_chain(settings, np.random.default_rng([SEED, 1]))
    return np.array(chain.bodies[chain.index(level)].heights)


def with_mimic(level: str, kind: str, amount: float) -> PhantomSettings:
    return PhantomSettings(**{**vars(PLAIN), "mimics": (Mimic(level, kind, amount),)})


@pytest.fixture(scope="module")
def plain() -> tuple[Volume, dict[str, VertebraBody]]:
    labels = drawn_labels(FractureScene("plain", PLAIN, SEED))
    return labels, {body.name: body for body in measure_bodies(labels)}


def test_mimics_change_the_heights_that_they_say() -> None:
    before = heights(PLAIN, "T12")
    kept = {
        kind: heights(with_mimic("T12", kind, amount), "T12") / before
        for kind, amount in (("short", 0.2), ("wedging", 0.1), ("schmorl", 4.0))
    }
    assert np.allclose(kept["short"], 0.8)
    assert np.allclose(kept["wedging"], [0.9, 0.95, 1.0])
    assert np.allclose(kept["schmorl"], 1.0)
    assert np.allclose(heights(with_mimic("T12", "short", 0.2), "L1"), heights(PLAIN, "L1"))


def test_a_node_is_measured_as_one_and_leaves_the_heights(
    plain: tuple[Volume, dict[str, VertebraBody]],
) -> None:
    settings = with_mimic("L1", "schmorl", 5.0)
    found = measure_bodies(drawn_labels(FractureScene("node", settings, SEED)))
    body = next(b for b in found if b.name == "L1")
    old = plain[1]["L1"]
    assert body.node_mm is not None
    assert old.node_mm is not None
    assert max(body.node_mm) > max(old.node_mm) + 1.5
    assert body.heights is not None
    assert old.heights is not None
    assert np.abs(body.heights[1] - old.heights[1]).max() < 2.0


def test_what_is_drawn_as_lost_is_measured_as_lost(
    plain: tuple[Volume, dict[str, VertebraBody]],
) -> None:
    fractures = (Fracture("T12", "wedge", 0.4), Fracture("L1", "crush", 0.3))
    settings = PhantomSettings(**{**vars(PLAIN), "fractures": fractures})
    found = {b.name: b for b in measure_bodies(drawn_labels(FractureScene("f", settings, SEED)))}
    for name, place, loss in (("T12", 0, 0.4), ("L1", 0, 0.3), ("L1", 1, 0.3)):
        now, before = found[name].heights, plain[1][name].heights
        assert now is not None
        assert before is not None
        assert 1 - now[1, place] / before[1, place] == pytest.approx(loss, abs=0.07)


def test_patients_are_fractured_as_often_as_they_should_be() -> None:
    scenes = [fracture_scene(n, FIRST_SEED) for n in range(300)]
    levels = [level for s in scenes for level in _between(s)]
    share = sum(len(s.settings.fractures) for s in scenes) / len(levels)
    assert 0.12 < share < 0.18
    assert 0.42 < np.mean([s.fractured for s in scenes]) < 0.58
    grades = [s.truth(f.level)[0] for s in scenes for f in s.settings.fractures]
    assert min(np.bincount(grades, minlength=4)[1:]) > 0.25 * len(grades)
    kinds = {m.kind for s in scenes for m in s.settings.mimics}
    assert kinds == {"short", "wedging", "scheuermann", "schmorl"}
    assert all(not s.mimic(f.level) for s in scenes for f in s.settings.fractures)


def _between(scene: FractureScene) -> list[str]:
    names = [f"T{n}" for n in range(1, 13)] + [f"L{n}" for n in range(1, 6)]
    first, last = (names.index(level) for level in scene.settings.levels)
    return names[first : last + 1]


def test_the_same_number_gives_the_same_patient() -> None:
    assert fracture_scene(7) == fracture_scene(7)
    assert fracture_scene(7).settings != fracture_scene(8).settings


def test_disturbed_masks_stay_near_the_true_ones(
    plain: tuple[Volume, dict[str, VertebraBody]],
) -> None:
    labels = plain[0]
    other = disturbed(labels, np.random.default_rng(1))
    same = (labels.array == other.array)[(labels.array > 0) | (other.array > 0)].mean()
    assert 0.6 < same < 0.97
    assert set(np.unique(other.array)) <= set(np.unique(labels.array))
    again = disturbed(labels, np.random.default_rng(1))
    assert np.array_equal(other.array, again.array)


def test_bad_mimics_are_refused() -> None:
    with pytest.raises(InputError, match="no kind of mimic"):
        Mimic("L1", "dwarf")
    with pytest.raises(InputError, match="can't be drawn"):
        Mimic("L1", "short", 0.9)
    settings = PhantomSettings(mimics=(Mimic("T13", "short", 0.1),))
    with pytest.raises(InputError, match="no T13"):
        build_chain(settings, np.random.default_rng(0))
