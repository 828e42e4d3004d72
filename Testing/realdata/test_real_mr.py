"""The translation on real MR that it was not trained on; skipped where they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from spineseg import read_volume
from spineseg.evaluation.body_scores import score_bodies
from spineseg.labels import by_name
from spineseg.translation import translate

# A T2 and a T1 series, and the outlined bodies' levels from the top; the lowest one, right above
# the sacrum, is taken as L5. What is measured stands in docs/evaluation.md; the floor only catches
# what breaks.
HELD_OUT = [
    ("vb2_18", ("T11", "T12", "L1", "L2", "L3", "L4", "L5")),
    ("vb3_48", ("L1", "L2", "L3", "L4", "L5")),
]


@pytest.mark.parametrize(("case", "levels"), HELD_OUT)
def test_bodies_are_found_outlined_and_named(
    realdata: Path, case: str, levels: tuple[str, ...]
) -> None:
    folder = realdata / "mr_vertebral_bodies"
    mr = read_volume(folder / f"{case}_image.nii.gz")
    truth = mr.like(read_volume(folder / f"{case}_bodies.nii.gz").array)
    result = translate(mr, settings={"confidence": False})
    scores = score_bodies(truth, result.bodies)
    assert all(s.found for s in scores)
    assert np.mean([s.dice for s in scores]) >= 0.84
    heights = {s.label: np.argwhere(truth.array == s.label) for s in scores}
    down = sorted(heights, key=lambda n: float(mr.ijk_to_ras(heights[n][:, ::-1]).mean(axis=0)[2]))[
        ::-1
    ]
    for label, level in zip(down, levels, strict=True):
        inside = result.segmentation.array[truth.array == label]
        assert (inside == by_name(level).verse).mean() > 0.5
