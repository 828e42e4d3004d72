"""Scores of label maps against the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.evaluation.vertebrae import cases, evaluate, score, summary, write_table
from spineseg.volume import Volume

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def spine(*labels: int) -> Volume:
    array = np.zeros((12 * len(labels), 10, 10), dtype=np.uint8)
    for n, label in enumerate(labels):
        array[12 * n + 2 : 12 * n + 10, 2:8, 2:8] = label
    return Volume(array, AFFINE)


def test_the_truth_scores_full_marks() -> None:
    rows = score(spine(22, 21, 20), spine(22, 21, 20), "a")
    assert [r.level for r in rows] == ["L1", "L2", "L3"]
    found = summary(rows)
    assert found["dice"] == found["named"] == found["found"] == 1.0
    assert found["distance_mm"] == 0.0


def test_a_slip_by_one_level_costs_the_name_and_not_the_shape() -> None:
    rows = score(spine(22, 21, 20), spine(23, 22, 21))
    assert all(r.shape_dice == 1.0 and r.found and not r.named for r in rows)
    assert all(r.dice == 0.0 for r in rows)


def test_half_a_vertebra_has_the_dice_of_a_half() -> None:
    truth = spine(20)
    half = truth.array.copy()
    half[6:] = 0
    (row,) = score(truth, truth.like(half))
    assert row.dice == pytest.approx(2 * 0.5 / 1.5)
    assert row.distance_mm == pytest.approx(6.0)


def test_a_missed_vertebra_counts_as_nothing() -> None:
    rows = score(spine(21, 20), spine(21, 0))
    missed = rows[0]
    assert missed.level == "L1"
    assert missed.dice == 0.0
    assert not missed.found
    assert missed.distance_mm is None
    assert summary(rows)["found"] == 0.5


def test_another_grid_is_refused() -> None:
    other = Volume(spine(20).array, np.diag([1.0, 1.0, 1.0, 1.0]))
    with pytest.raises(InputError, match="grid"):
        score(spine(20), other)


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    assert list(cases(tmp_path)) == []
    with pytest.raises(InputError, match="no labelled case"):
        evaluate(tmp_path)


def test_the_table_has_a_row_a_vertebra(tmp_path: Path) -> None:
    rows = score(spine(21, 20), spine(21, 20), "case")
    write_table(rows, tmp_path / "scores.csv")
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("case,level,dice")
