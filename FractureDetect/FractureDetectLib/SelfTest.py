"""The module's self test on nodes, for the application's test runner and for the mrml tier.

It needs no weights and no torch: blocks stand for vertebrae, and they are measured in this process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from spineseg import labels
from spineseg.fracture import find_fractures
from spineseg.fracture_state import FractureState
from spineseg.volume import Volume
from SpineSegMRML import segmentations, volumes
from SpineSegMRML.fracturejobs import FracturesFound

from FractureDetectLib import Points
from FractureDetectLib.Logic import FractureLogic

__all__ = ["LEVELS", "blocks", "ctOf", "runSelfTest", "searched"]

LEVELS = ("T11", "T12", "L1", "L2", "L3")
BONE_HU, SOFT_HU = 250, 30


def runSelfTest(scene: Any, folder: Path) -> None:
    """Search blocks, lower the front of one by hand, take that back, and write the files.

    Raises
    ------
    AssertionError
        A result is not as it should be.
    """
    logic = FractureLogic(searched)
    truth = blocks()
    source = volumes.addVolumeNode(scene, ctOf(truth), "self test CT")
    node = segmentations.addSegmentationNode(truth, source, "self test vertebrae")
    outcome = logic.search(source, node)
    _require([f.level for f in outcome.findings] == list(LEVELS), "a row for each vertebra")
    _require(_grades(outcome)["L1"] == 0, "a block is whole")
    told: list[Any] = []
    logic.follow(node, lambda: told.append(logic.refresh(node)))
    label = labels.by_name("L1").verse
    six = Points.sixOf(Points.listsOf(node)[label])
    _require(six is not None, "six points")
    assert six is not None
    Points.listsOf(node)[label].SetNthControlPointPosition(
        0, *(0.55 * six[0, 0] + 0.45 * six[1, 0])
    )
    _require(len(told) == 1 and _grades(told[0])["L1"] == 3, "the grade follows a point")
    folder = logic.export(node, Path(folder) / "fractures")
    _require((folder / "report.html").is_file(), "a report")
    _require(_grades(logic.undo())["L1"] == 0, "a move can be taken back")
    _require(logic.jump(scene, node, "L1"), "the views can jump there")
    logic.close()


def _require(condition: bool, what: str) -> None:
    # Not an assert statement: Python started with -O would skip it.
    if not condition:
        raise AssertionError(f"not so: {what}")


def _grades(outcome: Any) -> dict[str, int | None]:
    return {f.level: f.graded.grade for f in outcome.findings}


def blocks() -> Volume:
    """Return a label map (k, j, i): bodies on each other, each with an arch behind it."""
    array = np.zeros((17 * len(LEVELS) + 10, 50, 36), np.uint8)
    for position, name in enumerate(reversed(LEVELS)):
        label, low = labels.by_name(name).verse, 6 + 17 * position
        array[low : low + 13, 24:42, 7:29] = label
        array[low + 6 : low + 12, 14:24, 9:12] = label
        array[low + 6 : low + 12, 14:24, 24:27] = label
        array[low + 4 : low + 10, 4:14, 15:21] = label
        array[low + 6 : low + 12, 12:15, 9:27] = label
    return Volume(array, np.diag([2.0, 2.0, 2.0, 1.0]))


def ctOf(truth: Volume) -> Volume:
    """Return a CT of a label map: bone is bright."""
    return truth.like(np.where(truth.array > 0, BONE_HU, SOFT_HU).astype(np.int16))


def searched(volume: Volume, segmentation: Volume | None = None, *_: Any, **__: Any) -> Any:
    """Search as the child process does, in this one, where the segmentation is given."""
    if segmentation is None:
        raise AssertionError("not so: the segmentation reaches the runner")
    return FracturesFound(FractureState.of(find_fractures(volume, segmentation)), None, 1.0)
