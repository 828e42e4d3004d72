"""Measuring a film or a segmentation in a child process; see `SpineSegMRML.jobs`."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from spineseg import registry
from spineseg.io.films import Film
from spineseg.measure.spine_angles import SpineAngles
from spineseg.methods.film_result import FilmResult
from spineseg.progress import CancelToken
from spineseg.volume import Volume

from SpineSegMRML.jobs import Report, progressTo, pythonExecutable

__all__ = ["FilmFound", "SpineFound", "filmInChild", "spineInChild"]


@dataclass(frozen=True)
class FilmFound:
    """What a method found on a film, its name, and the seconds that it took."""

    method: str
    result: FilmResult
    seconds: float = 0.0


@dataclass(frozen=True)
class SpineFound:
    """The angles of a label map, and the seconds that it took."""

    angles: SpineAngles
    seconds: float = 0.0


def filmInChild(
    film: Film,
    method: str = "",
    settings: Mapping[str, Any] | None = None,
    onProgress: Callable[[Report], None] | None = None,
    token: CancelToken | None = None,
    command: Sequence[str] | None = None,
) -> FilmFound:
    """Find the endplates on a film in a child process and wait for the result.

    Parameters
    ----------
    film : Film
    method : str
        Row of the registry; empty for the default.
    settings : mapping, optional
        Changes to the method's settings.
    onProgress, token, command
        As in `SpineSegMRML.jobs.segmentInChild`; so are the errors.
    """
    import SimpleITK as sitk

    about = {
        "name": film.name,
        "spacing_mm": film.spacing_mm,
        "magnified": film.magnified,
        "pixel_aspect": film.pixel_aspect,
        "view": film.view,
        "left_is": film.left_is,
        "notes": list(film.notes),
    }
    # TIFF has no 32-bit integers; films do not fill even 24 bits.
    array = film.array.astype(np.float32) if film.array.dtype == np.int32 else film.array
    job = {"method": method, "settings": dict(settings or {}), "about": about}

    def write(path: Path) -> Path:
        path = path.with_suffix(".tif")
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
        return path

    _content, found, seconds = _run(write, job, onProgress, token, command)
    found = dict(found)
    name = str(found.pop("method"))
    return FilmFound(name, FilmResult.from_json(found), seconds)


def spineInChild(
    labelVolume: Volume,
    onProgress: Callable[[Report], None] | None = None,
    token: CancelToken | None = None,
    command: Sequence[str] | None = None,
) -> SpineFound:
    """Measure a label map of vertebrae in a child process and wait for the result.

    Parameters
    ----------
    labelVolume : Volume
        uint8, VerSe ids; affine to the world's RAS.
    onProgress, token, command
        As in `SpineSegMRML.jobs.segmentInChild`; so are the errors.
    """
    from spineseg.io.images import write_volume
    from spineseg.measure.spine_json import spine_from_json

    def write(path: Path) -> Path:
        path = path.with_suffix(".nii")  # not compressed: the disk is faster than gzip
        write_volume(labelVolume, path)
        return path

    content, _found, seconds = _run(write, {}, onProgress, token, command)
    return SpineFound(spine_from_json(content), seconds)


def _run(
    write: Callable[[Path], Path],
    job: Mapping[str, Any],
    onProgress: Callable[[Report], None] | None,
    token: CancelToken | None,
    command: Sequence[str] | None,
) -> tuple[dict[str, Any], Mapping[str, Any], float]:
    """Run a measurement; return its result.json, what its method found, and the seconds."""
    from spineseg.cobb import RESULT
    from spineseg.workerclient import run_job

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spineseg-slicer-") as name:
        scan = write(Path(name) / "scan")
        job = {"task": registry.COBB, **job, "scan": str(scan), "output": str(Path(name) / "out")}
        progress = progressTo(onProgress, token, started)
        result = run_job(job, progress, python=pythonExecutable(), command=command)
        content = json.loads((result.folder / RESULT).read_text(encoding="utf-8"))
    return content, result.event.get("found", {}), time.monotonic() - started
