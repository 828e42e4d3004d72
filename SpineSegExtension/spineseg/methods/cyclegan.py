"""MR of the spine to CT, and from there to bone: the system of paper 000, and what goes beyond it.

The MR is translated by a trained generator, bone is thresholded on the synthetic CT as in the paper
(Otsu over a range of intensities, then a median), and vertebrae are separated: by what the same
network says of each voxel ("network"), or from the mask alone, as a reader would ("otsu").
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from spineseg.labels import OTHER_BONE
from spineseg.methods.classes import FineClass
from spineseg.methods.from_sacrum import name_from_sacrum
from spineseg.methods.instances import split_vertebrae
from spineseg.methods.loading import Network, load_network
from spineseg.methods.mr_check import check_mr, finite_mr
from spineseg.methods.mr_sacral import count_without_sacrum
from spineseg.methods.runlog import RunLog, renumber
from spineseg.methods.to_scan import FineMaps, covered, to_scan
from spineseg.methods.translate import Translated, confidence_map, translate_mr
from spineseg.progress import CancelToken, Progress
from spineseg.result import TranslationResult, Vertebra
from spineseg.volume import Volume

if TYPE_CHECKING:
    import torch

__all__ = ["MODELS", "Settings", "fit", "predict", "run"]

TO_CT, TO_MR = "mr-to-ct", "ct-to-mr"
MODELS = (TO_CT, TO_MR)
SEPARATE = ("network", "otsu")

_OUTPUTS = {TO_CT: 1 + len(FineClass) + 3, TO_MR: 1}
_LEAST_BODY_ML = 2.0
_DOUBT = 45.0  # mean confidence of a vertebra, of 100, below which it is marked
_REACH_MM = 48.0  # from the canal to a body's front edge, with room
_CANAL_GAP_MM, _CANAL_SHARE = 6.0, 0.2
_NEAR_MM = 4.0  # spine bone of no vertebra lies this near to what the network takes for the spine


@dataclass(frozen=True)
class Settings:
    """How to translate and to segment.

    Attributes
    ----------
    low, high : float
        Range of HU of the synthetic CT that Otsu's method looks at.
    per_slice : bool
        One threshold a slice, as in the paper; else one for the volume.
    median_mm : float
        Edge of the 3D median that smooths the mask, mm; 0 leaves it out.
    separate : str
        "network" or "otsu" (see the module).
    confidence : bool
        Whether the MR is translated back, to tell how far the result can be trusted.
    overlap : float
        Share of a patch's edge that neighbours share.
    batch : int
        Patches at once.
    device : str or None
        "cpu", "cuda"; None takes CUDA where it is present.
    models : str or None
        Folder of the trained networks, if not the package's own.
    """

    low: float = 0.0
    high: float = 700.0
    per_slice: bool = True
    median_mm: float = 3.0
    separate: str = "network"
    confidence: bool = True
    overlap: float = 0.2
    batch: int = 1
    device: str | None = None
    models: str | None = None

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError("low must be less than high")
        if self.separate not in SEPARATE:
            raise ValueError(f"separate must be one of {', '.join(SEPARATE)}")
        if not 0.0 <= self.overlap <= 0.9:
            raise ValueError("overlap must be from 0 to 0.9")
        if self.batch < 1 or self.median_mm < 0:
            raise ValueError("batch must be 1 or more, and median_mm not negative")


def fit(data: Any, settings: Any, progress: Progress) -> Any:
    """Train both generators; see `spineseg.training.cyclegan.fit`."""
    from spineseg.training.cyclegan import fit as train

    return train(data, settings, progress)


def predict(volume: Volume, settings: Settings, progress: Progress) -> TranslationResult:
    """Translate an MR and segment its vertebrae.

    Parameters
    ----------
    volume : Volume
        MR of any sequence and orientation.
    settings : Settings
    progress : Progress
        Told of each patch; its token cancels.

    Returns
    -------
    TranslationResult

    Raises
    ------
    InputError
        The volume is no MR that can be translated, or no voxel lies in Otsu's range.
    WeightsError
        A trained network is missing or damaged.
    CancelledError
        The token was cancelled.
    """
    from spineseg.device import choose_device

    device = choose_device(settings.device)
    progress("load", 0.0, "trained networks")
    to_ct = load_network(TO_CT, _OUTPUTS[TO_CT], device, folder=settings.models)
    to_mr = load_network(TO_MR, _OUTPUTS[TO_MR], device, folder=settings.models)
    return run(volume, to_ct, to_mr, settings, progress, device)


def run(
    volume: Volume, to_ct: Network, to_mr: Network, settings: Settings, progress: Progress,
    device: torch.device,
) -> TranslationResult:  # fmt: skip
    """Translate with networks that are loaded; as `predict` otherwise."""
    log = RunLog(asdict(settings), MODELS)
    mr = finite_mr(volume)
    log.warnings += check_mr(mr)
    with log.timed("translate"):
        part = progress.part(0.02, 0.6)
        made = translate_mr(mr, to_ct, settings.overlap, settings.batch, part, device)
        synthetic = made.ct.resampled_like(mr, order=1)
    # Parting vertebrae keeps one core busy, so the way back to MR runs beside it, and tells of
    # itself only that it was cancelled.
    with ThreadPoolExecutor(1) as beside:
        later = beside.submit(_confidence, mr, made, to_mr, settings, progress.token, log, device)
        with log.timed("bone"):
            progress("bone", 0.6, "Otsu's threshold")
            bone, thresholds = threshold_bone(synthetic, settings, log)
        with log.timed("vertebrae"):
            separate = _by_network if settings.separate == "network" else _by_mask
            labels, bodies, vertebrae = separate(
                mr, made, synthetic, bone, progress.part(0.65, 0.8), log
            )
        progress("confidence", 0.8, "translating back to MR")
        confidence = later.result()
    if not vertebrae:
        log.warnings.append(
            "No vertebra was found in this MR: check that it shows the spine, and look at the"
            " synthetic CT."
        )
    vertebrae, doubts = _trusted(vertebrae, labels, confidence)
    log.warnings += doubts
    return TranslationResult(
        synthetic_ct=synthetic,
        segmentation=labels,
        bodies=bodies,
        confidence=confidence,
        vertebrae=vertebrae,
        thresholds=thresholds,
        warnings=log.warnings,
        settings=log.settings,
        timings=log.seconds,
        models=log.models,
    )


def _confidence(
    mr: Volume, made: Translated, to_mr: Network, settings: Settings, token: CancelToken,
    log: RunLog, device: torch.device,
) -> Volume | None:  # fmt: skip
    """The map of confidence on the MR's grid, or None where it is not wanted."""
    if not settings.confidence:
        return None
    with log.timed("confidence"):
        sure = confidence_map(made, to_mr, settings.batch, Progress(token=token), device)
        return sure.resampled_like(mr, order=1)


