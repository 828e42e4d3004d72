"""From what a network says of each voxel to single vertebrae, counted from the top.

Votes for body centres alone merge and split neighbours. So the spine is followed by a curve, cut
at the discs and where the votes jump (`spine_profile`), and only the posterior parts, which
overlap the level below, are shared out by their votes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from spineseg.errors import InputError
from spineseg.geometry.spine_curve import SpineCurve, fit_curve
from spineseg.methods.classes import FineClass
from spineseg.methods.spine_planes import split_at_planes
from spineseg.methods.spine_profile import cut_profile, join_strays, make_profile
from spineseg.methods.tidying import drop_strays, follow_majority
from spineseg.volume import Volume

__all__ = ["Instance", "field_edges", "split_vertebrae"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_BODY_RADIUS = 28.0  # mm around the curve in which bodies and discs are measured
_SPINE_RADIUS = 95.0  # mm from the curve to the tip of the longest process, with room
_FRAGMENT_ML = 0.8  # a vertebra needs at least this much
_UNKNOWN = -1


@dataclass(frozen=True)
class Instance:
    """One vertebra without a name.

    Attributes
    ----------
    centroid : (3,) float64
        Centre of the body, RAS, mm; where the body is missing or cut, what the voxels vote for.
    n_voxels, body_voxels : int
        Voxels of the vertebra and of its body, on the semantic volume's grid.
    touches_superior, touches_inferior, touches_side : bool
        The vertebra reaches the upper, the lower or any other end of the field of view.
    has_body : bool
        False for C1, and for a vertebra whose body is out of view.
    quality : float
        0–1: share of the voxels whose vote lies within half a vertebra of its centre.
    down : (3,) float64
        Unit vector along the spine to the feet, RAS.
    slip : str
        "joined" or "parted" where `spineseg.methods.mending` made it of two or of half a block,
        "told apart" where a closer look saw two (`spineseg.methods.look_apart`).
    """

    centroid: Floats
    n_voxels: int
    body_voxels: int
    touches_superior: bool
    touches_inferior: bool
    touches_side: bool
    has_body: bool
    quality: float
    down: Floats
    slip: str = ""

    @property
    def complete(self) -> bool:
        """Whether the vertebra lies wholly in the field of view."""
        return not (self.touches_superior or self.touches_inferior or self.touches_side)


@dataclass
class _Cloud:
    """Foreground voxels as points: kji (n, 3), class (n,), RAS (n, 3), votes RAS (n, 3)."""

    kji: Ints
    kind: NDArray[np.uint8]
    ras: Floats
    vote: Floats

    def where(self, keep: Bools) -> _Cloud:
        return _Cloud(self.kji[keep], self.kind[keep], self.ras[keep], self.vote[keep])

    def of(self, *kinds: FineClass) -> Bools:
        return np.isin(self.kind, kinds)


@dataclass
class _Piece:
    """A vertebra along the curve: begin, end, centre (mm) and the RAS point it is voted at.

    `expected` is the distance between neighbours, mm, for vertebrae of this width.

    One of the sacrum takes part in sharing out the voxels, and is then left out.
    """

    begin: float
    end: float
    center: float
    point: Floats
    has_body: bool
    expected: float
    sacral: bool = False

    @property
    def length(self) -> float:
        return self.end - self.begin


def split_vertebrae(
    semantic: Volume, offsets: NDArray[np.floating], field: Volume | None = None
) -> tuple[Volume, list[Instance]]:
    """Split vertebral voxels into vertebrae.

    Parameters
    ----------
    semantic : Volume
        uint8 `FineClass`, about 1.5 mm isotropic.
    offsets : (3, k, j, i)
        From each vertebral voxel to the centroid of its own vertebra's body, RAS, mm.
    field : Volume, optional
        bool, on the same grid: which voxels the scan covers. Default: all.

    Returns
    -------
    instances : Volume
        uint8: 1 … n from the top, 0 elsewhere; on the same grid.
    list of Instance
        In the order of the labels. Empty where there is no vertebra.

    Raises
    ------
    InputError
        The shapes do not agree.
    """
    if tuple(offsets.shape) != (3, *semantic.shape):
        raise InputError(
            f"The offsets have shape {tuple(offsets.shape)} and the classes {semantic.shape}."
        )
    empty = np.zeros(semantic.shape, dtype=np.uint8)
    cloud = _near_spine(_gather(semantic, offsets), semantic)
    vertebral = cloud.of(FineClass.BODY, FineClass.POSTERIOR)
    voxel_ml = float(abs(np.linalg.det(semantic.affine[:3, :3]))) / 1000.0
    if vertebral.sum() * voxel_ml < _FRAGMENT_ML:
        return semantic.like(empty), []
    curve = fit_curve(_curve_points(cloud))
    place = curve.project(cloud.ras)
    close = np.hypot(place[:, 1], place[:, 2]) < _SPINE_RADIUS
    cloud, place = cloud.where(close), place[close]
    vote_place = _vote_places(curve, cloud, place)
    pieces = _find_pieces(curve, cloud, place, vote_place, voxel_ml)
    if not pieces:
        return semantic.like(empty), []
    owner = _share_out(cloud, place, vote_place, pieces)
    labels = empty
    labels[tuple(cloud.kji.T)] = (owner + 1).astype(np.uint8)
    posterior = semantic.array == FineClass.POSTERIOR
    follow_majority(labels, posterior, len(pieces))
    drop_strays(labels, len(pieces), voxel_ml)
    return _describe(semantic, labels, cloud, curve, pieces, field, voxel_ml)


def _gather(semantic: Volume, offsets: NDArray[np.floating]) -> _Cloud:
    array = np.asarray(semantic.array)
    kji = np.argwhere((array > 0) & (array != FineClass.RIB))
    k, j, i = kji.T
    kind = array[k, j, i].astype(np.uint8)
    ras = np.asarray(semantic.ijk_to_ras(kji[:, ::-1]), dtype=np.float64)
    vote = ras + np.nan_to_num(offsets[:, k, j, i].T.astype(np.float64))
    return _Cloud(kji, kind, ras, vote)


def _near_spine(cloud: _Cloud, semantic: Volume) -> _Cloud:
    """Keep the main component of the spine, and others in line with it."""
    if len(cloud.kind) == 0:
        return cloud
    factor = max(1, round(3.0 / min(semantic.spacing)))
    coarse = cloud.kji // factor
    grid = np.zeros(coarse.max(axis=0) + 1, dtype=bool)
    grid[tuple(coarse.T)] = True
    parts, n_parts = ndimage.label(ndimage.binary_dilation(grid, iterations=1))
    part = parts[tuple(coarse.T)]
    core = cloud.of(FineClass.BODY, FineClass.DISC, FineClass.CANAL)
    size = np.bincount(part[core], minlength=n_parts + 1)
    main = int(np.argmax(size))
    keep = np.zeros(n_parts + 1, dtype=bool)
    keep[main] = True
    line_points = cloud.ras[(part == main) & core]
    if len(line_points) < 10:
        return cloud.where(keep[part])
    curve = fit_curve(_thinned(line_points, 3000), rounds=2)
    others = part != main
    if others.any():
        place = curve.project(cloud.ras[others])
        off = np.hypot(place[:, 1], place[:, 2])
        total = np.bincount(part[others], minlength=n_parts + 1)
        mean_off = np.bincount(part[others], weights=off, minlength=n_parts + 1)
        # A spinous process cut from its vertebra lies at most this far from the bodies.
        keep |= (total > 0) & (mean_off / np.maximum(total, 1) < 55.0)
    return cloud.where(keep[part])


def _thinned(points: Floats, most: int) -> Floats:
    return points[:: max(1, len(points) // most)]


def _curve_points(cloud: _Cloud) -> Floats:
    body = cloud.of(FineClass.BODY)
    disc = cloud.of(FineClass.DISC)
    if body.sum() + disc.sum() < 200:
        return _thinned(cloud.vote[cloud.of(FineClass.BODY, FineClass.POSTERIOR)], 10000)
    return np.concatenate([_thinned(cloud.ras[body], 8000), _thinned(cloud.ras[disc], 4000)])


def _vote_places(curve: SpineCurve, cloud: _Cloud, place: Floats) -> Floats:
    vote_place = place.copy()
    vertebral = cloud.of(FineClass.BODY, FineClass.POSTERIOR)
    vote_place[vertebral] = curve.project(cloud.vote[vertebral])
    return vote_place


def _find_pieces(
    curve: SpineCurve, cloud: _Cloud, place: Floats, vote_place: Floats, voxel_ml: float
) -> list[_Piece]:
    near = np.hypot(place[:, 1], place[:, 2]) < _BODY_RADIUS
    body = near & cloud.of(FineClass.BODY)
    disc = near & cloud.of(FineClass.DISC)
    sacrum_top = _sacrum_top(cloud, place, voxel_ml)
    pieces: list[_Piece] = []
    if body.sum() * voxel_ml >= 0.2:
        profile = make_profile(
            place[body, 0], vote_place[body, 0], place[disc, 0], voxel_ml * 1000.0
        )
        spans = join_strays(cut_profile(profile), place[body, 0], vote_place[body, 0])
        for begin, end in spans:
            inside = body & (place[:, 0] >= begin) & (place[:, 0] < end)
            if inside.sum() * voxel_ml < 0.2:
                continue
            center = float(np.median(vote_place[inside, 0]))
            # Bad votes must not take a centre out of its own piece by far.
            margin = 0.25 * (end - begin)
            center = float(np.clip(center, begin - margin, end + margin))
            point = np.median(cloud.vote[inside], axis=0)
            expected = profile.length_at((begin + end) / 2)
            pieces.append(_Piece(begin, end, center, point, True, expected, center > sacrum_top))
    pieces += _bodiless(cloud, place, vote_place, pieces, sacrum_top, voxel_ml)
    return sorted(pieces, key=lambda piece: piece.center)


def _sacrum_top(cloud: _Cloud, place: Floats, voxel_ml: float) -> float:
    """Position along the curve below which nothing is a vertebra, mm.

    Where most voxels above are of bodies and most below of the sacrum: a few voxels of a worn
    lumbar vertebra that are taken for the sacrum do not cut the spine off above them.
    """
    near = np.hypot(place[:, 1], place[:, 2]) < 35.0
    sacrum = place[near & cloud.of(FineClass.SACRUM), 0]
    if len(sacrum) * voxel_ml < 2.0:
        return float("inf")
    body = place[near & cloud.of(FineClass.BODY), 0]
    edges = np.arange(place[:, 0].min() - 1.0, place[:, 0].max() + 2.0)
    above = np.concatenate([[0], np.cumsum(np.histogram(body, edges)[0])])
    below = len(sacrum) - np.concatenate([[0], np.cumsum(np.histogram(sacrum, edges)[0])])
    return float(edges[int(np.argmax(above + below))])


def _bodiless(
    cloud: _Cloud,
    place: Floats,
    vote_place: Floats,
    pieces: list[_Piece],
    sacrum_top: float,
    voxel_ml: float,
) -> list[_Piece]:
    """Find vertebrae that are voted for and have no body: C1, and those cut by the field."""
    vertebral = cloud.of(FineClass.BODY, FineClass.POSTERIOR)
    lateral = np.hypot(vote_place[:, 1], vote_place[:, 2]) < _BODY_RADIUS
    swing = np.abs(vote_place[:, 0] - place[:, 0]) < 45.0
    spare = np.flatnonzero(vertebral & lateral & swing & (vote_place[:, 0] < sacrum_top))
    found: list[_Piece] = []
    while len(spare):
        votes = vote_place[spare, 0]
        for piece in [*pieces, *found]:
            # A body that the field of view cuts is shorter than the distance to its neighbour.
            length = np.clip(piece.length, 0.8 * piece.expected, 1.15 * piece.expected)
            votes = vote_place[spare, 0]
            spare = spare[np.abs(votes - piece.center) > 0.55 * length]
        votes = vote_place[spare, 0]
        if len(votes) * voxel_ml < _FRAGMENT_ML:
            break
        start = votes.min()
        crowd = ndimage.gaussian_filter1d(np.bincount((votes - start).astype(int)) * 1.0, 3.0)
        peak = start + float(np.argmax(crowd))
        members = spare[np.abs(votes - peak) < 6.0]
        if len(members) * voxel_ml < _FRAGMENT_ML:
            break
        center = float(np.median(vote_place[members, 0]))
        near = min(pieces, key=lambda piece: abs(piece.center - center), default=None)
        expected = 20.0 if near is None else near.expected
        half = 0.5 * min(expected, 20.0)
        point = np.median(cloud.vote[members], axis=0)
        found.append(_Piece(center - half, center + half, center, point, False, expected))
    return found


def _share_out(cloud: _Cloud, place: Floats, vote_place: Floats, pieces: list[_Piece]) -> Ints:
    """Give each voxel the index of its piece, or -1."""
    owner = np.full(len(cloud.kind), _UNKNOWN, dtype=np.int64)
    body = cloud.of(FineClass.BODY)
    disc = cloud.of(FineClass.DISC)
    solid = [n for n, piece in enumerate(pieces) if piece.has_body]
    if solid:
        spans = [(pieces[n].begin, pieces[n].end) for n in solid]
        among = split_at_planes(place[body], vote_place[body, 0], place[disc], spans)
        owner[body] = np.where(among >= 0, np.array(solid)[among], _UNKNOWN)
    by_vote = _by_vote(cloud.vote, pieces)
    posterior = cloud.of(FineClass.POSTERIOR)
    owner[posterior] = by_vote[posterior]
    bodiless = np.array([not piece.has_body for piece in pieces])
    # The anterior arch of C1 lies before the dens, in the same slices.
    stray = body & (by_vote >= 0) & bodiless[by_vote]
    owner[stray] = by_vote[stray]
    lost = np.flatnonzero((owner < 0) & posterior)
    known = np.flatnonzero(owner >= 0)
    if len(lost) and len(known):
        away, nearest = cKDTree(cloud.ras[known]).query(cloud.ras[lost], distance_upper_bound=15.0)
        got = np.isfinite(away)
        owner[lost[got]] = owner[known[nearest[got]]]
    return owner


def _by_vote(votes: Floats, pieces: list[_Piece]) -> Ints:
    away, nearest = cKDTree(np.array([piece.point for piece in pieces])).query(votes)
    reach = np.array([0.75 * max(piece.length, 16.0) for piece in pieces])
    return np.where(away < reach[nearest], nearest, _UNKNOWN).astype(np.int64)


def _describe(
    semantic: Volume,
    labels: NDArray[np.uint8],
    cloud: _Cloud,
    curve: SpineCurve,
    pieces: list[_Piece],
    field: Volume | None,
    voxel_ml: float,
) -> tuple[Volume, list[Instance]]:
    owner = labels[tuple(cloud.kji.T)].astype(np.int64)
    edges = field_edges(semantic, cloud.kji, field)
    renumber = np.zeros(len(pieces) + 1, dtype=np.uint8)
    instances: list[Instance] = []
    for index, piece in enumerate(pieces):
        mine = owner == index + 1
        if piece.sacral or mine.sum() * voxel_ml < _FRAGMENT_ML:
            continue
        body = mine & (cloud.kind == FineClass.BODY)
        top, bottom, side = (int((mine & edge).sum()) >= 10 for edge in edges)
        has_body = bool(piece.has_body and body.sum() * voxel_ml >= 0.5)
        whole = has_body and not (top or bottom or side)
        away = np.linalg.norm(cloud.vote[mine] - piece.point, axis=1)
        instances.append(
            Instance(
                centroid=cloud.ras[body].mean(axis=0) if whole else piece.point,
                n_voxels=int(mine.sum()),
                body_voxels=int(body.sum()),
                touches_superior=top,
                touches_inferior=bottom,
                touches_side=side,
                has_body=has_body,
                quality=float((away < 0.5 * max(piece.length, 16.0)).mean()),
                down=curve.down_at(piece.center),
            )
        )
        renumber[index + 1] = len(instances)
    return semantic.like(renumber[labels]), instances


def field_edges(semantic: Volume, kji: Ints, field: Volume | None) -> tuple[Bools, Bools, Bools]:
    """Which voxels lie at the upper, the lower and another end of the field of view."""
    directions = semantic.affine[:3, :3] / np.linalg.norm(semantic.affine[:3, :3], axis=0)
    inside = None if field is None else np.asarray(field.array) > 0
    result = [np.zeros(len(kji), dtype=bool) for _ in range(3)]
    for axis in range(3):
        up = float(directions[2, 2 - axis])
        for step in (-2, 2):
            ahead = kji[:, axis] + step
            out = (ahead < 0) | (ahead >= semantic.shape[axis])
            if inside is not None:
                probe = kji.copy()
                probe[:, axis] = np.clip(ahead, 0, semantic.shape[axis] - 1)
                out |= ~inside[tuple(probe.T)]
            rise = up * np.sign(step)
            result[0 if rise > 0.7 else 1 if rise < -0.7 else 2] |= out
    return result[0], result[1], result[2]
