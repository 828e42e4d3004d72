"""Following the endplates of a film while a user drags, places and deletes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import vtk

from SpineSegMRML.endplates import linesOf

__all__ = ["EndplateWatch"]


class EndplateWatch:
    """Tells of each change to the lines of one film."""

    def __init__(self) -> None:
        self.filmNode: Any = None
        self._scene: Any = None
        self._onChange: Callable[[], None] | None = None
        self._later: Callable[[Callable[[], None]], None] | None = None
        self._tags: list[tuple[Any, int]] = []
        self._lineTags: dict[Any, list[int]] = {}
        self._pending = False
        self._quiet = False

    def follow(
        self,
        filmNode: Any,
        onChange: Callable[[], None],
        later: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """Follow a film's lines, and no other's; None for no film.

        Parameters
        ----------
        filmNode : vtkMRMLScalarVolumeNode or None
        onChange : callable
            Called after a line was moved, placed, added or removed, and with the film itself gone.
        later : callable, optional
            Calls what it is given once the event is over; several events then make one call. By
            default each is answered at once.
        """
        if filmNode is self.filmNode and filmNode is not None:
            self._onChange, self._later = onChange, later
            self._observeLines()
            return
        self.stop()
        if filmNode is None or filmNode.GetScene() is None:
            return
        self.filmNode, self._onChange, self._later = filmNode, onChange, later
        scene = self._scene = filmNode.GetScene()
        for node, event, handle in (
            (filmNode, filmNode.TransformModifiedEvent, self._onMoved),
            (scene, scene.NodeAddedEvent, self._onNode),
            (scene, scene.NodeRemovedEvent, self._onNode),
            (scene, scene.EndCloseEvent, self._onClosed),
        ):
            self._tags.append((node, node.AddObserver(event, handle)))
        self._observeLines()

    def stop(self) -> None:
        """Follow nothing any more."""
        for node, tag in self._tags:
            node.RemoveObserver(tag)
        self._tags.clear()
        for node in list(self._lineTags):
            self._leave(node)
        self.filmNode = self._scene = self._onChange = None

    @contextmanager
    def unnoticed(self) -> Iterator[None]:
        """Say nothing of what happens to the lines in the block."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before
            if self.filmNode is not None:
                self._observeLines()

    def _observeLines(self) -> None:
        lines = [] if self.filmNode.GetScene() is None else list(linesOf(self.filmNode).values())
        for node in list(self._lineTags):
            if node not in lines:
                self._leave(node)
        for node in lines:
            if node not in self._lineTags:
                events = (node.PointModifiedEvent, node.PointPositionDefinedEvent,
                          node.PointRemovedEvent)  # fmt: skip
                self._lineTags[node] = [node.AddObserver(e, self._onMoved) for e in events]

    def _leave(self, node: Any) -> None:
        for tag in self._lineTags.pop(node):
            node.RemoveObserver(tag)

    def _onMoved(self, caller: Any, event: str) -> None:
        if self._quiet or self._pending:
            return
        if self._later is None:
            self._tell()
        else:
            self._pending = True
            self._later(self._tell)

    def _tell(self) -> None:
        self._pending = False
        if self._onChange is not None:
            self._onChange()

    # VTK's Python observers pass the node only when this is said.
    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNode(self, caller: Any, event: str, node: Any) -> None:
        # A scene that closes removes node by node; nobody wants to know of each.
        if self._quiet or node is None or self._scene.IsClosing():
            return
        if node is self.filmNode:
            tell = self._onChange
            self.stop()
            if tell is not None:
                tell()
        elif node.IsA("vtkMRMLMarkupsLineNode"):
            before = set(self._lineTags)
            self._observeLines()
            if set(self._lineTags) != before:
                self._onMoved(caller, event)

    def _onClosed(self, caller: Any, event: str) -> None:
        self.stop()
