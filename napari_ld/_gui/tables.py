"""Tables, and the two of the Landmarks section: landmarks of the image, and the current landmark plane by plane."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QTableView

from napari_ld._types import Status
from napari_ld.session import Point, Session

MARKS: dict[Status, str] = {"verified": "●", "confident": "◯", "uncertain": "◇", "absent": "–"}
_ROOT = QModelIndex()


class Columns(QAbstractTableModel):
    """The columns of a table: their words and tips."""

    HEADERS: tuple[str, ...]
    TIPS: tuple[str, ...]

    def columnCount(self, parent: QModelIndex = _ROOT) -> int:
        """Columns."""
        return len(self.HEADERS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Words and tips of the columns."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        texts = {Qt.ItemDataRole.DisplayRole: self.HEADERS, Qt.ItemDataRole.ToolTipRole: self.TIPS}
        return texts[Qt.ItemDataRole(role)][section] if role in texts else None


class LandmarkModel(Columns):
    """One row per landmark: name with its colour, verified, uncertain, shown."""

    HEADERS = ("landmark", "✓", "?", "show")
    TIPS = ("double-click to rename", "verified planes", "uncertain planes", "show its points on the canvas")

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.ids: list[str] = []

    def refresh(self) -> None:
        """Read the session again."""
        ids = list(self._session.state)
        if ids != self.ids:
            self.beginResetModel()
            self.ids = ids
            self.endResetModel()
        elif ids:
            self.dataChanged.emit(self.index(0, 0), self.index(len(ids) - 1, len(self.HEADERS) - 1))

    def rowCount(self, parent: QModelIndex = _ROOT) -> int:
        """Landmarks."""
        return len(self.ids)

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Names can be edited, the last column can be checked."""
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        if index.column() == 0:
            flags |= Qt.ItemFlag.ItemIsEditable
        if index.column() == 3:
            flags |= Qt.ItemFlag.ItemIsUserCheckable
        return flags

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, colour and check mark of a cell."""
        key = self.ids[index.row()]
        track = self._session.state.get(key)
        if track is None:
            return None
        column = index.column()
        if column == 0:
            if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
                return track.name
            return _swatch(track.color) if role == Qt.ItemDataRole.DecorationRole else None
        if column == 3:
            checked = Qt.CheckState.Unchecked if key in self._session.hidden else Qt.CheckState.Checked
            return checked if role == Qt.ItemDataRole.CheckStateRole else None
        if role == Qt.ItemDataRole.DisplayRole:
            wanted = ("", "verified", "uncertain")[column]
            return str(sum(self._session.status(point) == wanted for point in track.points.values()))
        return Qt.AlignmentFlag.AlignCenter if role == Qt.ItemDataRole.TextAlignmentRole else None

    def setData(self, index: QModelIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Pass a new name or a check mark on to the session."""
        key = self.ids[index.row()]
        if role == Qt.ItemDataRole.EditRole:
            self._session.rename(key, str(value).strip())
            return True
        if role == Qt.ItemDataRole.CheckStateRole:
            self._session.show(key, Qt.CheckState(value) == Qt.CheckState.Checked)
            return True
        return False


class PointModel(Columns):
    """One row per plane of the current landmark; an answer of old templates is greyed."""

    HEADERS = ("plane", "row, column", "± / margin", "status")
    TIPS = (
        "click to go there",
        "position in pixels",
        "± expected error, in images of different subjects; elsewhere by how much the place beats the next best one",
        "● verified   ◯ confident   ◇ uncertain   – absent",
    )

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._points: list[Point] = []
        self.stale_color = QColor("gray")

    def refresh(self) -> None:
        """Read the session again."""
        track = self._session.state.get(self._session.current or "")
        points = [track.points[plane] for plane in sorted(track.points)] if track else []
        if len(points) != len(self._points):
            self.beginResetModel()
            self._points = points
            self.endResetModel()
        else:
            self._points = points
            if points:
                self.dataChanged.emit(self.index(0, 0), self.index(len(points) - 1, len(self.HEADERS) - 1))

    def plane(self, row: int) -> int:
        """Plane of a row."""
        return self._points[row].match.plane

    def row_of(self, plane: int) -> int:
        """Row of a plane; -1 without a point there."""
        return next((row for row, point in enumerate(self._points) if point.match.plane == plane), -1)

    def rowCount(self, parent: QModelIndex = _ROOT) -> int:
        """Planes with an answer."""
        return len(self._points)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text and colour of a cell."""
        point = self._points[index.row()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):  # the tip is never cut off
            return self._texts(point)[index.column()]
        if role == Qt.ItemDataRole.ForegroundRole:
            track = self._session.state.get(self._session.current or "")
            stale = track is not None and track.is_stale(point, self._session.context)
            return self.stale_color if stale else None
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() < 3:
            return Qt.AlignmentFlag.AlignCenter
        return None

    def _texts(self, point: Point) -> tuple[str, str, str, str]:
        match, status = point.match, self._session.status(point)
        place = "–" if match.position is None else f"{match.position[0]:.1f}, {match.position[1]:.1f}"
        if point.verified:
            sure = "–"
        elif match.expected_error is not None:
            sure = f"± {match.expected_error:.1f} {match.unit}"
        else:
            sure = f"{match.margin:.3f}"
        known = "verified: absent" if point.verified and match.position is None else status
        extra = " · example" if point.template else ""
        return str(match.plane), place, sure, f"{MARKS[status]} {known}{extra}"


def table(name: str, model: Columns, tip: str) -> QTableView:
    """Table view of rows, with a name for tests and a tooltip in plain words."""
    view = QTableView()
    view.setObjectName(name)
    view.setModel(model)
    view.setToolTip(tip)
    rows, columns = view.verticalHeader(), view.horizontalHeader()
    if rows is not None and columns is not None:  # only for the types: a table view has both
        rows.hide()
        rows.setDefaultSectionSize(21)
        columns.setStretchLastSection(True)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    view.setShowGrid(False)
    view.setTabKeyNavigation(False)  # Tab goes on to the next control
    return view


def _swatch(color: str) -> QIcon:
    pixmap = QPixmap(12, 12)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor(color))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.drawEllipse(1, 1, 10, 10)
    painter.end()
    return QIcon(pixmap)
