"""Where the slices of a DICOM series lie, and how they become one straight, even grid.

Everything here is in DICOM's patient coordinates: LPS, in mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg.errors import InputError

__all__ = ["SliceGrid", "arrange", "straightened"]

Floats = NDArray[np.float64]

_SAME_PLACE_MM = 0.001
_ROUNDING_MM = 0.1
"""Some scanners write positions with one decimal."""
_EVEN_PARTS = 0.1, 0.25
"""Positions off the even grid by less than the first part of a step, or by `_ROUNDING_MM` but no
more than the second, are a rounding of the header."""
_SMALL_UNEVENNESS = 0.5
"""Steps that differ from the usual one by less than this part are resampled; more is an error."""
_STRAIGHT_PIXELS = 0.25
"""In-plane drift over the whole stack that is still called straight, in pixels."""
_LARGEST_TILT_DEGREES = 35.0
"""Gantries tilt by up to 30 degrees; more than this is not a tilted scan."""


@dataclass(frozen=True)
class SliceGrid:
    """Slices in order, and where each lies.

    Attributes
    ----------
    order : (N,) int array
        The given slices from the lowest to the highest position along the normal.
    axes : (3, 3) array
        Columns are the directions (LPS, unit) of i (along a row), j and the normal k.
    spacing : (3,) array
        mm along i, j and k.
    origin : (3,) array
        Centre of the first voxel of the first slice, LPS, mm.
    offsets : (N,) array
        Position of each slice along the normal, in steps of ``spacing[2]``; 0 … N-1 when even.
    drift : (N, 2) array
        Shift of each slice against the first along i and j, in pixels; 0 without gantry tilt.
    tilt : float
        Degrees between the normal and the line through the slices' first voxels.
    """

    order: NDArray[np.intp]
    axes: Floats
    spacing: Floats
    origin: Floats
    offsets: Floats
    drift: Floats
    tilt: float

    @property
    def even(self) -> bool:
        """Whether the slices lie at equal distances."""
        return _is_even(self.offsets * self.spacing[2], self.spacing[2])

    @property
    def straight(self) -> bool:
        """Whether the slices lie straight above each other."""
        return bool(np.abs(self.drift).max() <= _STRAIGHT_PIXELS)

    def affine_ras(self, first: Floats | None = None) -> Floats:
        """Return the 4×4 matrix from (i, j, k) to RAS mm of a grid whose first voxel is `first`.

        `first` is in pixels (i, j) on the first slice; by default (0, 0).
        """
        lps = np.eye(4)
        lps[:3, :3] = self.axes * self.spacing
        lps[:3, 3] = self.origin
        if first is not None:
            lps[:3, 3] += lps[:3, :2] @ first
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def arrange(positions: Floats, orientation: Floats, pixel_spacing: Floats) -> SliceGrid:
    """Sort slices along their normal and check that they make a volume.

    Parameters
    ----------
    positions : (N, 3) array
        Image Position (Patient) of each slice, N > 1.
    orientation : (6,) array
        Image Orientation (Patient), common to all slices.
    pixel_spacing : (2,) array
        Pixel Spacing as DICOM gives it: between rows (j), then between columns (i).

    Raises
    ------
    InputError
        If the directions are no directions, slices share a place, slices are missing, or the
        stack leans by more than a gantry can.
    """
    axes = _axes(orientation)
    along = positions @ axes[:, 2]
    order = np.argsort(along, kind="stable")
    positions, along = positions[order], along[order]
    step = _step(along, positions)
    spacing = np.array([pixel_spacing[1], pixel_spacing[0], step])
    moved = (positions - positions[0]) @ axes
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(moved[-1, :2]), moved[-1, 2])))
    if tilt > _LARGEST_TILT_DEGREES:
        raise InputError(
            f"The slices of this DICOM series lean by {tilt:.0f}° against each other, which no"
            " tilted gantry does.",
            "Export the series again from the scanner or the archive.",
        )
    return SliceGrid(
        order, axes, spacing, positions[0], moved[:, 2] / step, moved[:, :2] / spacing[:2], tilt
    )


def _axes(orientation: Floats) -> Floats:
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    good = np.isfinite(orientation).all() and all(abs(length - 1) < 0.01 for length in lengths)
    if not good or abs(float(row @ column)) > 0.01:
        raise InputError(
            "The slices of this DICOM series state no valid orientation.",
            "Export the series again from the scanner or the archive.",
            f"Image Orientation (Patient): {orientation.tolist()}",
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)], axis=1)


def _step(along: Floats, positions: Floats) -> float:
    """Return the distance of neighbouring slices in mm, or say what is wrong with them."""
    steps = np.diff(along)
    if steps.min() < _SAME_PLACE_MM:
        count = int((steps < _SAME_PLACE_MM).sum())
        raise InputError(
            f"{count} slices of this DICOM series lie at the same place as another one (time"
            " points, phases or echoes in one series?).",
            "Put the files of one phase into a folder of their own.",
            f"First at {_place(positions[int(np.argmin(steps))])}",
        )
    mean = float((along[-1] - along[0]) / (len(along) - 1))
    if _is_even(along, mean):
        return mean
    usual = float(np.median(steps))
    if np.abs(steps / usual - 1).max() < _SMALL_UNEVENNESS:
        return usual
    worst = int(np.argmax(np.abs(steps / usual - 1)))
    between = f"between {_place(positions[worst])} and {_place(positions[worst + 1])}"
    if steps[worst] < usual:
        cause = f"Slices of this DICOM series lie unevenly: {steps[worst]:.3g} mm apart {between}"
    else:
        missing = max(int(round(steps[worst] / usual)) - 1, 1)
        noun = "slice is" if missing == 1 else "slices are"
        cause = f"About {missing} {noun} missing {between} in this DICOM series"
    raise InputError(
        f"{cause}, where {usual:.3g} mm are usual.",
        "Export the series again with all of its slices.",
    )


def _is_even(along: Floats, step: float) -> bool:
    """Whether positions in mm lie at whole steps from the first, but for rounding."""
    off = np.abs(along - along[0] - step * np.arange(len(along))).max()
    low, high = (part * step for part in _EVEN_PARTS)
    return bool(off <= np.clip(_ROUNDING_MM, low, high))


def _place(position: Floats) -> str:
    axis = int(np.argmax(np.abs(position)))
    # Axial slices are known by their height; others by their whole position.
    return (
        f"({position[0]:.1f}, {position[1]:.1f}, {position[2]:.1f}) mm"
        if axis != 2
        else (f"z = {position[2]:.1f} mm")
    )


def straightened(
    array: NDArray[Any], grid: SliceGrid, fill: float
) -> tuple[NDArray[Any], Floats, list[str]]:
    """Put sorted slices on one straight and even grid, interpolating only where it must.

    Parameters
    ----------
    array : (k, j, i) array
        Slices in `grid`'s order.
    grid : SliceGrid
        Where they lie.
    fill : float
        Value of new voxels that no slice covers.

    Returns
    -------
    array : (k, j, i) array
        Of the same dtype; the given one if nothing had to be done.
    affine : (4, 4) array
        From (i, j, k) to RAS, mm.
    notes : list of str
        A sentence for each resampling.
    """
    notes: list[str] = []
    first = np.zeros(2)
    if not grid.straight:
        array, first = _without_drift(array, grid.drift, fill)
        notes.append(
            f"The scanner's gantry was tilted by {grid.tilt:.1f}°; the slices were moved onto a"
            " straight grid (linear interpolation within each slice)."
        )
    if not grid.even:
        steps = np.diff(grid.offsets) * grid.spacing[2]
        array = _evenly_spaced(array, grid.offsets)
        notes.append(
            f"The slices are unevenly spaced ({steps.min():.3g} to {steps.max():.3g} mm); they"
            f" were resampled to {grid.spacing[2]:.3g} mm (linear interpolation)."
        )
    return array, grid.affine_ras(first), notes


def _without_drift(array: NDArray[Any], drift: Floats, fill: float) -> tuple[NDArray[Any], Floats]:
    """Shift each slice by its drift onto a canvas that holds them all."""
    low = np.floor(drift.min(axis=0))
    more = np.ceil(drift.max(axis=0)) - low
    depth, rows, columns = array.shape
    shape = (rows + int(more[1]), columns + int(more[0]))
    canvas = np.empty((depth, *shape), array.dtype)
    for target, source, shift in zip(canvas, array, drift, strict=True):
        offset = (low - shift)[::-1]
        moved = ndimage.affine_transform(
            source.astype(np.float32), np.ones(2), offset, shape, order=1, cval=fill
        )
        target[...] = np.rint(moved) if array.dtype.kind in "iu" else moved
    return canvas, low


def _evenly_spaced(array: NDArray[Any], offsets: Floats) -> NDArray[Any]:
    """Interpolate between neighbouring slices at the whole offsets."""
    count = int(np.floor(offsets[-1] + 1e-6)) + 1
    result = np.empty((count, *array.shape[1:]), array.dtype)
    for index in range(count):
        below = int(np.clip(np.searchsorted(offsets, index, "right") - 1, 0, len(offsets) - 2))
        part = (index - offsets[below]) / (offsets[below + 1] - offsets[below])
        part = float(np.clip(part, 0.0, 1.0))
        mixed = array[below] * np.float32(1 - part) + array[below + 1] * np.float32(part)
        result[index] = np.rint(mixed) if array.dtype.kind in "iu" else mixed
    return result
