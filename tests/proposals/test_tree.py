"""Cuts of a merge tree against merging one by one."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ld.errors import RegionError
from napari_ld.proposals import RegionTree


def chain() -> RegionTree:
    """Four columns: 0 and 1 merge, then 2 and 3, then all."""
    labels = np.tile(np.arange(4, dtype=np.int32), (2, 1))
    return RegionTree(labels, np.array([[0, 1], [2, 3], [4, 5]], np.int32), np.array([1.0, 2.0, 5.0]))


@pytest.mark.parametrize(
    ("count", "row"), [(1, [1, 1, 1, 1]), (2, [1, 1, 2, 2]), (3, [1, 1, 2, 3]), (4, [1, 2, 3, 4]), (9, [1, 2, 3, 4])]
)
def test_cuts(count: int, row: list[int]) -> None:
    assert chain().cut(count)[0].tolist() == row


def test_walking_the_tree() -> None:
    tree = chain()
    assert tree.path(3) == [3, 5, 6]
    assert tree.leaves(5).tolist() == [2, 3]
    assert tree.mask(5)[0].tolist() == [False, False, True, True]
    assert tree.children(6) == (4, 5)
    assert tree.children(2) is None
    assert [tree.count_at(height) for height in (0.5, 1.0, 3.0, 9.0)] == [4, 3, 2, 1]


def test_a_tree_of_one_region() -> None:
    tree = RegionTree(np.zeros((2, 2), np.int32), np.zeros((0, 2), np.int32), np.zeros(0))
    assert tree.cut(1).tolist() == [[1, 1], [1, 1]]


def test_bad_input_is_named() -> None:
    with pytest.raises(RegionError, match="expected at least 1"):
        chain().cut(0)
    with pytest.raises(RegionError, match="there are 0 to 3"):
        chain().path(4)
