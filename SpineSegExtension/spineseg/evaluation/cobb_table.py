"""All methods for films side by side: one table, their ensembles, and where they disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import registry
from ..atomic import atomic_path
from ..errors import InputError, SpineSegError
from ..measure.cobb_combine import HOW, MEAN, combined, weights_of
from ..methods.cobb_ensemble import NAME as ENSEMBLE
from ..progress import Progress
from ..weights import load_card, load_state
from .cobb import ANGLES, evaluate_cobb, smape_percent
from .resultfile import FAILED, ResultFile, summary_path, write_csv

__all__ = ["TABLE_COLUMNS", "Comparison", "compare", "markdown"]

Floats = NDArray[np.float64]
Rows = Sequence[Mapping[str, str]]

TABLE_COLUMNS = (
    "method", "films", "smape_percent", "major_mae_deg", "upper_mae_deg", "lower_mae_deg",
    "corners_heights_percent", "failed", "seconds", "parameters", "trained_on", "paper",
)  # fmt: skip
"""Of FILE.summary.csv and FILE.md; corners: mean distances, in per cent of a vertebra's height."""
_APART = 5  # films that are named because the methods disagree on them
_BEST = 3  # members of the small ensemble


@dataclass(frozen=True)
class Comparison:
    """What a run gave.

    Attributes
    ----------
    notes : list of str
        Films that failed, by method.
    table : list of dict
        `TABLE_COLUMNS`, a method or ensemble each, the best first.
    apart : list of dict
        Films on which the methods disagree most: ``film``, ``true`` major angle, and each
        method's, by name.
    """

    notes: list[str]
    table: list[dict[str, Any]]
    apart: list[dict[str, Any]]


def compare(
    folder: Path | str,
    output: Path | str,
    progress: Progress | None = None,
    *,
    methods: Sequence[str] = (),
    fold: int | None = None,
    resume: bool = False,
) -> Comparison:
    """Measure films with every method, and combine their answers.

    Parameters
    ----------
    folder : Path or str
        See `spineseg.io.film_tables`; every film frontal, with its angles or landmarks.
    output : Path or str
        CSV file with one row a film and method; FILE.summary.csv and FILE.md are made beside it.
    methods : sequence of str, optional
        Rows of the registry; by default all for films.
    fold : int, optional
        Only the films that trainings with this fold kept aside.
    resume : bool
        Keep the file's rows.

    Raises
    ------
    InputError
        As `evaluate_cobb`; or no method is named that can be compared.
    """
    progress, path = progress or Progress(), Path(output)
    names = list(methods) or [n for n in registry.names(registry.COBB) if n != ENSEMBLE]
    if not names:
        raise InputError("There is no method to compare.", "Install one, or name some.")
    notes: list[str] = []
    lines: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(names):
        part = progress.part(number / len(names), (number + 1) / len(names))
        done = evaluate_cobb(folder, path, name, part, resume=resume or number > 0, fold=fold)
        notes += [f"{name}: {text}" for text in done.notes if "failed" in text]
        lines[name] = {**done.summary[0], **_facts(name)}
    answers = _Answers(ResultFile(path, _columns(), resume=True).rows, lines)
    table = [{**line, "method": name} for name, line in lines.items()] + answers.ensembles()
    table.sort(key=lambda line: float(line["smape_percent"]))
    write_csv(summary_path(path), TABLE_COLUMNS, [_only(line) for line in table])
    found = Comparison(notes, [_only(line) for line in table], answers.apart())
    with atomic_path(path.with_suffix(".md")) as made:
        made.write_text(markdown(found), encoding="utf-8", newline="\n")
    return found


def _columns() -> tuple[str, ...]:
    from .cobb import COLUMNS

    return COLUMNS


def _only(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: line.get(key) for key in TABLE_COLUMNS}


def _facts(name: str) -> dict[str, Any]:
    """Return how large a method is, what it learned from and what its paper says."""
    row = registry.get(name)
    found: dict[str, Any] = {"paper": getattr(getattr(row.load(), "SYSTEM", None), "paper", "")}
    models = [model for model in row.models if "lateral" not in model]
    try:
        found["parameters"] = sum(v.numel() for m in models for v in load_state(m).values())
        card = load_card(models[-1])
    except (SpineSegError, IndexError):
        return found
    films = sum(int(data["n"]) for data in card.training_data[:1])
    hours = card.command.partition("--hours ")[2].split()
    found["trained_on"] = f"{films} films" + (f", {hours[0]} h" if hours else "")
    return found


