"""Regions of a whole volume: the regions of its slices, merged within and across slices."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_ld.proposals.masks import Mask
from napari_ld.proposals.merging import Edges, MergeParams, joined_edges, merge_tree
from napari_ld.proposals.regions import Region
from napari_ld.proposals.tree import RegionTree

__all__ = ["PlaneGraph", "masks_of_labels", "regions_of_volume", "volume_tree"]


@dataclass(frozen=True, slots=True, eq=False)
class PlaneGraph:
    """Regions of one slice and what they look like.

    Attributes
    ----------
    labels : (rows, columns) int32 array
        0 to L-1.
    colour : (L, C) float64 array
    vectors : (L, D) float32 array
        Embedding at the centre of each.
    edges : Edges
    """

    labels: npt.NDArray[np.int32]
    colour: npt.NDArray[np.float64]
    vectors: npt.NDArray[np.float32]
    edges: Edges


def volume_tree(parts: Sequence[PlaneGraph], params: MergeParams) -> RegionTree:
    """Merge the regions of all slices; those above each other touch where they overlap.

    Across slices no gradient is known, so that a pair is as different as its colours and embeddings.

    Returns
    -------
    RegionTree
        With labels (planes, rows, columns).
    """
    starts = np.concatenate([[0], np.cumsum([len(part.colour) for part in parts])])
    labels = np.stack([part.labels + start for part, start in zip(parts, starts, strict=False)]).astype(np.int32)
    pairs = [part.edges.pairs + start for part, start in zip(parts, starts, strict=False)]
    length = [part.edges.length for part in parts]
    strength = [part.edges.strength for part in parts]
    for below, above in itertools.pairwise(labels):
        across = np.stack([below.reshape(-1), above.reshape(-1)], axis=1).astype(np.int64)
        pairs.append(across)
        length.append(np.ones(len(across)))
        strength.append(np.zeros(len(across)))
    first, second = np.concatenate(pairs).T
    edges = joined_edges(first, second, np.concatenate(length), np.concatenate(strength), int(starts[-1]))
    colour = np.concatenate([part.colour for part in parts])
    return merge_tree(labels, colour, np.concatenate([part.vectors for part in parts]), edges, params)


def regions_of_volume(
    tree: RegionTree, n_regions: int, planes: Sequence[int], image: int, parts: Sequence[PlaneGraph]
) -> list[Region]:
    """Regions of one cut, numbered from 1; the score is the rank of the height at which they would be merged."""
    labels = tree.cut(n_regions)
    nodes = tree.nodes(n_regions)
    leaves = np.bincount(tree.labels.reshape(-1), minlength=tree.n_leaves)
    vectors = np.concatenate([part.vectors for part in parts])
    present, first = np.unique(nodes, return_index=True)
    height = tree.merge_heights[present]
    rank = height.argsort(kind="stable").argsort(kind="stable")
    masks = masks_of_labels(labels, planes)
    found = []
    for number, place in enumerate(np.argsort(first, kind="stable"), start=1):
        own = np.flatnonzero(nodes == present[place])
        vector = (vectors[own] * leaves[own, None]).sum(axis=0)
        vector = np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-10), np.float32)
        score = float((rank[place] + 1) / len(present))
        found.append(Region(number, image, masks[number], score, vector, kind="hierarchy"))
    return found


def masks_of_labels(labels: npt.NDArray[np.int32], planes: Sequence[int]) -> dict[int, Mask]:
    """The mask of every region of a label volume (planes, rows, columns), read off in one pass."""
    shape = int(labels.shape[1]), int(labels.shape[2])
    runs: dict[int, list[npt.NDArray[np.int64]]] = {}
    for plane, layer in zip(planes, labels, strict=True):
        flat = layer.reshape(-1)
        change = np.ones(len(flat), bool)
        change[1:] = flat[1:] != flat[:-1]
        change[:: shape[1]] = True  # runs end with their row
        start = np.flatnonzero(change)
        stop = np.append(start[1:], len(flat))
        value = flat[start]
        order = np.argsort(value, kind="stable")
        rows = np.stack([np.full(len(start), plane), start, stop], axis=1).astype(np.int64)[order]
        numbers, first = np.unique(value[order], return_index=True)
        for number, part in zip(numbers.tolist(), np.split(rows, first[1:]), strict=True):
            runs.setdefault(number, []).append(part)
    return {number: Mask(shape, np.concatenate(own)) for number, own in runs.items()}
