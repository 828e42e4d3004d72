"""The weights that ship, on a digital patient that no training has seen."""

from __future__ import annotations

import pytest
from spineseg import segment
from spineseg.evaluation.vertebrae import score, summary
from spineseg.phantom import PhantomSettings, generate
from spineseg.progress import Progress

SEED = 2_000_000  # far from the seeds of the training pool


@pytest.mark.slow
def test_the_shipped_weights_find_and_name_a_digital_patient() -> None:
    phantom = generate(PhantomSettings(levels=("T9", "L5"), spacing_mm=2.0, cobb_deg=10.0), SEED)
    stages: list[str] = []
    progress = Progress(lambda stage, fraction, text: stages.append(stage))
    result = segment(phantom.ct, progress=progress)
    found = summary(score(phantom.vertebrae, result.segmentation))
    assert found["shape_dice"] > 0.75
    assert found["found"] > 0.85
    assert len(stages) > 5
