"""The measurement on annotated films; skipped where they are not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from spineseg.io.film_tables import FilmTruth, find_film_truths
from spineseg.io.films import read_film
from spineseg.measure.centreline import corners_of_centreline
from spineseg.measure.cobb import challenge_angles, middles
from spineseg.measure.cobb_clinical import clinical_angles
from spineseg.measure.corner_check import corner_doubts
from spineseg.measure.sagittal import sagittal_angles

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cobb.md"
# Nothing but eyes finds what is wrong with these.
BY_EYE = {"ap_003", "ap_034"}


@pytest.fixture(scope="module")
def films(realdata: Path) -> list[tuple[FilmTruth, tuple[int, int]]]:
    """Frontal films with their size: the width and height stand in their table, too."""
    import csv

    with (realdata / "xray_ap" / "films.csv").open(newline="", encoding="utf-8") as file:
        sizes = {r["file"]: (int(r["width_px"]), int(r["height_px"])) for r in csv.DictReader(file)}
    truths = find_film_truths(realdata / "xray_ap")
    assert len(truths) == 481
    return [(truth, sizes[truth.path.name]) for truth in truths]


def doubtful(films) -> set[str]:
    return {t.path.stem for t, size in films if corner_doubts(t.corners_px, size)}


def test_all_three_angles_of_every_film_are_reproduced(films) -> None:
    wrong = {}
    for truth, (_, height) in films:
        found = challenge_angles(truth.corners_px, height)
        ours = (found.major_deg, found.upper_deg, found.lower_deg)
        known = [truth.angles_deg[name] for name in ("major", "upper", "lower")]
        if np.abs(np.subtract(ours, known)).max() > 0.5:
            wrong[truth.path.stem] = (ours, known)
    assert not wrong


def test_the_sizes_are_those_of_the_films(films) -> None:
    for truth, (width, height) in films[::80]:
        film = read_film(truth.path)
        assert (film.width_px, film.height_px) == (width, height)


def test_the_doubtful_films_are_named_in_the_documentation(films) -> None:
    section = DOCS.read_text(encoding="utf-8").split("## Doubtful films")[1]
    assert set(re.findall(r"ap_\d{3}", section)) == doubtful(films) | BY_EYE


def test_the_clinical_angle_is_near_the_major_one(films) -> None:
    odd = doubtful(films)
    away = []
    for truth, _ in films:
        if truth.path.stem not in odd:
            largest = clinical_angles(truth.corners_px, truth.levels).major
            away.append(abs((largest.angle_deg if largest else 0) - truth.angles_deg["major"]))
    assert np.mean(away) < 2.5
    assert np.percentile(away, 95) < 6


def test_a_centreline_loses_few_degrees(films) -> None:
    odd = doubtful(films)
    away = []
    for truth, (_, height) in films[::3]:
        if truth.path.stem not in odd:
            ends = middles(truth.corners_px)[[0, -1]]
            line = np.concatenate([ends[:1], truth.corners_px.mean(axis=1), ends[1:]])
            found = challenge_angles(corners_of_centreline(line), height)
            away.append(abs(found.major_deg - truth.angles_deg["major"]))
    assert np.mean(away) < 3.5


def test_lateral_films_give_plausible_angles(realdata: Path) -> None:
    truths = find_film_truths(realdata / "xray_lateral")
    assert len(truths) == 28
    found = [sagittal_angles(dict(zip(t.levels, t.corners_px, strict=True))) for t in truths]
    kyphosis = [f.kyphosis_deg for f in found if f.kyphosis_deg is not None]
    lordosis = [f.lordosis_deg for f in found if f.lordosis_deg is not None]
    assert len(kyphosis) > 20
    assert len(lordosis) > 20
    assert 30 < np.mean(kyphosis) < 45
    assert 40 < np.mean(lordosis) < 60
    assert min(kyphosis) > 10
    assert {f.faces for f in found} <= {"left", "right"}
