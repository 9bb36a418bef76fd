"""How far a mean could have come out otherwise with other images."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["bootstrap_interval"]


def bootstrap_interval(
    values: npt.ArrayLike,
    groups: Sequence[Hashable] | None = None,
    *,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of the mean, drawing whole groups with replacement.

    Values of one image are not independent of each other: drawing single values would make the interval too narrow.

    Parameters
    ----------
    values : (N,) array
        Finite.
    groups : sequence of N names, optional
        Usually the image of each value; each value is its own group by default.
    samples : int
        Number of draws.
    level : float
        Share of the draws inside the interval, above 0 and below 1.
    seed : int

    Returns
    -------
    (low, high) : float
        Both NaN without values.

    Raises
    ------
    ValueError
        For lengths that do not fit, values that are not finite or a level out of range.
    """
    x = np.asarray(values, np.float64)
    names = list(range(len(x))) if groups is None else list(groups)
    if x.ndim != 1 or len(names) != len(x):
        raise ValueError(f"{x.shape} values and {len(names)} groups: expected one group per value")
    if not np.isfinite(x).all():
        raise ValueError("values that are not finite: leave missing predictions out first")
    if not 0 < level < 1 or samples < 1:
        raise ValueError(f"level {level}, samples {samples}: expected a level between 0 and 1 and at least 1 sample")
    if len(x) == 0:
        return float("nan"), float("nan")
    number = {name: k for k, name in enumerate(dict.fromkeys(names))}
    which = np.array([number[name] for name in names])
    sums = np.bincount(which, x)
    counts = np.bincount(which).astype(np.float64)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(sums), size=(samples, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
