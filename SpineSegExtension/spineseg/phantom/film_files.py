"""Rendered films as files: one of a patient, or a folder of many to learn from.

A folder has the layout of the films that people have marked (docs/cobb.md): ``images/``,
``landmarks.csv`` and ``films.csv``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..atomic import atomic_path
from ..errors import InputError
from ..labels import SACRUM, USUAL_VERTEBRAE
from ..measure.cobb import challenge_angles
from ..progress import Progress
from .film import RenderedFilm, render_film
from .film_beam import VIEWS
from .settings import Fracture, Lesion, PhantomSettings

__all__ = ["film_answers", "film_patient", "make_films", "write_film"]

_NAMES = [level.name for level in USUAL_VERTEBRAE]
_TRUNK, _ALL = _NAMES[_NAMES.index("T1") :], _NAMES[_NAMES.index("C2") :]
_FRONTAL = [f"{n:02d}" for n in range(1, len(_TRUNK) + 1)]
_RECORD = "made.json"


def film_patient(rng: np.random.Generator, view: str) -> PhantomSettings:
    """A patient at random, such as has films of the whole spine taken: most are scoliotic."""
    cobb = float(rng.choice([rng.uniform(0, 10), rng.uniform(10, 50), rng.uniform(50, 80)],
                            p=[0.2, 0.6, 0.2] if view == "ap" else [0.5, 0.4, 0.1]))  # fmt: skip
    young = rng.random() < 0.6
    names = _NAMES[2:]
    fractures: tuple[Fracture, ...] = ()
    lesions: tuple[Lesion, ...] = ()
    metal: tuple[str, ...] = ()
    if not young and rng.random() < 0.25:
        kind = str(rng.choice(["wedge", "biconcave", "crush"]))
        level = str(rng.choice(_TRUNK[4:]))
        fractures = (Fracture(level, kind, float(rng.uniform(0.15, 0.5))),)
    if rng.random() < 0.03:
        kind = str(rng.choice(["lytic", "blastic", "mixed"]))
        lesions = (Lesion(str(rng.choice(_TRUNK)), kind, float(rng.uniform(5, 12))),)
    if rng.random() < (0.08 if view == "ap" else 0.25):
        many = int(rng.integers(3, 12))
        first = int(rng.integers(names.index("T2"), len(names) - 2))
        metal = tuple(names[first : first + many])
    return PhantomSettings(
        cobb_deg=cobb,
        kyphosis_deg=float(np.clip(rng.normal(42, 16), 5, 95)),
        lordosis_deg=float(np.clip(rng.normal(52, 17), 5, 95)),
        fractures=fractures,
        lesions=lesions,
        metal=metal,
        osteoporosis=float(rng.uniform(0, 0.4) if young else rng.uniform(0.2, 1.0)),
        degeneration=float(rng.uniform(0, 0.2) if young else rng.beta(1.3, 1.6)),
        arms="forward" if view == "lateral" and rng.random() < 0.8 else None,
    )


def film_answers(film: RenderedFilm) -> dict[str, Any]:
    """Everything that is known of a film; pixels are (x, y), lengths mm, angles degrees."""
    return {
        "seed": film.seed,
        "view": film.view,
        "rows": int(film.pixels.shape[0]),
        "columns": int(film.pixels.shape[1]),
        "spacing_mm": round(film.spacing_mm, 5),
        "settings": asdict(film.settings),
        "look": asdict(film.look),
        "cobb": film.cobb,
        "kyphosis_deg": None if film.kyphosis_deg is None else round(film.kyphosis_deg, 2),
        "lordosis_deg": round(film.lordosis_deg, 2),
        "corners_px": {
            level: [[None if np.isnan(v) else round(float(v), 2) for v in p] for p in four]
            for level, four in zip(film.levels, film.corners, strict=True)
        },
    }


def write_film(film: RenderedFilm, folder: Path, name: str = "film") -> None:
    """Write ``NAME.png``, its answers as ``NAME.json`` and, of usual anatomy, the two tables.

    Raises
    ------
    InputError : the folder can't be written.
    """
    answers = film_answers(film)
    _write_png(film, folder / f"{name}.png")
    _write_json(answers, folder / f"{name}.json")
    if all(level in film.levels for level in _needed(film.view)):
        _write_tables({name: answers}, folder)


def make_films(
    folder: Path | str,
    count: int,
    view: str = "ap",
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
    whole: bool = False,
) -> Path:
    """Fill a folder with films of patients at random; those that are already there are kept.

    Writes ``images/film_000000.png`` …, ``answers/`` with a JSON file each, and the tables that
    `spineseg.io.film_tables.find_film_truths` reads. The same ``view`` and ``seed`` give the same
    films, and a larger ``count`` adds to them. With ``whole`` they are frontal films with all 24
    levels from C1 to L5, named in the table, as in paper 004, p. 39.

    Raises
    ------
    InputError : no such view, a whole lateral film, or the folder holds other things or films of
        another seed.
    """
    folder, progress = Path(folder), progress or Progress()
    if view not in VIEWS:
        raise InputError(f"There is no view '{view}'.", "Choose ap or lateral.")
    if whole and view != "ap":
        raise InputError("Lateral films show C2 to S1 anyway.", "Leave whole out.")
    if count < 1 or workers < 1:
        raise InputError(
            "There must be a film and a worker at least.", "Give whole numbers from 1."
        )
    made = {"view": view, "seed": seed, **({"whole": True} if whole else {})}
    _claim(folder, made)
    missing = [n for n in range(count) if not (folder / "answers" / f"{_name(n)}.json").is_file()]
    one = partial(_make_one, folder=folder, view=view, seed=seed, whole=whole)
    for number, _ in enumerate(_mapped(one, missing, workers), count - len(missing) + 1):
        progress("rendering films", number / count, f"{number} of {count}")
    found = {}
    for path in sorted((folder / "answers").glob("film_*.json")):
        found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
    _write_tables(found, folder)
    return folder


def _mapped(one: Any, numbers: list[int], workers: int) -> Iterable[None]:
    """Do all, in this process or in several."""
    if workers == 1:
        yield from map(one, numbers)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(one, numbers)


def _make_one(number: int, folder: Path, view: str, seed: int, whole: bool) -> None:
    rng = np.random.default_rng([seed, number, VIEWS.index(view)])
    settings = film_patient(rng, view)
    film = render_film(settings, int(rng.integers(2**31)), view, whole=whole)
    _write_png(film, folder / "images" / f"{_name(number)}.png")
    # Last, for it is what tells that a film is done.
    _write_json(film_answers(film), folder / "answers" / f"{_name(number)}.json")


def _name(number: int) -> str:
    return f"film_{number:06d}"


def _claim(folder: Path, made: dict[str, Any]) -> None:
    """Make the folder, or see that it is one of these films."""
    record = folder / _RECORD
    if folder.is_dir() and any(folder.iterdir()):
        try:
            known = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = None
        if known != made:
            raise InputError(
                f"{folder} holds other things than films of this view and seed.",
                "Choose an empty folder, or the same view and seed as before.",
            )
    _write_json(made, record)


def _needed(view: str) -> list[str]:
    return _TRUNK if view == "ap" else [*_ALL, SACRUM.name]


def _marks(view: str, whole: bool) -> list[tuple[str, str, int]]:
    """Columns of the table without their axis, each with its level and the corner's row."""
    if view == "ap":
        ends = ("ul", "ur", "ll", "lr")
        if whole:
            return [(f"{level}_{end}", level, row) for level in _NAMES
                    for row, end in enumerate(ends)]  # fmt: skip
        return [(f"v{n}_{end}", level, row) for n, level in zip(_FRONTAL, _TRUNK, strict=True)
                for row, end in enumerate(ends)]  # fmt: skip
    known = {"C2": (2, 3), SACRUM.name: (0, 1)}
    short = {SACRUM.name: "S1"}
    return [(f"{short.get(level, level)}{('TB', 'TF', 'BB', 'BF')[row]}", level, row)
            for level in _needed(view) for row in known.get(level, range(4))]  # fmt: skip


