"""Toy spines of ellipse cylinders on a curve: can each vertebra be told from its neighbours?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from spineseg.errors import InputError
from spineseg.geometry.spine_curve import SpineCurve, fit_curve
from spineseg.methods.classes import FineClass
from spineseg.methods.instances import Instance, split_vertebrae
from spineseg.methods.spine_profile import join_strays
from spineseg.volume import Volume

SPACING = 2.2


@dataclass
class Toy:
    semantic: Volume
    offsets: np.ndarray
    truth: np.ndarray
    centers: np.ndarray


def bent_line(length: float, scoliosis: float = 0.0, kyphosis: float = 0.0) -> np.ndarray:
    """A line from the head down (RAS); angles in degrees between its end directions."""
    t = np.linspace(0.0, 1.0, int(length) + 1)
    side = np.radians(scoliosis) / 2 * np.sin(2 * np.pi * t)
    bow = np.radians(kyphosis) / 2 * np.cos(np.pi * t)
    down = np.stack([np.sin(side), -np.sin(bow), -np.cos(side) * np.cos(bow)], axis=1)
    down /= np.linalg.norm(down, axis=1, keepdims=True)
    return np.cumsum(down, axis=0)


def toy(
    heights: list[float], line: np.ndarray | None = None, sacrum: bool = False, seed: int = 0
) -> Toy:
    """Build a spine; `heights` are body plus disc, mm, from the top."""
    lead = 25.0
    total = sum(heights) + 2 * lead
    curve = SpineCurve.through(bent_line(total) if line is None else line)
    offset = 60.0 + lead  # SpineCurve adds 60 mm of straight line before the first point
    edges = offset + np.concatenate([[0.0], np.cumsum(heights)])
    reach = curve.points[50 : int(edges[-1]) + 60]
    low = reach.min(axis=0) - [45, 75, 15]
    high = reach.max(axis=0) + [45, 30, 15]
    shape = np.ceil((high - low) / SPACING).astype(int)[::-1]
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = low
    kji = np.argwhere(np.ones(shape, dtype=bool))
    ras = kji[:, ::-1] * SPACING + low
    s, u, v = curve.project(ras).T
    kind = np.zeros(len(ras), dtype=np.uint8)
    truth = np.zeros(len(ras), dtype=np.uint8)
    inside = (s > edges[0]) & (s < edges[-1])
    kind[(np.hypot(u / 9, (v - 24) / 8) < 1) & (s > 40) & (s < edges[-1] + 40)] = FineClass.CANAL
    centers = []
    for n, (begin, end) in enumerate(zip(edges[:-1], edges[1:], strict=True), start=1):
        size = (end - begin) * 0.55
        disc = 0.12 * (end - begin)
        across = np.hypot(u / (size * 1.2), v / size) < 1
        kind[across & (s >= begin) & (s < end) & (kind == 0)] = FineClass.DISC
        body = across & (s >= begin + disc) & (s < end - disc) & inside
        middle = (begin + end) / 2
        ring = (np.hypot(u / 15, (v - 24) / 13) < 1) & (kind != FineClass.CANAL) & (v > 14)
        arch = ring & (np.abs(s - middle) < 0.3 * (end - begin))
        sunk = s - middle - 0.45 * (v - 34)
        spine = (np.abs(u) < 4) & (v > 34) & (v < 60) & (np.abs(sunk) < 0.28 * (end - begin))
        wing = (np.abs(u) > 12) & (np.abs(u) < 35) & (np.abs(v - 22) < 6)
        wing &= np.abs(s - middle) < 0.2 * (end - begin)
        posterior = (arch | spine | wing) & (truth == 0) & ~body
        kind[body], kind[posterior] = FineClass.BODY, FineClass.POSTERIOR
        truth[body | posterior] = n
        centers.append(ras[body].mean(axis=0))
    if sacrum:
        below = (s > edges[-1] + 4) & (s < edges[-1] + 60) & (np.abs(u) < 45) & (np.abs(v) < 25)
        kind[below & (kind != FineClass.CANAL)] = FineClass.SACRUM
        ending = (s >= edges[-1]) & (s <= edges[-1] + 4) & (np.hypot(u, v) < 20)
        kind[ending & (kind == 0)] = FineClass.DISC
    points = np.array(centers)
    votes = np.zeros((len(ras), 3))
    known = truth > 0
    votes[known] = points[truth[known] - 1] - ras[known]
    return Toy(
        Volume(kind.reshape(shape), affine),
        np.ascontiguousarray(votes.T.reshape(3, *shape)).astype(np.float16),
        truth.reshape(shape),
        points,
    )


def noisy(case: Toy, vote_sd: float = 4.0, shrink: float = 0.9, lost: float = 0.04) -> Toy:
    """Add what a network does: shrunken and noisy votes, wrong classes in patches."""
    rng = np.random.default_rng(7)
    offsets = case.offsets * shrink + rng.normal(0, vote_sd, case.offsets.shape)
    kind = np.array(case.semantic.array)
    swap = rng.random(kind.shape) < lost
    kind[swap & (kind == FineClass.BODY)] = FineClass.DISC
    kind[rng.random(kind.shape) < lost] = FineClass.BACKGROUND
    return Toy(case.semantic.like(kind), offsets.astype(np.float16), case.truth, case.centers)


def cropped(case: Toy, begin: int, end: int) -> Toy:
    """Keep these slices of k."""
    volume = case.semantic.crop((begin, 0, 0), (end, *case.semantic.shape[1:]))
    return Toy(volume, case.offsets[:, begin:end], case.truth[begin:end], case.centers)


def check(case: Toy, expected: int, agreement: float = 0.95) -> list[Instance]:
    """Each truth vertebra has its own label, in order, over most of its voxels."""
    labels, instances = split_vertebrae(case.semantic, case.offsets)
    assert len(instances) == expected
    assert labels.array.max() == expected
    assert np.allclose(labels.affine, case.semantic.affine)
    present = [n for n in np.unique(case.truth) if n > 0]
    seen = (case.semantic.array == FineClass.BODY) | (case.semantic.array == FineClass.POSTERIOR)
    right = 0
    for label, number in enumerate(present, start=1):
        right += int(((case.truth == number) & (labels.array == label) & seen).sum())
    assert right / ((case.truth > 0) & seen).sum() > agreement
    return instances


LUMBAR = [30.0, 32.0, 34.0, 35.0, 35.0, 36.0]
WHOLE = [*np.linspace(17, 19, 4), *np.linspace(20, 29, 8), *np.linspace(31, 36, 4)]


def test_plain_spine_is_split_and_centroids_are_body_centres() -> None:
    case = toy(LUMBAR)
    instances = check(case, 6, 0.99)
    found = np.array([instance.centroid for instance in instances])
    assert np.abs(found - case.centers).max() < 1.0
    assert all(instance.complete and instance.has_body for instance in instances)
    assert all(instance.quality > 0.95 for instance in instances)


def test_whole_spine_with_noise() -> None:
    check(noisy(toy(WHOLE)), len(WHOLE), 0.93)


@pytest.mark.parametrize(("scoliosis", "kyphosis"), [(60, 0), (0, 80), (60, 50)])
def test_bent_spines(scoliosis: float, kyphosis: float) -> None:
    heights = [22.0] * 5 + [25.0] * 4
    line = bent_line(sum(heights) + 50, scoliosis, kyphosis)
    check(noisy(toy(heights, line)), 9, 0.9)


def test_lost_discs_are_cut_by_votes() -> None:
    case = toy(LUMBAR)
    kind = np.array(case.semantic.array)
    disc = np.argwhere(kind == FineClass.DISC)
    ras = case.semantic.ijk_to_ras(disc[:, ::-1])
    nearest = np.abs(ras[:, None, 2] - case.centers[None, :, 2]).argmin(axis=1)
    case.offsets[:, disc[:, 0], disc[:, 1], disc[:, 2]] = (case.centers[nearest] - ras).T
    kind[tuple(disc.T)] = FineClass.BODY
    check(noisy(Toy(case.semantic.like(kind), case.offsets, case.truth, case.centers)), 6)


def test_merged_votes_are_cut_by_discs() -> None:
    case = toy(LUMBAR)
    merged = np.isin(case.truth, (3, 4))
    middle = case.centers[2:4].mean(axis=0)
    kji = np.argwhere(merged)
    ras = case.semantic.ijk_to_ras(kji[:, ::-1])
    case.offsets[:, merged] = (middle - ras).T
    _, instances = split_vertebrae(case.semantic, case.offsets)
    assert len(instances) == 6
    heights = [instance.body_voxels for instance in instances]
    assert min(heights[2:4]) > 0.6 * heights[1]


def test_soft_bodies_called_disc_inside_stay_whole() -> None:
    case = toy(LUMBAR)
    kind = np.array(case.semantic.array)
    kji = np.argwhere(kind == FineClass.BODY)
    ras = case.semantic.ijk_to_ras(kji[:, ::-1])
    own = case.centers[case.truth[tuple(kji.T)] - 1]
    away = np.abs(ras - own)
    soft = (away[:, 2] < 7) & (np.hypot(away[:, 0], away[:, 1]) < 11)
    kind[tuple(kji[soft].T)] = FineClass.DISC
    check(noisy(Toy(case.semantic.like(kind), case.offsets, case.truth, case.centers)), 6)


def test_collapsed_vertebra_is_its_own() -> None:
    check(noisy(toy([30.0, 31.0, 12.0, 32.0, 33.0])), 5, 0.9)


def test_cropped_ends_are_kept_and_flagged() -> None:
    case = toy(LUMBAR)
    low, high = np.argwhere(case.truth == 6)[:, 0], np.argwhere(case.truth == 1)[:, 0]
    part = cropped(case, int(np.median(low)), int(np.median(high)))
    instances = check(noisy(part), 6, 0.9)
    assert instances[0].touches_superior
    assert not instances[0].touches_inferior
    assert instances[-1].touches_inferior
    assert all(instance.complete for instance in instances[1:-1])


def test_field_mask_flags_cut_vertebrae() -> None:
    case = toy(LUMBAR)
    field = np.ones(case.semantic.shape, dtype=bool)
    cut = int(np.median(np.argwhere(case.truth == 6)[:, 0]))
    field[:cut] = False
    kind = np.where(field, case.semantic.array, 0).astype(np.uint8)
    _, instances = split_vertebrae(
        case.semantic.like(kind), case.offsets, case.semantic.like(field.astype(np.uint8))
    )
    assert len(instances) == 6
    assert [instance.complete for instance in instances] == [True] * 5 + [False]


def test_sacrum_never_becomes_a_vertebra() -> None:
    case = toy(LUMBAR, sacrum=True)
    kind = np.array(case.semantic.array)
    # S1 leaks: the upper middle of the sacrum is called vertebral body, and votes for itself.
    sacrum = np.argwhere(kind == FineClass.SACRUM)
    ras = case.semantic.ijk_to_ras(sacrum[:, ::-1])
    middle = ras[np.argsort(-ras[:, 2])[: len(ras) // 3]].mean(axis=0)
    leak = np.linalg.norm(ras - middle, axis=1) < 13
    kind[tuple(sacrum[leak].T)] = FineClass.BODY
    case.offsets[:, sacrum[leak, 0], sacrum[leak, 1], sacrum[leak, 2]] = (middle - ras[leak]).T
    leaky = Toy(case.semantic.like(kind), case.offsets, case.truth, case.centers)
    labels, instances = split_vertebrae(leaky.semantic, leaky.offsets)
    assert len(instances) == 6
    assert not labels.array[tuple(sacrum[leak].T)].any()


def test_bone_away_from_the_spine_is_dropped() -> None:
    case = toy(LUMBAR)
    pad = case.semantic.pad((0, 0, 0), (0, 0, 50), 0)
    kind = np.array(pad.array)
    kind[20:35, 30:45, -20:-5] = FineClass.BODY
    offsets = np.pad(case.offsets, ((0, 0), (0, 0), (0, 0), (0, 50)))
    labels, instances = split_vertebrae(pad.like(kind), offsets)
    assert len(instances) == 6
    assert not labels.array[20:35, 30:45, -20:-5].any()


def test_atlas_without_a_body_is_found() -> None:
    case = toy([22.0, 18.0, 18.0, 18.0, 19.0])
    kind = np.array(case.semantic.array)
    # The first keeps its arch only; a thin part of what was its body is the dens of the second.
    dens = np.argwhere((case.truth == 1) & (kind == FineClass.BODY))
    ras = case.semantic.ijk_to_ras(dens[:, ::-1])
    wide = np.linalg.norm((ras - case.centers[0])[:, :2], axis=1) > 6
    kind[tuple(dens[wide].T)] = FineClass.BACKGROUND
    case.truth[tuple(dens[wide].T)] = 0
    disc = np.argwhere(kind == FineClass.DISC)
    top = case.semantic.ijk_to_ras(disc[:, ::-1])[:, 2] > case.centers[1][2]
    kind[tuple(disc[top].T)] = FineClass.BODY
    for part in (dens[~wide], disc[top]):
        case.truth[tuple(part.T)] = 2
        points = case.semantic.ijk_to_ras(part[:, ::-1])
        case.offsets[:, part[:, 0], part[:, 1], part[:, 2]] = (case.centers[1] - points).T
    instances = check(Toy(case.semantic.like(kind), case.offsets, case.truth, case.centers), 5)
    assert [instance.has_body for instance in instances] == [False, True, True, True, True]


def test_rim_cut_off_by_its_disc_joins_the_body_that_it_votes_for() -> None:
    body = np.arange(0.0, 90.0)
    votes = np.where(body < 12, 25.0, np.where(body < 40, 25.0, np.where(body < 75, 55.0, 56.0)))
    spans = [(0.0, 12.0), (12.0, 40.0), (40.0, 75.0), (75.0, 90.0)]
    assert join_strays(spans, body, votes) == [(0.0, 40.0), (40.0, 90.0)]
    own = np.select([body < 12, body < 40, body < 75], [6.0, 25.0, 55.0], 82.0)
    assert join_strays(spans, body, own) == spans
    assert join_strays([], body, votes) == []


def test_nothing_gives_nothing() -> None:
    empty = Volume(np.zeros((20, 20, 20), dtype=np.uint8), np.diag([1.5, 1.5, 1.5, 1.0]))
    labels, instances = split_vertebrae(empty, np.zeros((3, 20, 20, 20), dtype=np.float16))
    assert instances == []
    assert not labels.array.any()


def test_wrong_shapes_are_refused() -> None:
    empty = Volume(np.zeros((4, 5, 6), dtype=np.uint8), np.eye(4))
    with pytest.raises(InputError):
        split_vertebrae(empty, np.zeros((3, 4, 5, 5), dtype=np.float16))


def test_curve_projects_what_lies_on_it_to_itself() -> None:
    line = bent_line(300, scoliosis=60, kyphosis=40)
    rng = np.random.default_rng(3)
    cloud = np.repeat(line, 20, axis=0) + rng.normal(0, 8, (20 * len(line), 3))
    curve = fit_curve(cloud)
    away = np.linalg.norm(curve.project(line)[:, 1:], axis=1)
    assert away.max() < 4.0
    middle = curve.project(line[[100, 200]])[:, 0]
    assert np.diff(middle)[0] == pytest.approx(100, abs=3)
    behind = curve.project(line[[150]] + [0, -10, 0])
    assert behind[0, 2] > 5
    with pytest.raises(InputError):
        fit_curve(cloud[:5])
