"""What a user and the program did to the points of a segmentation, step by step, to take it back.

MRML has no undo for points. A drag moves a point many times: all of that is one step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from FractureDetectLib import Points
from FractureDetectLib.Record import FOUND

__all__ = ["Snapshot", "Steps", "snapshotOf"]

LIMIT = 50
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A segmentation's search and points as they were.

    Attributes
    ----------
    segmentationNode : vtkMRMLSegmentationNode
    found : str or None
        Its record, as text.
    sixes : mapping of int to (2, 3, 3) float64
    """

    segmentationNode: Any
    found: str | None
    sixes: Mapping[int, Floats]


def snapshotOf(segmentationNode: Any) -> Snapshot:
    """Return a segmentation's search and points as they are now."""
    found = segmentationNode.GetAttribute(FOUND)
    return Snapshot(segmentationNode, found, Points.sixesOf(segmentationNode))


class Steps:
    """The last steps, newest last."""

    def __init__(self) -> None:
        self._done: list[Snapshot] = []
        self._last: Snapshot | None = None
        self._key: Any = None

    def settle(self, segmentationNode: Any) -> None:
        """Take a segmentation's points as they are now for where the next step begins."""
        self._last = None if segmentationNode is None else snapshotOf(segmentationNode)
        self._key = None

    def add(self, before: Snapshot) -> None:
        """Remember how it was before the program changed it."""
        self._done.append(before)
        del self._done[:-LIMIT]

    def notice(self, segmentationNode: Any, drag: int) -> None:
        """Remember how it was before a user moved points, if some were moved.

        Parameters
        ----------
        segmentationNode : vtkMRMLSegmentationNode
        drag : int
            Another number for another drag; what one drag does to one point is one step.
        """
        now, last = snapshotOf(segmentationNode), self._last
        if last is None or last.segmentationNode is not segmentationNode:
            self.settle(segmentationNode)
            return
        changed = _changed(last.sixes, now.sixes)
        if not changed or last.found != now.found:
            self._last = now
            return
        key = (changed, drag)
        if key != self._key:
            self.add(last)
        self._last, self._key = now, key

    @property
    def canUndo(self) -> bool:
        """Whether there is something to take back."""
        self._done = [one for one in self._done if one.segmentationNode.GetScene() is not None]
        return bool(self._done)

    def pop(self) -> Snapshot:
        """Return how it was before the last step, and forget that."""
        return self._done.pop()

    def clear(self) -> None:
        """Forget all."""
        self._done.clear()
        self.settle(None)


def _changed(before: Mapping[int, Floats], now: Mapping[int, Floats]) -> frozenset[tuple[int, int]]:
    """Return label and number of each point that is elsewhere, there no more, or new."""
    found = set()
    for label in {*before, *now}:
        if label not in before or label not in now:
            found.add((label, -1))
        else:
            other = np.abs(before[label] - now[label]).reshape(-1, 3).max(axis=1) > 0
            found |= {(label, int(n)) for n in np.flatnonzero(other)}
    return frozenset(found)
