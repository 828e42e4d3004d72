"""How far digitised landmarks lie from the surfaces of segmented vertebrae (paper 000, section 4).

A patient stands for the X-ray that landmarks come from and lies in the scanner, so the spines
differ, but each vertebra is rigid: every vertebra's landmarks are brought to its surface by
themselves, roughly and then by ICP, and the distances that remain are measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spineseg.errors import InputError
from spineseg.geometry.registration import (
    Closest,
    Icp,
    check_points,
    closest_points,
    icp,
    rotation_angle,
    rough,
)
from spineseg.io.landmarks import Landmark
from spineseg.labels import FIRST_UNSURE, LAST_UNSURE, by_name, by_verse, is_vertebra
from spineseg.progress import Progress

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkPolyData

__all__ = ["LevelFit", "ValidationResult", "read_surfaces", "validate"]

Floats = NDArray[np.float64]

ITERATIONS = 100  # the paper's
_NOWHERE_MM = 15.0  # mean distance after ICP at which points and model are no pair
_CLEARLY = 0.6  # a reflected set that fits this much better is the right one
_SLID_MM, _TURNED_DEG = 20.0, 35.0
_FAR_MM, _FARTHER = 4.0, 3.0  # mean distance of a vertebra, also over the median of the others'
_ROUNDS = 30  # of ICP with which a reflected set is tried
_LEAST_SPAN = 0.12  # of the surface's own: less are points in another unit, or on one spot


@dataclass(frozen=True)
class LevelFit:
    """One vertebra's landmarks and how they fit its surface.

    Attributes
    ----------
    level : str
    labels : tuple of str
        Of its landmarks.
    points, moved : (n, 3) float64
        As given and after registration, RAS mm.
    transform : (4, 4) float64
        What moved them, a rotation and a shift.
    before_mm, distances_mm : (n,) float64
        From each point to the surface, as given and after registration.
    """

    level: str
    labels: tuple[str, ...]
    points: Floats
    moved: Floats
    transform: Floats
    before_mm: Floats
    distances_mm: Floats
    warnings: tuple[str, ...] = ()

    @property
    def mean(self) -> float:
        """Mean distance after registration, mm."""
        return float(self.distances_mm.mean())

    @property
    def sd(self) -> float:
        """Standard deviation of the distances (n - 1), mm."""
        return float(self.distances_mm.std(ddof=1)) if len(self.distances_mm) > 1 else 0.0

    @property
    def maximum(self) -> float:
        """Greatest distance, mm."""
        return float(self.distances_mm.max())

    @property
    def rotation_deg(self) -> float:
        """Angle by which the points were turned."""
        return rotation_angle(self.transform)

    @property
    def translation_mm(self) -> Floats:
        """Shift (3,) of the points' centre, RAS mm."""
        return np.asarray(self.moved.mean(axis=0) - self.points.mean(axis=0))


@dataclass(frozen=True)
class ValidationResult:
    """Fits from the top to the bottom, what makes them doubtful, and the rounds of ICP."""

    fits: list[LevelFit]
    warnings: list[str] = field(default_factory=list)
    iterations: int = ITERATIONS

    @property
    def mean(self) -> float:
        """Mean over the vertebrae of their mean distance, mm: the paper's figure."""
        return float(np.mean([fit.mean for fit in self.fits]))

    @property
    def sd(self) -> float:
        """Standard deviation of the vertebrae's mean distances (n - 1), mm."""
        means = [fit.mean for fit in self.fits]
        return float(np.std(means, ddof=1)) if len(means) > 1 else 0.0


