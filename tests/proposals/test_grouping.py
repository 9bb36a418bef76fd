"""Groups of points: seeds, k-means and merging, on arrays whose answer is known."""

from __future__ import annotations

import numpy as np

from napari_ld.proposals.grouping import joined_groups, k_means, nearest, spread_seeds
from napari_ld.proposals.merging import Edges

NO_EDGES = Edges(np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(0))


def test_seeds_are_the_farthest_by_weight_and_never_twice() -> None:
    points = np.array([[0.0], [1.0], [5.0], [9.0], [9.0]])
    first = np.array([[0.0]])
    assert spread_seeds(points, np.ones(5), first, 3).tolist() == [[0], [9], [5]]
    assert spread_seeds(points, np.array([1, 1, 100, 1, 1.0]), first, 2).tolist() == [[0], [5]]
    assert len(spread_seeds(points, np.ones(5), first, 10)) == 4
    assert spread_seeds(points, np.ones(5), points[:3], 2).tolist() == [[0], [1]]


def test_nearest_centres_and_squared_distances() -> None:
    labels, squared = nearest(np.array([[0.0, 1.0], [3.0, 3.0]]), np.array([[0.0, 0.0], [3.0, 4.0]]))
    assert labels.tolist() == [0, 1]
    assert squared.tolist() == [[1, 18], [18, 1]]


def test_k_means_weighs_points_and_drops_empty_groups() -> None:
    points = np.array([[0.0], [2.0], [10.0]])
    labels, centres = k_means(points, np.array([3.0, 1.0, 1.0]), np.array([[1.0], [9.0], [500.0]]), 10)
    assert labels.tolist() == [0, 0, 1]
    assert centres.tolist() == [[0.5], [10.0]]


def test_near_groups_are_merged_whatever_their_size_and_the_largest_comes_first() -> None:
    points = np.array([[0.0], [1.0], [5.0]])
    labels = np.arange(3)
    merged = joined_groups(points, np.array([500.0, 500.0, 1.0]), labels, NO_EDGES, 2, edge=0, size_power=0)
    assert merged.tolist() == [0, 0, 1]
    merged = joined_groups(points, np.array([1.0, 1.0, 500.0]), labels, NO_EDGES, 2, edge=0, size_power=0)
    assert merged.tolist() == [1, 1, 0]
    assert joined_groups(points, np.ones(3), labels, NO_EDGES, 5, edge=0, size_power=0).tolist() == [0, 1, 2]


def test_a_strong_edge_keeps_groups_apart() -> None:
    points = np.array([[0.0], [1.0], [2.2]])
    edges = Edges(np.array([[0, 1], [1, 2]]), np.array([100.0, 100.0]), np.array([300.0, 10.0]))
    merged = joined_groups(points, np.ones(3), np.arange(3), edges, 2, edge=1, size_power=0)
    assert merged[1] == merged[2] != merged[0]
