"""What is no CT in Hounsfield units and millimetres is told before it is segmented."""

from __future__ import annotations

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.methods.scan_check import check_scan
from spineseg.volume import Volume

GRID = np.diag([3.0, 3.0, 3.0, 1.0])


def patient(affine: np.ndarray = GRID) -> Volume:
    """Air, fat, muscle and bone with noise, as in a CT."""
    rng = np.random.default_rng(0)
    tissue = rng.choice([-1000.0, -100.0, 50.0, 60.0, 400.0], size=(40, 40, 40),
                        p=[0.3, 0.2, 0.25, 0.2, 0.05])  # fmt: skip
    return Volume(np.rint(tissue + rng.normal(0, 15, tissue.shape)).astype(np.int16), affine)


def test_a_ct_passes() -> None:
    assert check_scan(patient(), strict=True) == []
    thick = np.diag([1.0, 1.0, 5.0, 1.0])
    assert any("5.0 mm apart" in w for w in check_scan(patient(thick), strict=True))


def scaled(low: float, high: float) -> Volume:
    hu = patient().array.astype(np.float32)
    return patient().like(low + (high - low) * (hu - hu.min()) / (hu.max() - hu.min()))


@pytest.mark.parametrize(
    ("scan", "words"),
    [
        (scaled(0, 1), "scaled to 0–1"),
        (scaled(0, 255), "picture or of an MR"),
        (scaled(-1, 1), "too near to each other"),
        (patient().like(patient().array + 1024 + 60), "1024 added"),
        (patient(np.diag([0.03, 0.03, 0.03, 1])), "another unit than millimetres"),
        (patient(np.diag([300.0, 300.0, 300.0, 1])), "another unit than millimetres"),
        (patient().crop((0, 0, 0), (1, 40, 40)), "single slice"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_cannot_be_a_ct_is_refused(scan: Volume, words: str, strict: bool) -> None:
    with pytest.raises(InputError, match=words) as caught:
        check_scan(scan, strict)
    assert caught.value.remedy


def test_an_mr_without_negative_values_is_doubted_or_refused() -> None:
    rng = np.random.default_rng(1)
    mr = Volume(rng.gamma(2.0, 200.0, (40, 40, 40)).astype(np.int16), GRID)
    assert any("do not look like Hounsfield" in w for w in check_scan(mr))
    with pytest.raises(InputError, match="neither fat nor air"):
        check_scan(mr, strict=True)


def test_real_mr_is_refused_and_real_ct_is_not(realdata) -> None:
    from spineseg.io.images import read_volume

    mr = sorted((realdata / "mr_vertebral_bodies").glob("*_image.nii.gz"))[:4]
    ct = sorted((realdata / "ct").glob("*_ct.nii.gz"))
    assert mr
    assert ct
    for path in mr:
        with pytest.raises(InputError, match="MR"):
            check_scan(read_volume(path))
    for path in ct:
        check_scan(read_volume(path), strict=True)
