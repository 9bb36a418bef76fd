"""A button for what cannot be undone: the second press within a few seconds does it."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QPushButton

_SECONDS = 4


class ConfirmButton(QPushButton):
    """Button that asks before it acts.

    Parameters
    ----------
    text, question : str
        What stands on it before and after the first press.
    name, tip : str
    confirmed : callable
        Called by the second press.
    """

    def __init__(self, text: str, question: str, name: str, tip: str, confirmed: Callable[[], object]) -> None:
        super().__init__(text)
        self.setObjectName(name)
        self.setToolTip(tip)
        self.setAutoDefault(False)
        self._text, self._question, self._confirmed = text, question, confirmed
        self._waiting = QTimer(self)
        self._waiting.setSingleShot(True)
        self._waiting.setInterval(1000 * _SECONDS)
        self._waiting.timeout.connect(self.calm)
        self.clicked.connect(self._pressed)

    def calm(self) -> None:
        """Forget the first press."""
        self._waiting.stop()
        self.setText(self._text)

    def _pressed(self) -> None:
        if self._waiting.isActive():
            self.calm()
            self._confirmed()
            return
        self.setText(self._question)
        self._waiting.start()
