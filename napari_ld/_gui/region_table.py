"""The list of regions: a model of thousands of rows that is asked only for those in sight."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QModelIndex, Qt

from napari_ld._gui.tables import Columns
from napari_ld._gui.thumbnails import Thumbnails
from napari_ld.proposals.regions import Decision, Region
from napari_ld.session import Session

MARKS: dict[Decision, str] = {"undecided": "–", "accepted": "✓", "rejected": "✗"}
_ROOT = QModelIndex()


class RegionModel(Columns):
    """One row per listed region: picture, score, area, planes, class and decision."""

    HEADERS = ("region", "score", "area", "plane", "class")
    TIPS = (
        "click to look at it",
        "how likely it is wanted, 0 to 1; learned from what you accept and reject",
        "mm² where the size of a pixel is known, else pixels",
        "plane, or first to last plane",
        "– undecided   ✓ accepted, with its class   ✗ rejected",
    )

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._ids = np.zeros(0, np.int64)
        self.thumbnails = Thumbnails()

    def refresh(self) -> None:
        """Read the session again."""
        order = self._session.regions.queue.order
        if len(order) == len(self._ids) and np.array_equal(order, self._ids):
            if len(order):
                self.dataChanged.emit(self.index(0, 0), self.index(len(order) - 1, len(self.HEADERS) - 1))
            return
        self.beginResetModel()
        self._ids = order
        self.endResetModel()

    def id(self, row: int) -> int:
        """Region of a row."""
        return int(self._ids[row])

    def rowCount(self, parent: QModelIndex = _ROOT) -> int:
        """Listed regions."""
        return len(self._ids)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Picture and text of a cell."""
        item = self._session.regions.book.items.get(self.id(index.row()))
        image = self._session.image
        if item is None or image is None:
            return None
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 0:
            return self.thumbnails.get(image, item.region)
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return self._text(item.region, index.column())
        return Qt.AlignmentFlag.AlignCenter if role == Qt.ItemDataRole.TextAlignmentRole else None

    def _text(self, region: Region, column: int) -> str:
        if column == 0:
            return f"#{region.id}"
        if column == 1:
            return f"{self._session.regions.queue.score(region.id):.2f}"
        if column == 2:
            return area_text(region)
        if column == 3:
            planes = region.planes
            return str(planes[0]) if len(planes) == 1 else f"{planes[0]}–{planes[-1]}"
        label = f" {region.label}" if region.label and region.decision != "rejected" else ""
        return f"{MARKS[region.decision]}{label}"


def area_text(region: Region) -> str:
    """Area with its unit."""
    return f"{region.area} px" if region.area_mm2 is None else f"{region.area_mm2:.3g} mm²"
