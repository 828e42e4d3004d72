"""Showing what the networks of a search for fractures see, in a child process; see `jobs`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from spineseg import fracture_look
from spineseg.errors import InputError
from spineseg.jobs import Done, SegmentJob
from spineseg.progress import Progress
from spineseg.result import MeasureResult
from spineseg.volume import Volume

__all__ = [
    "FractureMapJob", "FracturePreviewJob", "LOOK_JOBS", "MAP_FILE", "PARTS", "STEP_FILES",
    "SWAYS_FILE", "run_map", "run_preview",
]  # fmt: skip

MAP_FILE = "fracture_map.nii"
SWAYS_FILE = "sways.png"
STEP_FILES = tuple(f"step-{n}.png" for n in range(len(fracture_look.AMOUNTS)))
PARTS = (MAP_FILE, SWAYS_FILE, *STEP_FILES)


@dataclass(frozen=True)
class FractureMapJob(SegmentJob):
    """What `run_map` needs: ``scan`` is the CT that was searched, ``settings`` may name a device.

    Attributes
    ----------
    vertebrae : list of [int, float, float, float]
        From the top: label and centre of the body, RAS mm.
    """

    vertebrae: list[list[float]] = field(default_factory=list)

    task: ClassVar[str] = "fracture-map"
    needed: ClassVar[tuple[str, ...]] = ("scan", "output", "vertebrae")


@dataclass(frozen=True)
class FracturePreviewJob(FractureMapJob):
    """What `run_preview` needs, besides what a map does.

    Attributes
    ----------
    segmentation : str
        File of the label map on the scan's grid.
    label : int
        Of the vertebra to draw.
    """

    segmentation: str = ""
    label: int = 0

    task: ClassVar[str] = "fracture-preview"
    needed: ClassVar[tuple[str, ...]] = (*FractureMapJob.needed, "segmentation", "label")


def run_map(job: SegmentJob, progress: Progress) -> Done:
    """Write the map of `fracture_look.probability_map`, on its own grid.

    Raises
    ------
    SpineSegError
        As that says, and where a file can't be read.
    """
    from spineseg.atomic import atomic_folder
    from spineseg.io.images import write_volume

    if not isinstance(job, FractureMapJob):
        raise TypeError(f"{type(job).__name__} is no map")
    where = _where(job)
    scan = _scan(job, progress)
    percent = fracture_look.probability_map(
        scan, where, progress.part(0.1, 0.95), device=job.settings.get("device")
    )
    with atomic_folder(Path(job.output)) as made:
        write_volume(percent, made / MAP_FILE)
    return Done(Path(job.output), MeasureResult({"greatest": int(percent.array.max())}, []))


def run_preview(job: SegmentJob, progress: Progress) -> Done:
    """Write the pictures of `fracture_look.preview`; what they show is in the event.

    Raises
    ------
    SpineSegError
        As that says, and where a file can't be read.
    """
    from spineseg.atomic import atomic_folder
    from spineseg.fracture_look_pictures import step_png, sways_png
    from spineseg.io.labelmaps import read_labels

    if not isinstance(job, FracturePreviewJob):
        raise TypeError(f"{type(job).__name__} is no preview")
    where = _where(job)
    scan = _scan(job, progress)
    mask = read_labels(job.segmentation, scan.grid)
    drawn = fracture_look.preview(
        scan, mask, where, job.label, progress.part(0.1, 0.9), device=job.settings.get("device")
    )
    progress("pictures", 0.9)
    with atomic_folder(Path(job.output)) as made:
        (made / SWAYS_FILE).write_bytes(sways_png(drawn))
        for n, name in enumerate(STEP_FILES):
            (made / name).write_bytes(step_png(drawn, n))
    content = {
        "label": drawn.label,
        "level": drawn.level,
        "amounts": list(drawn.amounts),
        "probabilities": list(drawn.probabilities),
    }
    return Done(Path(job.output), MeasureResult(content, []))


def _scan(job: FractureMapJob, progress: Progress) -> Volume:
    from spineseg.io.images import read_volume

    path = Path(job.scan)
    progress("read", 0.0, path.name)
    return read_volume(path, [], job.series, progress.part(0.0, 0.1))


def _where(job: FractureMapJob) -> list[tuple[int, Any]]:
    try:
        rows = np.array(job.vertebrae, dtype=float).reshape(-1, 4)
    except (TypeError, ValueError) as error:
        raise InputError(
            "The job's vertebrae are no rows of label and place.", "", repr(error)
        ) from error
    return [(int(row[0]), row[1:]) for row in rows]


LOOK_JOBS: dict[type[SegmentJob], Callable[[SegmentJob, Progress], Done]] = {
    FractureMapJob: run_map,
    FracturePreviewJob: run_preview,
}
