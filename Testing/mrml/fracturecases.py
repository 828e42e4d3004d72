"""A digital patient with a crushed vertebra, and what the tests of FractureDetect do with it."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tinyworker
from FractureDetectLib import Points
from spineseg.fracture import find_fractures
from spineseg.fracture_state import FractureState
from spineseg.labels import by_name
from spineseg.phantom import Fracture, Phantom, PhantomSettings, generate
from SpineSegMRML import segmentations, volumes
from SpineSegMRML.fracturejobs import FracturesFound

WORKER = [sys.executable, str(Path(tinyworker.__file__))]
SETTINGS = PhantomSettings(
    spacing_mm=2.5, levels=("T10", "L4"), cobb_deg=5.0, margin_mm=(45.0, 60.0, 14.0),
    fractures=(Fracture("L1", "wedge", 0.5),), degeneration=0.1, osteoporosis=0.6,
)  # fmt: skip
WHOLE = ("T10", "T11", "T12", "L1", "L2", "L3", "L4")
CUT = ("T7", "T8", "T9", "L5")
L1, L3 = (by_name(name).verse for name in ("L1", "L3"))


@functools.cache
def patient() -> Phantom:
    """Return the digital patient: L1 has lost half of its front height."""
    return generate(SETTINGS, 700_003)


@functools.cache
def measured() -> FractureState:
    """Return what a search of the patient measures."""
    return FractureState.of(find_fractures(patient().ct, patient().vertebrae))


def atOnce(volume: Any, segmentation: Any = None, *_: Any, **__: Any) -> FracturesFound:
    """Answer like the child process, without one; where nothing else is given, from memory."""
    truth = patient().vertebrae
    given = truth if segmentation is None else segmentation
    known = np.array_equal(given.array, truth.array) and np.allclose(given.affine, truth.affine)
    known = known and np.array_equal(volume.array, patient().ct.array)
    state = measured() if known else FractureState.of(find_fractures(volume, given))
    return FracturesFound(state, truth if segmentation is None else None, 2.0)


def addPatient(scene: Any) -> tuple[Any, Any]:
    """Add the patient's CT and vertebrae to a scene; return both nodes."""
    ct = volumes.addVolumeNode(scene, patient().ct, "ct")
    return ct, segmentations.addSegmentationNode(patient().vertebrae, ct, "vertebrae")


def contents(application: Any) -> tuple[Any, ...]:
    """Return what a user would notice in the scene: nodes, their names, and the hierarchy."""
    scene = application.scene
    nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
    shown = [n for n in nodes if not n.GetHideFromEditors() or n.IsA("vtkMRMLVolumeNode")]
    items = application.subjectHierarchy().GetNumberOfItems()
    return sorted((n.GetClassName(), n.GetName()) for n in shown), items


def lower(segmentationNode: Any, label: int, share: float = 0.45, place: int = 0) -> None:
    """Take a share of a vertebra's height away at a place, by moving its upper point."""
    node = Points.listsOf(segmentationNode)[label]
    six = Points.sixOf(node)
    node.SetNthControlPointPosition(place, *((1 - share) * six[0, place] + share * six[1, place]))


def grades(outcome: Any) -> dict[str, int | None]:
    """Return the grade of each vertebra."""
    return {f.level: f.graded.grade for f in outcome.findings}


def cells(tableNode: Any, name: str) -> dict[str, str]:
    """Return a column of a table by level."""
    level, column = (tableNode.GetColumnIndex(key) for key in ("level", name))
    return {
        tableNode.GetCellText(row, level): tableNode.GetCellText(row, column)
        for row in range(tableNode.GetNumberOfRows())
    }
