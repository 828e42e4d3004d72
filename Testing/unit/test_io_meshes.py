"""Surfaces: closed, turned outward, of the voxels' volume, and the same from every file."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
import vtk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from spineseg import labels
from spineseg.errors import CancelledError, InputError
from spineseg.io.meshes import (
    FORMATS,
    mesh_arrays,
    mesh_checks,
    model_name,
    vertebra_mesh,
    write_mesh,
    write_models,
)
from spineseg.progress import CancelToken, Progress
from spineseg.volume import Volume

L1, L2 = labels.by_name("L1").verse, labels.by_name("L2").verse


def oblique(spacing=(0.8, 0.9, 2.0), angles=(10, 20, -15), origin=(120.0, -210.0, 1400.0)):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    return affine


def ellipsoid(radii, affine, label=L1):
    """Return a label map with an ellipsoid whose axes are the grid's, radii in mm."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    size = (2 * np.array(radii) / spacing).astype(int) + 4
    k, j, i = np.meshgrid(*[np.arange(n) for n in size[::-1]], indexing="ij")
    ijk = np.stack([i, j, k], -1) - (size - 1) / 2
    inside = ((ijk * spacing / radii) ** 2).sum(-1) <= 1
    return Volume(np.where(inside, label, 0).astype(np.uint8), affine)


def vertebra(affine=None, label=L1):
    """Return something with a hole, thin plates and a concave side, as a vertebra has."""
    array = np.zeros((24, 60, 50), np.uint8)
    k, j, i = np.meshgrid(*[np.arange(n) for n in array.shape], indexing="ij")
    array[(np.hypot((i - 25) / 20, (j - 18) / 15) < 1) & (abs(k - 12) < 10)] = label
    ring = np.hypot((i - 25) / 16, (j - 36) / 14)
    array[(ring < 1) & (ring > 0.75) & (abs(k - 12) < 6)] = label
    array[(abs(i - 25) < 2) & (j > 46) & (j < 59) & (abs(k - 9) < 4)] = label
    return Volume(array, oblique() if affine is None else affine)


def voxel_volume(volume, label=L1):
    return int((volume.array == label).sum()) * volume.voxel_mm3


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    radii=st.tuples(*[st.floats(9, 28)] * 3),
    spacing=st.tuples(st.floats(0.4, 1.5), st.floats(0.4, 1.5), st.floats(0.5, 4)),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    mirrored=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.3, 0.5, 0.8]),
)
def test_a_mesh_has_the_volume_of_its_voxels_and_is_closed(
    radii, spacing, angles, mirrored, smoothing
):
    affine = oblique(spacing, angles)
    if mirrored:
        affine[:, 0] *= -1
    volume = ellipsoid(radii, affine)
    mesh = vertebra_mesh(volume, L1, smoothing)
    checks = mesh_checks(mesh)
    assert checks["watertight"]
    assert checks["manifold"]
    assert checks["flat_triangles"] == 0
    assert checks["volume_mm3"] == pytest.approx(voxel_volume(volume), rel=0.02)
    # Nor has it moved, and no part of it is off by more than a voxel.
    points, _ = mesh_arrays(mesh)
    middle = volume.grid.center
    assert np.abs(points.mean(axis=0) - middle).max() < 0.25 * max(spacing)
    own = (points - middle) @ volume.grid.directions
    distance = (np.linalg.norm(own / radii, axis=1) - 1) * min(radii)
    assert np.abs(distance).max() < 1.3 * max(spacing)


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 1.0])
def test_a_vertebra_with_its_ring_is_manifold_and_keeps_its_volume(smoothing):
    volume = vertebra()
    mesh = vertebra_mesh(volume, L1, smoothing)
    checks = mesh_checks(mesh)
    points, triangles = mesh_arrays(mesh)
    theirs = trimesh.Trimesh(points, triangles, process=False)
    assert checks["manifold"]
    assert theirs.is_watertight
    assert theirs.is_winding_consistent
    assert theirs.euler_number == 0  # one hole: the canal
    assert checks["volume_mm3"] == pytest.approx(theirs.volume)
    assert checks["area_mm2"] == pytest.approx(theirs.area)
    assert checks["volume_mm3"] == pytest.approx(voxel_volume(volume), rel=0.02)


