"""All settings of the chosen method, made from what the trainer tells of them; each table is built when unfolded."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from qtpy.QtCore import QLocale, Signal
from qtpy.QtGui import QDoubleValidator, QFocusEvent, QIntValidator
from qtpy.QtWidgets import QCheckBox, QGridLayout, QLineEdit, QVBoxLayout, QWidget

from napari_ld._gui.forms import button, caption, combo, fold_button, text_line
from napari_ld.session.training_settings import TABLES, Setting, Settings, Value

_LARGEST = 2**31 - 1


class SettingsForm(QWidget):
    """Settings by table, folded.

    Attributes
    ----------
    changed : Signal()
        Another value was entered.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._settings: Settings | None = None
        self._choice = ("", "", "")
        self._entered: dict[str, Value] = {}
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setSpacing(2)
        self._tables: list[_Table] = []
        self.note = text_line("ld_settings_note")
        self.restore = button(
            "As the preset says", "ld_settings_restore", "Take back what you entered here", self.forget
        )
        self._rows.addWidget(self.note)
        self._rows.addWidget(self.restore)
        self._show_note()

    @property
    def values(self) -> dict[str, Value]:
        """What was entered and belongs to the chosen method, by key."""
        if self._settings is None:
            return {}
        offered = self._settings.offered(*self._choice)
        defaults = {setting.key: value for rows in offered.values() for setting, value in rows}
        return {key: value for key, value in self._entered.items() if key in defaults and value != defaults[key]}

    def describe(self, settings: Settings) -> None:
        """Take what the trainer tells."""
        self._settings = settings
        self._rebuild()

    def choose(self, method: str, preset: str, init: str) -> None:
        """Offer the settings of another method, preset or start (an encoder, or ``""``); what was entered is kept."""
        if (method, preset, init) != self._choice:
            self._choice = method, preset, init
            self._rebuild()

    def forget(self) -> None:
        """Back to what the preset says."""
        self._entered.clear()
        self._rebuild()
        self.changed.emit()

    def _rebuild(self) -> None:
        open_ = {table.name for table in self._tables if table.fold.isChecked()}
        for table in self._tables:
            self._rows.removeWidget(table)
            table.deleteLater()
        offered = self._settings.offered(*self._choice) if self._settings else {}
        self._tables = [_Table(name, rows, self._entered, self._enter) for name, rows in offered.items()]
        for number, table in enumerate(self._tables):
            self._rows.insertWidget(number, table)
            table.fold.setChecked(table.name in open_)
        self._show_note()

    def _enter(self, key: str, value: Value) -> None:
        self._entered[key] = value
        self._show_note()
        self.changed.emit()

    def _show_note(self) -> None:
        values = self.values
        words = ", ".join(f"{key.rpartition('.')[2].replace('_', ' ')} {_text(value)}" for key, value in values.items())
        self.note.setText(f"yours: {words}" if words else "asking the trainer …" if self._settings is None else "")
        self.note.setVisible(bool(self.note.text()))
        self.restore.setVisible(bool(values))


class _Table(QWidget):
    """One table; its controls are made when it is first unfolded."""

    def __init__(
        self,
        name: str,
        rows: tuple[tuple[Setting, Value], ...],
        entered: dict[str, Value],
        enter: Callable[[str, Value], None],
    ) -> None:
        super().__init__()
        self.name, self._offered, self._entered, self._enter = name, rows, entered, enter
        self._content = QWidget()
        self.fold = fold_button(
            TABLES.get(name, name), f"ld_settings_{name or 'general'}", "Settings of this kind", self._content
        )
        self.fold.toggled.connect(self._build)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.fold)
        layout.addWidget(self._content)

    def _build(self, open_: bool) -> None:
        if not open_ or self._content.layout() is not None:
            return
        grid = QGridLayout(self._content)
        grid.setContentsMargins(12, 0, 0, 2)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(0, 1)
        for row, (setting, default) in enumerate(self._offered):
            value = self._entered.get(setting.key, default)
            control = control_of(setting, value, partial(self._enter, setting.key))
            control.setToolTip(f"<qt>{setting.help}<br><i>{setting.key}</i>, here {_text(default)}</qt>")
            control.setFixedWidth(104)
            grid.addWidget(caption(setting.words, control), row, 0)
            grid.addWidget(control, row, 1)


def control_of(setting: Setting, value: Value, enter: Callable[[Value], None]) -> QWidget:
    """A check box, a choice or a field, as the kind of a setting asks for; ``enter`` is told every valid value."""
    name = f"ld_setting_{setting.key.replace('.', '_')}"
    if setting.kind == "bool":
        box = QCheckBox()
        box.setObjectName(name)
        box.setChecked(bool(value))
        box.toggled.connect(enter)
        return box
    if setting.choices:
        choice = combo(name, "")
        choice.addItems(setting.choices)
        choice.setCurrentText(str(value))
        choice.activated.connect(lambda row: enter(choice.itemText(row)))
        return choice
    return _Field(name, setting.kind, value, enter)


class _Field(QLineEdit):
    """A number, several, or a word; a text that is none goes when the field is left."""

    def __init__(self, name: str, kind: str, value: Value, enter: Callable[[Value], None]) -> None:
        super().__init__(_text(value))
        self.setObjectName(name)
        self._kind, self._valid, self._tell = kind, _text(value), enter
        self.textEdited.connect(self._edited)
        if kind == "int":
            self.setValidator(QIntValidator(0, _LARGEST, self))
        elif kind == "float":
            validator = QDoubleValidator(self)
            validator.setLocale(QLocale.c())
            self.setValidator(validator)

    def _edited(self, text: str) -> None:
        value = _parsed(text, self._kind)
        if value is not None:
            self._valid = text
            self._tell(value)

    def focusOutEvent(self, event: QFocusEvent | None) -> None:
        """Show the value that counts."""
        if _parsed(self.text(), self._kind) is None:
            self.setText(self._valid)
        super().focusOutEvent(event)


def _parsed(text: str, kind: str) -> Value | None:
    """The value of a text; None when it is none of its kind."""
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
        if kind == "floats":
            return tuple(float(part) for part in text.split(","))
    except ValueError:
        return None
    return text.strip()


def _text(value: Value) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{part:g}" for part in value)
    if isinstance(value, bool):
        return json.dumps(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
