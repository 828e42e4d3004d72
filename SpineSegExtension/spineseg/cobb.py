"""Measuring the angles of spines on films and in label maps, and saving what was measured.

>>> from spineseg.cobb import measure_radiograph, save_film
>>> from spineseg.io.films import read_film
>>> film = read_film("film.png")
>>> done = measure_radiograph(film)
>>> save_film(done, film, "result")

A label map of vertebrae needs no method: `spineseg.measure.spine_angles.measure_spine`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from spineseg import registry
from spineseg.errors import InputError, SpineSegError, WeightsError
from spineseg.io.films import Film
from spineseg.manifest import FILE_NAME as MANIFEST
from spineseg.manifest import InputRecord, RunManifest, machine, now, output_hashes, plain
from spineseg.measure.film import FilmMeasurement, measure_film
from spineseg.measure.spine_angles import SpineAngles
from spineseg.methods.film_result import FilmResult
from spineseg.pipeline import check_folder, memory_error, method_settings, model_records
from spineseg.progress import Progress
from spineseg.volume import Volume

__all__ = [
    "PARTS", "REPORT", "RESULT", "FilmDone", "measure_radiograph", "method_for_films",
    "read_vertebrae", "save_film", "save_spine",
]  # fmt: skip

RESULT = "result.json"
REPORT = "report.html"
PARTS = (RESULT, REPORT)
"""What is written, besides run.json."""
ENDPLATES = "endplates"
"""What run.json calls the measurement of a label map, which is no method of the registry."""


@dataclass(frozen=True, eq=False)
class FilmDone:
    """What a method found on a film, and what was measured of it."""

    method: str
    result: FilmResult
    measurement: FilmMeasurement


def method_for_films(name: str | None = None) -> registry.Method:
    """Return the row of the registry for films: the one called `name`, or the default.

    Raises
    ------
    WeightsError
        No method for films is installed.
    InputError
        There is none of that name, or it does something else.
    """
    known = registry.names(registry.COBB)
    if not known:
        raise WeightsError(
            "No method that measures films is installed.",
            "Install one, or give a label map of vertebrae.",
        )
    row = registry.get(name or registry.DEFAULT_COBB)
    if row.task != registry.COBB:
        raise InputError(
            f"The method “{row.name}” doesn't measure films.", f"Choose one of: {', '.join(known)}."
        )
    return row


def measure_radiograph(
    film: Film,
    method: str | None = None,
    progress: Progress | None = None,
    settings: Mapping[str, Any] | None = None,
) -> FilmDone:
    """Find the spine on a film and measure it.

    Parameters
    ----------
    film : Film
    method : str, optional
        Name of a row of the registry whose task is "cobb".
    progress : Progress, optional
        Told of each step; its token cancels.
    settings : mapping, optional
        Changes to the method's default settings.

    Raises
    ------
    InputError
        Unknown method or setting, or a film that shows no spine that could be measured.
    WeightsError
        No method, or not its weights, is installed.
    MemoryLimitError, CancelledError
        As their names say.
    """
    progress = progress or Progress()
    row = method_for_films(method)
    chosen = method_settings(row, settings or {})
    started = time.perf_counter()
    try:
        result = row.predict(film, chosen, progress.part(0.0, 0.95))
    except MemoryError as error:
        raise memory_error(error) from error
    if not isinstance(result, FilmResult):
        raise SpineSegError(f"The method “{row.name}” returned no result for a film.")
    measured = measure_film(result, film)
    progress("measure", 1.0)
    timings = {**result.timings, "film": round(time.perf_counter() - started, 3)}
    models = result.models or row.models
    return FilmDone(row.name, replace(result, timings=timings, models=models), measured)


def save_film(
    done: FilmDone,
    film: Film,
    folder: str | Path,
    *,
    inputs: Collection[InputRecord] = (),
    overwrite: bool = False,
    more: Mapping[str, bytes] = MappingProxyType({}),
) -> Path:
    """Write what was measured on a film into a folder: all of it, or nothing.

    ``result.json``, ``report.html`` with a picture, ``run.json``, and files that the caller has
    (`more`, by name).

    Raises
    ------
    InputError
        The folder can't be used (see `spineseg.pipeline.check_folder`), or the disk is full.
    """
    content = {"film": film.name, "method": done.method, **done.measurement.to_json()}
    content["spacing_mm"] = film.spacing_mm
    content["notes"] = list(film.notes)
    manifest = RunManifest(
        task=registry.COBB,
        method=done.method,
        inputs=list(inputs),
        settings=dict(done.result.settings),
        models=model_records(done.result.models),
        timings=dict(done.result.timings),
        warnings=list(done.measurement.warnings),
        grid={"shape": list(film.array.shape), "spacing_mm": film.spacing_mm},
        created=now(),
        machine=machine(),
    )

    def report(path: Path) -> None:
        from spineseg.cobb_report import write_film_report

        write_film_report(done.measurement, film, path, manifest)

    return _save(content, report, manifest, folder, overwrite, more)


def save_spine(
    angles: SpineAngles,
    segmentation: Volume,
    folder: str | Path,
    *,
    inputs: Collection[InputRecord] = (),
    title: str = "Segmentation",
    seconds: float = 0.0,
    overwrite: bool = False,
    more: Mapping[str, bytes] = MappingProxyType({}),
) -> Path:
    """Write what was measured in a label map into a folder: all of it, or nothing.

    Files and errors as in `save_film`.
    """
    manifest = RunManifest(
        task=registry.COBB,
        method=ENDPLATES,
        inputs=list(inputs),
        timings={"measure": round(seconds, 3)},
        warnings=list(angles.warnings),
        grid={"shape_kji": list(segmentation.shape), "affine_ras": segmentation.affine.tolist()},
        created=now(),
        machine=machine(),
    )

    def report(path: Path) -> None:
        from spineseg.cobb_report import write_spine_report

        write_spine_report(angles, segmentation, path, manifest, title)

    return _save(angles.to_json(), report, manifest, folder, overwrite, more)


def _save(
    content: Mapping[str, Any], report: Any, manifest: RunManifest, folder: str | Path,
    overwrite: bool, more: Mapping[str, bytes],
) -> Path:  # fmt: skip
    from spineseg.atomic import atomic_folder

    target = check_folder(folder, overwrite, (*PARTS, *more))
    with atomic_folder(target) as made:
        text = json.dumps(content, indent=1, ensure_ascii=False, default=plain, allow_nan=False)
        (made / RESULT).write_text(text + "\n", encoding="utf-8", newline="\n")
        report(made / REPORT)
        for name, data in more.items():
            (made / name).write_bytes(data)
        replace(manifest, outputs=output_hashes(made)).write(made / MANIFEST)
    return target


def read_vertebrae(path: Path) -> Volume:
    """Read a label map of vertebrae: any image format, or 3D Slicer's ``.seg.nrrd``.

    Raises
    ------
    InputError
        It can't be read, or is a scan, or holds no vertebra.
    """
    from spineseg.io.images import read_volume
    from spineseg.io.segmentations import read_seg_nrrd
    from spineseg.labels import LAST_UNSURE, is_vertebra

    slicers = path.name.lower().endswith(".seg.nrrd")
    volume = read_seg_nrrd(path)[0] if slicers else read_volume(path)
    array = volume.array
    whole = array.dtype.kind in "biu" or bool(np.array_equal(array, np.rint(array)))
    if not whole or array.min() < 0 or array.max() > LAST_UNSURE:
        raise InputError(
            f"{path.name} is a scan, not a label map of vertebrae.",
            "Segment it first (spineseg segment) and give the segmentation.nii.gz of the result.",
        )
    found = volume.astype(np.uint8)
    if not any(is_vertebra(label) for label in np.unique(found.array)):
        raise InputError(
            f"{path.name} holds no vertebra.",
            "Vertebrae have VerSe's numbers (8 = T1 … 24 = L5), or 101, 102 … from the top.",
        )
    return found
