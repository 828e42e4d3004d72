"""The way of one case, from the scan to the exported folder, and where on it the case is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer

from SpineSegMRML import segmentations, segments, stale
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.names import counted

__all__ = [
    "CORRECT",
    "EXPORT",
    "MEASURE",
    "OPEN",
    "SEGMENT",
    "STEPS",
    "Step",
    "choose",
    "current",
    "segmentationOf",
    "steps",
]

OPEN, SEGMENT, CORRECT, MEASURE, EXPORT = STEPS = (
    "open",
    "segment",
    "correct",
    "measure",
    "export",
)
MEASURING = ("CobbAngle", "FractureDetect")
"""Modules whose results count as measured; heights come with the segmentation."""
EXPORTED = "SpineSeg.CaseExported"
"""Attribute of a scan: the state of its segmentation when the case was exported as a folder."""


@dataclass(frozen=True)
class Step:
    """One step of the way.

    Attributes
    ----------
    name : str
        One of `STEPS`.
    done : bool
    optional : bool
        Whether the way goes on without it.
    text : str
        What is there, or what to do.
    """

    name: str
    done: bool
    optional: bool
    text: str


def segmentationOf(scanNode: Any) -> Any:
    """Return the last segmentation with vertebrae that was made on a scan; None if none was."""
    scene = scanNode.GetScene() if scanNode is not None else None
    if scene is None:
        return None
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    kind, found = "vtkMRMLSegmentationNode", None
    for index in range(scene.GetNumberOfNodesByClass(kind)):
        node = scene.GetNthNodeByClass(index, kind)
        mine = node.GetNodeReference(role) is scanNode
        if mine and node.GetSegmentation() and segmentations.vertebraeIn(node):
            found = node
    return found


def steps(scanNode: Any) -> list[Step]:
    """Return the steps of a scan's case as they are now.

    Parameters
    ----------
    scanNode : vtkMRMLScalarVolumeNode or None
    """
    isThere = scanNode is not None and scanNode.GetImageData() is not None
    node = segmentationOf(scanNode) if isThere else None
    text = scanNode.GetName() if isThere else _("Open a scan, or take the digital patient.")
    return [
        Step(OPEN, isThere, False, text),
        _segmented(node),
        _corrected(node, scanNode),
        _measured(node),
        _exported(node, scanNode),
    ]


def current(way: list[Step]) -> Step | None:
    """Return the step to do now: the first that is neither done nor optional; None at the end."""
    return next((step for step in way if not step.done and not step.optional), None)


def _segmented(node: Any) -> Step:
    if node is None:
        return Step(
            SEGMENT, False, False, _("Find the vertebrae; an MR is translated to CT first.")
        )
    count = len(segmentations.vertebraeIn(node))
    text = _("{vertebrae} in “{name}”.").format(vertebrae=counted(count), name=node.GetName())
    return Step(SEGMENT, True, False, text)


def _corrected(node: Any, scanNode: Any) -> Step:
    found = segments.edited(node, scanNode) if node is not None else []
    if found:
        named = [segments.nameIn(node, segmentId) for segmentId in found]
        return Step(CORRECT, True, True, _("Corrected: {names}.").format(names=", ".join(named)))
    text = _("Look at every vertebra; paint and name where it is wrong.")
    return Step(CORRECT, False, True, text)


def _measured(node: Any) -> Step:
    made = [n for by in MEASURING for n in stale.dependents(node, by)] if node is not None else []
    old = stale.outOfDate(node)
    if old:
        text = _("Edited since; out of date: {names}.").format(names=", ".join(old))
        return Step(MEASURE, False, False, text)
    if made:
        text = ", ".join(n.GetName() for n in made) + "."
        return Step(MEASURE, True, False, text)
    return Step(MEASURE, False, False, _("Measure angles, or look for fractures."))


def _exported(node: Any, scanNode: Any) -> Step:
    if node is not None and scanNode.GetAttribute(EXPORTED) == stale.stateOf(node):
        return Step(EXPORT, True, False, _("Exported as it is now."))
    return Step(
        EXPORT, False, False, _("Write everything into one folder, with a .mrb of the scene.")
    )


def choose(parameterNode: Any, scanNode: Any, segmentationNode: Any) -> None:
    """Let a module's parameters be about this case, as far as the module has such parameters.

    What a user has chosen for another scan is left alone.
    """
    if parameterNode is None or scanNode is None:
        return
    names = parameterNode.allParameters
    node = segmentationNode or segmentationOf(scanNode)
    if "inputVolume" in names and parameterNode.inputVolume is not scanNode:
        parameterNode.inputVolume = scanNode
        parameterNode.segmentation = node
    elif "segmentation" in names and segmentationNode is not None:
        parameterNode.segmentation = segmentationNode
    elif "source" in names and node is not None and parameterNode.segmentation is None:
        parameterNode.source = type(parameterNode.source)("segmentation")
        parameterNode.segmentation = node
