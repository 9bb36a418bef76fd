"""Drawn things of one height; a small picture with a line below it, as large as there is room."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QImage, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

_HEIGHT = 112
_NARROWEST = 60
_RING = 6.0  # pixels of the screen


class Strip(QWidget):
    """Something drawn, of one height and as wide as there is room.

    Parameters
    ----------
    name, tip : str
    width, height : int
        Wished for; it may be narrower but not lower.
    """

    def __init__(self, name: str, tip: str, width: int, height: int) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setToolTip(tip)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._wish = QSize(width, height)

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return self._wish

    def minimumSizeHint(self) -> QSize:
        """Never squeezed."""
        return QSize(_NARROWEST, self._wish.height())


class Picture(Strip):
    """Shows colours; smoothly enlarged, in proportion.

    Parameters
    ----------
    name, tip : str
    """

    def __init__(self, name: str, tip: str) -> None:
        super().__init__(name, tip, 150, _HEIGHT)
        self.caption = ""
        self._image: QImage | None = None
        self._mark: tuple[float, float] | None = None

    def show_pixels(
        self, pixels: npt.NDArray[np.uint8] | None, caption: str, mark: tuple[float, float] | None = None
    ) -> None:
        """Show ``(rows, columns, 3)`` colours, None: nothing yet; and a ring around the cell ``mark`` (row, column)."""
        self.caption, self._mark = caption, mark
        self.setAccessibleName(caption)
        self._image = None
        if pixels is not None:
            rows, columns = pixels.shape[:2]
            solid = np.ascontiguousarray(pixels)
            self._image = QImage(solid.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888).copy()
        self.update()

    @property
    def filled(self) -> bool:
        """Whether there is a picture."""
        return self._image is not None

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw."""
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        text, frame = (self.palette().color(role) for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Mid))
        metrics = painter.fontMetrics()
        room = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -metrics.height() - 2.5)
        if self._image is None:
            painter.setPen(QPen(frame, 1))
            painter.drawRect(room)
        else:
            scale = min(room.width() / self._image.width(), room.height() / self._image.height())
            size = scale * self._image.width(), scale * self._image.height()
            place = QRectF(room.center().x() - size[0] / 2, room.top(), *size)
            painter.drawImage(place, self._image)
            if self._mark is not None:
                self._ring(painter, place, scale)
        painter.setPen(text)
        words = metrics.elidedText(self.caption, Qt.TextElideMode.ElideRight, self.width())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignHCenter, words)
        painter.end()

    def _ring(self, painter: QPainter, place: QRectF, scale: float) -> None:
        row, column = self._mark or (0.0, 0.0)
        middle = QPointF(place.left() + (column + 0.5) * scale, place.top() + (row + 0.5) * scale)
        for color, width in ((Qt.GlobalColor.black, 3.0), (Qt.GlobalColor.white, 1.4)):
            painter.setPen(QPen(color, width))
            painter.drawEllipse(middle, _RING, _RING)
