"""What is measured of a scan's noise, edges and arches: known answers on a made-up vertebra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from spineseg.evaluation.phantom_realism import look_table
from spineseg.evaluation.scan_texture import LOOKS, looks
from spineseg.volume import Volume

STEP = 1.5
BODY, ARCH, RIM, TISSUE = 100.0, 700.0, 400.0, 50.0


def made_up(noise: float = 0.0, smooth: float = 0.0) -> tuple[Volume, Volume]:
    """A block with a bright rim, a dense plate behind it, and soft tissue with noise."""
    labels = np.zeros((60, 80, 60), dtype=np.uint8)
    labels[20:40, 36:60, 16:44] = 22
    labels[26:34, 14:36, 24:36] = 22
    hu = np.full(labels.shape, TISSUE, dtype=np.float32)
    hu[20:40, 36:60, 16:44] = RIM
    hu[21:39, 37:59, 17:43] = BODY
    hu[26:34, 14:36, 24:36] = ARCH
    rough = np.random.default_rng(0).standard_normal(labels.shape)
    if smooth:
        rough = ndimage.gaussian_filter(rough, smooth)
        rough /= rough.std()
    hu += noise * rough
    affine = np.diag([STEP, STEP, STEP, 1.0])
    return Volume(hu, affine), Volume(labels, affine)


def test_rim_and_arch_are_told_apart() -> None:
    (row,) = looks(*made_up())
    assert row["outer"] == pytest.approx(RIM, abs=1)
    assert row["second"] == pytest.approx(BODY, abs=1)
    assert row["arch"] == pytest.approx(ARCH, abs=1)
    assert row["noise"] == pytest.approx(0, abs=1)


@pytest.mark.parametrize(("smooth", "lag"), [(0.0, 0.0), (0.8, 0.66)])
def test_noise_and_its_grain_are_measured(smooth: float, lag: float) -> None:
    (row,) = looks(*made_up(25.0, smooth))
    assert row["noise"] == pytest.approx(25, rel=0.2)
    for axis in ("right", "front", "up"):
        assert row[f"lag {axis}"] == pytest.approx(lag, abs=0.12)


def test_a_vertebra_at_the_border_is_left_out() -> None:
    ct, labels = made_up()
    cut = labels.array.copy()
    cut[:, :, :16] = 0
    labels = labels.like(cut).crop((0, 0, 0), (38, 80, 60))
    assert looks(ct.crop((0, 0, 0), (38, 80, 60)), labels) == []


def test_the_table_has_a_row_for_each_figure() -> None:
    rows = [{name: float(n) for n, name in enumerate(LOOKS)}] * 3
    text = look_table({"one": rows, "none": []}, rows).splitlines()
    assert len(text) == 2 + len(LOOKS)
    assert text[2] == "| noise | 0 | – | 0 / 0 / 0 |"
    assert text[3] == "| lag right | 1.00 | – | 1.00 / 1.00 / 1.00 |"
