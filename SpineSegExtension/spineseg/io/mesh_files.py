"""Triangle meshes as bytes of STL, OBJ and PLY files.

VTK's writers for OBJ and PLY report success on a full disk and leave a cut-off file, and its OBJ
writer takes no comment, so the few lines that these formats need are here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ENCODERS", "Words"]

Points = NDArray[np.float64]
Triangles = NDArray[np.int64]
Color = tuple[int, int, int]

_STL_HEADER_BYTES = 80
_LINES_AT_ONCE = 20_000


@dataclass(frozen=True)
class Words:
    """What a file says besides its surface.

    Attributes
    ----------
    comment : str
        One ASCII line.
    name : str
        The object's; ASCII without spaces, or "".
    color : tuple of int or None
        RGB, 0–255.
    """

    comment: str
    name: str = ""
    color: Color | None = None


def _stl(points: Points, triangles: Triangles, words: Words) -> Iterator[bytes]:
    """Yield a binary STL: an 80-byte header, the count, then 50 bytes a triangle.

    The format has no colours.
    """
    corners = points.astype("<f4")[triangles]
    records = np.zeros(
        len(triangles), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")]
    )
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    records["normal"] = normals / np.where(lengths > 0, lengths, 1)
    records["corners"] = corners
    yield words.comment.encode("ascii")[:_STL_HEADER_BYTES].ljust(_STL_HEADER_BYTES)
    yield np.uint32(len(triangles)).astype("<u4").tobytes()
    yield records.tobytes()


def _obj(points: Points, triangles: Triangles, words: Words) -> Iterator[bytes]:
    """Yield an OBJ: its object's name, lines of vertices, then of faces, which count from 1.

    The colour is behind each vertex, where most programs look: a material needs a second file.
    """
    yield f"# {words.comment}\n".encode("ascii")
    if words.name:
        yield f"o {words.name}\n".encode("ascii")
    shade = "".join(f" {part / 255:.4f}" for part in words.color or ())
    for start in range(0, len(points), _LINES_AT_ONCE):
        part = points[start : start + _LINES_AT_ONCE].tolist()
        lines = (f"v {x:.4f} {y:.4f} {z:.4f}{shade}\n" for x, y, z in part)
        yield "".join(lines).encode("ascii")
    for start in range(0, len(triangles), _LINES_AT_ONCE):
        faces = (triangles[start : start + _LINES_AT_ONCE] + 1).tolist()
        yield "".join(f"f {a} {b} {c}\n" for a, b, c in faces).encode("ascii")


def _ply(points: Points, triangles: Triangles, words: Words) -> Iterator[bytes]:
    """Yield a binary PLY: a header in words, vertices, then faces with their corner count.

    The format names no objects, so the comment does. The colour is each vertex's.
    """
    kinds: list[tuple[Any, ...]] = [("place", "<f4", 3)]
    shade = ""
    if words.color is not None:
        kinds.append(("color", "u1", 3))
        shade = "".join(f"property uchar {part}\n" for part in ("red", "green", "blue"))
    vertices = np.zeros(len(points), kinds)
    vertices["place"] = points
    if words.color is not None:
        vertices["color"] = words.color
    faces = np.zeros(len(triangles), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"] = 3
    faces["corners"] = triangles
    yield (
        "ply\nformat binary_little_endian 1.0\n"
        f"comment {words.comment}\n"
        f"element vertex {len(points)}\n"
        f"property float x\nproperty float y\nproperty float z\n{shade}"
        f"element face {len(triangles)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    ).encode("ascii")
    yield vertices.tobytes()
    yield faces.tobytes()


Encoder = Callable[[Points, Triangles, Words], Iterator[bytes]]

ENCODERS: dict[str, Encoder] = {"stl": _stl, "obj": _obj, "ply": _ply}
"""For each format, a function of points (N, 3), triangles (M, 3) and words, which yields the
file's bytes."""
