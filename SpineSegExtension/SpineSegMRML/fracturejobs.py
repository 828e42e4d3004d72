"""Searching a CT for fractured vertebrae in a child process; see `SpineSegMRML.jobs`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spineseg import fracture, registry
from spineseg.errors import SpineSegError
from spineseg.fracture_state import FractureState
from spineseg.progress import CancelToken
from spineseg.volume import Volume

from SpineSegMRML.i18n import tr as _
from SpineSegMRML.jobs import Report, progressTo, pythonExecutable

__all__ = ["FracturesFound", "fracturesInChild"]


@dataclass(frozen=True)
class FracturesFound:
    """What was measured, the label map where it was made on the way, and the seconds it took."""

    state: FractureState
    labelVolume: Volume | None = None
    seconds: float = 0.0


def fracturesInChild(
    volume: Volume,
    segmentation: Volume | None = None,
    method: str = registry.DEFAULT_SEGMENT,
    settings: Mapping[str, Any] | None = None,
    onProgress: Callable[[Report], None] | None = None,
    token: CancelToken | None = None,
    command: Sequence[str] | None = None,
) -> FracturesFound:
    """Search a CT for fractures in a child process and wait for the result.

    Parameters
    ----------
    volume : Volume
        CT in HU, affine to the world's RAS.
    segmentation : Volume, optional
        uint8 label map on its grid; without one the CT is segmented first.
    method : str
        Row of the registry that segments.
    settings : mapping, optional
        Changes to the method's settings.
    onProgress, token, command
        As in `SpineSegMRML.jobs.segmentInChild`; so are the errors.
    """
    from spineseg.io.images import read_volume, write_volume
    from spineseg.pipeline import LABELS
    from spineseg.workerclient import run_job

    started = time.monotonic()
    files = {"scan": volume, "segmentation": segmentation}
    with tempfile.TemporaryDirectory(prefix="spineseg-slicer-") as name:
        folder = Path(name)
        job: dict[str, Any] = {"task": fracture.TASK, "method": method, "parts": [LABELS]}
        job |= {"settings": dict(settings or {}), "output": str(folder / "result")}
        for key, image in files.items():
            if image is not None:
                path = folder / f"{key}.nii"  # not compressed: the disk is faster than gzip
                write_volume(image, path)
                job[key] = str(path)
        progress = progressTo(onProgress, token, started)
        result = run_job(job, progress, python=pythonExecutable(), command=command)
        state = FractureState.from_json(result.event.get("found", {}).get("state"))
        path = result.folder / LABELS
        made = read_volume(path) if segmentation is None else None
    if made is not None and made.shape != volume.shape:
        raise SpineSegError(
            _("The result does not lie on the scan's grid."),
            _("Please report this."),
            f"{made.shape} against {volume.shape} voxels (k, j, i)",
        )
    labelVolume = None if made is None else volume.like(made.array)
    return FracturesFound(state, labelVolume, time.monotonic() - started)
