"""The module's self test on nodes, for the application's test runner and for the mrml tier.

It needs no weights and no torch: the Logic is given a runner that knows the answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from spineseg import labels
from spineseg.io.landmarks import Landmark
from spineseg.result import Vertebra
from spineseg.volume import Volume
from SpineSegMRML import landmarks, segmentations, volumes
from SpineSegMRML.jobs import JobOutcome, TranslationOutcome

from CycleGANTranslateLib.Logic import TranslateLogic
from CycleGANTranslateLib.Threshold import BoneSettings

__all__ = ["runSelfTest"]

LEVELS = ("T12", "L1", "L2")
MARROW, CORTEX = 250, 600
"""HU of the made-up synthetic CT: bodies, and the processes behind them."""


def runSelfTest(scene: Any, folder: Path) -> None:
    """Translate a small made-up MR, threshold it again, undo that, measure and export.

    Raises
    ------
    AssertionError
        A result is not as it should be.
    """
    truth = _truth()
    source = volumes.addVolumeNode(scene, truth.like(_signal(truth.array)), "self test MR")
    logic = TranslateLogic(_translated, _thresholded)
    _require(logic.validate(source) == "", "an MR can be translated")
    outcome = logic.translate(source)
    back = volumes.volumeFromNode(outcome.syntheticCtNode)
    _require(np.allclose(back.affine, truth.affine, atol=1e-9), "the CT lies where the MR does")
    node = outcome.segmentationNode
    _require(tuple(node.GetSegmentation().GetSegmentIDs()) == LEVELS, "a segment for each level")
    _require(outcome.tableNode.GetNumberOfRows() == len(LEVELS), "a row for each vertebra")
    shown = logic.threshold.preview(outcome.syntheticCtNode, BoneSettings())
    _require(shown.previewNode.GetSegmentation().GetNumberOfSegments() == 1, "a preview")
    logic.threshold.removePreview(shown.previewNode)
    logic.threshold.apply(
        outcome.syntheticCtNode, outcome.bodiesNode, node, BoneSettings(), outcome.tableNode
    )
    less, _names = segmentations.labelVolumeFromNode(node, source)
    _require(np.count_nonzero(less.array) < np.count_nonzero(truth.array), "the new threshold")
    logic.undo()
    again, _names = segmentations.labelVolumeFromNode(node, source)
    _require(np.array_equal(again.array, truth.array), "undo takes it back")
    points = landmarks.addLandmarksNode(scene, _corners(truth), "self test landmarks")
    found = logic.landmarks.measure(node, source, points)
    _require(len(found.modelNodes) == len(LEVELS), "a coloured model for each vertebra")
    _require(found.result.mean < 2.0, "corners lie at the surface")
    made = logic.exportModels(node, source, folder).models
    _require(len(made) == len(LEVELS), "a model for each")
    _require(all((folder / m.file).is_file() for m in made), "as a file")


def _require(condition: bool, what: str) -> None:
    # Not an assert statement: Python started with -O would skip it.
    if not condition:
        raise AssertionError(f"not so: {what}")


def _truth() -> Volume:
    """Return a label map (k, j, i): three bodies, each with a process behind it."""
    array = np.zeros((40, 30, 24), np.uint8)
    for position, name in enumerate(reversed(LEVELS)):
        label, low = labels.by_name(name).verse, 2 + 12 * position
        array[low : low + 9, 4:16, 4:20] = label
        array[low + 2 : low + 6, 16:26, 10:14] = label
    affine = np.diag([-2.0, -2.5, 3.0, 1.0])
    affine[:3, 3] = [12.0, -40.0, 105.0]
    return Volume(array, affine)


def _bodies() -> Volume:
    """Return the bodies 1 … n from the top."""
    truth, array = _truth(), np.zeros((40, 30, 24), np.uint8)
    for number, name in enumerate(LEVELS, start=1):
        array[:, :16][truth.array[:, :16] == labels.by_name(name).verse] = number
    return truth.like(array)


def _signal(array: np.ndarray) -> np.ndarray:
    # What no slice holds as a single value, as in a real MR.
    ramp = np.arange(array.size).reshape(array.shape) % 17
    return (np.where(array > 0, 200, 90) + ramp).astype(np.int16)


def _vertebrae(volume: Volume) -> list[Vertebra]:
    found = []
    for name in LEVELS:
        label = labels.by_name(name).verse
        ijk = np.argwhere(volume.array == label)[:, ::-1]
        center = tuple(float(c) for c in volume.ijk_to_ras(ijk).mean(axis=0))
        found.append(Vertebra(label, name, center, len(ijk) * volume.voxel_mm3 / 1000))
    return found


def _translated(volume: Volume, method: str, **_: Any) -> TranslationOutcome:
    truth, bodies = _truth(), _bodies()
    if not np.array_equal(volume.array > 150, truth.array > 0):
        raise AssertionError("not so: the MR reaches the runner as it is")
    hounsfield = np.where(truth.array > 0, CORTEX, 40)
    hounsfield[bodies.array > 0] = MARROW
    return TranslationOutcome(
        truth,
        _vertebrae(truth),
        syntheticCt=truth.like(hounsfield.astype(np.int16)),
        bodies=bodies,
        confidence=truth.like(np.full(truth.shape, 90, np.uint8)),
    )


def _thresholded(volume: Volume, bodies: Volume, **_: Any) -> JobOutcome:
    """Return the bodies alone: as if no process were above the threshold."""
    return JobOutcome(bodies, _vertebrae(bodies))


def _corners(truth: Volume) -> list[Landmark]:
    """Return the corners of each vertebra's body and the end of its process."""
    found = []
    for name in LEVELS:
        low = np.argwhere(truth.array == labels.by_name(name).verse)[:, 0].min()
        kji = [(low + k, j, i) for k in (0, 8) for j in (4, 15) for i in (4, 19)]
        kji.append((low + 4, 25, 12))
        for number, place in enumerate(kji):
            x, y, z = truth.ijk_to_ras(np.array(place[::-1], float)[None])[0]
            found.append(Landmark(name, f"corner {number}", (float(x), float(y), float(z))))
    return found
