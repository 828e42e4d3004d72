"""A table of results that grows case by case, survives a stop, and is taken up again."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import spineseg

from ..atomic import atomic_path
from ..errors import InputError

__all__ = ["FAILED", "ResultFile", "fingerprint", "summary_path", "write_csv"]

Row = dict[str, str]
FAILED = "failed"
"""The kind of a row that says why a case has no results."""


def fingerprint(settings: Mapping[str, Any], models: Iterable[str]) -> str:
    """Return eight characters that change with the settings, the weights or the program."""
    from ..weights import list_models

    wanted = set(models)
    weights = sorted((c.name, c.sha256) for c in list_models() if c.name in wanted)
    text = json.dumps([spineseg.__version__, settings, weights], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def summary_path(path: Path) -> Path:
    """Return FILE.summary.csv for FILE.csv."""
    return path.with_name(f"{path.name.removesuffix('.csv')}.summary.csv")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table whole or not at all; None becomes an empty cell, true and false 1 and 0."""
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns), restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _cell(value) for key, value in row.items()})


def _cell(value: Any) -> str:
    if value is None or value != value:  # NaN
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)


class ResultFile:
    """Rows of a CSV file, each with ``case``, ``method``, ``settings`` and ``kind``.

    Parameters
    ----------
    path : Path
        Rewritten after each case.
    columns : sequence of str
        Its header.
    resume : bool
        Keep what is in the file; else it is replaced at the first case.

    Raises
    ------
    InputError
        The file is to be taken up, but is not such a table.
    """

    def __init__(self, path: Path, columns: Sequence[str], resume: bool = False) -> None:
        self.path, self.columns = path, tuple(columns)
        self.rows: list[Row] = []
        if resume and path.exists():
            self.rows = self._read()

    def _read(self) -> list[Row]:
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                if tuple(reader.fieldnames or ()) == self.columns:
                    return [{key: row[key] or "" for key in self.columns} for row in reader]
        except (OSError, UnicodeDecodeError, csv.Error):
            pass
        raise InputError(
            f"{self.path.name} is not a table that this evaluation wrote.",
            "Name another file, or leave out --resume.",
        )

    def done(self, case: str, method: str, settings: str) -> bool:
        """Whether a case has results of these settings; a failed one is tried again."""
        return any(
            row["case"] == case
            and row["method"] == method
            and row["settings"] == settings
            and row["kind"] != FAILED
            for row in self.rows
        )

    def put(self, case: str, method: str, settings: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replace the rows of one case and write the file."""
        key = {"case": case, "method": method, "settings": settings}
        self.rows = [row for row in self.rows if any(row[k] != v for k, v in key.items())]
        for row in rows:
            cells = {**row, **key}
            self.rows.append({name: _cell(cells.get(name)) for name in self.columns})
        write_csv(self.path, self.columns, self.rows)
