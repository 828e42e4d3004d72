"""Sliding windows: what blending must leave as it is, and memory that is a layer's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spineseg.errors import CancelledError, InputError
from spineseg.inference import (
    aligned_grid,
    binned,
    finite_scan,
    gaussian_window,
    plan,
    scan_reader,
    sliding_window,
)
from spineseg.intensity import intensity_channels
from spineseg.progress import CancelToken, Progress
from spineseg.volume import Volume

CPU = torch.device("cpu")


def copies(image: torch.Tensor) -> torch.Tensor:
    """A network whose logits are its input and its input's negative, voxel by voxel."""
    return torch.cat([image, -image], dim=1)


def blended(
    hu: np.ndarray,
    wanted: np.ndarray,
    patch: tuple[int, int, int],
    overlap: float = 0.3,
    batch: int = 1,
    network=copies,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    result = np.full((4, *hu.shape), np.nan, dtype=np.float32)
    seen_at = np.zeros(hu.shape, dtype=bool)

    def read(lo: Sequence[int], hi: Sequence[int]) -> np.ndarray:
        assert all(0 <= a < b <= n for a, b, n in zip(lo, hi, hu.shape, strict=True))
        return hu[lo[0] : hi[0], lo[1] : hi[1], lo[2] : hi[2]]

    def receive(start: int, logits: torch.Tensor, seen: torch.Tensor) -> None:
        rows = slice(start, start + logits.shape[1])
        assert np.isnan(result[:, rows]).all(), "a slice was handed on twice"
        result[:, rows] = logits.numpy()
        seen_at[rows] = seen.numpy()

    sliding_window(
        network, read, hu.shape, plan(wanted, patch, overlap), patch, receive,
        progress or Progress(), stage="test", device=CPU, batch=batch,
    )  # fmt: skip
    return result, seen_at


@st.composite
def wishes(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, int, int]]:
    patch = tuple(draw(st.integers(2, 6)) for _ in range(3))
    shape = tuple(p + draw(st.integers(0, 14)) for p in patch)
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    return rng.random(shape) < draw(st.sampled_from([0.005, 0.05, 0.5, 1.0])), patch


@given(wishes(), st.sampled_from([0.0, 0.25, 0.5, 0.9]))
@settings(deadline=None)
def test_every_wanted_voxel_is_looked_at(wish, overlap: float) -> None:
    wanted, patch = wish
    looked = np.zeros(wanted.shape, dtype=bool)
    starts = []
    for layer in plan(wanted, patch, overlap):
        starts.append(layer.start)
        for j, i in layer.tiles:
            tile = tuple(slice(a, a + p) for a, p in zip((layer.start, j, i), patch, strict=True))
            assert looked[tile].shape == patch, "a patch reaches outside"
            looked[tile] = True
    assert starts == sorted(set(starts))
    assert looked[wanted].all()
    if not wanted.any():
        assert not starts


def test_patches_overlap_as_asked_and_only_touch_what_is_wanted() -> None:
    wanted = np.zeros((100, 40, 40), dtype=bool)
    wanted[:, 10:14, 20:24] = True
    layers = plan(wanted, (16, 16, 16), 0.5)
    assert max(np.diff([layer.start for layer in layers])) <= 8
    assert all(len(layer.tiles) == 1 for layer in layers)
    assert layers[0].tiles[0] == (4, 14), "a small thing lies in the middle of its patch"


def test_a_patch_larger_than_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        plan(np.ones((8, 8, 8), dtype=bool), (16, 8, 8), 0.5)


