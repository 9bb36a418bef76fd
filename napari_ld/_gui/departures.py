"""Taking layers of ours away, one a frame.

napari 0.9.2 crashes when a Labels layer is added after two of them were removed without a frame between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer

_FRAME = 300  # ms in which even a busy machine draws the canvas


class Departures(QObject):
    """Hides layers at once and removes them one after the other.

    Parameters
    ----------
    viewer : napari.Viewer or its public proxy
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._leaving: list[Layer] = []
        self._timer = QTimer(self)
        self._timer.setInterval(_FRAME)
        self._timer.timeout.connect(self._remove_next)

    def add(self, layer: Layer) -> None:
        """Take a layer away; its name is free at once."""
        layer.visible = False
        layer.name = "removing …"
        self._leaving.append(layer)
        self._timer.start()

    def close(self) -> None:
        """Leave what is left where it is: the viewer is going."""
        self._timer.stop()

    def _remove_next(self) -> None:
        if self._leaving:
            layer = self._leaving.pop(0)
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        else:
            self._timer.stop()
