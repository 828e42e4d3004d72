"""The vertebra at a click, after paper 004 (Klein et al., p. 15).

The paper cuts a patch round the clicked point and lets one 3D U-Net outline the vertebra in it,
trained with shifted patches so that the click may be off its centre. Here the network of
`one_vertebra` looks from the click, then once more from the centre that it found, now with the
vertebrae that are known already in its memory. Which vertebra is meant is decided here: the
nearest one, found by looking on the other side of the click where that is in doubt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spineseg.errors import InputError
from spineseg.methods.known import Known, Memory, inside
from spineseg.methods.one_vertebra import CHANNELS, MODEL, OneVertebra, VertebraLooker
from spineseg.progress import Progress
from spineseg.volume import Volume

__all__ = ["FARTHEST_MM", "MODELS", "TARGETS", "Choice", "Settings", "find", "fit", "predict"]

Point = NDArray[np.float64]

MODELS = (MODEL,)
TARGETS = CHANNELS
"""What of a vertebra may be asked for."""
FARTHEST_MM = 20.0
"""A click farther than this from bone is refused."""

_BONE_HU = 150.0
_METAL_HU = 2000.0
_LEAST_BONE_MM3 = 100.0  # near a click; the noise of muscle alone reaches a third of it
_TIE_MM = 3.0  # two vertebrae whose distances differ by less are as near
_EDGE_MM = 3.0  # so near to a body's end, or beyond it, the neighbour may be nearer
_HALF_HEIGHT_MM = 6.0  # of a vertebra without a body (C1)
_DISC_MM = 4.0
_SAME_MM = 12.0  # a second look that lands farther off found another vertebra
_NEAR_MM = 4.0  # a second look from nearer than this would show the same
_UP = np.array([0.0, 0.0, 1.0])
_FORWARD = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True)
class Settings:
    """How to segment at a click.

    Attributes
    ----------
    device : str or None
        "cpu", "cuda"; None takes CUDA where it is present.
    models : str or None
        Folder of the trained network, if not the package's own.
    threshold : float
        Probability from which on a voxel belongs to the vertebra.
    refine : bool
        Whether the scan's own values move the edges by a fraction of a voxel of the network's.
    """

    device: str | None = None
    models: str | None = None
    threshold: float = 0.5
    refine: bool = True

    def __post_init__(self) -> None:
        if not 0.05 <= self.threshold <= 0.95:
            raise ValueError("threshold must be from 0.05 to 0.95")


@dataclass(frozen=True)
class Choice:
    """The vertebra that a click means.

    Attributes
    ----------
    one : OneVertebra
    owner : int or None
        Label of the known vertebra that it is.
    warnings : tuple of str
    """

    one: OneVertebra
    owner: int | None
    warnings: tuple[str, ...] = ()


def fit(data: Any, settings: Any, progress: Progress) -> Any:
    """Train the network; see `spineseg.training.click.fit`."""
    from spineseg.training.click import fit as train

    return train(data, settings, progress)


def predict(volume: Volume, settings: Settings, progress: Progress, **click: Any) -> Any:
    """Segment the vertebra at one click; for several, keep a `spineseg.clicking.ClickSession`.

    Parameters
    ----------
    volume : Volume
        HU, any orientation.
    settings : Settings
    progress : Progress
        Its token cancels.
    **click
        ``point`` and more, as `spineseg.clicking.ClickSession.click` takes them.

    Returns
    -------
    spineseg.clicking.ClickResult
    """
    from spineseg.clicking import ClickSession

    return ClickSession(volume, settings).click(**click, progress=progress)


def find(
    looker: VertebraLooker, scan: Volume, point: Point, known: Known, progress: Progress
) -> Choice:
    """Find the vertebra that a click means.

    Parameters
    ----------
    looker : VertebraLooker
    scan : Volume
        HU.
    point : (3,) float64
        RAS mm, inside the scan.
    known : Known
        What is segmented already.
    progress : Progress
        Called before each look; its token cancels.

    Raises
    ------
    InputError
        No vertebra lies within `FARTHEST_MM`.
    """
    bone = _bone_near(scan, point)
    first = None if bone is None else _first(looker, scan, point, bone, progress)
    if first is None:
        place = ", ".join(f"{x:.1f}" for x in point)
        raise InputError(
            f"There is no vertebra within {FARTHEST_MM:.0f} mm of the point ({place}).",
            "Click on a vertebra, best into the middle of its body.",
        )
    progress("look", 0.5, "comparing with the neighbour")
    choice = _nearest(looker, point, first, known)
    progress("look", 0.75, "looking from its centre")
    return replace(choice, one=_again(looker, point, choice, known))


def _bone_near(scan: Volume, point: Point) -> Point | None:
    """Return the middle of what is as bright as bone near a point, or None if there is none."""
    place = scan.ras_to_ijk(point[None])[0][::-1]
    rows = np.linalg.inv(scan.affine[:3, :3])
    reach = FARTHEST_MM * np.linalg.norm(rows, axis=1)[::-1]
    size = np.array(scan.shape)
    lo = np.clip(np.floor(place - reach).astype(int), 0, size - 1)
    hi = np.clip(np.ceil(place + reach).astype(int) + 1, lo + 1, size)
    steps = np.maximum((hi - lo) // 48, 1)
    box = tuple(slice(a, b, s) for a, b, s in zip(lo, hi, steps, strict=True))
    hu = scan.array[box]
    index = np.argwhere((hu > _BONE_HU) & (hu < _METAL_HU)) * steps + lo
    points = scan.ijk_to_ras(index[:, ::-1])
    points = points[np.linalg.norm(points - point, axis=1) <= FARTHEST_MM]
    if len(points) * scan.voxel_mm3 * float(np.prod(steps)) < _LEAST_BONE_MM3:
        return None
    return np.asarray(points.mean(axis=0))


def _first(
    looker: VertebraLooker, scan: Volume, point: Point, bone: Point, progress: Progress
) -> OneVertebra | None:
    """Look from the click; where nothing is seen, from a few points round it."""
    for number, seed in enumerate(_seeds(point, bone)):
        progress("look", min(0.05 * number, 0.45), "looking at the click")
        if number and not _within(scan, seed):
            continue
        one = looker.look(seed)
        if one.present and _gap(one, point) <= FARTHEST_MM:
            return one
    return None


def _seeds(point: Point, bone: Point) -> Iterator[Point]:
    yield point
    yield bone
    for move in (10 * _FORWARD, -10 * _FORWARD, 10 * _UP, -10 * _UP, 20 * _FORWARD, -20 * _FORWARD):
        yield point + move


def _nearest(looker: VertebraLooker, point: Point, first: OneVertebra, known: Known) -> Choice:
    """Choose between what was found and what may lie on the click's other side."""
    owner = known.owner(first)
    other = _beyond(looker, point, first)
    if other is None:
        return Choice(first, owner)
    away = _distance(other, point) - _distance(first, point)
    other_owner = known.owner(other)
    if abs(away) < _TIE_MM:
        # Of two that are as near, the one that is not there yet is more likely meant.
        takes_other = other_owner is None if (owner is None) != (other_owner is None) else away < 0
    else:
        takes_other = away < 0
    chosen, left = (other, first) if takes_other else (first, other)
    warnings: tuple[str, ...] = ()
    if abs(away) < _TIE_MM:
        side = "upper" if chosen.center[2] > left.center[2] else "lower"
        warnings = (
            f"Two vertebrae are as near to the click; the {side} one was taken: click into the"
            " middle of the other one if that was meant.",
        )
    return Choice(chosen, other_owner if takes_other else owner, warnings)


