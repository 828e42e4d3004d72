"""What can be searched: a CT, and the segmentation of its vertebrae."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from spineseg import labels, registry
from spineseg.errors import InputError, SpineSegError
from spineseg.volume import Volume
from SpineSegMRML import segmentations, volumes
from SpineSegMRML.fracturejobs import FracturesFound
from SpineSegMRML.i18n import tr as _

__all__ = ["problem", "vertebrae", "withAbsent"]

MINIMUM_SLICES = 2


def problem(scanNode: Any, segmentationNode: Any, method: str) -> str:
    """Return why nothing can be searched, in one sentence; see `FractureLogic.validate`."""
    if scanNode is None:
        return _("Choose a CT volume.")
    try:
        volume = volumes.volumeFromNode(scanNode)
        if min(volume.shape) < MINIMUM_SLICES:
            text = _("“{name}” is a single slice; a volume is needed.")
            return text.format(name=scanNode.GetName())
        if segmentationNode is None:
            row = registry.get(method)
            known = row.task == registry.SEGMENT
            return "" if known else _("“{method}” does not segment.").format(method=row.title)
        return _unfit(segmentationNode, scanNode, volume)
    except SpineSegError as error:
        return str(error)


def _unfit(segmentationNode: Any, scanNode: Any, volume: Volume) -> str:
    segmentations.SegmentationGrid(segmentationNode)  # which says if it is empty
    name = segmentationNode.GetName()
    if not segmentations.vertebraeIn(segmentationNode):
        text = _("“{name}” holds no segment that is called as a vertebra (L1, L2 …).")
        return text.format(name=name)
    bounds = [0.0] * 6
    segmentationNode.GetRASBounds(bounds)
    last = np.array(volume.shape[::-1]) - 1
    corners = np.stack(np.meshgrid(*((0, n) for n in last)), axis=-1).reshape(-1, 3)
    box = volume.ijk_to_ras(corners.astype(float))
    if (box.max(axis=0) < bounds[::2]).any() or (box.min(axis=0) > bounds[1::2]).any():
        text = _("“{name}” does not lie in “{scan}”: choose the segmentation of this CT.")
        return text.format(name=name, scan=scanNode.GetName())
    return ""


def vertebrae(segmentationNode: Any, scanNode: Any) -> Volume:
    """Return the label map of a segmentation on a CT's grid.

    Raises
    ------
    InputError
        It has no vertebra there.
    """
    volume = segmentations.vertebraVolumeFromNode(segmentationNode, scanNode)
    if not any(labels.is_vertebra(int(label)) for label in np.unique(volume.array)):
        raise InputError(
            _("No vertebra of “{name}” lies in “{scan}”.").format(
                name=segmentationNode.GetName(), scan=scanNode.GetName()
            ),
            _("Choose the segmentation of this CT."),
        )
    return volume


def withAbsent(found: FracturesFound, segmentationNode: Any, volume: Volume) -> FracturesFound:
    """Note the vertebrae of a segmentation without a voxel in the CT: none is dropped unsaid."""
    there = {labels.display_name(int(label)) for label in np.unique(volume.array) if label}
    absent = [n for n in segmentations.vertebraeIn(segmentationNode) if n not in there]
    if not absent:
        return found
    text = _("Not in the CT, or empty: {names}.").format(names=", ".join(absent))
    return replace(found, state=replace(found.state, notes=(*found.state.notes, text)))
