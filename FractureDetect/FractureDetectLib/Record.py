"""What a search has measured, kept on the segmentation's node, and that node's points as they are.

What was measured lies in the world as it was when it was searched; the point lists are in the RAS
of the CT's parent transform. The record knows the way between the two, so that points which moved
along with the CT are not taken for a user's work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spineseg.fracture_state import FractureState
from spineseg.measure.vertebra_body import VertebraBody

__all__ = ["FOUND", "SCAN_ROLE", "Record", "recordOf"]

FOUND = "SpineSeg.Fractures"
"""Attribute of a segmentation's node: JSON of what a search has measured in it."""
SCAN_ROLE = "SpineSegScan"
"""Role of the segmentation's reference to the CT that was searched."""
STILL_MM = 0.01

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Record:
    """One search.

    Attributes
    ----------
    state : FractureState
        As measured: RAS mm of the world of then.
    frame : (4, 4) float64
        From the point lists' own RAS to that world.
    fingerprint : str
        Of the label map that was searched.
    seconds : float
        What the search took.
    """

    state: FractureState
    frame: Floats
    fingerprint: str
    seconds: float = 0.0

    @classmethod
    def fromText(cls, text: str) -> Record:
        """Return the record that `toText` wrote.

        Raises
        ------
        InputError
            It is damaged, or of another version.
        """
        content = json.loads(text)
        state = FractureState.from_json(content.get("state"))
        frame = np.array(content["frame"], dtype=float)
        return cls(state, frame, content["fingerprint"], content["seconds"])

    def toText(self) -> str:
        """Return it as JSON."""
        content = {
            "state": self.state.to_json(),
            "frame": self.frame.tolist(),
            "fingerprint": self.fingerprint,
            "seconds": self.seconds,
        }
        return json.dumps(content)

    @cached_property
    def found(self) -> dict[int, Floats]:
        """The points (3, 2, 3, 3) of each vertebra that has some, in the lists' own RAS."""
        back = np.linalg.inv(self.frame)
        return {
            b.label: _through(back, b.points) for b in self.state.bodies if b.points is not None
        }

    def sixes(self) -> dict[int, Floats]:
        """Return the points (2, 3, 3) of the middle planes as they were found, for the lists."""
        return {label: points[1] for label, points in self.found.items()}

    def sides(self) -> dict[int, Floats]:
        """Return the points (2, 2, 3, 3) beside the middle planes, for the list of those."""
        return {label: points[[0, 2]] for label, points in self.found.items()}

    def moved(self, now: Mapping[int, Floats]) -> dict[int, Floats]:
        """Return those of a user's points (2, 3, 3) that are not where they were found."""
        known = self.found
        return {
            label: six
            for label, six in now.items()
            if label in known and np.abs(six - known[label][1]).max() > STILL_MM
        }

    def asMoved(self, now: Mapping[int, Floats]) -> FractureState:
        """Return the state with the points of the lists as they are now."""
        moved = self.moved(now)
        return self.state.with_points({n: _through(self.frame, six) for n, six in moved.items()})

    def body(self, label: int) -> VertebraBody | None:
        """Return a vertebra as it was measured."""
        return next((body for body in self.state.bodies if body.label == label), None)


def _through(matrix: Floats, points: Floats) -> Floats:
    """Return points (…, 3) through a 4×4 matrix; one that changes nothing keeps every digit."""
    if np.array_equal(matrix, np.eye(4)):
        return points
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def recordOf(segmentationNode: Any) -> Record | None:
    """Return what was measured last in a segmentation; None if it never was searched."""
    text = segmentationNode.GetAttribute(FOUND) if segmentationNode is not None else None
    return Record.fromText(text) if text else None
