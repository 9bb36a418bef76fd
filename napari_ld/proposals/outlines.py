"""Outlines around a clicked point: the regions of the hierarchy that stand out most."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_ld._types import Position
from napari_ld.proposals.evidence import PlaneEvidence
from napari_ld.proposals.hierarchy import STRUCTURES, tree_of
from napari_ld.proposals.tree import RegionTree

__all__ = ["outline_of", "outlines_at"]

_LARGEST = 0.25  # part of the plane that an outline covers at most
_LARGEST_OFFER = 0.75  # the same where a person chooses among several
_SMALLEST = 4  # pixels
_SIZE_COST = 0.1  # of a region e times as large, in natural logarithms of the ratio
_OTHER_SIZE = 1.3  # ratio of areas from which on two nested outlines are worth a choice


def outline_of(evidence: PlaneEvidence, position: Position) -> npt.NDArray[np.bool_]:
    """Outline a clicked structure.

    Of the nested regions that hold the click, the one whose merging with its surroundings costs most compared with
    what its own parts cost to merge; of equals the smaller one.

    Parameters
    ----------
    evidence : PlaneEvidence
    position : (row, column)
        In pixels.

    Returns
    -------
    (rows, columns) bool array
        Holds the click.
    """
    tree = tree_of(evidence, STRUCTURES)
    leaf, found = _standing_out(tree, position, _LARGEST)
    return tree.mask(found[0][1] if found else leaf)


def outlines_at(tree: RegionTree, position: Position, count: int) -> list[npt.NDArray[np.bool_]]:
    """Several nested outlines of a clicked structure to choose from, the one that stands out most first.

    Parameters
    ----------
    tree : RegionTree
        Made with :data:`napari_ld.proposals.hierarchy.STRUCTURES`.
    position : (row, column)
        In pixels.
    count : int
        At most; their areas differ by a third or more.

    Returns
    -------
    list of (rows, columns) bool arrays
        At least one; all hold the click.
    """
    leaf, found = _standing_out(tree, position, _LARGEST_OFFER)
    chosen: list[tuple[int, int]] = []
    for _, node, area in found:
        if all(max(area, other) >= _OTHER_SIZE * min(area, other) for _, other in chosen):
            chosen.append((node, area))
        if len(chosen) == count:
            break
    return [tree.mask(node) for node, _ in chosen] or [tree.mask(leaf)]


def _standing_out(tree: RegionTree, position: Position, largest: float) -> tuple[int, list[tuple[float, int, int]]]:
    """Finest region at a position, and (value, node, area) of those made of it, the best first."""
    rows, columns = tree.labels.shape
    row = min(max(round(position[0]), 0), rows - 1)
    column = min(max(round(position[1]), 0), columns - 1)
    leaf = int(tree.labels[row, column])
    size = np.bincount(tree.labels.reshape(-1), minlength=tree.n_leaves)
    away = tree.merge_heights
    found = []
    for node in tree.path(leaf)[1:-1]:
        area = int(size[tree.leaves(node)].sum())
        if area > largest * rows * columns:
            break
        value = float(np.log((away[node] + 1e-9) / (float(tree.heights[node - tree.n_leaves]) + 1e-3)))
        if area >= _SMALLEST:
            found.append((value - _SIZE_COST * float(np.log(area)), node, area))
    return leaf, sorted(found, key=lambda one: -one[0])
