"""Where a map of log-odds is cut: the level learned on the example, moved to where the searched image divides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["best_dice_level", "own_level"]

Array = npt.NDArray[np.float32]

_LEVELS = 48
_CONTOUR = 1.0  # weight of steep contours, against 1 for the separation of the two sides
_AREA_SPREAD = 2.0  # in natural logarithms: an area e times that of the example is half a unit away
_LEVEL_SPREAD = 6.0  # in log-odds


def best_dice_level(odds: Array, truth: npt.NDArray[np.bool_]) -> float:
    """Level above which the pixels overlap best (Dice) with the truth; ties go to the lowest."""
    order = np.argsort(-odds, kind="stable")
    hits = np.cumsum(truth[order])
    dice = 2 * hits / (np.arange(1, len(order) + 1) + truth.sum())
    best = int(np.flatnonzero(dice == dice.max())[-1])
    below = odds[order[min(best + 1, len(order) - 1)]]
    return float((odds[order[best]] + below) / 2)


def own_level(odds: Array, level: float, share: float, within: npt.NDArray[np.bool_] | None = None) -> float:
    """Level for one image: where its map is steepest along the contour and divides it best (Otsu).

    Parameters
    ----------
    odds : (rows, columns) float32 array
        Smooth map of log-odds.
    level : float
        That of the example; far from it is less likely.
    share : float
        Part of the image that the example covers; very different ones are less likely.
    within : (rows, columns) bool array, optional
        Pixels that count; all by default.
    """
    within = np.ones(odds.shape, bool) if within is None else within
    flat = np.sort(odds[within]).astype(np.float64)
    low_end, high_end = np.quantile(flat, [0.05, 0.998])
    levels = np.linspace(float(low_end), float(high_end), _LEVELS)
    total = flat.var()
    if not total > 0 or not levels[-1] > levels[0]:
        return level
    steep = _steepness(odds, levels, within)
    below = np.clip(np.searchsorted(flat, levels, side="right"), 1, len(flat) - 1)
    sums = np.cumsum(flat)
    low, high = sums[below - 1] / below, (sums[-1] - sums[below - 1]) / (len(flat) - below)
    part = 1 - below / len(flat)
    separation = part * (1 - part) * (high - low) ** 2 / total
    quality = _CONTOUR * np.log(steep + 1e-3) + np.log(separation + 1e-6)
    area = part * within.mean()
    quality -= (np.log(area / share) / _AREA_SPREAD) ** 2 / 2 + ((levels - level) / _LEVEL_SPREAD) ** 2 / 2
    return float(levels[quality.argmax()])


def _steepness(odds: Array, levels: npt.NDArray[np.float64], within: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Mean gradient of the map where it is close to each level, relative to the largest."""
    slope = np.hypot(*np.gradient(odds))[within]
    width = levels[1] - levels[0]
    place = np.floor((odds[within] - levels[0]) / width).astype(np.int64) + 1
    place = np.clip(place, 0, len(levels))
    count = np.bincount(place, minlength=len(levels) + 1).astype(np.float64)
    summed = np.bincount(place, slope, len(levels) + 1)
    mean = (summed[:-1] + summed[1:]) / np.maximum(count[:-1] + count[1:], 1)
    mean[0] = 0  # the lowest bin holds everything below as well
    return np.asarray(mean / max(mean.max(), 1e-9))
