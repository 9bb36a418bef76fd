"""Agreement of masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["dice"]


def dice(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Dice coefficient ``2 |A and B| / (|A| + |B|)`` of two masks of one shape; 1 when both are empty.

    Values other than 0 count as inside.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    first, second = np.asarray(a) != 0, np.asarray(b) != 0
    if first.shape != second.shape:
        raise ValueError(f"masks of shapes {first.shape} and {second.shape}: expected the same shape")
    total = int(first.sum()) + int(second.sum())
    return 1.0 if total == 0 else 2.0 * int((first & second).sum()) / total
