"""Correct, then reuse: go on from a vertebra that a user has corrected or renamed.

The walk of `cascade` continues from it in both directions. What the user edited is memory from the
beginning and stays as it is, voxel for voxel; the others are segmented again, and all are numbered
by counting from the corrected one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg.errors import InputError
from spineseg.inference import finite_scan
from spineseg.labels import LAST_UNSURE, VERTEBRAE, display_name, is_vertebra
from spineseg.methods.cascade import MODELS, Settings, coarse_regions
from spineseg.methods.composing import compose
from spineseg.methods.counting import checked_level, column_of, count_from
from spineseg.methods.instances import Instance
from spineseg.methods.naming import name_vertebrae, scan_remarks
from spineseg.methods.one_vertebra import OneVertebra, VertebraLooker, load_looker
from spineseg.methods.runlog import RunLog
from spineseg.methods.sacral import without_sacral
from spineseg.methods.scan_check import check_scan
from spineseg.methods.second_look import mend, whole_bodies
from spineseg.methods.slips import find_slips
from spineseg.methods.spine_guide import make_guide
from spineseg.methods.spine_region import find_spine
from spineseg.methods.to_scan import FineMaps, to_scan
from spineseg.methods.walk import Memory, Seen, Walk
from spineseg.progress import Progress
from spineseg.result import SegmentationResult, Vertebra
from spineseg.volume import Volume

__all__ = ["Correction", "check_correction", "run", "update_from"]

_FULL = 255
_SURE = 0.5  # probability from which on a gap is counted as a missing vertebra
_SAME_GRID = 0.05  # voxels
_ONE_STEP_MM = 45.0  # T11 and L1 nearer than this have no T12 between them
_LEVELS = {level.verse: level.name for level in VERTEBRAE}


@dataclass(frozen=True)
class Correction:
    """What a user corrected.

    Attributes
    ----------
    labels : Volume
        uint8 label map on the scan's grid.
    start : int
        Label of the vertebra to go on from.
    keep : frozenset of int
        Labels that stay voxel for voxel; `start` among them.
    level : str or None
        Name of the vertebra to go on from; None where it has none.
    renamed : bool
        Whether that name is new.
    """

    labels: Volume
    start: int
    keep: frozenset[int]
    level: str | None
    renamed: bool


def update_from(
    volume: Volume,
    segmentation: Volume,
    start: int,
    keep: Collection[int],
    settings: Settings,
    progress: Progress,
    level: str | None = None,
) -> SegmentationResult:
    """Continue the walk from a corrected vertebra, upwards and downwards.

    Parameters
    ----------
    volume : Volume
        HU, any orientation.
    segmentation : Volume
        The user's label map, on the scan's grid.
    start : int
        Label of the vertebra that was corrected.
    keep : collection of int
        Labels that the user has edited: not one of their voxels changes. `start` is one of them
        in any case.
    settings : Settings
        Of `cascade`.
    progress : Progress
        Its token cancels.
    level : str, optional
        New name of `start`.

    Returns
    -------
    SegmentationResult
        Numbered by counting from `start`; kept vertebrae get their numbers by it too. T13 and L6
        are counted only where the user named one: as `level`, as a kept vertebra, or in the map
        where `start` keeps its name. Where `start` has no level, all that was seen is weighed as in
        `cascade`. Volumes and heights are left to `spineseg.pipeline`.

    Raises
    ------
    InputError
        The map is of another scan, or does not hold `start`; or there is no such level.
    WeightsError
        A trained network is missing or damaged.
    CancelledError
        The token was cancelled.
    """
    from spineseg.device import choose_device

    correction = check_correction(volume, segmentation, start, keep, level)
    device = choose_device(settings.device)
    log = RunLog(asdict(settings), MODELS)
    scan = finite_scan(volume)
    log.warnings += check_scan(scan)
    progress("load", 0.0, "trained networks")
    looker = load_looker(scan, device, settings.models)
    with log.timed("coarse"):
        regions = coarse_regions(scan, settings, progress.part(0.02, 0.3), device)
    return run(scan, regions, looker, correction, settings, progress.part(0.3, 1.0), log)


def check_correction(
    volume: Volume,
    segmentation: Volume,
    start: int,
    keep: Collection[int] = (),
    level: str | None = None,
) -> Correction:
    """Return what a user corrected, or say why it can't be gone on from.

    Raises
    ------
    InputError
        As `update_from`.
    """
    if not segmentation.grid.same_as(volume.grid, _SAME_GRID):
        raise InputError(
            "The segmentation does not lie on the scan's grid, so it may be of another scan.",
            "Choose the one that was made from this scan, or resample it onto its grid.",
        )
    array = segmentation.array
    if array.dtype.kind not in "biu" or array.min() < 0 or array.max() > LAST_UNSURE:
        raise InputError(
            "The segmentation holds other values than labels from 0 to 255.",
            "Choose a label map of vertebrae.",
        )
    mine = array == start
    if not is_vertebra(start) or not mine.any():
        present = [display_name(n) for n in np.unique(array).tolist() if is_vertebra(n)]
        raise InputError(
            f"The segmentation has no vertebra “{display_name(start)}” to go on from.",
            f"Choose one of: {', '.join(present)}." if present else "Click a vertebra first.",
        )
    if float(volume.array[mine].mean()) < 0:
        raise InputError(
            f"Where the segmentation has {display_name(start)}, the scan shows no bone.",
            "Choose the segmentation that was made from this scan.",
        )
    old = _LEVELS.get(int(start))
    new = old if level is None else checked_level(level)
    kept = frozenset({int(start), *(int(n) for n in keep)})
    labels = segmentation.astype(np.uint8)
    return Correction(labels, int(start), kept, new, renamed=new != old)


def run(
    scan: Volume,
    regions: Volume,
    looker: VertebraLooker,
    correction: Correction,
    settings: Settings,
    progress: Progress,
    log: RunLog,
) -> SegmentationResult:
    """Go on with networks that are loaded; as `update_from` otherwise."""
    spine = find_spine(regions, settings.reach_mm)
    if spine is None:
        raise InputError(
            "No spine was found in this scan, so there is nothing to go on along.",
            "Check that it is a CT in Hounsfield units that shows the spine.",
        )
    with log.timed("walk"):
        guide = make_guide(regions, spine)
        walk = Walk(looker, guide, scan.grid, settings.passes)
        for seen in _as_seen(correction, walk, looker):
            walk.add(seen)
        first = next(seen for seen in walk.found if seen.kept == correction.start)
        walk.go(progress.part(0.0, 0.7), first)
        mend(walk, guide, progress.part(0.7, 0.75))
    with log.timed("vertebrae"):
        progress("vertebrae", 0.75, "naming")
        maps, instances, found = compose(scan, looker.lattice, walk.found, guide, spine)
        if walk.found[-1].kept is None:
            instances, found = without_sacral(instances, found, regions, maps.classes)
        kept = [seen.kept for seen in walk.found[: len(found)]]
        if correction.level is None:
            rows, remarks = name_vertebrae(maps.classes, instances, found, regions)
        else:
            whole = whole_bodies(found, walk.found)
            rows, remarks = _counted(correction, found, kept, whole)
        log.warnings += remarks
    with log.timed("outline"):
        part = progress.part(0.8, 1.0)
        labels, bodies = _outlined(scan, maps, instances, settings, correction, rows, kept, part)
    present = set(np.unique(labels.array).tolist())
    return log.result(labels, [row for row in rows if row.label in present], bodies)


def _as_seen(correction: Correction, walk: Walk, looker: VertebraLooker) -> list[Seen]:
    """Return the kept vertebrae as if the walk had come by them."""
    boxes = ndimage.find_objects(correction.labels.array, max_label=LAST_UNSURE)
    ones = {}
    for label in sorted(correction.keep):
        box = boxes[label - 1] if is_vertebra(label) else None
        if box is not None:
            ones[label] = _on_lattice(correction.labels, label, box, looker)
    result = []
    rough = {label: walk.measured(one) for label, one in ones.items()}
    for label, one in ones.items():
        others = Memory(looker.lattice)
        for other, seen in rough.items():
            if other != label:
                others.add(seen)
        result.append(walk.measured(_with_body(one, looker, others), kept=label))
    return result


def _on_lattice(
    labels: Volume, label: int, box: tuple[slice, ...], looker: VertebraLooker
) -> OneVertebra:
    """Bring a label's mask to the looker's lattice; its body is not known yet."""
    part = labels.crop([s.start for s in box], [s.stop for s in box])
    mask = part.like(np.where(part.array == label, _FULL, 0).astype(np.uint8))
    place = looker.lattice.ras_to_ijk(mask.grid.corners())[:, ::-1]
    lo = np.floor(place.min(axis=0)).astype(int) - 1
    hi = np.ceil(place.max(axis=0)).astype(int) + 2
    grid = looker.lattice.shifted(lo.tolist(), (hi - lo).tolist())
    # A zero frame: values between the mask's edge and what is outside it are interpolated.
    whole = mask.pad((1, 1, 1), (1, 1, 1)).resampled_like(grid, order=1)
    nothing = whole.like(np.zeros(whole.shape, dtype=np.uint8))
    kji = np.argwhere(mask.array > 0)
    return OneVertebra(
        probability=whole,
        body=nothing,
        centrum=nothing,
        center=mask.ijk_to_ras(kji.mean(axis=0)[None, ::-1])[0],
        volume_ml=len(kji) * mask.voxel_mm3 / 1000.0,
        confidence=1.0,
        present=True,
    )


def _with_body(one: OneVertebra, looker: VertebraLooker, others: Memory) -> OneVertebra:
    """Tell which part of a user's vertebra is its body, by a look at it."""
    look = looker.look(one.center, others)
    grid = one.probability.grid
    seen = look.body.resampled_like(grid, order=0).array
    body = np.minimum(seen, one.probability.array)
    inside = body > _FULL // 2
    if not look.present or inside.sum() * grid.voxel_mm3 < 500.0:
        return one
    center = grid.ijk_to_ras(np.argwhere(inside).mean(axis=0)[None, ::-1])[0]
    return replace(one, body=Volume(body, grid.affine), center=center)


