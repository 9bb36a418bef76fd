"""Distances between predicted and true landmarks."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_ld.evaluation.bootstrap import bootstrap_interval

__all__ = ["RadialSummary", "radial_errors", "success_rate", "summarize"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RadialSummary:
    """Errors of one set of predictions; lengths in the unit of the errors.

    Attributes
    ----------
    mean : float
        Mean radial error (MRE) of the predictions that were made.
    median : float
    interval : (low, high)
        Bootstrap interval of the mean over images.
    success : dict of float to float
        Success detection rate (SDR): threshold to percentage of all landmarks, where a missing prediction fails.
    count : int
        Landmarks with a truth.
    missing : int
        Landmarks for which no position was predicted.
    """

    mean: float
    median: float
    interval: tuple[float, float]
    success: dict[float, float]
    count: int
    missing: int


def radial_errors(predicted: npt.ArrayLike, truth: npt.ArrayLike, unit: npt.ArrayLike = 1.0) -> Array:
    """Euclidean distance of each prediction from the truth.

    Parameters
    ----------
    predicted, truth : (N, 2) array
        (row, column) in pixels; NaN where no position was predicted.
    unit : float, (2,) or (N, 2) array
        Length of one pixel along (row, column), for instance the spacing in millimetres.

    Returns
    -------
    (N,) float64 array
        NaN where no position was predicted.

    Raises
    ------
    ValueError
        When the shapes do not fit.
    """
    found, true = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if found.shape != true.shape or found.ndim != 2 or found.shape[1] != 2:
        raise ValueError(
            f"predicted {found.shape} and truth {true.shape}: expected two arrays of the same shape (N, 2)"
        )
    distance = (found - true) * np.asarray(unit, np.float64)
    return np.asarray(np.hypot(distance[:, 0], distance[:, 1]), np.float64)


def success_rate(errors: npt.ArrayLike, threshold: float) -> float:
    """Percentage of errors of at most ``threshold``; NaN (no prediction) fails."""
    values = np.asarray(errors, np.float64)
    if values.size == 0:
        return float("nan")
    return float(np.mean(np.nan_to_num(values, nan=np.inf) <= threshold) * 100)


def summarize(
    errors: npt.ArrayLike,
    images: Sequence[Hashable],
    thresholds: Sequence[float],
    *,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> RadialSummary:
    """Summarise errors whose uncertainty comes from the choice of images.

    Parameters
    ----------
    errors : (N,) array
        From :func:`radial_errors`.
    images : sequence of N names
        Image of each error; the landmarks of one image are drawn together.
    thresholds : sequence of float
        For the success rates.
    samples, level, seed
        See :func:`napari_ld.evaluation.bootstrap_interval`.
    """
    values = np.asarray(errors, np.float64)
    known = np.isfinite(values)
    found = values[known]
    groups = [image for image, there in zip(images, known, strict=True) if there]
    rates = {float(threshold): success_rate(values, threshold) for threshold in thresholds}
    if found.size == 0:
        nan = float("nan")
        return RadialSummary(nan, nan, (nan, nan), rates, len(values), len(values))
    interval = bootstrap_interval(found, groups, samples=samples, level=level, seed=seed)
    missing = int(len(values) - len(found))
    return RadialSummary(float(found.mean()), float(np.median(found)), interval, rates, len(values), missing)
