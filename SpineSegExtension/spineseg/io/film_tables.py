"""Reading films with known landmarks: this project's tables, and those of the AASCE challenge.

Two layouts are known (docs/cobb.md):

- tables with headers: ``landmarks.csv`` (``file`` and, for frontal films, ``v01_ul_x`` …
  ``v17_lr_y``, or the level's name in place of the number, ``C2_ll_x`` … ``S1_ur_y``; for lateral
  ones ``C2BB_x`` … ``S1TF_y``; the levels are those of the header), ``films.csv`` beside it where
  angles, patients, implants or the spacing (``spacing_mm``) are known, and ``images/``;
- the published training and test folders: ``labels/SPLIT`` with ``filenames.csv``,
  ``landmarks.csv`` (a row a film: 68 x, then 68 y, as fractions of the film) and ``angles.csv``,
  without headers, and the films in ``data/SPLIT``.

``landmarks.csv`` may be missing, or lack some films: those whose angles are known are then frontal
films without corners. A mark at (0, 0) was never placed: it is taken as unknown.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spineseg.errors import InputError
from spineseg.labels import SACRUM, USUAL_VERTEBRAE, VERTEBRAE
from spineseg.methods.film_result import AP, LATERAL

__all__ = ["FilmTruth", "find_film_truths"]

Floats = NDArray[np.float64]
Row = dict[str, str]

_NAMES = tuple(level.name for level in USUAL_VERTEBRAE)
_FRONTAL = _NAMES[_NAMES.index("T1") : _NAMES.index("L5") + 1]
# As levels are called in a header, from the top, and here.
_CALLED = {**{level.name: level.name for level in VERTEBRAE}, "S1": SACRUM.name}
_NUMBERED = {f"v{n:02d}": level for n, level in enumerate(_FRONTAL, 1)}
_UNMARKED = np.full((len(_FRONTAL), 4, 2), np.nan)
_SIDE = (*_NAMES[_NAMES.index("C2") :], "S1")
_CORNERS = ("ul", "ur", "ll", "lr")
# T and B are the top and bottom endplate, B and F its back and front corner.
_LATERAL = ("TB", "TF", "BB", "BF")
_ANGLES = ("major", "upper", "lower")
_LAYOUTS = "Known layouts are in docs/cobb.md: tables with headers, or the challenge's folders."


@dataclass(frozen=True, eq=False)
class FilmTruth:
    """What is known of a film.

    Attributes
    ----------
    path : Path
    view : {"ap", "lateral"}
    levels : tuple of str
    corners_px : (n, 4, 2) float64
        As in `spineseg.methods.film_result.FilmResult`, NaN where unknown. Where `relative`, they
        are fractions of the film's width and height.
    angles_deg : mapping or None
        ``major``, ``upper`` and ``lower``, as published with the film.
    patient : str
        Films of one patient have the same; empty where unknown.
    implants : bool or None
        Whether the film shows implants, where a column of ``films.csv`` says so.
    relative : bool
    spacing_mm : float or None
        Between pixels (which are square), where a column of ``films.csv`` says so.
    """

    path: Path
    view: str
    levels: tuple[str, ...]
    corners_px: Floats
    angles_deg: dict[str, float] | None = None
    patient: str = ""
    implants: bool | None = None
    relative: bool = False
    spacing_mm: float | None = None

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which vertebrae (n,) have a corner that is known."""
        placed = np.all(np.isfinite(self.corners_px), axis=2)
        return np.asarray(np.any(placed, axis=1))

    def corners_on(self, width_px: int, height_px: int) -> Floats:
        """Return the corners in pixels of a film of this size."""
        return self.corners_px * ((width_px, height_px) if self.relative else (1.0, 1.0))


