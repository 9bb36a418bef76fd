"""The loss of a run over its steps, as a small curve that grows while it trains."""

from __future__ import annotations

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

_MARGIN = 4.0


class LossCurve(QWidget):
    """Line of ``(step, loss)`` with the highest and lowest loss beside it; empty before the second point."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setToolTip("Loss over the steps: it falls while the encoder learns, and never smoothly")
        self.setAccessibleName("loss over the steps")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._curve: tuple[tuple[int, float], ...] = ()
        self._steps = 0

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(200, 54)

    def minimumSizeHint(self) -> QSize:
        """Never squeezed."""
        return QSize(60, 54)

    def show_curve(self, curve: tuple[tuple[int, float], ...], steps: int) -> None:
        """Show these points on an axis of ``steps``."""
        if (curve, steps) != (self._curve, self._steps):
            self._curve, self._steps = curve, steps
            self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text, line = (self.palette().color(role) for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Mid))
        painter.setPen(QPen(line, 1))
        frame = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.drawRect(frame)
        losses = [loss for _, loss in self._curve if abs(loss) < float("inf")]
        if len(losses) < 2:
            painter.end()
            return
        low, high = min(losses), max(losses)
        words = f"{high:.2f}", f"{low:.2f}"
        width = max(painter.fontMetrics().horizontalAdvance(word) for word in words) + 2 * _MARGIN
        plot = frame.adjusted(_MARGIN, _MARGIN, -width, -_MARGIN)
        first, last = self._curve[0][0], max(self._steps, self._curve[-1][0])
        points = [
            QPointF(
                plot.left() + plot.width() * (step - first) / max(last - first, 1),
                plot.bottom() - plot.height() * (loss - low) / max(high - low, 1e-9),
            )
            for step, loss in self._curve
            if abs(loss) < float("inf")
        ]
        painter.setPen(QPen(text, 1.4))
        painter.drawPolyline(QPolygonF(points))
        beside = QRectF(plot.right() + _MARGIN, plot.top(), width - _MARGIN, plot.height())
        for word, side in zip(words, (Qt.AlignmentFlag.AlignTop, Qt.AlignmentFlag.AlignBottom), strict=True):
            painter.drawText(beside, side | Qt.AlignmentFlag.AlignLeft, word)
        painter.end()
