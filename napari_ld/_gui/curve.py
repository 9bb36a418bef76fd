"""A measure of a run over its steps: a small curve that grows while it trains, drawn here or by pyqtgraph."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import QEvent, QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPalette, QPen, QPolygonF, QResizeEvent
from qtpy.QtWidgets import QGraphicsWidget, QLabel

from napari_ld._gui.picture import Strip

Points = tuple[tuple[int, float], ...]
_MARGIN = 4.0
_WIDTH, _HEIGHT, _PLOT_HEIGHT = 200, 72, 104
_AXIS_WIDTH, _AXIS_HEIGHT = 34.0, 18.0


class DrawnCurve(Strip):
    """Line of ``(step, value)`` with its title, and the highest and lowest value beside it.

    Parameters
    ----------
    name, tip : str
    """

    def __init__(self, name: str, tip: str) -> None:
        super().__init__(name, tip, _WIDTH, _HEIGHT)
        self._shown: tuple[Points, int, str] = ((), 0, "")

    def show_curve(self, curve: Points, steps: int, title: str) -> None:
        """Show these points on an axis of ``steps``."""
        if (curve, steps, title) != self._shown:
            self._shown = curve, steps, title
            self.setAccessibleName(f"{title} over the steps")
            self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text, line = (self.palette().color(role) for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Mid))
        painter.setPen(QPen(line, 1))
        frame = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.drawRect(frame)
        points, steps, words = self._shown
        curve = finite(points)
        painter.setPen(QPen(text, 1.4))
        inside = frame.adjusted(_MARGIN, 1, -_MARGIN, -_MARGIN)
        if len(curve) < 2:
            painter.drawText(inside, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignHCenter, words)
            painter.end()
            return
        low, high = min(value for _, value in curve), max(value for _, value in curve)
        values = f"{high:.3g}", f"{low:.3g}"
        width = max(painter.fontMetrics().horizontalAdvance(value) for value in values) + _MARGIN
        plot = inside.adjusted(0, painter.fontMetrics().height() + 1, -width, 0)
        title = inside.adjusted(0, 0, -width, 0)
        painter.drawText(title, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignHCenter, words)
        first, last = curve[0][0], max(steps, curve[-1][0])
        line_points = [
            QPointF(
                plot.left() + plot.width() * (step - first) / max(last - first, 1),
                plot.bottom() - plot.height() * (value - low) / max(high - low, 1e-9),
            )
            for step, value in curve
        ]
        painter.drawPolyline(QPolygonF(line_points))
        beside = QRectF(plot.right() + _MARGIN, inside.top(), width, inside.height())
        for value, side in zip(values, (Qt.AlignmentFlag.AlignTop, Qt.AlignmentFlag.AlignBottom), strict=True):
            painter.drawText(beside, side | Qt.AlignmentFlag.AlignLeft, value)
        painter.end()


class PlotCurve(Strip):
    """The same by pyqtgraph, with axes; parameters as :class:`DrawnCurve`. pyqtgraph must be there."""

    def __init__(self, name: str, tip: str) -> None:
        import pyqtgraph

        super().__init__(name, tip, _WIDTH, _PLOT_HEIGHT)
        self._shown: tuple[Points, int, str] = ((), 0, "")
        self._dressed: tuple[str, QColor] | None = None
        self._title = QLabel(self)
        self._title.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        # Neither whole plots nor layouts of pyqtgraph: both make widgets that belong to no window and outlive it.
        self._view: Any = pyqtgraph.GraphicsView(self, background=None)
        self._view.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._view.setCentralItem(QGraphicsWidget())
        self._box: Any = pyqtgraph.ViewBox(enableMenu=False, enableMouse=False)
        self._line: Any = pyqtgraph.PlotCurveItem(antialias=True)
        self._axes: list[Any] = [pyqtgraph.AxisItem(side, linkView=self._box) for side in ("left", "bottom")]
        self._axes[0].setWidth(_AXIS_WIDTH)
        self._axes[1].setHeight(_AXIS_HEIGHT)
        self._box.addItem(self._line)
        for item in (self._box, *self._axes):
            item.setParentItem(self._view.centralWidget)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Share the room."""
        super().resizeEvent(event)
        width, top = self.width(), self._title.fontMetrics().height() + 3
        self._title.setGeometry(0, 0, width, top)
        self._view.setGeometry(0, top, width, self.height() - top)
        inner = QRectF(_AXIS_WIDTH, 3, max(width - _AXIS_WIDTH - 8, 1), self.height() - top - _AXIS_HEIGHT - 3)
        self._box.setGeometry(inner)
        self._axes[0].setGeometry(QRectF(0, inner.top(), _AXIS_WIDTH, inner.height()))
        self._axes[1].setGeometry(QRectF(inner.left(), inner.bottom(), inner.width(), _AXIS_HEIGHT))

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self._dress(self._shown[2])

    def _dress(self, title: str) -> None:
        import pyqtgraph

        color, font = self.palette().color(QPalette.ColorRole.WindowText), self.font()
        if (title, color) == self._dressed:
            return
        self._dressed = title, color
        font.setPointSizeF(7)
        self._title.setText(title)
        for axis in self._axes:
            axis.setPen(color)
            axis.setTextPen(color)
            axis.setStyle(tickFont=font)
        self._line.setPen(pyqtgraph.mkPen(color, width=1.4))

    def show_curve(self, curve: Points, steps: int, title: str) -> None:
        """Show these points on an axis of ``steps``."""
        if (curve, steps, title) == self._shown:
            return
        if title != self._shown[2]:
            self.setAccessibleName(f"{title} over the steps")
        self._shown = curve, steps, title
        self._dress(title)
        points = finite(curve)
        self._line.setData([step for step, _ in points], [value for _, value in points])
        if points:
            self._box.setXRange(points[0][0], max(steps, points[-1][0]), padding=0.02)
            low, high = min(value for _, value in points), max(value for _, value in points)
            self._box.setYRange(low, max(high, low + 1e-6), padding=0.08)


def finite(curve: Points) -> Points:
    """The points that can be drawn."""
    return tuple((step, value) for step, value in curve if math.isfinite(value))


def can_plot() -> bool:
    """Load pyqtgraph if it is installed; takes a while, and may be called on any thread."""
    try:
        import pyqtgraph
    except ImportError:
        return False
    return bool(pyqtgraph.__version__)
