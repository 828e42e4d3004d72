"""Vertebrae in CT with two residual U-Nets: find the spine at 4 mm, outline it at 1.5 mm.

A trial on digital patients showed why two passes: the whole field of view is needed to tell the
spine from the pelvis and one region of it from another, and a fine grid to part vertebrae. The
fine pass looks only where the coarse one found the spine. Its votes and classes are split into
vertebrae (`instances`), named (`levels`), and outlined on the scan's own grid (`to_scan`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spineseg.errors import InputError, WeightsError
from spineseg.grid import Grid
from spineseg.inference import (
    aligned_grid,
    finite_scan,
    plan,
    scan_reader,
    sliding_window,
)
from spineseg.methods.classes import OFFSET_MM, CoarseClass, FineClass
from spineseg.methods.naming import name_vertebrae
from spineseg.methods.spine_region import find_spine, on_grid, widened
from spineseg.methods.to_scan import FineMaps, covered, to_scan
from spineseg.progress import Progress
from spineseg.result import SegmentationResult
from spineseg.volume import Volume

if TYPE_CHECKING:
    import torch

__all__ = ["MODELS", "Network", "Settings", "fit", "load_network", "predict", "run"]

COARSE, FINE = "vertebra-coarse", "vertebra-fine"
MODELS = (COARSE, FINE)

_FULL = 255
_THICK_MM = 4.0
_CLASSES = {COARSE: len(CoarseClass), FINE: len(FineClass) + 3}


@dataclass(frozen=True)
class Settings:
    """How to segment.

    Attributes
    ----------
    device : str or None
        "cpu", "cuda"; None takes CUDA where it is present.
    coarse_overlap, fine_overlap : float
        Share of a patch's edge that neighbours share. More is smoother and slower.
    coarse_patch, fine_patch : int or None
        Edge of a patch in voxels, a multiple of 16; None takes what the network was trained with.
    batch : int
        Patches at once.
    reach_mm : float
        How far from the spinal canal a part of the spine may lie.
    margin_mm : float
        How far around the coarse pass' spine the fine pass looks.
    threshold : float
        Probability from which on a voxel is bone.
    refine : bool
        Whether the scan's own values move the edges by a fraction of a fine voxel.
    models : str or None
        Folder of the trained networks, if not the package's own.
    """

    device: str | None = None
    coarse_overlap: float = 0.4
    fine_overlap: float = 0.3
    coarse_patch: int | None = None
    fine_patch: int | None = None
    batch: int = 1
    reach_mm: float = 48.0
    margin_mm: float = 12.0
    threshold: float = 0.5
    refine: bool = True
    models: str | None = None

    def __post_init__(self) -> None:
        for name in ("coarse_overlap", "fine_overlap"):
            if not 0.0 <= getattr(self, name) <= 0.9:
                raise ValueError(f"{name} must be from 0 to 0.9")
        for name in ("coarse_patch", "fine_patch"):
            edge = getattr(self, name)
            if edge is not None and (edge < 16 or edge % 16):
                raise ValueError(f"{name} must be a multiple of 16")
        if self.batch < 1:
            raise ValueError("batch must be 1 or more")
        if not (self.reach_mm > 0 and self.margin_mm >= 0):
            raise ValueError("reach_mm must be positive and margin_mm not negative")
        if not 0.05 <= self.threshold <= 0.95:
            raise ValueError("threshold must be from 0.05 to 0.95")


@dataclass(frozen=True)
class Network:
    """A network ready to run: (N, 2, k, j, i) → logits; its voxel size and patch (k, j, i)."""

    forward: Callable[[torch.Tensor], torch.Tensor]
    spacing_mm: float
    patch: tuple[int, int, int]


@dataclass
class _Timer:
    """Seconds spent in each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)


def fit(data: Any, settings: Any, progress: Progress) -> Any:
    """Train both networks; see `spineseg.training.vertebra.fit`."""
    from spineseg.training.vertebra import fit as train

    return train(data, settings, progress)


