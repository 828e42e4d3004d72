"""Naming of vertebrae laid out at the distances of real spines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.evaluation import level_identification, level_statistics
from spineseg.labels import USUAL_VERTEBRAE
from spineseg.methods.classes import CoarseClass
from spineseg.methods.instances import Instance
from spineseg.methods.level_statistics import SPACING
from spineseg.methods.levels import Evidence, name_levels, spell
from spineseg.methods.naming import gather_evidence
from spineseg.volume import Volume

USUAL = [level.name for level in USUAL_VERTEBRAE]


def region(level: str, sure: float = 0.94) -> np.ndarray:
    share = np.full(4, (1 - sure) / 3)
    share[0 if level in ("C1", "C2") else {"C": 1, "T": 2, "L": 3}[level[0]]] = sure
    return share


def spine(names: list[str], anchors: str = "regions ribs sacrum") -> list[Evidence]:
    """Lay out vertebrae one below the other, with the evidence that `anchors` names."""
    z, result = 0.0, []
    for n, name in enumerate(names):
        if n:
            z -= SPACING.get((names[n - 1], name), SPACING["T12", "L1"])[0]
        bottom = n == len(names) - 1 and "sacrum" in anchors
        result.append(
            Evidence(
                np.array([0.0, 0.0, z]),
                region(name) if "regions" in anchors else None,
                (0.95 if name[0] == "T" else 0.05) if "ribs" in anchors else None,
                22.0 if bottom else None,
                has_body=name != "C1",
            )
        )
    return result


def between(first: str, last: str) -> list[str]:
    return USUAL[USUAL.index(first) : USUAL.index(last) + 1]


@pytest.mark.parametrize(
    ("first", "last"), [("C1", "L5"), ("T9", "L5"), ("L1", "L5"), ("T11", "L5")]
)
def test_spines_down_to_the_sacrum_are_named(first: str, last: str) -> None:
    names = between(first, last)
    result = name_levels(spine(names))
    assert result.levels == names
    assert result.confidence > 0.75
    assert result.overlooked == []


@pytest.mark.parametrize(("first", "last"), [("C1", "T3"), ("C3", "T6"), ("T8", "L3")])
def test_borders_of_regions_are_enough(first: str, last: str) -> None:
    names = between(first, last)
    assert name_levels(spine(names, "regions ribs")).levels == names


def test_without_an_anchor_nothing_is_named() -> None:
    result = name_levels(spine(between("T5", "T9"), "regions ribs"))
    assert result.levels == [None] * 5
    assert len(result.warnings) == 1
    assert "unsure" in result.warnings[0]
    assert "sacrum is not in view" in result.warnings[0]
    names = between("L1", "L4")
    assert name_levels(spine(names, "")).levels == [None] * 4


def test_what_all_likely_counts_agree_on_is_named() -> None:
    # 23 vertebrae above the sacrum, and T12 or L1 called in part the other: C1 to T11 are sure.
    names = [name for name in USUAL if name != "T12"]
    evidence = spine(names)
    n = names.index("L1")
    evidence[n] = replace(evidence[n], region=region("T12", 0.9), ribs=0.1)
    result = name_levels(evidence)
    assert result.levels[:n] == names[:n]
    assert None in result.levels[n:]
    said = [spell(one) for one, _ in result.alternatives]
    assert {"C1–L4", "C1–L5 without T12"} <= set(said)
    assert "Only C1–T11 can be named" in result.warnings[0]
    assert all(one in result.warnings[0] for one in said[:2])


def test_a_thoracic_count_that_cannot_be_checked_is_said() -> None:
    names = between("T9", "L3")
    result = name_levels(spine(names, "regions ribs"))
    assert result.levels == names
    assert any("T8–L3 without T12" in text for text in result.warnings)


def test_probabilities_add_up() -> None:
    result = name_levels(spine(between("T5", "T9"), "regions"))
    chances = [chance for _, chance in result.alternatives]
    assert chances == sorted(chances, reverse=True)
    assert 0 < sum(chances) <= 1 + 1e-9
    assert result.confidence == chances[0]
    assert all(each >= result.confidence - 1e-9 for each in result.each)


def test_overlooked_vertebra_is_noticed() -> None:
    evidence = spine(between("T8", "L5"))
    del evidence[6]  # L2 of T8 … L5
    names = between("T8", "L5")
    del names[6]
    result = name_levels(evidence)
    assert result.levels == names
    assert result.overlooked == [5]
    assert f"Between {names[5]} and {names[6]} a vertebra was not found." in result.warnings


def test_overlooked_last_lumbar_is_counted() -> None:
    evidence = spine(between("T10", "L4"), "regions ribs")
    evidence[-1] = replace(evidence[-1], sacrum_mm=58.0)
    assert name_levels(evidence).levels == between("T10", "L4")


@pytest.mark.parametrize(
    ("names", "word"),
    [
        ([*between("T9", "L5"), "L6"], "additional"),
        ([*between("C5", "T12"), "T13", *between("L1", "L5")], "additional"),
        ([*between("C5", "T11"), *between("L1", "L5")], "11 thoracic"),
    ],
)
def test_unusual_numbers_are_named_with_a_warning_or_not_at_all(
    names: list[str], word: str
) -> None:
    result = name_levels(spine(names))
    assert result.alternatives[0][0] == names
    if result.levels[0] is None:
        assert "unsure" in result.warnings[0]
    else:
        assert any(word in warning for warning in result.warnings)


def test_region_off_by_one_is_outvoted() -> None:
    names = between("T9", "L5")
    evidence = spine(names)
    evidence[4] = replace(evidence[4], region=region("T12", 0.8))  # L1, called thoracic
    assert name_levels(evidence).levels == names


def test_collapsed_vertebra_does_not_shift_the_count() -> None:
    names = between("T9", "L5")
    evidence = spine(names)
    for n in range(5, len(evidence)):
        evidence[n] = replace(evidence[n], centroid=evidence[n].centroid + [0, 0, 12.0])
    assert name_levels(evidence).levels == names


def test_below_a_skull_lies_the_atlas() -> None:
    seen = spine(between("C1", "C7"), "")
    seen[0] = replace(seen[0], has_body=True)
    top = replace(seen[0], skull=True)

    def odds(evidence: list[Evidence]) -> float:
        ways = name_levels(evidence).alternatives
        atlas = sum(p for way, p in ways if way[0] == "C1")
        return atlas / sum(p for way, p in ways if way[0] != "C1")

    assert odds([top, *seen[1:]]) > 8 * odds(seen)
    cropped = spine(between("C2", "L5"))
    assert name_levels(cropped).levels[0] == "C2"


@pytest.mark.parametrize(("up_mm", "seen"), [(35.0, True), (90.0, False), (-35.0, False)])
def test_a_skull_is_bone_above_in_line_with_the_spine(up_mm: float, seen: bool) -> None:
    regions = Volume(np.zeros((60, 40, 40), np.uint8), np.diag([4.0, 4.0, 4.0, 1.0]))
    k = round((120 + up_mm) / 4)
    regions.array[k - 3 : k + 4, 14:26, 14:26] = CoarseClass.OTHER_BONE
    first = Instance(
        np.array([80.0, 80.0, 120.0]), 900, 400, False, False, False, True, 1.0,
        np.array([0.0, 0.0, -1.0]),
    )  # fmt: skip
    classes = Volume(np.zeros((4, 4, 4), np.uint8), np.diag([1.5, 1.5, 1.5, 1.0]))
    instances = classes.like(np.ones_like(classes.array))
    second = replace(first, centroid=np.array([80.0, 80.0, 100.0]))
    found = gather_evidence(classes, instances, [first, second], regions)
    assert [one.skull for one in found] == [seen, False]


def test_missing_ribs_tell_nothing_when_no_rib_is_found() -> None:
    names = between("C4", "T4")
    evidence = [replace(one, ribs=0.03) for one in spine(names, "regions")]
    assert name_levels(evidence).levels == names


@pytest.mark.parametrize("upper", ["C3", "T4", "L2"])
def test_two_seen_as_one_are_weighed(upper: str) -> None:
    evidence = spine(USUAL)
    n = USUAL.index(upper)
    middle = (evidence[n].centroid + evidence[n + 1].centroid) / 2
    block = replace(evidence[n], centroid=middle, double=0.3)
    result = name_levels([*evidence[:n], block, *evidence[n + 2 :]])
    assert result.levels == [*USUAL[:n], None, *USUAL[n + 2 :]]
    assert result.double[n] > 0.9
    texts = [spell(names) for names, _ in result.alternatives[:2]]
    assert set(texts) == {f"C1–L5 without {USUAL[n]}", f"C1–L5 without {USUAL[n + 1]}"}


def test_a_large_vertebra_at_its_place_is_one() -> None:
    evidence = spine(USUAL)
    evidence[10] = replace(evidence[10], double=0.2)
    result = name_levels(evidence)
    assert result.levels == USUAL
    assert result.double[10] < 0.01


def test_nothing_and_too_much() -> None:
    assert name_levels([]).levels == []
    one = spine(["L3"], "")[0]
    many = [replace(one, centroid=np.array([0.0, 0.0, -30.0 * n])) for n in range(30)]
    result = name_levels(many)
    assert result.levels == [None] * 30
    assert "more than a spine has" in result.warnings[0]
    assert name_levels([one]).levels == [None]


def test_real_spines_are_named_rightly(realdata: Path) -> None:
    path = realdata / "ct_keypoints" / "vertebra_keypoints.jsonl.gz"
    scans = [s for s in level_statistics.read_keypoints(path) if s.levels]
    held_out = [s for s in scans if level_statistics.is_held_out(s.name)][:12]
    full = level_identification.measure(held_out, "all", 0)
    assert full.windows == 12
    assert full.right_if_forced >= 11
    assert full.right_if_named >= 0.95 * full.named
    found = level_identification.measure(held_out, "detections", 8)
    assert found.right_if_named >= 0.75 * found.named


def test_statistics_of_known_keypoints() -> None:
    names = tuple(between("T8", "L5"))
    bodies = np.array([[0.0, 0.0, -25.0 * n] for n in range(len(names))])
    empty = np.zeros((0, 3))
    scans = [
        level_statistics.Scan(str(n), names, bodies * size, empty, empty)
        for n, size in enumerate((0.9, 1.0, 1.1))
    ]
    table = level_statistics.statistics(scans)
    mean, sd, count = table["SPACING"]["L1", "L2"]
    assert mean == pytest.approx(25.0)
    assert sd == pytest.approx(0.0, abs=1e-6)
    assert count == 3
    assert table["LUMBAR_6"] == (0, 3)
    assert '("L1", "L2"): (25.0, 0.0, 3)' in level_statistics.source(table, 3, 4)


def test_axes_other_than_lps_are_refused(tmp_path: Path) -> None:
    import gzip

    line = (
        '{"scan": "a", "truth": [["L1", "body", 0, 0, 0], [null, "left", -15, 20, 0],'
        ' [null, "right", 15, 20, 0]], "detections": []}'
    )
    path = tmp_path / "points.jsonl.gz"
    path.write_bytes(gzip.compress(line.encode()))
    with pytest.raises(InputError, match="LPS"):
        level_statistics.read_keypoints(path)
