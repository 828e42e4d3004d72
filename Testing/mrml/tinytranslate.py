"""The real worker with a tiny translation, for a made-up MR whose answer is known.

It is run as a script in place of ``python -m spineseg.worker``; the tests import it too.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from nodecases import obliqueAffine, rigid
from spineseg import labels, registry
from spineseg.errors import MemoryLimitError
from spineseg.progress import Progress
from spineseg.result import TranslationResult, Vertebra
from spineseg.volume import Volume

LEVELS = ("T12", "L1", None)
"""From the top to the bottom; the level of the last is unsure."""
LABELS = (labels.by_name("T12").verse, labels.by_name("L1").verse, labels.FIRST_UNSURE)
SHAPE = (40, 30, 24)
SIGNAL = 150
"""Above it lies what the tiny method calls bone."""
MARROW, PROCESS = 250, 600
WORKS, SLOW = registry.DEFAULT_TRANSLATE, "tiny-slow-mr"
METHODS = tuple(
    registry.Method(
        name=name, title=name, task=registry.TRANSLATE, module="tinytranslate", summary="For tests."
    )
    for name in (WORKS, SLOW)
)


@dataclass(frozen=True)
class Settings:
    """What a user chose; "cpu" makes it fail, to see that the choice arrives."""

    low: float = 0.0
    high: float = 700.0
    per_slice: bool = True
    median_mm: float = 3.0
    separate: str = "network"
    confidence: bool = True
    device: str = "auto"


def affine() -> np.ndarray:
    """Return the grid: oblique, thick slices, j to the back (i, j, k → RAS mm)."""
    result = rigid(obliqueAffine())
    result[:3, :3] = result[:3, :3] @ np.diag([-2.0, -2.5, 3.0])
    return result


def truth() -> np.ndarray:
    """Return the label map (k, j, i): three bodies, each with a process behind it."""
    array = np.zeros(SHAPE, np.uint8)
    for position, label in enumerate(reversed(LABELS)):
        low = 2 + 12 * position
        array[low : low + 9, 4:16, 4:20] = label
        array[low + 2 : low + 6, 16:26, 10:14] = label
    return array


def bodies() -> np.ndarray:
    """Return the bodies alone, 1 … n from the top."""
    array = np.zeros(SHAPE, np.uint8)
    for number, label in enumerate(LABELS, start=1):
        array[:, :16][truth()[:, :16] == label] = number
    return array


def mr() -> Volume:
    """Return the MR: every slice differs in itself, as a real one does."""
    ramp = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 17
    return Volume((np.where(truth() > 0, 200, 90) + ramp).astype(np.int16), affine())


def hounsfield() -> np.ndarray:
    """Return the synthetic CT: marrow in the bodies, brighter processes."""
    array = np.where(truth() > 0, PROCESS, 40)
    array[bodies() > 0] = MARROW
    return array.astype(np.int16)


def predict(volume: Volume, settings: Settings, progress: Progress) -> TranslationResult:
    """Return the answer, if the MR arrived as it is."""
    slow = job()["method"] == SLOW
    for step in range(400 if slow else 4):
        progress("translate", step / 400, f"patch {step}")
        time.sleep(0.05 if slow else 0.0)
    if settings.device == "cpu":
        raise MemoryLimitError("There is not enough memory.", "Close other programs.", "4 GB")
    np.testing.assert_array_equal(volume.array > SIGNAL, truth() > 0)
    vertebrae = []
    for label, level in zip(LABELS, LEVELS):
        ijk = np.argwhere(truth() == label)[:, ::-1]
        x, y, z = (float(v) for v in volume.ijk_to_ras(ijk).mean(axis=0))
        vertebrae.append(Vertebra(label, level, (x, y, z), confidence=0.75))
    sure = volume.like(np.full(SHAPE, 90, np.uint8)) if settings.confidence else None
    warning = f"{settings.separate}, {settings.low:g} to {settings.high:g}"
    return TranslationResult(
        volume.like(hounsfield()),
        volume.like(truth()),
        volume.like(bodies()),
        sure,
        vertebrae,
        [300.0],
        [warning],
    )


def job() -> dict[str, Any]:
    """Return the content of the job file."""
    import json
    from pathlib import Path

    content: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return content


if __name__ == "__main__":
    from spineseg.worker import main

    registry.METHODS = METHODS
    # The registry looks for its methods there.
    sys.modules["spineseg.methods.tinytranslate"] = sys.modules["__main__"]
    sys.exit(main())
