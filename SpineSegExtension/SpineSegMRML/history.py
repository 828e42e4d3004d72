"""Undo and redo of what the program changes in segmentation nodes.

MRML has none for scripted changes, and the Segment Editor's own covers only its strokes. A change
keeps the segments that it touched, as they were before and after; other segments, and a user's
strokes on them, are never brought back to an earlier state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from spineseg.errors import InputError

from SpineSegMRML.i18n import tr as _
from SpineSegMRML.kept import Kept, dressAsKept, keep, putBack, sameAsNow, sameVoxels
from SpineSegMRML.segments import removeSegments

__all__ = ["Change", "History", "Recording"]

LIMIT = 20
"""Changes that can be undone."""


@dataclass(frozen=True)
class Change:
    """What one action did to the segments of a node.

    Attributes
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    before, after : list of Kept
        The segments that it touched.
    also : callable or None
        Called with True when the change is undone and with False when it is done again, for what
        goes with it (a control point, say).
    """

    segmentationNode: Any
    before: list[Kept]
    after: list[Kept]
    also: Callable[[bool], None] | None = None


class History:
    """The last changes, newest last."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._done: list[Change] = []
        self._undone: list[Change] = []

    @property
    def canUndo(self) -> bool:
        """Whether there is something to undo."""
        self._dropClosed()
        return bool(self._done)

    @property
    def canRedo(self) -> bool:
        """Whether there is something to do again."""
        self._dropClosed()
        return bool(self._undone)

    def add(self, change: Change) -> None:
        """Remember a change that was made; what was undone before can't be done again."""
        self._done.append(change)
        del self._done[: -self._limit]
        self._undone.clear()

    def undo(self) -> Change:
        """Take the last change back and return it.

        Raises
        ------
        InputError
            There is none, or its segments were changed since; the scene stays as it is.
        """
        if not self.canUndo:
            raise InputError(_("There is nothing to undo."))
        change = self._done[-1]
        _swap(change.segmentationNode, change.after, change.before)
        if change.also is not None:
            change.also(True)
        self._undone.append(self._done.pop())
        return change

    def redo(self) -> Change:
        """Do the change that was undone last again and return it; errors as in `undo`."""
        if not self.canRedo:
            raise InputError(_("There is nothing to do again."))
        change = self._undone[-1]
        _swap(change.segmentationNode, change.before, change.after)
        if change.also is not None:
            change.also(False)
        self._done.append(self._undone.pop())
        return change

    def forget(self, segmentationNode: Any = None) -> None:
        """Drop the changes of a node, or all of them."""
        for changes in (self._done, self._undone):
            changes[:] = [
                change
                for change in changes
                if segmentationNode is not None and change.segmentationNode is not segmentationNode
            ]

    def _dropClosed(self) -> None:
        for changes in (self._done, self._undone):
            changes[:] = [c for c in changes if c.segmentationNode.GetScene() is not None]


def _swap(segmentationNode: Any, expected: Sequence[Kept], wanted: Sequence[Kept]) -> None:
    """Replace segments, if they are still as expected, by others."""
    segmentation = segmentationNode.GetSegmentation()
    old = {kept.segmentId: kept for kept in expected}
    # Those that only got another name keep the strokes that were painted on them since.
    dressed = [k for k in wanted if k.segmentId in old and sameVoxels(k, old[k.segmentId])]
    names = {kept.segmentId for kept in dressed}
    changed = [
        kept.name
        for kept in expected
        if not sameAsNow(segmentationNode, kept, kept.segmentId in names)
    ]
    changed += [
        kept.name
        for kept in wanted
        if kept.segmentId not in old and segmentation.GetSegment(kept.segmentId) is not None
    ]
    if changed:
        raise InputError(
            _("“{name}” was edited since, and that work would be lost.").format(name=changed[0]),
            _("Undo the edit in the Segment Editor first."),
        )
    removeSegments(segmentationNode, [i for i in old if i not in names])
    putBack(segmentationNode, [kept for kept in wanted if kept.segmentId not in names])
    for kept in dressed:
        dressAsKept(segmentationNode, kept)


class Recording:
    """Records what happens to segments inside a ``with`` block, and takes it back if it fails.

    Parameters
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    ids : collection of str
        Segments that may be changed or removed in the block. Those that it adds are found.
    """

    def __init__(self, segmentationNode: Any, ids: Collection[str]) -> None:
        self._node = segmentationNode
        self._ids = list(ids)
        self._present: set[str] = set()
        self._before: list[Kept] = []
        self._after: list[Kept] = []

    def __enter__(self) -> Recording:
        self._present = set(self._node.GetSegmentation().GetSegmentIDs())
        self._before = keep(self._node, self._ids)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        now = self._node.GetSegmentation().GetSegmentIDs()
        changed = [i for i in now if i in self._ids or i not in self._present]
        if kind is None:
            self._after = keep(self._node, changed)
        else:
            removeSegments(self._node, changed)
            putBack(self._node, self._before)

    def change(self, also: Callable[[bool], None] | None = None) -> Change:
        """Return what happened."""
        return Change(self._node, self._before, self._after, also)
