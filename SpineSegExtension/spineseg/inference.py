"""Sliding windows over a scan of any size, in the memory of a few patches.

Patches overlap and are blended with a Gaussian weight, as in nnU-Net (Isensee et al., Nature
Methods 2021): a network knows least at its patch's border. They are placed only where `plan` is
asked to look, in layers along k; what no later layer reaches is handed on at once, so that the
sums of all channels exist for one layer only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.errors import InputError
from spineseg.grid import Grid, Shape
from spineseg.intensity import AIR_HU, intensity_channels
from spineseg.progress import Progress
from spineseg.volume import Volume

if TYPE_CHECKING:
    import torch

__all__ = [
    "Layer",
    "aligned_grid",
    "binned",
    "finite_scan",
    "gaussian_window",
    "plan",
    "scan_reader",
    "sliding_window",
]

Bools = NDArray[np.bool_]
Reader = Callable[[Sequence[int], Sequence[int]], NDArray[Any]]
"""Called with bounds lo, hi (k, j, i) of a grid; returns the HU there."""

Channels = Callable[[NDArray[Any]], NDArray[np.float32]]

_SIGMA = 0.125  # of the patch's edge, as in nnU-Net
_LEAST_WEIGHT = 1e-3  # so that a voxel seen only by a corner still gets that corner's answer
_BIN_STEP = 2.0  # what is left to be smoothed after averaging blocks: a step of 2 to 4 voxels
_EMIT_ROWS = 8  # slices handed on at once: bounds what the receiver's own sums need


@dataclass(frozen=True)
class Layer:
    """Patches that start at the same slice: its k, and the (j, i) at which each starts."""

    start: int
    tiles: tuple[tuple[int, int], ...]


def aligned_grid(
    low: ArrayLike, high: ArrayLike, spacing_mm: float, smallest: Sequence[int] = (1, 1, 1)
) -> Grid:
    """Return an isotropic grid along the RAS axes that covers a box.

    Parameters
    ----------
    low, high : array_like, (3,)
        The box's corners, RAS mm.
    spacing_mm : float
        Edge of a voxel.
    smallest : sequence of int
        The least number of voxels (k, j, i); the grid grows evenly on both sides.
    """
    first, last = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    count = np.ceil((last - first) / spacing_mm - 1e-6).astype(int)
    count = np.maximum(count, np.asarray(smallest)[::-1])
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = (first + last) / 2 - spacing_mm * (count - 1) / 2
    return Grid((int(count[2]), int(count[1]), int(count[0])), affine)


def scan_reader(volume: Volume, grid: Grid, fill: float = AIR_HU) -> Reader:
    """Return a reader of `volume` on `grid`, which resamples only what is asked for.

    Air lies outside the scan. Where the grid is coarser than the scan, it is smoothed first, as
    `Volume.resampled_like` says; where it is far coarser, blocks of voxels are averaged before,
    once, which is many times quicker.
    """
    ratio = min(grid.spacing) / np.array(volume.spacing)
    factors = [max(1, int(r / _BIN_STEP)) for r in ratio]
    volume = binned(volume, (factors[2], factors[1], factors[0]))

    def read(lo: Sequence[int], hi: Sequence[int]) -> NDArray[Any]:
        return volume.resampled_like(grid.cropped(lo, hi), order=1, fill=fill).array

    return read


def binned(volume: Volume, factors: tuple[int, int, int]) -> Volume:
    """Return the means of blocks of voxels, as many along (k, j, i) as `factors` say.

    Voxels at the far ends that fill no block are left out. Integers stay integers, rounded.
    """
    k, j, i = (min(f, n) for f, n in zip(factors, volume.shape, strict=True))
    if k * j * i == 1:
        return volume
    rows, lines, columns = (n // f for n, f in zip(volume.shape, (k, j, i), strict=True))
    result = np.empty((rows, lines, columns), dtype=volume.dtype)
    for row in range(rows):
        slab = volume.array[row * k : (row + 1) * k, : lines * j, : columns * i]
        total = slab.sum(axis=0, dtype=np.float32)
        mean = sum(total[a::j, b::i] for a in range(j) for b in range(i)) / (k * j * i)
        result[row] = np.rint(mean) if volume.dtype.kind in "iu" else mean
    affine = volume.affine.copy()
    affine[:3, 3] = volume.ijk_to_ras([[(i - 1) / 2, (j - 1) / 2, (k - 1) / 2]])[0]
    affine[:3, :3] *= [i, j, k]
    return Volume(result, affine)


def gaussian_window(patch: Sequence[int]) -> NDArray[np.float32]:
    """Return the weight of each voxel of a patch (k, j, i): 1 in its middle, never 0."""
    weight = np.ones((1, 1, 1))
    for axis, size in enumerate(patch):
        away = (np.arange(size) - (size - 1) / 2) / (_SIGMA * size)
        line = np.exp(-0.5 * away**2)
        weight = weight * np.expand_dims(line, tuple(a for a in range(3) if a != axis))
    return np.asarray(np.maximum(weight / weight.max(), _LEAST_WEIGHT), dtype=np.float32)


def plan(wanted: Bools, patch: Sequence[int], overlap: float) -> list[Layer]:
    """Place patches so that every wanted voxel lies in one, with few patches.

    Parameters
    ----------
    wanted : bool (k, j, i)
        Where an answer is needed; at least as large as a patch.
    patch : sequence of int
        (k, j, i).
    overlap : float
        Share of a patch's edge that it shares with the next one, at least; 0 to 0.9.

    Returns
    -------
    list of Layer
        By increasing k. Not a fixed raster: each layer and row of patches fits what is wanted
        there.
    """
    if any(n < p for n, p in zip(wanted.shape, patch, strict=True)):
        raise ValueError(f"a patch {tuple(patch)} does not fit into {wanted.shape}")
    layers = []
    for k in _starts(_any(wanted, (1, 2)), patch[0], overlap):
        plane = _any(wanted[k : k + patch[0]], (0,))
        tiles = []
        for j in _starts(_any(plane, (1,)), patch[1], overlap):
            row = _any(plane[j : j + patch[1]], (0,))
            tiles += [(j, i) for i in _starts(row, patch[2], overlap)]
        if tiles:
            layers.append(Layer(k, tuple(tiles)))
    return layers


def _any(wanted: Bools, axes: tuple[int, ...]) -> Bools:
    return np.asarray(wanted.any(axis=axes), dtype=np.bool_)


def _starts(wanted: Bools, size: int, overlap: float) -> list[int]:
    """Return where patches start along one axis."""
    index = np.flatnonzero(wanted)
    if not len(index):
        return []
    first, length = int(index[0]), int(index[-1]) + 1 - int(index[0])
    room = len(wanted) - size
    if length <= size:
        return [min(max(first - (size - length) // 2, 0), room)]
    step = max(1, round(size * (1 - overlap)))
    count = -(-(length - size) // step) + 1
    starts = np.rint(np.linspace(first, first + length - size, count)).astype(int)
    return [int(s) for s in starts if wanted[s : s + size].any()]


class _Blend:
    """Weighted sums of a layer, which moves along k."""

    def __init__(self, patch: Sequence[int], plane: tuple[int, int], device: torch.device) -> None:
        import torch

        self.depth, self.plane, self.device = patch[0], plane, device
        self.window = torch.from_numpy(gaussian_window(patch)).to(device)
        self.weight = torch.zeros((self.depth, *plane), device=device)
        self.sums: torch.Tensor | None = None

    def add(self, logits: torch.Tensor, j: int, i: int) -> None:
        """Add a patch's logits (channels, k, j, i)."""
        import torch

        if self.sums is None:
            shape = (logits.shape[0], self.depth, *self.plane)
            self.sums = torch.zeros(shape, device=self.device)
        where = (slice(None), slice(j, j + logits.shape[2]), slice(i, i + logits.shape[3]))
        self.weight[where] += self.window
        self.sums[(slice(None), *where)].addcmul_(logits.float(), self.window[None])

    def take(self, rows: int) -> list[tuple[int, torch.Tensor, torch.Tensor]]:
        """Return (first row, means, seen) of the first `rows` rows, a few at a time."""
        assert self.sums is not None
        found = []
        for a in range(0, rows, _EMIT_ROWS):
            b = min(a + _EMIT_ROWS, rows)
            weight = self.weight[a:b]
            means = self.sums[:, a:b] / weight.clamp(min=_LEAST_WEIGHT / 2)
            found.append((a, means, weight > 0))
        return found

    def advance(self, rows: int) -> None:
        """Forget the first `rows` rows and make room for as many at the end."""
        assert self.sums is not None
        keep = self.depth - rows
        for part in (self.weight, *self.sums):  # one channel at a time: little extra memory
            if keep > 0:
                part[:keep] = part[rows:].clone()
            part[max(keep, 0) :] = 0


