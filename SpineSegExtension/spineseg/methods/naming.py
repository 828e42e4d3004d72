"""Gathers what the networks saw of each vertebra, and names the vertebrae by it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg.labels import FIRST_UNSURE, LAST_UNSURE, by_name, display_name
from spineseg.methods.classes import CoarseClass, FineClass
from spineseg.methods.doubts import left_out, two_in_one
from spineseg.methods.instances import Instance
from spineseg.methods.levels import Evidence, LevelResult, name_levels
from spineseg.methods.sacral import MOST_SAMPLES, coarse_counts
from spineseg.methods.spine_region import VERTEBRAL
from spineseg.result import Vertebra
from spineseg.volume import Volume

__all__ = ["gather_evidence", "name_found", "name_vertebrae"]

Floats = NDArray[np.float64]

_RIB_MM = 3.0  # a rib whose head touches a vertebra lies within this of it
# So much of ribs there is as likely a rib as a long costal process, and how fast that changes: of
# 120 digital patients' vertebrae 98 in 100 with ribs have more than 0.21, and of those without
# 98 in 100 less than 0.1 (0.2 where T12 is missing).
_RIB_ML, _RIB_STEP_ML = 0.17, 0.03
_UNSURE_RIB = 0.01  # nothing is surer than this
_SACRUM_ML = 2.0
_SACRUM_RADIUS = 35.0  # mm from the line along the spine: the promontory, not the wings
_SACRUM_REACH = 130.0  # mm: farther down a sacrum says nothing of this vertebra
# Bone of no spine above the first vertebra: 50 ml and more over 22 of 26 digital patients' C1 (the
# others show little of the skull), none over nine other vertebrae.
_SKULL_ML = 30.0
_SKULL_MM = ((10.0, 60.0), 40.0)  # up from its centre, and aside
_DOUBTFUL = 0.5
_TOLD = 0.03  # probability from which on two in one are told
# Of a body, uncounted beyond the spine's end: up to 0.45 where nothing is missing (a top of S1;
# 22 digital patients, 4 real scans), 0.9 where an L6 was taken for the sacrum.
_BEYOND = 0.65


def name_vertebrae(
    classes: Volume, instances: Volume, found: Sequence[Instance], regions: Volume
) -> tuple[list[Vertebra], list[str]]:
    """Name vertebrae, or number them where their levels are unsure.

    Parameters
    ----------
    classes : Volume
        uint8 `FineClass`.
    instances : Volume
        uint8, 1 … n, on the same grid.
    found : sequence of Instance
        In the order of the labels, from the top.
    regions : Volume
        uint8 `CoarseClass`, on its own grid.

    Returns
    -------
    list of Vertebra
        In the same order; label and level as in `spineseg.labels`.
    list of str
        Sentences for the user.
    """
    return name_found(found, gather_evidence(classes, instances, found, regions))


def name_found(
    found: Sequence[Instance], evidence: Sequence[Evidence]
) -> tuple[list[Vertebra], list[str]]:
    """Name vertebrae by evidence that is gathered already; otherwise as `name_vertebrae`."""
    named = name_levels(evidence)
    vertebrae = []
    unsure = FIRST_UNSURE
    for number, (one, level) in enumerate(zip(found, named.levels, strict=True)):
        label = by_name(level).verse if level else min(unsure, LAST_UNSURE)
        unsure += level is None
        each = named.each[number] if named.each else 0.0
        x, y, z = (float(v) for v in one.centroid)
        vertebrae.append(
            Vertebra(
                label=label,
                level=level,
                centroid=(x, y, z),
                complete=one.complete,
                confidence=round(float(np.clip(one.quality * each, 0.0, 1.0)), 3),
            )
        )
    doubts = _miscounted(vertebrae, evidence, named)
    return vertebrae, [*named.warnings, *doubts, *scan_remarks(vertebrae, found)]


def gather_evidence(
    classes: Volume, instances: Volume, found: Sequence[Instance], regions: Volume
) -> list[Evidence]:
    """Return what was seen of each vertebra; parameters as in `name_vertebrae`."""
    sacrum = _sacrum_points(classes)
    boxes = ndimage.find_objects(instances.array, max_label=len(found))
    evidence = []
    doubles = two_in_one(instances, found, classes)
    above, below = left_out(instances, found, classes)
    for number, (one, box, double) in enumerate(zip(found, boxes, doubles, strict=True), start=1):
        region = ribs = None
        if box is not None:
            region = _region(instances, number, box, regions)
            ribs = _ribs(classes, instances, number, box, one)
        evidence.append(
            Evidence(
                centroid=one.centroid,
                region=region,
                ribs=ribs,
                sacrum_mm=_to_sacrum(one, sacrum),
                has_body=one.has_body,
                complete=one.complete,
                double=double,
                beyond=max(above * (number == 1), below * (number == len(found))),
                skull=number == 1 and _skull_above(one, regions),
            )
        )
    return evidence


def _region(
    instances: Volume, number: int, box: tuple[slice, ...], regions: Volume
) -> Floats | None:
    """Return the shares of the four regions among what the coarse pass says of its voxels."""
    start = np.array([s.start for s in box])
    kji = np.argwhere(instances.array[box] == number) + start
    kji = kji[:: max(1, len(kji) // MOST_SAMPLES)]
    counts = coarse_counts(instances, kji, regions)[list(VERTEBRAL)].astype(float)
    if counts.sum() < max(5.0, 0.1 * len(kji)):
        return None
    return np.asarray(counts / counts.sum())


def _ribs(
    classes: Volume, instances: Volume, number: int, box: tuple[slice, ...], one: Instance
) -> float:
    """Return 0–1: how sure it is that ribs touch a vertebra, by the better side and by both."""
    reach = max(1, round(_RIB_MM / min(classes.spacing)))
    wide = tuple(
        slice(max(0, s.start - reach), min(n, s.stop + reach))
        for s, n in zip(box, classes.shape, strict=True)
    )
    near = ndimage.binary_dilation(instances.array[wide] == number, iterations=reach)
    kji = np.argwhere(near & (classes.array[wide] == FineClass.RIB))
    if not len(kji):
        return _UNSURE_RIB
    kji = kji + np.array([s.start for s in wide])
    right = classes.ijk_to_ras(kji[:, ::-1])[:, 0] > one.centroid[0]
    voxel_ml = classes.voxel_mm3 / 1000.0
    sides = np.array([right.sum(), (~right).sum()]) * voxel_ml
    seen = 0.5 * (sides.max() + sides.mean())
    sure = 1.0 / (1.0 + np.exp(-(seen - _RIB_ML) / _RIB_STEP_ML))
    return float(np.clip(sure, _UNSURE_RIB, 1 - _UNSURE_RIB))


def _sacrum_points(classes: Volume) -> Floats | None:
    mask = classes.array == FineClass.SACRUM
    if mask.sum() * classes.voxel_mm3 / 1000.0 < _SACRUM_ML:
        return None
    return classes.ijk_to_ras(np.argwhere(mask)[:, ::-1])


def _to_sacrum(one: Instance, points: Floats | None) -> float | None:
    """Return the mm from a body's centre down along the spine to the sacrum."""
    if points is None:
        return None
    away = points - one.centroid
    along = away @ one.down
    aside = np.linalg.norm(away - along[:, None] * one.down, axis=1)
    below = along[(along > 0) & (along < _SACRUM_REACH) & (aside < _SACRUM_RADIUS)]
    return float(np.percentile(below, 3)) if len(below) >= 50 else None


