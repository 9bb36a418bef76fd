"""Ridge logistic regression by Newton's method; deterministic, and quick for some dozens of features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Logistic", "fit_logistic"]

_STEPS = 12
_CLOSE = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Logistic:
    """A linear rule.

    Attributes
    ----------
    weights : (F,) float32 array
    offset : float
    """

    weights: npt.NDArray[np.float32]
    offset: float

    def __call__(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Log-odds of features (..., F)."""
        return np.asarray(features @ self.weights + np.float32(self.offset), np.float32)


def fit_logistic(
    features: npt.NDArray[np.float32],
    truth: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.float64],
    ridge: float,
) -> Logistic:
    """Fit log-odds.

    Parameters
    ----------
    features : (N, F) float32 array
        Brought to mean 0 and spread 1 before the fit.
    truth : (N,) bool array
        Both values must occur.
    weights : (N,) float64 array
        Of the rows.
    ridge : float
        Penalty on squared weights, relative to the sum of ``weights``.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    x = np.concatenate([(features - mean) / spread, np.ones((len(features), 1), np.float32)], axis=1).astype(np.float64)
    penalty = np.append(np.full(features.shape[1], ridge), 1e-9) * weights.sum()
    found = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        share = 1 / (1 + np.exp(-np.clip(x @ found, -30, 30)))
        slope = x.T @ (weights * (share - truth)) + penalty * found
        bend = (x * (weights * share * (1 - share))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(bend, slope)
        found -= step
        if np.abs(step).max() < _CLOSE:
            break
    scaled = found[:-1] / spread
    return Logistic(scaled.astype(np.float32), float(found[-1] - scaled @ mean))
