"""How well a method finds, outlines and names the vertebrae of labelled scans.

A data set is gone through scan by scan; the table is written after each, so that a run that was
stopped can be taken up again, and one bad scan doesn't end it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CancelledError, DependencyError, InputError, WeightsError
from ..labels import VERTEBRAE, display_name
from ..progress import Progress
from ..result import SegmentationResult
from .datasets import AUTO, Case, find_cases
from .resultfile import FAILED, ResultFile, fingerprint, summary_path, write_csv
from .truth import read_scan, read_truth
from .vertebra_scores import (
    MEASURES,
    VertebraScore,
    false_vertebrae,
    score,
    score_centroids,
    summary,
)

__all__ = [
    "COLUMNS", "Evaluation", "VertebraScore", "evaluate", "score", "summaries", "summary",
]  # fmt: skip

_SCORES = tuple(f.name for f in fields(VertebraScore))
COLUMNS = (*_SCORES, "kind", "seconds", "method", "settings", "error")
"""Of the table. ``kind`` is vertebra, false (found where there is none) or failed (a case)."""
_SPREAD = tuple(name for name in MEASURES if name not in ("found", "named", "identified"))
SUMMARY_COLUMNS = (
    "method", "settings", "group", "cases", "failed_cases", "vertebrae", "false_vertebrae",
    *MEASURES, *(f"{name}_sd" for name in _SPREAD), "seconds",
)  # fmt: skip
_REGIONS = tuple(dict.fromkeys(level.region for level in VERTEBRAE))
# What fails for one scan would fail for all.
_FATAL = (CancelledError, WeightsError, DependencyError)


@dataclass(frozen=True)
class Evaluation:
    """What a run gave.

    Attributes
    ----------
    layout : str
        The data set's, recognised or given.
    notes : list of str
        Files that were left out, cases that failed or were there already.
    summary : list of dict
        Rows of the summary of this method and these settings, as in FILE.summary.csv.
    """

    layout: str
    notes: list[str]
    summary: list[dict[str, Any]]


def evaluate(
    folder: Path | str,
    output: Path | str,
    method: str = "vertebra-unet",
    progress: Progress | None = None,
    *,
    layout: str = AUTO,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Segment every labelled case of a folder and score it.

    Parameters
    ----------
    folder : Path or str
        See `spineseg.evaluation.datasets.find_cases`.
    output : Path or str
        CSV file, one row a vertebra (`COLUMNS`); FILE.summary.csv is written beside it.
    method : str
        Name in the registry.
    progress : Progress, optional
    layout : str
        The data set's layout, or "auto".
    resume : bool
        Keep the rows of the file, and skip the cases that have rows of this method, with these
        settings and weights.
    settings : mapping, optional
        Changes to the method's settings.

    Raises
    ------
    InputError
        No labelled case, no method of that name, or no case could be scored.
    CancelledError
        The token was cancelled; what was scored is in the file.
    """
    from .. import registry

    progress = progress or Progress()
    row = registry.get(method)
    found = find_cases(folder, layout)
    if found.layout == "bodies":
        raise InputError(
            "This data set has vertebral bodies without levels.",
            "Measure clicks on it: spineseg evaluate click … --target body.",
        )
    key = fingerprint(asdict(row.settings(**(settings or {}))), row.models)
    output = Path(output)
    table = ResultFile(output, COLUMNS, resume)
    notes = list(found.notes)
    failed = 0
    for n, case in enumerate(found.cases):
        part = progress.part(n / len(found.cases), (n + 1) / len(found.cases))
        part("case", 0.0, case.name)
        if table.done(case.name, method, key):
            notes.append(f"{case.name} was in the table already.")
            continue
        rows = _rows(case, method, settings, part)
        if rows[0]["kind"] == FAILED:
            failed += 1
            notes.append(f"{case.name} failed: {rows[0]['error']}")
        table.put(case.name, method, key, rows)
        write_summary(table, summary_path(output))
    if failed == len(found.cases):
        raise InputError(f"No case of {folder} could be scored.", "", "\n".join(notes[-failed:]))
    write_summary(table, summary_path(output))
    mine = [r for r in summaries(table.rows) if (r["method"], r["settings"]) == (method, key)]
    return Evaluation(found.layout, notes, mine)


def _rows(
    case: Case, method: str, settings: Mapping[str, Any] | None, progress: Progress
) -> list[dict[str, Any]]:
    """Return the table's rows of one case; a single failed one if anything in it goes wrong."""
    from ..jobs import readable

    try:
        return list(_scored(case, method, settings, progress))
    except _FATAL:
        raise
    except Exception as caught:  # noqa: BLE001  one scan must not end the run
        return [{"kind": FAILED, "error": str(readable(caught))}]


def _scored(
    case: Case, method: str, settings: Mapping[str, Any] | None, progress: Progress
) -> Iterator[dict[str, Any]]:
    from ..pipeline import segment

    scan = read_scan(case)
    truth = read_truth(case, scan)
    started = time.perf_counter()
    result: SegmentationResult = segment(scan, method, progress, settings)
    shared = {"kind": "vertebra", "seconds": time.perf_counter() - started}
    placed = {v.label: v.centroid for v in result.vertebrae}
    made = result.segmentation
    if truth.labels is None:
        rows = score_centroids(truth.centroids, placed, case.name)
    else:
        rows = score(truth.labels, made, case.name, truth.centroids, placed)
    for row in rows:
        yield {**asdict(row), **shared}
    for label in false_vertebrae(truth.labels, made, truth.centroids, placed):
        yield {**shared, "level": display_name(label), "kind": "false"}


def write_summary(table: ResultFile, path: Path) -> None:
    """Write the summary of a table."""
    write_csv(path, SUMMARY_COLUMNS, summaries(table.rows))


def summaries(rows: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Summarise a table: for each method all vertebrae, each region, and each case.

    Parameters
    ----------
    rows : sequence of mapping
        As in the file: text.

    Returns
    -------
    list of dict
        With `SUMMARY_COLUMNS`: ``group`` is all, cervical, thoracic, lumbar or "case NAME"; each
        measure is a mean over vertebrae, and ``_sd`` its standard deviation.
    """
    result = []
    for method, key in dict.fromkeys((row["method"], row["settings"]) for row in rows):
        mine = [row for row in rows if (row["method"], row["settings"]) == (method, key)]
        groups = {"all": mine}
        for region in _REGIONS:
            groups[region] = [row for row in mine if row["region"] == region]
        for case in dict.fromkeys(row["case"] for row in mine):
            groups[f"case {case}"] = [row for row in mine if row["case"] == case]
        for group, chosen in groups.items():
            if chosen:
                line = _summarised(chosen)
                if group in _REGIONS:  # a false vertebra or a failed case belongs to no region
                    line.update(failed_cases=None, false_vertebrae=None)
                result.append({"method": method, "settings": key, "group": group, **line})
    return result


def _summarised(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    kinds = {kind: [r for r in rows if r["kind"] == kind] for kind in ("vertebra", "false", FAILED)}
    line: dict[str, Any] = {
        "cases": len({row["case"] for row in kinds["vertebra"]}),
        "failed_cases": len(kinds[FAILED]),
        "vertebrae": len(kinds["vertebra"]),
        "false_vertebrae": len(kinds["false"]),
    }
    for name in (*MEASURES, "seconds"):
        values = np.array([float(row[name]) for row in kinds["vertebra"] if row[name]])
        line[name] = float(values.mean()) if len(values) else None
        if name in _SPREAD:
            line[f"{name}_sd"] = float(values.std()) if len(values) else None
    return line
