"""Keys of the panel, in one table; they live only while the panel or a layer of ours has the focus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QWidget

if TYPE_CHECKING:
    from napari.layers import Layer


@dataclass(frozen=True, slots=True)
class Key:
    """One key: as napari writes it, as Qt writes it, and what it does."""

    napari: str
    qt: str
    meaning: str


# Points layers of napari use A, S, 1–4, Delete and Ctrl+C/V; the viewer uses Ctrl+Y, Ctrl+E, Ctrl+R, Ctrl+G, Ctrl+T.
KEYS: dict[str, Key] = {
    "next_uncertain": Key("N", "N", "go to the next uncertain point"),
    "verify": Key("V", "V", "confirm the point on this plane as it is"),
    "absent": Key("X", "X", "the landmark is not on this plane"),
    "place": Key("P", "P", "place the landmark on this plane with the next click"),
    "undo": Key("Control-Z", "Ctrl+Z", "take back the last edit"),
    "redo": Key("Control-Shift-Z", "Ctrl+Shift+Z", "bring it back"),
    "stop": Key("Escape", "Esc", "stop waiting for a click"),
}


def bind_layer(layer: Layer, actions: Mapping[str, Callable[[], object]]) -> None:
    """Bind the keys on a layer of ours: the active layer's keys win over those of the viewer."""
    for name, action in actions.items():
        layer.bind_key(KEYS[name].napari, _ignoring_layer(action), overwrite=True)


def bind_widget(widget: QWidget, actions: Mapping[str, Callable[[], object]]) -> None:
    """Bind the keys while the focus is inside a widget; a text field still gets the letters that are typed into it."""
    for name, action in actions.items():
        shortcut = QShortcut(QKeySequence(KEYS[name].qt), widget)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(lambda action=action: action())


def overview() -> str:
    """All keys, one a line."""
    return "\n".join(f"{key.qt}:  {key.meaning}" for key in KEYS.values())


def _ignoring_layer(action: Callable[[], object]) -> Callable[[object], None]:
    def run(layer: object) -> None:
        action()

    return run
