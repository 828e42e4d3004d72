"""From an MR to a synthetic CT and to maps of its tissue, by the two trained generators.

One pass of the generator MR → CT gives the CT and says of each voxel which tissue it is and where
its body's centre lies; the generator CT → MR then tells how well the MR can be recovered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg.grid import Grid, Shape
from spineseg.inference import Bools, Reader, aligned_grid, plan, scan_reader, sliding_window
from spineseg.intensity import CT_UNIT_WINDOW, ct_to_unit, mr_range, mr_to_unit, unit_to_ct
from spineseg.methods.classes import OFFSET_MM, FineClass
from spineseg.methods.loading import Network
from spineseg.methods.to_scan import FineMaps
from spineseg.progress import Progress
from spineseg.volume import Volume

if TYPE_CHECKING:
    import torch

__all__ = ["Translated", "confidence_map", "translate_mr"]

_FULL = 255
_CLASSES = len(FineClass)
_FIT_MM = 5.0  # standard deviation of the surroundings in which brightness and contrast are fitted
_LOST = 0.5  # error (of a range of 2) from which on nothing can be trusted
_DARK = -0.9  # of the range of -1 to 1.5: what is nowhere brighter near by is air
_LITTLE, _STEP = 4 / 3, 16  # how much wider, and what the network can halve four times
_NEAR_MM = 12.0  # edge of the box that is near by: wider than a cortex, a void or a dark disc


@dataclass(frozen=True)
class Translated:
    """What a network made of an MR, on a grid of its own along the RAS axes.

    Attributes
    ----------
    ct : Volume
        int16 HU.
    maps : FineMaps
        Tissue classes, probability of vertebral bone, votes.
    body : Volume
        uint8, probability of vertebral body, 0–255.
    image : (k, j, i) float32
        The MR that was translated, -1 … 1.5 (`spineseg.intensity.mr_to_unit`).
    """

    ct: Volume
    maps: FineMaps
    body: Volume
    image: NDArray[np.float32]


def translate_mr(
    mr: Volume, network: Network, overlap: float, batch: int, progress: Progress,
    device: torch.device,
) -> Translated:  # fmt: skip
    """Run the generator MR → CT wherever the MR has a signal; elsewhere is air.

    Parameters
    ----------
    mr : Volume
        Finite values, any orientation.
    network : Network
        (N, 1, k, j, i) → (N, 1 + classes + 3, k, j, i), see `spineseg.networks.translation`.
    overlap : float
        Share of a patch's edge that neighbours share.
    """
    import torch

    grid, patch = whole_grid(mr, network)
    span = mr_range(_sample(mr))
    read = scan_reader(mr, grid, fill=span[0])
    image = mr_to_unit(read((0, 0, 0), grid.shape), span)
    ct = np.full(grid.shape, CT_UNIT_WINDOW[0], dtype=np.int16)
    classes, bone, body = (np.zeros(grid.shape, dtype=np.uint8) for _ in range(3))
    offsets = np.zeros((3, *grid.shape), dtype=np.float16)

    def receive(start: int, out: torch.Tensor, seen: torch.Tensor) -> None:
        rows = slice(start, start + out.shape[1])
        here = seen.cpu().numpy()
        ct[rows][here] = np.rint(unit_to_ct(torch.tanh(out[0]).cpu().numpy()))[here]
        share = torch.softmax(out[1 : 1 + _CLASSES], dim=0) * seen
        # Where nothing was seen all shares are 0: the first class, background. Not argmax: slow.
        classes[rows] = share.max(dim=0).indices.cpu().numpy()
        front = share[FineClass.BODY]
        for target, values in ((body, front), (bone, front + share[FineClass.POSTERIOR])):
            target[rows] = (values * _FULL).round().to(torch.uint8).cpu().numpy()
        offsets[:, rows] = (out[1 + _CLASSES :] * OFFSET_MM).cpu().numpy()

    sliding_window(
        network.forward,
        _reader(image),
        grid.shape,
        plan(_signal(image, grid), patch, overlap),
        patch,
        receive,
        progress,
        stage="translate",
        device=device,
        batch=batch,
        channels=lambda values: values[None],
    )
    maps = FineMaps(Volume(classes, grid.affine), Volume(bone, grid.affine), offsets)
    return Translated(Volume(ct, grid.affine), maps, Volume(body, grid.affine), image)


def confidence_map(
    made: Translated, network: Network, batch: int, progress: Progress, device: torch.device
) -> Volume:
    """How well the MR is recovered from its synthetic CT: uint8 0–100 on the CT's grid.

    A CT doesn't tell how bright marrow, fat and fluid are in a series: so brightness and contrast
    of what is recovered are first fitted to the MR within a cm round each voxel. 100 says that the
    cycle MR → CT → MR then gives the MR back; 0 that the error left is `_LOST` of the MR's range of
    2. A cycle can also be wrong twice and look right.
    """
    grid, patch = made.ct.grid, _wider(made.ct.shape, network.patch)
    back = np.zeros(grid.shape, dtype=np.float32)

    def receive(start: int, out: torch.Tensor, seen: torch.Tensor) -> None:
        import torch

        rows = slice(start, start + out.shape[1])
        back[rows] = (0.25 + 1.25 * torch.tanh(out[0])).cpu().numpy()

    sliding_window(
        network.forward,
        _reader(made.ct.array),
        grid.shape,
        plan(_signal(made.image, grid), patch, 0.1),
        patch,
        receive,
        progress,
        stage="confidence",
        device=device,
        batch=batch,
        channels=lambda hu: ct_to_unit(hu)[None],
    )
    error = _unexplained(made.image, back, _FIT_MM / grid.spacing[0])
    sure = np.clip(1 - error / _LOST, 0, 1) * 100
    return Volume(np.rint(sure).astype(np.uint8), grid.affine)


def _reader(array: NDArray[Any]) -> Reader:
    return lambda lo, hi: array[lo[0] : hi[0], lo[1] : hi[1], lo[2] : hi[2]]


def _signal(image: NDArray[np.float32], grid: Grid) -> Bools:
    """Return where the MR shows more than air; everywhere if nowhere."""
    # A mean of 3³ voxels keeps the noise of air from counting.
    bright = ndimage.uniform_filter(image, 3) > _DARK
    size = 1 + 2 * round(_NEAR_MM / grid.spacing[0] / 2)
    found = np.asarray(ndimage.maximum_filter(bright, size), dtype=np.bool_)
    return found if found.any() else ~found


def _unexplained(image: NDArray[Any], back: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Standard deviation of an image round each voxel that no linear map of another explains."""

    def mean(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(ndimage.gaussian_filter(values, sigma, mode="nearest", truncate=2.5))

    own, other = mean(image), mean(back)
    spread = mean(image * image) - own * own
    shared = mean(image * back) - own * other
    explained = shared**2 / np.maximum(mean(back * back) - other * other, 1e-4)
    return np.asarray(np.sqrt(np.maximum(spread - explained, 0.0)))


def whole_grid(mr: Volume, network: Network) -> tuple[Grid, Shape]:
    """Return the network's grid over the whole MR, along the RAS axes, and its patch there."""
    corners = mr.grid.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    r, a, s = (int(n) for n in np.ceil((high - low) / network.spacing_mm - 1e-6))
    patch = _fitted((s, a, r), network.patch)
    return aligned_grid(low, high, network.spacing_mm, patch), patch


def _fitted(shape: Shape, trained: Shape) -> Shape:
    """Return the patch for a grid (k, j, i).

    Where the grid is little wider than the trained patch, one wider patch takes the place of two
    that overlap almost wholly: a sagittal series is some 50 voxels wide, the trained patch 48.
    """
    k, j, i = (
        -(-n // _STEP) * _STEP if p < n <= _LITTLE * p else p
        for n, p in zip(shape, trained, strict=True)
    )
    return k, j, i


def _wider(shape: Shape, trained: Shape) -> Shape:
    """Return a patch (k, j, i) up to a third wider than the trained one, where the grid is.

    Fewer patches are quicker. Norms over a wider patch cost bodies 0.004 of Dice, so the way to CT
    keeps to `_fitted`; the map of what is recovered needs no such care.
    """
    k, j, i = (
        max(p, min(-(-n // _STEP), int(_LITTLE * p) // _STEP) * _STEP)
        for n, p in zip(shape, trained, strict=True)
    )
    return k, j, i


def _sample(mr: Volume) -> NDArray[Any]:
    """Return every n-th voxel: enough for percentiles."""
    steps = (max(1, n // 128) for n in mr.shape)
    return np.asarray(mr.array[tuple(slice(None, None, step) for step in steps)])
