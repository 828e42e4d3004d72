"""Opens what people said about a scan: label maps and centroids, as VerSe ids and RAS mm.

Sources: docs/datasets.md.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from .. import labels as table
from ..errors import InputError
from ..grid import Grid
from ..io.centroids import read_centroids
from ..io.images import read_volume
from ..volume import Volume
from .datasets import PICTURES, Case

__all__ = ["Truth", "read_scan", "read_truth"]

Point = tuple[float, float, float]
_ALIGNED = 0.05  # of a voxel: how far a label map may lie off its scan
# From the lowest lumbar vertebra up; T13 and L6 are not among them.
_UPWARDS = [level.verse for level in table.USUAL_VERTEBRAE[::-1]]


@dataclass(frozen=True)
class Truth:
    """What is known of a scan.

    Attributes
    ----------
    labels : Volume or None
        uint8 VerSe ids on the scan's grid; None where there are only centroids.
    centroids : dict of int to tuple
        VerSe id → the vertebra's centre as the data set's makers give it, RAS mm; empty if they
        give none.
    bodies : Volume or None
        bool, the vertebral bodies on the scan's grid, where they are known.
    """

    labels: Volume | None
    centroids: dict[int, Point] = field(default_factory=dict)
    bodies: Volume | None = None


def read_scan(case: Case) -> Volume:
    """Read a case's CT; InputError as in `spineseg.io.images.read_volume`."""
    return read_volume(case.scan)


def read_truth(case: Case, scan: Volume) -> Truth:
    """Read a case's labels and centroids.

    Raises
    ------
    InputError
        A file is missing or damaged, lies on another grid than the scan, or names no vertebra.
    """
    if case.layout == "bodies":
        labels = _stacked(case, scan)
        return Truth(labels, {}, labels.like(labels.array > 0))
    found: Volume | None = None
    bodies: Volume | None = None
    if case.labels is not None:
        raw = _on_grid(read_volume(case.labels), scan, case.labels.name)
        found = _csi_levels(raw) if case.layout == "csi2014" else _verse_ids(raw)
    if case.parts is not None:
        parts = _on_grid(read_volume(case.parts), scan, case.parts.name).array
        inside = (table.SubRegion.BODY, table.SubRegion.BODY_BORDER, table.SubRegion.DENS)
        bodies = scan.like(np.isin(parts, [int(code) for code in inside]))
    points: dict[int, Point] = {}
    if case.centroids is not None:
        reader = _lml if case.layout == "glocker" else _verse_centroids
        points = reader(case.centroids, scan.grid)
    known = points if found is None else ndimage.find_objects(found.array)
    if not any(known):
        raise InputError(f"No vertebra is labelled in {case.name}.", "Leave this case out.")
    return Truth(found, points, bodies)


def _on_grid(labels: Volume, scan: Volume, name: str) -> Volume:
    """Return a label map on the scan's own grid; only its axes may differ (as VerSe's verse201)."""
    turned = labels.reoriented(scan.orientation)
    if not turned.grid.same_as(scan.grid, _ALIGNED):
        raise InputError(
            f"{name} is not on its scan's grid.", "Resample it to the scan, or check the pair."
        )
    return scan.like(turned.array)


def _whole(labels: Volume) -> NDArray[Any]:
    """Return a label map's voxels as whole numbers, none below 0."""
    array = labels.array
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        array = np.rint(array).astype(np.int32)
    return array if array.dtype.kind == "u" else np.maximum(array, 0)


def _renumbered(array: NDArray[Any], ids: dict[int, int]) -> NDArray[np.uint8]:
    """Return the array with each key of `ids` replaced by its value and all else by 0."""
    new = np.zeros(max(int(array.max()), *ids, 0) + 1, dtype=np.uint8)
    for old, label in ids.items():
        new[old] = label
    return np.asarray(new[array])


def _verse_ids(labels: Volume) -> Volume:
    """Return VerSe ids as uint8, without what is no vertebra (sacrum, coccyx, other bone)."""
    ids = {level.verse: level.verse for level in table.VERTEBRAE}
    return labels.like(_renumbered(_whole(labels), ids))


def _csi_levels(labels: Volume) -> Volume:
    """Return VerSe ids for CSI 2014's numbers: the lowest vertebra is L5, the others go up from it.

    Every scan of the data set shows the thoracic and the lumbar spine whole.
    """
    array = _whole(labels)
    heights: dict[int, float] = {}
    for value, box in enumerate(ndimage.find_objects(array), start=1):
        if box is not None:
            middle = np.argwhere(array[box] == value).mean(axis=0) + [s.start for s in box]
            heights[value] = float(labels.ijk_to_ras(middle[None, ::-1])[0, 2])
    if len(heights) > len(_UPWARDS):
        raise InputError(
            f"The label map has {len(heights)} vertebrae, more than a spine.", "Check the pair."
        )
    upwards = sorted(heights, key=lambda value: heights[value])
    return labels.like(_renumbered(array, dict(zip(upwards, _UPWARDS, strict=False))))


