"""How well the levels on films are named and placed: identification rate and distance.

A level is *identified* if the true centre nearest to where it was found has the same level. The
paper (004 p. 39, after Glocker et al. 2012 and 2013) asks besides that it is no farther off than
20 mm; where a film's spacing is not known, 0.7 of the mean distance between neighbours stands for
that (20 of some 28 mm between T1 and L5).

A film without an answer is a failure: none of its vertebrae is identified. Films whose annotation
is not in order from the top, so that its levels are not what it says, are left out and named.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import registry
from ..errors import CancelledError, DependencyError, InputError, SpineSegError, WeightsError
from ..io.film_tables import FilmTruth
from ..io.films import read_film
from ..labels import by_name
from ..methods.film_labels import MODEL_OF, Settings, predict
from ..methods.film_result import AP, FilmLevels
from ..progress import Progress
from ..training.film_data import centres_of, view_cases
from ..training.film_labels import in_order, label_cases
from ..training.films import split
from ..weights import load_card
from .resultfile import FAILED, ResultFile, fingerprint, summary_path, write_csv

__all__ = ["COLUMNS", "SUMMARY_COLUMNS", "LevelsEvaluation", "card_results", "evaluate_films",
           "score_film", "score_films", "summary"]  # fmt: skip

Floats = NDArray[np.float64]

COLUMNS = (
    "case", "kind", "method", "settings", "patient", "view", "level", "region", "true_x_px",
    "true_y_px", "x_px", "y_px", "error_px", "error_heights_percent", "error_mm", "nearest",
    "identified", "identified_20mm", "confidence", "warnings", "seconds", "error",
)  # fmt: skip
"""Of the table, one row a vertebra. ``kind`` is vertebra, failed or disordered (left out)."""
SUMMARY_COLUMNS = (
    "method", "settings", "group", "films", "failed_films", "disordered_films",
    "all_identified_percent", "vertebrae", "identified_percent", "identified_20mm_percent",
    "error_px", "error_heights_percent", "error_heights_percent_sd", "error_mm", "error_mm_sd",
    "seconds",
)  # fmt: skip
DISORDERED = "disordered"
_LIMIT_MM, _LIMIT_STEPS = 20.0, 0.7
_FATAL = (CancelledError, WeightsError, DependencyError)


@dataclass(frozen=True)
class LevelsEvaluation:
    """What a run gave.

    Attributes
    ----------
    notes : list of str
        Films that failed, were left out, or were there already.
    summary : list of dict
        Rows of FILE.summary.csv: all vertebrae, and those of each region.
    """

    notes: list[str]
    summary: list[dict[str, Any]]


def evaluate_films(
    folder: Path | str,
    output: Path | str,
    settings: Settings,
    progress: Progress | None = None,
    *,
    fold: int | None = None,
    resume: bool = False,
) -> LevelsEvaluation:
    """Label all films of a view in a folder and compare with what is known of them.

    Parameters
    ----------
    folder : Path or str
        See `spineseg.io.film_tables`; or the folder above ``xray_ap`` and ``xray_lateral``.
    output : Path or str
        CSV file, one row a vertebra (`COLUMNS`); FILE.summary.csv is written beside it.
    settings : Settings
        Its view says which films; "ap" where it has none.
    progress : Progress, optional
    fold : int, optional
        Only the films that a training with this fold kept aside.
    resume : bool
        Keep the file's rows, and skip the films that are in it.

    Raises
    ------
    InputError
        No layout is recognised, there are no films of the view, or the file is no such table.
    WeightsError, DependencyError, CancelledError
        As their names say; what fails for one film only is a row of kind failed.
    """
    progress = progress or Progress()
    settings = replace(settings, view=settings.view or AP)
    truths = _cases(Path(folder), str(settings.view), fold)
    name = registry.FILM_LABELS
    sha = load_card(MODEL_OF[str(settings.view)], settings.models).sha256
    print_ = fingerprint({**asdict(settings), "weights": sha}, ())
    file = ResultFile(Path(output), COLUMNS, resume)
    notes = []
    for number, truth in enumerate(truths):
        progress("evaluate", number / len(truths), truth.path.name)
        case = truth.path.name
        if file.done(case, name, print_):
            notes.append(f"{case} was there already.")
            continue
        rows = score_film(truth, settings, Progress(token=progress.token))
        if rows[0]["kind"] != "vertebra":
            notes.append(f"{case}: {rows[0]['error']}")
        file.put(case, name, print_, rows)
    lines = summary([r for r in file.rows if r["method"] == name and r["settings"] == print_])
    for line in lines:
        line.update(method=name, settings=print_)
    write_csv(summary_path(Path(output)), SUMMARY_COLUMNS, lines)
    progress("evaluate", 1.0)
    return LevelsEvaluation(notes, lines)


def _cases(folder: Path, view: str, fold: int | None) -> list[FilmTruth]:
    if fold is not None:
        return split(label_cases(folder, view)[1], fold)[1]
    found = view_cases(folder, view)
    if not found:
        raise InputError(
            f"There are no {view} films in {folder}.", "Choose the other --view, or check the path."
        )
    return found


def score_films(
    cases: Sequence[FilmTruth], settings: Settings, progress: Progress
) -> list[dict[str, Any]]:
    """Return the rows of films of one view, each with its ``case``."""
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        progress("labelling films", number / len(cases), case.path.name)
        scored = score_film(case, settings, Progress(token=progress.token))
        rows += [{"case": case.path.name, **row} for row in scored]
    return rows


def score_film(truth: FilmTruth, settings: Settings, progress: Progress) -> list[dict[str, Any]]:
    """Label one film and return its rows of the table, one for each vertebra that is known."""
    known = truth.known
    levels = [level for level, there in zip(truth.levels, known, strict=True) if there]
    rows: list[dict[str, Any]] = [
        {"kind": FAILED, "patient": truth.patient, "view": truth.view, "level": level,
         "region": by_name(level).region, "identified": False, "identified_20mm": False}
        for level in levels
    ]  # fmt: skip
    if not in_order(replace(truth, levels=tuple(levels), corners_px=truth.corners_px[known])):
        said = "its annotated vertebrae do not follow each other down the spine"
        return [{**row, "kind": DISORDERED, "error": said} for row in rows[:1]]
    started = time.perf_counter()
    try:
        film = read_film(truth.path)
        found = predict(film, replace(settings, view=truth.view), progress)
    except _FATAL:
        raise
    except SpineSegError as error:
        return [{**row, "error": str(error)} for row in rows]
    seconds = time.perf_counter() - started
    corners = truth.corners_on(film.width_px, film.height_px)[known]
    spacing = (truth.spacing_mm,) * 2 if truth.spacing_mm else film.spacing_mm
    scored = compare(levels, corners, found, spacing)
    more = {"kind": "vertebra", "warnings": " ".join(found.warnings), "seconds": seconds}
    return [{**row, **more, **one} for row, one in zip(rows, scored, strict=True)]


def compare(
    levels: Sequence[str],
    corners: Floats,
    found: FilmLevels,
    spacing_mm: tuple[float, float] | None = None,
) -> list[dict[str, Any]]:
    """Return what a row says of each true vertebra.

    Parameters
    ----------
    levels : sequence of str
        True ones, from the top.
    corners : (n, 4, 2)
        Pixels, NaN where unknown.
    found : FilmLevels
        A level that it lacks is not identified.
    spacing_mm : (float, float), optional
        Between rows and between columns.
    """
    centres, heights = centres_of(corners), _heights(corners)
    across = np.array(spacing_mm[::-1]) if spacing_mm else None
    step = float(np.linalg.norm(np.diff(centres, axis=0), axis=1).mean())
    place = dict(zip(found.levels, found.centres_px, strict=True))
    sure = dict(zip(found.levels, found.confidence, strict=True))
    rows = []
    for level, true, height in zip(levels, centres, heights, strict=True):
        row: dict[str, Any] = {"true_x_px": float(true[0]), "true_y_px": float(true[1])}
        rows.append(row)
        if level not in place:
            continue
        away = place[level] - true
        nearest = levels[int(np.linalg.norm(centres - place[level], axis=1).argmin())]
        error = float(np.linalg.norm(away))
        error_mm = float(np.linalg.norm(away * across)) if across is not None else None
        close = error < _LIMIT_STEPS * step if error_mm is None else error_mm < _LIMIT_MM
        row.update(
            x_px=float(place[level][0]), y_px=float(place[level][1]), error_px=error,
            error_heights_percent=100 * error / height, error_mm=error_mm, nearest=nearest,
            identified=nearest == level, identified_20mm=nearest == level and close,
            confidence=sure[level],
        )  # fmt: skip
    return rows


def _heights(corners: Floats) -> Floats:
    """Heights (n,) of vertebrae in pixels; where an endplate is unknown, the neighbour's."""
    own = np.linalg.norm(corners[:, :2].mean(axis=1) - corners[:, 2:].mean(axis=1), axis=1)
    at = np.flatnonzero(np.isfinite(own))
    if not len(at):
        return np.full(len(own), np.nan)
    return np.asarray(own[at[np.abs(np.arange(len(own))[:, None] - at).argmin(axis=1)]])


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the figures of all vertebrae and of each region, from rows of the table."""
    lines = [_figures(rows, "all vertebrae")]
    for region in ("cervical", "thoracic", "lumbar", "sacral"):
        part = [row for row in rows if row["region"] == region]
        if any(row["kind"] != DISORDERED for row in part):
            lines.append(_figures(part, region))
    return lines


def _figures(rows: Sequence[Mapping[str, Any]], group: str) -> dict[str, Any]:
    counted = [row for row in rows if row["kind"] != DISORDERED]
    films: dict[str, list[bool]] = {}
    for row in counted:
        films.setdefault(str(row["case"]), []).append(_true(row["identified"]))
    line: dict[str, Any] = {
        "group": group,
        "films": len(films),
        "failed_films": len({row["case"] for row in counted if row["kind"] == FAILED}),
        "disordered_films": len({row["case"] for row in rows}) - len(films),
        "vertebrae": len(counted),
    }
    if not counted:
        return line
    line["all_identified_percent"] = 100.0 * float(np.mean([all(f) for f in films.values()]))
    for name in ("identified", "identified_20mm"):
        line[f"{name}_percent"] = 100.0 * float(np.mean([_true(row[name]) for row in counted]))
    for name in ("error_px", "error_heights_percent", "error_mm"):
        values = [float(row[name]) for row in counted if row.get(name) not in (None, "")]
        if values:
            line[name], line[f"{name}_sd"] = float(np.mean(values)), float(np.std(values))
    line.pop("error_px_sd", None)
    seconds = {row["case"]: float(row["seconds"]) for row in counted if row.get("seconds")}
    if seconds:
        line["seconds"] = float(np.median(list(seconds.values())))
    return line


def _true(cell: Any) -> bool:
    """A cell of a row, or of a table that was read."""
    return cell in (True, "1")


def card_results(rows: Sequence[Mapping[str, Any]], data: str) -> list[dict[str, Any]]:
    """Return the figures of all vertebrae as rows of a model card."""
    line = summary(rows)[0]
    films = int(line.pop("films"))
    return [
        {"data": data, "metric": name, "value": round(float(value), 3), "n": films}
        for name, value in line.items()
        if name not in ("group", "vertebrae", "seconds")
    ]
