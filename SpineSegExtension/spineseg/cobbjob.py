"""The work of ``spineseg cobb``: a film, a folder of films, or a label map of vertebrae."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spineseg.cobb import (
    PARTS,
    FilmDone,
    measure_radiograph,
    method_for_films,
    read_vertebrae,
    save_film,
    save_spine,
)
from spineseg.errors import InputError, SpineSegError
from spineseg.io.films import ENDINGS, Film, find_films, is_film, read_film
from spineseg.manifest import sha256_of
from spineseg.measure.spine_angles import SpineAngles, measure_spine
from spineseg.pipeline import LABELS, check_folder
from spineseg.progress import Progress
from spineseg.result import MeasureResult

__all__ = ["CobbDone", "CobbJob", "Failed", "folder_names", "measure", "run_cobb"]


@dataclass(frozen=True)
class CobbJob:
    """What `run_cobb` needs.

    Attributes
    ----------
    source : str
        A film, a folder of films, a label map, or a folder that `spineseg segment` wrote.
    output : str
        Folder for the result; of a folder of films, one folder each is made in it.
    method : str or None
        For films: row of the registry; None for the default.
    settings : mapping
        Changes to that method's settings.
    overwrite : bool
        Replace files that were edited or made by others.
    about : mapping
        Of one film: fields of `spineseg.io.films.Film` that its file does not say.
    """

    source: str
    output: str
    method: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """A film of a folder that could not be measured, and why."""

    name: str
    error: SpineSegError


@dataclass(frozen=True, eq=False)
class CobbDone:
    """A finished job.

    Attributes
    ----------
    folder : Path
        With the result, or with one folder a film.
    films : dict of str to FilmDone
        By file name; empty for a label map.
    failed : list of Failed
    angles : SpineAngles or None
        Of a label map.
    """

    folder: Path
    films: dict[str, FilmDone] = field(default_factory=dict)
    failed: list[Failed] = field(default_factory=list)
    angles: SpineAngles | None = None


def run_cobb(job: CobbJob, progress: Progress) -> CobbDone:
    """Measure and save.

    Raises
    ------
    SpineSegError
        As `spineseg.cobb.measure_radiograph`, `read_film`, `read_vertebrae` and
        `spineseg.measure.spine_angles.measure_spine` say. Of a folder of films only what would
        fail for all of them; the others are in `CobbDone.failed`.
    """
    source, output = Path(job.source), Path(job.output)
    if not source.exists():
        raise InputError(f"There is no file or folder {source}.", "Check the path.")
    if source.is_dir():
        if (source / LABELS).is_file():
            return _label_map(source / LABELS, output, job, progress)
        return _folder(source, output, job, progress)
    if is_film(source) or source.suffix.lower() in ENDINGS:  # a damaged film is told as such
        check_folder(output, job.overwrite, PARTS)
        done = _film(source, output, job, progress)
        return CobbDone(output, films={source.name: done})
    return _label_map(source, output, job, progress)


def measure(job: CobbJob, progress: Progress) -> MeasureResult:
    """Do `run_cobb` for one film or label map, and return what a parent process has to know.

    Raises
    ------
    SpineSegError
        As `run_cobb` says; InputError also for a folder.
    """
    if Path(job.source).is_dir():
        raise InputError(f"{job.source} is a folder.", "Name one film or label map.")
    done = run_cobb(job, progress)
    if done.angles is not None:
        return MeasureResult({}, list(done.angles.warnings))
    (film,) = done.films.values()
    found = {**film.result.to_json(), "method": film.method}
    return MeasureResult(found, list(film.measurement.warnings), film.result.timings)


def _label_map(path: Path, output: Path, job: CobbJob, progress: Progress) -> CobbDone:
    check_folder(output, job.overwrite, PARTS)
    progress("read", 0.0, path.name)
    segmentation = read_vertebrae(path)
    progress("measure", 0.3, "endplates")
    started = time.perf_counter()
    angles = measure_spine(segmentation)
    seconds = time.perf_counter() - started
    progress("save", 0.8, output.name)
    save_spine(
        angles,
        segmentation,
        output,
        inputs=[sha256_of(path)],
        title=path.name,
        seconds=seconds,
        overwrite=job.overwrite,
    )
    progress("save", 1.0)
    return CobbDone(output, angles=angles)


def _film(path: Path, output: Path, job: CobbJob, progress: Progress) -> FilmDone:
    film = _with(read_film(path), job.about)
    method_for_films(job.method)  # after the film: a file that is none is named as such
    done = measure_radiograph(film, job.method, progress.part(0.0, 0.9), job.settings)
    save_film(done, film, output, inputs=[sha256_of(path)], overwrite=job.overwrite)
    progress("save", 1.0)
    return done


def _with(film: Film, about: Mapping[str, Any]) -> Film:
    """Return a film with what is known of it besides; JSON's lists become tuples."""
    if not about:
        return film
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in about.items()}
    try:
        return replace(film, **fields)
    except TypeError as error:
        raise InputError("What is said of the film is not valid.", "", repr(about)) from error


def _folder(source: Path, output: Path, job: CobbJob, progress: Progress) -> CobbDone:
    films = find_films(source)
    if not films:
        raise InputError(
            f"There is no film in {source}.",
            "Give a folder of radiographs (DICOM, PNG, JPEG), or a label map of vertebrae.",
        )
    method_for_films(job.method)
    done = CobbDone(output)
    for number, (path, name) in enumerate(zip(films, folder_names(films), strict=True)):
        part = progress.part(number / len(films), (number + 1) / len(films))
        part("film", 0.0, path.name)
        try:
            check_folder(output / name, job.overwrite, PARTS)
            done.films[path.name] = _film(path, output / name, job, part)
        except InputError as error:
            done.failed.append(Failed(path.name, error))
    if not done.films:
        first = done.failed[0]
        raise InputError(
            f"None of the {len(films)} files of {source.name} could be measured.",
            str(first.error),
            "\n".join(f"{f.name}: {f.error}" for f in done.failed),
        )
    return done


def folder_names(films: list[Path]) -> list[str]:
    """Return a folder's name for each film: its stem, or all of its name where two share that."""
    stems = [path.stem for path in films]
    return [p.name if stems.count(p.stem) > 1 else p.stem for p in films]