def predict(volume: Volume, settings: Settings, progress: Progress) -> SegmentationResult:
    """Segment the vertebrae of a CT.

    Parameters
    ----------
    volume : Volume
        HU, any orientation.
    settings : Settings
    progress : Progress
        Told of each patch; its token cancels.

    Returns
    -------
    SegmentationResult
        Without a vertebra, but with a warning, where there is none. Volumes and heights are left
        to `spineseg.pipeline.segment`.

    Raises
    ------
    InputError
        The scan holds a single value.
    WeightsError
        A trained network is missing or damaged.
    CancelledError
        The token was cancelled.
    """
    from spineseg.device import choose_device

    device = choose_device(settings.device)
    progress("load", 0.0, "trained networks")
    coarse = load_network(COARSE, device, settings.coarse_patch, settings.models)
    fine = load_network(FINE, device, settings.fine_patch, settings.models)
    return run(volume, coarse, fine, settings, progress, device)


def load_network(
    name: str, device: torch.device, patch: int | None = None, folder: str | None = None
) -> Network:
    """Build a trained network from its weights and card; WeightsError if they do not fit."""
    from spineseg.networks.residual_unet import ResidualUNet
    from spineseg.weights import load_card, load_state

    card, state = load_card(name, folder), load_state(name, folder)
    remedy = "Install SpineSeg again, or train the model with the command on its card."
    try:
        if card.architecture["name"] != ResidualUNet.__name__:
            raise ValueError(f"unknown architecture {card.architecture['name']}")
        network = ResidualUNet(**card.architecture["params"])
        network.load_state_dict(state)
        spacing = float(np.ravel(card.inputs["spacing_mm"])[0])
        k, j, i = (int(n) for n in np.broadcast_to(patch or card.inputs["patch"], 3))
        outputs = network.head.out_channels
        if outputs != _CLASSES[name]:
            raise ValueError(f"{outputs} output channels, not {_CLASSES[name]}")
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"The card of model {name!r} does not describe its weights.", remedy, str(error)
        ) from error
    import torch

    network.eval().requires_grad_(False).to(device)
    for weight in network.parameters():
        if weight.dim() == 5:  # on CPUs convolutions are quicker in this order
            weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)
    return Network(network, spacing, (k, j, i))


def run(
    volume: Volume,
    coarse: Network,
    fine: Network,
    settings: Settings,
    progress: Progress,
    device: torch.device,
) -> SegmentationResult:
    """Segment with networks that are loaded; as `predict` otherwise."""
    from spineseg.methods.instances import split_vertebrae
    from spineseg.methods.sacral import without_sacral

    timer = _Timer()
    scan = finite_scan(volume)
    warnings = _scan_warnings(scan)
    with timer("coarse"):
        regions = coarse_pass(scan, coarse, settings, progress.part(0.02, 0.2), device)
        spine = find_spine(regions, settings.reach_mm)
    if spine is None:
        return _nothing(scan, warnings, settings, timer)
    with timer("fine"):
        maps = fine_pass(scan, spine, fine, settings, progress.part(0.2, 0.75), device)
    with timer("vertebrae"):
        progress("vertebrae", 0.75, "telling vertebrae apart")
        field_of_view = covered(maps, scan)
        instances, found = split_vertebrae(maps.classes, maps.offsets, field_of_view)
        instances, found = without_sacral(instances, found, regions, maps.classes)
        if not found:
            return _nothing(scan, warnings, settings, timer)
        vertebrae, more = name_vertebrae(maps.classes, instances, found, regions)
        warnings += more
    with timer("outline"):
        part = progress.part(0.8, 1.0)
        labels, bodies = to_scan(scan, maps, instances, settings.threshold, settings.refine, part)
    table = np.zeros(_FULL + 1, dtype=np.uint8)
    present = set(np.unique(labels.array).tolist())
    for number, vertebra in enumerate(vertebrae, start=1):
        table[number] = vertebra.label
    for rows in labels.array:  # in place, a slice at a time
        rows[...] = table[rows]
    kept = [v for number, v in enumerate(vertebrae, start=1) if number in present]
    return SegmentationResult(
        segmentation=volume.like(labels.array),
        vertebrae=kept,
        warnings=warnings,
        settings=asdict(settings),
        timings=timer.seconds,
        bodies=volume.like(bodies.array),
        models=MODELS,
    )


