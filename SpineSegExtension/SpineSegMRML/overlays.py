"""Colour tables of what is laid over a volume or a model, and how it is shown with them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
from vtk.util.numpy_support import numpy_to_vtk

__all__ = [
    "confidenceColor",
    "confidenceColors",
    "distanceColors",
    "probabilityColors",
    "showConfidence",
    "showDistance",
    "showProbability",
]

SURE = 80
"""Confidence (0 to 100) from which on nothing is laid over the MR."""

LIKELY = 50
"""Percent from which on a probability is shown over the CT."""

# Every ninth part of viridis, matplotlib's colour map (CC0).
_VIRIDIS = (
    (68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142),
    (31, 158, 137), (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37),
)  # fmt: skip
_SURE_LINE = (80, 220, 90)
_DOUBT = ((255, 40, 20), (255, 140, 20), (255, 240, 60))


def confidenceColors(scene: Any) -> Any:
    """Return the scene's colour table of confidence: red is none, yellow some, then nothing."""
    colors = _between(_DOUBT, SURE + 1)
    return _colorTable(scene, "SpineSegConfidence", "SpineSeg confidence", colors, 101)


def probabilityColors(scene: Any) -> Any:
    """Return the scene's colour table of probabilities: nothing, then yellow to red from half."""
    colors = _between(_DOUBT[::-1], 101 - LIKELY)
    colors = np.concatenate([np.tile(colors[:1], (LIKELY, 1)), colors])
    return _colorTable(
        scene, "SpineSegProbability", "SpineSeg probability", colors, 101, first=LIKELY
    )


def distanceColors(scene: Any) -> Any:
    """Return the scene's colour table of distances: viridis in 256 steps."""
    return _colorTable(
        scene, "SpineSegDistance", "SpineSeg distance (viridis)", _between(_VIRIDIS, 256), 256
    )


def showConfidence(volumeNode: Any) -> None:
    """Show a volume of confidence (0 to 100) in colours where the MR is not recovered.

    What is sure is transparent, so that the node can lie over the MR as a foreground.
    """
    _showPercent(volumeNode, confidenceColors(volumeNode.GetScene()), 0, SURE)


def showProbability(volumeNode: Any) -> None:
    """Show a volume of probabilities (0 to 100) in colours where they are `LIKELY` or more."""
    _showPercent(volumeNode, probabilityColors(volumeNode.GetScene()), LIKELY, 100)


def _showPercent(volumeNode: Any, colors: Any, low: int, high: int) -> None:
    """Show what lies between two values of 0 to 100 in the colours of a table, and no more."""
    display = volumeNode.GetDisplayNode()
    display.SetAndObserveColorNodeID(colors.GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(100, 50)
    display.SetAutoThreshold(False)
    display.SetThreshold(low, high)
    display.SetApplyThreshold(True)
    display.SetInterpolate(False)


def showDistance(modelNode: Any, name: str, values: np.ndarray, most: float) -> None:
    """Colour a model by a value at each of its points.

    Parameters
    ----------
    modelNode : vtkMRMLModelNode
        With a surface and a display node.
    name : str
        Of the point scalars.
    values : ndarray
        (n,), mm.
    most : float
        What the brightest colour stands for, mm; the darkest is zero.
    """
    scalars = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    scalars.SetName(name)
    modelNode.GetPolyData().GetPointData().SetScalars(scalars)
    display = modelNode.GetDisplayNode()
    display.SetAndObserveColorNodeID(distanceColors(modelNode.GetScene()).GetID())
    display.SetActiveScalarName(name)
    display.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseManualScalarRange)
    display.SetScalarRange(0.0, most)
    display.SetScalarVisibility(True)


def confidenceColor(confidence: float) -> tuple[float, float, float]:
    """Return the colour (0 to 1) of a line that a method is so sure of (0 to 1).

    Red is not at all, yellow some, green sure.
    """
    return _stepColor(round(100 * min(max(confidence, 0.0), 1.0)))


@functools.cache
def _stepColor(step: int) -> tuple[float, float, float]:
    red, green, blue = _between((*_DOUBT, _SURE_LINE), 101)[step]
    return float(red), float(green), float(blue)


def _between(colors: Sequence[Sequence[int]], count: int) -> np.ndarray:
    """Return `count` colours (n, 3), 0 to 1, evenly along a list of colours (0 to 255)."""
    table = np.asarray(colors, dtype=float) / 255
    place = np.linspace(0, len(table) - 1, count)
    return np.stack([np.interp(place, np.arange(len(table)), c) for c in table.T], axis=1)


def _colorTable(
    scene: Any, tag: str, name: str, colors: np.ndarray, size: int, first: int = 0
) -> Any:
    """Return a colour table of the scene; entries before `first` and beyond the colours are
    transparent.
    """
    node = scene.GetSingletonNode(tag, "vtkMRMLColorTableNode")
    if node is not None:
        return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(name)
    node.SetSingletonTag(tag)
    node.SetTypeToUser()
    node.HideFromEditorsOn()
    node.SetNumberOfColors(size)
    for index in range(size):
        rgb = colors[min(index, len(colors) - 1)]
        opacity = 1.0 if first <= index < len(colors) else 0.0
        node.SetColor(index, str(index), *(float(c) for c in rgb), opacity)
    return scene.AddNode(node)
