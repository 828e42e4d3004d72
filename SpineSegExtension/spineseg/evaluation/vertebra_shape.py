"""Sizes and Hounsfield units of the vertebrae of a label map, made for comparing populations.

Everything is measured in each vertebra's own frame, which needs no orientation of the image: the
body's centre is where the bone is thickest, up is towards the neighbours' centres, and forwards is
from the vertebra's centre of mass to that of its body. So meshes of unknown axes, people's label
maps and digital patients go through the same measurement, and its errors with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..labels import by_name
from ..measure.heights import spine_directions
from ..volume import Volume

__all__ = ["MEASURES", "Piece", "body_centre", "cut_out", "densities", "sizes"]

Array = npt.NDArray[Any]
STEP_MM = 1.5
"""Voxel edge at which shapes are measured."""
MEASURES = ("body width", "body depth", "body height", "span", "length", "volume")
"""Names of the sizes: mm, and mL for the volume. Span is between the tips of the transverse
processes, length from the front of the body to the tip of the spinous process."""


@dataclass(frozen=True)
class Piece:
    """One vertebra on an isotropic grid.

    Attributes
    ----------
    level : str
    mask : Volume
        bool (k, j, i), `STEP_MM`.
    centre : (3,) float64
        Middle of the body, RAS mm.
    """

    level: str
    mask: Volume
    centre: Array


def body_centre(mask: Volume) -> Array:
    """Return the place where a vertebra is thickest, in RAS mm: the middle of its body."""
    depth = ndimage.distance_transform_edt(np.pad(mask.array, 1))[1:-1, 1:-1, 1:-1]
    core = depth > 0.7 * depth.max()
    pieces, _ = ndimage.label(core)
    core = pieces == pieces[np.unravel_index(int(depth.argmax()), depth.shape)]
    return np.asarray(mask.ijk_to_ras(np.argwhere(core)[:, ::-1]).mean(axis=0))


def cut_out(labels: Volume, levels: Mapping[int, str], whole: bool = True) -> list[Piece]:
    """Return the vertebrae of a label map, from the top.

    Parameters
    ----------
    labels : Volume
        Label map, whole numbers.
    levels : mapping of int to str
        Level of each label that counts.
    whole : bool
        Leave out what is cut by the map's border.
    """
    array = labels.array.astype(np.uint8)
    boxes = ndimage.find_objects(array)
    pieces = []
    for label, level in levels.items():
        box = boxes[label - 1] if label <= len(boxes) else None
        if box is None:
            continue
        edge = any(s.start == 0 or s.stop == n for s, n in zip(box, array.shape, strict=True))
        if whole and edge:
            continue
        crop = labels.crop([s.start for s in box], [s.stop for s in box])
        own = crop.like((array[box] == label).astype(np.float32)).pad((1, 1, 1), (1, 1, 1), 0)
        fine = own.resampled((STEP_MM,) * 3, order=1)
        mask = fine.like(fine.array >= 0.5)
        if mask.array.sum() > 200:
            pieces.append(Piece(level, mask, body_centre(mask)))
    # VerSe's number of T13 is out of order; no map here has it, and neighbours must be neighbours.
    return sorted(pieces, key=lambda p: by_name(p.level).verse)


def _frame(piece: Piece, up: Array, points: Array) -> Array:
    """Axes of a vertebra in its columns: to a side, forwards, up."""
    front = piece.centre - points.mean(axis=0)
    front = front - up * float(front @ up)
    front = front / np.linalg.norm(front)
    return np.stack([np.cross(front, up), front, up], axis=1)


def _run(piece: Piece, starts: Array, direction: Array) -> float:
    """Mean length (mm) of bone along lines through points, to both sides of each point."""
    steps = np.arange(0.0, 45.0, 0.5)
    inside = piece.mask.array.astype(np.float32)
    total = 0.0
    for way in (direction, -direction):
        places = starts[:, None, :] + steps[None, :, None] * way
        ijk = piece.mask.ras_to_ijk(places.reshape(-1, 3))[:, ::-1].T
        on = ndimage.map_coordinates(inside, ijk, order=1).reshape(len(starts), -1) >= 0.5
        length = np.where(on.all(axis=1), len(steps), (~on).argmax(axis=1)) * 0.5
        total += float(length.mean())
    return total


def sizes(pieces: list[Piece]) -> dict[str, dict[str, float]]:
    """Return the sizes of each vertebra (see `MEASURES`) by its level.

    C1 and C2 have no body that this could measure: they get span, length and volume only.
    """
    directions = spine_directions(np.array([p.centre for p in pieces]).reshape(-1, 3))
    out: dict[str, dict[str, float]] = {}
    for piece, up in zip(pieces, directions, strict=True):
        points = piece.mask.ijk_to_ras(np.argwhere(piece.mask.array)[:, ::-1])
        frame = _frame(piece, up, points)
        local = (points - piece.centre) @ frame
        span, length, _ = np.ptp(local, axis=0) + STEP_MM
        row = {"span": float(span), "length": float(length)}
        if piece.level not in ("C1", "C2"):
            around = np.array([[x, y, 0.0] for x in (-4.0, 0.0, 4.0) for y in (-3.0, 0.0, 3.0)])
            across = np.array([[x, 0.0, z] for x in (-2.0, 0.0, 2.0) for z in (-2.0, 0.0, 2.0)])
            # A little before the middle no process joins the body's side.
            aside = np.array([[0.0, y, z] for y in (1.0, 3.0) for z in (-2.0, 0.0, 2.0)])
            for name, grid, axis in (
                ("body width", aside, 0), ("body depth", across, 1), ("body height", around, 2),
            ):  # fmt: skip
                row[name] = _run(piece, piece.centre + grid @ frame.T, frame[:, axis])
        row["volume"] = float(piece.mask.array.sum()) * STEP_MM**3 / 1000
        out[piece.level] = row
    return out


def densities(ct: Volume, labels: Volume, pieces: list[Piece]) -> list[dict[str, float]]:
    """Return the HU of each vertebra: cancellous bone, cortex, and the disc below it.

    ``cancellous`` is the median deeper than 5 mm within 14 mm of the body's centre, ``cortex`` the
    90th percentile of the outermost 2 mm round the body, ``disc`` the median within 4 mm of the
    point midway to the next body, outside of all labels.
    """
    rows = []
    for n, piece in enumerate(pieces):
        scan = ct.resampled_like(piece.mask, order=1, fill=-1000.0).array
        inner = ndimage.distance_transform_edt(np.pad(piece.mask.array, 1))[1:-1, 1:-1, 1:-1]
        inner = inner * STEP_MM
        places = piece.mask.ijk_to_ras(np.indices(scan.shape)[::-1].reshape(3, -1).T)
        away = np.linalg.norm(places - piece.centre, axis=1).reshape(scan.shape)
        deep = (inner > 5.0) & (away < 14.0)
        rim = (inner > 0) & (inner <= 2.0) & (away < 28.0)
        row = {}
        if deep.sum() > 20:
            row["cancellous"] = float(np.median(scan[deep]))
            row["cortex"] = float(np.percentile(scan[rim], 90))
        if n + 1 < len(pieces):
            below = pieces[n + 1]
            if by_name(below.level).verse - by_name(piece.level).verse == 1:
                row.update(_disc(ct, labels, (piece.centre + below.centre) / 2))
        rows.append(row)
    return rows


def _disc(ct: Volume, labels: Volume, middle: Array) -> dict[str, float]:
    grid = np.mgrid[-4:5, -4:5, -4:5].reshape(3, -1).T.astype(float)
    grid = grid[np.linalg.norm(grid, axis=1) <= 4.0] + middle
    at = np.rint(ct.ras_to_ijk(grid)).astype(int)[:, ::-1]
    at = np.unique(at[((at >= 0) & (at < ct.shape)).all(axis=1)], axis=0)
    k, j, i = at.T
    free = ct.array[k, j, i][labels.array[k, j, i] == 0]
    return {"disc": float(np.median(free))} if len(free) >= 5 else {}
