"""The figures about confidence, on answers whose quality is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.confidence import auroc, fit, row_of


def made_up(seed: int, n: int = 4000) -> np.ndarray:
    """Answers whose errors follow exp(3 - 4 level + spread / 2), up to exponential noise."""
    rng = np.random.default_rng(seed)
    level, margin = rng.uniform(0.2, 1, n), rng.uniform(0, 0.2, n)
    spread = rng.uniform(0, 2, n)
    error = rng.exponential(np.exp(3 - 4 * level + spread / 2))
    return np.stack([level, margin, spread, error, error, error, (level > 0.7).astype(float)], axis=1)


def test_fit_finds_the_law() -> None:
    model = fit([made_up(0), made_up(1)], "fine")
    assert model.intercept_ == pytest.approx(3, abs=0.25)
    assert model.coef_ == pytest.approx([-4, 0, 0.5], abs=0.5)
    assert len(fit([made_up(0)], "coarse").coef_) == 2


def test_auroc_by_counting_pairs() -> None:
    flag, wrong = np.array([0.1, 0.4, 0.35, 0.8, 0.35]), np.array([False, False, True, True, False])
    pairs = [(a > b) + 0.5 * (a == b) for a in flag[wrong] for b in flag[~wrong]]
    assert auroc(flag, wrong) == pytest.approx(np.mean(pairs))
    assert np.isnan(auroc(flag, np.zeros(5, bool)))


def test_row_of_a_well_calibrated_set() -> None:
    row = row_of("made up", made_up(2), [made_up(3)], limit=5.0)
    assert row["auroc"] > 0.7
    assert all(0.6 < ratio < 1.6 for ratio in row["expected_by_real_error_per_decile"])
    assert row["wrong_if_confident"] < row["wrong_if_not"]
    surest = row["wrong_among_the_surest_25_50_75_100_percent"]
    assert surest[0] < surest[-1]