def validate(
    surfaces: Mapping[str, vtkPolyData],
    landmarks: Sequence[Landmark],
    iterations: int = ITERATIONS,
    progress: Progress | None = None,
) -> ValidationResult:
    """Register every vertebra's landmarks to its surface and measure what remains.

    Parameters
    ----------
    surfaces : mapping of str to vtkPolyData
        Level (or "101", "102" …) → closed triangle mesh, RAS mm.
    landmarks : sequence of Landmark
    iterations : int
        Rounds of ICP.
    progress : Progress, optional
        Told of each vertebra; its token cancels.

    Raises
    ------
    InputError
        A vertebra with landmarks has no surface, too few landmarks or landmarks on a line or on
        one spot; the points are no pair to the model, their levels are out of order, or they are
        reflected.
    """
    progress = progress or Progress()
    groups: dict[str, list[Landmark]] = {}
    for landmark in landmarks:
        groups.setdefault(landmark.level, []).append(landmark)
    missing = [level for level in groups if level not in surfaces]
    if missing:
        raise InputError(
            f"The model has no {', '.join(missing)}, which landmarks are given for.",
            f"It has {', '.join(surfaces) or 'no vertebra'}: correct the levels on either side.",
        )
    fits = []
    for n, level in enumerate(sorted(groups, key=_order)):
        progress("register", n / len(groups), level)
        fits.append(_fit(level, groups[level], surfaces[level], iterations))
    progress("register", 1.0)
    _refuse_disorder(fits)
    return replace(_compared(fits), iterations=iterations)


def _order(level: str) -> int:
    return int(level) if level.isdigit() else by_name(level).verse


def _fit(level: str, landmarks: list[Landmark], surface: Any, iterations: int) -> LevelFit:
    from spineseg.io.meshes import mesh_arrays

    points = np.array([one.position for one in landmarks], dtype=float)
    check_points(points, level)
    closest = closest_points(surface)
    corners = mesh_arrays(surface)[0]
    span, size = (float(np.linalg.norm(np.ptp(of, axis=0))) for of in (points, corners))
    if span < _LEAST_SPAN * size:
        raise InputError(
            f"The landmarks of {level} span {span:.0f} mm, its surface {size:.0f} mm: so few"
            " millimetres fit anywhere.",
            "Check the unit (mm), and spread landmarks over the whole vertebra.",
        )
    found = icp(points, closest, iterations, rough(points, corners, closest))
    # Against reflections that have had their rounds, these must have had theirs.
    settled = found if iterations >= _ROUNDS else icp(points, closest, _ROUNDS, found.transform)
    _refuse_reflected(level, points, corners, closest, settled)
    if found.distances_mm.mean() > _NOWHERE_MM:
        raise InputError(
            f"The landmarks of {level} stay {found.distances_mm.mean():.0f} mm away from its"
            " surface: they do not belong together.",
            "Check the patient, the level and the unit (mm).",
        )
    before = np.linalg.norm(points - closest(points), axis=1)
    return LevelFit(
        level, tuple(one.label for one in landmarks), points, found.points, found.transform, before,
        found.distances_mm,
    )  # fmt: skip


def _refuse_reflected(
    level: str, points: Floats, corners: Floats, closest: Closest, found: Icp
) -> None:
    """Refuse points that fit clearly better when reflected, or turned from LPS to RAS."""
    middle = points.mean(axis=0)
    ways = {
        "mirrored from front to back": (1, -1, 1),
        "mirrored from top to bottom": (1, 1, -1),
        "mirrored from left to right": (-1, 1, 1),
        "in LPS instead of RAS": (-1, -1, 1),
    }
    least = float(found.distances_mm.mean())
    for name, signs in ways.items():
        other = middle + (points - middle) * np.array(signs)
        fit = icp(other, closest, _ROUNDS, rough(other, corners, closest))
        error = float(fit.distances_mm.mean())
        if error < _CLEARLY * least and least - error > 0.7:
            raise InputError(
                f"The landmarks of {level} seem to be {name}: so they would fit to"
                f" {error:.1f} mm instead of {least:.1f} mm.",
                "Check the file's coordinate system and its left and right.",
            )


def _refuse_disorder(fits: list[LevelFit]) -> None:
    """Refuse vertebrae whose landmarks follow each other the other way than in the model."""
    for upper, lower in zip(fits, fits[1:], strict=False):
        before, after = (
            of[1] - of[0]
            for of in zip(
                *((f.points.mean(axis=0), f.moved.mean(axis=0)) for f in (upper, lower)),
                strict=True,
            )
        )
        if before @ after < 0:
            raise InputError(
                f"The landmarks of {upper.level} and {lower.level} follow each other the other way"
                " than these vertebrae do.",
                "Check the levels of the landmarks.",
            )


