"""Following the markups that belong to a node while a user drags, places and deletes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import vtk

__all__ = ["MarkupsWatch"]


class MarkupsWatch:
    """Tells of each change to the markups of one node: the endplates of a film, say.

    Parameters
    ----------
    markupsOf : callable
        Returns the markups that belong to a node, as the values of a mapping.
    className : str
        Their class.

    Attributes
    ----------
    ownerNode : vtkMRMLNode or None
        Whose markups are followed.
    drags : int
        How many times a user has begun to drag one of them.
    """

    def __init__(self, markupsOf: Callable[[Any], Mapping[Any, Any]], className: str) -> None:
        self._markupsOf = markupsOf
        self._className = className
        self.ownerNode: Any = None
        self.drags = 0
        self._scene: Any = None
        self._onChange: Callable[[], None] | None = None
        self._later: Callable[[Callable[[], None]], None] | None = None
        self._tags: list[tuple[Any, int]] = []
        self._markupTags: dict[Any, list[int]] = {}
        self._pending = False
        self._quiet = False

    def follow(
        self,
        ownerNode: Any,
        onChange: Callable[[], None],
        later: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """Follow the markups of a node, and no other's; None for no node.

        Parameters
        ----------
        ownerNode : vtkMRMLTransformableNode or None
        onChange : callable
            Called after one was moved, placed, added or removed, and with the node itself gone.
        later : callable, optional
            Calls what it is given once the event is over; several events then make one call. By
            default each is answered at once.
        """
        if ownerNode is self.ownerNode and ownerNode is not None:
            self._onChange, self._later = onChange, later
            self._observeMarkups()
            return
        self.stop()
        if ownerNode is None or ownerNode.GetScene() is None:
            return
        self.ownerNode, self._onChange, self._later = ownerNode, onChange, later
        scene = self._scene = ownerNode.GetScene()
        for node, event, handle in (
            (ownerNode, ownerNode.TransformModifiedEvent, self._onMoved),
            (scene, scene.NodeAddedEvent, self._onNode),
            (scene, scene.NodeRemovedEvent, self._onNode),
            (scene, scene.EndCloseEvent, self._onClosed),
        ):
            self._tags.append((node, node.AddObserver(event, handle)))
        self._observeMarkups()

    def stop(self) -> None:
        """Follow nothing any more."""
        for node, tag in self._tags:
            node.RemoveObserver(tag)
        self._tags.clear()
        for node in list(self._markupTags):
            self._leave(node)
        self.ownerNode = self._scene = self._onChange = None

    @contextmanager
    def unnoticed(self) -> Iterator[None]:
        """Say nothing of what happens to the markups in the block."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before
            if self.ownerNode is not None:
                self._observeMarkups()

    def _observeMarkups(self) -> None:
        gone = self.ownerNode.GetScene() is None
        there = [] if gone else list(self._markupsOf(self.ownerNode).values())
        for node in list(self._markupTags):
            if node not in there:
                self._leave(node)
        for node in there:
            if node not in self._markupTags:
                events = (node.PointModifiedEvent, node.PointPositionDefinedEvent,
                          node.PointRemovedEvent)  # fmt: skip
                tags = [node.AddObserver(e, self._onMoved) for e in events]
                start = node.AddObserver(node.PointStartInteractionEvent, self._onDrag)
                self._markupTags[node] = [*tags, start]

    def _leave(self, node: Any) -> None:
        for tag in self._markupTags.pop(node):
            node.RemoveObserver(tag)

    def _onDrag(self, caller: Any, event: str) -> None:
        self.drags += 1

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
        if node is self.ownerNode:
            tell = self._onChange
            self.stop()
            if tell is not None:
                tell()
        elif node.IsA(self._className):
            before = set(self._markupTags)
            self._observeMarkups()
            if set(self._markupTags) != before:
                self._onMoved(caller, event)

    def _onClosed(self, caller: Any, event: str) -> None:
        self.stop()
