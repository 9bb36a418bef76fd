"""Structures that are one region: of the nested regions of a plane, the one most like an outlined example.

Where an example is a single connected structure, the regions of the hierarchy know its outline better than a level on a
map of scores does: that level lies elsewhere on every image, while what stands out by it and by its boundaries is found
without one. The choice of measures and their weights are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_ld.proposals.evidence import PlaneEvidence, region_centres, vectors_at
from napari_ld.proposals.hierarchy import STRUCTURES, tree_of
from napari_ld.proposals.tree import RegionTree

__all__ = ["Candidates", "candidates_of", "likeliest"]

Array = npt.NDArray[np.float64]
BoolMask = npt.NDArray[np.bool_]

_SIZES = (0.001, 0.75)  # part of the plane that a structure covers
_ODDS = 0.5  # weight of the log-odds inside; that of their difference to the surroundings is 1
_CONTRAST = 0.5
_EMBEDDING = 2.0  # of the cosine with the example
_SIZE = 0.3  # lost by a region e times as large or small as the example
_BORDER = 10.0  # lost by a region that takes the whole border of the plane, beyond what the example takes
_AROUND = 2.0  # surroundings of a region: the smallest one that holds it and is so many times as large


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Nested regions of a plane, with what tells the wanted one from the others.

    Attributes
    ----------
    tree : RegionTree
    nodes : (N,) int array
    share : (N,) array
        Part of the plane that each covers.
    inside, around : (N,) array
        Mean of a map in each, and in what surrounds it.
    contrast : (N,) array
        How much dearer it is to merge each away than its parts, in natural logarithms.
    border : (N,) array
        Part of the border of the plane that each takes.
    vectors : (N, D) array
        Mean embedding of each, of unit length.
    """

    tree: RegionTree
    nodes: npt.NDArray[np.int64]
    share: Array
    inside: Array
    around: Array
    contrast: Array
    border: Array
    vectors: npt.NDArray[np.float32]


def candidates_of(evidence: PlaneEvidence, odds: npt.NDArray[np.float32], margin: BoolMask) -> Candidates:
    """All nested regions of a plane of a fitting size, outside its margin; ``odds`` is (rows, columns)."""
    tree = tree_of(evidence, STRUCTURES)
    flat, leaves = tree.labels.reshape(-1), tree.n_leaves
    rim = np.zeros(tree.labels.shape, bool)
    rim[[0, -1]] = rim[:, [0, -1]] = True
    columns: list[npt.NDArray[Any]] = [np.ones(flat.size), odds.reshape(-1), margin.reshape(-1), rim.reshape(-1)]
    sums = np.stack([np.bincount(flat, column, leaves) for column in columns], axis=1)
    vectors = vectors_at(evidence.embedding, *region_centres(tree.labels, leaves)) * sums[:, :1]
    total = _summed(tree, np.concatenate([sums, vectors], axis=1))
    size, own = total[:, 0], np.concatenate([np.zeros(leaves), tree.heights])
    away = tree.merge_heights
    low, high = (part * flat.size for part in _SIZES)
    nodes = np.flatnonzero((size >= low) & (size <= high) & (total[:, 2] < size / 2) & np.isfinite(away))
    around = _surroundings(tree, size)[nodes]
    outer = total[around, 1] - total[nodes, 1], np.maximum(size[around] - size[nodes], 1)
    mean = total[nodes, 4:]
    return Candidates(
        tree,
        nodes,
        size[nodes] / flat.size,
        total[nodes, 1] / size[nodes],
        outer[0] / outer[1],
        np.log((away[nodes] + 1e-3) / (own[nodes] + 1e-3)),
        total[nodes, 3] / rim.sum(),
        np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-10), np.float32),
    )


def likeliest(
    candidates: Candidates, share: float, border: float, vector: npt.NDArray[np.float32]
) -> tuple[BoolMask, float] | None:
    """Region most like an example that covers ``share`` of its plane and ``border`` of that plane's border.

    Returns
    -------
    mask : (rows, columns) bool array
    likelihood : float
        In [0, 1]; 0.5 where it does not differ from its surroundings. Or None where there are no candidates.
    """
    c = candidates
    if not len(c.nodes):
        return None
    away = np.abs(np.log(c.share / max(share, 1e-9)))
    value = (1 + _ODDS) * c.inside - c.around + _CONTRAST * c.contrast + _EMBEDDING * (c.vectors @ vector)
    value -= _SIZE * away + _BORDER * np.maximum(c.border - border, 0)
    best = int(value.argmax())
    return c.tree.mask(int(c.nodes[best])), float(1 / (1 + np.exp(-(c.inside[best] - c.around[best]) / 2)))


def _summed(tree: RegionTree, leaves: Array) -> Array:
    """Sums (L + M, F) over all nodes of values (L, F) of the finest regions."""
    total = np.concatenate([leaves, np.zeros((len(tree.merges), leaves.shape[1]))])
    for made, (one, other) in enumerate(tree.merges.tolist(), start=tree.n_leaves):
        total[made] = total[one] + total[other]
    return total


def _surroundings(tree: RegionTree, size: Array) -> npt.NDArray[np.int64]:
    """For each node the smallest one above it that is :data:`_AROUND` times as large; the root where there is none."""
    parents = tree.parents.astype(np.int64)
    found = parents.copy()
    while True:
        small = (size[found] < _AROUND * size) & (parents[found] != found)
        if not small.any():
            return found
        found[small] = parents[found[small]]
