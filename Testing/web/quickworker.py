"""The real worker with a method that takes a tenth of a second: bright parts are vertebrae.

It is run as a script in place of ``python -m spineseg.worker``. It calls the parts L1, L2 … from
the top, which is right for `tinyspine`. QUICK_STEPS makes it slower, for a cancel to be tried.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from scipy import ndimage
from spineseg import labels, registry
from spineseg.progress import Progress
from spineseg.result import SegmentationResult, Vertebra
from spineseg.volume import Volume

BONE_HU = 300
LEAST_VOXELS = 200
FIRST = "L1"
SLOW_FILE = "QUICK_SLOW"
"""Variable that names a file: while it is there, the work takes half a minute."""


@dataclass(frozen=True)
class Settings:
    """Nothing can be set."""

    device: str = "auto"


def predict(volume: Volume, settings: Settings, progress: Progress) -> SegmentationResult:
    """Take each connected part above `BONE_HU` for a vertebra."""
    slow = os.path.exists(os.environ.get(SLOW_FILE, ""))
    for step in range(300 if slow else 5):
        progress("patches", step / 300, f"patch {step + 1}")
        time.sleep(0.1 if slow else 0.02)
    parts, count = ndimage.label(volume.array > BONE_HU)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    centers = {
        part: volume.ijk_to_ras(np.argwhere(parts == part)[:, ::-1]).mean(axis=0)
        for part in range(1, count + 1)
        if sizes[part] > LEAST_VOXELS
    }
    array, vertebrae = np.zeros(volume.shape, np.uint8), []
    first = labels.by_name(FIRST).verse
    for number, part in enumerate(sorted(centers, key=lambda p: -centers[p][2])):
        label = first + number
        array[parts == part] = label
        center = tuple(float(c) for c in centers[part])
        ml = float(sizes[part]) * volume.voxel_mm3 / 1000
        vertebrae.append(Vertebra(label, labels.by_verse(label).name, center, ml))
    return SegmentationResult(volume.like(array), vertebrae, [])


if __name__ == "__main__":
    from spineseg.worker import main

    own = registry.get(registry.DEFAULT_SEGMENT)
    quick = ModuleType(own.module)
    quick.Settings, quick.predict = Settings, predict  # type: ignore[attr-defined]
    sys.modules[f"spineseg.methods.{own.module.rpartition('.')[2]}"] = quick
    sys.exit(main())
