"""What the fracture networks see, worked out in a child process; see `SpineSegMRML.jobs`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from spineseg.fracturelookjob import (
    MAP_FILE,
    STEP_FILES,
    SWAYS_FILE,
    FractureMapJob,
    FracturePreviewJob,
)
from spineseg.progress import CancelToken
from spineseg.volume import Volume

from SpineSegMRML.jobs import Report, progressTo, pythonExecutable

__all__ = ["PreviewDrawn", "mapInChild", "previewInChild"]

Where = Sequence[tuple[int, Any]]


@dataclass(frozen=True, eq=False)
class PreviewDrawn:
    """A vertebra between cured and more fractured, as pictures.

    Attributes
    ----------
    level : str
    amounts, probabilities : tuple of float
        By step: how far its numbers were moved (0: as it is), and what the network says, 0 to 1.
    folder : tempfile.TemporaryDirectory
        With the pictures, which go with this object.
    """

    level: str
    amounts: tuple[float, ...]
    probabilities: tuple[float, ...]
    folder: Any

    @property
    def sways(self) -> Path:
        """The vertebra as the CT shows it, with what sways the answer in red; PNG."""
        return Path(self.folder.name) / SWAYS_FILE

    def step(self, number: int) -> Path:
        """Return the picture of a step, PNG."""
        return Path(self.folder.name) / STEP_FILES[number]

    def nearest(self, amount: float) -> int:
        """Return the number of the step that is nearest to an amount."""
        return int(np.argmin(np.abs(np.array(self.amounts) - amount)))


def mapInChild(
    volume: Volume,
    vertebrae: Where,
    settings: Mapping[str, Any] | None = None,
    onProgress: Callable[[Report], None] | None = None,
    token: CancelToken | None = None,
    command: Sequence[str] | None = None,
) -> Volume:
    """Map where a CT looks fractured near its vertebrae, and wait for the result.

    Parameters
    ----------
    volume : Volume
        CT in HU.
    vertebrae : sequence of (int, (3,))
        Label and centre of the body, RAS mm.
    settings : mapping, optional
        May name a device.
    onProgress, token, command
        As in `SpineSegMRML.jobs.segmentInChild`; so are the errors.

    Returns
    -------
    Volume
        uint8, percent, on a grid of 1 mm along RAS.
    """
    from spineseg.io.images import read_volume

    job = {"task": FractureMapJob.task, "settings": dict(settings or {})}
    with _done(volume, vertebrae, job, None, onProgress, token, command) as result:
        return read_volume(result.folder / MAP_FILE)


def previewInChild(
    volume: Volume,
    segmentation: Volume,
    vertebrae: Where,
    label: int,
    settings: Mapping[str, Any] | None = None,
    onProgress: Callable[[Report], None] | None = None,
    token: CancelToken | None = None,
    command: Sequence[str] | None = None,
) -> PreviewDrawn:
    """Draw a vertebra from cured to more fractured, and wait for the pictures.

    Parameters
    ----------
    volume, segmentation : Volume
        CT in HU and uint8 label map, on one grid.
    vertebrae : sequence of (int, (3,))
        All of the spine from the top: label and centre of the body, RAS mm.
    label : int
        Of the one to draw.
    settings, onProgress, token, command
        As in `mapInChild`; so are the errors.
    """
    job = {"task": FracturePreviewJob.task, "settings": dict(settings or {}), "label": label}
    with _done(volume, vertebrae, job, segmentation, onProgress, token, command) as result:
        found = result.event["found"]
        kept = tempfile.TemporaryDirectory(prefix="spineseg-preview-")
        for name in (SWAYS_FILE, *STEP_FILES):
            (Path(kept.name) / name).write_bytes((result.folder / name).read_bytes())
    return PreviewDrawn(
        found["level"], tuple(found["amounts"]), tuple(found["probabilities"]), kept
    )


@contextmanager
def _done(
    volume: Volume,
    vertebrae: Where,
    job: Mapping[str, Any],
    segmentation: Volume | None,
    onProgress: Callable[[Report], None] | None,
    token: CancelToken | None,
    command: Sequence[str] | None,
) -> Iterator[Any]:
    """Give the job's result, whose folder is gone after the block."""
    from spineseg.io.images import write_volume
    from spineseg.workerclient import run_job

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spineseg-slicer-") as name:
        folder = Path(name)
        rows = [[int(label), *(float(c) for c in place)] for label, place in vertebrae]
        content = {**job, "output": str(folder / "result"), "vertebrae": rows}
        for key, image in {"scan": volume, "segmentation": segmentation}.items():
            if image is not None:
                path = folder / f"{key}.nii"  # not compressed: the disk is faster than gzip
                write_volume(image, path)
                content[key] = str(path)
        progress = progressTo(onProgress, token, started)
        yield run_job(content, progress, python=pythonExecutable(), command=command)
