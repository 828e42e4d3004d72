"""Vertebrae in CT by a cascade: regions of the spine first, then one vertebra after the other.

After paper 002 (Masuzawa et al., "Automatic Segmentation, Localization, and Identification of
Vertebrae in 3D CT Images Using Cascaded Convolutional Neural Networks"): its Semantic Segmentation
Net is the coarse pass of `vertebra_unet` here, at 4 mm instead of 1 mm, and its Iterative Instance
Segmentation Net is `one_vertebra`, at 1.5 mm, walked along the spine by `walk`. The levels are not
only counted from the border where the walk begins: all that was seen is weighed (`levels`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from spineseg.inference import finite_scan
from spineseg.methods import vertebra_unet
from spineseg.methods.classes import CoarseClass
from spineseg.methods.composing import compose
from spineseg.methods.loading import load_network
from spineseg.methods.mending import mend_slips
from spineseg.methods.naming import gather_evidence, name_found
from spineseg.methods.one_vertebra import MODEL, VertebraLooker, load_looker
from spineseg.methods.runlog import RunLog, renumber
from spineseg.methods.sacral import without_sacral
from spineseg.methods.scan_check import check_scan
from spineseg.methods.second_look import mend, spell_slips, whole_bodies
from spineseg.methods.spine_guide import make_guide
from spineseg.methods.spine_region import find_spine
from spineseg.methods.to_scan import to_scan
from spineseg.methods.walk import Walk
from spineseg.progress import Progress
from spineseg.result import SegmentationResult
from spineseg.volume import Volume

if TYPE_CHECKING:
    import torch

__all__ = ["MODELS", "Settings", "coarse_regions", "fit", "predict", "run"]

COARSE = vertebra_unet.COARSE
MODELS = (COARSE, MODEL)


@dataclass(frozen=True)
class Settings:
    """How to segment.

    Attributes
    ----------
    device : str or None
        "cpu", "cuda"; None takes CUDA where it is present.
    coarse_overlap : float
        Share of a coarse patch's edge that neighbours share. More is smoother and slower.
    batch : int
        Coarse patches at once.
    reach_mm : float
        How far from the spinal canal a part of the spine may lie.
    passes : int
        Looks at each vertebra: the first from where it is expected, the next from the centre found.
    threshold : float
        Probability from which on a voxel is bone.
    refine : bool
        Whether the scan's own values move the edges by a fraction of a voxel of the network's.
    models : str or None
        Folder of the trained networks, if not the package's own.
    """

    device: str | None = None
    coarse_overlap: float = 0.4
    batch: int = 1
    reach_mm: float = 48.0
    passes: int = 2
    threshold: float = 0.5
    refine: bool = True
    models: str | None = None

    def __post_init__(self) -> None:
        self.coarse()  # which checks what both have
        if self.passes < 1:
            raise ValueError("passes must be 1 or more")

    def coarse(self) -> vertebra_unet.Settings:
        """Return the same for the coarse pass."""
        return vertebra_unet.Settings(
            device=self.device,
            coarse_overlap=self.coarse_overlap,
            batch=self.batch,
            reach_mm=self.reach_mm,
            threshold=self.threshold,
            models=self.models,
        )


def fit(data: Any, settings: Any, progress: Progress) -> Any:
    """Train the networks; see `spineseg.training.cascade.fit`."""
    from spineseg.training.cascade import fit as train

    return train(data, settings, progress)


def predict(volume: Volume, settings: Settings, progress: Progress) -> SegmentationResult:
    """Segment the vertebrae of a CT, one after the other.

    Parameters
    ----------
    volume : Volume
        HU, any orientation.
    settings : Settings
    progress : Progress
        Told of each patch and of each step of the walk; its token cancels.

    Returns
    -------
    SegmentationResult
        Without a vertebra, but with a warning, where there is none. Volumes and heights are left
        to `spineseg.pipeline.segment`.

    Raises
    ------
    InputError
        The scan is no CT that vertebrae can be told in.
    WeightsError
        A trained network is missing or damaged.
    CancelledError
        The token was cancelled.
    """
    from spineseg.device import choose_device

    device = choose_device(settings.device)
    log = RunLog(asdict(settings), MODELS)
    scan = finite_scan(volume)
    log.warnings += check_scan(scan)
    progress("load", 0.0, "trained networks")
    looker = load_looker(scan, device, settings.models)
    with log.timed("coarse"):
        regions = coarse_regions(scan, settings, progress.part(0.02, 0.3), device)
    return run(scan, regions, looker, settings, progress.part(0.3, 1.0), log)


def coarse_regions(
    scan: Volume, settings: Settings, progress: Progress, device: torch.device
) -> Volume:
    """Return the first stage's answer: uint8 `CoarseClass`, 4 mm, along the RAS axes."""
    network = load_network(COARSE, len(CoarseClass), device, folder=settings.models)
    return vertebra_unet.coarse_pass(scan, network, settings.coarse(), progress, device)


def run(
    scan: Volume,
    regions: Volume,
    looker: VertebraLooker,
    settings: Settings,
    progress: Progress,
    log: RunLog,
) -> SegmentationResult:
    """Walk along the spine that the first stage saw; as `predict` otherwise."""
    spine = find_spine(regions, settings.reach_mm)
    if spine is None:
        return log.nothing(scan)
    with log.timed("walk"):
        guide = make_guide(regions, spine)
        walk = Walk(looker, guide, scan.grid, settings.passes)
        walk.go(progress.part(0.0, 0.7))
        mend(walk, guide, progress.part(0.7, 0.75))
        if not walk.found:
            return log.nothing(scan)
    with log.timed("vertebrae"):
        progress("vertebrae", 0.75, "naming")
        maps, instances, found = compose(scan, looker.lattice, walk.found, guide, spine)
        instances, found = mend_slips(instances, found, maps.classes)
        instances, found = without_sacral(instances, found, regions, maps.classes)
        if not found:
            return log.nothing(scan)
        whole = whole_bodies(found, walk.found)
        evidence = gather_evidence(maps.classes, instances, found, regions)
        # A process that is cut leaves a body's centre as sure as any.
        evidence = [
            replace(e, complete=e.complete or w) for e, w in zip(evidence, whole, strict=True)
        ]
        vertebrae, remarks = name_found(found, evidence)
        log.warnings += [*remarks, *spell_slips(found, vertebrae, whole)]
    with log.timed("outline"):
        part = progress.part(0.8, 1.0)
        labels, bodies = to_scan(scan, maps, instances, settings.threshold, settings.refine, part)
        kept = renumber(labels, vertebrae)
    return log.result(labels, kept, bodies)
