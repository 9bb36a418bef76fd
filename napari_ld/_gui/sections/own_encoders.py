"""My encoders: what they are, and how to rename, give away, bring in and delete them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from napari_ld._gui.confirm import ConfirmButton
from napari_ld._gui.forms import ask_file, ask_where, button, combo, fold_button, text_line
from napari_ld.errors import NapariLDError
from napari_ld.model.own import card_of, delete_own, export_own, own_encoders, rename_own
from napari_ld.session import Session

_PATTERN = "LD encoders (*.safetensors)"


class OwnEncoders(QWidget):
    """List of the person's encoders, folded.

    Attributes
    ----------
    use_wanted : Signal(str)
        Name of an encoder that shall be used.
    import_wanted : Signal(str)
        Path of a file that shall be brought in.
    changed : Signal()
        An encoder was renamed or deleted.
    refused : Signal(str)
        What went wrong, in words; ``""`` when it is over.
    """

    use_wanted = Signal(str)
    import_wanted = Signal(str)
    changed = Signal()
    refused = Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        content = QWidget()
        self._rows = QVBoxLayout(content)
        self._rows.setContentsMargins(12, 0, 0, 0)
        self._rows.setSpacing(4)
        self.names = combo("ld_own_encoders", "Encoders you trained or brought in; each is used by its name")
        self.names.activated.connect(lambda row: self.refresh())
        self._card = text_line("ld_own_card")
        self._new = QLineEdit()
        self._new.setObjectName("ld_own_new_name")
        self._new.setPlaceholderText("new name, then Enter")
        self._new.setToolTip("New name of this encoder; Enter renames")
        self._new.returnPressed.connect(self._rename)
        self._new.hide()
        self._build_buttons()
        self.fold = fold_button("My encoders", "ld_own_fold", "Encoders you trained or brought in", content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.fold)
        layout.addWidget(content)
        self.list()

    def _build_buttons(self) -> None:
        self._use = button("Use", "ld_own_use", "Use this encoder from now on", self._use_it)
        self._rename_button = button("Rename", "ld_own_rename", "Give it another name", self._ask_name)
        self._export = button("Export …", "ld_own_export", "Write it as one file, to give it away", self._ask_export)
        bring = button(
            "Import …", "ld_own_import", "Bring in a file; it is checked and cannot run code", self._ask_import
        )
        self._delete = ConfirmButton("Delete", "Really?", "ld_own_delete", "Delete the file", self._delete_it)
        self._rows.addWidget(self.names)
        self._rows.addWidget(self._card)
        self._rows.addWidget(self._new)
        for widgets in ((self._use, self._rename_button, self._delete), (bring, self._export)):
            row = QHBoxLayout()
            for widget in widgets:
                row.addWidget(widget)
            self._rows.addLayout(row)

    @property
    def name(self) -> str:
        """The chosen encoder; ``""`` without any."""
        return str(self.names.currentData() or "")

    def list(self, chosen: str = "") -> None:
        """List what is in the folder; ``chosen`` or what was chosen before stays so."""
        chosen = chosen or self.name
        self.names.clear()
        for name in own_encoders():
            self.names.addItem(name, name)
        self.names.setCurrentIndex(max(self.names.findData(chosen), 0) if self.names.count() else -1)
        self.fold.setText(f"My encoders ({self.names.count()})")
        self.refresh()

    def refresh(self) -> None:
        """Show the card of the chosen one, and what can be done with it."""
        path = own_encoders().get(self.name)
        in_use = bool(self.name) and self._session.encoder == self.name
        try:
            text = card_of(path).text if path else "None yet. Train one, or import a file."
        except NapariLDError as error:
            text = str(error)
        self._card.setText(f"{text}\nin use" if in_use else text)
        self.names.setEnabled(path is not None)
        self._use.setEnabled(path is not None and not in_use)
        self._export.setEnabled(path is not None)
        for widget in (self._rename_button, self._delete):
            widget.setEnabled(path is not None and not in_use)
        if in_use:
            self._new.hide()

    def _use_it(self) -> None:
        self.use_wanted.emit(self.name)

    def _ask_name(self) -> None:
        self._new.setText(self.name)
        self._new.show()
        self._new.setFocus()
        self._new.selectAll()

    def _rename(self) -> None:
        new = self._new.text().strip()
        if self._try(lambda: rename_own(self.name, new)):
            self._new.hide()
            self.list(new)
            self.changed.emit()

    def _delete_it(self) -> None:
        if self._try(lambda: delete_own(self.name)):
            self.list()
            self.changed.emit()

    def _ask_import(self) -> None:
        ask_file(self, "ld_own_import_dialog", "Bring in an encoder", _PATTERN, self.import_wanted.emit)

    def _ask_export(self) -> None:
        name = self.name

        def export(path: str) -> None:
            self._try(lambda: export_own(name, Path(path)))

        ask_where(self, "ld_own_export_dialog", "Export the encoder", {"safetensors": _PATTERN}, export)

    def _try(self, action: Callable[[], object]) -> bool:
        try:
            action()
        except NapariLDError as error:
            self.refused.emit(str(error))
            return False
        self.refused.emit("")
        return True