Receiver = Callable[[int, "torch.Tensor", "torch.Tensor"], None]
"""Called with the first slice's k, blended logits (channels, n, j, i), and where there are any."""


def sliding_window(
    network: Callable[[torch.Tensor], torch.Tensor],
    read: Reader,
    shape: Shape,
    layers: Sequence[Layer],
    patch: Sequence[int],
    receive: Receiver,
    progress: Progress,
    *,
    stage: str,
    device: torch.device,
    batch: int = 1,
    channels: Channels = intensity_channels,
) -> None:
    """Run a network over patches of a grid and hand on its blended logits, slice by slice.

    Parameters
    ----------
    network : callable
        (N, 2, k, j, i) float32, as `channels` makes it → logits (N, channels, k, j, i).
    read : callable
        HU of a part of the grid.
    shape : tuple of int
        The grid's (k, j, i).
    layers : sequence of Layer
        From `plan`.
    patch : sequence of int
        (k, j, i).
    receive : callable
        Gets all slices that a layer covers, in order, a few at a time. Voxels of them that no
        patch covers are marked so.
    progress : Progress
        Told of each patch.
    stage : str
        The name it is told under.
    device : torch.device
    batch : int
        Patches at once.
    channels : callable
        What `read` gives of a patch (k, j, i) → the network's input channels (n, k, j, i).

    Raises
    ------
    CancelledError
        The progress' token was cancelled.
    """
    import torch

    from spineseg.device import autocast

    total = sum(len(layer.tiles) for layer in layers)
    done = 0
    blend = _Blend(patch, (shape[1], shape[2]), device)
    progress(stage, 0.0, f"{total} patches")
    for number, layer in enumerate(layers):
        block, corner = _read_layer(read, layer, patch)
        for first in range(0, len(layer.tiles), batch):
            tiles = layer.tiles[first : first + batch]
            parts = [
                block[:, j - corner[0] :, i - corner[1] :][:, : patch[1], : patch[2]]
                for j, i in tiles
            ]
            image = torch.from_numpy(np.stack([channels(part) for part in parts]))
            image = image.to(device, memory_format=torch.channels_last_3d)
            with torch.inference_mode(), autocast(device):
                logits = network(image)
            with torch.inference_mode():
                for (j, i), answer in zip(tiles, logits, strict=True):
                    blend.add(answer, j, i)
            done += len(tiles)
            progress(stage, done / total, f"patch {done} of {total}")
        following = layers[number + 1].start if number + 1 < len(layers) else None
        rows = patch[0] if following is None else min(following - layer.start, patch[0])
        with torch.inference_mode():
            for a, means, seen in blend.take(rows):
                receive(layer.start + a, means, seen)
            blend.advance(rows)


