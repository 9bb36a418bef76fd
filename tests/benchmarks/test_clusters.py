"""Clusters are matched to classes one to one, and k-means finds groups that are apart."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.clusters import k_means, matched_iou, of_cells, overlaps, ratio_interval
from napari_ld._types import Embedding


def score(clusters: list[int], classes: list[int]) -> float:
    return matched_iou(overlaps([np.array(clusters)], [np.array(classes)]).sum(axis=0))


def test_clusters_are_matched_one_to_one() -> None:
    classes = [0, 0, 0, 0, 1, 1, 2, 2]
    assert score([5, 5, 5, 5, 3, 3, 9, 9], classes) == 1.0
    assert score([0] * 8, classes) == pytest.approx(0.5 / 3)
    # half of the background is another cluster
    assert score([5, 5, 4, 4, 3, 3, 9, 9], classes) == pytest.approx((0.5 + 1 + 1) / 3)


def test_overlaps_are_counted_image_by_image() -> None:
    found = overlaps([np.array([[0, 1]]), np.array([[1, 1]])], [np.array([[0, 7]]), np.array([[3, 7]])])
    assert found.tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 1, 1]]]


def test_the_interval_of_the_ratio_holds_it() -> None:
    good, poor = np.array([[[8.0, 0], [0, 2]]] * 5), np.array([[[4.0, 2], [4, 0]]] * 5)
    ratio, low, high = ratio_interval(good, poor, 50, 0)
    assert ratio == low == high == round(1 / matched_iou(poor[0]), 3) > 1


def test_k_means_is_learned_from_all_parts_together() -> None:
    random = np.random.default_rng(0)
    near, far = random.normal(0, 0.1, (50, 2)), random.normal(5, 0.1, (50, 2))
    parts = [np.concatenate([near, far]).astype(np.float32), far.astype(np.float32)]
    one, other = k_means(parts, 2, {"seed": 0, "clusters": {"sample": 80, "iterations": 10}})
    assert len(set(one[:50])) == len(set(one[50:])) == 1
    assert one[0] != one[-1]
    assert set(other) == {one[-1]}


def test_cells_are_spread_over_their_pixels() -> None:
    embedding = Embedding(np.zeros((3, 2, 2)), None, (0.5, 0.5), (2.0, 2.0), (4, 4))
    spread = of_cells(np.array([1, 2, 3, 4]), embedding, (4, 4))
    assert np.array_equal(spread, np.kron([[1, 2], [3, 4]], np.ones((2, 2), int)))