def _beyond(looker: VertebraLooker, point: Point, first: OneVertebra) -> OneVertebra | None:
    """Return the neighbour on the click's side, where the click is not clearly nearer to `first`.

    The direction is that of the patient: the spine's tilt in a curve matters less than a look
    forgives.
    """
    half = _half_height(first)
    along = float(point[2] - first.center[2])
    if abs(along) <= half - _EDGE_MM or _distance(first, point) == 0.0:
        return None
    mine = first.probability.like(inside(first).astype(np.uint8))

    def memory(grid: Any) -> NDArray[np.bool_]:
        return mine.resampled_like(grid, order=0).array > 0

    seed = first.center + np.sign(along) * (2 * half + _DISC_MM) * _UP
    other = looker.look(seed, memory)
    on_its_side = (other.center[2] - first.center[2]) * along > 0
    apart = np.linalg.norm(other.center - first.center) > half
    return other if other.present and on_its_side and apart else None


def _again(looker: VertebraLooker, point: Point, choice: Choice, known: Known) -> OneVertebra:
    """Look once more, from the centre and with the known neighbours in memory."""
    one = choice.one
    memory: Memory | None = known.memory(without=choice.owner)
    if memory is None and np.linalg.norm(one.center - point) < _NEAR_MM:
        return one
    again = looker.look(one.center, memory)
    same = again.present and np.linalg.norm(again.center - one.center) < _SAME_MM
    return again if same else one


def _within(scan: Volume, point: Point) -> bool:
    ijk = scan.ras_to_ijk(point[None])[0]
    return bool((ijk >= -0.5).all() and (ijk <= np.array(scan.shape[::-1]) - 0.5).all())


def _bones(one: OneVertebra) -> Point:
    return one.probability.ijk_to_ras(np.argwhere(inside(one))[:, ::-1])


def _gap(one: OneVertebra, point: Point) -> float:
    """Return how far a point lies from a vertebra's bone, mm."""
    bones = _bones(one)
    return float(np.linalg.norm(bones - point, axis=1).min()) if len(bones) else float("inf")


def _distance(one: OneVertebra, point: Point) -> float:
    """Return 0 in a vertebra's bone, else the distance to the centre of its body or of it all."""
    if _gap(one, point) < 0.5 * one.probability.spacing[0]:
        return 0.0
    whole = _bones(one).mean(axis=0)
    return float(min(np.linalg.norm(one.center - point), np.linalg.norm(whole - point)))


def _half_height(one: OneVertebra) -> float:
    index = np.argwhere(one.body.array >= 128)
    if len(index) < 50:
        return _HALF_HEIGHT_MM
    low, high = np.percentile(index[:, 0], [5, 95])
    return float(high - low + 1) * one.body.spacing[2] / 2
