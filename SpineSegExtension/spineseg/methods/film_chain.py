"""From maps to a chain of vertebrae, and from a chain to the windows round each one.

Positions are (x, y) in pixels, y down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineseg.labels import SACRUM, USUAL_VERTEBRAE
from spineseg.methods.film_result import AP, LATERAL

__all__ = ["LEVELS", "LEVELS_OF", "Frames", "best_chain", "frames_of", "smoothed"]

Floats = NDArray[np.float64]

LEVELS: tuple[str, ...] = tuple(
    level.name for level in USUAL_VERTEBRAE if level.region in ("thoracic", "lumbar")
)
"""The 17 vertebrae that a frontal film of the spine shows, from the top."""
LEVELS_OF: dict[str, tuple[str, ...]] = {
    AP: LEVELS,
    LATERAL: (*(level.name for level in USUAL_VERTEBRAE if level.name != "C1"), SACRUM.name),
}
"""What is looked for on a film of each view; of C2 the lower endplate, of the sacrum the upper."""

_PEAKS = 8  # candidates kept for each vertebra
_SPREAD = 0.22  # of the logarithm of a distance between neighbours about its mean
_LEAN = 0.6  # radians: how far the step to the next vertebra leans away from straight down
_FLOOR = 1e-4  # probability that any place keeps, whatever the map says


@dataclass(frozen=True, eq=False)
class Frames:
    """A window on each vertebra: its centre, its axes and its size.

    Attributes
    ----------
    center : (n, 2)
    right, down : (n, 2)
        Unit vectors across and along the spine.
    width : (n,)
        Expected width of the vertebra; the window reaches this far from the centre on each side.
    """

    center: Floats
    right: Floats
    down: Floats
    width: Floats

    def to_picture(self, local: Floats) -> Floats:
        """Points (n, …, 2) in widths from the centre → pixels."""
        lead = (len(self.center),) + (1,) * (local.ndim - 2)
        across, along = local[..., :1], local[..., 1:]
        right, down = (a.reshape(*lead, 2) for a in (self.right, self.down))
        moved = across * right + along * down
        return np.asarray(self.center.reshape(*lead, 2) + moved * self.width.reshape(*lead, 1))

    def to_local(self, points: Floats) -> Floats:
        """Pixels (n, m, 2) → widths from the centre."""
        away = (points - self.center[:, None]) / self.width[:, None, None]
        axes = np.stack([self.right, self.down], axis=2)
        return np.asarray(away @ axes)


def frames_of(chain: Floats, ratio: Floats) -> Frames:
    """Return the windows along a chain of centres.

    Parameters
    ----------
    chain : (n, 2)
        Centres from the top.
    ratio : (n,)
        Mean width of each vertebra, as a fraction of the distance to its neighbours.
    """
    ends = np.concatenate([chain[:1], chain, chain[-1:]])
    step = ends[2:] - ends[:-2]
    length = np.maximum(np.linalg.norm(step, axis=1), 1e-6)
    pitch = length / np.where(np.isin(np.arange(len(chain)), (0, len(chain) - 1)), 1.0, 2.0)
    pitch = ndimage.convolve1d(pitch, [0.25, 0.5, 0.25], mode="nearest")
    down = step / length[:, None]
    right = np.stack([down[:, 1], -down[:, 0]], axis=1)
    return Frames(chain, right, down, pitch * ratio)


def best_chain(logs: NDArray[np.float32], pitch: Floats) -> tuple[Floats, float]:
    """Choose one place for each vertebra so that together they make a spine.

    Dynamic programming over the highest peaks of each map: their probability, and how usual the
    distance and the lean from one to the next are.

    Parameters
    ----------
    logs : (n, rows, columns) float32
        Logarithm of the probability that a vertebra's centre lies in a cell.
    pitch : (n − 1,)
        Usual distances between neighbours, as fractions of their mean.

    Returns
    -------
    (chain, cost) : (n, 2) cells (x, y), finer than a cell, and the mean cost of a vertebra
    """
    places, costs = zip(*(_peaks(one) for one in logs), strict=True)
    unit = _unit(places, costs, pitch)
    total, back = costs[0], []
    for k in range(1, len(logs)):
        step = places[k][None] - places[k - 1][:, None]
        length = np.maximum(np.linalg.norm(step, axis=2), 1e-3)
        link = 0.5 * (np.log(length / (unit * pitch[k - 1])) / _SPREAD) ** 2
        link += 0.5 * (np.arctan2(step[..., 0], step[..., 1]) / _LEAN) ** 2
        through = total[:, None] + link
        back.append(through.argmin(axis=0))
        total = through.min(axis=0) + costs[k]
    at = [int(total.argmin())]
    for choice in reversed(back):
        at.append(int(choice[at[-1]]))
    chain = np.array([p[i] for p, i in zip(places, reversed(at), strict=True)])
    return chain, float(total.min()) / len(logs)


def _peaks(log: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Return the highest peaks of one map, (m, 2) and their costs (m,)."""
    chance = np.exp(log.astype(np.float64))
    smooth = ndimage.uniform_filter(chance, 3, mode="constant") * 9
    top = (ndimage.maximum_filter(smooth, 5) == smooth).ravel()
    order = np.argsort(np.where(top, smooth.ravel(), -1.0))[::-1][:_PEAKS]
    rows, columns = np.unravel_index(order, log.shape)
    places = []
    for y, x in zip(rows, columns, strict=True):
        top_row, left = max(int(y) - 2, 0), max(int(x) - 2, 0)
        weight = chance[top_row : y + 3, left : x + 3] + 1e-12
        rest = np.indices(weight.shape)
        across, along = ((rest[a] * weight).sum() / weight.sum() for a in (1, 0))
        places.append([left + across, top_row + along])
    return np.array(places), -np.log(smooth[rows, columns] + _FLOOR)


def _unit(places: tuple[Floats, ...], costs: tuple[Floats, ...], pitch: Floats) -> float:
    """Return the film's mean distance between neighbours, from the best peaks alone."""
    best = np.array([p[int(c.argmin())] for p, c in zip(places, costs, strict=True)])
    along = np.concatenate([[0.0], np.cumsum(pitch)])
    apart = np.linalg.norm(best[4:] - best[:-4], axis=1) / (along[4:] - along[:-4])
    return max(float(np.median(apart)), 1e-3)


def smoothed(values: Floats, weight: Floats, stiffness: float) -> Floats:
    """Smooth values along the chain, the less sure ones the more.

    Whittaker's smoother (Whittaker 1923; Eilers 2003): minimises Σ w (x − y)² + λ Σ (Δ³x)², so
    that parabolas along the chain stay as they are.

    Parameters
    ----------
    values : (n, m)
    weight : (n,)
        How sure each row is.
    stiffness : float
        λ; 0 changes nothing.
    """
    third = np.diff(np.eye(len(values)), 3, axis=0)
    matrix = np.diag(weight) + stiffness * third.T @ third
    return np.asarray(np.linalg.solve(matrix, weight[:, None] * values))