def threshold_bone(
    synthetic: Volume, settings: Settings, log: RunLog
) -> tuple[Volume, list[float]]:
    """Bone of a synthetic CT by Otsu's method, uint8 0/1, and the thresholds (HU)."""
    from spineseg.geometry.thresholding import ThresholdSettings, bone_mask

    found = bone_mask(
        synthetic,
        ThresholdSettings(
            low=settings.low, high=settings.high, per_slice=settings.per_slice,
            median_mm=settings.median_mm,
        ),
    )  # fmt: skip
    log.warnings += found.warnings
    return found.mask, found.thresholds


def _by_network(
    mr: Volume, made: Translated, synthetic: Volume, bone: Volume, progress: Progress, log: RunLog
) -> tuple[Volume, Volume, list[Vertebra]]:
    """Vertebrae as the network's classes and votes part them."""
    inside = covered(made.maps, mr)
    maps = _on_spine(made.maps, inside)
    instances, found = split_vertebrae(maps.classes, maps.offsets, inside)
    keep = [n for n, one in enumerate(found, 1) if _has_body(one, maps.classes)]
    keep = keep[: count_without_sacrum([found[n - 1] for n in keep])]
    table = np.zeros(len(found) + 1, dtype=np.uint8)
    table[keep] = np.arange(1, len(keep) + 1)
    instances = instances.like(table[instances.array])
    found = [found[n - 1] for n in keep]
    vertebrae, remarks = name_from_sacrum(maps.classes, found)
    log.warnings += remarks if found else []
    labels, front = to_scan(mr, maps, instances, 0.5, False, progress)
    bodies = np.where(front.array > 0, labels.array, 0).astype(np.uint8)
    whole = labels.array
    # The outer edge is the threshold's: bone beside a vertebra's voxels belongs to it, and what is
    # no bone on the synthetic CT is none, but for the marrow inside a body.
    grown = ndimage.grey_dilation(whole, size=(3, 3, 3))
    bony = bone.array > 0
    whole = np.where((bodies > 0) | (bony & (whole > 0)), whole, np.where(bony, grown, 0))
    near = _near_spine(maps.classes, mr)
    whole = np.where((whole == 0) & bony & near, OTHER_BONE, whole).astype(np.uint8)
    numbered = np.where(whole == OTHER_BONE, 0, whole).astype(np.uint8)
    other = whole == OTHER_BONE
    named = mr.like(numbered)
    kept = renumber(named, vertebrae)
    named.array[other] = OTHER_BONE
    return named, mr.like(_in_order(bodies)), kept