def find_film_truths(folder: Path | str) -> list[FilmTruth]:
    """Return the films of a folder and what is known of them, by name.

    Raises
    ------
    InputError
        The folder has none of the known layouts, or a table is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.", "Check the path.")
    try:
        headers = any((folder / name).is_file() for name in ("landmarks.csv", "films.csv"))
        if headers and not (folder / "filenames.csv").is_file():
            found = _with_headers(folder)
        else:
            found = _challenge(folder)
    except (KeyError, ValueError, IndexError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"The tables of films in {folder} can't be read.", _LAYOUTS, repr(error)
        ) from error
    if not found:
        raise InputError(f"There are no films with landmarks or angles in {folder}.", _LAYOUTS)
    return sorted(found, key=lambda truth: truth.path.name)


def _with_headers(folder: Path) -> list[FilmTruth]:
    about = {row["file"]: row for row in _rows(folder / "films.csv")}
    marked = {row["file"]: row for row in _rows(folder / "landmarks.csv")}
    found = []
    for name in [*marked, *(n for n in about if n not in marked)]:
        more = about.get(name, {})
        path = next((p for p in (folder / "images" / name, folder / name) if p.is_file()), None)
        if path is None or (name not in marked and _angles(more) is None):
            continue
        view, levels, corners = AP, _FRONTAL, _UNMARKED
        if name in marked:
            view, called = _header(marked[name])
            parts = [f"_{c}" for c in _CORNERS] if view == AP else list(_LATERAL)
            corners = _marks(marked[name], [[f"{n}{part}" for part in parts] for n in called])
            levels = tuple(called.values())
        found.append(
            FilmTruth(
                path=path,
                view=view,
                levels=levels,
                corners_px=corners,
                angles_deg=_angles(more),
                patient=more.get("patient", ""),
                implants=_yes(more.get("implants", "")),
                spacing_mm=float(more.get("spacing_mm") or 0) or None,
            )
        )
    return found


def _header(columns: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Return the view, and the levels by what the header calls them, from the top.

    Lateral films always have C2–S1, which their angles are measured between.
    """
    names = tuple(columns)
    lateral = {m[1] for m in (re.fullmatch(r"([A-Z]\d+)[TB][BF]_x", n) for n in names) if m}
    frontal = {m[1] for m in (re.fullmatch(r"(\w+)_[ul][lr]_x", n) for n in names) if m}
    if any(name in frontal for name in _NUMBERED):
        return AP, _NUMBERED
    found = {*_SIDE, *lateral} if lateral else frontal
    levels = {name: level for name, level in _CALLED.items() if name in found}
    if not levels:
        raise ValueError("no columns of landmarks")
    return (LATERAL if lateral else AP), levels


def _rows(path: Path) -> list[Row]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _marks(row: Row, names: list[list[str]]) -> Floats:
    """Return the marks of these names, NaN where there is none."""

    def at(name: str, axis: str) -> float:
        text = row.get(f"{name}_{axis}", "")
        return float(text) if text.strip() else np.nan

    points = np.array([[[at(n, axis) for axis in "xy"] for n in four] for four in names])
    points[(points == 0).all(axis=-1)] = np.nan
    return points


def _angles(row: Row) -> dict[str, float] | None:
    texts = {name: row.get(f"cobb_{name}_deg", "").strip() for name in _ANGLES}
    return {name: float(text) for name, text in texts.items()} if all(texts.values()) else None


def _yes(text: str) -> bool | None:
    known = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
    return known.get(text.strip().lower())


def _challenge(folder: Path) -> list[FilmTruth]:
    """Read the published folders: the one above ``labels``, or one of its splits."""
    tables = sorted(folder.glob("labels/*/filenames.csv")) or sorted(folder.glob("filenames.csv"))
    found = []
    for table in tables:
        labels = table.parent
        images = labels.parent.parent / "data" / labels.name
        names = [row[0].strip() for row in _cells(table)]
        marks = np.array([[float(v) for v in row] for row in _cells(labels / "landmarks.csv")])
        angles = [[float(v) for v in row[:3]] for row in _cells(labels / "angles.csv")]
        if not marks.size and angles:
            marks = np.full((len(names), 136), np.nan)
        if marks.shape != (len(names), 136) or (angles and len(angles) != len(names)):
            raise ValueError(f"{len(names)} films, {marks.shape} landmarks, {len(angles)} angles")
        # 68 x, then 68 y; four corners a vertebra.
        corners = marks.reshape(-1, 2, 17, 4).transpose(0, 2, 3, 1)
        for number, name in enumerate(names):
            if (images / name).is_file():
                known = dict(zip(_ANGLES, angles[number], strict=True)) if angles else None
                found.append(
                    FilmTruth(images / name, AP, _FRONTAL, corners[number], known, relative=True)
                )
    return found


def _cells(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8-sig") as file:
        return [row for row in csv.reader(file) if row]
