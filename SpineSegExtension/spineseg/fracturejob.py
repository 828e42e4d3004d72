"""The work of ``spineseg fracture``, the same for the terminal and for the worker process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from spineseg import fracture
from spineseg.jobs import Done, SegmentJob, read_work_save
from spineseg.progress import Progress
from spineseg.result import MeasureResult
from spineseg.volume import Volume

__all__ = ["FractureDone", "FractureJob", "run_for_parent", "run_fracture"]


@dataclass(frozen=True)
class FractureJob(SegmentJob):
    """What `run_fracture` needs, besides what every job has.

    Attributes
    ----------
    segmentation : str
        File of a label map of the scan; "" segments it first, by ``method`` with ``settings``.
    networks : bool
        Whether the networks are to show what they see; see `spineseg.fracture_look.look`.
    """

    segmentation: str = ""
    networks: bool = False

    task: ClassVar[str] = fracture.TASK


@dataclass(frozen=True, eq=False)
class FractureDone:
    """A finished job: the folder with the result, and the result."""

    folder: Path
    found: fracture.Fractures


def run_fracture(job: FractureJob, progress: Progress) -> FractureDone:
    """Read a scan, segment it if need be, grade its vertebrae and save the result.

    Raises
    ------
    SpineSegError
        As `spineseg.pipeline.segment`, `spineseg.io.labelmaps.read_labels`,
        `spineseg.fracture.find_fractures` and `spineseg.fracture_look.look` say.
    """
    from spineseg import fracture_look
    from spineseg.io.labelmaps import read_labels
    from spineseg.pipeline import segment

    result: list[fracture.Fractures] = []

    def search(scan: Volume, progress: Progress) -> fracture.Fractures:
        if job.segmentation:
            labels = read_labels(job.segmentation, scan.grid)
            return fracture.find_fractures(scan, labels, progress)
        made = segment(scan, job.method, progress.part(0.0, 0.8), job.settings)
        found = fracture.find_fractures(scan, made.segmentation, progress.part(0.8, 1.0))
        return replace(
            found,
            made=True,
            warnings=[*made.warnings, *found.warnings],
            settings=dict(made.settings),
            timings={**made.timings, **found.timings},
            models=(*made.models, *found.models),
        )

    def work(scan: Volume, progress: Progress) -> fracture.Fractures:
        if not job.networks:
            return search(scan, progress)
        fracture_look.require()
        found = search(scan, progress.part(0.0, 0.7))
        return replace(found, look=fracture_look.look(scan, found, progress.part(0.7, 1.0)))

    def save(found: fracture.Fractures, *rest: Any, **more: Any) -> Path:
        result.append(found)
        return fracture.save_fractures(found, *rest, **more)

    done = read_work_save(job, work, progress, fracture.PARTS, save)
    return FractureDone(done.folder, result[0])


def run_for_parent(job: SegmentJob, progress: Progress) -> Done:
    """Do the same in a child process; the event for its parent holds ``fractures.json``.

    Besides, as “state”, it holds what its parent needs to grade again when points are moved.
    """
    from spineseg.fracture_state import FractureState

    if not isinstance(job, FractureJob):
        raise TypeError(f"{type(job).__name__} is no search for fractures")
    done = run_fracture(job, progress)
    found = done.found
    content = {**found.to_json(), "state": FractureState.of(found).to_json()}
    return Done(done.folder, MeasureResult(content, list(found.warnings), found.timings))