def _verse_centroids(path: Path, grid: Grid) -> dict[int, Point]:
    """Return VerSe's centroids: in voxels with a direction, or in mm from the challenge's corner.

    The challenge's files have no direction. In 2019's (``_ctd.json``) X, Y and Z go down, back and
    to the left; in 2020's (``iso-ctd.json``) back, down and to the right; both in voxels of the
    scan resampled to 1 mm.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        plain = not any("direction" in entry for entry in entries)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path.name} is not a list of centroids in VerSe's JSON.",
            "Copy or download it again.", str(error),
        ) from error  # fmt: skip
    if not plain:
        return {c.label: c.centroid for c in read_centroids(path, grid)}
    axes = "PIR" if "iso" in path.name else "IPL"
    turned, flips = grid.axis_map(axes)
    grid = grid.permuted(turned)
    for axis in flips:
        grid = grid.flipped(axis)
    first = (np.array(grid.shape[::-1]) * grid.spacing - 1) / 2  # of 1 mm voxels, from the centre
    points: dict[int, Point] = {}
    for entry in entries:
        try:
            at = np.array([float(entry[axis]) for axis in "XYZ"])
            label = int(entry["label"])
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"{path.name} is not a list of centroids in VerSe's JSON.",
                "Copy or download it again.", str(error),
            ) from error  # fmt: skip
        if np.isfinite(at).all():
            x, y, z = grid.center + grid.directions @ (at - first)
            points[label] = (float(x), float(y), float(z))
    return points


def _lml(path: Path, grid: Grid) -> dict[int, Point]:
    """Return the centroids of a ``.lml`` file: number, NAME_center, then x, y, z.

    They are mm along the image's own axes from the middle of its first voxel.
    """
    points: dict[int, Point] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path.name} can't be read.", "Check the path.", str(error)) from error
    for line in lines:
        cells = line.split()
        if len(cells) < 5 or not cells[0].isdigit():
            continue  # the header
        name = cells[1].split("_")[0].upper()
        try:
            at = np.array([float(cell) for cell in cells[2:5]])
            level = table.by_name(name)
        except (ValueError, KeyError):
            continue  # S1 and S2 are marked too
        if np.isfinite(at).all():
            x, y, z = grid.ijk_to_ras(at[None] / np.array(grid.spacing))[0]
            points[level.verse] = (float(x), float(y), float(z))
    return points


def _stacked(case: Case, scan: Volume) -> Volume:
    """Return 2-D masks as one label map of a vertebra of unknown level, slice by slice.

    The pictures in the order of their numbers belong to the DICOM files in the order of theirs.
    """
    assert case.labels is not None
    files = [p for p in case.labels.iterdir() if p.suffix.lower() in PICTURES]
    files.sort(key=_natural)
    slices = _slice_order(case.scan)
    if len(files) != scan.shape[0] or len(slices) != scan.shape[0]:
        raise InputError(
            f"{case.name} has {len(files)} masks for {scan.shape[0]} slices.",
            "Give one mask a slice, empty ones too.",
        )
    array = np.zeros(scan.shape, dtype=np.uint8)
    for file, k in zip(files, slices, strict=True):
        try:
            picture: NDArray[Any] = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        except RuntimeError as error:
            raise InputError(
                f"{file.name} is damaged or no picture.", "Copy or download it again.", str(error)
            ) from error
        flat = picture.max(axis=-1) if picture.ndim == 3 and picture.shape[-1] <= 4 else picture
        flat = np.squeeze(flat)
        if flat.shape != scan.shape[1:]:
            raise InputError(
                f"{file.name} is not of its slice's size.", "Check that masks and slices belong."
            )
        array[k][flat > flat.max() / 2] = table.FIRST_UNSURE
    return scan.like(array)


def _slice_order(folder: Path) -> list[int]:
    """Return for each DICOM file, in the order of the names' numbers, its slice (k)."""
    from ..io.dicom import choose_series, find_series

    series = choose_series(find_series(folder), None, [])
    planes = series.slices
    normal = np.cross(*np.array(planes[0].orientation, dtype=float).reshape(2, 3))
    height = np.array([float(np.dot(plane.position, normal)) for plane in planes])
    place = np.empty(len(planes), dtype=int)
    place[np.argsort(height)] = np.arange(len(planes))
    order = sorted(range(len(planes)), key=lambda n: _natural(planes[n].path))
    return [int(place[n]) for n in order]


def _natural(path: Path) -> tuple[list[float], str]:
    numbers = [float(n) for n in re.findall(r"\d+", path.stem)]
    return (numbers or [math.inf]), path.name
