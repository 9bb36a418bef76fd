"""Other labels for some pixels: what a refiner changes, and what undo brings back in a person's own layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Repaint:
    """Pixels of one plane that change their labels.

    Attributes
    ----------
    plane : int
    pixels : (N,) int64 array
        Counted row by row, ascending.
    before, after : (N,) integer arrays
        Labels.
    """

    plane: int
    pixels: npt.NDArray[np.int64]
    before: Values
    after: Values

    @classmethod
    def between(cls, plane: int, before: Values, after: Values, corner: tuple[int, int], columns: int) -> Repaint:
        """Repaint from one label map (rows, columns) to another; both begin at ``corner`` of a plane of ``columns``."""
        rows, places = np.nonzero(before != after)
        pixels = (rows + corner[0]).astype(np.int64) * columns + places + corner[1]
        return cls(plane, pixels, before[rows, places], after[rows, places])

    @property
    def inverse(self) -> Repaint:
        """Repaint that takes this one back."""
        return replace(self, before=self.after, after=self.before)

    @property
    def size(self) -> int:
        """Bytes, about."""
        return int(self.pixels.nbytes + self.before.nbytes + self.after.nbytes)


@dataclass(frozen=True, slots=True, eq=False)
class LayerChange:
    """Pixels of a person's own Labels layer, known by a number, that change their labels in one step."""

    key: int
    planes: tuple[Repaint, ...]

    @property
    def inverse(self) -> LayerChange:
        """Change that takes this one back."""
        return LayerChange(self.key, tuple(part.inverse for part in self.planes))

    @property
    def size(self) -> int:
        """Bytes, about."""
        return 100 + sum(part.size for part in self.planes)