def _write_tables(films: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Write ``landmarks.csv`` and ``films.csv``."""
    landmarks, about = [], []
    for name, film in films.items():
        row: dict[str, Any] = {"file": f"{name}.png"}
        if film["view"] == "lateral":
            row.update(width_px=film["columns"], height_px=film["rows"])
        for column, level, end in _marks(film["view"], _NAMES[0] in film["corners_px"]):
            row[f"{column}_x"], row[f"{column}_y"] = film["corners_px"][level][end]
        landmarks.append(row)
        about.append(_about(name, film))
    for rows, table in ((landmarks, "landmarks.csv"), (about, "films.csv")):
        with (
            atomic_path(folder / table) as path,
            path.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _about(name: str, film: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "file": f"{name}.png", "patient": film["seed"], "width_px": film["columns"],
        "height_px": film["rows"], "spacing_mm": film["spacing_mm"],
        "implants": "yes" if film["settings"]["metal"] else "no",
    }  # fmt: skip
    if film["view"] == "ap":
        corners = np.array([film["corners_px"][level] for level in _TRUNK], dtype=float)
        angles = challenge_angles(corners, film["rows"])
        for which in ("major", "upper", "lower"):
            row[f"cobb_{which}_deg"] = round(getattr(angles, f"{which}_deg"), 3)
    else:
        row.update({key: film[key] for key in ("kyphosis_deg", "lordosis_deg")})
    return row


def _write_png(film: RenderedFilm, path: Path) -> None:
    with atomic_path(path) as part:
        sitk.WriteImage(sitk.GetImageFromArray(film.pixels), str(part), True)


def _write_json(content: Any, path: Path) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(content, indent=1), encoding="utf-8")
