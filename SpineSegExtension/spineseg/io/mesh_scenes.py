"""Several coloured surfaces in one file: 3MF for printing and planning, GLB for the web.

Libraries write both: lib3mf, which the 3MF Consortium makes (trimesh writes 3MF without colours),
and trimesh for GLB. The points stay in the file as they are given, in mm of one space, which the
file states: in 3MF as its unit and as metadata, in GLB as ``extras`` and as the node that turns
them into what glTF 2.0 (§3.4) asks for: metres, Y up, the patient looking along Z.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg.errors import DependencyError, InputError

__all__ = ["WRITERS", "SceneMesh", "write_scene"]

_METRES = 0.001
_TO_GLTF = {  # x to the patient's left, y to the head, z forwards
    "LPS": np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]]),
    "RAS": np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]),
}


@dataclass(frozen=True, eq=False)
class SceneMesh:
    """One object of a scene.

    Attributes
    ----------
    name : str
        Unlike the others' of the scene.
    color : tuple of int
        RGB, 0–255.
    points : (N, 3) float64
        mm, in the scene's space.
    triangles : (M, 3) int64
        Point numbers, anticlockwise seen from outside.
    """

    name: str
    color: tuple[int, int, int]
    points: NDArray[np.float64]
    triangles: NDArray[np.int64]


def write_scene(meshes: Sequence[SceneMesh], path: Path | str, space: str = "LPS") -> None:
    """Write surfaces into one 3MF or GLB file, told by the name.

    Parameters
    ----------
    meshes : sequence of SceneMesh
    path : Path or str
        Ends with .3mf or .glb. The file appears whole or not at all.
    space : {"LPS", "RAS"}
        What the points' coordinates are.

    Raises
    ------
    InputError
        The format is another, two objects have one name, or the disk refuses.
    DependencyError
        The library that writes the format is not installed.
    """
    from spineseg.atomic import atomic_path

    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in WRITERS:
        raise InputError(f"{path.name} is of no scene format.", "Use .3mf or .glb.")
    if space not in _TO_GLTF:
        raise InputError(f"The space {space} is unknown.", "Use LPS or RAS.")
    if len({mesh.name for mesh in meshes}) < len(meshes):
        raise InputError("Two objects of the scene have one name.", "Give each its own.")
    with atomic_path(path) as part:
        WRITERS[kind](meshes, part, space)


def _missing(name: str, error: ImportError) -> DependencyError:
    return DependencyError(
        f"The package {name}, which writes this format, is not installed.",
        f"Install it (pip install {name}), or choose stl, obj or ply.",
        str(error),
    )


def _write_3mf(meshes: Sequence[SceneMesh], path: Path, space: str) -> None:
    try:
        import lib3mf
    except (ImportError, OSError) as error:  # an OSError where its binary is for another system
        raise _missing("lib3mf", ImportError(str(error))) from error

    wrapper = lib3mf.get_wrapper()
    model = wrapper.CreateModel()
    model.SetUnit(lib3mf.ModelUnit.MilliMeter)
    words = model.GetMetaDataGroup()
    words.AddMetaData("", "Title", "Vertebrae", "xs:string", True)
    words.AddMetaData("", "Description", f"SPACE={space} UNIT=mm", "xs:string", True)
    words.AddMetaData("", "Application", "SpineSeg", "xs:string", True)
    colors = model.AddBaseMaterialGroup()
    for mesh in meshes:
        red, green, blue = mesh.color
        material = colors.AddMaterial(mesh.name, wrapper.RGBAToColor(red, green, blue, 255))
        target = model.AddMeshObject()
        target.SetName(mesh.name)
        points = np.ascontiguousarray(mesh.points, "<f4")
        corners = np.ascontiguousarray(mesh.triangles, "<u4")
        target.SetGeometry(
            (lib3mf.Position * len(points)).from_buffer_copy(points.tobytes()),
            (lib3mf.Triangle * len(corners)).from_buffer_copy(corners.tobytes()),
        )
        target.SetObjectLevelProperty(colors.GetUniqueResourceID(), material)
        model.AddBuildItem(target, wrapper.GetIdentityTransform())
    model.QueryWriter("3mf").WriteToFile(str(path))


def _write_glb(meshes: Sequence[SceneMesh], path: Path, space: str) -> None:
    try:
        import trimesh
        from trimesh.visual.material import PBRMaterial
    except ImportError as error:
        raise _missing("trimesh", error) from error

    matrix = np.diag([_METRES, _METRES, _METRES, 1.0]) @ _TO_GLTF[space]
    scene = trimesh.Scene()
    scene.metadata.update({"space": space, "unit": "mm", "generator": "SpineSeg"})
    for mesh in meshes:
        surface: Any = trimesh.Trimesh(mesh.points, mesh.triangles, process=False)
        red, green, blue = (_linear(value / 255) for value in mesh.color)
        material = PBRMaterial(
            name=mesh.name,
            baseColorFactor=[red, green, blue, 1.0],
            metallicFactor=0.0,
            roughnessFactor=0.7,
        )
        surface.visual = trimesh.visual.TextureVisuals(material=material)
        scene.add_geometry(surface, node_name=mesh.name, geom_name=mesh.name, transform=matrix)
    path.write_bytes(scene.export(file_type="glb", include_normals=True))


def _linear(value: float) -> float:
    """Return what glTF wants of an sRGB value, both 0 to 1 (IEC 61966-2-1)."""
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)


WRITERS: dict[str, Callable[[Sequence[SceneMesh], Path, str], None]] = {
    "3mf": _write_3mf,
    "glb": _write_glb,
}
"""For each format, a function of meshes, path and space."""
