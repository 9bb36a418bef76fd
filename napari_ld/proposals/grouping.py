"""Group points, in two steps: many small groups by k-means, then few by merging what no edge keeps apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_ld.proposals.merging import Edges

__all__ = ["joined_groups", "k_means", "nearest", "spread_seeds"]

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

_PRIOR_LENGTH = (
    20.0  # pixel sides of mean strength that every pair of groups is given, so that short contacts say little
)


def spread_seeds(points: Array, weights: Array, first: Array, count: int) -> Array:
    """Add to the first centres (S, F) the points that are farthest from all, until there are ``count``.

    Parameters
    ----------
    points : (N, F) array
    weights : (N,) array
        The squared distance is multiplied by it. Ties go to the first point.
    first : (S, F) array
        At least one; of more than ``count`` the first are taken.
    count : int
        Fewer come back when there are not as many different points.

    Returns
    -------
    (M, F) array
    """
    centres = list(first[:count])
    away = np.min([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=0)
    while len(centres) < count:
        farthest = int((away * weights).argmax())
        if away[farthest] <= 1e-12:
            break
        centres.append(points[farthest])
        away = np.minimum(away, ((points - points[farthest]) ** 2).sum(axis=1))
    return np.stack(centres)


def nearest(points: Array, centres: Array) -> tuple[Numbers, Array]:
    """Number of the nearest centre (N,), and squared distances to all (N, M)."""
    squared = (points**2).sum(axis=1)[:, None] - 2 * points @ centres.T + (centres**2).sum(axis=1)
    squared = np.maximum(squared, 0)
    return squared.argmin(axis=1), squared


def k_means(points: Array, weights: Array, centres: Array, iterations: int) -> tuple[Numbers, Array]:
    """Weighted k-means from given centres.

    Returns
    -------
    labels : (N,) int64 array
        0 to M-1; every group holds a point.
    centres : (M, F) array
        Those of groups that ran empty are left out.
    """
    for _ in range(iterations):
        labels, _ = nearest(points, centres)
        moved = _means(points, weights, labels, len(centres))
        if np.array_equal(moved, centres):
            break
        centres = moved
    labels, _ = nearest(points, centres)
    used, labels = np.unique(labels, return_inverse=True)
    return labels.astype(np.int64), centres[used]


def _means(points: Array, weights: Array, labels: Numbers, count: int) -> Array:
    mass = np.bincount(labels, weights, count)
    sums = np.stack([np.bincount(labels, weights * column, count) for column in points.T], axis=1)
    return np.asarray(sums[mass > 0] / mass[mass > 0, None], np.float64)


def joined_groups(
    points: Array, sizes: Array, labels: Numbers, edges: Edges, count: int, *, edge: float, size_power: float
) -> Numbers:
    """Merge groups until ``count`` are left: the pair whose means are near and whose common boundary is weak.

    Sizes count little, unlike in Ward's linkage: a large background that was cut in parts becomes one again, and a
    small structure that looks like nothing else stays.

    Parameters
    ----------
    points : (N, F) array
    sizes : (N,) array
    labels : (N,) int64 array
        Group of each point, 0 to M-1, none empty.
    edges : Edges
        Between points that lie next to each other.
    count : int
    edge : float
        What a boundary of mean strength adds to the squared distance.
    size_power : float
        The sum is multiplied by ``(a * b / (a + b)) ** size_power`` for sizes a and b.

    Returns
    -------
    (M,) int64 array
        New group of each group, 0 to at most ``count`` - 1, largest first.
    """
    groups = int(labels.max()) + 1
    size = np.bincount(labels, sizes, groups)
    means = _means(points, sizes, labels, groups)
    first, second = labels[edges.pairs].T
    length, strength = np.zeros((2, groups, groups))
    for target, values in ((length, edges.length), (strength, edges.strength)):
        np.add.at(target, (first, second), values)
        target += target.T
    usual = float(edges.strength.sum()) / max(float(edges.length.sum()), 1.0)
    into, alive = np.arange(groups), np.ones(groups, bool)
    while alive.sum() > count:
        own = np.flatnonzero(alive)
        squared = nearest(means[own], means[own])[1]
        between = np.ix_(own, own)
        relative = (strength[between] / max(usual, 1e-9) + _PRIOR_LENGTH) / (length[between] + _PRIOR_LENGTH)
        harmonic = size[own, None] * size[own] / (size[own, None] + size[own])
        cost = (squared + edge * relative) * harmonic**size_power
        cost[np.tril_indices(len(own))] = np.inf
        a, b = own[list(np.unravel_index(int(cost.argmin()), cost.shape))]
        means[a] = (means[a] * size[a] + means[b] * size[b]) / (size[a] + size[b])
        size[a], alive[b], into[into == b] = size[a] + size[b], False, a
        for table in (length, strength):
            table[a] += table[b]
            table[:, a] += table[:, b]
    left = np.flatnonzero(alive)
    rank = np.zeros(groups, np.int64)
    rank[left[np.argsort(-size[left], kind="stable")]] = np.arange(len(left))
    return rank[into]
