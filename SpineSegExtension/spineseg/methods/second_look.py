"""Mends what a walk slipped on: looks again where a distance does not fit a spine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spineseg.labels import VERTEBRAE, display_name
from spineseg.methods.instances import Instance
from spineseg.methods.slips import Slip, find_slips
from spineseg.methods.spine_guide import Guide
from spineseg.methods.spine_region import VERTEBRAL
from spineseg.methods.walk import Seen, Walk, united
from spineseg.progress import Progress
from spineseg.result import Vertebra

__all__ = ["mend", "slips_of", "spell_slips", "whole_bodies"]

Floats = NDArray[np.float64]

_ROUNDS = 3
_TOLD = 0.5  # probability from which on what could not be mended is told
_SAME = 0.6  # of both halves' voxels: a look that holds so many is the one vertebra
_HALVES = 1.3  # of their neighbours' volume: two halves together have at most so much


def slips_of(found: Sequence[Seen], guide: Guide) -> list[Slip]:
    """Return where the distances between vertebrae do not fit a spine."""
    shares: list[Floats | None] = []
    for seen in found:
        counts = guide.counts(seen.one.probability, seen.mask)[list(VERTEBRAL)].astype(float)
        shares.append(counts / counts.sum() if counts.sum() > 5 else None)
    centers = np.array([seen.one.center for seen in found])
    return find_slips(centers, [seen.body_cut for seen in found], shares)


def mend(walk: Walk, guide: Guide, progress: Progress) -> None:
    """Fill gaps and join halves, as far as another look can.

    Raises
    ------
    CancelledError
        The progress' token was cancelled.
    """
    for number in range(_ROUNDS):
        changed = False
        # From the bottom, so that indices stay right.
        for slip in reversed(slips_of(walk.found, guide)):
            progress("check", number / _ROUNDS, "looking again where the distance is odd")
            upper, lower = walk.found[slip.upper : slip.upper + 2]
            if slip.missing < 0:
                changed |= _join(walk, upper, lower)
            else:
                changed |= _fill(walk, upper, lower, slip.missing)
        if not changed:
            break
    progress("check", 1.0)


def whole_bodies(found: Sequence[Instance], seen: Sequence[Seen]) -> list[bool]:
    """Say of which vertebrae the whole body is in view, so that its centre is no guess."""
    centers = np.array([one.one.center for one in seen])
    cut = [
        seen[int(np.argmin(np.linalg.norm(centers - one.centroid, axis=1)))].body_cut
        for one in found
    ]
    return [one.has_body and not body_cut for one, body_cut in zip(found, cut, strict=True)]


def spell_slips(
    found: Sequence[Instance], vertebrae: Sequence[Vertebra], whole: Sequence[bool]
) -> list[str]:
    """Return a sentence for each slip that is left, with its probability.

    Parameters
    ----------
    found : sequence of Instance
    vertebrae : sequence of Vertebra
        The same, named: a gap that the names leave out has been told of.
    whole : sequence of bool
        From `whole_bodies`.
    """
    centers = np.array([one.centroid for one in found])
    order = [level.name for level in VERTEBRAE]
    told = []
    for slip in find_slips(centers, [not one for one in whole], least=_TOLD):
        upper, lower = vertebrae[slip.upper : slip.upper + 2]
        names = f"{display_name(upper.label)} and {display_name(lower.label)}"
        if slip.missing < 0:
            told.append(
                f"{names} may be one vertebra that was counted twice ({slip.chance:.0%}): then the"
                " levels beyond are off by one."
            )
        elif (
            upper.level is None
            or lower.level is None
            or order.index(lower.level) - order.index(upper.level) <= slip.missing
        ):
            what = "A vertebra" if slip.missing == 1 else "Two vertebrae"
            told.append(
                f"{what} between {names} may have been overlooked ({slip.chance:.0%}): check the"
                " levels beyond."
            )
    return told


def _fill(walk: Walk, upper: Seen, lower: Seen, missing: int) -> bool:
    """Look for vertebrae between two others."""
    changed = False
    room = 0.25 * (lower.along - upper.along) / (missing + 1)
    for part in range(1, missing + 1):
        share = part / (missing + 1)
        point = (1 - share) * upper.one.center + share * lower.one.center
        seen = walk.look(point, (upper.along + room, lower.along - room))
        if seen is not None:
            walk.add(seen)
            changed = True
    return changed


def _join(walk: Walk, upper: Seen, lower: Seen) -> bool:
    """Make one vertebra of two that are its halves; what a user made stays."""
    if upper.kept is not None or lower.kept is not None:
        return False
    middle = (upper.one.center + lower.one.center) / 2
    both = walk.measured(united(upper.one, lower.one))
    seen = walk.look(middle, (upper.along - 5.0, lower.along + 5.0), (upper, lower))
    if seen is not None and _shared(both, seen) < _SAME:
        seen = None
    if seen is None:
        beside = [one.one.volume_ml for one in walk.found if one not in (upper, lower)]
        near = np.median(beside) if beside else 0.0
        if both.one.volume_ml > _HALVES * near:
            return False
        seen = both
    walk.drop(upper)
    walk.drop(lower)
    walk.add(seen)
    return True


def _shared(both: Seen, seen: Seen) -> float:
    """Share of two halves' voxels that one look holds."""
    grid = both.one.probability.grid
    own = seen.one.probability.resampled_like(grid, order=0).array >= 128
    return float((own & both.mask).sum()) / max(float(both.mask.sum()), 1.0)
