"""Control points that a user places on vertebrae: which one is new, and which was moved.

The application moves a point many times while it is dragged; only where it ends counts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["ClickPoint", "ClickPoints", "PointState", "addPointsNode"]

STILL_MM = 1e-6
Position = tuple[float, float, float]


@dataclass(frozen=True)
class PointState:
    """Where a point is, and which segment it made.

    Attributes
    ----------
    position : tuple of float
        RAS mm of the world.
    segmentationNode : vtkMRMLSegmentationNode or None
    segmentId : str
    """

    position: Position
    segmentationNode: Any = None
    segmentId: str = ""


@dataclass
class ClickPoint:
    """A control point, also after it was removed and put back, which gives it another id.

    Attributes
    ----------
    pointId : str
        Its id in the markups node.
    state : PointState or None
        When it was last dealt with; None for one that is new, or not there.
    """

    pointId: str
    state: PointState | None = None


class ClickPoints:
    """The points of one markups node.

    Parameters
    ----------
    markupsNode : vtkMRMLMarkupsNode
        May be under transforms.
    """

    def __init__(self, markupsNode: Any) -> None:
        self.markupsNode = markupsNode
        self._points: dict[str, ClickPoint] = {}
        self._quiet = False
        self._tags: list[int] = []
        self._onPoint: Callable[[ClickPoint], None] | None = None
        self._later: Callable[[Callable[[], None]], None] | None = None

    def watch(
        self,
        onPoint: Callable[[ClickPoint], None],
        later: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """Report points from now on; those that are there already are taken as dealt with.

        Parameters
        ----------
        onPoint : callable
            Called with a `ClickPoint` that a user has placed or moved, one after the other, also
            if the next is placed before the call returns.
        later : callable, optional
            Calls what it is given once the event is over; by default at once. A front end must
            not move or remove a point while the view that placed it still handles the mouse.
        """
        self._onPoint, self._later = onPoint, later
        if self._tags:
            return
        while (point := self._next()) is not None:
            self._pass(point)
        node = self.markupsNode
        for event in (node.PointPositionDefinedEvent, node.PointEndInteractionEvent):
            self._tags.append(node.AddObserver(event, self._onEvent))

    def stop(self) -> None:
        """Watch no more."""
        for tag in self._tags:
            self.markupsNode.RemoveObserver(tag)
        self._tags.clear()

    def position(self, point: ClickPoint) -> Position | None:
        """Return where a point is now, RAS mm of the world; None if it is not there."""
        return self._defined().get(point.pointId)

    def settle(self, point: ClickPoint, state: PointState | None) -> None:
        """Bring a point to a state: place it, move it, or remove it (None), unnoticed."""
        node = self.markupsNode
        point.state = state
        index = node.GetNthControlPointIndexByID(point.pointId)
        with self._unnoticed():
            if state is None:
                if index >= 0:
                    node.RemoveNthControlPoint(index)
            elif index < 0:
                self._points.pop(point.pointId, None)
                index = node.AddControlPointWorld(*state.position)
                point.pointId = node.GetNthControlPointID(index)
                self._points[point.pointId] = point
            elif not _near(self.position(point), state.position):
                node.SetNthControlPointPositionWorld(index, *state.position)

    def relabel(self, segmentationNode: Any) -> None:
        """Give each point the name of the segment that it made in a segmentation node."""
        segmentation = segmentationNode.GetSegmentation()
        for point in list(self._points.values()):
            if point.state is None or point.state.segmentationNode is not segmentationNode:
                continue
            segment = segmentation.GetSegment(point.state.segmentId)
            index = self.markupsNode.GetNthControlPointIndexByID(point.pointId)
            if segment is not None and index >= 0:
                self.markupsNode.SetNthControlPointLabel(index, segment.GetName())

    def _defined(self) -> dict[str, Position]:
        node = self.markupsNode
        found = {}
        for index in range(node.GetNumberOfControlPoints()):
            if node.GetNthControlPointPositionStatus(index) == node.PositionDefined:
                position = [0.0, 0.0, 0.0]
                node.GetNthControlPointPositionWorld(index, position)
                found[node.GetNthControlPointID(index)] = tuple(position)
        return found

    def _next(self) -> ClickPoint | None:
        for pointId, position in self._defined().items():
            point = self._points.setdefault(pointId, ClickPoint(pointId))
            if point.state is None or not _near(position, point.state.position):
                return point
        return None

    def _onEvent(self, caller: Any, event: str) -> None:
        if self._quiet:
            return
        if self._later is None:
            self.handle()
        else:
            self._later(self.handle)

    def handle(self) -> None:
        """Report the points that were placed or moved since."""
        if self._quiet:
            return  # whoever is at it sees the new ones too
        with self._unnoticed():
            while self._tags and (point := self._next()) is not None:
                before = point.state
                if self._onPoint is not None:
                    self._onPoint(point)
                if point.state is before:
                    self._pass(point)

    def _pass(self, point: ClickPoint) -> None:
        """Report a point no more where it is now."""
        position, before = self.position(point), point.state
        if position is not None:
            point.state = (
                PointState(position) if before is None else replace(before, position=position)
            )

    @contextmanager
    def _unnoticed(self) -> Any:
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before


def addPointsNode(scene: Any, name: str) -> Any:
    """Add an empty list of control points, with what shows it, to a scene."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    return node


def _near(one: Position | None, other: Position) -> bool:
    return one is not None and bool(np.abs(np.subtract(one, other)).max() < STILL_MM)
