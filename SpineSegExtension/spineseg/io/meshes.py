"""Surfaces of vertebrae, and the files that hold them.

A surface comes from flying edges on the voxels, smoothed by a windowed sinc filter (Taubin et
al., ECCV 1996), which keeps long waves and so does not shrink. What volume smoothing takes from
or gives to edges is put back by a small move along the normals. All lengths are mm.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg import labels as table
from spineseg.errors import InputError
from spineseg.io.mesh_files import ENCODERS, Words
from spineseg.progress import Progress
from spineseg.volume import Volume

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkPolyData

__all__ = [
    "FORMATS", "mesh_arrays", "mesh_checks", "model_name", "vertebra_mesh", "write_mesh",
    "write_models",
]  # fmt: skip

FORMATS = tuple(ENCODERS)
SPACES = ("RAS", "LPS")
_PASS_BAND = 4.0
"""Slicer's closed-surface rule: the pass band is 10 to the power of minus this times smoothing."""
_VOLUME_STEPS = 3
_VOLUME_GOAL = 0.001


def vertebra_mesh(volume: Volume, label: int, smoothing: float = 0.5) -> vtkPolyData:
    """Return the closed surface of one label.

    Parameters
    ----------
    volume : Volume
        A label map.
    label : int
        Which label.
    smoothing : float
        0 (the voxels' stairs stay) to 1, as in Slicer's closed surfaces.

    Returns
    -------
    vtkPolyData
        Triangles, RAS mm, outward normals at the points; closed also where the label touches the
        border of the volume. Its volume is that of the voxels within 0.1 % where the shape
        allows it.

    Raises
    ------
    InputError
        If the label does not occur or smoothing is not between 0 and 1.
    """
    boxes = ndimage.find_objects((volume.array == label).astype(np.uint8))
    if not boxes or boxes[0] is None:
        raise InputError(
            f"The segmentation has no {table.display_name(label)} (label {label}).",
            "Choose a label that occurs.",
        )
    return _surface(volume, label, boxes[0], smoothing)


def _surface(volume: Volume, label: int, box: tuple[slice, ...], smoothing: float) -> vtkPolyData:
    """Return the surface of `label`, all of which lies in `box` (k, j, i)."""
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D, vtkWindowedSincPolyDataFilter

    if not 0 <= smoothing <= 1:
        raise InputError(f"The smoothing {smoothing} is not between 0 and 1.")
    part = volume.crop([s.start for s in box], [s.stop for s in box])
    inside = part.like((part.array == label).astype(np.uint8))
    # A rim of background closes the surface at the border of the box and of the scan.
    inside = inside.pad((1, 1, 1), (1, 1, 1))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(_vtk_image(inside.array))
    edges.SetValue(0, 0.5)
    edges.ComputeNormalsOff()
    edges.ComputeGradientsOff()
    edges.ComputeScalarsOff()
    edges.Update()
    mesh: vtkPolyData = edges.GetOutput()
    # Flying edges ran on voxel numbers (i, j, k); smoothing must see mm.
    set_points(mesh, inside.ijk_to_ras(mesh_arrays(mesh)[0]))
    if smoothing > 0:
        sinc = vtkWindowedSincPolyDataFilter()
        sinc.SetInputData(mesh)
        sinc.SetNumberOfIterations(20 + int(smoothing * 40))
        sinc.SetPassBand(10.0 ** (-_PASS_BAND * smoothing))
        sinc.BoundarySmoothingOff()
        sinc.FeatureEdgeSmoothingOff()
        sinc.NonManifoldSmoothingOn()
        sinc.NormalizeCoordinatesOn()
        sinc.Update()
        mesh = sinc.GetOutput()
    _turn_outward(mesh)
    _restore_volume(mesh, int(inside.array.sum()) * inside.grid.voxel_mm3)
    return mesh


def _vtk_image(array: NDArray[np.uint8]) -> Any:
    """Return voxels (k, j, i) as vtkImageData of unit spacing: its points are (i, j, k)."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData

    image = vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True))
    return image


def mesh_arrays(mesh: vtkPolyData) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the points (N, 3) and the triangles (M, 3; point numbers) of a triangle mesh.

    Raises
    ------
    InputError
        If the mesh has other polygons than triangles.
    """
    from vtkmodules.util.numpy_support import vtk_to_numpy

    if mesh.GetNumberOfPoints() == 0 or mesh.GetNumberOfPolys() == 0:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    points = vtk_to_numpy(mesh.GetPoints().GetData()).astype(np.float64)
    corners = vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).astype(np.int64)
    if mesh.GetPolys().GetMaxCellSize() != 3 or corners.size != 3 * mesh.GetNumberOfPolys():
        raise InputError("The mesh is not made of triangles.", "Triangulate it first.")
    return points, corners.reshape(-1, 3)


