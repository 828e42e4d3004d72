"""Volume nodes to the library and back, on every grid and under transforms."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from nodecases import addTransform, ctVolume, obliqueAffine, rigid
from spineseg.errors import InputError
from SpineSegMRML import volumes


def test_round_trip_keeps_voxels_type_and_geometry(scene, affine):
    volume = ctVolume(affine)
    node = volumes.addVolumeNode(scene, volume, "ct")
    back = volumes.volumeFromNode(node)
    assert back.array.dtype == np.int16
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.affine, affine, atol=1e-9)


def test_node_places_a_voxel_where_the_volume_does(scene, affine):
    node = volumes.addVolumeNode(scene, ctVolume(affine), "ct")
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    ijk = np.array([3.0, 5.0, 7.0, 1.0])
    volume = volumes.volumeFromNode(node)
    np.testing.assert_allclose(matrix.MultiplyPoint(ijk)[:3], (affine @ ijk)[:3], atol=1e-9)
    np.testing.assert_allclose(volume.ijk_to_ras(ijk[None, :3])[0], (affine @ ijk)[:3], atol=1e-9)
    assert volume.array[7, 5, 3] == node.GetImageData().GetScalarComponentAsDouble(3, 5, 7, 0)


def test_parent_transforms_move_the_volume_and_only_in_the_world(scene, affine):
    node = volumes.addVolumeNode(scene, ctVolume(affine), "ct")
    inner = rigid(obliqueAffine())
    transform = addTransform(scene, node, inner)
    outer = np.eye(4)
    outer[:3, 3] = [5.0, -6.0, 7.0]
    addTransform(scene, transform, outer)
    np.testing.assert_allclose(
        volumes.volumeFromNode(node).affine, outer @ inner @ affine, atol=1e-9
    )
    np.testing.assert_allclose(volumes.volumeFromNode(node, world=False).affine, affine, atol=1e-9)


def test_an_extent_that_does_not_start_at_zero_is_taken_into_account(scene, affine):
    node = volumes.addVolumeNode(scene, ctVolume(affine), "ct")
    node.GetImageData().SetExtent(2, 23, 3, 20, 4, 17)
    np.testing.assert_allclose(
        volumes.volumeFromNode(node).affine @ [0, 0, 0, 1], affine @ [2, 3, 4, 1], atol=1e-9
    )


def test_a_shearing_transform_is_refused_in_one_sentence(scene):
    node = volumes.addVolumeNode(scene, ctVolume(np.eye(4)), "tilted")
    shear = np.eye(4)
    shear[1, 2] = 0.3
    addTransform(scene, node, shear)
    with pytest.raises(InputError, match="“tilted” are not at right angles"):
        volumes.volumeFromNode(node)


def test_a_bending_transform_is_refused_in_one_sentence(scene):
    node = volumes.addVolumeNode(scene, ctVolume(np.eye(4)), "bent")
    spline = vtk.vtkThinPlateSplineTransform()
    points = vtk.vtkPoints()
    for point in ((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (20, 20, 20)):
        points.InsertNextPoint(point)
    moved = vtk.vtkPoints()
    moved.DeepCopy(points)
    moved.SetPoint(4, 30, 20, 20)
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(moved)
    spline.SetBasisToR()
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(InputError, match="“bent” is under a transform that bends it"):
        volumes.volumeFromNode(node)


def test_a_node_without_voxels_is_refused_in_one_sentence(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(InputError, match="“empty” has no voxels"):
        volumes.volumeFromNode(node)


def test_a_colour_volume_is_refused_in_one_sentence(scene):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photograph")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    with pytest.raises(InputError, match="more than one value a voxel"):
        volumes.volumeFromNode(node)


def test_the_application_is_not_there():
    """What makes this tier catch a Logic that reaches for the application."""
    assert not any(hasattr(slicer, name) for name in ("app", "modules", "mrmlScene"))
