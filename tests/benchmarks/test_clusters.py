"""Clusters are matched to classes one to one, and k-means finds groups that are apart."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.clusters import k_means, matched_iou, of_cells
from napari_ld._types import Embedding


def test_clusters_are_matched_one_to_one() -> None:
    classes = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    assert matched_iou(np.array([5, 5, 5, 5, 3, 3, 9, 9]), classes) == 1.0
    assert matched_iou(np.zeros(8, int), classes) == pytest.approx(0.5 / 3)
    split = matched_iou(np.array([5, 5, 4, 4, 3, 3, 9, 9]), classes)  # half of the background is another cluster
    assert split == pytest.approx((0.5 + 1 + 1) / 3)


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
