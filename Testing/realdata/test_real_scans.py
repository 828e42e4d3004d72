"""The shipped method on real scans that it was not trained on; skipped where they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from spineseg import read_volume, segment
from spineseg.evaluation.vertebrae import score, summary
from spineseg.labels import VERTEBRAE, is_vertebra
from spineseg.result import SegmentationResult
from spineseg.training.real import to_verse
from spineseg.volume import Volume

ORDER = {level.verse: n for n, level in enumerate(VERTEBRAE)}
# Case, its label map's ending and numbering, and the least mean Dice of the outlines. What is
# measured stands in docs/evaluation.md; the floors here only catch what breaks.
LABELLED = [
    ("verse014", "vertebrae", "verse", 0.885),
    ("tptbox_l3", "vertebrae", "verse", 0.90),
    ("totalsegmentator_lumbar_3mm", "pseudolabels", "totalsegmentator", 0.90),
]
UNLABELLED = ["lidc0314_thorax", "nsclc_r01001_thorax", "crlm1004_thoracolumbar"]


def run(folder: Path, case: str) -> tuple[Volume, SegmentationResult]:
    scan = read_volume(folder / "ct" / f"{case}_ct.nii.gz")
    return scan, segment(scan)


def hold_together(scan: Volume, result: SegmentationResult) -> None:
    """What must hold of any result: the grid, the order from the top, no label twice."""
    assert result.segmentation.shape == scan.shape
    assert np.allclose(result.segmentation.affine, scan.affine)
    labels = [v.label for v in result.vertebrae]
    assert len(set(labels)) == len(labels)
    assert set(np.unique(result.segmentation.array)) - {0, 100} <= set(labels)
    named = [ORDER[n] for n in labels if is_vertebra(n) and n in ORDER]
    assert named == sorted(named)
    heights = [v.centroid[2] for v in result.vertebrae]
    assert heights == sorted(heights, reverse=True)
    if any(v.level is None for v in result.vertebrae):
        assert result.warnings


@pytest.mark.parametrize(("case", "ending", "numbering", "floor"), LABELLED)
def test_labelled_scans(
    realdata: Path, case: str, ending: str, numbering: str, floor: float
) -> None:
    scan, result = run(realdata, case)
    hold_together(scan, result)
    labels = read_volume(realdata / "ct" / f"{case}_{ending}.nii.gz")
    truth = Volume(to_verse(labels.array, numbering), labels.affine)
    assert summary(score(truth, result.segmentation, case))["shape_dice"] >= floor


@pytest.mark.parametrize("case", UNLABELLED)
def test_unlabelled_scans(realdata: Path, case: str) -> None:
    scan, result = run(realdata, case)
    hold_together(scan, result)
    assert len(result.vertebrae) >= 6
