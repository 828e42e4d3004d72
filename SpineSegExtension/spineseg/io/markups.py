"""Points and planes as ``.mrk.json``, the file of 3D Slicer's markups.

The schema is Slicer's ``markups-schema-v1.0.3.json``. The file says itself in which space its
coordinates are, so LPS and RAS read alike.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.errors import InputError

__all__ = ["MarkedPlane", "MarkedPoint", "write_planes", "write_points"]

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/"
    "Resources/Schema/markups-schema-v1.0.3.json#"
)
_SIGNS = {"RAS": np.array([1.0, 1.0, 1.0]), "LPS": np.array([-1.0, -1.0, 1.0])}

MarkedPoint = tuple[str, str, ArrayLike]
"""Label, description, position (RAS mm)."""
MarkedPlane = tuple[str, str, ArrayLike, ArrayLike, tuple[float, float]]
"""Label, description, centre (RAS mm), axes (3, 3; columns right, front, normal), size (mm)."""


def write_points(points: Iterable[MarkedPoint], path: Path | str, space: str = "LPS") -> None:
    """Write points as one list.

    Raises
    ------
    InputError
        The name does not end with .mrk.json, the space is unknown, or the disk refuses.
    """
    signs = _signs(space)
    controls = [
        _control(n, label, about, signs * np.asarray(at, float))
        for n, (label, about, at) in enumerate(points, start=1)
    ]
    content = {"type": "Fiducial", "labelFormat": "%N-%d", "controlPoints": controls}
    _write([content], path, space)


def write_planes(planes: Iterable[MarkedPlane], path: Path | str, space: str = "LPS") -> None:
    """Write planes, each a markup of its own that is called as its label; errors as above."""
    signs = _signs(space)
    contents = []
    for label, about, centre, axes, size in planes:
        at = signs * np.asarray(centre, float)
        turn = signs[:, None] * np.asarray(axes, float)
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = turn, at
        half = size[0] / 2, size[1] / 2
        contents.append({
            "type": "Plane",
            "name": label,
            "planeType": "pointNormal",
            "sizeMode": "absolute",
            "center": at.tolist(),
            "normal": turn[:, 2].tolist(),
            "objectToBase": np.eye(4).ravel().tolist(),
            "baseToNode": matrix.ravel().tolist(),
            "orientation": turn.ravel().tolist(),
            "size": [float(size[0]), float(size[1]), 0.0],
            "planeBounds": [-half[0], half[0], -half[1], half[1]],
            "controlPoints": [_control(1, label, about, at)],
        })  # fmt: skip
    _write(contents, path, space)


def _signs(space: str) -> NDArray[np.float64]:
    if space not in _SIGNS:
        raise InputError(f"The space {space} is unknown.", "Use LPS or RAS.")
    return _SIGNS[space]


def _control(number: int, label: str, about: str, at: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "id": str(number),
        "label": label,
        "description": about,
        "position": at.tolist(),
        "selected": True,
        "visibility": True,
        "positionStatus": "defined",
    }


def _write(markups: list[dict[str, Any]], path: Path | str, space: str) -> None:
    from spineseg.atomic import atomic_path

    path = Path(path)
    if not path.name.endswith(".mrk.json"):
        raise InputError(f"{path.name} doesn't end with .mrk.json.", "Name the file so.")
    stated = {"coordinateSystem": space, "coordinateUnits": "mm", "locked": False}
    content = {"@schema": _SCHEMA, "markups": [{**stated, **markup} for markup in markups]}
    with atomic_path(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8", newline="\n")
