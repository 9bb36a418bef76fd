"""Metrics against values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_ld.evaluation import bootstrap_interval, dice, radial_errors, success_rate, summarize


def test_radial_errors_use_the_spacing_of_each_axis() -> None:
    predicted = [[3.0, 4.0], [0.0, 1.0], [math.nan, math.nan]]
    truth = [[0.0, 0.0], [0.0, 0.0], [5.0, 5.0]]
    np.testing.assert_allclose(radial_errors(predicted, truth), [5.0, 1.0, math.nan])
    np.testing.assert_allclose(radial_errors(predicted, truth, (2.0, 0.5)), [math.hypot(6, 2), 0.5, math.nan])


def test_radial_errors_refuse_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"expected two arrays of the same shape \(N, 2\)"):
        radial_errors([[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]])


def test_success_rate_counts_a_missing_prediction_as_failure() -> None:
    assert success_rate([1.0, 2.0, 3.0, math.nan], 2.0) == 50.0
    assert math.isnan(success_rate([], 2.0))


def test_summary_by_hand() -> None:
    summary = summarize([1.0, 3.0, 5.0, math.nan], ["a", "a", "b", "b"], [2.0, 4.0])
    assert (summary.mean, summary.median, summary.count, summary.missing) == (3.0, 3.0, 4, 1)
    assert summary.success == {2.0: 25.0, 4.0: 50.0}
    # Drawing two of the images {a: 1, 3} and {b: 5} gives the means 2, 3 and 5.
    assert summary.interval == (2.0, 5.0)


def test_summary_without_predictions_is_nan() -> None:
    summary = summarize([math.nan], ["a"], [2.0])
    assert math.isnan(summary.mean)
    assert (summary.missing, summary.success) == (1, {2.0: 0.0})


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.integers(0, 5))
def test_interval_lies_within_the_values_and_repeats(values: list[float], seed: int) -> None:
    low, high = bootstrap_interval(values, samples=50, seed=seed)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert (low, high) == bootstrap_interval(values, samples=50, seed=seed)


def test_values_of_one_image_are_drawn_together() -> None:
    values, rng = [], np.random.default_rng(0)
    for level in rng.normal(0, 1, 20):
        values += [level] * 10
    together = bootstrap_interval(values, [k // 10 for k in range(200)])
    alone = bootstrap_interval(values)
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


@pytest.mark.parametrize(
    ("values", "groups", "level", "message"),
    [
        ([1.0], ["a", "b"], 0.95, "one group per value"),
        ([math.nan], ["a"], 0.95, "not finite"),
        ([1.0], ["a"], 1.0, "level between 0 and 1"),
    ],
)
def test_interval_refuses(values: list[float], groups: list[str], level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, groups, level=level)


def test_interval_of_nothing() -> None:
    assert all(math.isnan(bound) for bound in bootstrap_interval([]))


def test_dice() -> None:
    a = np.array([[1, 1], [0, 0]])
    b = np.array([[0, 3], [3, 0]])
    assert dice(a, b) == 0.5
    assert dice(a, a) == 1.0
    assert dice(a, 1 - a) == 0.0
    assert dice(a * 0, a * 0) == 1.0
    with pytest.raises(ValueError, match="expected the same shape"):
        dice(a, a[:1])
