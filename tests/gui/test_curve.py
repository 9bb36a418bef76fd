"""Curves and small pictures show what they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_ld._gui.curve import DrawnCurve, PlotCurve, can_plot, finite
from napari_ld._gui.picture import Picture

FALLING = tuple((step, 4.0 - step / 30) for step in range(1, 60))


def seen(qtbot: QtBot, widget: QWidget, size: tuple[int, int] = (240, 120)) -> np.ndarray[Any, Any]:
    """Colours of the widget as it is drawn on black, (rows, columns, 3)."""
    window = QWidget()
    window.setStyleSheet("QWidget { background-color: black; color: white; }")
    layout = QHBoxLayout(window)
    layout.addWidget(widget)
    qtbot.addWidget(window)
    window.resize(*size)
    window.show()
    qtbot.waitExposed(window)
    qtbot.wait(100)
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    bits = image.constBits()
    assert bits is not None
    rows = np.frombuffer(bits.asarray(image.sizeInBytes()), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


@pytest.mark.parametrize("kind", [DrawnCurve, PlotCurve])
def test_a_falling_curve_is_seen_to_fall(qtbot: QtBot, kind: type[DrawnCurve] | type[PlotCurve]) -> None:
    if kind is PlotCurve and not can_plot():
        pytest.skip("pyqtgraph is not installed: the extra plot")
    empty, curve = kind("empty", "nothing yet"), kind("full", "falls")
    empty.show_curve((), 100, "loss")
    curve.show_curve((*FALLING, (61, float("nan"))), 100, "loss")
    assert curve.accessibleName() == "loss over the steps"
    bright = seen(qtbot, curve).max(-1) > 128
    assert bright.sum() > (seen(qtbot, empty).max(-1) > 128).sum() + 50
    left, right = (np.flatnonzero(bright[28:68, place].any(1)).mean() for place in (slice(60, 80), slice(105, 125)))
    assert left < right


def test_what_is_not_finite_is_left_out() -> None:
    assert finite(((1, 2.0), (2, float("inf")), (3, float("nan")), (4, 1.0))) == ((1, 2.0), (4, 1.0))


def test_a_picture_shows_its_colours_and_a_ring(qtbot: QtBot) -> None:
    picture = Picture("picture", "tip")
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[:5] = (0, 0, 200)
    picture.show_pixels(pixels, "upper half blue", (8.0, 5.0))
    assert picture.accessibleName() == "upper half blue"
    assert picture.filled
    shown = seen(qtbot, picture, (160, 140))
    blue = (shown[..., 2] > 150) & (shown[..., 0] < 50)
    assert blue.sum() > 500
    assert blue[: len(blue) // 2].sum() > 3 * blue[len(blue) // 2 :].sum()
    ring = np.argwhere((shown > 200).all(-1) & (np.arange(len(shown))[:, None] < 95))
    assert len(ring) > 10
    empty = Picture("empty", "tip")
    empty.show_pixels(None, "nothing yet")
    assert not empty.filled
