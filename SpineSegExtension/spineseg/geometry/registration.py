"""Rigid registration of a few landmarks to a surface: a rough alignment, then ICP.

Besl and McKay 1992, as `vtkIterativeClosestPointTransform` does it: each round moves the points by
the rigid transform that best brings them onto their closest points of the surface. The numbers are
that class's (a test compares them); here they can be had without a pipeline, and reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.errors import InputError

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkPolyData

__all__ = ["Icp", "closest_points", "icp", "moved", "rigid_fit", "rotation_angle", "rough"]

Floats = NDArray[np.float64]
Closest = Callable[[Floats], Floats]

_LEAST_POINTS = 4
_SINGULAR = 1e-3  # of the widest spread: less in two directions is a line


@dataclass(frozen=True)
class Icp:
    """What a registration found.

    Attributes
    ----------
    transform : (4, 4) float64
        From the landmarks as given to the surface, RAS mm; a rotation and a shift.
    points : (n, 3) float64
        The landmarks, moved.
    distances_mm : (n,) float64
        From each to the surface.
    """

    transform: Floats
    points: Floats
    distances_mm: Floats


def closest_points(surface: vtkPolyData) -> Closest:
    """Return a function from points (n, 3) to their closest points (n, 3) of a triangle mesh."""
    from vtkmodules.vtkCommonCore import mutable
    from vtkmodules.vtkCommonDataModel import vtkCellLocator, vtkGenericCell

    locator = vtkCellLocator()
    locator.SetDataSet(surface)
    locator.BuildLocator()
    cell = vtkGenericCell()

    def find(points: Floats) -> Floats:
        found = np.empty_like(points, dtype=np.float64)
        place = [0.0, 0.0, 0.0]
        for n, point in enumerate(points):
            number, part, squared = mutable(0), mutable(0), mutable(0.0)
            locator.FindClosestPoint(point, place, cell, number, part, squared)  # type: ignore[call-overload]
            found[n] = place
        return found

    return find


def rigid_fit(source: ArrayLike, target: ArrayLike) -> Floats:
    """Return the rotation and shift that bring points onto others with the least squared error.

    Kabsch 1976: never a reflection.

    Parameters
    ----------
    source, target : (n, 3)
        Pairs of points, mm.

    Returns
    -------
    (4, 4) float64
    """
    a, b = np.asarray(source, dtype=float), np.asarray(target, dtype=float)
    u, _, vt = np.linalg.svd((a - a.mean(axis=0)).T @ (b - b.mean(axis=0)))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T)) or 1.0])
    transform = np.eye(4)
    transform[:3, :3] = vt.T @ flip @ u.T
    transform[:3, 3] = b.mean(axis=0) - transform[:3, :3] @ a.mean(axis=0)
    return transform


def moved(transform: Floats, points: ArrayLike) -> Floats:
    """Return points (n, 3) after a (4, 4) transform."""
    return np.asarray(points, dtype=float) @ transform[:3, :3].T + transform[:3, 3]


def rotation_angle(transform: Floats) -> float:
    """Return the angle of a transform's rotation, degrees."""
    cosine = (np.trace(transform[:3, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def check_points(points: Floats, name: str) -> None:
    """Refuse landmarks that fix no rotation.

    Raises
    ------
    InputError
        There are fewer than 4, or they lie on a line.
    """
    if len(points) < _LEAST_POINTS:
        raise InputError(
            f"{name} has {len(points)} landmark(s): at least {_LEAST_POINTS} are needed.",
            "Place more landmarks on it, or leave it out.",
        )
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if spread[1] < _SINGULAR * max(spread[0], 1e-9):
        raise InputError(
            f"The landmarks of {name} lie on a line, which leaves a rotation open.",
            "Place landmarks on its sides or processes too.",
        )


def rough(points: Floats, surface: Floats, closest: Closest, shift: bool = True) -> Floats:
    """Return a rigid transform (4, 4) that roughly brings landmarks to a surface.

    The points and the model come from two examinations of one patient, standing and lying, so
    vertebrae are turned by little: the centre of the points goes to that of their closest points,
    and of a few small turns about it the one is taken that leaves them nearest to the surface.
    Principal axes are not used: those of a few landmarks and of a surface are not the same, and
    their signs are open.

    Parameters
    ----------
    points : (n, 3)
        RAS mm.
    surface : (m, 3)
        The surface's points.
    closest : callable
        From `closest_points`.
    shift : bool
        Whether the points may lie anywhere; False starts from where they are.
    """
    start = np.eye(4)
    if shift:
        start[:3, 3] = (surface.min(axis=0) + surface.max(axis=0)) / 2
        start[:3, 3] -= (points.min(axis=0) + points.max(axis=0)) / 2
    best, least = start, np.inf
    for turn in _small_turns():
        one = _about(turn, moved(start, points).mean(axis=0)) @ start
        for _ in range(3):
            at = moved(one, points)
            step = np.eye(4)
            step[:3, 3] = (closest(at) - at).mean(axis=0)
            one = step @ one
        error = float(_distances(moved(one, points), closest).mean())
        if error < least - 1e-9:
            best, least = one, error
    return best


def icp(
    points: ArrayLike, closest: Closest, iterations: int = 100, start: Floats | None = None
) -> Icp:
    """Bring points onto a surface by iterated closest points.

    Parameters
    ----------
    points : (n, 3)
        RAS mm.
    closest : callable
        From `closest_points`.
    iterations : int
        Rounds; all of them are made, as in paper 000.
    start : (4, 4), optional
        Where to start from, such as `rough` gives.
    """
    transform = np.eye(4) if start is None else np.asarray(start, dtype=float)
    at = moved(transform, points)
    for _ in range(iterations):
        step = rigid_fit(at, closest(at))
        transform = step @ transform
        at = moved(step, at)
    return Icp(transform, at, _distances(at, closest))


def _distances(points: Floats, closest: Closest) -> Floats:
    return np.asarray(np.linalg.norm(points - closest(points), axis=1))


def _about(turn: Floats, centre: Floats) -> Floats:
    transform = np.eye(4)
    transform[:3, :3] = turn
    transform[:3, 3] = centre - turn @ centre
    return transform


def _small_turns() -> list[Any]:
    """Return rotations by none and by 15° about each axis, to both sides."""
    from scipy.spatial.transform import Rotation

    angles = [[0, 0, 0]]
    for axis in range(3):
        for side in (-15.0, 15.0):
            one = [0.0, 0.0, 0.0]
            one[axis] = side
            angles.append(one)  # type: ignore[arg-type]
    return [Rotation.from_euler("xyz", a, degrees=True).as_matrix() for a in angles]
