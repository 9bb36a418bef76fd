"""The order in which regions are shown: best first by the learned score, those that the filters let through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_ld.proposals.ranking import Ranking
from napari_ld.proposals.regions import Decision, Region, Regions
from napari_ld.session.regions import RegionBook

_DECISIONS: dict[Decision, int] = {"undecided": 0, "accepted": 1, "rejected": 2}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which regions are listed.

    Attributes
    ----------
    decision : {"undecided", "accepted", "rejected"} or None
        Only those with this decision.
    min_score : float
        Learned score, 0 to 1.
    min_area, max_area : int or None
        Pixels, over all planes.
    label : int or None
        Only those of this class.
    plane : int or None
        Only those that touch this plane.
    """

    decision: Decision | None = "undecided"
    min_score: float = 0.0
    min_area: int | None = None
    max_area: int | None = None
    label: int | None = None
    plane: int | None = None


class Queue:
    """Ranked view of a :class:`RegionBook`.

    All columns are arrays in the order of the ranking, so that an order of thousands of regions costs a millisecond.
    """

    def __init__(self, book: RegionBook) -> None:
        self._book = book
        self.filter = Filter()
        self.rebuild()

    def rebuild(self) -> None:
        """Read the book anew: regions came or went."""
        items = self._book.items.values()
        rows = tuple(item.region for item in items)
        self._ranking = Ranking(Regions(tuple(_comparable(rows))))
        self._ids = np.array([region.id for region in rows], np.int64)
        self._row = {region.id: row for row, region in enumerate(rows)}
        self._area = np.array([region.area for region in rows], np.int64)
        self._planes = np.array([_extent(region) for region in rows], np.int64).reshape(-1, 2)
        self._label = np.array([region.label for region in rows], np.int64)
        self._decision = np.array([_DECISIONS[region.decision] for region in rows], np.int64)
        self._gone = np.array([item.gone for item in items], bool)
        self._settle()

    def update(self, ids: list[int]) -> None:
        """Take changed regions in; a decision moves those that are like it."""
        if any((one in self._row) != (one in self._book.items) for one in ids):
            self.rebuild()
            return
        for one in ids:
            if one in self._row:
                self._update(self._row[one], one)
        self._settle()

    def _update(self, row: int, one: int) -> None:
        item = self._book.items[one]
        region = item.region
        self._area[row], self._planes[row] = region.area, _extent(region)
        self._label[row], self._gone[row] = region.label, item.gone
        decision = _DECISIONS[region.decision]
        if decision != self._decision[row]:
            self._decision[row] = decision
            self._ranking.decide(one, None if decision == 0 else decision == 1)

    def _settle(self) -> None:
        self._scores = self._ranking.scores if len(self._ids) else np.zeros(0)
        self.refilter()

    def refilter(self, wanted: Filter | None = None) -> None:
        """List by another filter."""
        self.filter = wanted or self.filter
        f = self.filter
        keep = ~self._gone & (self._scores >= f.min_score)
        if f.decision is not None:
            keep &= self._decision == _DECISIONS[f.decision]
        if f.min_area is not None:
            keep &= self._area >= f.min_area
        if f.max_area is not None:
            keep &= self._area <= f.max_area
        if f.label is not None:
            keep &= self._label == f.label
        if f.plane is not None:
            keep &= (self._planes[:, 0] <= f.plane) & (f.plane < self._planes[:, 1])
        rows = np.flatnonzero(keep)
        self._rows = rows[np.argsort(-self._scores[rows], kind="stable")]
        self.order = self._ids[self._rows]
        self._place = {int(one): place for place, one in enumerate(self.order)}

    def __len__(self) -> int:
        return len(self.order)

    def place(self, one: int | None) -> int:
        """Where a region stands in the list; -1 when it is not listed."""
        return self._place.get(one, -1) if one is not None else -1

    def score(self, one: int) -> float:
        """Learned score of a region, 0 to 1."""
        return float(self._scores[self._row[one]])

    def scores(self) -> npt.NDArray[np.float64]:
        """Learned scores of all undecided regions, whatever the filter, for the histogram."""
        return np.asarray(self._scores[~self._gone & (self._decision == 0)])

    def is_open(self, one: int) -> bool:
        """Whether a region is still to be decided."""
        row = self._row.get(one)
        return row is not None and not self._gone[row] and self._decision[row] == 0

    def above(self, score: float) -> list[int]:
        """Undecided listed regions of at least this score, the best last, so that it ends up on top."""
        return [int(one) for one in self._ids[self._open_rows(score)][::-1]]

    def count_above(self, score: float) -> int:
        """How many regions :meth:`above` finds."""
        return len(self._open_rows(score))

    def _open_rows(self, score: float) -> npt.NDArray[np.int64]:
        rows = self._rows
        return np.asarray(rows[(self._decision[rows] == 0) & (self._scores[rows] >= score)])

    def open_ids(self) -> Iterator[int]:
        """Listed undecided regions, best first."""
        return (int(one) for one in self._ids[self._rows[self._decision[self._rows] == 0]])

    def on_plane(self, plane: int) -> list[Region]:
        """Regions in the queue, listed or not, that touch a plane."""
        rows = ~self._gone & (self._planes[:, 0] <= plane) & (plane < self._planes[:, 1])
        found = (self._book.items[int(one)].region for one in self._ids[rows])
        return [region for region in found if plane in region.planes]


def _comparable(rows: tuple[Region, ...]) -> Iterator[Region]:
    """Regions with embeddings of one length: those of another encoder than most were made by are like none."""
    size = Counter(len(region.embedding) for region in rows).most_common(1)[0][0] if rows else 0
    none = np.zeros(size, np.float32)
    return (region if len(region.embedding) == size else replace(region, embedding=none) for region in rows)


def _extent(region: Region) -> tuple[int, int]:
    planes = region.mask.runs[:, 0]
    return (int(planes[0]), int(planes[-1]) + 1) if len(planes) else (0, 0)