def test_smoothing_takes_the_stairs_away():
    volume = vertebra()
    rough, smooth = (mesh_checks(vertebra_mesh(volume, L1, s))["area_mm2"] for s in (0.0, 0.5))
    assert smooth < 0.97 * rough


def test_a_label_at_the_border_of_the_scan_is_closed_there():
    volume = ellipsoid((15, 15, 15), oblique((1, 1, 1)))
    half = volume.crop((0, 0, 0), (volume.shape[0] // 2, *volume.shape[1:]))
    full = Volume(np.full((4, 5, 6), L1, np.uint8), oblique())
    for cut in (half, full):
        checks = mesh_checks(vertebra_mesh(cut, L1, 0.3))
        assert checks["manifold"]
        assert checks["volume_mm3"] == pytest.approx(voxel_volume(cut), rel=0.02)


def test_parts_that_touch_at_an_edge_stay_manifold():
    array = np.random.default_rng(3).integers(0, 2, (9, 9, 9)).astype(np.uint8) * L1
    checks = mesh_checks(vertebra_mesh(Volume(array, np.eye(4)), L1, 0.0))
    assert checks["manifold"]


def test_the_checks_see_what_is_wrong():
    mesh = vtk.vtkPolyData()
    points = vtk.vtkPoints()
    for place in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, -1)):
        points.InsertNextPoint(place)
    mesh.SetPoints(points)

    def checks(*triangles):
        cells = vtk.vtkCellArray()
        for corners in triangles:
            cells.InsertNextCell(3, corners)
        mesh.SetPolys(cells)
        return mesh_checks(mesh)

    solid = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]
    good = checks(*solid)
    assert good["manifold"]
    assert good["volume_mm3"] == pytest.approx(1 / 6)
    assert checks(*solid[:3])["open_edges"] == 3
    assert not checks(*solid[:3])["watertight"]
    turned = checks((0, 1, 2), *solid[1:])
    assert turned["misturned_edges"] == 3
    assert turned["watertight"]
    assert not turned["manifold"]
    assert checks(*solid, (0, 1, 4))["crowded_edges"] == 1
    assert checks((0, 0, 1))["flat_triangles"] == 1
    assert not checks()["watertight"]


def read_back(path):
    """Read a mesh with VTK's own readers: points, triangles and the comment."""
    reader = {".stl": vtk.vtkSTLReader, ".obj": vtk.vtkOBJReader, ".ply": vtk.vtkPLYReader}[
        path.suffix
    ]()
    reader.SetFileName(str(path))
    reader.Update()
    if path.suffix == ".stl":
        comment = reader.GetHeader()
    elif path.suffix == ".obj":
        comment = reader.GetComment()
    else:
        comment = "\n".join(
            reader.GetComments().GetValue(n)
            for n in range(reader.GetComments().GetNumberOfValues())
        )
    return *mesh_arrays(reader.GetOutput()), comment


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("space", ["RAS", "LPS"])
def test_files_state_their_space_and_hold_the_same_surface(tmp_path, suffix, space):
    mesh = vertebra_mesh(vertebra(), L1)
    path = tmp_path / f"Wirbel ä.{suffix}"
    write_mesh(mesh, path, space, "L1", (12, 130, 255))
    points, triangles, comment = read_back(path)
    assert f"SPACE={space} UNIT=mm L1" in comment
    ours, our_triangles = mesh_arrays(mesh)
    if space == "LPS":
        ours = ours * (-1, -1, 1)
    assert len(triangles) == len(our_triangles)
    distance, _ = cKDTree(ours).query(points)
    assert distance.max() < 0.0005  # float32, 1.4 m from the origin
    theirs = trimesh.load(path, process=True)
    assert theirs.is_watertight
    assert theirs.volume == pytest.approx(mesh_checks(mesh)["volume_mm3"], rel=1e-3)  # outward
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_slicer_reads_the_space_from_the_file(tmp_path):
    slicer = pytest.importorskip("slicer", reason="the mrml tier needs slicer-core")
    mesh = vertebra_mesh(vertebra(), L1)
    for suffix in FORMATS:
        for space in ("RAS", "LPS"):
            path = tmp_path / f"{space}.{suffix}"
            write_mesh(mesh, path, space)
            scene = slicer.vtkMRMLScene()
            node = scene.AddNewNodeByClass("vtkMRMLModelNode")
            storage = scene.AddNewNodeByClass("vtkMRMLModelStorageNode")
            storage.SetFileName(str(path))
            assert storage.ReadData(node)
            bounds = np.zeros(6)
            node.GetMesh().GetBounds(bounds)
            np.testing.assert_allclose(bounds, mesh.GetBounds(), atol=0.01)


