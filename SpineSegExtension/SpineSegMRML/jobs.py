"""Long work in a child process, for a scan that lies in a volume node.

The child reads and writes files in a temporary folder; nodes are touched by nobody but the caller.
While it runs, a callable of the caller's is called about twenty times a second: a front end handles
its events there, so that its windows live and its Cancel button works.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spineseg import registry
from spineseg.errors import SpineSegError
from spineseg.progress import CancelToken, Progress
from spineseg.result import Vertebra
from spineseg.volume import Volume

from SpineSegMRML.i18n import tr as _

__all__ = [
    "JobOutcome",
    "Report",
    "TranslationOutcome",
    "describe",
    "progressTo",
    "pythonExecutable",
    "segmentInChild",
    "thresholdInChild",
    "translateInChild",
    "updateInChild",
]

FIRST_ESTIMATE = 0.05
"""Fraction of the work before which the time left is not estimated."""


@dataclass(frozen=True)
class Report:
    """How far a job is.

    Attributes
    ----------
    stage, text : str
        What it does.
    fraction : float
        0 to 1, of the whole job.
    elapsed : float
        Seconds since the job was started.
    left : float or None
        Seconds that it will still take if it goes on like this; None while nobody can tell.
    """

    stage: str
    fraction: float
    text: str
    elapsed: float
    left: float | None


@dataclass(frozen=True)
class JobOutcome:
    """What the child made.

    Attributes
    ----------
    labelVolume : Volume
        uint8 label map (k, j, i) with the shape of the volume that was given.
    vertebrae : list of Vertebra
        From the top to the bottom; centroids in RAS mm of the world.
    warnings : list of str
        One sentence for everything that makes the result doubtful.
    seconds : float
        What the job took.
    """

    labelVolume: Volume
    vertebrae: list[Vertebra]
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class TranslationOutcome(JobOutcome):
    """What a translation made, all of it on the grid of the MR that was given.

    Attributes
    ----------
    syntheticCt : Volume
        int16 HU (k, j, i).
    bodies : Volume
        uint8: 1 … n from the top, one a vertebral body.
    confidence : Volume or None
        uint8 0 to 100: 100 where the MR is recovered; None if it was not asked for.
    """

    syntheticCt: Volume | None = None
    bodies: Volume | None = None
    confidence: Volume | None = None


def pythonExecutable() -> str:
    """Return the Python for child processes: PythonSlicer inside Slicer, else this one."""
    return shutil.which("PythonSlicer") or sys.executable


def describe(report: Report) -> str:
    """Return one line for a user: what is done, how far, and about how long it will take."""
    line = report.text or report.stage
    if report.left is None:
        return line
    if report.left < 90:
        left = _("about {n} s left").format(n=max(1, round(report.left)))
    else:
        left = _("about {n} min left").format(n=round(report.left / 60))
    return f"{line} – {left}"


def segmentInChild(
    volume: Volume,
    method: str,
    settings: Mapping[str, Any] | None = None,
    onProgress: Callable[[Report], None] | None = None,
    token: CancelToken | None = None,
    command: Sequence[str] | None = None,
) -> JobOutcome:
    """Segment a volume in a child process and wait for the result.

    Parameters
    ----------
    volume : Volume
        The scan, affine to the world's RAS.
    method : str
        Row of the registry.
    settings : mapping, optional
        Changes to the method's settings.
    onProgress : callable, optional
        Called in this thread about every 50 ms, also while there is no news.
    token : CancelToken, optional
        Cancelling it ends the child and all its children.
    command : sequence of str, optional
        The worker's command, to which the job file is added; by default ours.

    Raises
    ------
    SpineSegError
        What the child reported, as the same class.
    CancelledError
        The token was cancelled.
    """
    job = {"method": method, "settings": dict(settings or {})}
    return _outcome(_runInChild(volume, job, {}, onProgress, token, command))


def translateInChild(
    volume: Volume,
    method: str,
    settings: Mapping[str, Any] | None = None,
    onProgress: Callable[[Report], None] | None = None,
    token: CancelToken | None = None,
    command: Sequence[str] | None = None,
) -> TranslationOutcome:
    """Translate an MR to CT and segment it, in a child process, and wait for the result.

    Parameters and errors are as in `segmentInChild`.
    """
    from spineseg.translation import BODIES, CONFIDENCE, SYNTHETIC

    names = {"syntheticCt": SYNTHETIC, "bodies": BODIES, "confidence": CONFIDENCE}
    job = {"task": registry.TRANSLATE, "method": method, "settings": dict(settings or {})}
    made = _runInChild(volume, job, {}, onProgress, token, command, tuple(names.values()))
    found = {key: made.images.get(name) for key, name in names.items()}
    if found["syntheticCt"] is None or found["bodies"] is None:
        raise SpineSegError(_("The result lacks its synthetic CT."), _("Please report this."))
    outcome = _outcome(made)
    return TranslationOutcome(
        outcome.labelVolume, outcome.vertebrae, outcome.warnings, outcome.seconds, **found
    )


def thresholdInChild(
    volume: Volume,
    bodies: Volume,
    settings: Mapping[str, Any] | None = None,
    onProgress: Callable[[Report], None] | None = None,
    token: CancelToken | None = None,
    command: Sequence[str] | None = None,
) -> JobOutcome:
    """Segment a synthetic CT again at another threshold, in a child process.

    Parameters
    ----------
    volume : Volume
        The synthetic CT.
    bodies : Volume
        uint8 on its grid: at each vertebral body the label of its vertebra.
    settings : mapping, optional
        Changes to `spineseg.geometry.thresholding.ThresholdSettings`.
    onProgress, token, command
        As in `segmentInChild`; so are the errors.
    """
    job = {"task": "threshold", "settings": dict(settings or {})}
    made = _runInChild(volume, job, {"bodies": bodies}, onProgress, token, command)
    return _outcome(made)


def updateInChild(
    volume: Volume,
    segmentation: Volume,
    start: int,
    keep: Sequence[int] = (),
    level: str | None = None,
    settings: Mapping[str, Any] | None = None,
    onProgress: Callable[[Report], None] | None = None,
    token: CancelToken | None = None,
    command: Sequence[str] | None = None,
) -> JobOutcome:
    """Go on from one corrected vertebra in a child process and wait for the result.

    Parameters
    ----------
    volume : Volume
        The scan, affine to the world's RAS.
    segmentation : Volume
        uint8 label map on its grid: the result so far, corrected.
    start : int
        Label in it of the vertebra to go on from.
    keep : sequence of int
        Labels of vertebrae that keep every voxel.
    level : str, optional
        Level of the first one; by default its label says it.
    settings, onProgress, token, command
        As in `segmentInChild`; so are the errors.
    """
    job = {
        "task": "update",
        "start": int(start),
        "keep": [int(label) for label in keep],
        "level": level,
        "settings": dict(settings or {}),
    }
    files = {"segmentation": segmentation}
    return _outcome(_runInChild(volume, job, files, onProgress, token, command))


@dataclass(frozen=True)
class _Made:
    """What a child left: its images by file name, on the scan's grid, and its result event."""

    images: dict[str, Volume]
    event: Mapping[str, Any]
    seconds: float


