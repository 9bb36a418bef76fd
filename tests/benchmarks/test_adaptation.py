"""Rows of the benchmark of adaptation from errors that are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.adaptation import METHODS, Trial, row_of, table, trial
from benchmarks.data import load_settings, phantom_set, subset
from napari_ld.model.checkpoint import load_model
from napari_ld.model.zoo import DEFAULT_ENCODER, resolve


def known(names: tuple[str, ...], before: float, adapted: float) -> Trial:
    value = {"before": before, "adapted, no corrections": before, "examples": before, "adapted": adapted}
    return Trial(names, {k: np.full((len(names), 2), v) for k, v in value.items()}, {"examples": 1.0, "adapted": 3.5})


def test_rows_pool_the_folds_and_the_table_their_templates() -> None:
    settings = load_settings()
    data = phantom_set("phantom", settings["sets"]["phantom"], 0)
    rows = [
        row_of(data, "out of fold", "0", [known(("1", "2"), 2.0, 1.0), known(("3", "4"), 4.0, 2.0)]),
        row_of(data, "out of fold", "1", [known(("2", "3"), 1.0, 1.0)]),
    ]
    assert rows[0]["before, mean"] == 3.0
    assert rows[0]["adapted by before"] == 0.5
    assert rows[0]["interval"][0] <= 0.5 <= rows[0]["interval"][1]
    assert rows[0]["seconds"] == 2.5
    lines = table(rows).splitlines()
    assert len(lines) == 2 + 3
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    assert "| phantom, out of fold, mean | 2.00 / 2.00" in lines[-1]
    assert "| 0.62 |" in lines[-1]  # the mean error of both templates fell from 2 to 1.25


def test_corrected_planes_are_not_counted() -> None:
    settings = load_settings()
    data = phantom_set("phantom", settings["sets"]["phantom"], 0)
    small = subset(data, ["0", "1", "2", "3"])
    found = trial(load_model(resolve(DEFAULT_ENCODER)), small, "0", ["1", "2", "3"], 1)
    assert len(found.names) == 2
    assert set(found.errors) == set(METHODS)
    assert all(errors.shape == (2, len(data.landmarks)) for errors in found.errors.values())
    assert np.median(found.errors["adapted"]) == pytest.approx(0, abs=2)  # % of the height
