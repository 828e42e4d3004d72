"""Naming the vertebrae on films, and saving their levels: the work of ``spineseg label``.

>>> from spineseg.film_labelling import label_films
>>> label_films("film.png", "result")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spineseg import registry
from spineseg.cobbjob import Failed, folder_names
from spineseg.errors import InputError
from spineseg.io.films import Film, find_films, read_film
from spineseg.manifest import FILE_NAME as MANIFEST
from spineseg.manifest import RunManifest, machine, now, output_hashes, sha256_of
from spineseg.methods.film_result import FilmLevels
from spineseg.pipeline import check_folder, method_settings, model_records
from spineseg.progress import Progress

__all__ = ["LEVELS", "PARTS", "PICTURE", "LabelsDone", "label_films"]

LEVELS = "levels.json"
PICTURE = "levels.png"
PARTS = (LEVELS, PICTURE)
"""What is written for a film, besides run.json."""


@dataclass(frozen=True, eq=False)
class LabelsDone:
    """Labelled films by file name, and those that could not be labelled."""

    folder: Path
    films: dict[str, FilmLevels] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)


def label_films(
    source: Path | str,
    folder: Path | str,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> LabelsDone:
    """Name the vertebrae on a film, or on all films of a folder (a folder of results each).

    Written are ``levels.json`` (see `FilmLevels.to_json`), ``levels.png``, a picture of the film
    with its levels, and ``run.json``.

    Parameters
    ----------
    source : path
        Film (DICOM, PNG, JPEG), or a folder of films.
    folder : path
        For the result.
    settings : mapping, optional
        Changes to `spineseg.methods.film_labels.Settings`.
    progress : Progress, optional
    overwrite : bool
        Replace files that were edited or made by others.

    Raises
    ------
    InputError
        There is no film, or nothing on it looks like a spine. Of a folder only where this holds for
        all of its films; the others are in `LabelsDone.failed`.
    WeightsError
        The trained networks are missing or damaged.
    """
    source, folder, progress = Path(source), Path(folder), progress or Progress()
    if not source.exists():
        raise InputError(f"There is no file or folder {source}.", "Check the path.")
    row = registry.get(registry.FILM_LABELS)
    chosen = method_settings(row, settings or {})
    done = LabelsDone(folder)
    if not source.is_dir():
        done.films[source.name] = _label(row, source, folder, chosen, progress, overwrite)
        return done
    films = find_films(source)
    if not films:
        raise InputError(f"There is no film in {source}.", "Give radiographs (DICOM, PNG, JPEG).")
    for number, (path, name) in enumerate(zip(films, folder_names(films), strict=True)):
        part = progress.part(number / len(films), (number + 1) / len(films))
        try:
            done.films[path.name] = _label(row, path, folder / name, chosen, part, overwrite)
        except InputError as error:
            done.failed.append(Failed(path.name, error))
    if not done.films:
        raise InputError(
            f"None of the {len(films)} files of {source.name} could be labelled.",
            str(done.failed[0].error),
            "\n".join(f"{f.name}: {f.error}" for f in done.failed),
        )
    return done


def _label(
    row: registry.Method, path: Path, folder: Path, settings: Any, progress: Progress,
    overwrite: bool,
) -> FilmLevels:  # fmt: skip
    check_folder(folder, overwrite, PARTS)
    progress("film", 0.0, path.name)
    film = read_film(path)
    found: FilmLevels = row.predict(film, settings, progress.part(0.05, 0.9))
    _save(found, film, path, folder, overwrite)
    progress("save", 1.0)
    return found


def _save(found: FilmLevels, film: Film, path: Path, folder: Path, overwrite: bool) -> None:
    """Write everything, or nothing."""
    from spineseg.atomic import atomic_folder
    from spineseg.cobb_pictures import levels_png

    manifest = RunManifest(
        task=registry.LABEL,
        method=registry.FILM_LABELS,
        inputs=[sha256_of(path)],
        settings=dict(found.settings),
        models=model_records(found.models),
        timings=dict(found.timings),
        warnings=list(found.warnings),
        grid={"shape": list(film.array.shape), "spacing_mm": film.spacing_mm},
        created=now(),
        machine=machine(),
    )
    target = check_folder(folder, overwrite, PARTS)
    with atomic_folder(target) as made:
        content = {"film": film.name, **found.to_json(), "notes": list(film.notes)}
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (made / LEVELS).write_text(text + "\n", encoding="utf-8", newline="\n")
        (made / PICTURE).write_bytes(levels_png(found, film))
        replace(manifest, outputs=output_hashes(made)).write(made / MANIFEST)
