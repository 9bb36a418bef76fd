"""Keys of the panel, in one table; they live only while the panel or a layer of ours has the focus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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

# Letters of napari's Labels, Points and Shapes layers among them are free while a layer of ours with this table is the
# active one. Up and Down belong to whatever has the focus in the panel, so they are bound on the canvas only.
REVIEW_KEYS: dict[str, Key] = {
    "accept": Key("A", "A", "accept the region"),
    "reject": Key("R", "R", "reject the region; its like go down in the list"),
    "next_region": Key("Down", "Down", "next region, without a decision"),
    "previous_region": Key("Up", "Up", "previous region"),
    "merge": Key("M", "M", "merge with the neighbour most like it"),
    "split": Key("S", "S", "split into its parts"),
    "grow": Key("G", "G", "grow along the similarity map"),
    "shrink": Key("Shift-G", "Shift+G", "shrink along the similarity map"),
    "like": Key("L", "L", "more regions like this one"),
    "like_accepted": Key("Shift-L", "Shift+L", "more regions like all you accepted, on the other planes"),
    "accept_all": Key("Shift-A", "Shift+A", "accept all listed regions"),
    **{f"class_{n}": Key(f"Alt-{n}", f"Alt+{n}", f"class {n}") for n in range(1, 10)},
}
# P is the landmarks' too: it does what the open section says.
REFINE_KEYS: dict[str, Key] = {
    "preview": Key("P", "P", "while Refine is open: show what refining would change on this plane"),
    "before": Key("B", "B", "labels as they were before refining, and back"),
}
SHARED = frozenset({"undo", "redo", "stop"})  # for all sections; bound on the whole panel once
CANVAS_ONLY = frozenset({"next_region", "previous_region"})
# While a person paints in the accepted masks, these letters stay napari's own: new label, fill, picker, erase …
PAINTING = frozenset({"merge", "like"})
_ALL = {**KEYS, **REVIEW_KEYS, **REFINE_KEYS}


def bind_layer(layer: Layer, actions: Mapping[str, Callable[[], object]]) -> None:
    """Bind the keys on a layer of ours: the active layer's keys win over those of the viewer."""
    for name, action in actions.items():
        layer.bind_key(_ALL[name].napari, _ignoring_layer(action), overwrite=True)


def bind_widget(widget: QWidget, actions: Mapping[str, Callable[[], object]]) -> None:
    """Bind the keys while the focus is inside a widget; a text field still gets the letters that are typed into it."""
    for name, action in actions.items():
        shortcut = QShortcut(QKeySequence(_ALL[name].qt), widget)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(lambda action=action: action())


def unbind_layer(layer: Layer, names: Iterable[str]) -> None:
    """Give the keys back."""
    for name in names:
        layer.bind_key(_ALL[name].napari, None)


def overview() -> str:
    """All keys, one a line; the nine classes in one."""
    review = [f"{key.qt}:  {key.meaning}" for name, key in REVIEW_KEYS.items() if not name.startswith("class_")]
    points = [f"{key.qt}:  {key.meaning}" for key in KEYS.values()]
    refine = [f"{key.qt}:  {key.meaning}" for key in REFINE_KEYS.values()]
    return "\n".join([*points, *review, *refine, "Alt+1 … Alt+9:  class of the region and of the next ones"])


def _ignoring_layer(action: Callable[[], object]) -> Callable[[object], None]:
    def run(layer: object) -> None:
        action()

    return run
