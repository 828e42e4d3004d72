"""Presses vertebrae of a real scan together, so that it holds fractures that are known.

Real scans with graded fractures are few, and digital patients are not real bone. So the bodies of
a scan without fractures are made lower, in the shapes that digital patients have: the image is
bent along each body's axis, the discs beside it take up the room. The bone keeps its texture; it
gets no callus, no dense bands and no kyphosis, and the spine above does not come down. So pressed
scans show whether what was learned on drawings holds on real bone, no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputError
from ..labels import VERTEBRAE, by_name
from ..measure.deformity import grade_of
from ..measure.endplates import BodyFrame, fit_bodies
from ..phantom.settings import Fracture
from ..volume import Volume
from .datasets import Case, find_cases
from .fracture_scenes import random_fracture
from .truth import read_scan, read_truth

__all__ = ["PressedScene", "press_some", "press_vertebrae", "pressed_cases"]

Floats = NDArray[np.float64]

_DISC_MM = 7.0  # beyond an endplate, which is stretched as the body gets lower
_FLARE = 1.2  # half-widths, measured at the waist: as far as a body goes
_FADE = 0.3  # half-widths over which the bending ends beside it
_BEHIND_MM = 3.0  # behind its back wall bending begins to end, so that the arch stays,
_FADE_BEHIND_MM = 5.0  # and ends
_LEAST_KEPT = 0.2
_SHARE = 0.3  # of a spine's vertebrae that are pressed
_GRADED = {level.name for level in VERTEBRAE[VERTEBRAE.index(by_name("T4")) :]}


@dataclass(frozen=True)
class PressedScene:
    """A real scan, some of whose vertebrae are pressed together.

    Attributes
    ----------
    name : str
    seed : int
    fractures : tuple of Fracture
        All other vertebrae count as sound: choose scans without fractures.
    """

    name: str
    seed: int
    fractures: tuple[Fracture, ...]

    def truth(self, level: str) -> tuple[int, str] | None:
        """Return grade and type of a level: 0 and "" where it was left as it is."""
        for fracture in self.fractures:
            if fracture.level == level:
                grade = grade_of(fracture.loss)
                return grade, fracture.kind if grade else ""
        return 0, ""

    def mimic(self, level: str) -> str:
        """Return "": mimics are not told."""
        return ""


def pressed_cases(
    folder: Path | str, count: int, mild: float = 0.0
) -> list[tuple[PressedScene, Callable[[], tuple[Volume, Volume]]]]:
    """Return each labelled scan of a folder ``count`` times, with other vertebrae pressed.

    Beside each stands a function that gives its scan and label map. The first of each scan is left
    as it is. The same folder gives the same fractures. ``mild`` is the share of the others that are
    pressed by less than what is a fracture.

    Raises
    ------
    InputError
        There is no labelled scan in the folder.
    """
    found: list[tuple[PressedScene, Callable[[], tuple[Volume, Volume]]]] = []
    for case in find_cases(folder).cases:
        if case.labels is None:
            continue
        labels = read_truth(case, read_scan(case)).labels
        assert labels is not None
        names = _pressable(labels)
        for n in range(count):
            rng = np.random.default_rng([n, *case.name.encode()])
            fractures = _chosen(names, rng, _SHARE, mild) if n else []
            scene = PressedScene(f"{case.name}-pressed{n}", n, tuple(fractures))
            found.append((scene, partial(_read, case, fractures)))
    if not found:
        raise InputError(f"There is no labelled scan in {folder}.", "See docs/datasets.md.")
    return found


def press_some(
    scan: Volume, labels: Volume, seed: int, share: float = _SHARE
) -> tuple[Volume, Volume]:
    """Return a scan and its label map (as `press_vertebrae`) with a share of them pressed."""
    rng = np.random.default_rng([seed, 17])
    return press_vertebrae(scan, labels, _chosen(_pressable(labels), rng, share, 0.0))


def _pressable(labels: Volume) -> list[str]:
    """Return the levels that are graded and whose bodies are known well enough."""
    return [f.name for f in fit_bodies(labels) if f.name in _GRADED and _fits(f)]


def _chosen(
    names: Sequence[str], rng: np.random.Generator, share: float, mild: float
) -> list[Fracture]:
    """Return fractures of a share of the levels, of one at least, and of others mild dents."""
    some = [name for name in names if rng.random() < share]
    if names and not some:
        some = [str(rng.choice(names))]
    fractures = [random_fracture(name, rng) for name in some]
    rest = [name for name in names if name not in some and rng.random() < mild]
    return fractures + [Fracture(name, "crush", float(rng.uniform(0.02, 0.12))) for name in rest]


def _read(case: Case, fractures: Sequence[Fracture]) -> tuple[Volume, Volume]:
    scan = read_scan(case)
    labels = read_truth(case, scan).labels
    assert labels is not None
    return press_vertebrae(scan, labels, fractures)


def _fits(frame: BodyFrame) -> bool:
    """Whether a body is known well enough to be pressed."""
    return frame.half_mm is not None and frame.upper is not None and frame.lower is not None


def press_vertebrae(
    scan: Volume, labels: Volume, fractures: Sequence[Fracture]
) -> tuple[Volume, Volume]:
    """Return a scan and its label map with vertebrae pressed together.

    Parameters
    ----------
    scan, labels : Volume
        HU and VerSe ids (k, j, i) on one grid.
    fractures : sequence of Fracture
        Of levels that the label map has, whole; neighbours may both be pressed.

    Raises
    ------
    InputError
        A level is missing, or its body can't be told.
    """
    frames = {frame.name: frame for frame in fit_bodies(labels)}
    steps = []
    for fracture in fractures:
        frame = frames.get(fracture.level)
        if frame is None or not _fits(frame):
            raise InputError(
                f"The body of {fracture.level} can't be told in this label map.",
                "Choose another level.",
            )
        steps.append(_steps(labels, frame, fracture))
    if not steps:
        return scan, labels
    # Where neighbours are pressed, too, what they move adds up.
    low = np.min([first for first, _ in steps], axis=0)
    high = np.max([first + step.shape[1:] for first, step in steps], axis=0)
    places = np.indices(tuple(high - low), dtype=np.float32) + low[:, None, None, None]
    for first, step in steps:
        places[(slice(None), *_box(first - low, step.shape[1:]))] += step
    box = _box(low, high - low)
    image, names = scan.array.copy(), labels.array.copy()
    image[box] = np.rint(ndimage.map_coordinates(scan.array, places, order=1, mode="nearest"))
    names[box] = ndimage.map_coordinates(labels.array, places, order=0, mode="nearest")
    return scan.like(image), labels.like(names)


def _box(first: NDArray[np.int64], shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(int(a), int(a) + int(n)) for a, n in zip(first, shape, strict=True))


def _steps(grid: Volume, frame: BodyFrame, fracture: Fracture) -> tuple[NDArray[np.int64], Floats]:
    """Return where each voxel near a body gets its new value from.

    The first voxel (k, j, i) of its neighbourhood, and (3, k, j, i) voxels from each one there.
    """
    assert frame.half_mm is not None
    axes, half = frame.standing, frame.half_mm
    beyond = half * (_FLARE + _FADE) + [0.0, _BEHIND_MM + _FADE_BEHIND_MM, 2 * _DISC_MM]
    middle = grid.ras_to_ijk(frame.centre[None])[0][::-1]
    reach = float(np.linalg.norm(beyond)) / np.array(grid.spacing[::-1])
    low = np.maximum(np.floor(middle - reach), 0).astype(np.int64)
    high = np.minimum(np.ceil(middle + reach) + 1, grid.array.shape).astype(np.int64)
    kji = np.indices(tuple(high - low)).reshape(3, -1).T + low
    away = (grid.ijk_to_ras(kji[:, ::-1]) - frame.centre) @ axes
    top = np.where(
        away[:, 2] > 0, _plane(frame, axes, away, True), -_plane(frame, axes, away, False)
    )
    moved = _moved(away, half, np.maximum(top, 2.0), fracture.kept)
    source = grid.ras_to_ijk(frame.centre + (away + moved[:, None] * [0.0, 0.0, 1.0]) @ axes.T)
    return low, (source[:, ::-1] - kji).T.reshape(3, *(high - low))


def _plane(frame: BodyFrame, axes: Floats, away: Floats, upper: bool) -> Floats:
    """Return how high an endplate's plane lies over the body's middle (n,) at points (n, 3), mm."""
    plate = frame.upper if upper else frame.lower
    assert plate is not None
    centre, normal = (plate.centre - frame.centre) @ axes, plate.normal @ axes
    return np.asarray(centre[2] - (away[:, :2] - centre[:2]) @ normal[:2] / normal[2])


def _moved(away: Floats, half: Floats, top: Floats, kept: tuple[float, float, float]) -> Floats:
    """Return how much further along the axis (n,), mm, the values at points (n, 3) come from."""
    front, middle, back = kept
    u = np.clip(away[:, 1] / half[1], -1.0, 1.0)
    keep = middle + u * (front - back) / 2 + u * u * ((front + back) / 2 - middle)
    ring = np.hypot(away[:, 0] / half[0], np.maximum(away[:, 1], 0.0) / half[1])
    share = np.clip((_FLARE + _FADE - ring) / _FADE, 0.0, 1.0)
    behind = away[:, 1] + half[1] + _BEHIND_MM
    share *= np.clip(1.0 + behind / _FADE_BEHIND_MM, 0.0, 1.0)
    keep = np.maximum(1.0 - share * (1.0 - keep), _LEAST_KEPT)
    height, end = np.abs(away[:, 2]), top + _DISC_MM
    disc = top + (height - top * keep) * _DISC_MM / (end - top * keep)
    source = np.where(height < end, disc, height)
    source = np.where(height <= top * keep, height / keep, source)
    return np.asarray(np.sign(away[:, 2]) * (source - height))