def _on_spine(maps: FineMaps, inside: Volume) -> FineMaps:
    """Drop what lies outside the MR or far from the canal: organs look like bone somewhere."""
    classes = maps.classes
    steps = max(1, round(_CANAL_GAP_MM / classes.spacing[0] / 2))
    canal = (classes.array == FineClass.CANAL) & inside.array
    canal = ndimage.binary_dilation(canal, iterations=steps)
    parts, count = ndimage.label(canal)
    if not count:
        return maps
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    main = np.isin(parts, np.flatnonzero(sizes > _CANAL_SHARE * sizes.max()))
    away = sitk.SignedMaurerDistanceMap(
        sitk.GetImageFromArray(main.astype(np.uint8)), squaredDistance=False
    )
    near = sitk.GetArrayViewFromImage(away) * classes.spacing[0] < _REACH_MM
    kept = np.where(near & inside.array, classes.array, FineClass.BACKGROUND).astype(np.uint8)
    return FineMaps(classes.like(kept), maps.bone, maps.offsets)


def _in_order(bodies: Any) -> Any:
    """Number bodies 1 … n without gaps."""
    values = [v for v in np.unique(bodies) if v]
    table = np.zeros(256, dtype=np.uint8)
    table[values] = np.arange(1, len(values) + 1)
    return table[bodies]


def _has_body(instance: Any, classes: Volume) -> bool:
    return bool(instance.body_voxels * classes.voxel_mm3 / 1000.0 >= _LEAST_BODY_ML)


def _near_spine(classes: Volume, mr: Volume) -> Any:
    """Where the network sees bone of the spine, a little widened, on the MR's grid; bool."""
    spine = np.isin(classes.array, (FineClass.BODY, FineClass.POSTERIOR, FineClass.SACRUM))
    steps = max(1, round(_NEAR_MM / classes.spacing[0]))
    wide = ndimage.binary_dilation(spine, iterations=steps)
    return classes.like(wide.astype(np.uint8)).resampled_like(mr, order=0).array > 0


def _by_mask(
    mr: Volume, made: Translated, synthetic: Volume, bone: Volume, progress: Progress, log: RunLog
) -> tuple[Volume, Volume, list[Vertebra]]:
    """Vertebrae from the mask and the synthetic CT alone, numbered from the top."""
    from spineseg.labels import FIRST_UNSURE
    from spineseg.methods.spine_bone import assign_bone, keep_spine, separate_bodies

    progress("vertebrae", 0.0, "separating bodies")
    spine = keep_spine(bone)
    bodies = separate_bodies(spine, synthetic)
    labels = assign_bone(spine, bodies)
    vertebrae = []
    count = int(bodies.array.max())
    centres = ndimage.center_of_mass(bodies.array > 0, bodies.array, range(1, count + 1))
    for number, centre in enumerate(centres):
        x, y, z = mr.ijk_to_ras(np.array(centre)[None, ::-1])[0]
        place = (float(x), float(y), float(z))
        vertebrae.append(Vertebra(FIRST_UNSURE + number, None, place, confidence=0.4))
    return labels, bodies, vertebrae


def _trusted(
    vertebrae: list[Vertebra], labels: Volume, confidence: Volume | None
) -> tuple[list[Vertebra], list[str]]:
    """Lower the confidence of vertebrae whose MR is not recovered; warn of them and of the ends."""
    if confidence is None or not vertebrae:
        return vertebrae, []
    index = [v.label for v in vertebrae]
    means = ndimage.mean(confidence.array, labels.array, index)
    kept, doubtful = [], []
    for vertebra, mean in zip(vertebrae, means, strict=True):
        kept.append(replace(vertebra, confidence=round(vertebra.confidence * float(mean) / 100, 3)))
        if mean < _DOUBT:
            doubtful.append(vertebra.level or f"the one numbered {vertebra.label}")
    warnings = []
    if doubtful:
        warnings.append(
            f"The MR is not recovered from its synthetic CT at {', '.join(doubtful)}: look at the"
            " confidence map there."
        )
    cut = [v.level or str(v.label) for v in vertebrae if not v.complete]
    if cut:
        warnings.append(
            f"At the ends of the field of view a translation is least sure: {', '.join(cut)}"
            f" {'is' if len(cut) == 1 else 'are'} cut by it."
        )
    return kept, warnings
