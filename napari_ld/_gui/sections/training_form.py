"""What to train on, for how long, and, folded away, how."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QHBoxLayout, QRadioButton, QVBoxLayout, QWidget

from napari_ld._gui.forms import ask_folder, button, caption, combo, fold_button, text_line
from napari_ld.model.own import own_encoders
from napari_ld.model.zoo import list_models
from napari_ld.session import Session
from napari_ld.session.training import METHODS, PRESETS, DeviceChoice, TrainRequest
from napari_ld.session.training_runs import runs_folder

THIS_LAYER, CHOOSE = "this layer", "choose a folder …"
SCRATCH = "scratch (random weights)"


class TrainingForm(QWidget):
    """Upper part of the Train section.

    Attributes
    ----------
    start_wanted : Signal(object)
        A :class:`TrainRequest`.
    cancel_wanted, details_wanted : Signal()
        Do not start after all; the details were unfolded for the first time.
    """

    start_wanted = Signal(object)
    cancel_wanted = Signal()
    details_wanted = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._asked = False
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.setSpacing(4)
        self._build_source()
        self._build_presets()
        self._build_details()

    def _build_source(self) -> None:
        self.source = combo(
            "ld_train_source", "Images to learn from; labels are not needed. This layer: all its planes"
        )
        self.source.addItem(THIS_LAYER, "")
        self.source.addItem(CHOOSE, CHOOSE)
        self.source.activated.connect(self._source_chosen)
        row = QHBoxLayout()
        row.addWidget(caption("learn from", self.source))
        row.addWidget(self.source, 1)
        self._rows.addLayout(row)

    def _build_presets(self) -> None:
        self._presets = QButtonGroup(self)
        row = QHBoxLayout()
        row.setSpacing(10)
        for number, (name, preset) in enumerate(PRESETS.items()):
            choice = QRadioButton(preset.title.replace(" ", "\n", 1))
            choice.setObjectName(f"ld_preset_{name}")
            choice.setToolTip(preset.tip)
            self._presets.addButton(choice, number)
            row.addWidget(choice)
        self._presets.buttons()[0].setChecked(True)
        row.addStretch(1)
        self.start = button(
            "Start", "ld_train_start", "Train in the background; the run goes on when napari is closed",
            self._start, primary=True,
        )  # fmt: skip
        self.cancel = button("Cancel", "ld_train_cancel", "Do not start after all", self.cancel_wanted.emit)
        row.addWidget(self.start, 0, Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self.cancel, 0, Qt.AlignmentFlag.AlignVCenter)
        self._rows.addLayout(row)

    def _build_details(self) -> None:
        content = QWidget()
        grid = QGridLayout(content)
        grid.setContentsMargins(12, 0, 0, 0)
        grid.setVerticalSpacing(3)
        grid.setColumnStretch(1, 1)
        self.init = combo("ld_train_init", "Encoder whose knowledge is the start; from scratch takes much longer")
        self.method = combo("ld_train_method", "How the encoder learns without labels; docs/methods.md compares them")
        self.device = combo("ld_train_device", "Where training runs")
        for name, title in METHODS.items():
            self.method.addItem(title, name)
        self.device.addItem("auto", "auto")
        self.device.activated.connect(lambda row: self._show_reason())
        rows = (("start from", self.init), ("method", self.method), ("device", self.device))
        for row, (words, control) in enumerate(rows):
            grid.addWidget(caption(words, control), row, 0)
            grid.addWidget(control, row, 1)
        self._reason = text_line("ld_train_device_reason")
        grid.addWidget(self._reason, len(rows), 0, 1, 2)
        self._reasons: dict[str, str] = {}
        self.details = fold_button("Details", "ld_train_details", "Start, method and device", content)
        self.details.toggled.connect(self._ask)
        self._rows.addWidget(self.details)
        self._rows.addWidget(content)
        self.list_encoders()

    def _ask(self, open_: bool) -> None:
        if open_ and not self._asked:
            self._asked = True
            self._reason.setText("looking what this machine has …")
            self.details_wanted.emit()

    def show_devices(self, choices: list[DeviceChoice]) -> None:
        """Offer the devices there are, each with its reason."""
        self.device.clear()
        for choice in choices:
            self.device.addItem(choice.name, choice.name)
        self._reasons = {choice.name: choice.reason for choice in choices}
        self._show_reason()

    def _show_reason(self) -> None:
        self._reason.setText(self._reasons.get(self.device.currentText(), ""))

    def list_encoders(self) -> None:
        """Offer the bundled encoders, the person's own, and none as the start; the choice stays."""
        chosen = self.init.currentData()
        self.init.clear()
        for name in (*list_models(), *own_encoders()):
            self.init.addItem(name, name)
        self.init.addItem(SCRATCH, "")
        self.init.setCurrentIndex(max(self.init.findData(chosen), 0))

    def _source_chosen(self, row: int) -> None:
        if self.source.itemData(row) == CHOOSE:
            self.source.setCurrentIndex(0)
            ask_folder(self, "ld_train_folder_dialog", "Images to learn from", self._use_folder)

    def _use_folder(self, path: str) -> None:
        row = self.source.findData(path)
        if row < 0:
            row = self.source.count() - 1
            self.source.insertItem(row, f"folder {Path(path).name}", path)
            self.source.setItemData(row, path, Qt.ItemDataRole.ToolTipRole)
        self.source.setCurrentIndex(row)
        self.refresh(starting=False)

    def _start(self) -> None:
        folder = str(self.source.currentData())
        session = self._session
        self.start_wanted.emit(
            TrainRequest(
                runs_folder(),
                None if folder else session.image,
                folder,
                list(PRESETS)[self._presets.checkedId()],
                str(self.method.currentData()),
                str(self.init.currentData()),
                str(self.device.currentText()),
                session.stack_kind,
            )
        )

    def refresh(self, *, starting: bool) -> None:
        """Show whether a start is possible, or under way."""
        self.start.setVisible(not starting)
        self.cancel.setVisible(starting)
        self.start.setEnabled(bool(self.source.currentData()) or self._session.image is not None)
