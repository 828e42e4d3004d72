"""Figures of a fold: films without an answer stay in."""

from __future__ import annotations

import numpy as np
import pytest
from spineseg.evaluation.film_folds import card_results, summary

MORE = {"landmark": 0.1, "tilt": 2.0, "seconds": 0.5}


def frontal(*angles: float) -> dict[str, float]:
    return dict(zip(("major", "upper", "lower"), angles, strict=True))


def test_a_film_without_an_answer_has_angles_of_nothing() -> None:
    rows = [
        {"film": "a", "truth": frontal(50, 10, 10), "angles": frontal(30, 10, 10), **MORE},
        {"film": "b", "truth": frontal(40, 20, 6), "failed": "No spine is seen."},
    ]
    found = summary(rows)
    assert (found["films"], found["failures"]) == (2, 1)
    assert found["smape_percent"] == pytest.approx((100 * 20 / 120 + 100) / 2)
    assert found["major_mae_deg"] == pytest.approx((20 + 40) / 2)
    assert found["upper_mae_deg"] == pytest.approx(10)
    assert found["landmark_widths"] == 0.1
    named = {row["metric"]: (row["value"], row["n"]) for row in card_results(rows, "some")}
    assert named["failures"] == (1, 2)
    none = summary(rows[1:])
    assert (none["smape_percent"], none["major_mae_deg"]) == (100, 40)
    assert "seconds" not in none
    assert summary([]) == {"films": 0, "failures": 0}


def test_an_angle_that_the_table_lacks_counts_for_none_and_one_not_found_for_all() -> None:
    rows = [
        {"film": "a", "truth": {"kyphosis": np.nan, "lordosis": 50.0},
         "angles": {"kyphosis": 30.0, "lordosis": 47.0}, **MORE},
        {"film": "b", "truth": {"kyphosis": 36.0, "lordosis": 40.0},
         "angles": {"kyphosis": np.nan, "lordosis": 41.0}, **MORE},
    ]  # fmt: skip
    found = summary(rows)
    assert found["kyphosis_mae_deg"] == pytest.approx(36)
    assert found["lordosis_mae_deg"] == pytest.approx(2)
