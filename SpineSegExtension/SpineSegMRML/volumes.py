"""Volume nodes to and from the library's `Volume`.

A volume node's array is ``(k, j, i)`` and its IJKToRAS matrix maps ``(i, j, k)`` to RAS mm, just as
in `Volume`; only the transforms above the node and VTK's image extent need care.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from spineseg.errors import InputError
from spineseg.grid import Grid
from spineseg.volume import Volume
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from SpineSegMRML.i18n import tr as _

__all__ = [
    "addVolumeNode",
    "affineFromNode",
    "gridFromNode",
    "imageFromArray",
    "matrixToArray",
    "parentMatrix",
    "putBack",
    "requireShape",
    "setVolume",
    "volumeFromNode",
]

ORTHOGONALITY_TOLERANCE = 1e-3
"""Largest cosine between two axes of a grid that image files can still describe."""


def matrixToArray(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """Return a 4×4 float64 array of a VTK matrix."""
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


def arrayToMatrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    """Return a VTK matrix of a 4×4 array."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, dtype=float).ravel())
    return matrix


def parentMatrix(node: Any) -> np.ndarray:
    """Return the 4×4 matrix from `node`'s own RAS to the world's RAS, identity without a parent.

    Raises
    ------
    InputError
        A transform above the node is not linear, so that no matrix describes it.
    """
    transformNode = node.GetParentTransformNode()
    if transformNode is None:
        return np.eye(4)
    if not transformNode.IsTransformToWorldLinear():
        raise InputError(
            _("“{name}” is under a transform that bends it.").format(name=node.GetName()),
            _("Harden the transform in the Data module, or take the volume out of it."),
        )
    matrix = vtk.vtkMatrix4x4()
    transformNode.GetMatrixTransformToWorld(matrix)
    return matrixToArray(matrix)


def affineFromNode(node: Any, world: bool = True) -> np.ndarray:
    """Return a volume node's affine: 4×4 float64, ``(i, j, k, 1)`` to RAS mm.

    Parameters
    ----------
    node : vtkMRMLVolumeNode
    world : bool
        Through the (linear) transforms above the node; False gives the node's own RAS.

    Raises
    ------
    InputError
        A transform above the node is not linear, or it shears the grid.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    affine = matrixToArray(matrix)
    if world:
        affine = parentMatrix(node) @ affine
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > ORTHOGONALITY_TOLERANCE:
        raise InputError(
            _("The axes of “{name}” are not at right angles.").format(name=node.GetName()),
            _("Resample it first, or take it out of the transform that shears it."),
        )
    return affine


def volumeFromNode(node: Any, world: bool = True) -> Volume:
    """Return a scalar volume node as a `Volume` that shares the node's voxels.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode
        Any orientation and spacing; it may be under linear transforms.
    world : bool
        Affine to the world's RAS (default) or to the node's own RAS; the array is the same.

    Raises
    ------
    InputError
        There are no voxels, more than one value a voxel, or a transform that no affine describes.
    """
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise InputError(_("“{name}” has no voxels.").format(name=node.GetName()))
    scalars = image.GetPointData().GetScalars()
    if scalars.GetNumberOfComponents() != 1:
        raise InputError(
            _("“{name}” has more than one value a voxel.").format(name=node.GetName()),
            _("Choose a scalar volume."),
        )
    array = vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1])
    return Volume(array, gridFromNode(node, world).affine)


def gridFromNode(node: Any, world: bool = True) -> Grid:
    """Return where the voxels of a volume node lie, whatever they hold.

    Raises
    ------
    InputError
        There are no voxels, or a transform that no affine describes.
    """
    image = node.GetImageData()
    if image is None:
        raise InputError(_("“{name}” has no voxels.").format(name=node.GetName()))
    affine = affineFromNode(node, world)
    # A node's IJK counts from the extent's own zero, an array's from its first voxel.
    affine[:3, 3] += affine[:3, :3] @ np.array(image.GetExtent()[::2], dtype=float)
    return Grid(image.GetDimensions()[::-1], affine)


def imageFromArray(array: np.ndarray, image: vtk.vtkImageData | None = None) -> vtk.vtkImageData:
    """Fill a VTK image with a copy of a ``(k, j, i)`` array; its extent starts at zero."""
    if image is None:
        image = vtk.vtkImageData()
    image.SetDimensions(array.shape[::-1])
    scalars = numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image


def setVolume(node: Any, volume: Volume) -> None:
    """Give a volume node the voxels and geometry of `volume` (affine to the node's own RAS)."""
    node.SetIJKToRASMatrix(arrayToMatrix(volume.affine))
    node.SetAndObserveImageData(imageFromArray(volume.array))


def putBack(node: Any, image: Any, affine: np.ndarray, transformId: str | None) -> None:
    """Give a volume node back the voxels, the affine (own RAS) and the parent that it had."""
    node.SetIJKToRASMatrix(arrayToMatrix(affine))
    node.SetAndObserveImageData(image)
    node.SetAndObserveTransformNodeID(transformId)


def requireShape(volume: Volume, sourceNode: Any) -> None:
    """Raise InputError if a result has another shape than the volume that it was made from."""
    shape = sourceNode.GetImageData().GetDimensions()[::-1]
    if tuple(volume.shape) != tuple(shape):
        raise InputError(
            _("The result does not lie on the grid of “{name}”.").format(name=sourceNode.GetName()),
            details=f"{volume.shape} against {shape} voxels (k, j, i)",
        )


def addVolumeNode(scene: Any, volume: Volume, name: str) -> Any:
    """Add a displayable vtkMRMLScalarVolumeNode with `volume`'s voxels to `scene`."""
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(scene.GenerateUniqueName(name))
    setVolume(node, volume)
    node = scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    return node