def coarse_pass(
    scan: Volume, network: Network, settings: Settings, progress: Progress, device: torch.device
) -> Volume:
    """Return uint8 `CoarseClass` over the whole field of view, along the RAS axes."""
    corners = scan.grid.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    grid = aligned_grid(low, high, network.spacing_mm, network.patch)
    # At 4 mm even a whole body is small: it is read once, so that no part is smoothed twice.
    progress("coarse", 0.0, "reading the scan")
    image = scan_reader(scan, grid)((0, 0, 0), grid.shape)
    classes = np.zeros(grid.shape, dtype=np.uint8)

    def receive(start: int, logits: torch.Tensor, seen: torch.Tensor) -> None:
        rows = slice(start, start + logits.shape[1])
        best = logits.argmax(dim=0) * seen
        classes[rows] = best.cpu().numpy().astype(np.uint8)

    sliding_window(
        network.forward,
        lambda lo, hi: image[lo[0] : hi[0], lo[1] : hi[1], lo[2] : hi[2]],
        grid.shape,
        plan(np.ones(grid.shape, dtype=bool), network.patch, settings.coarse_overlap),
        network.patch,
        receive,
        progress,
        stage="coarse",
        device=device,
        batch=settings.batch,
    )
    return Volume(classes, grid.affine)


def fine_pass(
    scan: Volume,
    spine: Volume,
    network: Network,
    settings: Settings,
    progress: Progress,
    device: torch.device,
) -> FineMaps:
    """Look closely at a coarse mask of the spine; nothing is found away from it."""
    import torch

    wide = widened(spine, settings.margin_mm)
    grid = _fine_grid(wide, network)
    wanted = on_grid(wide, grid)
    classes = np.zeros(grid.shape, dtype=np.uint8)
    bone = np.zeros(grid.shape, dtype=np.uint8)
    offsets = np.zeros((3, *grid.shape), dtype=np.float16)
    count = len(FineClass)

    def receive(start: int, logits: torch.Tensor, seen: torch.Tensor) -> None:
        rows = slice(start, start + logits.shape[1])
        share = torch.softmax(logits[:count], dim=0)
        keep = seen.cpu().numpy() & wanted[rows]
        classes[rows] = np.where(keep, share.argmax(dim=0).cpu().numpy(), 0)
        bony = share[FineClass.BODY] + share[FineClass.POSTERIOR]
        values = (bony * _FULL).round().to(torch.uint8).cpu().numpy()
        bone[rows] = np.where(keep, values, 0)
        offsets[:, rows] = (logits[count:] * OFFSET_MM).cpu().numpy() * keep

    sliding_window(
        network.forward,
        scan_reader(scan, grid),
        grid.shape,
        plan(wanted, network.patch, settings.fine_overlap),
        network.patch,
        receive,
        progress,
        stage="fine",
        device=device,
        batch=settings.batch,
    )
    return FineMaps(Volume(classes, grid.affine), Volume(bone, grid.affine), offsets)


def _fine_grid(wide: Volume, network: Network) -> Grid:
    """Return the fine grid around a coarse mask."""
    index = np.argwhere(wide.array)
    box = wide.grid.cropped(index.min(axis=0).tolist(), (index.max(axis=0) + 1).tolist())
    corners = box.corners()
    return aligned_grid(corners.min(axis=0), corners.max(axis=0), network.spacing_mm, network.patch)


def _nothing(
    scan: Volume, warnings: list[str], settings: Settings, timer: _Timer
) -> SegmentationResult:
    sentence = (
        "No vertebra was found in this scan: check that it is a CT in Hounsfield units that shows"
        " the spine."
    )
    return SegmentationResult(
        segmentation=scan.like(np.zeros(scan.shape, dtype=np.uint8)),
        vertebrae=[],
        warnings=[*warnings, sentence],
        settings=asdict(settings),
        timings=timer.seconds,
        models=MODELS,
    )


def _scan_warnings(scan: Volume) -> list[str]:
    """Say what makes a scan itself doubtful, before anything is looked for in it.

    Raises
    ------
    InputError
        It has a single slice along an axis.
    """
    if min(scan.shape) < 2:
        raise InputError(
            "The scan has a single slice, and a vertebra can't be told from one.",
            "Open the whole series.",
        )
    found = []
    if max(scan.spacing) > _THICK_MM:
        found.append(
            f"The scan's slices are {max(scan.spacing):.1f} mm apart: outlines and heights are"
            " rough."
        )
    sample = scan.array[tuple(slice(None, None, max(1, n // 64)) for n in scan.shape)]
    low, high = np.percentile(sample, [1, 99.9])
    if low > -20 or high < 100:
        found.append(
            "The scan's values do not look like Hounsfield units (is it a CT?): the result is"
            " doubtful."
        )
    return found
