"""Exporting a segmentation node's models: files, place and format."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
import vtk
from nodecases import addTransform, ctVolume, labelVolume, obliqueAffine, rigid
from spineseg import labels
from spineseg.errors import CancelledError, InputError
from spineseg.io.markups import write_planes, write_points
from spineseg.progress import Progress
from SpineSegMRML import models, segmentations, volumes

READERS = {"STL": vtk.vtkSTLReader, "OBJ": vtk.vtkOBJReader, "PLY": vtk.vtkPLYReader}


@pytest.fixture
def source(scene, affine):
    """A CT node under a transform, on each of the grids."""
    node = volumes.addVolumeNode(scene, ctVolume(affine), "ct")
    addTransform(scene, node, rigid(obliqueAffine()))
    return node


@pytest.fixture
def node(source, affine):
    """The segmentation of `source`."""
    return segmentations.addSegmentationNode(labelVolume(affine), source, "spine")


def boundsOf(path, fileFormat):
    """Return a mesh file's bounds: x, y, z minima and maxima."""
    reader = READERS[fileFormat]()
    reader.SetFileName(str(path))
    reader.Update()
    assert reader.GetOutput().GetNumberOfCells() > 0
    return np.array(reader.GetOutput().GetBounds()).reshape(3, 2).T


@pytest.mark.parametrize("space", ["LPS", "RAS"])
@pytest.mark.parametrize("fileFormat", READERS)
def test_one_file_a_segment_where_the_voxels_are(node, source, tmp_path, fileFormat, space):
    made = models.exportModels(node, source, tmp_path / "out", fileFormat, space=space).models
    assert [model.name for model in made] == list(node.GetSegmentation().GetSegmentIDs())
    assert made[1].file == f"20_L1_{space}.{fileFormat.lower()}"
    volume, _ = segmentations.labelVolumeFromNode(node, source)
    ijk = np.argwhere(volume.array == labels.by_name("L1").verse)[:, ::-1]
    # The corners of the outermost voxels.
    corners = np.concatenate([ijk + step for step in (-0.5, 0.5)])
    there = volume.ijk_to_ras(corners) * ((-1, -1, 1) if space == "LPS" else (1, 1, 1))
    expected = np.array([there.min(axis=0), there.max(axis=0)])
    slack = max(volume.spacing)
    found = boundsOf(tmp_path / "out" / made[1].file, fileFormat)
    assert np.abs(found - expected).max() < slack


@pytest.mark.parametrize("fileFormat", ["3MF", "GLB"])
def test_one_file_has_every_segment_in_the_users_colour(node, source, tmp_path, fileFormat):
    node.GetSegmentation().GetSegment("L1").SetColor(1.0, 0.0, 0.0)
    done = models.exportModels(node, source, tmp_path, fileFormat)
    scene = trimesh.load_scene(done.files[0])
    assert set(scene.geometry) == set(node.GetSegmentation().GetSegmentIDs())
    if fileFormat == "GLB":
        assert scene.geometry["L1"].visual.material.main_color.tolist() == [255, 0, 0, 255]


def test_only_what_is_shown_is_exported(node, source, tmp_path):
    for segmentId in node.GetSegmentation().GetSegmentIDs():
        node.GetDisplayNode().SetSegmentVisibility(segmentId, segmentId == "L1")
    made = models.exportModels(node, source, tmp_path, which=models.VISIBLE).models
    assert [model.name for model in made] == ["L1"]
    node.GetDisplayNode().SetSegmentVisibility("L1", False)
    with pytest.raises(InputError, match="No segment is visible"):
        models.exportModels(node, source, tmp_path, which=models.VISIBLE)


def test_an_edited_model_is_not_replaced(node, source, tmp_path):
    done = models.exportModels(node, source, tmp_path)
    models.exportModels(node, source, tmp_path)
    done.files[0].write_bytes(b"edited")
    with pytest.raises(InputError, match="made or edited by somebody"):
        models.exportModels(node, source, tmp_path)
    assert done.files[0].read_bytes() == b"edited"


def test_segments_of_one_name_do_not_overwrite_each_other(node, source, tmp_path):
    node.GetSegmentation().GetSegment("L1").SetName("screw / left")
    node.GetSegmentation().GetSegment("sacrum").SetName("screw / left")
    files = models.exportModels(node, source, tmp_path).files
    files = [path for path in files if path.suffix == ".stl"]
    assert len(set(files)) == 5
    assert sum("screw_left" in path.name for path in files) == 2
    assert all(path.is_file() for path in files)


def test_a_cancelled_export_leaves_the_folder_as_it_was(node, source, tmp_path):
    (tmp_path / "notes.txt").write_text("keep me")
    progress = Progress(lambda stage, fraction, text: fraction > 0.3 and progress.token.cancel())
    with pytest.raises(CancelledError):
        models.exportModels(node, source, tmp_path, progress=progress)
    assert [path.name for path in tmp_path.glob("*.*")] == ["notes.txt"]


def test_an_empty_segmentation_and_an_unknown_format_are_refused(scene, source, tmp_path):
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    with pytest.raises(InputError, match="segmentation is empty"):
        models.exportModels(empty, source, tmp_path / "out")
    with pytest.raises(InputError, match="format vrml is unknown"):
        models.exportModels(empty, source, tmp_path / "out", "VRML")
    assert not (tmp_path / "out").exists()


def test_slicer_reads_the_points_and_planes(scene, tmp_path):
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    planes = [
        ("L1 upper endplate", "0.4 mm", (10.0, 20.0, 30.0), turn, (40.0, 30.0)),
        ("L1 lower endplate", "0.5 mm", (10.0, 20.0, 5.0), turn, (41.0, 31.0)),
    ]
    for space in ("LPS", "RAS"):
        file = tmp_path / f"planes_{space}.mrk.json"
        write_planes(planes, file, space)
        storage = scene.AddNewNodeByClass("vtkMRMLMarkupsPlaneJsonStorageNode")
        for index, (name, _, centre, _, size) in enumerate(planes):
            node = storage.AddNewMarkupsNodeFromFile(str(file), "", index)
            assert node.GetName() == name
            np.testing.assert_allclose(node.GetCenterWorld(), centre, atol=1e-6)
            np.testing.assert_allclose(node.GetNormalWorld(), (0, 0, 1), atol=1e-6)
            np.testing.assert_allclose(node.GetSizeWorld(), size, atol=1e-6)
        file = tmp_path / f"points_{space}.mrk.json"
        write_points([("L1 pedicle left", "9 mm wide", (1.0, 2.0, 3.0))], file, space)
        storage = scene.AddNewNodeByClass("vtkMRMLMarkupsJsonStorageNode")
        node = storage.AddNewMarkupsNodeFromFile(str(file), "points", 0)
        np.testing.assert_allclose(node.GetNthControlPointPositionWorld(0), (1, 2, 3), atol=1e-6)
        assert node.GetNthControlPointDescription(0) == "9 mm wide"
