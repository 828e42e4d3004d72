"""Looking at one vertebra: the window, the memory, and what is kept of the answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from spineseg.methods.loading import Network
from spineseg.methods.one_vertebra import (
    SEED,
    SPACING_MM,
    WINDOW,
    OneVertebra,
    VertebraLooker,
    network_input,
    settle,
)
from spineseg.volume import Volume

CPU = torch.device("cpu")
BLOCKS = [np.array([30.0, 10.0, 40.0 + 32.0 * n]) for n in range(3)]


def scan(flipped: bool = False) -> Volume:
    """Three bright blocks of 24×18×20 mm at `BLOCKS`, 1.2×1.2×2 mm."""
    array = np.full((80, 70, 75), -50, np.int16)
    affine = np.diag([1.2, 1.2, 2.0, 1.0])
    affine[:3, 3] = [-15.0, -45.0, -10.0]
    volume = Volume(array, affine)
    place = volume.ijk_to_ras(np.argwhere(array < 0)[:, ::-1])
    for center in BLOCKS:
        inside = (np.abs(place - center) <= [12.0, 9.0, 10.0]).all(axis=1)
        array.reshape(-1)[inside] = 800
    return volume.like(array).reoriented("LPI") if flipped else volume.like(array)


def bright(image: torch.Tensor) -> torch.Tensor:
    """A network that calls bright voxels bone unless they are in the memory."""
    free = (image[:, :1] > 0.4) & (image[:, 2:3] < 0.5)
    return torch.where(free, 6.0, -6.0).expand(-1, 3, -1, -1, -1)


def near_the_ball(image: torch.Tensor) -> torch.Tensor:
    """The same, only within about 21 mm of the point."""
    return torch.where(image[:, 3:4] > np.exp(-0.5 * (21 / 4.5) ** 2), bright(image), -6.0)


def looker(forward: Callable[[torch.Tensor], torch.Tensor], volume: Volume) -> VertebraLooker:
    return VertebraLooker(volume, Network(forward, SPACING_MM, WINDOW), CPU)


def mask_points(one: OneVertebra) -> np.ndarray:
    return one.probability.ijk_to_ras(np.argwhere(one.probability.array > 127)[:, ::-1])


@pytest.mark.parametrize("flipped", [False, True])
def test_the_point_lies_at_the_windows_seed(flipped: bool) -> None:
    look = looker(bright, scan(flipped))
    point = np.array([31.0, 7.0, 70.0])
    grid = look.window(point)
    assert grid.shape == WINDOW
    assert np.abs(grid.ijk_to_ras(np.array([SEED[::-1]], float))[0] - point).max() <= SPACING_MM / 2
    # More of the window lies behind the point than in front of it.
    ahead = grid.corners()[:, 1]
    assert point[1] - ahead.min() > 1.5 * (ahead.max() - point[1])


@pytest.mark.parametrize("flipped", [False, True])
def test_the_block_at_the_point_is_found_where_it_is(flipped: bool) -> None:
    found = looker(near_the_ball, scan(flipped)).look(BLOCKS[1] + [4, -5, 3])
    assert found.present
    assert np.abs(found.center - BLOCKS[1]).max() < 1.5
    assert found.volume_ml == pytest.approx(24 * 18 * 20 / 1000, rel=0.25)
    points = mask_points(found)
    assert np.abs(points.mean(axis=0) - BLOCKS[1]).max() < 1.0


def test_windows_of_one_lattice_overlay_voxel_on_voxel() -> None:
    look = looker(bright, scan())
    first, second = (look.window(point) for point in (BLOCKS[0], BLOCKS[1] + 0.4))
    offset = first.ras_to_ijk(second.ijk_to_ras(np.zeros((1, 3))))[0]
    assert np.allclose(offset, np.rint(offset), atol=1e-6)


def test_what_is_in_the_memory_is_not_given_again() -> None:
    look = looker(bright, scan())
    first = look.look(BLOCKS[1])

    def memory(grid: object) -> np.ndarray:
        place = first.probability.grid.ijk_to_ras(np.argwhere(np.ones(WINDOW))[:, ::-1])
        return (np.abs(place - BLOCKS[1]) <= [13, 10, 11]).all(axis=1).reshape(WINDOW)

    second = look.look(BLOCKS[1], memory)
    assert np.linalg.norm(second.center - BLOCKS[1]) > 20
    assert not (second.probability.array[memory(None)] > 0).any()


def test_only_the_largest_component_is_kept() -> None:
    found = looker(bright, scan()).look(BLOCKS[1] + [0, 0, 2])
    parts = mask_points(found)
    assert np.ptp(parts[:, 2]) < 24


def test_off_the_bone_nothing_is_there() -> None:
    found = looker(near_the_ball, scan()).look([30.0, -60.0, 70.0])
    assert not found.present
    assert found.volume_ml == 0
    assert np.allclose(found.center, [30.0, -60.0, 70.0])


def test_a_second_look_is_from_the_centre_found() -> None:
    seen: list[tuple[float, ...]] = []

    class Spy(VertebraLooker):
        def look(self, seed, memory=None):  # type: ignore[no-untyped-def]
            seen.append(tuple(np.round(np.asarray(seed), 1)))
            return super().look(seed, memory)

    look = Spy(scan(), Network(near_the_ball, SPACING_MM, WINDOW), CPU)
    found = settle(look, BLOCKS[1] + [0, 0, 9])
    assert len(seen) == 2
    assert np.abs(np.array(seen[1]) - BLOCKS[1]).max() < 3
    assert np.abs(found.center - BLOCKS[1]).max() < 1.0
    seen.clear()
    settle(look, BLOCKS[1])
    assert len(seen) == 1


def test_the_input_holds_intensity_memory_and_a_ball_at_the_seed() -> None:
    known = np.zeros(WINDOW, bool)
    known[3, 4, 5] = True
    channels = network_input(np.zeros(WINDOW, np.float32), known)
    assert channels.shape == (4, *WINDOW)
    assert channels[2].sum() == 1
    assert np.unravel_index(channels[3].argmax(), WINDOW) == SEED
    assert channels[3][SEED] == pytest.approx(1.0)
    # σ is 4.5 mm: three voxels away it is exp(−1/2).
    assert channels[3][SEED[0] + 3, SEED[1], SEED[2]] == pytest.approx(np.exp(-0.5), abs=1e-6)
