"""Scores of vertebral bodies, and digital patients as MR."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.evaluation.body_scores import score_bodies, summary
from spineseg.evaluation.scoliotic_mr import gradient_correlation, table
from spineseg.io.images import read_volume
from spineseg.phantom import PhantomSettings, generate, write_phantom
from spineseg.phantom.magnetic import as_mr, bodies_of
from spineseg.volume import Volume

SMALL = PhantomSettings(spacing_mm=2.5, levels=("L1", "L3"), torso=False,
                        margin_mm=(40.0, 50.0, 5.0))  # fmt: skip


def blocks(shift: int = 0, count: int = 3) -> Volume:
    array = np.zeros((60, 30, 30), np.uint8)
    for n in range(count):
        array[5 + 18 * n : 17 + 18 * n, 8 + shift : 22 + shift, 8:22] = n + 1
    return Volume(array, np.diag([2.0, 1.0, 1.5, 1.0]))


def test_a_perfect_answer_scores_perfectly_whatever_its_numbers() -> None:
    truth = blocks()
    other = truth.like(np.array([0, 7, 3, 5], np.uint8)[truth.array])
    for score in score_bodies(truth, other):
        assert (score.dice, score.distance_mm, score.found) == (1.0, 0.0, True)


def test_a_shift_is_measured_in_mm() -> None:
    scores = score_bodies(blocks(), blocks(2))
    assert all(s.dice == pytest.approx(12 / 14) for s in scores)
    assert all(0.2 < s.distance_mm < 2.0 for s in scores)


def test_a_missed_body_counts_as_nothing() -> None:
    scores = score_bodies(blocks(), blocks(count=2))
    assert [s.found for s in scores] == [True, True, False]
    assert scores[2].dice == 0
    assert scores[2].distance_mm is None
    total = summary(scores)
    assert total["dice"] == pytest.approx(2 / 3)
    assert total["found"] == pytest.approx(2 / 3)
    assert total["distance_mm"] == 0


def test_one_found_body_stands_for_one_true_body_only() -> None:
    merged = blocks()
    merged.array[merged.array == 2] = 1
    scores = score_bodies(blocks(), merged)
    assert sum(s.dice > 0 for s in scores) == 2


def test_another_grid_is_refused() -> None:
    moved = Volume(blocks().array, np.diag([2.0, 1.0, 1.4, 1.0]))
    with pytest.raises(InputError, match="another grid"):
        score_bodies(blocks(), moved)


@cache
def patient():
    return generate(SMALL, 2)


def test_bodies_are_numbered_from_the_top_and_lie_in_their_vertebrae() -> None:
    bodies = bodies_of(patient()).array
    ids = patient().vertebrae.array
    heights = [np.argwhere(bodies == n)[:, 0].mean() for n in range(1, bodies.max() + 1)]
    assert len(heights) >= 3
    assert heights == sorted(heights, reverse=True)
    for n in range(1, bodies.max() + 1):
        assert len(np.unique(ids[bodies == n])) == 1


def test_an_mr_shows_the_same_patient_and_is_repeatable() -> None:
    mr = as_mr(patient(), "t1")
    assert mr.shape == patient().ct.shape
    assert np.allclose(mr.affine, patient().ct.affine)
    assert np.array_equal(mr.array, as_mr(patient(), "t1").array)
    assert gradient_correlation(mr, mr) == pytest.approx(1)
    assert abs(gradient_correlation(mr, mr.like(mr.array[::-1].copy()))) < 0.3


def test_an_unknown_sequence_and_thick_slices_are_refused() -> None:
    with pytest.raises(InputError, match="no MR"):
        as_mr(patient(), "flair")
    from dataclasses import replace

    thick = generate(replace(SMALL, slice_mm=5.0), 2)
    with pytest.raises(InputError, match="cubic voxels"):
        as_mr(thick)


def test_a_patient_is_written_as_mr_too(tmp_path) -> None:
    write_phantom(tmp_path / "p", SMALL, 2, mr="t2")
    mr, bodies = (read_volume(tmp_path / "p" / f"{n}.nii.gz") for n in ("mr", "bodies"))
    assert mr.shape == bodies.shape
    assert bodies.array.max() >= 3


def test_the_table_has_a_row_for_each_curve() -> None:
    rows = [
        {"cobb_deg": str(c), "at_end": str(end), "found": "True", "dice": "0.8",
         "distance_mm": "1.0", "landmark_mm": "" if end else "2.0"}
        for c in (20.0, 90.0)
        for end in (True, False)
    ]  # fmt: skip
    text = table(rows)
    assert "| 20° | 2 | 100% | 0.80 | 1.00 | 2.00 |" in text
    assert "| 90° | 2 |" in text
    assert "| uppermost and lowest | 2 |" in text