def test_obj_and_ply_name_and_colour_their_object(tmp_path):
    mesh, color = vertebra_mesh(vertebra(), L1), (12, 130, 255)
    for suffix in ("obj", "ply"):
        write_mesh(mesh, tmp_path / f"it.{suffix}", "LPS", "unsure 1", color)
        theirs = trimesh.load(tmp_path / f"it.{suffix}", process=False)
        assert (theirs.visual.vertex_colors[:, :3] == color).all()
        write_mesh(mesh, tmp_path / f"grey.{suffix}", "LPS")
        assert trimesh.load(tmp_path / f"grey.{suffix}").visual.kind is None
    assert "\no unsure_1\n" in (tmp_path / "it.obj").read_text()
    assert b"comment SPACE=LPS UNIT=mm unsure 1\n" in (tmp_path / "it.ply").read_bytes()
    reader = vtk.vtkPLYReader()
    reader.SetFileName(str(tmp_path / "it.ply"))
    reader.Update()
    assert reader.GetOutput().GetPointData().GetScalars().GetTuple(0) == color


def spine():
    array = np.zeros((40, 30, 30), np.uint8)
    for index, label in enumerate((labels.by_name("T12").verse, L1, labels.FIRST_UNSURE, 100, 26)):
        array[8 * index + 1 : 8 * index + 7, 5:25, 5:25] = label
    return Volume(array, oblique((1, 1, 1)))


def test_one_file_a_structure_with_a_name_of_its_own(tmp_path):
    told = []
    paths = write_models(
        spine(), tmp_path / "models", progress=Progress(lambda *event: told.append(event))
    )
    assert [p.name for p in paths] == ["19_T12.stl", "20_L1.stl", "26_sacrum.stl",
                                       "101_unsure_1.stl"]  # fmt: skip
    assert sorted(paths) == sorted((tmp_path / "models").iterdir())
    assert told[-1][1] == 1.0
    assert [text for _, _, text in told[:4]] == ["T12", "L1", "sacrum", "unsure 1"]
    for path, label in zip(paths, (19, 20, 26, 101)):
        points, _, comment = read_back(path)
        assert f"SPACE=LPS UNIT=mm {labels.display_name(label)}" in comment
        mesh = vertebra_mesh(spine(), label)
        np.testing.assert_allclose(
            (points * (-1, -1, 1)).min(axis=0), mesh_arrays(mesh)[0].min(axis=0), atol=1e-3
        )


def test_the_names_of_all_labels_differ_even_where_case_does_not_matter():
    names = [model_name(label).lower() for label in range(1, 256)]
    assert len(set(names)) == len(names)


def test_a_label_map_of_nothing_gives_no_models(tmp_path):
    empty = Volume(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    assert write_models(empty, tmp_path / "models") == []


def test_a_cancelled_or_wrong_run_leaves_nothing(tmp_path):
    token = CancelToken()
    progress = Progress(lambda stage, fraction, text: fraction > 0 and token.cancel(), token)
    with pytest.raises(CancelledError):
        write_models(spine(), tmp_path / "models", progress=progress)
    with pytest.raises(InputError, match="xyz"):
        write_models(spine(), tmp_path / "models", "xyz")
    with pytest.raises(InputError, match="space"):
        write_models(spine(), tmp_path / "models", space="XYZ")
    with pytest.raises(InputError, match="no L2"):
        vertebra_mesh(spine(), L2)
    with pytest.raises(InputError, match="between 0 and 1"):
        vertebra_mesh(spine(), L1, 2.0)
    with pytest.raises(InputError, match="integers"):
        write_models(spine().astype(np.float32), tmp_path / "models")
    assert list(tmp_path.iterdir()) == []


def test_a_real_label_map_gives_printable_models(realdata):
    from spineseg.io.images import read_volume

    volume = read_volume(realdata / "ct/verse014_vertebrae.nii.gz")
    for label in np.unique(volume.array)[1:].tolist():
        checks = mesh_checks(vertebra_mesh(volume, label))
        assert checks["manifold"]
        assert checks["volume_mm3"] == pytest.approx(voxel_volume(volume, label), rel=0.02)
