"""Centroids of vertebrae in VerSe's JSON.

The file is a list. Its first entry is ``{"direction": ["L", "P", "S"]}``: the anatomical
directions in which the scan's first, second and third index increase. Each further entry is a
vertebra::

    {"label": 20, "X": 210.4, "Y": 180.2, "Z": 95.1, "level": "L1", "ras_mm": [-3.1, 42.7, 11.9]}

``label`` is the VerSe id (101 and up: level unsure, from the top). ``X``, ``Y`` and ``Z`` are
voxel positions along the scan's first (i), second (j) and third (k) index, counted from 0 at the
middle of the first voxel, as in VerSe's ``*_ctd.json`` (github.com/anjany/verse); the array axes
of a `Volume` are the other way round. ``level`` (null if unsure) and ``ras_mm`` (millimetres to
the right, front and top) are additions that VerSe's readers pass over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spineseg import labels as table
from spineseg.errors import InputError
from spineseg.volume import Grid, Volume

__all__ = ["Centroid", "Placed", "read_centroids", "write_centroids"]

_VOXEL_DECIMALS = 3
_MM_DECIMALS = 3


class Placed(Protocol):
    """Anything with a label and a place, such as a `spineseg.result.Vertebra`."""

    @property
    def label(self) -> int:
        """VerSe id, or 101 and up."""

    @property
    def centroid(self) -> Sequence[float] | NDArray[np.float64]:
        """RAS, mm."""


@dataclass(frozen=True)
class Centroid:
    """Where a vertebra is.

    Attributes
    ----------
    label : int
        VerSe id, or 101 and up.
    centroid : tuple of float
        RAS, mm.
    """

    label: int
    centroid: tuple[float, float, float]

    @property
    def level(self) -> str | None:
        """The level's name; None if it is unsure."""
        return _level(self.label)


def _level(label: int) -> str | None:
    try:
        return table.by_verse(label).name
    except KeyError:
        return None


def write_centroids(centroids: Iterable[Placed], grid: Volume | Grid, path: Path | str) -> None:
    """Write centroids as voxel positions of `grid`, the scan's own, and as RAS mm.

    Parameters
    ----------
    centroids : iterable
        Each with a `label` and a `centroid` (RAS, mm): `Centroid` or `spineseg.result.Vertebra`.
    grid : Volume or Grid
        The scan.
    path : Path or str
        The JSON file; it appears whole or not at all.

    Raises
    ------
    InputError
        If the disk refuses.
    """
    from spineseg.atomic import atomic_path

    entries: list[dict[str, Any]] = [{"direction": list(grid.orientation)}]
    for centroid in centroids:
        voxel = grid.ras_to_ijk(np.array([centroid.centroid], dtype=float))[0]
        x, y, z = (round(float(value), _VOXEL_DECIMALS) for value in voxel)
        entries.append({
            "label": int(centroid.label), "X": x, "Y": y, "Z": z,
            "level": _level(centroid.label),
            "ras_mm": [round(float(value), _MM_DECIMALS) for value in centroid.centroid],
        })  # fmt: skip
    lines = ",\n".join("  " + json.dumps(entry) for entry in entries)
    with atomic_path(Path(path)) as part:
        part.write_text(f"[\n{lines}\n]\n", encoding="utf-8", newline="\n")


def read_centroids(path: Path | str, grid: Volume | Grid | None = None) -> list[Centroid]:
    """Read centroids, ours or VerSe's.

    Parameters
    ----------
    path : Path or str
        The JSON file.
    grid : Volume or Grid, optional
        The scan. Needed for files without ``ras_mm``, as VerSe's are; it may be oriented
        differently from what the file's ``direction`` says.

    Raises
    ------
    InputError
        If the file is missing or no such list, or `grid` is needed.
    """
    path = Path(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        direction = "".join(entries[0]["direction"])
        points = [entry for entry in entries[1:] if "label" in entry]
        labels = [int(entry["label"]) for entry in points]
        voxels = np.array([[entry[axis] for axis in "XYZ"] for entry in points], dtype=float)
        millimetres = [entry.get("ras_mm") for entry in points]
    except OSError as error:
        raise InputError(f"{path.name} can't be read.", "Check the path.", str(error)) from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{path.name} is not a list of centroids in VerSe's JSON.",
            "Choose a centroids.json or *_ctd.json file.",
            str(error),
        ) from error
    if not points:
        return []
    if all(value is not None for value in millimetres):
        ras = np.array(millimetres, dtype=float)
    elif grid is None:
        raise InputError(
            f"{path.name} gives voxel positions only.", "Give the scan that they belong to."
        )
    else:
        ras = _oriented(grid, direction).ijk_to_ras(voxels)
    kept = np.isfinite(ras).all(axis=1)  # VerSe's files have NaN for some missing vertebrae
    return [
        Centroid(label, (float(x), float(y), float(z)))
        for label, (x, y, z), keep in zip(labels, ras, kept, strict=True)
        if keep
    ]


def _oriented(grid: Volume | Grid, direction: str) -> Grid:
    """Return the scan's grid with its axes permuted and flipped to `direction`."""
    grid = grid.grid if isinstance(grid, Volume) else grid
    axes, flips = grid.axis_map(direction)
    grid = grid.permuted(axes)
    for axis in flips:
        grid = grid.flipped(axis)
    return grid
