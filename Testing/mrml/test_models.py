"""Exporting a segmentation node's models: files, place and format."""

from __future__ import annotations

import numpy as np
import pytest
import vtk
from nodecases import addTransform, ctVolume, labelVolume, obliqueAffine, rigid
from spineseg import labels
from spineseg.errors import CancelledError, InputError
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


@pytest.mark.parametrize("fileFormat", models.FORMATS)
def test_one_file_a_segment_where_the_voxels_are_in_lps(node, source, tmp_path, fileFormat):
    files = models.exportModels(node, source, tmp_path / "out", fileFormat)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in files
    )
    assert len(files) == 5
    assert files[1].name == f"20_L1.{fileFormat.lower()}"
    volume, _ = segmentations.labelVolumeFromNode(node, source)
    ijk = np.argwhere(volume.array == labels.by_name("L1").verse)[:, ::-1]
    # The corners of the outermost voxels, in LPS.
    corners = np.concatenate([ijk + step for step in (-0.5, 0.5)])
    lps = volume.ijk_to_ras(corners) * (-1, -1, 1)
    expected = np.array([lps.min(axis=0), lps.max(axis=0)])
    slack = max(volume.spacing)
    assert np.abs(boundsOf(files[1], fileFormat) - expected).max() < slack


def test_segments_of_one_name_do_not_overwrite_each_other(node, source, tmp_path):
    node.GetSegmentation().GetSegment("L1").SetName("screw / left")
    node.GetSegmentation().GetSegment("sacrum").SetName("screw / left")
    files = models.exportModels(node, source, tmp_path)
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
    with pytest.raises(InputError, match="format VRML is unknown"):
        models.exportModels(empty, source, tmp_path / "out", "VRML")
    assert not (tmp_path / "out").exists()
