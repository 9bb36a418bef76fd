"""The order of the queue, learned from the decisions: rejected regions lower their like, accepted ones raise it.

Every decision adds a bump around the decided region's embedding to the log-odds of all others (a kernel density of
accepted over rejected; reconstruction). Nothing is trained, so one more decision costs one product of a matrix with a
vector, and taking it back costs the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_ld.errors import RegionError
from napari_ld.proposals.regions import Regions

__all__ = ["Ranking"]

_WIDTH = 0.15  # cosine distance at which a decision has lost 63 % of its weight
_WEIGHT = 2.0  # log-odds that one decision adds to its exact like
_LIMIT = 6.0  # log-odds beyond this are saturated
_CHUNK = 64  # decisions that are counted in one product of matrices
_SIZE_WIDTH = 1.0  # in natural logarithms of the area: regions e times as large are less alike


class Ranking:
    """Scores of a table of regions after the decisions made so far.

    Parameters
    ----------
    regions : Regions
        Decisions that it already holds count.
    """

    def __init__(self, regions: Regions) -> None:
        self._ids = regions.ids
        self._row = {int(one): row for row, one in enumerate(self._ids)}
        vectors = regions.embeddings.astype(np.float32)
        norm = np.linalg.norm(vectors, axis=1, keepdims=True)
        self._vectors = vectors / np.maximum(norm, 1e-10)
        self._log_area = np.log(np.maximum(regions.areas, 1))
        clipped = np.clip(regions.scores, 1e-3, 1 - 1e-3)
        self._prior = np.log(clipped / (1 - clipped))
        self._votes = np.zeros(len(self._ids))
        self._given: dict[int, float] = {}
        decided = [row for row, region in enumerate(regions) if region.decision != "undecided"]
        for first in range(0, len(decided), _CHUNK):
            rows = decided[first : first + _CHUNK]
            given = np.array([_WEIGHT if regions[row].decision == "accepted" else -_WEIGHT for row in rows])
            self._votes += given @ self._likeness(rows)
            self._given |= dict(zip(self._ids[rows].tolist(), given.tolist(), strict=True))

    def decide(self, region_id: int, accepted: bool | None) -> None:
        """Count a decision; None takes it back, a new one replaces the old one.

        Raises
        ------
        RegionError
            When there is no such region.
        """
        if region_id not in self._row:
            raise RegionError(f"there is no region {region_id} in this ranking; make a new one when regions change")
        row = self._row[region_id]
        wanted = 0.0 if accepted is None else (_WEIGHT if accepted else -_WEIGHT)
        change = wanted - self._given.get(region_id, 0.0)
        if change:
            self._votes += change * self._likeness([row])[0]
        self._given[region_id] = wanted

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """``(N,)`` learned scores in (0, 1), in the order of the table; equal to the priors before any decision."""
        odds = self._prior + np.clip(self._votes, -_LIMIT, _LIMIT)
        return np.asarray(1 / (1 + np.exp(-odds)))

    def order(self) -> npt.NDArray[np.int64]:
        """Ids by learned score, best first; ties in the order of the table."""
        return self._ids[np.argsort(-self.scores, kind="stable")]

    def _likeness(self, rows: list[int]) -> npt.NDArray[np.float64]:
        """``(len(rows), N)``: how alike all regions are to some, in [0, 1]."""
        cosines = self._vectors[rows] @ self._vectors.T if self._vectors.shape[1] else np.ones((1, 1), np.float32)
        size = (self._log_area - self._log_area[rows][:, None]) / _SIZE_WIDTH
        return np.asarray(np.exp(-np.maximum(1 - cosines, 0) / _WIDTH - size**2 / 2), np.float64)
