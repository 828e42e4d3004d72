"""What is asked for with a click, and what it puts into the scene."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from spineseg import labels
from spineseg.errors import InputError
from spineseg.volume import Volume
from SpineSegMRML import names, segmentations, segments
from SpineSegMRML.history import Recording
from SpineSegMRML.i18n import tr as _
from SpineSegMRML.layers import Mask, masks

__all__ = ["ClickOutcome", "Request", "labelOf", "levelIn", "showClick"]


@dataclass(frozen=True)
class ClickOutcome:
    """What a click has put into the scene.

    Attributes
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    segmentId : str
    name : str
        Of the segment, such as "L1", "unsure 1" or "L1 body".
    level : str or None
        None where it is unsure: the user is to be asked (see `ClickLogic.rename`).
    replaced : bool
        Whether the vertebra had a segment before.
    warnings : list of str
    seconds : float
        What the click took.
    """

    segmentationNode: Any
    segmentId: str
    name: str
    level: str | None
    replaced: bool
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def summary(self) -> str:
        """Return one sentence for a user."""
        text = _("{name} was replaced") if self.replaced else _("{name} was added")
        text = text.format(name=self.name)
        if self.level is None:
            text += _("; its level is unsure: choose it")
        return text + "."


@dataclass(frozen=True)
class Request:
    """What is asked for; the fields are the parameters of `ClickLogic.click`."""

    inputNode: Any
    point: tuple[float, float, float]
    segmentationNode: Any
    target: str
    level: str | None
    device: str

    def check(self) -> None:
        """Raise InputError where the nodes don't fit; the worker checks the rest."""
        if self.inputNode is None:
            raise InputError(_("Choose a CT volume."))
        if self.segmentationNode is not None:
            segments.requireSource(self.segmentationNode, self.inputNode)


def showClick(
    request: Request, result: Any, mask: Mask, ids: dict[int, str]
) -> tuple[ClickOutcome, Recording]:
    """Put a sound result into the scene; if that fails, take it out again."""
    node = request.segmentationNode
    if node is None:
        node = _newSegmentation(request.inputNode)
    try:
        replaces = _replaced(node, request, result, mask, ids)
        label, warnings = _labelFor(node, request, result, replaces)
        with Recording(node, [replaces] if replaces else []) as recording:
            segmentId = segments.addMask(
                node, request.inputNode, mask, label, request.target, replaces,
                keepName=result.level is None or _isOwnName(node, replaces),
            )  # fmt: skip
            node.CreateClosedSurfaceRepresentation()
    except Exception:
        if request.segmentationNode is None:
            segmentations.removeNode(node)
        raise
    name = segments.nameIn(node, segmentId)
    outcome = ClickOutcome(
        node, segmentId, name, levelIn(name), replaces is not None, [*result.warnings, *warnings]
    )
    return outcome, recording


def _newSegmentation(inputNode: Any) -> Any:
    shape = inputNode.GetImageData().GetDimensions()[::-1]
    name = _("{volume} vertebrae").format(volume=inputNode.GetName())
    return segmentations.addSegmentationNode(
        Volume(np.zeros(shape, np.uint8), np.eye(4)), inputNode, name
    )


def _replaced(
    node: Any, request: Request, result: Any, mask: Mask, ids: dict[int, str]
) -> str | None:
    """Return the segment that the new one takes the place of; None if there is none."""
    segmentation = node.GetSegmentation()
    if request.target == names.VERTEBRA:
        found = ids.get(result.replaces)
        return found if found and segmentation.GetSegment(found) else None
    same = [
        segmentId
        for segmentId in segmentation.GetSegmentIDs()
        if (names.meaningOf(segments.nameIn(node, segmentId)) or (0, ""))[1] == request.target
    ]
    return segments.overlapping(mask, masks(node, request.inputNode, same))


def _isOwnName(node: Any, segmentId: str | None) -> bool:
    """Whether a user has given a segment a name that is not of the label table."""
    return segmentId is not None and names.meaningOf(segments.nameIn(node, segmentId)) is None


def _labelFor(
    node: Any, request: Request, result: Any, replaces: str | None
) -> tuple[int, list[str]]:
    """Return the label that the segment is called after, and what is to be said about it."""
    others = [i for i in node.GetSegmentation().GetSegmentIDs() if i != replaces]
    meanings = [names.meaningOf(segments.nameIn(node, i)) for i in others]
    taken = {m[0] for m in meanings if m and m[1] == request.target}
    if result.label not in taken:
        return int(result.label), []
    warnings = []
    if result.level is not None:
        name = names.nameOf(result.label, request.target)
        warnings = [_("This would be {name}, but another segment is called so.").format(name=name)]
    return names.freeUnsure(taken), warnings


def levelIn(name: str) -> str | None:
    """Return the level that a segment's name says; None if it is unsure."""
    meaning = names.meaningOf(name)
    level = labels.display_name(meaning[0]) if meaning else ""
    return level if level in names.levelNames() else None


def labelOf(level: str) -> int:
    """Return the label of a level's name; InputError if there is none of that name."""
    try:
        return labels.by_name(level).verse
    except KeyError:
        raise InputError(
            _("There is no level called “{level}”.").format(level=level),
            _("Use one of {levels}.").format(levels=", ".join(names.levelNames())),
        ) from None
