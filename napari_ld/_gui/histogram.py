"""Histogram of scores with a threshold that can be dragged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

_BINS = 50
_STEP = 0.01


class ScoreHistogram(QWidget):
    """Bars of the scores 0 to 1; what lies below the threshold is drawn faint.

    Attributes
    ----------
    threshold_changed : Signal(float)
        The person moved the threshold, with the mouse or the arrow keys.
    """

    threshold_changed = Signal(float)

    def __init__(self, name: str, tip: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setToolTip(tip)
        self.setAccessibleName("threshold of the score")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.SizeHorCursor)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.threshold = 0.0
        self.color = QColor("gray")
        self._counts: npt.NDArray[np.int64] = np.zeros(_BINS, np.int64)

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(200, 40)

    minimumSizeHint = sizeHint

    def set_scores(self, scores: npt.NDArray[np.float64]) -> None:
        """Show other scores."""
        counts = np.histogram(scores, _BINS, (0, 1))[0]
        if not np.array_equal(counts, self._counts):
            self._counts = counts
            self.update()

    def set_threshold(self, threshold: float) -> None:
        """Show another threshold."""
        self.threshold = min(max(round(threshold, 3), 0.0), 1.0)
        self.update()

    def _move(self, x: float) -> None:
        self._choose((x - 3) / max(self.width() - 6, 1))

    def _choose(self, threshold: float) -> None:
        before = self.threshold
        self.set_threshold(threshold)
        if self.threshold != before:
            self.threshold_changed.emit(self.threshold)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Take the threshold to the mouse."""
        if event is not None and event.button() == Qt.MouseButton.LeftButton:
            self._move(event.position().x())

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Take the threshold along."""
        if event is not None and event.buttons() & Qt.MouseButton.LeftButton:
            self._move(event.position().x())

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Move the threshold by a step."""
        if event is None:
            return
        steps = {int(Qt.Key.Key_Left): -_STEP, int(Qt.Key.Key_Right): _STEP}
        if event.key() in steps:
            self._choose(self.threshold + steps[event.key()])
        else:
            super().keyPressEvent(event)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw bars and threshold."""
        painter = QPainter(self)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        width, height = self.width() - 6, self.height() - 4
        painter.setPen(QPen(text, 1))
        painter.setOpacity(0.4)
        painter.drawLine(3, height + 2, width + 3, height + 2)
        # Square roots: a single high score must show beside thousands of low ones.
        tall = np.sqrt(self._counts / max(int(self._counts.max()), 1)) * height
        for place, size in enumerate(tall):
            above = (place + 1) / _BINS > self.threshold
            painter.setOpacity(0.9 if above else 0.3)
            left = 3 + place * width / _BINS
            painter.fillRect(
                QRectF(left, height + 2 - size, max(width / _BINS - 1, 1), size), self.color if above else text
            )
        x = 3 + self.threshold * width
        painter.setOpacity(1.0)
        painter.setPen(QPen(text, 2 if self.hasFocus() else 1.5))
        painter.drawLine(QPointF(x, 0), QPointF(x, height + 3))
