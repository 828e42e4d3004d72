"""Digitised anatomical landmarks of vertebrae: Slicer's Markups files, and plain tables.

A landmark names its vertebra: in a table by the column ``level``; in Markups files by the first
word of the label, or else of the description, as in ``T4 pedicle left`` or ``L1_sp``.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spineseg.errors import InputError
from spineseg.labels import FIRST_UNSURE, VERTEBRAE

__all__ = ["Landmark", "first_level", "level_of", "read_landmarks", "write_landmarks"]

COLUMNS = ("level", "label", "x", "y", "z")
_FARTHEST_MM = 5000.0
_NAMES = {level.name.lower(): level.name for level in VERTEBRAE}


@dataclass(frozen=True)
class Landmark:
    """One landmark.

    Attributes
    ----------
    level : str
        Of its vertebra: "T4", or "101", "102" … where models are numbered from the top.
    label : str
        What it marks, such as "pedicle left".
    position : tuple of float
        RAS mm.
    """

    level: str
    label: str
    position: tuple[float, float, float]


def read_landmarks(path: str | Path) -> list[Landmark]:
    """Read landmarks from a .mrk.json, .fcsv or .csv file.

    The coordinate system is the one that a Markups file states; a table is RAS unless a comment
    line above its header (starting with #) says LPS.

    Raises
    ------
    InputError
        The file can't be read, holds no landmark, an unknown level, or what is no position in mm.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} can't be read as text.", "Name a .mrk.json, .fcsv or .csv file.", str(error)
        ) from error
    if path.name.endswith(".json"):
        found = _markups(text, path)
    elif path.suffix == ".fcsv":
        found = _fcsv(text, path)
    elif path.suffix == ".csv":
        found = _table(text, path)
    else:
        raise InputError(
            f"{path.name} is no file of landmarks.", "Name a .mrk.json, .fcsv or .csv file."
        )
    if not found:
        raise InputError(f"{path.name} holds no landmark.", "Place points, then save them again.")
    return found


def write_landmarks(landmarks: Sequence[Landmark], path: str | Path) -> None:
    """Write a .csv table, RAS mm, that `read_landmarks` reads."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for one in landmarks:
            writer.writerow([one.level, one.label, *(f"{v:.4f}" for v in one.position)])


def level_of(text: str) -> str:
    """Return the level that a text begins with; InputError if it begins with none."""
    match = re.match(r"\s*([CTL]\d{1,2}|\d{3})(?![0-9])", text, re.IGNORECASE)
    name = match.group(1) if match else ""
    if name.lower() in _NAMES:
        return _NAMES[name.lower()]
    if name.isdigit() and int(name) >= FIRST_UNSURE:
        return name
    raise InputError(
        f"The landmark “{text.strip() or 'without a name'}” names no vertebra.",
        "Begin its name with the level, as in “T4 pedicle left”.",
    )


def _position(values: Iterable[Any], lps: bool, path: Path) -> tuple[float, float, float]:
    try:
        x, y, z = (float(v) for v in values)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path.name} holds a landmark whose position is no three numbers.",
            "Give x, y and z in mm.",
            str(error),
        ) from error
    if not all(math.isfinite(v) and abs(v) < _FARTHEST_MM for v in (x, y, z)):
        raise InputError(
            f"{path.name} holds a landmark at {x:g}, {y:g}, {z:g}, which is no place in mm.",
            "Give positions in mm.",
        )
    return (-x, -y, z) if lps else (x, y, z)


def _markups(text: str, path: Path) -> list[Landmark]:
    try:
        content = json.loads(text)
        markups = content["markups"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path.name} is no Markups file.", "Save the points from Slicer again.", str(error)
        ) from error
    found = []
    for markup in markups:
        lps = str(markup.get("coordinateSystem", "LPS")).upper() == "LPS"
        for point in markup.get("controlPoints", []):
            if point.get("positionStatus", "defined") != "defined":
                continue
            label, about = str(point.get("label", "")), str(point.get("description", ""))
            level = first_level(label, about)
            place = _position(point.get("position", ()), lps, path)
            found.append(Landmark(level, label, place))
    return found


def first_level(label: str, about: str) -> str:
    """Return the level that a landmark's label begins with, or else its description."""
    for text in (label, about):
        try:
            return level_of(text)
        except InputError:
            continue
    return level_of(label)


def _fcsv(text: str, path: Path) -> list[Landmark]:
    lps = False
    columns = ["id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc"]
    found = []
    for line in text.splitlines():
        if line.startswith("#"):
            name, _, value = line[1:].partition("=")
            if name.strip() == "CoordinateSystem":
                lps = value.strip().upper() in ("LPS", "1")
            elif name.strip() == "columns":
                columns = [c.strip() for c in value.split(",")]
            continue
        if not line.strip():
            continue
        row = dict(zip(columns, next(csv.reader([line])), strict=False))
        level = first_level(row.get("label", ""), row.get("desc", ""))
        place = _position((row.get(c) for c in "xyz"), lps, path)
        found.append(Landmark(level, row.get("label", ""), place))
    return found


def _table(text: str, path: Path) -> list[Landmark]:
    lines = text.splitlines()
    comments = [line for line in lines if line.lstrip().startswith("#")]
    lps = any(re.search(r"\bLPS\b", line, re.IGNORECASE) for line in comments)
    rows = csv.DictReader(line for line in lines if line.strip() and line not in comments)
    names = [(name or "").strip().lower() for name in rows.fieldnames or []]
    missing = [c for c in COLUMNS if c not in names and c != "label"]
    if missing:
        raise InputError(
            f"{path.name} has no column {', '.join(missing)}.",
            f"Its first line must name {', '.join(COLUMNS)}.",
        )
    rows.fieldnames = names
    return [
        Landmark(
            level_of(str(row["level"])),
            str(row.get("label") or ""),
            _position((row[c] for c in "xyz"), lps, path),
        )
        for row in rows
    ]
