"""A method for tests: a threshold and connected parts; the first one from the top is L1.

What it does besides is chosen by TINY_MODE in the environment, so that a child process can be told:
slow (many steps), stuck (never looks at its token), memory, bug, chatty (prints like a library).
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from spineseg import registry
from spineseg.labels import FIRST_UNSURE, VERTEBRAE, by_name
from spineseg.progress import Progress
from spineseg.result import SegmentationResult, Vertebra
from spineseg.volume import Volume

ROW = registry.Method("tiny", "Tiny", registry.SEGMENT, "tinymethod", "For tests.")
TOP = VERTEBRAE.index(by_name("L1"))


@dataclass(frozen=True)
class Settings:
    """Threshold in HU; how many of the lowest vertebrae get no level."""

    threshold: float = 300.0
    unsure: int = 0


def _misbehave(mode: str, progress: Progress) -> None:
    if mode == "memory":
        raise MemoryError
    if mode == "bug":
        raise ValueError("a bug of the tests")
    if mode == "chatty":
        print("a library says hello")
        os.write(1, b"and so does C\n")
    if mode in ("slow", "stuck"):
        for step in range(600):
            if mode == "slow" or step == 0:
                progress("network", step / 600, f"patch {step}")
            Path(os.environ["TINY_STARTED"]).touch()
            time.sleep(0.1)


def predict(volume: Volume, settings: Settings, progress: Progress) -> SegmentationResult:
    """Label each part above the threshold."""
    _misbehave(os.environ.get("TINY_MODE", ""), progress)
    parts, count = ndimage.label(volume.array > settings.threshold)
    middles = ndimage.center_of_mass(parts > 0, parts, range(1, count + 1)) if count else []
    points = volume.ijk_to_ras(np.array(middles).reshape(-1, 3)[:, ::-1])
    order = [
        n for n in np.argsort(-points[:, 2]) if (parts == n + 1).sum() * volume.voxel_mm3 > 500
    ]
    labels = np.zeros(volume.shape, np.uint8)
    rows = []
    for place, number in enumerate(order):
        unsure = place - (len(order) - settings.unsure)
        level = None if unsure >= 0 else VERTEBRAE[TOP + place]
        label = FIRST_UNSURE + unsure if level is None else level.verse
        labels[parts == number + 1] = label
        x, y, z = points[number]
        centre = (float(x), float(y) + 14.0, float(z))  # the body lies before the middle
        rows.append(Vertebra(label, level.name if level else None, centre, confidence=0.9))
    progress("network", 1.0)
    warnings = ["This is a <test>."] if os.environ.get("TINY_MODE") == "chatty" else []
    return SegmentationResult(volume.like(labels), rows, warnings)


def register() -> None:
    """Add this method to the registry; tests undo it with a monkeypatch."""
    registry.METHODS = (*registry.METHODS, ROW)
    # The registry looks for its methods there.
    sys.modules["spineseg.methods.tinymethod"] = sys.modules[__name__]
