"""The outline of one vertebra on the scan's own grid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from spineseg.methods.one_vertebra import OneVertebra
from spineseg.methods.outline import outline
from spineseg.methods.refine import tidy
from spineseg.volume import Volume


def test_holes_are_filled_as_scipy_fills_them() -> None:
    rng = np.random.default_rng(0)
    for n in range(60):
        noise = rng.normal(size=rng.integers(2, 14, 3))
        mask = ndimage.gaussian_filter(noise, rng.uniform(0.3, 1.0)) > rng.uniform(-0.5, 0.5)
        if n % 20 == 0:
            mask[...] = True
        expected = ndimage.binary_fill_holes(mask)
        assert (tidy(mask, smallest_share=1e-9) == expected).all()


def seen(body: bool = True) -> OneVertebra:
    """A block of 30 mm with a body in front, at 1.5 mm, centred on 0."""
    grid = np.diag([1.5, 1.5, 1.5, 1.0])
    grid[:3, 3] = -29.25
    k, j, i = np.mgrid[:40, :40, :40] * 1.5 - 29.25
    whole = (np.maximum(np.abs(i), np.maximum(np.abs(j), np.abs(k))) < 15) * 255
    front = whole * (j > 0) * body
    inner = ndimage.binary_erosion(front > 0, iterations=2) * 255
    parts = [Volume(part.astype(np.uint8), grid) for part in (whole, front, inner)]
    return OneVertebra(*parts, np.zeros(3), 27.0, 1.0, True)


def scan(shift: float = 0.0) -> Volume:
    affine = np.diag([1.0, -0.8, 2.0, 1.0])
    affine[:3, 3] = [-40 + shift, 40, -40]
    noise = np.random.default_rng(0).normal(40, 20, (40, 100, 80))
    return Volume(noise.astype(np.int16), affine)


@pytest.mark.parametrize("refine", [True, False])
def test_parts_lie_on_the_scans_grid_and_in_each_other(refine: bool) -> None:
    ct = scan()
    found = {t: outline(ct, seen(), t, 0.5, refine) for t in ("vertebra", "body", "centrum")}
    empty = ct.like(np.zeros(ct.shape, np.uint8))
    ml = {}
    for target, parts in found.items():
        assert parts is not None
        whole, part = (empty.paste(block).array for block in parts)  # which checks the grid
        assert (part <= whole).all()
        ml[target] = part.sum() * ct.voxel_mm3 / 1000
    assert ml["vertebra"] == pytest.approx(27, rel=0.07)
    assert ml["body"] == pytest.approx(13.5, rel=0.1)
    assert ml["centrum"] < 0.7 * ml["body"]


def test_there_is_nothing_outside_the_scan_and_no_body_where_none_was_seen() -> None:
    assert outline(scan(500.0), seen(), "vertebra", 0.5, True) is None
    found = outline(scan(), seen(body=False), "body", 0.5, True)
    assert found is not None
    assert found[0].array.any()
    assert not found[1].array.any()
