"""Volume and Grid: no method may move a voxel in space, whatever the volume's orientation."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation
from spineseg import resampling
from spineseg.errors import InputError
from spineseg.volume import Grid, Volume

DTYPES = (np.int16, np.uint8, np.float32)


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Any rotation, left- or right-handed, spacings from 0.3 to 6 mm, any origin."""
    angles = [draw(st.floats(-180, 180)) for _ in range(3)]
    spacing = [draw(st.floats(0.3, 6)) for _ in range(3)]
    mirrored = draw(st.sampled_from([1.0, -1.0]))
    affine = np.eye(4)
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine[:3, :3] = rotation * np.array(spacing) * [mirrored, 1, 1]
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return affine


@st.composite
def volumes(draw: st.DrawFn, smallest: int = 1) -> Volume:
    shape = tuple(draw(st.integers(smallest, 6)) for _ in range(3))
    dtype = draw(st.sampled_from(DTYPES))
    # Every voxel has a value of its own, so that it can be found again.
    array = np.random.default_rng(draw(st.integers(0, 99))).permutation(int(np.prod(shape)))
    return Volume(array.reshape(shape).astype(dtype), draw(affines()))


def places(volume: Volume) -> dict[float, np.ndarray]:
    """RAS position of each value."""
    kji = np.argwhere(np.ones(volume.shape, bool))
    ras = volume.ijk_to_ras(kji[:, ::-1])
    return dict(zip(volume.array.ravel().tolist(), ras, strict=True))


def assert_same_places(one: Volume, other: Volume) -> None:
    first, second = places(one), places(other)
    assert first.keys() == second.keys()
    for value, position in first.items():
        np.testing.assert_allclose(second[value], position, atol=1e-9)


def assert_equal(one: Volume, other: Volume) -> None:
    assert one.dtype == other.dtype
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-9)


@given(volumes(), st.sampled_from([0, 1, 2]))
def test_flip_keeps_positions_and_twice_is_nothing(volume: Volume, axis: int) -> None:
    flipped = volume.flip(axis)
    assert_same_places(volume, flipped)
    assert_equal(flipped.flip(axis), volume)
    assert_equal(volume.flip(axis - 3), flipped)


@given(volumes(), st.permutations(["RL", "PA", "IS"]), st.tuples(*[st.integers(0, 1)] * 3))
def test_reorient_keeps_positions_and_goes_back(
    volume: Volume, pairs: list[str], picks: tuple[int, int, int]
) -> None:
    codes = "".join(pair[pick] for pair, pick in zip(pairs, picks, strict=True))
    turned = volume.reoriented(codes)
    assert turned.orientation == codes
    assert_same_places(volume, turned)
    assert_equal(turned.reoriented(volume.orientation), volume)


@given(volumes(), st.data())
def test_crop_then_paste_restores(volume: Volume, data: st.DataObject) -> None:
    lo = [data.draw(st.integers(0, n - 1)) for n in volume.shape]
    hi = [data.draw(st.integers(a + 1, n)) for a, n in zip(lo, volume.shape, strict=True)]
    block = volume.crop(lo, hi)
    everywhere = places(volume)
    for value, position in places(block).items():
        np.testing.assert_allclose(everywhere[value], position, atol=1e-9)
    emptied = volume.like(np.zeros_like(volume.array))
    pasted = emptied.paste(block)
    part = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
    np.testing.assert_array_equal(pasted.array[part], block.array)
    assert np.count_nonzero(pasted.array) == np.count_nonzero(block.array)
    assert not emptied.array.any()
    assert_equal(volume.paste(block), volume)


@given(volumes(), st.tuples(*[st.integers(0, 3)] * 6))
def test_pad_then_crop_restores(volume: Volume, width: tuple[int, ...]) -> None:
    before, after = width[:3], width[3:]
    padded = volume.pad(before, after, 77)
    stop = [a + n for a, n in zip(before, volume.shape, strict=True)]
    assert_equal(padded.crop(before, stop), volume)
    outside = np.ones(padded.shape, bool)
    outside[tuple(slice(a, b) for a, b in zip(before, stop, strict=True))] = False
    assert (padded.array[outside] == 77).all()


