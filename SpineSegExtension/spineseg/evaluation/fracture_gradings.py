"""Genant's grades that others gave the vertebrae of published scans: VerSe's and xVertSeg's.

VerSe 2019 (Löffler et al., Radiol Artif Intell 2020;2:e190138; osf.io/nqjyw) comes with a table of
grades by level, xVertSeg.v1 (lit.fe.uni-lj.si/xVertSeg) with ``Data1/scores/scores.csv``, whose
masks have 200 to 240 for L1 to L5. Neither table's columns are described where their layouts are,
so both usual shapes are read: a row for each vertebra, or a row for each scan with columns whose
names hold a level. Spreadsheets have to be saved as CSV first.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..labels import VERTEBRAE, by_verse
from ..volume import Volume
from .datasets import Case, find_cases

__all__ = [
    "GradedCase", "Grading", "find_gradings", "graded_cases", "read_gradings", "xvertseg_labels",
]  # fmt: skip

KINDS = ("", "wedge", "biconcave", "crush")
"""By the number that tables use (xVertSeg: 0 normal, 1 wedge, 2 biconcave, 3 crush)."""
_LEVELS = {level.name: level.name for level in VERTEBRAE}
_WHO = ("subject", "verse_id", "verseid", "case", "image", "scan", "name", "id", "patient")
_WHERE = ("level", "label", "vertebra")
_XVERTSEG = {200 + 10 * n: f"L{n + 1}" for n in range(5)}


@dataclass(frozen=True)
class Grading:
    """What a reader said of a vertebra: Genant's grade, 0 to 3, and the type ("" if not said)."""

    grade: int
    kind: str = ""


Gradings = dict[str, dict[str, Grading]]
"""By scan, then by level."""


@dataclass(frozen=True)
class GradedCase:
    """A published scan with its masks and its grades by level."""

    case: Case
    gradings: Mapping[str, Grading]

    def read(self) -> tuple[Volume, Volume]:
        """Return the CT (HU) and its label map with VerSe's ids, on the CT's grid."""
        from ..io.images import read_volume
        from ..io.labelmaps import read_labels

        scan = read_volume(self.case.scan)
        if self.case.labels is None:
            raise InputError(f"{self.case.name} has no masks.", "Leave it out.")
        if self.case.layout == "xvertseg":
            return scan, xvertseg_labels(read_volume(self.case.labels))
        return scan, read_labels(str(self.case.labels), scan.grid)


def xvertseg_labels(mask: Volume) -> Volume:
    """Return a mask of xVertSeg (200 to 240 for L1 to L5) with VerSe's ids; the rest is 0."""
    table = np.zeros(256, dtype=np.uint8)
    ids = {level.name: level.verse for level in VERTEBRAE}
    for value, name in _XVERTSEG.items():
        table[value] = ids[name]
    return mask.like(table[np.clip(mask.array, 0, 255).astype(np.uint8)])


def read_gradings(path: Path | str) -> Gradings:
    """Read a table of grades.

    Parameters
    ----------
    path : Path or str
        CSV, with commas, semicolons or tabs. Either a row for each vertebra, with columns for the
        scan, the level (a name or VerSe's id), the grade and perhaps the type; or a row for each
        scan, with columns such as ``L1``, ``L1_grade`` and ``L1_type``. A table without a header,
        as of xVertSeg, has the scan, then grade and type (or the grade alone) of L1 to L5.

    Returns
    -------
    dict
        Levels without a grade are left out.

    Raises
    ------
    InputError
        The file can't be read, or is no such table.
    """
    path = Path(path)
    if path.suffix.lower() in (".xls", ".xlsx"):
        raise InputError(f"{path.name} is a spreadsheet.", "Save it as CSV, and give that.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} can't be read.", "Check the path.", str(error)) from error
    delimiter = max(",;\t", key=text.count)
    rows = [r for r in csv.reader(text.splitlines(), delimiter=delimiter) if any(map(str.strip, r))]
    found: Gradings = {}
    if rows:
        head = [cell.strip().lower() for cell in rows[0]]
        where = next((head.index(name) for name in _WHERE if name in head), None)
        wide = {n: _column(cell) for n, cell in enumerate(rows[0]) if _column(cell)[0]}
        try:
            if where is not None:
                found = _long(head, where, rows[1:])
            elif wide:
                found = _wide(head, wide, rows[1:])
            else:
                found = _bare(rows)
        except (ValueError, IndexError) as error:
            raise InputError(*_strange(path), str(error)) from error
    if not any(found.values()):
        raise InputError(*_strange(path))
    return found


def _strange(path: Path) -> tuple[str, str]:
    return (
        f"{path.name} is no table of fracture grades.",
        "Columns are needed for the scan and for the grade of each level; see docs/datasets.md.",
    )


