"""Masks made worse as strongly as asked, and the sums of the benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.degradations import DEGRADATIONS, degraded, mean_dice
from benchmarks.refinement import baselines, summary
from napari_ld._types import Image


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    rows, columns = np.ogrid[:100, :100]
    far = np.hypot(rows - 50, columns - 48)
    return np.where(far < 14, 9, np.where(far < 30, 4, 0))


@pytest.mark.parametrize("kind", list(DEGRADATIONS))
def test_as_bad_as_asked(kind: str, truth: np.ndarray) -> None:
    found = degraded(truth, kind, 0.8, seed=0)
    assert mean_dice(found, truth) == pytest.approx(0.8, abs=0.06)
    assert set(np.unique(found)) <= {0, 4, 9}
    np.testing.assert_array_equal(found, degraded(truth, kind, 0.8, seed=0))


def test_baselines_keep_label_values(truth: np.ndarray) -> None:
    pixels = (100 + 12 * truth + np.random.default_rng(0).normal(0, 3, truth.shape)).clip(0, 255).astype(np.uint8)
    rough = np.roll(truth, 2, 0)
    for name, method in baselines(Image(pixels, "yx")).items():
        found = method(rough)
        assert set(np.unique(found)) == {0, 4, 9}, name
        assert mean_dice(found, truth) > mean_dice(rough, truth), name


def test_summary() -> None:
    pairs = ((0.8, 0.9), (0.8, 0.7), (0.8, 0.795), (0.8, 0.8))
    rows = [
        {"set": "a", "kind": "shift", "method": "m", "before": before, "after": after, "seconds": 1.0}
        for before, after in pairs
    ]
    (found,) = summary(rows, loss=0.01)
    assert (found["cases"], found["worse"], found["seconds"]) == (4, 0.25, 1.0)
    assert found["gain"] == pytest.approx(-0.00125, abs=1e-4)