@given(volumes())
def test_points_go_there_and_back(volume: Volume) -> None:
    points = np.array([[0, 0, 0], [1.5, -2, 7], [3, 3, 3]])
    back = volume.ras_to_ijk(volume.ijk_to_ras(points))
    np.testing.assert_allclose(back, points, atol=1e-8)
    assert volume.ras_to_ijk(volume.ijk_to_ras(points)[0]).shape == (3,)


@given(volumes())
def test_simpleitk_agrees_on_every_position(volume: Volume) -> None:
    image = volume.to_sitk()
    index = [n - 1 for n in volume.shape[::-1]]
    lps = np.array(image.TransformIndexToPhysicalPoint(index))
    ras = volume.ijk_to_ras(np.array([index]))[0]
    np.testing.assert_allclose(lps * [-1, -1, 1], ras, atol=1e-6)
    assert image[index] == volume.array[-1, -1, -1]
    assert_equal(Volume.from_sitk(image), volume)


@given(affines(), st.tuples(*[st.floats(0.5, 5)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_new_spacing_covers_the_grid_and_stays_inside_it(
    affine: np.ndarray, spacing: tuple[float, float, float], shape: tuple[int, int, int]
) -> None:
    grid = Grid(shape, affine)
    new = grid.with_spacing(spacing)
    np.testing.assert_allclose(new.spacing, spacing, rtol=1e-9)
    np.testing.assert_allclose(new.directions, grid.directions, atol=1e-9)
    np.testing.assert_allclose(new.center, grid.center, atol=1e-6)
    size = np.array(shape[::-1])
    reached = grid.ras_to_ijk(new.corners())
    slack = 2e-3 * np.array(spacing) / np.array(grid.spacing)
    assert (reached.min(axis=0) <= -0.5 + slack).all()
    assert (reached.max(axis=0) >= size - 0.5 - slack).all()
    last = np.array(new.shape[::-1]) - 1
    centers = grid.ras_to_ijk(new.ijk_to_ras(np.array([[0, 0, 0], last])))
    assert (centers >= -0.5 - 1e-6).all()
    assert (centers <= size - 0.5 + 1e-6).all()


@settings(deadline=None, max_examples=30)
@given(affines(), st.tuples(*[st.floats(0.4, 2.5)] * 3))
def test_resample_then_restore_returns_a_smooth_image(
    affine: np.ndarray, factor: tuple[float, float, float]
) -> None:
    k, j, i = np.mgrid[:12, :13, :14]
    ramp = (3.0 * k - 2.0 * j + 5.0 * i).astype(np.float32)
    volume = Volume(ramp, affine)
    spacing = [s * f for s, f in zip(volume.spacing, factor, strict=True)]
    there = volume.resampled(spacing, order=1, fill=1e6)
    assert np.abs(there.array).max() <= np.abs(ramp).max() + 0.01
    back = there.resampled_like(volume, order=1, fill=1e6)
    assert back.grid.same_as(volume.grid)
    # A ramp is kept exactly except near the border, where a neighbour is missing.
    inner = (slice(5, -5),) * 3
    np.testing.assert_allclose(back.array[inner], ramp[inner], atol=0.02)


def test_numbers_near_the_smallest_float_do_not_break_resampling() -> None:
    affine = np.diag([1.0, 3.0, 3.0, 1.0])
    affine[0, 1], affine[1, 2], affine[1, 0] = -7.5e-300, 1.2e-300, 2.5e-300
    volume = Volume(np.arange(60, dtype=np.uint8).reshape(3, 4, 5), affine)
    finer = volume.resampled([s / 2 for s in volume.spacing], order=0)
    back = finer.resampled_like(volume, order=0, fill=255)
    np.testing.assert_array_equal(back.array, volume.array)


@settings(deadline=None, max_examples=20)
@given(affines(), st.sampled_from([0.5, 0.8]))
def test_finer_labels_restore_exactly(affine: np.ndarray, factor: float) -> None:
    labels = np.random.default_rng(3).integers(0, 27, (6, 7, 8)).astype(np.uint8)
    volume = Volume(labels, affine)
    finer = volume.resampled([s * factor for s in volume.spacing], order=0)
    assert set(np.unique(finer.array)) <= set(np.unique(labels))
    back = finer.resampled_like(volume, order=0, fill=255)
    np.testing.assert_array_equal(back.array, labels)


@settings(deadline=None, max_examples=20)
@given(affines(), affines())
def test_resampled_like_is_trilinear_and_fills_outside(one: np.ndarray, two: np.ndarray) -> None:
    two[:3, 3] = one[:3, 3] + 1.0
    volume = Volume(np.random.default_rng(5).normal(size=(8, 9, 10)), one)
    # A finer grid, so that no smoothing comes in.
    scale = min(volume.spacing) / max(Grid((1, 1, 1), two).spacing)
    two[:3, :3] *= min(1.0, scale)
    grid = Grid((4, 5, 6), two)
    result = volume.resampled_like(grid, order=1, fill=-1000)
    kji = np.argwhere(np.ones(grid.shape, bool))
    at = volume.ras_to_ijk(grid.ijk_to_ras(kji[:, ::-1]))[:, ::-1]
    expected = map_coordinates(volume.array, at.T, order=1, mode="nearest")
    size = np.array(volume.shape)
    border = 1e-4
    inside = ((at > -0.5 + border) & (at < size - 0.5 - border)).all(axis=1)
    outside = ((at < -0.5 - border) | (at > size - 0.5 + border)).any(axis=1)
    values = result.array.ravel()
    np.testing.assert_allclose(values[inside], expected[inside], atol=1e-5)
    assert (values[outside] == -1000).all()


def test_coarser_sampling_does_not_alias() -> None:
    k, j, i = np.indices((24, 24, 24))
    checker = (((k + j + i) % 2) * 2000 - 1000).astype(np.int16)
    coarse = Volume(checker, np.eye(4)).resampled((4, 4, 4))
    assert coarse.dtype == np.int16
    assert np.abs(coarse.array).max() < 20
    unsmoothed = Volume(checker, np.eye(4)).resampled((4, 4, 4), order=0)
    assert set(np.unique(unsmoothed.array)) <= {-1000, 1000}


def test_smoothing_starts_above_one_and_a_half_and_keeps_the_sum() -> None:
    assert not resampling.smoothing_sigma(np.diag([1.5, 1.0, 0.2])).any()
    sigma = resampling.smoothing_sigma(np.diag([1.6, 2.0, 4.0]))
    np.testing.assert_allclose(sigma, np.sqrt([1.56, 3.0, 15.0]) / 2.35482, rtol=1e-5)
    # A turn by itself is not a coarser step.
    turn = Rotation.from_euler("z", 45, degrees=True).as_matrix()
    assert not resampling.smoothing_sigma(turn).any()
    ball = np.zeros((40, 40, 40), np.float32)
    ball[20:23, 18:21, 19:22] = 1000
    coarse = Volume(ball, np.eye(4)).resampled((4, 4, 4))
    assert coarse.array.sum() * 64 == pytest.approx(ball.sum(), rel=0.02)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("spacing", [(4, 3, 5), (0.4, 0.9, 3)])
def test_slabs_do_not_change_the_result(
    monkeypatch: pytest.MonkeyPatch, order: int, spacing: tuple[float, float, float]
) -> None:
    array = np.random.default_rng(0).integers(-1000, 2000, (40, 30, 20)).astype(np.int16)
    volume = Volume(array, np.diag([0.8, 0.8, 1.25, 1]))
    whole = volume.resampled(spacing, order)
    sizes = []
    original = resampling._resample_slab

    def counted(*arguments: object) -> object:
        sizes.append(arguments[1].shape[0])  # type: ignore[attr-defined]
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(resampling, "_resample_slab", counted)
    monkeypatch.setattr(resampling, "_SLAB_VOXELS", 2000)
    slabs = volume.resampled(spacing, order)
    assert len(sizes) > 6
    difference = np.abs(whole.array.astype(int) - slabs.array)
    # The recursive filter's tail is cut at 4 sigma: at most a rounding step apart.
    assert difference.max() <= 2
    assert slabs.grid.same_as(whole.grid)


def test_types_survive() -> None:
    for dtype in (bool, np.uint8, np.int16, np.uint16, np.int32, np.float16, np.float32, float):
        volume = Volume(np.ones((4, 5, 6), dtype), np.diag([1, 1, 2, 1]))
        for order in (0, 1):
            result = volume.resampled((3, 3, 3), order)
            assert result.dtype == np.dtype(dtype)
            assert (result.array == 1).all()
    big_endian = Volume(np.arange(60, dtype=">i2").reshape(3, 4, 5), np.eye(4))
    np.testing.assert_array_equal(big_endian.resampled_like(big_endian).array, big_endian.array)


def test_integers_are_rounded_not_cut() -> None:
    volume = Volume(np.full((4, 4, 4), -7, np.int16), np.eye(4))
    assert (volume.resampled((0.7, 0.7, 0.7)).array == -7).all()
    step = Volume(np.array([0, 3], np.int16).reshape(1, 1, 2), np.eye(4))
    between = step.resampled_like(Grid((1, 1, 1), np.eye(4) + 0.6 * np.eye(4, k=3)))
    assert between.array.item() == 2


def test_one_slice_and_one_voxel_can_be_resampled() -> None:
    for shape in ((1, 20, 20), (1, 1, 1), (2, 1, 30)):
        volume = Volume(np.full(shape, 5, np.int16), np.diag([1, 1, 5, 1]))
        assert (volume.resampled((2, 2, 2), fill=-9).array == 5).all()
        assert (volume.resampled((4, 4, 12), fill=-9).array == 5).all()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 3, 4, 5), "4 dimensions"),
        ((1, 3, 4, 5), "4 dimensions"),
        ((3, 4), "2 dimensions"),
        ((3, 0, 4), "empty"),
    ],
)
def test_other_than_three_filled_dimensions_are_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        Volume(np.zeros(shape), np.eye(4))
    assert caught.value.remedy