def _counted(
    correction: Correction,
    found: list[Instance],
    kept: list[int | None],
    whole: list[bool],
) -> tuple[list[Vertebra], list[str]]:
    """Name vertebrae by counting from the corrected one."""
    assert correction.level is not None
    named = {correction.level}
    named |= {_LEVELS[n] for n in kept if n in _LEVELS and n != correction.start}
    no_t12 = False
    if not correction.renamed:
        # The user stands by the map's count, rare levels included.
        mapped = {_LEVELS[n] for n in np.unique(correction.labels.array).tolist() if n in _LEVELS}
        named |= mapped
        no_t12 = _without_t12(correction.labels, mapped)
    centers = np.array([one.centroid for one in found])
    slips = find_slips(centers, [not one for one in whole], least=_SURE)
    column = column_of(named, no_t12)
    start = kept.index(correction.start)
    labels, warnings = count_from(column, start, correction.level, len(found), slips)
    rows = []
    for label, one, own in zip(labels, found, kept, strict=True):
        x, y, z = (float(v) for v in one.centroid)
        rows.append(
            Vertebra(
                label=label,
                level=_LEVELS.get(label),
                centroid=(x, y, z),
                complete=one.complete,
                confidence=1.0 if own is not None else round(float(np.clip(one.quality, 0, 1)), 3),
            )
        )
    return rows, [*warnings, *scan_remarks(rows, found)]