def set_points(mesh: vtkPolyData, points: NDArray[np.float64]) -> None:
    """Give a mesh other points (N, 3), of double precision."""
    from vtkmodules.util.numpy_support import numpy_to_vtk

    # Doubles: with float32, points far from the origin would merge or move.
    mesh.GetPoints().SetData(numpy_to_vtk(np.ascontiguousarray(points), deep=True))
    mesh.Modified()


def _set_triangles(mesh: vtkPolyData, triangles: NDArray[np.int64]) -> None:
    from vtkmodules.util.numpy_support import numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonDataModel import vtkCellArray

    cells = vtkCellArray()
    offsets = np.arange(0, triangles.size + 1, 3, dtype=np.int64)
    cells.SetData(
        numpy_to_vtkIdTypeArray(offsets, deep=True),
        numpy_to_vtkIdTypeArray(np.ascontiguousarray(triangles).ravel(), deep=True),
    )
    mesh.SetPolys(cells)


def _turn_outward(mesh: vtkPolyData) -> None:
    """Order each triangle's corners anticlockwise seen from outside."""
    points, triangles = mesh_arrays(mesh)
    if _signed_volume(points, triangles) < 0:  # a left-handed affine mirrors the surface
        _set_triangles(mesh, triangles[:, ::-1])