def _compared(fits: list[LevelFit]) -> ValidationResult:
    """Warn of vertebrae that moved otherwise than the others: ICP may have slid to a neighbour."""
    shifts = np.array([fit.translation_mm for fit in fits])
    usual = np.median(shifts, axis=0)
    means = np.array([fit.mean for fit in fits])
    kept, warnings = [], []
    for n, (fit, shift) in enumerate(zip(fits, shifts, strict=True)):
        notes = []
        others = np.delete(means, n)
        if len(others) and fit.mean > max(_FAR_MM, _FARTHER * float(np.median(others))):
            notes.append(
                f"{fit.level} stays {fit.mean:.1f} mm away, the others {np.median(others):.1f} mm:"
                " its level may be another, or some of its points."
            )
        away = float(np.linalg.norm(shift - usual))
        if len(fits) > 2 and away > _SLID_MM:
            notes.append(
                f"{fit.level} moved {away:.0f} mm otherwise than most vertebrae: its level may be"
                " another, or ICP has slid."
            )
        if fit.rotation_deg > _TURNED_DEG:
            notes.append(f"{fit.level} was turned by {fit.rotation_deg:.0f}°: ICP may have slid.")
        kept.append(replace(fit, warnings=tuple(notes)))
        warnings += notes
    return ValidationResult(kept, warnings)


def read_surfaces(model: str | Path) -> dict[str, vtkPolyData]:
    """Read the surface of each vertebra of a label map, or of a folder with one STL a level.

    Parameters
    ----------
    model : str or Path
        A label map (VerSe ids, 101 …), or a folder of .stl files that name their level, as
        ``20_L1.stl`` and ``L1.stl`` do. A file is LPS unless its header says ``SPACE=RAS``.

    Returns
    -------
    dict
        Level → mesh, RAS mm; from the top.

    Raises
    ------
    InputError
        There is no vertebra in it.
    """
    path = Path(model)
    found = _stl_surfaces(path) if path.is_dir() else _label_surfaces(path)
    if not found:
        raise InputError(
            f"{path} holds no vertebra.",
            "Name a label map with VerSe ids, or a folder with one STL file a level.",
        )
    return {level: found[level] for level in sorted(found, key=_order)}


def level_name(label: int) -> str:
    """Return the level of a label, or its number where the level is unsure."""
    return str(label) if FIRST_UNSURE <= label <= LAST_UNSURE else by_verse(label).name


def _label_surfaces(path: Path) -> dict[str, vtkPolyData]:
    from spineseg.io.images import read_volume
    from spineseg.io.meshes import vertebra_mesh

    volume = read_volume(path)
    if volume.dtype.kind == "f" and not np.array_equal(volume.array, np.rint(volume.array)):
        raise InputError(f"{path.name} is no label map.", "Name a segmentation, not a scan.")
    if volume.array.min() < 0 or volume.array.max() > LAST_UNSURE:
        raise InputError(f"{path.name} is no label map.", "Name a segmentation, not a scan.")
    volume = volume.astype(np.uint8)
    labels = [int(n) for n in np.unique(volume.array) if n and is_vertebra(int(n))]
    return {level_name(n): vertebra_mesh(volume, n) for n in labels}


def _stl_surfaces(folder: Path) -> dict[str, vtkPolyData]:
    from vtkmodules.vtkIOGeometry import vtkSTLReader

    from spineseg.io.landmarks import level_of
    from spineseg.io.meshes import mesh_arrays, set_points

    found = {}
    for path in sorted(folder.glob("*.stl")):
        words = [word for word in path.stem.split("_") if word]
        level = next((name for word in words[::-1] if (name := _level(word, level_of))), None)
        if level is None and words and words[0].isdigit() and is_vertebra(int(words[0])):
            level = level_name(int(words[0]))
        if level is None:
            continue
        reader = vtkSTLReader()
        reader.SetFileName(str(path))
        reader.Update()
        mesh = reader.GetOutput()
        if not mesh.GetNumberOfPolys():
            raise InputError(f"{path.name} holds no surface.", "Export the model again.")
        if b"SPACE=RAS" not in path.read_bytes()[:200]:
            set_points(mesh, mesh_arrays(mesh)[0] * (-1.0, -1.0, 1.0))
        found[level] = mesh
    return found


def _level(word: str, parse: Any) -> str | None:
    try:
        return str(parse(word))
    except InputError:
        return None
