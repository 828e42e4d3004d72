"""How well a method measures films: SMAPE, errors of the angles, and how often it has no answer.

SMAPE is written in two ways in the proceedings of the AASCE 2019 challenge. The challenge's own is
the mean over films of the sum of the three angles' errors divided by the sum of all six angles,
times 100 %; the Erasmus paper writes 200 % instead, with the same sums. So the second is always
twice the first.

A film without an answer is a failure and stays in: its angles count as 0°, so it has an SMAPE of
100 % (200 %) and errors as large as its angles. Figures without failed films are given beside.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..cobb import measure_radiograph, method_for_films
from ..errors import CancelledError, DependencyError, SpineSegError, WeightsError
from ..io.film_tables import FilmTruth, find_film_truths
from ..io.films import Film, read_film
from ..measure.cobb import challenge_angles
from ..measure.film import FilmMeasurement
from ..measure.sagittal import sagittal_angles
from ..methods.film_checks import ROD, rod_score
from ..methods.film_result import AP
from ..pipeline import method_settings
from ..progress import Progress
from .resultfile import FAILED, ResultFile, fingerprint, summary_path, write_csv

__all__ = [
    "COLUMNS",
    "SUMMARY_COLUMNS",
    "CobbEvaluation",
    "evaluate_cobb",
    "smape_percent",
    "summary",
]

ANGLES = ("major", "upper", "lower")
_SIDE = ("kyphosis", "lordosis")
_ALL = (*ANGLES, *_SIDE)
COLUMNS = (
    "case", "kind", "method", "settings", "patient", "implants",
    *(f"{name}_true_deg" for name in _ALL), *(f"{name}_deg" for name in _ALL),
    "smape_percent", "corners_px", "corners_heights_percent", "confidence", "warnings", "seconds",
    "error",
)  # fmt: skip
"""Of the table. ``kind`` is film or failed; corners are mean distances, the second in per cent of
the mean height of the film's vertebrae."""
SUMMARY_COLUMNS = (
    "method", "settings", "group", "films", "failed", "failure_percent", "smape_percent",
    "smape_erasmus_percent", "smape_answered_percent", *(f"{name}_mae_deg" for name in _ALL),
    *(f"{name}_mae_answered_deg" for name in _ALL), "corners_px", "corners_heights_percent",
    "seconds",
)  # fmt: skip
JUDGED = (
    "The tables do not say which films show implants: counted are those on which a rod runs along"
    " the true landmarks."
)
_FATAL = (CancelledError, WeightsError, DependencyError)


@dataclass(frozen=True)
class CobbEvaluation:
    """What a run gave.

    Attributes
    ----------
    notes : list of str
        How implants were told, and films that failed, or were there already.
    summary : list of dict
        Rows of FILE.summary.csv: all films, and those with and without implants.
    """

    notes: list[str]
    summary: list[dict[str, Any]]


def smape_percent(found: Sequence[float], true: Sequence[float]) -> float:
    """Return the challenge's SMAPE of one film, 0–100 %; 0 where all angles are 0."""
    a, b = np.asarray(found, dtype=float), np.asarray(true, dtype=float)
    total = float((a + b).sum())
    return 100.0 * float(np.abs(a - b).sum()) / total if total > 0 else 0.0


def evaluate_cobb(
    folder: Path | str,
    output: Path | str,
    method: str | None = None,
    progress: Progress | None = None,
    *,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    fold: int | None = None,
) -> CobbEvaluation:
    """Measure all films of a folder and compare with what is known of them.

    Parameters
    ----------
    folder : Path or str
        See `spineseg.io.film_tables`.
    output : Path or str
        CSV file, one row a film (`COLUMNS`); FILE.summary.csv is written beside it.
    method : str, optional
        Row of the registry.
    progress : Progress, optional
    resume : bool
        Keep the file's rows, and skip the films that are in it.
    settings : mapping, optional
        Changes to the method's settings.
    fold : int, optional
        Only the frontal films that a training with this fold kept aside.

    Raises
    ------
    InputError
        No layout is recognised, a table is damaged, or the file is no such table.
    WeightsError, DependencyError, CancelledError
        As their names say; what fails for one film only is a row of kind failed.
    """
    progress = progress or Progress()
    truths = films_of(folder, fold)
    row = method_for_films(method)
    chosen = method_settings(row, settings or {})
    print_ = fingerprint(asdict(chosen), row.models)
    file = ResultFile(Path(output), COLUMNS, resume)
    notes = []
    frontal = [truth for truth in truths if truth.view == AP and truth.known.any()]
    if any(truth.implants is None for truth in frontal):
        notes.append(JUDGED)
    for number, truth in enumerate(truths):
        progress("evaluate", number / len(truths), truth.path.name)
        case = truth.path.name
        if file.done(case, row.name, print_):
            notes.append(f"{case} was there already.")
            continue
        part = Progress(token=progress.token)
        scored = score_film(truth, row.name, part, settings)
        if scored["kind"] == FAILED:
            notes.append(f"{case} failed: {scored['error']}")
        file.put(case, row.name, print_, [scored])
    kept = [r for r in file.rows if r["method"] == row.name and r["settings"] == print_]
    lines = summary(kept)
    for line in lines:
        line.update(method=row.name, settings=print_)
    write_csv(summary_path(Path(output)), SUMMARY_COLUMNS, lines)
    progress("evaluate", 1.0)
    return CobbEvaluation(notes, lines)


def films_of(folder: Path | str, fold: int | None = None) -> list[FilmTruth]:
    """Return the films of a folder, or the frontal ones that a training with a fold kept aside."""
    if fold is None:
        return find_film_truths(folder)
    from ..training.film_data import film_cases
    from ..training.films import split

    return split(film_cases(Path(folder), AP), fold)[1]


