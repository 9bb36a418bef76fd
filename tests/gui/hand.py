"""A person at the window: finds controls by their names, and uses only mouse and keyboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QComboBox, QFileDialog, QLineEdit, QMessageBox, QTableView, QWidget

from napari_ld._gui.layers import world_position
from napari_ld._gui.panel import LDPanel

LEFT = Qt.MouseButton.LeftButton
NONE = Qt.KeyboardModifier.NoModifier


class Hand:
    """Mouse and keyboard on one viewer with its panel."""

    def __init__(self, qtbot: QtBot, viewer: Any, panel: LDPanel) -> None:
        self.qtbot, self.viewer, self.panel = qtbot, viewer, panel
        window = panel.window()
        assert window is not None
        canvases = [w for w in window.findChildren(QWidget) if "CanvasBackend" in type(w).__name__]
        self.canvas: QWidget = canvases[0]

    def take_focus(self) -> None:
        """Make the window the active one: Xvfb has no window manager that would, and keys follow the active window."""
        window = self.canvas.window()
        assert window is not None
        window.activateWindow()
        self.wait(window.isActiveWindow)

    def control(self, name: str) -> Any:
        found = self.panel.findChild(QWidget, name)
        assert found is not None, name
        return found

    def text(self, name: str) -> str:
        return str(self.control(name).text())

    def press(self, name: str) -> None:
        widget = self.control(name)
        assert widget.isEnabled(), f"{name} is not enabled"
        QTest.mouseClick(widget, LEFT)

    def type(self, name: str, text: str) -> None:
        QTest.keyClicks(self.control(name), text)

    def pixel(self, world: tuple[float, ...]) -> QPoint:
        """Where a place of the viewer's coordinates (row, column) is on the canvas."""
        camera = self.viewer.scene.camera
        middle = np.array([self.canvas.height(), self.canvas.width()]) / 2
        row, column = middle + (np.array(world[-2:]) - np.array(camera.center)[-2:]) * camera.zoom
        return QPoint(round(float(column)), round(float(row)))

    def world(self, position: tuple[float, float], plane: int = 0) -> tuple[float, ...]:
        """World coordinates of (row, column) of the image."""
        layer = self.panel._desk.image_layer
        assert layer is not None
        data = (plane, *position) if layer.ndim == 3 else position
        return tuple(float(value) for value in world_position(self.viewer, layer, data))

    def click(self, position: tuple[float, float], plane: int = 0) -> None:
        QTest.mouseMove(self.canvas, self.pixel(self.world(position, plane)))
        QTest.mouseClick(self.canvas, LEFT, NONE, self.pixel(self.world(position, plane)))

    def drag(self, start: tuple[float, float], end: tuple[float, float], plane: int = 0) -> None:
        first, last = self.pixel(self.world(start, plane)), self.pixel(self.world(end, plane))
        QTest.mouseMove(self.canvas, first)
        QTest.mousePress(self.canvas, LEFT, NONE, first)
        for part in (0.3, 0.6, 1.0):
            QTest.mouseMove(self.canvas, first + (last - first) * part)
            QTest.qWait(15)
        QTest.mouseRelease(self.canvas, LEFT, NONE, last)

    def key(self, key: Qt.Key, modifier: Qt.KeyboardModifier = NONE) -> None:
        self.canvas.setFocus()
        QTest.keyClick(self.canvas, key, modifier)

    def choose(self, name: str, text: str) -> None:
        """Choose an entry of a combo box with the arrow keys, past those in between."""
        box: QComboBox = self.control(name)
        row = box.findText(text)
        assert row >= 0, [box.itemText(i) for i in range(box.count())]
        box.setFocus()
        while box.currentIndex() != row:
            before = box.currentIndex()
            QTest.keyClick(box, Qt.Key.Key_Down if before < row else Qt.Key.Key_Up)
            if box.itemText(row) == text and box.currentIndex() == before:
                return  # an entry that opens a dialog leaves the choice as it was
            self.rest()

    def answer_file_dialog(self, name: str, path: object, *, replace: bool | None = None) -> None:
        """Type a path into an open file dialog, None: leave the one proposed, and press Enter.

        ``replace`` answers the question whether a file may be replaced, which must come then; after a no the dialog is
        left.
        """
        self.qtbot.waitUntil(lambda: self.panel.findChild(QFileDialog, name) is not None)
        dialog: QFileDialog = self.control(name)
        edit = dialog.findChild(QLineEdit, "fileNameEdit")
        assert edit is not None
        self.wait(edit.isVisible)
        self.rest(100)
        if path is not None:
            edit.selectAll()
            QTest.keyClicks(edit, str(path))
        asked: list[str] = []
        if replace is not None:
            QTimer.singleShot(300, lambda: asked.append(self._answer_box(replace)))
        QTest.keyClick(edit, Qt.Key.Key_Return)
        assert replace is None or ["replace it" in text for text in asked] == [True]
        if replace is False:
            QTest.keyClick(dialog, Qt.Key.Key_Escape)
        self.qtbot.waitUntil(lambda: self.panel.findChild(QFileDialog, name) is None)

    def _answer_box(self, yes: bool) -> str:
        """Press Yes or No of the message box that is open; returns what it asked."""
        boxes = [one for one in QApplication.topLevelWidgets() if isinstance(one, QMessageBox) and one.isVisible()]
        if not boxes:
            return ""
        button = boxes[0].button(QMessageBox.StandardButton.Yes if yes else QMessageBox.StandardButton.No)
        assert button is not None
        text = boxes[0].text()
        QTest.mouseClick(button, LEFT)
        return text

    def click_row(self, table: str, row: int, column: int = 0) -> None:
        view: QTableView = self.control(table)
        index = view.model().index(row, column)  # type: ignore[union-attr]
        view.scrollTo(index)
        QTest.mouseClick(view.viewport(), LEFT, NONE, view.visualRect(index).center())

    def rows(self, table: str) -> list[list[str]]:
        model = self.control(table).model()
        return [
            [str(model.data(model.index(row, column)) or "") for column in range(model.columnCount())]
            for row in range(model.rowCount())
        ]

    def wait(self, condition: Callable[[], object], timeout: int = 30_000) -> None:
        self.qtbot.waitUntil(lambda: bool(condition()), timeout=timeout)

    def rest(self, milliseconds: int = 60) -> None:
        """Let events be handled and the panel be drawn again."""
        QTest.qWait(milliseconds)

    def wait_until_answered(self, timeout: int = 180_000) -> None:
        """Patient: a busy machine may be slow, and how fast the encoder is belongs to no test."""
        session = self.panel.session
        self.wait(lambda: not session.work.running and not session.open_tracks(), timeout)
        self.rest()

    def add_and_click(self, name: str, position: tuple[float, float], plane: int = 0) -> None:
        self.type("ld_landmark_name", name)
        self.press("ld_add")
        self.rest()
        self.click(position, plane)
        self.rest()

    @property
    def landmarks(self) -> Any:
        return self.viewer.layers["LD landmarks"]


def top_level_dialogs() -> list[QWidget]:
    return [w for w in QApplication.topLevelWidgets() if isinstance(w, QFileDialog)]
