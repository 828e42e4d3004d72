"""What a method notes of a run, and how a run becomes a result."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spineseg.labels import LAST_UNSURE
from spineseg.result import SegmentationResult, Vertebra
from spineseg.volume import Volume

__all__ = ["RunLog", "renumber"]


@dataclass
class RunLog:
    """Notes of one run.

    Attributes
    ----------
    settings : mapping
        The method's settings (JSON values).
    models : tuple of str
        Names of the models that are used.
    warnings : list of str
    seconds : dict of str to float
        Spent in each stage.
    """

    settings: Mapping[str, Any]
    models: tuple[str, ...]
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note how long a stage takes."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)

    def result(
        self, segmentation: Volume, vertebrae: Sequence[Vertebra], bodies: Volume | None
    ) -> SegmentationResult:
        """Return a result with these notes."""
        return SegmentationResult(
            segmentation=segmentation,
            vertebrae=list(vertebrae),
            warnings=list(self.warnings),
            settings=self.settings,
            timings=dict(self.seconds),
            bodies=bodies,
            models=self.models,
        )

    def nothing(self, scan: Volume) -> SegmentationResult:
        """Return a result without a vertebra, and say so."""
        self.warnings.append(
            "No vertebra was found in this scan: check that it is a CT in Hounsfield units that"
            " shows the spine."
        )
        return self.result(scan.like(np.zeros(scan.shape, dtype=np.uint8)), [], None)


def renumber(labels: Volume, vertebrae: Sequence[Vertebra]) -> list[Vertebra]:
    """Turn 1 … n into the vertebrae's labels, in place; return those that have a voxel."""
    present = set(np.unique(labels.array).tolist())
    table = np.zeros(LAST_UNSURE + 1, dtype=np.uint8)
    for number, vertebra in enumerate(vertebrae, start=1):
        table[number] = vertebra.label
    for rows in labels.array:  # a slice at a time
        rows[...] = table[rows]
    return [v for number, v in enumerate(vertebrae, start=1) if number in present]
