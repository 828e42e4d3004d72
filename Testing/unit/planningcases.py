"""Opening exported models with libraries that had no part in writing them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import trimesh
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

Surface = tuple[NDArray[np.float64], NDArray[np.int64]]
"""RAS mm, and triangles."""
SIGNS = {"LPS": np.array([-1.0, -1.0, 1.0]), "RAS": np.ones(3)}


def opened(path: Path, space: str) -> dict[str, Surface]:
    """Return the surfaces of a file by name ("" where the format knows none), in RAS mm."""
    if path.suffix == ".glb":
        return _glb(path)
    scene = trimesh.load_scene(path, process=False)
    if path.suffix == ".3mf":
        assert scene.units == "millimeter"
    # STL has no shared points; equal ones are one.
    meshes = {name: mesh.copy() for name, mesh in scene.geometry.items()}
    for mesh in meshes.values():
        mesh.merge_vertices()
    named = len(meshes) > 1 or path.suffix == ".3mf"
    return {
        name if named else "": (mesh.vertices * SIGNS[space], np.asarray(mesh.faces))
        for name, mesh in meshes.items()
    }


def _glb(path: Path) -> dict[str, Surface]:
    """Open a GLB with VTK and go from glTF's metres, Y up, back to RAS mm."""
    reader = vtk.vtkGLTFReader()
    reader.SetFileName(str(path))
    reader.ApplyDeformationsToGeometryOn()
    reader.Update()
    names = [mesh["name"] for mesh in gltf_of(path)["meshes"]]
    found: list[Surface] = []
    walk = reader.GetOutput().NewIterator()
    while not walk.IsDoneWithTraversal():
        data = walk.GetCurrentDataObject()
        left, up, front = vtk_to_numpy(data.GetPoints().GetData()).astype(float).T * 1000.0
        faces = vtk_to_numpy(data.GetPolys().GetConnectivityArray()).reshape(-1, 3)
        found.append((np.stack([-left, front, up], axis=1), faces.astype(np.int64)))
        walk.GoToNextItem()
    return dict(zip(names, found, strict=True))


def gltf_of(path: Path) -> dict:
    """Return the JSON part of a GLB file (glTF 2.0, §4)."""
    data = path.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    assert data[:4] == b"glTF"
    assert data[16:20] == b"JSON"
    return json.loads(data[20 : 20 + length])
