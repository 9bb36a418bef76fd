"""Merge neighbouring regions by what separates them: colour, embedding and the boundary between them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_ld.errors import ConfigError
from napari_ld.proposals.tree import RegionTree

__all__ = ["Edges", "MergeParams", "boundaries", "joined_edges", "merge_tree"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MergeParams:
    """How dissimilar two neighbours are (all numbers are our own choice).

    Attributes
    ----------
    colour, embedding, boundary : float
        Weights of the squared differences of mean colour and of mean embedding, and of the mean gradient along the
        common boundary.
    embedding_size : float
        Pixels from which on a region counts with half the weight of its embedding: those of a few pixels lie within one
        cell, whose vector says nothing of their borders.
    size_power : float
        The sum is multiplied by ``(a * b / (a + b)) ** size_power`` for sizes a and b: 1 is Ward's linkage, by which
        small regions go first; 0 ignores size.
    length_power : float
        And divided by ``length ** length_power`` of the common boundary, in pixels: long boundaries go first.
    """

    colour: float = 1.0
    embedding: float = 0.02
    boundary: float = 0.2
    embedding_size: float = 200.0
    size_power: float = 1.0
    length_power: float = 0.2

    def __post_init__(self) -> None:
        if min(dataclasses.astuple(self)) < 0:
            raise ConfigError(f"{self}: expected no negative number")


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Pairs of touching regions.

    Attributes
    ----------
    pairs : (E, 2) int64 array
        Smaller number first; sorted, every pair once.
    length : (E,) float64 array
        Pixel sides along which the two touch.
    strength : (E,) float64 array
        Gradient summed along them.
    """

    pairs: npt.NDArray[np.int64]
    length: Array
    strength: Array


def boundaries(labels: npt.NDArray[np.int32], gradient: npt.NDArray[np.float32]) -> Edges:
    """All pairs of regions that share a pixel side.

    Parameters
    ----------
    labels : (rows, columns) int32 array
    gradient : (rows, columns) float32 array
        A side counts with the larger of its two pixels.
    """
    firsts, seconds, strengths = [], [], []
    for here, there in (
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        one, other = labels[here], labels[there]
        differ = one != other
        firsts.append(np.minimum(one[differ], other[differ]))
        seconds.append(np.maximum(one[differ], other[differ]))
        strengths.append(np.maximum(gradient[here][differ], gradient[there][differ]))
    first, second = np.concatenate(firsts).astype(np.int64), np.concatenate(seconds).astype(np.int64)
    strength = np.concatenate(strengths).astype(np.float64)
    return joined_edges(first, second, np.ones(len(first)), strength, int(labels.max()) + 1)


def merge_tree(
    labels: npt.NDArray[np.int32], colour: Array, embedding: npt.NDArray[np.float32], edges: Edges, params: MergeParams
) -> RegionTree:
    """Merge the least dissimilar neighbours until one region is left.

    Pairs that are each other's nearest are merged together, round by round, which gives the tree of one-by-one merging
    as long as no merge brings regions closer to their neighbours.

    Parameters
    ----------
    labels : (rows, columns) int32 array
        Finest regions 0 to L-1.
    colour : (L, C) array
        Mean colour of each.
    embedding : (L, D) array
        Mean embedding of each.
    edges : Edges
    params : MergeParams
    """
    leaves = len(colour)
    features = np.concatenate([colour, embedding], axis=1).astype(np.float32)
    size = np.bincount(labels.reshape(-1), minlength=leaves).astype(np.float64)
    number, height = np.arange(leaves), np.zeros(leaves)
    merges: list[npt.NDArray[np.int64]] = []
    heights: list[Array] = []
    made = leaves
    while len(number) > 1:
        cost = _cost(features, colour.shape[1], size, edges, params)
        chosen = _mutual(edges.pairs, cost, len(number))
        a, b = edges.pairs[chosen].T
        top = np.maximum(cost[chosen], np.maximum(height[a], height[b]))
        merges.append(np.stack([number[a], number[b]], axis=1))
        heights.append(top)
        total = size[a] + size[b]
        share = (size[b] / total).astype(np.float32)[:, None]
        features[a] += (features[b] - features[a]) * share
        size[a], height[a] = total, top
        number[a] = made + np.arange(len(a))
        made += len(a)
        into = np.arange(len(number))
        into[b] = a
        kept = np.ones(len(number), bool)
        kept[b] = False
        into = (np.cumsum(kept) - 1)[into]
        features, size, height, number = features[kept], size[kept], height[kept], number[kept]
        edges = _contracted(edges, into, len(number))
    return _sorted_tree(labels, merges, heights)


def _cost(features: npt.NDArray[np.float32], colours: int, size: Array, edges: Edges, params: MergeParams) -> Array:
    a, b = edges.pairs.T
    squared = (features[a] - features[b]) ** 2
    harmonic = size[a] * size[b] / (size[a] + size[b])
    trust = params.embedding * harmonic / (harmonic + params.embedding_size + 1e-12)
    difference = params.colour * squared[:, :colours].sum(axis=1) + trust * squared[:, colours:].sum(axis=1)
    difference += params.boundary * edges.strength / edges.length
    return np.asarray(difference * harmonic**params.size_power / edges.length**params.length_power, np.float64)


def _mutual(pairs: npt.NDArray[np.int64], cost: Array, count: int) -> npt.NDArray[np.int64]:
    """Edges that are the cheapest of both their regions; ties go to the first edge."""
    rank = np.empty(len(cost), np.int64)
    rank[np.argsort(cost, kind="stable")] = np.arange(len(cost))
    best = np.full(count, len(cost))
    np.minimum.at(best, pairs[:, 0], rank)
    np.minimum.at(best, pairs[:, 1], rank)
    return np.flatnonzero((best[pairs[:, 0]] == rank) & (best[pairs[:, 1]] == rank))


def _contracted(edges: Edges, into: npt.NDArray[np.int64], count: int) -> Edges:
    """Edges between the regions that are left, under their new numbers."""
    pairs = into[edges.pairs]
    kept = pairs[:, 0] != pairs[:, 1]
    first, second = pairs[kept].min(axis=1), pairs[kept].max(axis=1)
    return joined_edges(first, second, edges.length[kept], edges.strength[kept], count)


def joined_edges(
    first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], length: Array, strength: Array, count: int
) -> Edges:
    """Edges from pairs (N,) that may occur more than once, smaller number first; ``count`` regions."""
    keys, inverse = np.unique(first * count + second, return_inverse=True)
    pairs = np.stack(np.divmod(keys, count), axis=1)
    sums = [np.bincount(inverse, weights, len(keys)).astype(np.float64) for weights in (length, strength)]
    return Edges(pairs, sums[0], sums[1])


def _sorted_tree(
    labels: npt.NDArray[np.int32], merges: list[npt.NDArray[np.int64]], heights: list[Array]
) -> RegionTree:
    """Number the merges anew, in the order of their heights; children come before their parents."""
    if not merges:
        return RegionTree(labels, np.zeros((0, 2), np.int32), np.zeros(0))
    joined, height = np.concatenate(merges), np.concatenate(heights)
    leaves = len(height) + 1
    order = np.argsort(height, kind="stable")
    renamed = np.arange(leaves + len(height))
    renamed[leaves + order] = leaves + np.arange(len(height))
    return RegionTree(labels, renamed[joined[order]].astype(np.int32), height[order])