def _without_t12(labels: Volume, mapped: set[str]) -> bool:
    """Whether a map's T11 is followed by L1, as in a spine of eleven thoracic vertebrae."""
    if "T12" in mapped or not {"T11", "L1"} <= mapped:
        return False
    ends = []
    for name in ("T11", "L1"):
        number = next(n for n, level in _LEVELS.items() if level == name)
        kji = np.argwhere(labels.array == number)
        ends.append(labels.ijk_to_ras(kji.mean(axis=0)[None, ::-1])[0])
    return float(np.linalg.norm(ends[1] - ends[0])) < _ONE_STEP_MM


def _outlined(
    scan: Volume,
    maps: FineMaps,
    instances: Volume,
    settings: Settings,
    correction: Correction,
    rows: list[Vertebra],
    kept: list[int | None],
    progress: Progress,
) -> tuple[Volume, Volume]:
    """Outline the new vertebrae, and put the kept ones back as they were."""
    labels, bodies = to_scan(scan, maps, instances, settings.threshold, settings.refine, progress)
    table = np.zeros(LAST_UNSURE + 1, dtype=np.uint8)
    back = np.zeros(LAST_UNSURE + 1, dtype=np.uint8)
    for number, (row, own) in enumerate(zip(rows, kept, strict=True), start=1):
        if own is None:
            table[number] = row.label
        else:
            back[own] = row.label
    others: NDArray[np.uint8] = np.arange(LAST_UNSURE + 1, dtype=np.uint8)
    others[[is_vertebra(n) for n in range(LAST_UNSURE + 1)]] = 0
    for made, before in zip(labels.array, correction.labels.array, strict=True):
        new = table[made]
        stays = back[before]
        new[stays > 0] = stays[stays > 0]
        # Sacrum and spine bone of no vertebra are the user's own.
        rest = others[before]
        np.copyto(new, rest, where=new == 0)
        made[...] = new
    bodies.array[~np.isin(labels.array, [row.label for row in rows])] = 0
    return labels, bodies