def _signed_volume(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> float:
    if len(triangles) == 0:
        return 0.0
    a, b, c = (points - points.mean(axis=0))[triangles.T]
    return float(np.einsum("ni,ni->", a, np.cross(b, c)) / 6.0)


def _point_normals(
    points: NDArray[np.float64], triangles: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    """Return unit normals at the points, weighted by area, and the area in mm²."""
    a, b, c = points[triangles.T]
    faces = np.cross(b - a, c - a)
    normals = np.zeros_like(points)
    for corner in triangles.T:
        for axis in range(3):
            normals[:, axis] += np.bincount(corner, faces[:, axis], len(points))
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    area = float(np.linalg.norm(faces, axis=1).sum() / 2)
    return normals / np.where(lengths > 0, lengths, 1.0), area


def _restore_volume(mesh: vtkPolyData, goal: float) -> None:
    """Move the points along their normals until the mesh has `goal` mm³."""
    points, triangles = mesh_arrays(mesh)
    # A single voxel's edge in a sphere: moves beyond this would fold the surface.
    longest = 0.25 * goal ** (1 / 3)
    for _ in range(_VOLUME_STEPS):
        lack = goal - _signed_volume(points, triangles)
        if abs(lack) <= _VOLUME_GOAL * goal:
            break
        normals, area = _point_normals(points, triangles)
        points = points + normals * float(np.clip(lack / area, -longest, longest))
    set_points(mesh, points)


def mesh_checks(mesh: vtkPolyData) -> dict[str, Any]:
    """Say whether a surface can be printed or meshed further.

    Parameters
    ----------
    mesh : vtkPolyData
        Of triangles, in mm.

    Returns
    -------
    dict
        ``points``, ``triangles``; ``open_edges`` (of one triangle), ``crowded_edges`` (of more
        than two), ``misturned_edges`` (passed twice in one direction), ``flat_triangles`` (two
        corners are the same point); ``watertight`` (no open edge), ``manifold`` (watertight, no
        crowded and no misturned edge); ``volume_mm3`` (positive if it faces outward) and
        ``area_mm2``.
    """
    points, triangles = mesh_arrays(mesh)
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    count = max(len(points), 1)
    forward = directed[:, 0] * count + directed[:, 1]
    undirected = directed.min(axis=1) * count + directed.max(axis=1)
    uses = np.unique(undirected, return_counts=True)[1]
    open_edges = int((uses == 1).sum())
    crowded = int((uses > 2).sum())
    misturned = int((np.unique(forward, return_counts=True)[1] > 1).sum())
    watertight = bool(len(triangles)) and open_edges == 0
    return {
        "points": len(points),
        "triangles": len(triangles),
        "open_edges": open_edges,
        "crowded_edges": crowded,
        "misturned_edges": misturned,
        "flat_triangles": int((directed[:, 0] == directed[:, 1]).sum()),
        "watertight": watertight,
        "manifold": watertight and crowded == 0 and misturned == 0,
        "volume_mm3": _signed_volume(points, triangles),
        "area_mm2": _point_normals(points, triangles)[1] if len(triangles) else 0.0,
    }


def write_mesh(
    mesh: vtkPolyData,
    path: Path | str,
    space: str = "LPS",
    name: str = "",
    color: tuple[int, int, int] | None = None,
) -> None:
    """Write a mesh as STL (binary), OBJ or PLY (binary), told by the name.

    Parameters
    ----------
    mesh : vtkPolyData
        Triangles in RAS mm.
    path : Path or str
        Ends with .stl, .obj or .ply. The file appears whole or not at all.
    space : {"LPS", "RAS"}
        Coordinates in the file. The file's header or first comment says ``SPACE=…`` in Slicer's
        way, and ``UNIT=mm``; Slicer's own files are LPS.
    name : str
        The structure's, for the header; in OBJ the object is called so, too.
    color : tuple of int, optional
        RGB, 0–255, of each vertex; STL has none.

    Raises
    ------
    InputError
        If the format or space is unknown, or the disk refuses.
    """
    from spineseg.atomic import atomic_path

    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise InputError(
            f"{path.name} is of no mesh format that can be written.", "Use .stl, .obj or .ply."
        )
    if space not in SPACES:
        raise InputError(f"The space {space} is unknown.", "Use LPS or RAS.")
    # Line ends would end the comment, and the headers are ASCII.
    comment, name = (
        " ".join(text.split()).encode("ascii", "replace").decode()
        for text in (f"SPACE={space} UNIT=mm {name}", name)
    )
    words = Words(comment, name.replace(" ", "_"), color)
    points, triangles = mesh_arrays(mesh)
    if space == "LPS":  # half a turn about the body's axis, so triangles still face outward
        points = points * (-1.0, -1.0, 1.0)
    with atomic_path(path) as part, part.open("wb") as file:
        for piece in ENCODERS[kind](points, triangles, words):
            file.write(piece)


def model_name(label: int) -> str:
    """Return the file name without suffix of a label's model, e.g. "20_L1"; one a label."""
    return f"{label:02d}_{table.display_name(label).replace(' ', '_')}"


def write_models(
    label_volume: Volume,
    folder: Path | str,
    fmt: str = "stl",
    progress: Progress | None = None,
    space: str = "LPS",
    smoothing: float = 0.5,
    labels: Iterable[int] | None = None,
) -> list[Path]:
    """Write one mesh file a structure of a label map: ``20_L1.stl`` and so on.

    Parameters
    ----------
    label_volume : Volume
        Label map of VerSe ids and the like; integers from 0 to 255.
    folder : Path or str
        Made if it is missing. All files appear at the end together, or none.
    fmt : {"stl", "obj", "ply"}
        Mesh format.
    progress : Progress, optional
        Called before each file; cancelling leaves the folder as it was.
    space, smoothing
        As in `write_mesh` and `vertebra_mesh`.
    labels : iterable of int, optional
        Which to write; by default every vertebra and the sacrum, but not spine bone that belongs
        to no vertebra.

    Returns
    -------
    list of Path
        The files, from C1 down, then the sacrum, then vertebrae of unsure level from the top.

    Raises
    ------
    InputError
        If the format or space is unknown, or the disk refuses.
    CancelledError
        If the work was cancelled.
    """
    from spineseg.atomic import atomic_folder

    if fmt not in FORMATS:
        raise InputError(f"The mesh format {fmt} is unknown.", "Use stl, obj or ply.")
    progress = Progress() if progress is None else progress
    boxes = _boxes(label_volume)
    wanted = set(boxes) - {table.OTHER_BONE} if labels is None else set(labels) & set(boxes)
    order = [level.verse for level in (*table.VERTEBRAE, table.SACRUM)]
    chosen = [label for label in order if label in wanted]
    chosen += sorted(wanted - set(order))
    with atomic_folder(folder) as part:
        for index, label in enumerate(chosen):
            name = table.display_name(label)
            progress("models", index / len(chosen), name)
            mesh = _surface(label_volume, label, boxes[label], smoothing)
            color = table.color_of(label)
            write_mesh(mesh, part / f"{model_name(label)}.{fmt}", space, name, color)
    progress("models", 1.0, f"{len(chosen)} models written")
    return [Path(folder) / f"{model_name(label)}.{fmt}" for label in chosen]


def _boxes(volume: Volume) -> dict[int, tuple[slice, ...]]:
    """Return the bounding box (k, j, i) of each label but 0, found in one pass."""
    array = volume.array
    if array.dtype.kind not in "iu":
        raise InputError("A label map must be of integers.", "Save it as uint8.")
    found = ndimage.find_objects(array)
    return {index + 1: box for index, box in enumerate(found) if box is not None}
