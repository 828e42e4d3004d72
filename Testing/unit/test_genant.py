"""Genant's grades and kinds by the rules, and what lowers them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawnspine import LEVELS, body, spine
from spineseg.measure.deformity import KINDS, Kind, kind_of
from spineseg.measure.extent import usual_extent
from spineseg.measure.genant import (
    BICONCAVE,
    CRUSH,
    REFERENCES,
    WEDGE,
    Graded,
    grade_of,
    grade_spine,
    norm_of,
)
from spineseg.measure.mimics import MIMICS
from spineseg.measure.vertebra_body import VertebraBody


def graded(bodies: list[VertebraBody]) -> dict[str, Graded]:
    return {one.body.name: one for one in grade_spine(bodies)}


@pytest.mark.parametrize(("loss", "grade"), [(0.19, 0), (0.2, 1), (0.26, 2), (0.4, 3)])
def test_genants_limits(loss: float, grade: int) -> None:
    assert grade_of(loss) == grade


@pytest.mark.parametrize(
    ("keep", "kind", "grade"),
    [
        ((0.7, 0.85, 1.0), WEDGE, 2),
        ((0.83, 0.65, 1.0), BICONCAVE, 2),
        ((0.55, 0.55, 0.6), CRUSH, 3),
        ((0.77, 0.89, 1.0), WEDGE, 1),
    ],
)
def test_kinds_and_grades(keep: tuple[float, float, float], kind: str, grade: int) -> None:
    found = graded(spine({"L2": keep}, scale=1.1))
    assert (found["L2"].kind, found["L2"].grade) == (kind, grade)
    assert all(one.grade == 0 for name, one in found.items() if name != "L2")
    assert f"{100 * (1 - min(keep)):.0f} %" in found["L2"].evidence[0]


def test_fractured_neighbours_are_no_reference() -> None:
    crush = (0.5, 0.5, 0.52)
    found = graded(spine({"T11": crush, "T12": crush, "L2": crush}))
    assert [found[n].grade for n in ("T10", "T11", "T12", "L1", "L2", "L3")] == [0, 3, 3, 0, 3, 0]


def test_area_and_volume_are_told_against_neighbours_and_levels() -> None:
    bodies = spine({"L2": (0.6, 0.8, 1.0)})
    sizes = {name: usual_extent(name, float(norm_of(name).mean())) for name in LEVELS}
    bodies = [
        replace(b, area_mm2=1.2 * sizes[b.name][0], volume_ml=0.5 * sizes[b.name][1])
        for b in bodies
    ]
    at = LEVELS.index("L2")
    bodies[at] = replace(
        bodies[at], area_mm2=0.7 * bodies[at].area_mm2, volume_ml=0.8 * bodies[at].volume_ml
    )
    found = graded(bodies)
    assert found["L2"].lost["area"] == pytest.approx(0.3, abs=0.01)
    assert found["L2"].lost["volume"] == pytest.approx(0.2, abs=0.01)
    assert "area lost: 30 %, volume lost: 20 % (less than goes with grade 3: 40 % of the area)" in (
        found["L2"].evidence
    )
    assert found["L3"].lost["area"] == pytest.approx(0.0, abs=0.01)
    assert not any("area" in text for text in found["L3"].evidence)
    (alone,) = grade_spine([bodies[at]])
    assert alone.lost == {}


def test_thick_slices_lower_all_but_severe_grades() -> None:
    def seen(step: float, keep: float) -> Graded:
        bodies = spine({"L2": (keep, keep + 0.1, 1.0)})
        return graded([replace(b, step_mm=step) for b in bodies])["L2"]

    assert seen(3.0, 0.7).grade == 2
    assert seen(5.0, 0.7).grade == 1
    assert seen(5.0, 0.5).grade == 3
    assert "thick slices" in seen(5.0, 0.5).mimics
    assert any("slices 5.0 mm apart" in text for text in seen(5.0, 0.7).evidence)


def test_any_kind_may_be_left_out_or_joined() -> None:
    tilted = Kind("tilted", "the back lost most", "this test", lambda front, middle, back: back > 0)
    assert kind_of((0.3, 0.1, 0.05), (tilted, *KINDS)) == "tilted"
    assert kind_of((0.1, 0.3, 0.0), KINDS[2:]) == WEDGE
    assert kind_of((0.1, 0.3, 0.0), ()) == ""


def test_small_people_are_not_taken_for_fractured() -> None:
    assert all(one.grade == 0 for one in grade_spine(spine({}, scale=0.75)))


def test_one_vertebra_alone_is_measured_against_itself() -> None:
    (one,) = grade_spine([body("L1", (0.6, 0.8, 1.0))])
    assert one.grade == 3
    assert set(one.by_reference) == {"own"}
    assert any("no sound neighbours" in text for text in one.evidence)


def test_a_crush_is_seen_beside_one_sound_neighbour() -> None:
    crushed = body("L2", (0.55, 0.55, 0.6))
    for others in ([body("L3", (1.0, 1.0, 1.0))], [body("L4", (1.0, 1.0, 1.0))]):
        first, *rest = grade_spine([crushed, *others])
        assert (first.grade, first.kind) == (3, "crush")
        assert [one.grade for one in rest] == [0]
    far = grade_spine([crushed, body("L5", (1.0, 1.0, 1.0))])
    assert any("no sound neighbours" in text for text in far[0].evidence)


def test_unsure_levels_are_graded_by_shape_and_neighbours() -> None:
    bodies = []
    for n, name in enumerate(LEVELS[-6:]):
        keep = (0.6, 0.62, 0.62) if n == 2 else (1.0, 1.0, 1.0)
        bodies.append(VertebraBody(101 + n, f"unsure {n + 1}", **_parts(body(name, keep))))
    found = grade_spine(bodies)
    assert found[2].grade in (2, 3)
    assert [one.grade for n, one in enumerate(found) if n != 2] == [0] * 5


def _parts(one: VertebraBody) -> dict[str, object]:
    names = ("centre", "axes", "half_mm", "points", "concavity_mm", "node_mm")
    return {name: getattr(one, name) for name in names}


def test_what_was_not_measured_is_listed_with_its_reason() -> None:
    cut = VertebraBody(19, "T12", np.zeros(3), problem="its body is cut by the edge of the scan")
    found = grade_spine([cut, *spine({})[-5:]])
    assert found[0].grade is None
    assert found[0].problem.endswith("edge of the scan")
    assert len(found) == 6


def test_shared_short_heights_are_no_fracture() -> None:
    short = (0.79, 0.79, 0.79)
    found = graded(spine({"T7": short, "T8": short, "T9": short}))
    assert "short vertebral height" in found["T8"].mimics
    assert found["T8"].grade == 0
    assert graded(spine({"T8": (0.7, 0.7, 0.72)}))["T8"].grade == 2  # alone, and low: a crush


def test_three_wedged_vertebrae_with_nodes_are_scheuermanns() -> None:
    bodies = spine(dict.fromkeys(("T7", "T8", "T9"), (0.77, 0.9, 1.0)))
    row = [body(b.name, (0.77, 0.9, 1.0), 3.0) if b.name in ("T7", "T8", "T9") else b
           for b in bodies]  # fmt: skip
    found = graded(row)
    assert all("Scheuermann's disease" in found[name].mimics for name in ("T7", "T8", "T9"))
    assert found["T8"].grade == 0
    assert any("instead of 1" in text for text in found["T8"].evidence)


def test_a_node_is_named_and_hides_no_fracture() -> None:
    bodies = [body(n, (0.6, 0.8, 1.0), 4.0) if n == "L2" else body(n) for n in LEVELS]
    found = graded(bodies)["L2"]
    assert "Schmorl's node" in found.mimics
    assert found.grade == 3


def test_mild_even_wedging_at_the_junction_is_physiological() -> None:
    found = graded(spine({"T12": (0.79, 0.9, 1.0)}))["T12"]
    assert "physiological wedging" in found.mimics
    assert found.grade == 0
    assert graded(spine({"T12": (0.7, 0.85, 1.0)}))["T12"].grade == 2


def test_every_rule_carries_its_source() -> None:
    assert all(len(rule.source) > 20 for rule in (*REFERENCES, *MIMICS))
    assert norm_of("unsure 1") is None