@pytest.mark.parametrize(
    "affine",
    [
        np.full((4, 4), np.nan),
        np.diag([1, np.inf, 1, 1]),
        np.diag([1, 0, 1, 1]),
        np.eye(3),
        np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
        np.diag([1, 1, 1, 2]),
    ],
)
def test_a_broken_affine_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(InputError):
        Volume(np.zeros((2, 2, 2)), affine)


def test_colour_is_refused() -> None:
    with pytest.raises(InputError, match="complex"):
        Volume(np.zeros((2, 2, 2), complex), np.eye(4))
    with pytest.raises(InputError, match="3 values"):
        Volume.from_sitk(sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 3))
    with pytest.raises(InputError, match="4 dimensions"):
        Volume.from_sitk(sitk.Image([4, 4, 4, 2], sitk.sitkInt16))
    with pytest.raises(InputError, match="2 dimensions"):
        Volume.from_sitk(sitk.Image([4, 4], sitk.sitkInt16))


def test_an_affine_never_lands_on_another_grid() -> None:
    volume = Volume(np.zeros((3, 4, 5)), np.eye(4))
    with pytest.raises(ValueError, match="shape"):
        volume.like(np.zeros((3, 4, 6)))
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 2
    for lo, hi in (((0, 0, 0), (3, 4, 6)), ((-1, 0, 0), (2, 2, 2)), ((1, 1, 1), (1, 2, 2))):
        with pytest.raises(InputError, match="region"):
            volume.crop(lo, hi)
    elsewhere = Volume(np.zeros((2, 2, 2)), np.eye(4) + 0.5 * np.eye(4, k=3))
    coarser = Volume(np.zeros((2, 2, 2)), np.diag([2, 2, 2, 1]))
    for block in (elsewhere, coarser, volume.pad((0, 0, 1), (0, 0, 0))):
        with pytest.raises(InputError, match="voxel on voxel"):
            volume.paste(block)


def test_bad_arguments_are_named() -> None:
    volume = Volume(np.zeros((3, 4, 5)), np.eye(4))
    with pytest.raises(ValueError, match="order"):
        volume.resampled_like(volume, order=3)
    with pytest.raises(ValueError, match="RAX"):
        volume.reoriented("RAX")
    with pytest.raises(ValueError, match="RRS"):
        volume.reoriented("RRS")
    with pytest.raises(InputError, match="spacing"):
        volume.resampled((1, 0, 1))
    with pytest.raises(ValueError, match="negative"):
        volume.pad((0, 0, -1), (0, 0, 0))
    assert "3, 4, 5" in repr(volume)
    assert "RAS" in repr(volume)
