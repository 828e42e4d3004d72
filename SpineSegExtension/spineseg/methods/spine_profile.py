"""Cuts a spine's profile along its curve into vertebrae, by dynamic programming.

A vote map of offsets is piecewise constant along the curve: every voxel of a body names the
place of its own body's centre. So the cut is a piecewise-constant fit to the votes, together with
the discs (where a cut is likely) and the length that a vertebra of this cross-section has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, percentile_filter

__all__ = ["Profile", "cut_profile", "join_strays", "make_profile"]

Floats = NDArray[np.float64]

_LONGEST = 75  # mm of one vertebra with its discs; L3 of a very tall person has 48
_SHORTEST = 7  # mm; a collapsed body
_GAP = 20.0  # mm without body or disc: two separate stretches
_VOTE_SD = 6.0  # mm
_CENTER_SD = 10.0  # mm between a body's middle and the mean vote
_CENTER_MOST = 2.0  # log units; so that merged votes cannot forbid a cut in a clear disc
_ASTRAY_MOST = 15.0  # log units
_INDEPENDENT = 0.3  # neighbouring bins share most of their errors
_LENGTH_SD = 0.25  # of log(length / expected)
_CUT_COST = 6.5  # log units; a cut must be earned by a disc or by the votes
_ASTRAY_SD = 3.0  # mm that a mean vote may lie outside of its own piece
_DISC_GAIN = 13.0  # log units of a cut in a clear disc


@dataclass(frozen=True)
class Profile:
    """What lies along the curve, one bin a millimetre.

    Attributes
    ----------
    start : float
        mm along the curve of the first bin's lower edge.
    body, disc : (n,) float64
        Cross-sections in mm².
    vote : (n,) float64
        Mean position along the curve (mm) that the body voxels of the bin vote for; 0 where none.
    weight : (n,) float64
        0–1, how much body the bin has.
    length : (n,) float64
        Expected distance between neighbouring bodies here, mm.
    fullness : (n,) float64
        0–1, how much of a body's usual section the bin has: the dens counts as less length.
    cut : (n,) float64
        0–1, how much the bin looks like a disc.
    """

    start: float
    body: Floats
    disc: Floats
    vote: Floats
    weight: Floats
    length: Floats
    fullness: Floats
    cut: Floats

    def length_at(self, along: float) -> float:
        """Expected distance between neighbours (mm) at this position (mm along the curve)."""
        return float(self.length[int(np.clip(along - self.start, 0, len(self.length) - 1))])


def make_profile(body: Floats, body_votes: Floats, disc: Floats, voxel_volume: float) -> Profile:
    """Collect a profile from voxels near the curve.

    Parameters
    ----------
    body, disc : (n,), (m,) float64
        Position of each body and disc voxel, mm along the curve.
    body_votes : (n,) float64
        Position that each body voxel votes for, mm along the curve.
    voxel_volume : float
        mm³.

    Returns
    -------
    Profile
    """
    both = np.concatenate([body, disc])
    start = np.floor(both.min())
    n = int(np.floor(both.max() - start)) + 1
    bins = np.clip((body - start).astype(int), 0, n - 1)
    count = np.bincount(bins, minlength=n).astype(np.float64)
    # A vote far away is a lost voxel, not evidence.
    swing = np.clip(body_votes - body, -35.0, 35.0)
    total = np.bincount(bins, weights=body + swing, minlength=n)
    vote = np.divide(total, count, out=np.zeros(n), where=count > 0)
    disc_bins = np.clip((disc - start).astype(int), 0, n - 1)
    # As little as hides that voxels and bins are of different sizes: a neck's disc is 4 mm thick.
    blur = max(1.0, 0.7 * float(np.cbrt(voxel_volume)))
    area = gaussian_filter1d(count * voxel_volume, blur)
    disc_area = gaussian_filter1d(
        np.bincount(disc_bins, minlength=n).astype(np.float64) * voxel_volume, blur
    )
    section = percentile_filter(area + disc_area, 60, size=41)
    length = np.clip(1.05 * np.sqrt(np.maximum(section, 1.0)), 16.5, 40.0)
    share = disc_area / np.maximum(area + disc_area, 20.0)
    full = maximum_filter1d(area, 25)
    dip = 1.0 - area / np.maximum(full, 20.0)
    cut = np.maximum((share - 0.45) / 0.4, 0.8 * (dip - 0.5) / 0.4)
    fullness = np.clip((area + disc_area) / (0.8 * np.maximum(section, 1.0)), 0.3, 1.0)
    weight = np.clip(area / np.maximum(0.3 * full, 40.0), 0.0, 1.0) * (count > 0)
    return Profile(start, area, disc_area, vote, weight, length, fullness, np.clip(cut, 0.0, 1.0))


def cut_profile(profile: Profile) -> list[tuple[float, float]]:
    """Cut a profile into vertebrae, each with half of the discs beside it.

    Returns
    -------
    list of (float, float)
        From the top, the positions in mm along the curve where each vertebra begins and ends.
    """
    occupied = np.flatnonzero(profile.body + profile.disc > 30.0)
    if len(occupied) == 0:
        return []
    breaks = np.flatnonzero(np.diff(occupied) > _GAP)
    firsts = occupied[np.concatenate([[0], breaks + 1])]
    lasts = occupied[np.concatenate([breaks, [len(occupied) - 1]])] + 1
    pieces: list[tuple[float, float]] = []
    for first, last in zip(firsts, lasts, strict=True):
        edges = _best_edges(profile, int(first), int(last))
        pieces += [
            (profile.start + a, profile.start + b)
            for a, b in zip(edges[:-1], edges[1:], strict=True)
        ]
    return pieces


def join_strays(
    spans: list[tuple[float, float]], body: Floats, votes: Floats
) -> list[tuple[float, float]]:
    """Join a vertebra's rim, cut off by its own tilted disc, to the neighbour that it votes for.

    Parameters
    ----------
    spans : list of (float, float)
        From `cut_profile`.
    body, votes : (n,) float64
        Position of each body voxel and position that it votes for, mm along the curve.

    Returns
    -------
    list of (float, float)
    """
    joined: list[tuple[float, float]] = []
    start: float | None = None  # of a span that votes for the next one
    for index, (first, end) in enumerate(spans):
        begin = first if start is None else start
        start = None
        mine = votes[(body >= first) & (body < end)]
        center = float(np.median(mine)) if len(mine) else (first + end) / 2
        beside = bool(joined) and joined[-1][1] == first
        if center < first - _ASTRAY_SD and beside and center > joined[-1][0]:
            joined[-1] = (joined[-1][0], end)
        elif (
            index + 1 < len(spans)
            and spans[index + 1][0] == end
            and end + _ASTRAY_SD < center < spans[index + 1][1]
        ):
            start = begin
        else:
            joined.append((begin, end))
    return joined


def _best_edges(profile: Profile, first: int, last: int) -> list[int]:
    n = last - first
    if n <= _SHORTEST:
        return [first, last]
    sums = _running_sums(profile, first, last)
    best = np.full(n + 1, np.inf)
    best[0] = 0.0
    before = np.zeros(n + 1, dtype=int)
    for end in range(1, n + 1):
        begins = np.arange(max(0, end - _LONGEST), end)
        if end != n:
            begins = begins[(end - begins >= _SHORTEST) | (begins == 0)]
        cost = best[begins] + _piece_cost(profile, sums, begins, end, first, n)
        if end < n:
            cost = cost + _CUT_COST - _DISC_GAIN * profile.cut[first + end]
        choice = int(np.argmin(cost))
        best[end], before[end] = cost[choice], begins[choice]
    edges = [n]
    while edges[-1] > 0:
        edges.append(int(before[edges[-1]]))
    return [first + edge for edge in reversed(edges)]


def _running_sums(profile: Profile, first: int, last: int) -> Floats:
    weight = profile.weight[first:last]
    # Measured from the stretch's start, so that squares stay small.
    vote = profile.vote[first:last] - profile.start - first
    terms = np.stack([weight, weight * vote, weight * vote**2, profile.fullness[first:last]])
    return np.concatenate([np.zeros((4, 1)), np.cumsum(terms, axis=1)], axis=1)


def _piece_cost(
    profile: Profile, sums: Floats, begins: NDArray[np.int64], end: int, first: int, n: int
) -> Floats:
    weight, vote, square, filled = sums[:, end, None] - sums[:, begins]
    safe = np.maximum(weight, 1e-3)
    spread = np.maximum(square - vote**2 / safe, 0.0)
    middle = (begins + end) / 2.0
    size = (end - begins).astype(np.float64)
    at_end = (begins == 0) | (end == n)
    mean = np.where(weight > 1.0, vote / safe, middle)
    shift = np.where(at_end, 0.0, np.minimum(size, 20.0) * (mean - middle) ** 2)
    # A part that names a centre in its neighbour belongs to it, as the dens does to C2's body.
    # At the spine's ends the true centre may lie outside of the field of view.
    above = np.where(begins == 0, 0.0, begins - mean)
    below = np.where(end == n, 0.0, mean - end)
    astray = np.minimum(size, 20.0) * np.maximum(np.maximum(above, below), 0.0) ** 2
    expected = profile.length[first + np.minimum(middle.astype(int), n - 1)]
    ratio = np.log(filled / expected)
    ratio = np.where(at_end, np.maximum(ratio, 0.0), ratio)
    return np.asarray(
        _INDEPENDENT * spread / (2 * _VOTE_SD**2)
        + np.minimum(_INDEPENDENT * shift / (2 * _CENTER_SD**2), _CENTER_MOST)
        + np.minimum(_INDEPENDENT * astray / (2 * _ASTRAY_SD**2), _ASTRAY_MOST)
        + ratio**2 / (2 * _LENGTH_SD**2)
    )
