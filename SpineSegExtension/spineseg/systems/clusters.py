"""Clusters of points: DBSCAN and k-means from scipy's parts, and corners out of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, spatial
from scipy.cluster.vq import vq
from scipy.sparse.csgraph import connected_components

__all__ = ["clustered", "density_clusters", "end_clusters"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_GAP = 0.45  # distances between neighbours that a corner may be off from between its neighbours
_ENDS_DEG = 60.0  # that the line to the next cluster may lean at the ends
_CLOSE = 0.4  # of the usual step down: less than this are no two vertebrae


def density_clusters(points: Floats, near: float, least: int) -> Ints:
    """DBSCAN (Ester et al. 1996): the cluster of each point (m, 2), −1 for noise.

    Parameters
    ----------
    near : float
        Distance within which points are neighbours.
    least : int
        Neighbours, itself included, that make a point the core of a cluster.
    """
    label = np.full(len(points), -1, dtype=np.int64)
    if not len(points):
        return label
    tree = spatial.cKDTree(points)
    pairs = tree.query_pairs(near, output_type="ndarray")
    degree = 1 + np.bincount(pairs.ravel(), minlength=len(points))
    core = degree >= least
    joined = pairs[core[pairs].all(axis=1)]
    graph = sparse.coo_matrix((np.ones(len(joined)), joined.T), shape=(len(points),) * 2)
    _, part = connected_components(graph, directed=False)
    names, label[core] = np.unique(part[core], return_inverse=True)
    border = pairs[core[pairs].sum(axis=1) == 1]
    for a, b in border:
        outer, inner = (b, a) if core[a] else (a, b)
        if label[outer] < 0:
            label[outer] = label[inner]
    return label


def middles_of(points: Floats, label: Ints) -> tuple[Floats, Ints]:
    """Middles (n, 2) of clusters and their labels (n,), from the top."""
    names = np.unique(label)
    if not len(names):
        return np.zeros((0, 2)), names
    middles = np.array([np.median(points[label == n], axis=0) for n in names])
    order = np.argsort(middles[:, 1])
    return middles[order], names[order]


def end_clusters(points: Floats, label: Ints) -> Ints:
    """Labels that are kept: not the first or last where it lies beside the next, or too near."""
    middles, names = middles_of(points, label)
    while len(names) > 4:
        step = np.diff(middles, axis=0)
        usual = np.median(step[:, 1])
        lean = np.degrees(np.arctan2(np.abs(step[:, 0]), step[:, 1]))
        wrong = (lean > _ENDS_DEG) | (step[:, 1] < _CLOSE * usual)
        if wrong[0]:
            middles, names = middles[1:], names[1:]
        elif wrong[-1]:
            middles, names = middles[:-1], names[:-1]
        else:
            break
    return names


def clustered(kinds: list[Floats], sketch: Floats, pitch: float) -> tuple[Floats, Ints]:
    """K-means of four kinds of key points, twice, from a sketch (17, 4, 2) on.

    Between both, middles that leave the line of their neighbours are taken back to it. A corner
    without a point is carried there by its neighbours.

    Returns
    -------
    (corners, counts) : (17, 4, 2) and the points of each (17, 4)
    """
    corners, counts = sketch.copy(), np.zeros(sketch.shape[:2], dtype=np.int64)
    for kind, points in enumerate(kinds):
        middles = corners[:, kind]
        for _ in range(2):
            near = points
            if len(points):
                away = spatial.distance.cdist(points, middles).min(axis=1)
                near = points[away < 0.6 * pitch]
            middles, count = _kmeans(near, middles)
            between = (middles[2:] + middles[:-2]) / 2
            off = np.linalg.norm(middles[1:-1] - between, axis=1)
            wild = np.flatnonzero(off > _GAP * pitch) + 1
            # The neighbours of a wild one look wild as well: the wildest goes first.
            for k in sorted(wild, key=lambda k: -off[k - 1])[:1]:
                middles[k] = between[k - 1]
        corners[:, kind], counts[:, kind] = middles, count
    return corners, counts


def _kmeans(points: Floats, begin: Floats) -> tuple[Floats, Ints]:
    """Return the clusters' medians and sizes; those without a point move with their neighbours."""
    count = np.zeros(len(begin), dtype=np.int64)
    if not len(points):
        return begin, count
    label, _ = vq(points, begin)
    count = np.bincount(label, minlength=len(begin))
    seen = np.flatnonzero(count)
    middles = begin.copy()
    for k in seen:
        middles[k] = np.median(points[label == k], axis=0)
    index = np.arange(len(begin))
    moved = middles - begin
    for axis in range(2):
        middles[:, axis] = begin[:, axis] + np.interp(index, seen, moved[seen, axis])
    return middles, count
