"""Digitised landmarks to and from Markups nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spineseg.errors import InputError
from spineseg.io.landmarks import Landmark, first_level, level_of

from SpineSegMRML.i18n import tr as _
from SpineSegMRML.points import addPointsNode

__all__ = ["addLandmarksNode", "labelOf", "landmarksFromNode"]


def landmarksFromNode(markupsNode: Any) -> list[Landmark]:
    """Return the points of a list as landmarks, RAS mm of the world.

    A point's name, or else its description, begins with the level: “T4 pedicle left”. Points that
    were not placed yet are left out.

    Parameters
    ----------
    markupsNode : vtkMRMLMarkupsFiducialNode
        It may be under transforms.

    Raises
    ------
    InputError
        No point is placed, or one names no level.
    """
    found = []
    for index in range(markupsNode.GetNumberOfControlPoints()):
        if markupsNode.GetNthControlPointPositionStatus(index) != markupsNode.PositionDefined:
            continue
        label = markupsNode.GetNthControlPointLabel(index)
        level = first_level(label, markupsNode.GetNthControlPointDescription(index))
        position = [0.0, 0.0, 0.0]
        markupsNode.GetNthControlPointPositionWorld(index, position)
        found.append(Landmark(level, label, (position[0], position[1], position[2])))
    if not found:
        raise InputError(
            _("“{name}” holds no landmark.").format(name=markupsNode.GetName()),
            _("Place points, or load a file of them."),
        )
    return found


def addLandmarksNode(scene: Any, landmarks: Sequence[Landmark], name: str) -> Any:
    """Add a vtkMRMLMarkupsFiducialNode with a point for each landmark to a scene."""
    node = addPointsNode(scene, name)
    for one in landmarks:
        node.AddControlPointWorld(list(one.position), labelOf(one))
    return node


def labelOf(landmark: Landmark) -> str:
    """Return a name for a landmark's point that begins with its level."""
    try:
        if level_of(landmark.label) == landmark.level:
            return landmark.label
    except InputError:
        pass
    return f"{landmark.level} {landmark.label}".strip()