def _column(text: str) -> tuple[str, str]:
    """Return the level that a column's name holds, or "", and what the column has of it."""
    parts = [part for part in re.split(r"[\s_\-.]+", text.strip()) if part]
    level = next((_LEVELS[p.upper()] for p in parts if p.upper() in _LEVELS), "")
    words = " ".join(parts).lower()
    is_kind = any(word in words for word in ("type", "kind", "case", "morph", "shape"))
    return level, "kind" if is_kind else "grade"


def _long(head: Sequence[str], where: int, rows: Sequence[Sequence[str]]) -> Gradings:
    who = next((head.index(name) for name in _WHO if name in head), 0)
    grade = next(n for n, name in enumerate(head) if "grad" in name or "genant" in name)
    kind = next((n for n, name in enumerate(head) if "type" in name or "kind" in name), None)
    found: Gradings = {}
    for row in rows:
        number = _grade(row[grade])
        if number is not None:
            said = "" if kind is None else _kind(row[kind])
            found.setdefault(row[who].strip(), {})[_level(row[where])] = Grading(number, said)
    return found


def _wide(
    head: Sequence[str], columns: Mapping[int, tuple[str, str]], rows: Sequence[Sequence[str]]
) -> Gradings:
    who = next((head.index(name) for name in _WHO if name in head), 0)
    kinds = {level: n for n, (level, what) in columns.items() if what == "kind"}
    found: Gradings = {}
    for row in rows:
        own = found.setdefault(row[who].strip(), {})
        for n, (level, what) in columns.items():
            number = _grade(row[n]) if what == "grade" and n < len(row) else None
            if number is not None:
                kind = _kind(row[kinds[level]]) if level in kinds else ""
                own[level] = Grading(number, kind)
    return found


def _bare(rows: Sequence[Sequence[str]]) -> Gradings:
    """Read rows of a scan and L1 to L5, each with its grade and perhaps its type."""
    found: Gradings = {}
    for row in rows:
        cells = [cell for cell in row[1:] if cell.strip()]
        if len(cells) not in (5, 10):
            raise ValueError(f"{len(cells)} numbers for five vertebrae")
        step = len(cells) // 5
        for n, level in enumerate(_XVERTSEG.values()):
            number = _grade(cells[step * n])
            if number is not None:
                kind = _kind(cells[step * n + 1]) if step == 2 else ""
                found.setdefault(row[0].strip(), {})[level] = Grading(number, kind)
    return found


def _level(text: str) -> str:
    text = text.strip()
    if text.upper() in _LEVELS:
        return _LEVELS[text.upper()]
    number = int(float(text))
    if number in _XVERTSEG:
        return _XVERTSEG[number]
    try:
        return by_verse(number).name
    except KeyError as error:
        raise ValueError(f"no level {text}") from error


def _grade(text: str) -> int | None:
    """Return a grade; None where none was given, as for vertebrae out of view."""
    text = text.strip().lower()
    words = {"normal": 0, "mild": 1, "moderate": 2, "severe": 3}
    if text in words:
        return words[text]
    try:
        value = float(text)
    except ValueError:
        return None
    if value != value:
        return None
    if value not in (0, 1, 2, 3):
        raise ValueError(f"no grade {text}")
    return int(value)


def _kind(text: str) -> str:
    text = text.strip().lower()
    if text in KINDS:
        return text
    return KINDS[int(text)] if text in ("0", "1", "2", "3") else ""


def find_gradings(folder: Path) -> Path:
    """Return the table of grades in a folder; InputError where there is not just one."""
    named = [
        p for p in sorted(folder.rglob("*.csv"))
        if re.search(r"fracture|grad|genant|scores", p.stem.lower())
    ]  # fmt: skip
    if len(named) != 1:
        raise InputError(
            f"{folder} holds {len(named)} tables of fracture grades.",
            "Keep one, as CSV, with fracture, grading or scores in its name.",
        )
    return named[0]


def graded_cases(folder: Path | str) -> list[GradedCase]:
    """List the scans of VerSe's or xVertSeg's folder that have grades.

    Raises
    ------
    InputError
        There is no table of grades, or none of the scans is in it.
    """
    folder = Path(folder)
    gradings = {_key(name): own for name, own in read_gradings(find_gradings(folder)).items()}
    masks = sorted(folder.rglob("masks/mask*.mhd"))
    if masks:
        cases = [
            Case(f"image{m.stem.removeprefix('mask')}", "xvertseg",
                 m.parent.parent / "images" / f"image{m.stem.removeprefix('mask')}.mhd", m)
            for m in masks
        ]  # fmt: skip
    else:
        cases = find_cases(folder).cases
    found = [GradedCase(c, gradings[_key(c.name)]) for c in cases if gradings.get(_key(c.name))]
    if not found:
        raise InputError(
            f"No scan in {folder} is in its table of grades.",
            "Names of scans and the table's first column have to agree, such as sub-verse004.",
        )
    return found


def _key(name: str) -> str:
    """Return what two spellings of a scan's name share: sub-verse004_ct and 4 are the same."""
    numbers = re.findall(r"\d+", name.split("/")[-1])
    return str(int(numbers[0])) if numbers else name.lower()
