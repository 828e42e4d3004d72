"""The same naming is always said in the same words, and other counts are stated."""

from __future__ import annotations

import pytest
from spineseg.labels import USUAL_VERTEBRAE
from spineseg.methods.level_columns import columns
from spineseg.methods.level_words import remarks, skips, spell, unsure

USUAL = [level.name for level in USUAL_VERTEBRAE]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (USUAL, "C1–L5"),
        (["L3"], "L3"),
        ([*USUAL, "L6"], "C1–L6 with L6"),
        (["T11", "T12", "T13", "L1"], "T11–L1 with T13"),
        (["T10", "T11", "L1", "L2"], "T10–L2 without T12"),
        (["T12", "L2", "L3"], "T12–L3 without L1"),
        ([], "nothing"),
    ],
)
def test_a_naming_in_words(names: list[str], text: str) -> None:
    assert spell(names) == text


def test_no_two_spines_are_said_alike() -> None:
    said = {spell(column.names) for column in columns()}
    assert len(said) == len(columns()) == 9


def test_other_counts_are_stated_with_their_likelihood() -> None:
    best = ["T2", *USUAL[9:20]]
    other = [*USUAL[9:19], "T13", "L1"]
    said = remarks(best, skips(best), [(best, 0.95), (other, 0.03), (USUAL[:12], 0.004)])
    assert said == [f"Instead of T2–L1, this is possible too: {spell(other)} (3%)."]
    assert "with T13" in said[0]


def test_rare_counts_and_gaps_are_said() -> None:
    said = remarks([*USUAL[5:], "L6"], [], [([*USUAL[5:], "L6"], 1.0)])
    assert "additional vertebra (L6)" in said[0]
    eleven = [name for name in USUAL if name != "T12"]
    assert skips(eleven) == []
    assert "11 thoracic" in remarks(eleven, [], [(eleven, 1.0)])[0]
    gap = [name for name in USUAL if name != "L2"]
    assert "Between L1 and L3 a vertebra was not found." in remarks(gap, skips(gap), [(gap, 1.0)])


def test_unsure_names_what_it_could_be() -> None:
    said = unsure([(USUAL[9:12], 0.5), (USUAL[10:13], 0.3), (USUAL[8:11], 0.002)], ["no ribs"])
    assert "could be T3–T5 (50%) or T4–T6 (30%)." in said
    assert "named: no ribs;" in said
    assert "T2" not in said


def test_spines_are_as_common_as_they_add_up_to() -> None:
    import numpy as np

    assert np.exp([column.prior for column in columns()]).sum() == pytest.approx(1.0)
    prior = {spell(column.names): column.prior for column in columns()}
    assert prior["C1–L5"] == max(prior.values())
    # Ribs that end a level higher are as often a shift of the border as a lost vertebra.
    gain = prior["C1–L6 with L6 without T12"] - prior["C1–L5 without T12"]
    assert gain > prior["C1–L6 with L6"] - prior["C1–L5"]