def _skull_above(one: Instance, regions: Volume) -> bool:
    """Whether the coarse pass sees a skull in line with the spine above a vertebra."""
    points = regions.ijk_to_ras(np.argwhere(regions.array == CoarseClass.OTHER_BONE)[:, ::-1])
    (low, high), radius = _SKULL_MM
    away = points - one.centroid
    up = -(away @ one.down)
    aside = np.linalg.norm(away + up[:, None] * one.down, axis=1)
    above = ((up > low) & (up < high) & (aside < radius)).sum()
    return bool(above * regions.voxel_mm3 / 1000.0 > _SKULL_ML)


def _miscounted(
    vertebrae: Sequence[Vertebra], evidence: Sequence[Evidence], named: LevelResult
) -> list[str]:
    """Say which vertebra may be two, and whether one may have been left out at an end."""
    names = [display_name(v.label) for v in vertebrae]
    said = [
        f"{names[n]} is as large as two vertebrae that were seen as one ({chance:.0%}): check it."
        for n, chance in sorted(named.double.items())
        if chance >= _TOLD
    ]
    ends = ((0, "above", "the skull"), (len(names) - 1, "below", "the sacrum"))
    said += [
        f"What lies {where} {names[n]} was taken for {other} but looks like one more vertebra's"
        " body: there may be one that was not found, so check the count."
        for n, where, other in ends
        if names and evidence[n].beyond >= _BEYOND
    ]
    return said


def scan_remarks(vertebrae: Sequence[Vertebra], found: Sequence[Instance]) -> list[str]:
    """Return sentences on vertebrae that were mended, are cut, or hold part of a neighbour."""
    remarks = [*_mended(vertebrae, found)]
    cut = [display_name(v.label) for v in vertebrae if not v.complete]
    if cut:
        verb = "is" if len(cut) == 1 else "are"
        remarks.append(f"{_listed(cut)} {verb} cut by the edge of the scan.")
    doubtful = [
        display_name(v.label)
        for v, one in zip(vertebrae, found, strict=True)
        if one.quality < _DOUBTFUL
    ]
    if doubtful:
        remarks.append(f"Check {_listed(doubtful)}: part of a neighbour may be mixed in.")
    return remarks


def _mended(vertebrae: Sequence[Vertebra], found: Sequence[Instance]) -> list[str]:
    """Say which vertebrae `mending` and `look_apart` made of what was seen."""
    names = [display_name(v.label) for v in vertebrae]
    joined = [name for name, one in zip(names, found, strict=True) if one.slip == "joined"]
    parted = [n for n, one in enumerate(found) if one.slip == "parted"]
    remarks = [
        f"{names[n]} and {names[n + 1]} were seen as one, fused or not told apart: they were"
        " parted halfway."
        for n in parted[::2]
    ]
    apart = [n for n, one in enumerate(found) if one.slip == "told apart"]
    remarks += [
        f"{names[n]} and {names[n + 1]} were seen as one until they were looked at again:"
        " check them."
        for n in apart[::2]
    ]
    remarks += [f"{name} was seen as two halves, which were joined." for name in joined]
    return remarks


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
