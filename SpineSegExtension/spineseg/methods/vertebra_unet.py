"""Vertebrae in CT with two residual U-Nets: find the spine at 4 mm, outline it at 1.5 mm.

A trial on digital patients showed why two passes: the whole field of view is needed to tell the
spine from the pelvis and one region of it from another, and a fine grid to part vertebrae. The
fine pass looks only where the coarse one found the spine. Its votes and classes are split into
vertebrae (`instances`), named (`levels`), and outlined on the scan's own grid (`to_scan`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spineseg.grid import Grid
from spineseg.inference import (
    aligned_grid,
    finite_scan,
    plan,
    scan_reader,
    sliding_window,
)
from spineseg.methods.classes import OFFSET_MM, CoarseClass, FineClass
from spineseg.methods.joint_look import look_at_all
from spineseg.methods.loading import Network, load_network
from spineseg.methods.naming import name_vertebrae
from spineseg.methods.one_vertebra import CHANNELS, VertebraLooker
from spineseg.methods.one_vertebra import MODEL as ONE
from spineseg.methods.runlog import RunLog, renumber
from spineseg.methods.scan_check import check_scan
from spineseg.methods.spine_region import find_spine, on_grid, widened
from spineseg.methods.to_scan import FineMaps, covered, to_scan
from spineseg.progress import Progress
from spineseg.result import SegmentationResult
from spineseg.volume import Volume
from spineseg.weights import card_path

if TYPE_CHECKING:
    import torch

__all__ = ["MODELS", "Settings", "fit", "predict", "run"]

COARSE, FINE = "vertebra-coarse", "vertebra-fine"
MODELS = (COARSE, FINE, ONE)

_FULL = 255
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
    look: bool = True
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
    coarse, fine = (
        load_network(name, _CLASSES[name], device, patch, settings.models)
        for name, patch in ((COARSE, settings.coarse_patch), (FINE, settings.fine_patch))
    )
    # A folder with another training of these two needn't hold the third: it can do without.
    one = None
    if settings.look and card_path(ONE, settings.models).exists():
        one = load_network(ONE, len(CHANNELS), device, folder=settings.models)
    return run(volume, coarse, fine, settings, progress, device, one)


def run(
    volume: Volume,
    coarse: Network,
    fine: Network,
    settings: Settings,
    progress: Progress,
    device: torch.device,
    one: Network | None = None,
) -> SegmentationResult:
    """Segment with networks that are loaded; as `predict` otherwise.

    `one` looks at each vertebra again; None leaves that out.
    """
    from spineseg.methods.atlas import one_atlas
    from spineseg.methods.instances import split_vertebrae
    from spineseg.methods.look_apart import look_apart
    from spineseg.methods.mending import mend_slips
    from spineseg.methods.sacral import without_sacral, without_scraps

    log = RunLog(asdict(settings), MODELS if one else (COARSE, FINE))
    scan = finite_scan(volume)
    looker = VertebraLooker(scan, one, device) if one else None
    log.warnings += check_scan(scan)
    with log.timed("coarse"):
        regions = coarse_pass(scan, coarse, settings, progress.part(0.02, 0.2), device)
        spine = find_spine(regions, settings.reach_mm)
    if spine is None:
        return log.nothing(volume)
    with log.timed("fine"):
        maps = fine_pass(scan, spine, fine, settings, progress.part(0.2, 0.75), device)
    with log.timed("vertebrae"):
        progress("vertebrae", 0.75, "telling vertebrae apart")
        field_of_view = covered(maps, scan)
        instances, found = split_vertebrae(maps.classes, maps.offsets, field_of_view)
        instances, found = without_sacral(instances, found, regions, maps.classes)
        instances, found = without_scraps(instances, found, regions)
        instances, found = one_atlas(instances, found, regions)
        instances, found = mend_slips(instances, found, maps.classes)
        if not found:
            return log.nothing(volume)
        if looker is not None:
            instances, found = look_apart(maps.classes, instances, found, looker)
        vertebrae, remarks = name_vertebrae(maps.classes, instances, found, regions)
        log.warnings += remarks
    if looker is None and settings.look:
        log.warnings.append(
            f"The model {ONE} is not beside the others: vertebrae were not looked at once more."
        )
    if looker is not None:
        with log.timed("look"):
            part = progress.part(0.78, 0.9)
            maps, instances = look_at_all(maps, instances, found, looker, part)
    with log.timed("outline"):
        part = progress.part(0.9, 1.0)
        labels, bodies = to_scan(scan, maps, instances, settings.threshold, settings.refine, part)
        kept = renumber(labels, vertebrae)
    return log.result(volume.like(labels.array), kept, volume.like(bodies.array))


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
        best = logits.max(dim=0).indices * seen  # argmax is 8 times slower
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
