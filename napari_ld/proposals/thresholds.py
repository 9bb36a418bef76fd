"""Where a map of log-odds is cut: the level learned on the example."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["best_dice_level"]

Array = npt.NDArray[np.float32]


def best_dice_level(odds: Array, truth: npt.NDArray[np.bool_]) -> float:
    """Level above which the pixels overlap best (Dice) with the truth; ties go to the lowest."""
    order = np.argsort(-odds, kind="stable")
    hits = np.cumsum(truth[order])
    dice = 2 * hits / (np.arange(1, len(order) + 1) + truth.sum())
    best = int(np.flatnonzero(dice == dice.max())[-1])
    below = odds[order[min(best + 1, len(order) - 1)]]
    return float((odds[order[best]] + below) / 2)
