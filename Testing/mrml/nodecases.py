"""Grids, volumes and label maps that the mrml tier's tests put on nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from spineseg import labels
from spineseg.volume import Volume
from SpineSegMRML import volumes


def obliqueAffine() -> np.ndarray:
    """An affine (i, j, k → RAS mm) with rotated axes, unequal spacing and an off-centre origin."""
    a, b = np.radians(20.0), np.radians(-35.0)
    about_s = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_r = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_s @ about_r @ np.diag([0.7, 0.9, 2.5])
    affine[:3, 3] = [31.0, -62.5, 400.25]
    return affine


def axisAlignedAffine() -> np.ndarray:
    """An affine whose axes are L, P, S, as scanners write them, with thick slices."""
    return np.array([[-0.8, 0, 0, 10.0], [0, -0.8, 0, 20.0], [0, 0, 3.0, -30.0], [0, 0, 0, 1.0]])


AFFINES = {
    "isotropic": np.eye(4),
    "axis aligned": axisAlignedAffine(),
    "oblique": obliqueAffine(),
}


def ctVolume(affine: np.ndarray, shape: tuple[int, int, int] = (14, 18, 22)) -> Volume:
    """An int16 volume (k, j, i) in which every voxel differs from its neighbours."""
    array = np.arange(np.prod(shape)).reshape(shape) % 3000 - 1000
    return Volume(array.astype(np.int16), affine)


def labelVolume(affine: np.ndarray, shape: tuple[int, int, int] = (14, 18, 22)) -> Volume:
    """A uint8 label map (k, j, i): L1 and L2, an unsure vertebra, T13 and the sacrum."""
    array = np.zeros(shape, np.uint8)
    for position, label in enumerate(LABELS):
        low = 1 + 2 * position
        array[low : low + 2, 4:12, 5 : 15 + position] = label
    return Volume(array, affine)


LABELS = (
    labels.by_name("T13").verse,
    labels.by_name("L1").verse,
    labels.by_name("L2").verse,
    labels.SACRUM.verse,
    labels.FIRST_UNSURE,
)


def addTransform(scene: Any, node: Any, matrix: np.ndarray) -> Any:
    """Put `node` under a new linear transform node with a 4×4 matrix, and return that."""
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(volumes.arrayToMatrix(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def rigid(affine: np.ndarray) -> np.ndarray:
    """Return `affine` without its spacing."""
    result = affine.copy()
    result[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0)
    return result