def _runInChild(
    volume: Volume,
    job: Mapping[str, Any],
    files: Mapping[str, Volume],
    onProgress: Callable[[Report], None] | None,
    token: CancelToken | None,
    command: Sequence[str] | None,
    more: Sequence[str] = (),
) -> _Made:
    """Run a job on a scan; `files` are images that it needs besides, by the job's field.

    Its label map is read, and of the images called as in `more` those that it wrote.
    """
    from spineseg.io.images import read_volume, write_volume
    from spineseg.pipeline import LABELS
    from spineseg.workerclient import run_job

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spineseg-slicer-") as name:
        folder = Path(name)
        job = {**job, "output": str(folder / "result"), "parts": [LABELS, *more]}
        for key, image in {"scan": volume, **files}.items():
            path = folder / f"{key}.nii"  # not compressed: the disk is faster than gzip
            write_volume(image, path)
            job[key] = str(path)
        progress = progressTo(onProgress, token, started)
        result = run_job(job, progress, python=pythonExecutable(), command=command)
        there = [name for name in more if (result.folder / name).exists()]
        images = {name: read_volume(result.folder / name) for name in (LABELS, *there)}
    for name, image in images.items():
        if image.shape != volume.shape:
            raise SpineSegError(
                _("The result does not lie on the scan's grid."),
                _("Please report this."),
                f"{name}: {image.shape} against {volume.shape} voxels (k, j, i)",
            )
    onGrid = {name: volume.like(image.array) for name, image in images.items()}
    return _Made(onGrid, result.event, time.monotonic() - started)


def _outcome(made: _Made) -> JobOutcome:
    from spineseg.pipeline import LABELS

    return JobOutcome(
        made.images[LABELS],
        [vertebraFromEvent(item) for item in made.event.get("vertebrae", [])],
        [str(text) for text in made.event.get("warnings", [])],
        made.seconds,
    )


def progressTo(
    onProgress: Callable[[Report], None] | None,
    token: CancelToken | None = None,
    started: float | None = None,
) -> Progress:
    """Return the library's progress that calls `onProgress` with a `Report`."""
    started = time.monotonic() if started is None else started
    return Progress(_reporter(started, onProgress), token)


def vertebraFromEvent(item: Mapping[str, Any]) -> Vertebra:
    """Return a vertebra of the worker's result event."""
    values = dict(item)
    values["centroid"] = tuple(values["centroid"])
    return Vertebra(**values)


def _reporter(
    started: float, onProgress: Callable[[Report], None] | None
) -> Callable[[str, float, str], None] | None:
    if onProgress is None:
        return None
    # The time of the end is estimated anew only with news: between patches it would run away.
    seen = -1.0
    end: float | None = None

    def report(stage: str, fraction: float, text: str) -> None:
        nonlocal seen, end
        now = time.monotonic()
        if fraction != seen:
            seen = fraction
            if fraction >= FIRST_ESTIMATE:
                end = now + (now - started) * (1 - fraction) / fraction
        left = None if end is None else max(0.0, end - now)
        onProgress(Report(stage, fraction, text, now - started, left))

    return report
