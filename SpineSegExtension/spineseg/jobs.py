"""The work behind a command, the same for the terminal and for the worker process.

A job is a row of `JOBS`: what its file holds, and the function that does it.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from spineseg import registry
from spineseg.errors import CancelledError, DependencyError, InputError, SpineSegError
from spineseg.progress import Progress
from spineseg.result import MeasureResult, SegmentationResult, TranslationResult
from spineseg.volume import Volume

UPDATE = "update"
THRESHOLD = "threshold"

SomeJob = TypeVar("SomeJob", bound="SegmentJob")


@dataclass(frozen=True)
class SegmentJob:
    """What `run_segment` needs; also the content of a worker's job file.

    Attributes
    ----------
    scan : str
        File or DICOM folder.
    output : str
        Folder for the result.
    method : str
        Row of the registry.
    series : str or None
        Series Instance UID, where a DICOM folder holds several.
    settings : mapping
        Changes to the method's settings.
    parts : list of str or None
        What to write (see `spineseg.pipeline.PARTS`); None for all.
    mesh_format : str
        "stl", "obj" or "ply".
    overwrite : bool
        Replace files in a folder that is not an earlier, unchanged result.
    title : str
        Heading of the report; the scan's name by default.
    """

    scan: str
    output: str
    method: str = registry.DEFAULT_SEGMENT
    series: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    parts: list[str] | None = None
    mesh_format: str = "stl"
    overwrite: bool = False
    title: str = ""

    task: ClassVar[str] = registry.SEGMENT
    needed: ClassVar[tuple[str, ...]] = ("scan", "output")

    @classmethod
    def from_dict(cls: type[SomeJob], content: Any) -> SomeJob:
        """Return the job that a JSON object describes.

        Raises
        ------
        InputError
            A field is missing, unknown or of another type.
        """
        if not isinstance(content, dict):
            raise InputError("The job is not a JSON object.")
        content = dict(content)
        task = content.pop("task", cls.task)
        if task != cls.task:
            raise InputError(f"This is no task called “{task}”.", f"Use “{cls.task}”.")
        unknown = set(content) - {f.name for f in fields(cls)}
        if unknown:
            raise InputError(f"The job has unknown fields: {', '.join(sorted(unknown))}.")
        kinds: dict[str, Any] = {
            "settings": dict, "about": dict, "overwrite": bool, "networks": bool, "start": int,
            "label": int, "keep": list, "vertebrae": list, "parts": (list, type(None)),
            "series": (str, type(None)), "level": (str, type(None)),
        }  # fmt: skip
        for name in cls.needed:
            if not content.get(name):
                raise InputError(f"The job names no {name}.")
        for name, value in content.items():
            if not isinstance(value, kinds.get(name, str)):
                raise InputError(f"The job's field “{name}” has a wrong type.", "", repr(value))
        return cls(**content)


@dataclass(frozen=True)
class UpdateJob(SegmentJob):
    """What `run_update` needs, besides what every job has.

    Attributes
    ----------
    segmentation : str
        File of a label map on the scan's grid: the result so far, corrected.
    start : int
        Label in it of the vertebra to go on from.
    keep : list of int
        Labels of vertebrae that stay as they are.
    level : str or None
        What level the first one is; None where its label says it.
    """

    method: str = registry.DEFAULT_UPDATE
    segmentation: str = ""
    start: int = 0
    keep: list[int] = field(default_factory=list)
    level: str | None = None

    task: ClassVar[str] = UPDATE
    needed: ClassVar[tuple[str, ...]] = ("scan", "output", "segmentation", "start")


@dataclass(frozen=True)
class TranslateJob(SegmentJob):
    """What `run_translate` needs; ``scan`` is an MR."""

    method: str = registry.DEFAULT_TRANSLATE

    task: ClassVar[str] = registry.TRANSLATE


@dataclass(frozen=True)
class ThresholdJob(SegmentJob):
    """What `run_threshold` needs; ``scan`` is a synthetic CT, ``settings`` are its threshold's.

    Attributes
    ----------
    bodies : str
        File of a label map on its grid: at each vertebral body the label of its vertebra.
    """

    method: str = registry.DEFAULT_TRANSLATE
    bodies: str = ""

    task: ClassVar[str] = THRESHOLD
    needed: ClassVar[tuple[str, ...]] = ("scan", "output", "bodies")


@dataclass(frozen=True)
class MeasureJob(SegmentJob):
    """What `run_measure` needs; ``scan`` is a film, or a label map of vertebrae.

    Attributes
    ----------
    method : str
        For a film; empty for the default.
    about : mapping
        As in `spineseg.cobbjob.CobbJob`.
    """

    method: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    task: ClassVar[str] = registry.COBB


Result = SegmentationResult | TranslationResult | MeasureResult


@dataclass(frozen=True)
class Done:
    """A finished job: the folder with the result, and the result."""

    folder: Path
    result: Result


def job_of(content: Any) -> SegmentJob:
    """Return the job that a JSON object describes; its field “task” says of which kind it is.

    Raises
    ------
    InputError
        There is no such kind, or a field is missing, unknown or of another type.
    """
    task = content.get("task", registry.SEGMENT) if isinstance(content, dict) else ""
    for kind in _all_jobs():
        if kind.task == task:
            return kind.from_dict(content)
    if not isinstance(content, dict):
        return SegmentJob.from_dict(content)  # which says what is wrong
    tasks = ", ".join(kind.task for kind in _all_jobs())
    raise InputError(f"There is no task called “{task}”.", f"Use one of: {tasks}.")


def run(job: SegmentJob, progress: Progress) -> Done:
    """Do a job of any kind."""
    return _all_jobs()[type(job)](job, progress)


def run_segment(job: SegmentJob, progress: Progress) -> Done:
    """Read a scan, segment it and save the result.

    The output folder and the method are checked before any long work.

    Raises
    ------
    SpineSegError
        As `spineseg.pipeline.segment` and `spineseg.pipeline.save` say.
    """
    from spineseg.pipeline import segment

    def work(volume: Volume, progress: Progress) -> SegmentationResult:
        return segment(volume, job.method, progress, job.settings)

    return read_work_save(job, work, progress)


def run_update(job: SegmentJob, progress: Progress) -> Done:
    """Go on from a corrected vertebra of an earlier result, and save the result.

    Raises
    ------
    SpineSegError
        As `spineseg.pipeline.update` and `spineseg.pipeline.save` say; InputError also where the
        segmentation lies on another grid than the scan.
    """
    from spineseg.io.labelmaps import read_labels
    from spineseg.pipeline import update

    if not isinstance(job, UpdateJob):
        raise TypeError(f"{type(job).__name__} is no update")

    def work(volume: Volume, progress: Progress) -> SegmentationResult:
        labels = read_labels(job.segmentation, volume.grid)
        return update(
            volume, labels, job.start, job.keep, job.level, job.method, progress, job.settings
        )

    return read_work_save(job, work, progress)


def run_translate(job: SegmentJob, progress: Progress) -> Done:
    """Translate an MR, segment it and save the result.

    Raises
    ------
    SpineSegError
        As `spineseg.translation.translate` and `save_translation` say.
    """
    from spineseg import translation

    def work(volume: Volume, progress: Progress) -> TranslationResult:
        return translation.translate(volume, job.method, progress, job.settings)

    return read_work_save(
        job, work, progress, translation.PARTS, translation.save_translation, ct_only=False
    )


def run_threshold(job: SegmentJob, progress: Progress) -> Done:
    """Segment a synthetic CT again, at another threshold, and save the result.

    Raises
    ------
    SpineSegError
        As `spineseg.rethreshold.segment_bone` and `spineseg.pipeline.save` say.
    """
    from spineseg.geometry.thresholding import ThresholdSettings
    from spineseg.io.labelmaps import read_labels
    from spineseg.rethreshold import segment_bone

    if not isinstance(job, ThresholdJob):
        raise TypeError(f"{type(job).__name__} is no threshold")

    def work(volume: Volume, progress: Progress) -> SegmentationResult:
        try:
            settings = ThresholdSettings(**job.settings)
        except (TypeError, ValueError) as error:
            text = "The settings given for the threshold are not valid."
            raise InputError(text, f"{error}.", repr(job.settings)) from error
        return segment_bone(volume, read_labels(job.bodies, volume.grid), settings, progress)

    return read_work_save(job, work, progress)


def run_measure(job: SegmentJob, progress: Progress) -> Done:
    """Measure a film or a label map, and save the result; see `spineseg.cobbjob.measure`."""
    from spineseg.cobbjob import CobbJob, measure

    if not isinstance(job, MeasureJob):
        raise TypeError(f"{type(job).__name__} is no measurement")
    one = CobbJob(job.scan, job.output, job.method or None, job.settings, job.overwrite, job.about)
    return Done(Path(job.output), measure(one, progress))


JOBS: dict[type[SegmentJob], Callable[[SegmentJob, Progress], Done]] = {
    SegmentJob: run_segment,
    UpdateJob: run_update,
    TranslateJob: run_translate,
    ThresholdJob: run_threshold,
    MeasureJob: run_measure,
}


def _all_jobs() -> dict[type[SegmentJob], Callable[[SegmentJob, Progress], Done]]:
    """Return `JOBS` and those of files that need this one."""
    from spineseg.fracturejob import FractureJob, run_for_parent
    from spineseg.fracturelookjob import LOOK_JOBS

    return {**JOBS, FractureJob: run_for_parent, **LOOK_JOBS}


def read_work_save(
    job: SegmentJob, work: Callable[[Volume, Progress], Any], progress: Progress,
    known: tuple[str, ...] | None = None, save: Callable[..., Path] | None = None,
    ct_only: bool = True,
) -> Done:  # fmt: skip
    """Read the scan, do the work, save what it gave: by default as a segmentation is saved."""
    from spineseg import pipeline
    from spineseg.io.images import read_volume
    from spineseg.manifest import sha256_of

    registry.get(job.method)
    known, save = known or pipeline.PARTS, save or pipeline.save
    parts = known if job.parts is None else tuple(job.parts)
    pipeline.check_folder(job.output, job.overwrite, parts)
    scan = Path(job.scan)
    notes: list[str] = []
    progress("read", 0.0, scan.name)
    volume = read_volume(scan, notes, job.series, progress.part(0.0, 0.08), ct_only=ct_only)
    record = sha256_of(scan, _files(scan, job.series))
    progress("read", 0.1, scan.name)
    result = work(volume, progress.part(0.1, 0.85))
    if notes:
        result = replace(result, warnings=[*notes, *result.warnings])
    folder = save(
        result,
        volume,
        job.output,
        progress.part(0.85, 1.0),
        method=job.method,
        inputs=[record],
        title=job.title or scan.name or str(scan),
        parts=parts,
        mesh_format=job.mesh_format,
        overwrite=job.overwrite,
    )
    return Done(folder, result)


def _files(scan: Path, series: str | None) -> list[Path] | None:
    """Return the files of the series that was read from a folder; None for a single file."""
    if not scan.is_dir():
        return None
    from spineseg.io.dicom import choose_series, find_series

    chosen = choose_series(find_series(scan), series)
    return sorted({plane.path for plane in chosen.slices})


def readable(error: BaseException) -> SpineSegError:
    """Return any exception as an error with a cause, a remedy, details and an exit code."""
    if isinstance(error, SpineSegError):
        return error
    details = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(error, KeyboardInterrupt):
        return CancelledError()
    if isinstance(error, MemoryError):
        from spineseg.pipeline import memory_error

        return memory_error(error)
    if isinstance(error, ModuleNotFoundError):
        return DependencyError(
            f"The Python package “{error.name}” is missing.",
            "Install spineseg with all its dependencies.",
            details,
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", -1)):
        return InputError(
            "The disk is full.", "Free some space, or write to another disk.", details
        )
    if isinstance(error, OSError) and error.filename is not None:
        return InputError(
            f"{error.filename}: {error.strerror or type(error).__name__}.",
            "Check the name and your rights to it.",
            details,
        )
    return SpineSegError(
        f"Something unexpected went wrong ({type(error).__name__}: {_first_line(error)}).",
        "Please report it with the details.",
        details,
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else "no message"
