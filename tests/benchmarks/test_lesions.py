"""Measures of found structures on maps whose quality is known, and the files that results are gathered in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.lesions import average_precision, click_in, dice, error_ratio, recalls
from benchmarks.machine import write_part


def test_dice_and_average_precision() -> None:
    truth = np.array([[True, True, False, False]])
    assert dice(truth, truth) == 1.0
    assert dice(truth, ~truth) == 0.0
    assert average_precision(np.array([[4.0, 3.0, 2.0, 1.0]]), truth) == 1.0
    assert average_precision(np.array([[4.0, 1.0, 3.0, 2.0]]), truth) == pytest.approx((1 + 2 / 4) / 2)


def test_click_lies_deep_in_the_largest_structure() -> None:
    truth = np.zeros((30, 30), bool)
    truth[2:4, 2:4] = truth[10:21, 8:19] = True
    assert click_in(truth) == (15.0, 13.0)


def test_recall_counts_structures_within_the_first_proposals() -> None:
    truth = np.zeros((20, 20), bool)
    truth[1:6, 1:6] = truth[10:15, 10:15] = True
    truth[18, 18] = True  # too small to count
    first, second, third = (np.zeros_like(truth) for _ in range(3))
    first[8:9] = True
    second[1:6, 1:5] = True
    third[10:15, 10:15] = True
    found = recalls([first, second, third], truth, (1, 2, 3), 0.5, 4)
    assert found == [0.0, 0.5, 1.0]
    assert np.isnan(recalls([first], np.zeros_like(truth), (1,), 0.5, 4)).all()


def test_ratio_of_errors_is_paired() -> None:
    ours = [np.zeros(0), np.array([0.8]), np.array([0.6]), np.array([0.9])]
    other = [np.zeros(0), np.array([0.6]), np.array([0.2]), np.array([0.8])]
    assert error_ratio(ours, other, 200, 0) == pytest.approx((0.5, 0.5, 0.5))


def test_slices_are_gathered_in_one_file(tmp_path: Path) -> None:
    path = str(tmp_path / "results.json")
    write_part(path, {"seed": 0}, "lesions", [{"structure": "disc", "way": "click", "ours": 1}], ("structure", "way"))
    write_part(path, {"seed": 0}, "other", [{"set": "x"}], ("set",))
    more = [{"structure": "disc", "way": "click", "ours": 2}, {"structure": "skin", "way": "click", "ours": 3}]
    write_part(path, {"seed": 0}, "lesions", more, ("structure", "way"))
    content = json.loads(Path(path).read_text())
    assert [row["ours"] for row in content["lesions"]] == [2, 3]
    assert [row["set"] for row in content["other"]] == ["x"]
    assert all(row["commit"] for row in content["lesions"])
