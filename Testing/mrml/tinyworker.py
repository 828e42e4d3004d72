"""The real worker with tiny methods: one that works, one that fails, a slow one and an update.

It is run as a script in place of ``python -m spineseg.worker``; the tests import it too, for the
parent's registry must know the same methods.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from spineseg import labels, registry
from spineseg.errors import MemoryLimitError
from spineseg.progress import Progress
from spineseg.result import SegmentationResult, Vertebra
from spineseg.volume import Volume

BONE = 300
"""HU above which the tiny method calls a voxel bone."""
WORKS, FAILS, SLOW = "tiny", "tiny-fails", "tiny-slow"
METHODS = tuple(
    registry.Method(
        name=name, title=name, task=registry.SEGMENT, module="tinyworker", summary="For tests."
    )
    for name in (WORKS, FAILS, SLOW, registry.DEFAULT_UPDATE)
)


@dataclass(frozen=True)
class Settings:
    """Which device a user chose; "cpu" makes it fail, to see that the choice arrives."""

    device: str = "auto"


def predict(volume: Volume, settings: Settings, progress: Progress) -> SegmentationResult:
    """Call the upper half of the bone L1, the lower half unsure."""
    method = job_method()
    for step in range(400 if method == SLOW else 4):
        progress("patches", step / 400, f"patch {step}")
        time.sleep(0.05 if method == SLOW else 0.0)
    if method == FAILS or settings.device == "cpu":
        raise MemoryLimitError("There is not enough memory.", "Close other programs.", "4 GB")
    array = (volume.array > BONE).astype(np.uint8)
    centers = volume.ijk_to_ras(np.argwhere(array)[:, ::-1])
    middle = float(np.median(centers[:, 2]))
    parts = (
        (labels.by_name("L1"), labels.by_name("L1").verse, centers[:, 2] >= middle),
        (None, labels.FIRST_UNSURE, centers[:, 2] < middle),
    )
    vertebrae = []
    where = tuple(np.argwhere(array).T)
    values = np.zeros(len(centers), np.uint8)
    for level, label, inside in parts:
        values[inside] = label
        center = tuple(float(c) for c in centers[inside].mean(axis=0))
        vertebrae.append(Vertebra(label, level.name if level else None, center))
    array[where] = values
    warning = "The lowest level is unsure."
    return SegmentationResult(volume.like(array), vertebrae, [warning])


def update_from(
    volume: Volume,
    segmentation: Volume,
    start: int,
    keep: Any,
    settings: Settings,
    progress: Progress,
    level: str | None,
) -> SegmentationResult:
    """Give the first vertebra its level and leave the others; warn of what was to be kept."""
    progress("walk", 0.5, "walking")
    label = labels.by_name(level).verse if level else start
    array = np.where(segmentation.array == start, label, segmentation.array).astype(np.uint8)
    center = tuple(volume.ijk_to_ras(np.argwhere(array == label)[:, ::-1]).mean(axis=0).tolist())
    vertebra = Vertebra(label, labels.by_verse(label).name, center)
    return SegmentationResult(volume.like(array), [vertebra], [f"kept {sorted(keep)}"])


def job_method() -> str:
    """Return the method that the job file names."""
    import json
    from pathlib import Path

    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return str(job["method"])


if __name__ == "__main__":
    from spineseg.worker import main

    registry.METHODS = METHODS
    # The registry looks for its methods there.
    for name in ("tinyworker", "update"):
        sys.modules[f"spineseg.methods.{name}"] = sys.modules["__main__"]
    sys.exit(main())