class _Answers:
    """The angles of all methods on all films, NaN where there is none."""

    def __init__(self, rows: Rows, lines: Mapping[str, Mapping[str, Any]]) -> None:
        now = {name: str(line["settings"]) for name, line in lines.items()}
        rows = [r for r in rows if now.get(r["method"]) == r["settings"] and r["major_true_deg"]]
        self.names = list(lines)
        self.films = sorted({row["case"] for row in rows})
        shape = (len(self.films), len(self.names), len(ANGLES))
        self.found, self.true = np.full(shape, np.nan), np.zeros((len(self.films), len(ANGLES)))
        self.seconds = np.zeros(len(self.names))
        patient = {}
        for row in rows:
            film, method = self.films.index(row["case"]), self.names.index(row["method"])
            self.true[film] = [float(row[f"{a}_true_deg"]) for a in ANGLES]
            patient[row["case"]] = row["patient"] or row["case"]
            if row["kind"] != FAILED:
                self.found[film, method] = [float(row[f"{a}_deg"]) for a in ANGLES]
        for number, name in enumerate(self.names):
            self.seconds[number] = float(lines[name].get("seconds") or 0)
        self.halves = self._halves([patient[film] for film in self.films])

    @staticmethod
    def _halves(patients: Sequence[str]) -> NDArray[np.bool_]:
        """Share films by patient: weights of one half are chosen on the other."""
        from ..training.film_data import folds_of

        return np.asarray(folds_of(patients, 2) == 0)

    def smape(self, angles: Floats, films: NDArray[np.bool_] | None = None) -> float:
        """SMAPE of angles (films, 3); an answer that is missing counts as 0°."""
        chosen = np.ones(len(self.films), dtype=bool) if films is None else films
        pairs = zip(np.nan_to_num(angles[chosen]), self.true[chosen], strict=True)
        scores = [smape_percent(list(a), list(b)) for a, b in pairs]
        return float(np.mean(scores)) if scores else np.nan

    def ensembles(self) -> list[dict[str, Any]]:
        """Lines of the table: all methods' mean and vote, and those of the best few."""
        if len(self.names) < 2 or not self.films:
            return []
        sizes = sorted({len(self.names), min(_BEST, len(self.names))})
        return [self._line(how, few) for how in HOW for few in sizes]

    def _line(self, how: str, few: int) -> dict[str, Any]:
        angles = np.zeros_like(self.true)
        used: set[int] = set()
        for half in (self.halves, ~self.halves):
            scores = [self.smape(self.found[:, n], ~half) for n in range(len(self.names))]
            best = np.argsort(np.nan_to_num(scores, nan=np.inf))[:few]
            share = np.zeros(len(self.names))
            share[best] = weights_of([scores[n] for n in best])
            used |= set(best.tolist())
            for film in np.flatnonzero(half):
                angles[film] = combined(self.found[film], share, how)
        away = np.abs(np.nan_to_num(angles) - self.true).mean(axis=0)
        title = "weighted mean" if how == MEAN else "vote"
        whom = "all methods" if few == len(self.names) else f"the best {few}"
        line: dict[str, Any] = {
            "method": f"{title} of {whom}",
            "films": len(self.films),
            "smape_percent": self.smape(angles),
            "failed": int(np.isnan(angles).any(axis=1).sum()),
            "seconds": float(self.seconds[sorted(used)].sum()),
            "trained_on": "weights from the other half of the patients",
        }
        return line | {f"{a}_mae_deg": float(v) for a, v in zip(ANGLES, away, strict=True)}

    def apart(self) -> list[dict[str, Any]]:
        """Films on which the methods' major angles differ most."""
        spread = np.nan_to_num(np.nanstd(self.found[..., 0], axis=1)) if self.films else np.zeros(0)
        rows = []
        for film in np.argsort(-spread)[:_APART]:
            each = dict(zip(self.names, self.found[film, :, 0].round(1).tolist(), strict=True))
            rows.append({"film": self.films[film], "true": float(self.true[film, 0]), **each})
        return rows


def markdown(found: Comparison) -> str:
    """Return the table and the films where methods disagree as Markdown."""
    head = (
        "Method", "Films", "SMAPE %", "Major °", "Upper °", "Lower °", "Corners, % of a height",
        "No answer", "Seconds", "Parameters", "Trained on", "Its paper says",
    )  # fmt: skip
    rows = [[_text(line[key]) for key in TABLE_COLUMNS] for line in found.table]
    text = _table(head, rows)
    if found.apart:
        names = [name for name in found.apart[0] if name not in ("film", "true")]
        rows = [[_text(row[key]) for key in ("film", "true", *names)] for row in found.apart]
        text += "\nWhere the methods disagree most, major angle in degrees:\n\n"
        text += _table(("Film", "True", *names), rows)
    return text


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def _text(value: Any) -> str:
    if value is None or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:.1f}" if value >= 1 else f"{value:.2f}"
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)
