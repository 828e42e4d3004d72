"""Label maps as .seg.nrrd, and what Slicer makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import vtk
from scipy.spatial.transform import Rotation
from spineseg import labels
from spineseg.errors import InputError
from spineseg.io.segmentations import read_seg_nrrd, terminology_entry, write_seg_nrrd
from spineseg.volume import Volume
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

FOUND = [labels.by_name(name).verse for name in ("T12", "T13", "L1")]
FOUND += [labels.SACRUM.verse, labels.OTHER_BONE, labels.FIRST_UNSURE]


def affine(oblique):
    matrix = np.diag([-0.7, -0.8, 2.5, 1.0])
    if oblique:
        turn = Rotation.from_euler("xyz", [10, 20, -15], degrees=True).as_matrix()
        matrix[:3, :3] = turn @ matrix[:3, :3]
    matrix[:3, 3] = (12.5, -30, 400.25)
    return matrix


def label_map(oblique=True):
    array = np.zeros((30, 22, 26), np.uint8)
    for index, label in enumerate(FOUND):
        array[5 * index : 5 * index + 4, 3 : 12 + index, 4 : 20 - index] = label
    return Volume(array, affine(oblique))


@pytest.fixture
def slicer():
    return pytest.importorskip("slicer", reason="the mrml tier needs slicer-core")


def load(slicer, path):
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return scene, node


def voxels_on(slicer, node, segment_id, volume):
    """Return a segment as a boolean array (k, j, i) on the grid of `volume`, and its matrix."""
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    extent = image.GetExtent()
    part = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    result = np.zeros(volume.shape, bool)
    (i0, i1, j0, j1, k0, k1) = extent
    result[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1] = part != 0
    return result, np.array([matrix.GetElement(r, c) for r in range(4) for c in range(4)])


@pytest.mark.parametrize("oblique", [False, True])
def test_slicer_opens_it_with_names_colours_codes_and_every_voxel(tmp_path, slicer, oblique):
    volume = label_map(oblique)
    write_seg_nrrd(volume, tmp_path / "spine.seg.nrrd")
    scene, node = load(slicer, tmp_path / "spine.seg.nrrd")
    segmentation = node.GetSegmentation()
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    order = [segmentation.GetNthSegment(n).GetName() for n in range(len(FOUND))]
    assert order == ["T12", "T13", "L1", "sacrum", "spine bone", "unsure 1"]
    assert segmentation.GetNumberOfSegments() == len(FOUND)
    for n, label in enumerate(FOUND):
        segment = segmentation.GetNthSegment(n)
        np.testing.assert_allclose(
            np.array(segment.GetColor()) * 255, labels.color_of(label), atol=1e-3
        )
        assert segment.GetLabelValue() == label
        text = vtk.reference("")
        assert segment.GetTag("TerminologyEntry", text)
        entry = slicer.vtkSlicerTerminologyEntry()
        assert logic.DeserializeTerminologyEntry(str(text), entry)
        code, meaning = labels.snomed_of(label)
        assert entry.GetCategoryObject().GetCodeMeaning() == "Anatomical Structure"
        assert entry.GetTypeObject().GetCodingSchemeDesignator() == "SCT"
        assert entry.GetTypeObject().GetCodeValue() == code
        assert entry.GetTypeObject().GetCodeMeaning() == meaning
        found, matrix = voxels_on(slicer, node, segmentation.GetNthSegmentID(n), volume)
        np.testing.assert_array_equal(found, volume.array == label)
        np.testing.assert_allclose(matrix.reshape(4, 4), volume.affine, atol=1e-9)


def test_slicer_gets_the_scans_own_grid_as_reference(tmp_path, slicer):
    volume = label_map()
    write_seg_nrrd(volume, tmp_path / "spine.seg.nrrd")
    scene, node = load(slicer, tmp_path / "spine.seg.nrrd")
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text = node.GetSegmentation().GetConversionParameter(name)
    image = slicer.vtkOrientedImageData()
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, image, False)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    ours = [matrix.GetElement(r, c) for r in range(4) for c in range(4)]
    np.testing.assert_allclose(ours, volume.affine.ravel(), atol=1e-9)
    assert image.GetDimensions() == volume.shape[::-1]


def test_what_slicer_saves_again_is_read_with_the_same_labels(tmp_path, slicer):
    volume = label_map()
    write_seg_nrrd(volume, tmp_path / "spine.seg.nrrd")
    scene, node = load(slicer, tmp_path / "spine.seg.nrrd")
    # Slicer crops to the segments; the full grid would hide that.
    for label in FOUND[3:]:
        node.GetSegmentation().RemoveSegment(f"Segment_{label}")
    node.GetSegmentation().CollapseBinaryLabelmaps(True)
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetCropToMinimumExtent(True)
    storage.SetFileName(str(tmp_path / "again.seg.nrrd"))
    assert storage.WriteData(node)
    cropped, _ = read_seg_nrrd(tmp_path / "again.seg.nrrd")
    assert np.prod(cropped.shape) < np.prod(volume.shape)
    back, segments = read_seg_nrrd(tmp_path / "again.seg.nrrd", volume)
    expected = np.where(np.isin(volume.array, FOUND[:3]), volume.array, 0)
    np.testing.assert_array_equal(back.array, expected)
    assert back.grid.same_as(volume.grid)
    assert [s.name for s in segments] == ["T12", "T13", "L1"]


def test_overlapping_segments_and_slicers_own_numbers_are_understood(tmp_path, slicer):
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    blocks = {"screw": (slice(0, 4), 1.0), "L1": (slice(2, 8), 0.5), "T12": (slice(8, 12), 0.25)}
    for name, (rows, red) in blocks.items():
        array = np.zeros((12, 10, 10), np.uint8)
        array[rows] = 1
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(10, 10, 12)
        image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(), deep=True))
        node.AddSegmentFromBinaryLabelmapRepresentation(image, name, [red, 0.0, 0.0])
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "layers.seg.nrrd"))
    assert storage.WriteData(node)
    volume, segments = read_seg_nrrd(tmp_path / "layers.seg.nrrd")
    by_name = {s.name: s for s in segments}
    assert by_name["L1"].label == labels.by_name("L1").verse
    assert by_name["T12"].label == labels.by_name("T12").verse
    assert len({s.label for s in segments}) == 3
    assert by_name["L1"].color == (128, 0, 0)
    counts = {name: int((volume.array == s.label).sum()) for name, s in by_name.items()}
    assert counts["T12"] == 400
    assert counts["screw"] + counts["L1"] == 800


@pytest.mark.parametrize("oblique", [False, True])
def test_written_and_read_back_it_is_the_same(tmp_path, oblique):
    volume = label_map(oblique)
    write_seg_nrrd(volume, tmp_path / "spine.seg.nrrd")
    back, segments = read_seg_nrrd(tmp_path / "spine.seg.nrrd")
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)
    assert [s.label for s in segments] == FOUND
    for segment in segments:
        assert segment.name == labels.display_name(segment.label)
        assert segment.color == labels.color_of(segment.label)
        assert segment.terminology == terminology_entry(segment.label)
    assert [p.name for p in tmp_path.iterdir()] == ["spine.seg.nrrd"]


def test_the_header_is_lps_and_compressed_and_of_the_present_format(tmp_path):
    write_seg_nrrd(label_map(), tmp_path / "spine.seg.nrrd")
    header = (tmp_path / "spine.seg.nrrd").read_bytes().split(b"\n\n")[0].decode()
    assert "space: left-posterior-superior" in header
    assert "encoding: gzip" in header
    # With this key Slicer reads one segment without a name: the format before version 5.
    assert "Segmentation_Extent" not in header


def test_an_empty_label_map_is_written_too(tmp_path, slicer):
    write_seg_nrrd(label_map().like(np.zeros((30, 22, 26), np.uint8)), tmp_path / "a.seg.nrrd")
    scene, node = load(slicer, tmp_path / "a.seg.nrrd")
    assert node.GetSegmentation().GetNumberOfSegments() == 0


def test_what_is_no_segmentation_is_refused(tmp_path, capfd):
    volume = label_map()
    for bad in (volume.astype(np.float32), volume.like(np.full(volume.shape, 300, np.int16))):
        with pytest.raises(InputError, match="whole numbers"):
            write_seg_nrrd(bad, tmp_path / "a.seg.nrrd")
    with pytest.raises(InputError, match=r"\.seg\.nrrd"):
        write_seg_nrrd(volume, tmp_path / "a.nrrd")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no file"):
        read_seg_nrrd(tmp_path / "a.seg.nrrd")
    (tmp_path / "a.seg.nrrd").write_bytes(b"NRRD0004\nnothing")
    with pytest.raises(InputError, match="damaged"):
        read_seg_nrrd(tmp_path / "a.seg.nrrd")
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "a.seg.nrrd"))
    with pytest.raises(InputError, match="no segments"):
        read_seg_nrrd(tmp_path / "a.seg.nrrd")
    assert capfd.readouterr().err == ""