def score_film(
    truth: FilmTruth, method: str, progress: Progress, settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Measure one film and return its row of the table."""
    row: dict[str, Any] = {
        "kind": FAILED,
        "patient": truth.patient,
        "implants": truth.implants,
        # Also of a film that can't be read: it stays in the figures.
        **{f"{name}_true_deg": value for name, value in (truth.angles_deg or {}).items()},
    }
    started = time.perf_counter()
    try:
        film = read_film(truth.path)
        true = _true_angles(truth, film)
        row.update({f"{name}_true_deg": value for name, value in true.items()})
        if truth.implants is None:
            row["implants"] = _shows_rod(truth, film)
        measured = measure_radiograph(replace(film, view=truth.view), method, progress, settings)
        found = _found_angles(measured.measurement)
        missing = [name for name in true if found.get(name) is None]
        if missing:
            row["error"] = f"no {', '.join(missing)}"
            return row
    except _FATAL:
        raise
    except SpineSegError as error:
        row["error"] = str(error)
        return row
    row.update({f"{name}_deg": found[name] for name in true})
    row.update(_corner_errors(truth, measured.measurement, film))
    row["kind"] = "film"
    if truth.view == AP:
        pairs = [(found[name], true[name]) for name in ANGLES]
        row["smape_percent"] = smape_percent(*zip(*pairs, strict=True))
    row["confidence"] = float(np.mean(measured.measurement.confidence or (np.nan,)))
    row["warnings"] = " ".join(measured.measurement.warnings)
    row["seconds"] = time.perf_counter() - started
    return row


def _true_angles(truth: FilmTruth, film: Film) -> dict[str, float]:
    """Return the angles of a film: as published, or from its landmarks by the same measurement."""
    corners = truth.corners_on(film.width_px, film.height_px)
    if truth.view != AP:
        side = sagittal_angles(dict(zip(truth.levels, corners, strict=True)), film.spacing_mm)
        both = {"kyphosis": side.kyphosis_deg, "lordosis": side.lordosis_deg}
        return {name: value for name, value in both.items() if value is not None}
    if truth.angles_deg is not None:
        return dict(truth.angles_deg)
    own = challenge_angles(corners, film.height_px)
    return {"major": own.major_deg, "upper": own.upper_deg, "lower": own.lower_deg}


def _shows_rod(truth: FilmTruth, film: Film) -> bool | None:
    """Whether a rod is seen along the true landmarks of a frontal film; None if they are unknown.

    By the landmarks and not by what a method found, so that all methods have the same groups.
    """
    corners = truth.corners_on(film.width_px, film.height_px)
    if truth.view != AP or not np.isfinite(corners).all():
        return None
    return rod_score(film, corners) > ROD


def _found_angles(measured: FilmMeasurement) -> dict[str, Any]:
    if measured.sagittal is not None:
        side = measured.sagittal
        return {"kyphosis": side.kyphosis_deg, "lordosis": side.lordosis_deg}
    return dict(measured.angles_deg or {})


def _corner_errors(truth: FilmTruth, measured: FilmMeasurement, film: Film) -> dict[str, float]:
    """Return the mean distance of corners of levels that both have."""
    if measured.corners_px is None:
        return {}
    known = dict(zip(truth.levels, truth.corners_on(film.width_px, film.height_px), strict=True))
    found = dict(zip(measured.levels, measured.corners_px, strict=True))
    both = [n for n in known if n in found and np.isfinite(known[n]).any()]
    if not both:
        return {}
    a, b = np.array([known[n] for n in both]), np.array([found[n] for n in both])
    mean = float(np.nanmean(np.linalg.norm(a - b, axis=-1)))
    tall = float(np.nanmean(np.linalg.norm(a[:, :2].mean(axis=1) - a[:, 2:].mean(axis=1), axis=-1)))
    return {"corners_px": mean, "corners_heights_percent": 100.0 * mean / max(tall, 1e-6)}


def summary(rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return the figures of all films, and of those with and without implants, from table rows."""
    lines = [{"group": "all films", **_figures(rows)}]
    for group, mark in (("with implants", "1"), ("without implants", "0")):
        part = [row for row in rows if row["implants"] == mark]
        if part:
            lines.append({"group": group, **_figures(part)})
    return lines


def _figures(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    answered = [row for row in rows if row["kind"] != FAILED]
    failed = len(rows) - len(answered)
    line: dict[str, Any] = {
        "films": len(rows),
        "failed": failed,
        "failure_percent": 100.0 * failed / max(len(rows), 1),
    }
    frontal = [row for row in rows if row["major_true_deg"]]
    if frontal:
        scores = [float(row["smape_percent"]) if row["smape_percent"] else 100.0 for row in frontal]
        line["smape_percent"] = float(np.mean(scores))
        line["smape_erasmus_percent"] = 2.0 * line["smape_percent"]
    line["smape_answered_percent"] = _mean(row["smape_percent"] for row in answered)
    for name in _ALL:
        known = [row for row in rows if row[f"{name}_true_deg"]]
        away = [
            abs(float(row[f"{name}_deg"] or 0) - float(row[f"{name}_true_deg"])) for row in known
        ]
        sure = [a for a, row in zip(away, known, strict=True) if row["kind"] != FAILED]
        line[f"{name}_mae_deg"] = float(np.mean(away)) if away else None
        line[f"{name}_mae_answered_deg"] = float(np.mean(sure)) if sure else None
    for name in ("corners_px", "corners_heights_percent", "seconds"):
        line[name] = _mean(row[name] for row in answered)
    return line


def _mean(texts: Any) -> float | None:
    values = [float(text) for text in texts if text]
    return float(np.mean(values)) if values else None
