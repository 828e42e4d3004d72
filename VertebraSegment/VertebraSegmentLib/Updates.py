"""The rest of a spine after one vertebra was corrected: which segments stay, go and are renamed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from spineseg import labels
from spineseg.result import Vertebra
from SpineSegMRML import names, segments
from SpineSegMRML.history import Recording
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.jobs import JobOutcome
from SpineSegMRML.layers import Mask, boxesOf, masks

from VertebraSegmentLib.ClickResults import labelOf

__all__ = ["Shown", "showUpdate"]


@dataclass(frozen=True)
class Shown:
    """What `showUpdate` did.

    Attributes
    ----------
    recording : Recording
    vertebrae : list of Vertebra
        As the segments are called now.
    warnings : list of str
    """

    recording: Recording
    vertebrae: list[Vertebra]
    warnings: list[str] = field(default_factory=list)


def showUpdate(
    segmentationNode: Any,
    inputNode: Any,
    outcome: JobOutcome,
    ids: dict[int, str],
    kept: Collection[str],
    start: tuple[str, str | None],
) -> Shown:
    """Put the result of an update into a segmentation; if that fails, take it out again.

    Segments that are kept hold the same voxels in the same image afterwards; they may get another
    name, but not one that a user has named. A user's own segments are not touched.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    inputNode : vtkMRMLScalarVolumeNode
    outcome : JobOutcome
    ids : dict of int to str
        The vertebrae before the update: the segment of each label.
    kept : collection of str
        Segments that stay.
    start : tuple of str and (str or None)
        The segment that was gone on from, and the level that it is given.
    """
    array = outcome.labelVolume.array
    present = boxesOf(array)
    segmentation = segmentationNode.GetSegmentation()
    now = masks(segmentationNode, inputNode)
    gone = [
        segmentId
        for label, segmentId in ids.items()
        if segmentId not in kept and (labels.is_vertebra(label) or label in present)
    ]
    final, renamed = _newNames(segmentation, array, now, kept, start)
    free = np.ones(array.shape, bool)
    for segmentId in kept:
        if segmentId in now:
            free[now[segmentId].box] &= ~now[segmentId].array
    added: dict[int, Mask] = {}
    warnings = list(outcome.warnings)
    for label, box in present.items():
        if label in final:
            continue  # it is one that was kept
        low = [s.start for s in box]
        mask = Mask.trimmed(low, (array[box] == label) & free[box])
        if mask is None:
            continue
        final[label] = label
        if label in {value for key, value in final.items() if key != label}:
            final[label] = names.freeUnsure({*final.values(), *present})
            text = _("There were two {name}; the one that you have not named is called {other}.")
            text = text.format(name=names.nameOf(label), other=names.nameOf(final[label]))
            warnings.append(text)
        added[final[label]] = mask
    parts = _newPartNames(segmentation, array, now, final)
    with Recording(segmentationNode, {*gone, *renamed, *parts}) as recording:
        segments.removeSegments(segmentationNode, gone)
        for segmentId, label in renamed.items():
            segments.rename(segmentationNode, [segmentId], label)
            if segmentId != start[0] or start[1] is None:
                names.mark(segmentation.GetSegment(segmentId))
        segments.addMasks(segmentationNode, inputNode, added)
        for segmentId, label in parts.items():
            segments.rename(segmentationNode, [segmentId], label)
            names.mark(segmentation.GetSegment(segmentId))
        segmentationNode.CreateClosedSurfaceRepresentation()
    return Shown(recording, [_named(v, final) for v in outcome.vertebrae], warnings)


def _newNames(
    segmentation: Any,
    array: np.ndarray,
    now: dict[str, Mask],
    kept: Collection[str],
    start: tuple[str, str | None],
) -> tuple[dict[int, int], dict[str, int]]:
    """Return what label each kept vertebra has for each of the result's, and the new names."""
    final: dict[int, int] = {}
    renamed: dict[str, int] = {}
    for segmentId in kept:
        if segmentId not in now:
            continue
        segment = segmentation.GetSegment(segmentId)
        found = _mostCommon(array, now[segmentId])
        meaning = names.meaningOf(segment.GetName())
        wanted = found
        if segmentId == start[0] and start[1] is not None:
            wanted = labelOf(start[1])
        elif names.wasRenamed(segment) and meaning is not None:
            wanted = meaning[0]
        if wanted is not None and (meaning is None or meaning[0] != wanted):
            renamed[segmentId] = wanted
        if found is not None and wanted is not None:
            final[found] = wanted
    return final, renamed


def _newPartNames(
    segmentation: Any, array: np.ndarray, now: dict[str, Mask], final: dict[int, int]
) -> dict[str, int]:
    """Return the parts ("L1 body") that are called after another vertebra now, and its label."""
    renamed = {}
    for segmentId, mask in now.items():
        segment = segmentation.GetSegment(segmentId)
        meaning = names.meaningOf(segment.GetName())
        if meaning is None or meaning[1] == names.VERTEBRA or names.wasRenamed(segment):
            continue
        found = _mostCommon(array, mask)
        label = None if found is None else final.get(found)
        if label is not None and label != meaning[0]:
            renamed[segmentId] = label
    return renamed


def _mostCommon(array: np.ndarray, mask: Mask) -> int | None:
    """Return the label that most of a mask's voxels have in a label map; None if it is none."""
    count = np.bincount(array[mask.box][mask.array], minlength=2)
    count[labels.BACKGROUND] = 0
    return int(count.argmax()) if count.any() else None


def _named(vertebra: Vertebra, final: dict[int, int]) -> Vertebra:
    label = final.get(vertebra.label, vertebra.label)
    if label == vertebra.label:
        return vertebra
    name = labels.display_name(label)
    return replace(vertebra, label=label, level=name if name in names.levelNames() else None)
