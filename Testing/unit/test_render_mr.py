"""Digital patients as MR: the tissues' order of brightness, and what the scanner adds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from spineseg.methods.classes import FineClass
from spineseg.phantom.codes import Tissue
from spineseg.phantom.render_mr import render_mr
from spineseg.phantom.sequence import KINDS, Sequence, random_sequence
from spineseg.training.pool import Item, draw_fine
from spineseg.training.samples import FINE_TABLE

SPACING = 1.5


@pytest.fixture(scope="module")
def item() -> Item:
    return draw_fine(8, (64, 96, 80))


def calm(kind: str) -> Sequence:
    drawn = random_sequence(np.random.default_rng(1), kind)
    return replace(drawn, noise=0.001, bias=0.0, coil_mm=1e6, slice_mm=1.5, kernel_mm=0.3)


def rendered(item: Item, sequence: Sequence, seed: int = 0) -> np.ndarray:
    tissue, _, depth, overlay = (np.asarray(layer) for layer in item.layers)
    rng = np.random.default_rng(seed)
    return render_mr(tissue, depth.view(np.int8), overlay, SPACING, sequence, rng)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_tissues_are_as_bright_as_the_sequence_says(item: Item, kind: str) -> None:
    sequence = calm(kind)
    image = rendered(item, sequence)
    tissue = item.layers[0]
    depth = np.asarray(item.layers[2]).view(np.int8) * 0.25
    marrow = (FINE_TABLE[tissue] == FineClass.BODY) & (depth < -4)
    canal = tissue == Tissue.CANAL
    fat = tissue == Tissue.FAT
    assert image.shape == tissue.shape
    assert image.dtype == np.float32
    assert abs(np.median(image[marrow]) - sequence.marrow) < 0.4 * sequence.marrow + 0.03
    if kind in ("t2", "water"):
        assert np.median(image[canal]) > np.median(image[marrow])
    if kind == "t1":
        assert np.median(image[fat]) > np.median(image[marrow]) > np.percentile(image[canal], 20)


def test_bone_has_a_dark_line_round_its_marrow(item: Item) -> None:
    sequence = replace(calm("t1"), cortex_mm=1.6)
    image = rendered(item, sequence)
    depth = np.asarray(item.layers[2]).view(np.int8) * 0.25
    body = FINE_TABLE[item.layers[0]] == FineClass.BODY
    rim = body & (depth > -1.2) & (depth < -0.2)
    assert np.median(image[rim]) < 0.75 * np.median(image[body & (depth < -4)])


def test_noise_slices_and_metal(item: Item) -> None:
    tissue, _, depth, overlay = (np.array(layer) for layer in item.layers)
    quiet = rendered(item, calm("t2"))
    loud = rendered(item, replace(calm("t2"), noise=0.1))
    assert np.std(loud - quiet) > 0.05
    thick = rendered(item, replace(calm("t2"), slice_mm=6.0, slice_axis=2))
    # Between two slices the values are interpolated: second differences vanish there.
    bumps = np.abs(np.diff(thick, 2, axis=2)).mean() / np.abs(np.diff(quiet, 2, axis=2)).mean()
    assert bumps < 0.5
    body = np.argwhere(FINE_TABLE[tissue] == FineClass.BODY)
    k, j, i = body[len(body) // 2]
    overlay[k - 2 : k + 3, j - 2 : j + 3, i - 2 : i + 3] = Tissue.METAL
    rng = np.random.default_rng(0)
    void = render_mr(tissue, depth.view(np.int8), overlay, SPACING, calm("t2"), rng)
    assert void[k, j, i] < 0.2 * quiet[k, j, i]


def test_the_same_seed_gives_the_same_voxels(item: Item) -> None:
    one, other = (random_sequence(np.random.default_rng(5)) for _ in range(2))
    assert one == other
    assert np.array_equal(rendered(item, one, 3), rendered(item, other, 3))
    assert not np.array_equal(rendered(item, one, 3), rendered(item, one, 4))
