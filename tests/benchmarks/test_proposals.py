"""Measures of regions on maps whose quality is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.proposals import above, at_count, measure


def test_perfect_and_useless_regions() -> None:
    truth = np.zeros((20, 20), int)
    truth[:, 10:] = 1
    recall, pixels, leak, accuracy = measure(truth + 5, truth, 2)
    assert (recall, pixels, leak, accuracy) == (1.0, 40.0, 0.0, 1.0)
    assert measure(np.zeros((20, 20), int), truth, 2) == (0.0, 0.0, 0.5, 0.5)


def test_recall_within_the_tolerance() -> None:
    truth, shifted = np.zeros((20, 20), int), np.zeros((20, 20), int)
    truth[:, 10:], shifted[:, 13:] = 1, 1
    recall, _, leak, accuracy = measure(shifted, truth, 2)
    assert recall == 1.0
    assert leak == pytest.approx(3 / 20)
    assert accuracy == pytest.approx(17 / 20)


def test_parameter_for_a_number_of_regions() -> None:
    labels = at_count(lambda size: np.arange(1024) // int(size), 64, 0, 10)
    assert len(np.unique(labels)) == pytest.approx(64, rel=0.05)


def test_the_difference_of_an_image_without_boundary_is_left_out() -> None:
    assert above([0.5, float("nan"), 0.7], [0.4, 0.9, 0.6], 50, 0) == pytest.approx([0.1, 0.1, 0.1])
