"""Classifies the voxels of a CT as background, normal or fractured vertebra (paper 004, p. 3).

Nicolaes et al., *Detection of vertebral fractures in CT using 3D convolutional neural networks*,
CSI 2019. No segmentation is needed; where there is one, only what lies round its vertebrae is
looked at, which takes a second instead of minutes. docs/fracture-voxels.md says what is as in the
paper, and when it fails.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from spineseg.errors import InputError
from spineseg.grid import Grid
from spineseg.inference import aligned_grid, finite_scan, scan_reader
from spineseg.methods.loading import build, matching_card
from spineseg.progress import Progress
from spineseg.volume import Volume

if TYPE_CHECKING:
    import torch

__all__ = [
    "BACKGROUND", "CLASSES", "FRACTURE", "MODEL", "NORMAL", "Settings", "VoxelFractures", "fit",
    "fracture_voxels", "normalised", "predict", "vertebra_scores",
]  # fmt: skip

Floats = NDArray[np.float64]

MODEL = "fracture-voxels"
CLASSES = ("background", "normal", "fracture")
BACKGROUND, NORMAL, FRACTURE = range(3)
SPACING_MM = 1.0
WINDOW_HU = (-200.0, 1000.0)
MEAN_HU, SPREAD_HU = 100.0, 200.0
MAPPING = "(clip(HU, -200, 1000) - 100) / 200"
MAPPING_PAPER = "zero mean and unit standard deviation over the scan"
_FULL = 255
_SIGMA = 0.25  # of the cube's edge: the paper names a Gaussian kernel, not its width
_ROOM_MM = (20.0, 18.0, 14.0)  # to either side, front and back, up and down of a centroid


@dataclass(frozen=True)
class Settings:
    """How to look, and how to add up what is seen.

    Attributes
    ----------
    device : str or None
        "cpu", "cuda"; None takes CUDA where it is present.
    models : str or None
        Folder of the trained network, if not the package's own.
    cube : int
        Edge of the cube round a centroid whose voxels make a vertebra's score, mm (paper p. 9: 10).
    probability : float
        From which on a voxel counts as fractured (the paper's probability threshold).
    noise_voxels : int
        Least size of a component of such voxels (the paper's noise threshold).
    patch : int
        Edge of the answers computed at once, a multiple of 3: memory grows with its cube.
    """

    device: str | None = None
    models: str | None = None
    cube: int = 10
    probability: float = 0.5
    noise_voxels: int = 200
    patch: int = 48

    def __post_init__(self) -> None:
        if self.cube < 1 or self.noise_voxels < 0:
            raise ValueError("cube must be at least 1 and noise_voxels at least 0")
        if not 0 < self.probability < 1:
            raise ValueError("probability must lie between 0 and 1")
        if self.patch < 3 or self.patch % 3:
            raise ValueError("patch must be a multiple of 3")


@dataclass(frozen=True, eq=False)
class VoxelFractures:
    """What the network sees in a scan.

    Attributes
    ----------
    fracture, normal : Volume
        uint8 (k, j, i), 0–255: probabilities on a grid of 1 mm; 0 where it did not look.
    components_ras : (N, 3) float64
        Centres of the groups of fractured voxels, largest first.
    component_voxels : tuple of int
    settings, timings, models, warnings
        As in `spineseg.result.SegmentationResult`.
    """

    fracture: Volume
    normal: Volume
    components_ras: Floats
    component_voxels: tuple[int, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    models: tuple[str, ...] = (MODEL,)
    warnings: tuple[str, ...] = ()

    @property
    def patient_positive(self) -> bool:
        """Whether any group of fractured voxels is large enough (paper 3.3)."""
        return bool(self.component_voxels)


@dataclass(frozen=True, eq=False)
class Trained:
    """The network, its reach (k, j, i), and whether intensities are those of the whole scan."""

    network: Any
    reach: tuple[int, int, int]
    scan_wide: bool
    device: torch.device


def normalised(hu: NDArray[Any], scan: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """Map HU to the network's input.

    Parameters
    ----------
    hu : ndarray
        HU, any shape.
    scan : ndarray, optional
        The whole scan: zero mean and unit standard deviation over it, as in the paper. Else fixed
        numbers, so that a part of a scan gives the same as the whole.
    """
    if scan is not None:
        sparse = np.asarray(scan[::4, ::4, ::4], dtype=np.float32)
        spread = max(float(sparse.std()), 1.0)
        return np.asarray((hu.astype(np.float32) - float(sparse.mean())) / spread, np.float32)
    values = np.clip(hu, *WINDOW_HU).astype(np.float32)
    return np.asarray((values - np.float32(MEAN_HU)) / np.float32(SPREAD_HU), np.float32)


def fit(data: Any, settings: Any, progress: Progress) -> Any:
    """Train the network; see `spineseg.training.fracture_voxels.fit`."""
    from spineseg.training.fracture_voxels import fit as train

    return train(data, settings, progress)


@lru_cache(maxsize=1)
def load(models: str | None = None, device: str | None = None) -> Trained:
    """Build the trained network, once for a run.

    Raises
    ------
    WeightsError
        Weights or card are missing, damaged, or do not fit each other.
    """
    from spineseg.device import choose_device
    from spineseg.networks.fracture_voxels import FractureVoxelNetwork

    card, network = build(MODEL, FractureVoxelNetwork, models)
    with matching_card(MODEL):
        scan_wide = card.inputs["intensity"]["mapping"] == MAPPING_PAPER
    chosen = choose_device(device)
    network.to(chosen)
    return Trained(network, network.reach, scan_wide, chosen)


def _answer(trained: Trained, hu: NDArray[Any], scan: NDArray[Any]) -> NDArray[np.float32]:
    """Return the classes' probabilities (N, 3, k, j, i) for HU (N, k, j, i) wider by the reach."""
    import torch

    image = normalised(hu, scan if trained.scan_wide else None)
    batch = torch.from_numpy(image[:, None]).to(trained.device)
    batch = batch.contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        return np.asarray(torch.softmax(trained.network(batch).float(), dim=1).cpu().numpy())


def vertebra_scores(scan: Volume, centres: ArrayLike, settings: Settings | None = None) -> Floats:
    """Return how fractured each vertebra is, 0 to 1: the mean of the voxels round its centroid.

    Parameters
    ----------
    scan : Volume
        CT in HU (k, j, i).
    centres : (N, 3) array_like
        Centroids of the bodies, RAS mm.
    settings : Settings, optional

    Returns
    -------
    (N,) float64
        Probability of fracture, weighted by a Gaussian of the distance (paper 3.3). It is a score;
        `spineseg.measure.fracture_probability` makes a calibrated probability of it.
    """
    settings = settings or Settings()
    trained = load(settings.models, settings.device)
    scan = finite_scan(scan)
    points = np.asarray(centres, dtype=float).reshape(-1, 3)
    size = -(-settings.cube // 3) * 3
    weight = _kernel(size, settings.cube)
    result = np.zeros(len(points))
    for n, point in enumerate(points):
        grid = _window(point, size, trained.reach)
        hu = scan_reader(_near(scan, grid), grid)((0, 0, 0), grid.shape)
        found = _answer(trained, hu[None], scan.array)[0, FRACTURE]
        result[n] = float((found * weight).sum())
    return result


def _kernel(size: int, cube: int) -> Floats:
    """Return the weights (k, j, i) of the voxels round a centroid; their sum is 1."""
    away = np.arange(size) - (size - 1) / 2
    line = np.exp(-0.5 * (away / (_SIGMA * cube)) ** 2) * (np.abs(away) <= cube / 2)
    weight = line[:, None, None] * line[:, None] * line
    return np.asarray(weight / weight.sum())


def _window(point: Floats, size: int, reach: Sequence[int]) -> Grid:
    """Return the grid of an image whose answer is a cube round a point (RAS mm)."""
    shape = tuple(size + 2 * r for r in reach)
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    affine[:3, 3] = point - SPACING_MM * (np.array(shape[::-1]) - 1) / 2
    return Grid((shape[0], shape[1], shape[2]), affine)


def _near(scan: Volume, grid: Grid) -> Volume:
    """Return the part of a scan round a grid: averaging the whole would take seconds."""
    place = scan.ras_to_ijk(grid.corners())[:, ::-1]
    size = np.array(scan.shape)
    lo = np.clip(np.floor(place.min(axis=0)).astype(int) - 4, 0, size - 1)
    hi = np.clip(np.ceil(place.max(axis=0)).astype(int) + 5, lo + 1, size)
    return scan.crop(lo.tolist(), hi.tolist())


def predict(scan: Volume, settings: Settings, progress: Progress) -> VoxelFractures:
    """Look at a whole scan; see `fracture_voxels`."""
    return fracture_voxels(scan, settings, progress)


def fracture_voxels(
    scan: Volume,
    settings: Settings | None = None,
    progress: Progress | None = None,
    centres: ArrayLike | None = None,
) -> VoxelFractures:
    """Map where a scan shows normal and where fractured vertebrae.

    Parameters
    ----------
    scan : Volume
        CT in HU (k, j, i).
    settings : Settings, optional
    progress : Progress, optional
        Its token cancels.
    centres : (N, 3) array_like, optional
        Centroids of vertebrae, RAS mm: only what is near them is looked at.

    Raises
    ------
    InputError
        The scan is empty.
    WeightsError
        The trained network is missing or damaged.
    """
    began = time.perf_counter()
    settings, progress = settings or Settings(), progress or Progress()
    trained = load(settings.models, settings.device)
    scan = finite_scan(scan)
    grid, wanted = _region(scan, centres)
    reach = np.array(trained.reach)
    result = np.zeros((2, *grid.shape), dtype=np.uint8)
    corners = _corners(wanted, settings.patch)
    for n, corner in enumerate(corners):
        progress("voxels", n / max(len(corners), 1), f"patch {n + 1} of {len(corners)}")
        high = np.minimum(corner + settings.patch, grid.shape)
        size = -(-(high - corner) // 3) * 3
        part = grid.shifted((corner - reach).tolist(), tuple((size + 2 * reach).tolist()))
        hu = scan_reader(_near(scan, part), part)((0, 0, 0), part.shape)
        found = _answer(trained, hu[None], scan.array)[0, [FRACTURE, NORMAL]]
        own = tuple(slice(a, b) for a, b in zip(corner, high, strict=True))
        inside = tuple(slice(0, b - a) for a, b in zip(corner, high, strict=True))
        result[(slice(None), *own)] = np.rint(found[(slice(None), *inside)] * _FULL)
    fracture = Volume(result[0], grid.affine)
    sizes, places = components(fracture, settings.probability, settings.noise_voxels)
    progress("voxels", 1.0, f"{len(sizes)} groups of fractured voxels")
    return VoxelFractures(
        fracture,
        Volume(result[1], grid.affine),
        places,
        sizes,
        settings=asdict(settings),
        timings={"voxels": round(time.perf_counter() - began, 3)},
    )


def _region(scan: Volume, centres: ArrayLike | None) -> tuple[Grid, NDArray[np.bool_]]:
    """Return the grid of the map, and which of its voxels are wanted."""
    corners = scan.grid.corners()
    if centres is None:
        grid = aligned_grid(corners.min(axis=0), corners.max(axis=0), SPACING_MM)
        return grid, np.ones(grid.shape, dtype=bool)
    points = np.asarray(centres, dtype=float).reshape(-1, 3)
    if not len(points):
        raise InputError("There is no vertebra to look at.", "Give centroids, or none at all.")
    room = np.array(_ROOM_MM)
    grid = aligned_grid(points.min(axis=0) - room, points.max(axis=0) + room, SPACING_MM)
    wanted = np.zeros(grid.shape, dtype=bool)
    for point in grid.ras_to_ijk(points)[:, ::-1]:
        lo = np.maximum(np.floor(point - room[::-1]), 0).astype(int)
        hi = np.ceil(point + room[::-1]).astype(int) + 1
        wanted[tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))] = True
    return grid, wanted


def _corners(wanted: NDArray[np.bool_], patch: int) -> list[NDArray[np.int64]]:
    """Return where patches begin (k, j, i), on a raster, that hold anything wanted."""
    raster = np.stack(
        np.meshgrid(*(np.arange(0, n, patch) for n in wanted.shape), indexing="ij"), -1
    ).reshape(-1, 3)
    return [c for c in raster if wanted[tuple(slice(a, a + patch) for a in c)].any()]


def components(
    fracture: Volume, probability: float, noise_voxels: int
) -> tuple[tuple[int, ...], Floats]:
    """Return sizes and centres (RAS mm) of the groups of fractured voxels, largest first.

    Parameters
    ----------
    fracture : Volume
        uint8, 0–255.
    probability : float
        From which on a voxel counts.
    noise_voxels : int
        Smaller groups are left out.
    """
    parts, count = ndimage.label(fracture.array >= probability * _FULL)
    if not count:
        return (), np.zeros((0, 3))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    order = [int(n) for n in np.argsort(-sizes, kind="stable") if sizes[n] >= max(noise_voxels, 1)]
    if not order:
        return (), np.zeros((0, 3))
    middles = np.array(ndimage.center_of_mass(parts > 0, parts, [n + 1 for n in order]))
    places = fracture.ijk_to_ras(middles[:, ::-1])
    return tuple(int(sizes[n]) for n in order), np.asarray(places)