@given(wishes(), st.sampled_from([0.0, 0.3, 0.6]), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_blending_leaves_a_pointwise_network_unchanged(wish, overlap: float, batch: int) -> None:
    wanted, patch = wish
    hu = np.random.default_rng(0).uniform(-900, 1400, wanted.shape).astype(np.float32)
    result, seen = blended(hu, wanted, patch, overlap, batch)
    assert seen[wanted].all()
    channels = intensity_channels(hu)
    expected = np.concatenate([channels, -channels])
    # Where the CPU computes in bf16 this network still has no convolution to round.
    np.testing.assert_allclose(result[:, seen], expected[:, seen], rtol=1e-4, atol=1e-5)


def test_patches_that_disagree_are_mixed_smoothly() -> None:
    answers = iter([0.0, 1.0])

    def moody(image: torch.Tensor) -> torch.Tensor:
        return torch.full_like(image, next(answers))

    hu = np.zeros((24, 16, 16), dtype=np.float32)
    result = np.full((2, *hu.shape), np.nan, dtype=np.float32)

    def receive(start: int, logits: torch.Tensor, seen: torch.Tensor) -> None:
        assert bool(seen.all())
        result[:, start : start + logits.shape[1]] = logits.numpy()

    layers = plan(np.ones(hu.shape, dtype=bool), (16, 16, 16), 0.5)
    sliding_window(
        moody, lambda lo, hi: hu[lo[0] : hi[0]], hu.shape, layers, (16, 16, 16), receive,
        Progress(), stage="test", device=CPU,
    )  # fmt: skip
    line = result[0, :, 8, 8]
    assert (line[:8] == 0).all()
    assert (line[16:] == 1).all()
    assert (np.diff(line) >= 0).all()
    assert line[11] < 0.5 < line[12]
    assert np.diff(line).max() < 0.5


def test_the_window_is_symmetric_and_never_zero() -> None:
    window = gaussian_window((16, 20, 12))
    assert window.shape == (16, 20, 12)
    assert window.min() > 0
    assert window.max() == pytest.approx(1.0)
    for axis in range(3):
        np.testing.assert_allclose(window, np.flip(window, axis), rtol=1e-5)


def test_cancel_stops_at_the_next_patch() -> None:
    token, calls = CancelToken(), []

    def network(image: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            token.cancel()
        return copies(image)

    hu = np.zeros((64, 16, 16), dtype=np.float32)
    with pytest.raises(CancelledError):
        blended(hu, np.ones(hu.shape, bool), (16, 16, 16), network=network,
                progress=Progress(token=token))  # fmt: skip
    assert len(calls) == 2


def test_progress_counts_patches_up_to_one() -> None:
    told: list[tuple[str, float, str]] = []
    hu = np.zeros((40, 16, 16), dtype=np.float32)
    progress = Progress(lambda *report: told.append(report))
    blended(hu, np.ones(hu.shape, bool), (16, 16, 16), progress=progress)
    fractions = [fraction for _, fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert told[-1][2] == f"patch {len(told) - 1} of {len(told) - 1}"


def test_memory_is_a_layer_and_not_the_scan() -> None:
    shape, patch = (4000, 80, 80), (16, 80, 80)
    process, highest = psutil.Process(), [0]

    def network(image: torch.Tensor) -> torch.Tensor:
        highest[0] = max(highest[0], process.memory_info().rss)
        return image.repeat(1, 5, 1, 1, 1)

    def read(lo: Sequence[int], hi: Sequence[int]) -> np.ndarray:
        return np.zeros([b - a for a, b in zip(lo, hi, strict=True)], dtype=np.int16)

    layers = plan(np.ones(shape, dtype=bool), patch, 0.0)
    before = process.memory_info().rss
    sliding_window(network, read, shape, layers, patch, lambda *_: None, Progress(),
                   stage="test", device=CPU)  # fmt: skip
    # Ten channels of float32 over the whole grid would be 1 GB.
    assert highest[0] - before < 200e6


def test_a_grid_along_ras_covers_a_box_and_grows_evenly() -> None:
    grid = aligned_grid([-10, -20, 5], [20, 30, 95], 4.0, (32, 4, 4))
    corners = grid.corners()
    assert (corners.min(axis=0) <= [-10, -20, 5]).all()
    assert (corners.max(axis=0) >= [20, 30, 95]).all()
    assert grid.shape == (32, 13, 8)
    np.testing.assert_allclose(grid.center, [5, 5, 50], atol=1e-9)
    assert grid.orientation == "RAS"


def test_the_reader_gives_the_scan_in_place_and_air_around_it() -> None:
    affine = np.array([[0, 2.0, 0, 3], [-2.0, 0, 0, 50], [0, 0, 2.0, -7], [0, 0, 0, 1]])
    k, j, i = np.mgrid[:20, :24, :28]
    ras = np.stack([i, j, k], axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    scan = Volume((ras @ [1.0, 2.0, 3.0]).astype(np.float32), affine)
    corners = scan.grid.corners()
    grid = aligned_grid(corners.min(axis=0) - 20, corners.max(axis=0) + 20, 1.5)
    whole = scan_reader(scan, grid)((0, 0, 0), grid.shape)
    part = scan_reader(scan, grid)((5, 20, 20), (30, 40, 36))
    np.testing.assert_allclose(part, whole[5:30, 20:40, 20:36], atol=1e-3)
    k, j, i = (n // 2 for n in grid.shape)
    point = grid.ijk_to_ras([[i, j, k]])[0]
    assert whole[k, j, i] == pytest.approx(point @ [1.0, 2.0, 3.0], abs=0.01)
    assert whole[0, 0, 0] == -1000


def test_binning_averages_in_place() -> None:
    turned = np.array([[0, 0.5, 0, 3], [-0.6, 0, 0, 50], [0, 0, 0.7, -7], [0, 0, 0, 1]])
    k, j, i = np.mgrid[:9, :12, :7]
    ras = np.stack([i, j, k], axis=-1) @ turned[:3, :3].T + turned[:3, 3]
    small = binned(Volume((ras @ [1.0, 2.0, 3.0]).astype(np.float32), turned), (2, 3, 1))
    assert small.shape == (4, 4, 7)
    k, j, i = np.mgrid[:4, :4, :7]
    places = small.ijk_to_ras(np.stack([i, j, k], axis=-1).reshape(-1, 3))
    np.testing.assert_allclose(small.array.ravel(), places @ [1.0, 2.0, 3.0], atol=1e-4)
    whole = Volume(np.full((4, 4, 4), 1200, np.int16), np.eye(4))
    assert binned(whole, (1, 1, 1)) is whole
    assert (binned(whole, (4, 2, 2)).array == 1200).all()
    assert binned(whole, (9, 1, 1)).shape == (1, 4, 4)


def test_intensities_are_clipped_and_nan_is_air() -> None:
    hu = np.array([-3024, -1000, -50, 150, 350, 1500, 9000, np.nan], dtype=np.float64)
    wide, narrow = intensity_channels(hu)
    assert wide.dtype == narrow.dtype == np.float32
    clipped = np.array([-1000, -1000, -50, 150, 350, 1500, 1500, -1000])
    np.testing.assert_allclose(wide, clipped / 750)
    np.testing.assert_allclose(narrow, [-1, -1, -1, 0, 1, 1, 1, -1])


def test_a_scan_is_made_fit_for_interpolation() -> None:
    holed = np.arange(24.0).reshape(2, 3, 4)
    holed[0, 1] = np.nan
    holed[1, 2, 3] = np.inf
    clean = finite_scan(Volume(holed, np.eye(4))).array
    assert np.isfinite(clean).all()
    assert (clean[0, 1] == -1000).all()
    assert clean[1, 0, 0] == 12
    unsigned = finite_scan(Volume(np.arange(8, dtype=np.uint8).reshape(2, 2, 2), np.eye(4)))
    assert unsigned.dtype == np.int16
    kept = Volume(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    assert finite_scan(kept) is kept
    with pytest.raises(InputError, match="same value"):
        finite_scan(Volume(np.zeros((3, 3, 3), dtype=np.int16), np.eye(4)))
