"""One click, one vertebra.

>>> from spineseg import ClickSession, read_volume
>>> session = ClickSession(read_volume("scan.nii.gz"))
>>> result = session.click((4.0, -120.5, 310.0))
>>> print(result.level, result.warnings)
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.errors import InputError
from spineseg.grid import Grid
from spineseg.inference import finite_scan
from spineseg.labels import OTHER_BONE, VERTEBRAE, by_name, display_name
from spineseg.methods.click import TARGETS, Settings, find
from spineseg.methods.known import Known
from spineseg.methods.next_level import level_beside
from spineseg.methods.one_vertebra import VertebraLooker, load_looker
from spineseg.methods.outline import outline
from spineseg.methods.scan_check import check_scan
from spineseg.progress import Progress
from spineseg.volume import Volume

__all__ = ["TARGETS", "ClickResult", "ClickSession", "check_click"]

_UNSURE_BELOW = 0.7  # mean probability inside
_CUT_MM2 = 25.0  # at the scan's edge; the tip of a process alone is no loss


@dataclass(frozen=True)
class ClickResult:
    """What a click gave.

    Attributes
    ----------
    mask : Volume
        uint8 0/1, a crop of the scan's own grid (`Volume.paste` puts it back).
    label : int
        VerSe id, or 101 … where the level is unsure.
    level : str or None
        Its name.
    replaces : int or None
        Label of the known vertebra that this one is, and whose place it takes.
    center : tuple of float
        Centre of the body, or of the whole where there is no body, RAS mm.
    confidence : float
        0–1.
    warnings : list of str
        A sentence for each thing that is in doubt.
    seconds : float
        How long it took.
    """

    mask: Volume
    label: int
    level: str | None
    replaces: int | None
    center: tuple[float, float, float]
    confidence: float
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0


def check_click(
    scan: Grid, point: ArrayLike, target: str = "vertebra", level: str | None = None
) -> tuple[NDArray[np.float64], str | None]:
    """Return a click's point and level if they are valid.

    Raises
    ------
    InputError
        The point is not three numbers or lies outside the scan, or there is no such target or
        level.
    """
    if target not in TARGETS:
        raise InputError(f"There is no target “{target}”.", f"Choose one of: {', '.join(TARGETS)}.")
    if level is not None:
        names = {v.name.lower(): v.name for v in VERTEBRAE}
        if level.strip().lower() not in names:
            raise InputError(f"“{level}” is no level.", "Levels are C1–C7, T1–T13 and L1–L6.")
        level = names[level.strip().lower()]
    try:
        at = np.asarray(point, dtype=np.float64)
    except (TypeError, ValueError):
        at = np.empty(0)
    if at.shape != (3,) or not np.isfinite(at).all():
        raise InputError(
            f"The point {_shown(point)} is not three numbers.", "Give R, A and S in millimetres."
        )
    if not _holds(scan, at):
        corners = scan.corners()
        box = [f"{a:.0f} to {b:.0f}" for a, b in zip(corners.min(axis=0), corners.max(axis=0))]
        hint = "Give R, A and S in millimetres, with R to the patient's right negative to the left."
        if _holds(scan, at * (-1, -1, 1)):
            hint = "Its first two numbers seem to be LPS: change their signs."
        raise InputError(
            f"The point {_shown(at)} lies outside the scan, which reaches from R {box[0]}, A"
            f" {box[1]}, S {box[2]} mm.",
            hint,
        )
    return at, level


class ClickSession:
    """A scan and a network that is loaded once, for as many clicks as are wanted.

    Parameters
    ----------
    volume : Volume
        CT in HU, any orientation.
    settings : spineseg.methods.click.Settings, optional
    looker : VertebraLooker, optional
        Used instead of the trained network.

    Attributes
    ----------
    warnings : list of str
        What makes the scan itself doubtful.

    Raises
    ------
    InputError
        The scan is no CT in Hounsfield units and millimetres.
    WeightsError
        The trained network is missing or damaged.
    """

    def __init__(
        self,
        volume: Volume,
        settings: Settings | None = None,
        looker: VertebraLooker | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self._scan = finite_scan(volume)
        self.warnings = check_scan(self._scan, strict=True)
        if looker is None:
            from spineseg.device import choose_device

            looker = load_looker(
                self._scan, choose_device(self.settings.device), self.settings.models
            )
        self._looker = looker

    def click(
        self,
        point: ArrayLike,
        target: str = "vertebra",
        known: Volume | Known | None = None,
        level: str | None = None,
        progress: Progress | None = None,
    ) -> ClickResult:
        """Segment the vertebra at a point.

        Parameters
        ----------
        point : array_like (3,)
            RAS mm.
        target : {"vertebra", "body", "centrum"}
            The whole vertebra, its body, or its trabecular centrum.
        known : Volume or Known, optional
            Label map on the scan's grid of what is segmented already (see `spineseg.labels`), or
            what `Known.around` took from it.
        level : str, optional
            The vertebra's name; by default it is counted from the known neighbours.
        progress : Progress, optional
            Called before each look; its token cancels.

        Raises
        ------
        InputError
            `check_click`'s reasons; `known` lies on another grid; or no vertebra lies within
            20 mm of the point, or it has no such part.
        CancelledError
            The token was cancelled.
        """
        started = time.perf_counter()
        progress = progress or Progress()
        at, level = check_click(self._scan.grid, point, target, level)
        if not isinstance(known, Known):
            known = Known.around(known, self._scan.grid, at)
        choice = find(self._looker, self._scan, at, known, progress.part(0.0, 0.8))
        progress("outline", 0.8)
        found = outline(
            self._scan, choice.one, target, self.settings.threshold, self.settings.refine
        )
        if found is None or not found[0].array.any():
            raise InputError(
                "The vertebra at this point lies outside the scan.", "Click on one inside it."
            )
        whole, part = found
        free = part.array > 0
        free &= ~_taken(known, part, choice.owner)
        if not free.any():
            raise InputError(
                f"No {target} is seen at this point.", "Ask for the whole vertebra, or click again."
            )
        label, warnings = _label(known, choice.owner, level, (choice.one.center, _middle(whole)))
        warnings = [*choice.warnings, *warnings, *_doubts(self._scan, whole, choice.one.confidence)]
        x, y, z = (float(v) for v in choice.one.center)
        progress("outline", 1.0)
        return ClickResult(
            mask=_cropped(part.like(free.astype(np.uint8))),
            label=label,
            level=display_name(label) if _is_named(label) else None,
            replaces=choice.owner,
            center=(x, y, z),
            confidence=choice.one.confidence,
            warnings=warnings,
            seconds=round(time.perf_counter() - started, 3),
        )


def _holds(grid: Grid, point: NDArray[np.float64]) -> bool:
    ijk = grid.ras_to_ijk(point[None])[0]
    return bool((ijk >= -0.5).all() and (ijk <= np.array(grid.shape[::-1]) - 0.5).all())


def _shown(point: ArrayLike) -> str:
    if isinstance(point, np.ndarray | tuple | list):
        return "(" + ", ".join(f"{x:g}" if isinstance(x, float) else str(x) for x in point) + ")"
    return f"“{point}”"


def _taken(known: Known, block: Volume, owner: int | None) -> NDArray[np.bool_]:
    """Return which voxels of a block belong to other vertebrae, or the sacrum, already."""
    taken = np.zeros(block.shape, dtype=bool)
    if known.near is None:
        return taken
    there = known.near.resampled_like(block, order=0).array
    taken |= (there > 0) & (there != OTHER_BONE)
    if owner is not None:
        taken &= there != owner
    return taken


def _is_named(label: int) -> bool:
    return any(label == v.verse for v in VERTEBRAE)


def _label(
    known: Known,
    owner: int | None,
    level: str | None,
    centers: tuple[ArrayLike, ArrayLike],
) -> tuple[int, list[str]]:
    """Return the label of a vertebra, and what is doubtful about it."""
    others = {n: part.center for n, part in known.parts.items() if n != owner}
    warnings: list[str] = []
    if level is None:
        if owner is not None and _is_named(owner):
            return owner, []
        guess = level_beside(centers, others)
        level = guess.level
        warnings = [guess.warning] if guess.warning else []
    if level is not None:
        label = by_name(level).verse
        if label not in others:
            return label, warnings
        warnings = [
            f"The level is left unsure: {level} is the name of another vertebra already; rename"
            " one of them."
        ]
    return (owner if owner is not None and not _is_named(owner) else known.free_label()), warnings


def _middle(mask: Volume) -> NDArray[np.float64]:
    index = np.argwhere(mask.array > 0).mean(axis=0)
    return np.asarray(mask.ijk_to_ras(index[None, ::-1])[0])


def _cropped(mask: Volume) -> Volume:
    index = np.argwhere(mask.array > 0)
    return mask.crop(index.min(axis=0).tolist(), (index.max(axis=0) + 1).tolist())


def _doubts(scan: Volume, whole: Volume, confidence: float) -> list[str]:
    found = []
    lo = np.rint(scan.ras_to_ijk(whole.ijk_to_ras(np.zeros((1, 3))))[0][::-1]).astype(int)
    for axis, size in enumerate(scan.shape):
        face = whole.voxel_mm3 / whole.spacing[2 - axis]
        ends = [n - lo[axis] for n in (0, size - 1) if 0 <= n - lo[axis] < whole.shape[axis]]
        if any(np.count_nonzero(whole.array.take(n, axis)) * face > _CUT_MM2 for n in ends):
            found.append("The vertebra is cut by the edge of the scan.")
            break
    if confidence < _UNSURE_BELOW:
        found.append("The network is unsure of this outline: look at it closely.")
    return found
