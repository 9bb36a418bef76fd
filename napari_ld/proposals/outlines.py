"""An outline around a clicked point: the region of the hierarchy that stands out most."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_ld._types import Position
from napari_ld.proposals.evidence import PlaneEvidence
from napari_ld.proposals.hierarchy import STRUCTURES, tree_of

__all__ = ["outline_of"]

_LARGEST = 0.25  # part of the plane that an outline covers at most
_SMALLEST = 4  # pixels
_SIZE_COST = 0.1  # of a region e times as large, in natural logarithms of the ratio


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
    rows, columns = evidence.shape
    row = min(max(round(position[0]), 0), rows - 1)
    column = min(max(round(position[1]), 0), columns - 1)
    leaf = int(tree.labels[row, column])
    size = np.bincount(tree.labels.reshape(-1), minlength=tree.n_leaves)
    away = tree.merge_heights
    best, best_value = leaf, -np.inf
    for node in tree.path(leaf)[:-1]:
        area = int(size[tree.leaves(node)].sum())
        if area > _LARGEST * rows * columns:
            break
        own = 0.0 if node < tree.n_leaves else float(tree.heights[node - tree.n_leaves])
        value = float(np.log((away[node] + 1e-9) / (own + 1e-3))) - _SIZE_COST * float(np.log(area))
        if area >= _SMALLEST and value > best_value and node >= tree.n_leaves:
            best, best_value = node, value
    return tree.mask(best)
