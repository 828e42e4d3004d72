"""The module's self test on nodes, for the application's test runner and for the mrml tier.

It needs no weights and no torch: the Logic is given a runner that knows the answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from spineseg import labels
from spineseg.clicking import ClickResult
from spineseg.result import Vertebra
from spineseg.volume import Volume
from SpineSegMRML import segmentations, volumes
from SpineSegMRML.jobs import JobOutcome

from VertebraSegmentLib.Logic import SegmentLogic

__all__ = ["runSelfTest"]

LEVELS = ("T12", "L1", "L2")


def runSelfTest(scene: Any, folder: Path) -> None:
    """Segment a small made-up CT, click on it, undo that, and export models of it.

    Raises
    ------
    AssertionError
        A result is not as it should be.
    """
    truth = _truth()
    source = volumes.addVolumeNode(scene, truth.like(_hounsfield(truth.array)), "self test CT")
    logic = SegmentLogic(_answer, worker=_Worker())
    _require(logic.validate(source) == "", "a CT can be segmented")
    outcome = logic.segment(source)
    segmentation = outcome.segmentationNode.GetSegmentation()
    _require(tuple(segmentation.GetSegmentIDs()) == LEVELS, "a segment for each level, in order")
    back, _ = segmentations.labelVolumeFromNode(outcome.segmentationNode, source)
    _require(np.array_equal(back.array, truth.array), "the voxels come back exactly")
    _require(np.allclose(back.affine, truth.affine), "and so does their place")
    _require(outcome.tableNode.GetNumberOfRows() == len(LEVELS), "a row for each vertebra")
    segmentation.RemoveSegment(LEVELS[1])
    point = truth.ijk_to_ras(np.argwhere(truth.array == _labelOf(LEVELS[1]))[:, ::-1]).mean(axis=0)
    clicked = logic.clicks.click(source, tuple(point), outcome.segmentationNode)
    _require(tuple(segmentation.GetSegmentIDs()) == LEVELS, "a click puts a vertebra in its place")
    _require(clicked.level == LEVELS[1], "and names it")
    logic.undo()
    _require(segmentation.GetNumberOfSegments() == len(LEVELS) - 1, "undo takes it back")
    logic.redo()
    made = logic.exportModels(outcome.segmentationNode, source, folder).models
    _require([m.name for m in made] == list(LEVELS), "a model for each")
    _require(all((folder / m.file).is_file() and m.manifold for m in made), "closed ones")


def _require(condition: bool, what: str) -> None:
    # Not an assert statement: Python started with -O would skip it.
    if not condition:
        raise AssertionError(f"not so: {what}")


def _labelOf(name: str) -> int:
    return labels.by_name(name).verse


class _Worker:
    """Answers a click with the middle one of the blocks, as a resident worker does."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def open(self, volume: Volume, progress: Any) -> None:
        progress("open", 1.0)

    def click(
        self, point: Any, target: str, known: Volume, level: str | None, progress: Any
    ) -> ClickResult:
        progress("look", 1.0)
        inside = (_truth().array == _labelOf(LEVELS[1])).astype(np.uint8)
        return ClickResult(known.like(inside), _labelOf(LEVELS[1]), LEVELS[1], None, point, 1.0)


def _truth() -> Volume:
    """Return a label map (k, j, i) of three blocks on an anisotropic grid that scanners use."""
    array = np.zeros((24, 20, 20), np.uint8)
    for position, name in enumerate(reversed(LEVELS)):
        array[2 + 7 * position : 7 + 7 * position, 5:15, 4:16] = _labelOf(name)
    affine = np.diag([-0.9, -0.9, 2.0, 1.0])
    affine[:3, 3] = [12.0, -40.0, 105.0]
    return Volume(array, affine)


def _hounsfield(array: np.ndarray) -> np.ndarray:
    return np.where(array > 0, 500, 40).astype(np.int16)


def _answer(volume: Volume, method: str, **_: Any) -> JobOutcome:
    truth = _truth()
    if not np.array_equal(volume.array > 300, truth.array > 0):
        raise AssertionError("not so: the scan reaches the runner as it is")
    vertebrae = []
    for name in LEVELS:
        label = _labelOf(name)
        ijk = np.argwhere(truth.array == label)[:, ::-1]
        center = tuple(float(c) for c in volume.ijk_to_ras(ijk).mean(axis=0))
        volume_ml = float(len(ijk) * volume.voxel_mm3 / 1000)
        vertebrae.append(Vertebra(label, name, center, volume_ml))
    return JobOutcome(truth, vertebrae)