def _read_layer(
    read: Reader, layer: Layer, patch: Sequence[int]
) -> tuple[NDArray[Any], tuple[int, int]]:
    """Read the box of a layer's patches once; return it and its corner (j, i)."""
    j, i = np.array(layer.tiles).T
    corner = (int(j.min()), int(i.min()))
    last = (layer.start + patch[0], int(j.max()) + patch[1], int(i.max()) + patch[2])
    return read((layer.start, *corner), last), corner


def finite_scan(volume: Volume) -> Volume:
    """Return a scan whose values can be interpolated: signed, and without NaN.

    Recursive smoothing would spread one NaN along a whole line, and unsigned numbers can't hold
    air. A scan in int16 is returned as it is.

    Raises
    ------
    InputError
        It holds no number at all, or one single value.
    """
    array = volume.array
    if array.dtype.kind == "f":
        if not all(bool(np.isfinite(part).all()) for part in array):
            clean = np.nan_to_num(array, nan=AIR_HU, posinf=30000.0, neginf=AIR_HU)
            volume = volume.like(clean.astype(np.float32, copy=False))
    elif array.dtype.kind in "bu":
        wide = {1: np.int16, 2: np.int32}.get(array.dtype.itemsize, np.float32)
        volume = volume.astype(wide)
    lowest, highest = float(volume.array.min()), float(volume.array.max())
    if lowest == highest:
        raise InputError(
            f"All voxels of the scan have the same value ({lowest:g}).",
            "Check that the right image was opened.",
        )
    return volume
