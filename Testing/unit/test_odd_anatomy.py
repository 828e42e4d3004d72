"""Odd patients are drawn as said, scored strictly, and a stopped run goes on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from spineseg.evaluation import odd_anatomy
from spineseg.evaluation.odd_anatomy import KINDS, OddPatient, Outcome, measure, odd_patient, score
from spineseg.evaluation.oracle import Errors, Seen, drawn, seen_by_networks
from spineseg.labels import FIRST_UNSURE, by_name
from spineseg.methods.classes import CoarseClass, FineClass
from spineseg.phantom import Fusion, PhantomSettings
from spineseg.phantom.chain import Chain, build_chain
from spineseg.result import Vertebra
from spineseg.volume import Volume

LUMBAR = PhantomSettings(
    spacing_mm=3.0, levels=("T10", "L5"), cobb_deg=5.0, lowest_ribs=1.0, margin_mm=(60, 70, 50)
)


def chain_of(settings: PhantomSettings) -> Chain:
    return build_chain(settings, np.random.default_rng([1, 1]))


def answer(chain: Chain, names: list[str], called: list[str | None]) -> list[Vertebra]:
    """Vertebrae found at the places of `names`, and called otherwise."""
    result, unsure = [], FIRST_UNSURE
    for name, level in zip(names, called, strict=True):
        x, y, z = (float(v) for v in chain.bodies[chain.index(name)].centre)
        label = by_name(level).verse if level else unsure
        unsure += level is None
        result.append(Vertebra(label, level, (x, y, z), True, 1.0))
    return result


def outcome(
    called: list[str | None], warnings: list[str], names: list[str] | None = None
) -> Outcome:
    """How L1–L3 of a spine whose field of view shows just these are scored."""
    chain = chain_of(PhantomSettings())
    centres = [chain.bodies[chain.index(n)].centre for n in ("L1", "L2", "L3")]
    low = np.min(centres, axis=0) - 10
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = low
    shape = np.ceil((np.max(centres, axis=0) + 10 - low) / 2).astype(int)[::-1]
    grid = Volume(np.zeros(shape, dtype=np.uint8), affine)
    patient = OddPatient(7, ("cropped",), PhantomSettings())
    found = answer(chain, names or ["L1", "L2", "L3"], called)
    return score(patient, chain, grid, found, warnings)


def test_patients_are_drawn_in_all_ways_and_reproducibly() -> None:
    patients = [odd_patient(odd_anatomy.FIRST_SEED + n) for n in range(150)]
    counts = Counter(kind for patient in patients for kind in patient.kinds)
    assert set(counts) == set(KINDS)
    assert {len(patient.kinds) for patient in patients} == {1, 2}
    assert patients[3] == odd_patient(odd_anatomy.FIRST_SEED + 3)
    for patient in patients:
        kinds, settings = set(patient.kinds), patient.settings
        assert settings.t13 == ("t13" in kinds)
        assert settings.thoracic_11 == ("thoracic_11" in kinds)
        assert bool(settings.fusions) == ("fused" in kinds)
        assert bool(settings.fractures) == ("fractured" in kinds)
        assert (settings.levels[0] == "C1") == ("cropped" not in kinds)
        assert not (settings.t13 and settings.lowest_ribs == 0.0)
        assert len(chain_of(settings).bodies) in (23, 24, 25, 26)


def test_right_names_score_full_marks() -> None:
    row = outcome(["L1", "L2", "L3"], [])
    assert (row.vertebrae, row.identified, row.misnamed, row.missed) == (3, 3, 0, 0)
    assert row.right
    assert row.truth == row.answer == "L1–L3"


def test_a_slip_is_wrong_and_flagged_only_by_the_truth() -> None:
    slip: list[str | None] = ["T12", "L1", "L2"]
    silent = outcome(slip, ["Check the count."])
    assert (silent.identified, silent.misnamed, silent.right, silent.flagged) == (
        0,
        3,
        False,
        False,
    )
    other = outcome(slip, ["Instead of T12–L2, this is possible too: L2–L4 (9%)."])
    assert not other.flagged
    told = outcome(slip, ["Instead of T12–L2, this is possible too: L1–L3 (9%)."])
    assert told.flagged
    assert not told.right


def test_withheld_names_are_a_flag_unless_another_is_wrong() -> None:
    said = ["no vertebra is named; it could be T12–L2 (50%) or L1–L3 (40%)."]
    row = outcome([None, None, None], said)
    assert (row.unsure, row.identified, row.right, row.flagged) == (3, 0, False, True)
    assert outcome([None, None, None], ["it could be L1–L3 (60%) or T12–L2 (40%)."]).right
    assert not outcome([None, None, "L2"], ["Only L2 can be named."]).flagged


def test_a_missed_vertebra_is_wrong_and_flagged_where_it_is_said() -> None:
    row = outcome(["L1", "L3"], [], ["L1", "L3"])
    assert (row.identified, row.missed, row.right, row.flagged) == (2, 1, False, False)
    said = ["Between L1 and L3 a vertebra was not found."]
    assert outcome(["L1", "L3"], said, ["L1", "L3"]).flagged


def test_a_table_counts_what_it_says() -> None:
    rows = [
        outcome(["L1", "L2", "L3"], []),
        outcome(["T12", "L1", "L2"], []),
        outcome([None, None, "L3"], ["it could be L1–L3 (60%)."]),
    ]
    line = odd_anatomy.summary(rows)[2]
    assert line == "| all | 3 | 2 | 1 | 57.1 % | 44.4 % | 1 | 0 | 1 of 2 |"


def votes_of(seen: Seen, kji: np.ndarray) -> np.ndarray:
    k, j, i = kji.T
    return seen.classes.ijk_to_ras(kji[:, ::-1]) + seen.offsets[:, k, j, i].T.astype(float)


def test_faultless_networks_tell_the_truth() -> None:
    chain, canvas = drawn(LUMBAR, 2)
    seen = seen_by_networks(chain, canvas, LUMBAR)
    assert seen.classes.shape == canvas.shape
    label = by_name("L3").verse
    own = canvas.ids == label
    assert set(np.unique(seen.classes.array[own])) == {FineClass.BODY, FineClass.POSTERIOR}
    kji = np.argwhere(own)[::50]
    votes = votes_of(seen, kji)
    assert np.abs(votes - chain.bodies[chain.index("L3")].centre).max() < 0.2
    place = np.rint(seen.regions.ras_to_ijk(seen.classes.ijk_to_ras(kji[:, ::-1])))[:, ::-1]
    regions = seen.regions.array[tuple(place.astype(int).T)]
    assert (regions == CoarseClass.LUMBAR).mean() > 0.7


def test_networks_that_err_see_a_block_as_one() -> None:
    settings = replace(LUMBAR, fusions=(Fusion("L2"),))
    chain, canvas = drawn(settings, 2)
    errors = Errors(vote_mm=0.01, vote_share=1.0, patches=0, border=0, rib=0, merged=1, split=0,
                    lost=0)  # fmt: skip
    seen = seen_by_networks(chain, canvas, settings, errors)
    pair = [chain.bodies[chain.index(n)] for n in ("L2", "L3")]
    middle = (pair[0].centre + pair[1].centre) / 2
    for body in pair:
        kji = np.argwhere(canvas.ids == by_name(body.name).verse)[::50]
        assert np.abs(votes_of(seen, kji) - middle).max() < 0.3


@pytest.mark.parametrize(
    ("odd", "truth"),
    [
        ({}, "L5"),
        ({"l6": True, "levels": ("T10", "L6")}, "L6 with L6"),
        ({"fusions": (Fusion("L2"),)}, "L5"),
    ],
)
def test_lumbar_spines_are_named_by_what_networks_would_say(
    odd: dict[str, object], truth: str
) -> None:
    row = measure(OddPatient(2, ("fused",), replace(LUMBAR, **odd)))
    # The margin shows parts of what lies above T10.
    assert row.truth.partition("–")[2] == truth
    assert row.right
    assert row.misnamed == row.missed == 0


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = outcome(["L1", "L2", "L3"], ["a warning, with a comma"])
    done: list[int] = []

    def quick(patient: OddPatient, method: str | None, errors: Errors | None) -> Outcome:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(patient.seed)
        return replace(row, seed=patient.seed)

    monkeypatch.setattr(odd_anatomy, "measure", quick)
    with pytest.raises(KeyboardInterrupt):
        odd_anatomy.main(["-n", "3", "-o", str(tmp_path), "--oracle"])
    done.clear()
    rows = odd_anatomy.run(tmp_path, 3, None, None, 2.0)
    first = odd_anatomy.FIRST_SEED
    assert done == [first + 2]
    assert [r.seed for r in rows] == [first, first + 1, first + 2]
    assert rows[0] == replace(row, seed=first)
    assert "| all | 3 |" in (tmp_path / "summary.md").read_text(encoding="utf-8")
