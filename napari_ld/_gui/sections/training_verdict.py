"""What becomes of a run's encoder: compared with the one in use, then used, kept beside it, or discarded."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_ld._gui.confirm import ConfirmButton
from napari_ld._gui.forms import ask_where, button, text_line
from napari_ld._gui.training_desk import TrainingDesk
from napari_ld.errors import NapariLDError
from napari_ld.model.own import copy_model
from napari_ld.session import Session
from napari_ld.session.encoder_comparison import Compared, Comparing, verified_points
from napari_ld.session.training_runs import RunState

_LISTED = 4  # places that are seen at once


class TrainingVerdict(QWidget):
    """Comparison and decision; of a model that segments, its use.

    Attributes
    ----------
    propose_wanted : Signal(str)
        The person wants the model in this file to propose regions.
    refused : Signal(str)
        Why a model cannot be saved; ``""`` when it was.
    plane_wanted : Signal(int)
        The person wants to see a place that became worse.
    """

    plane_wanted = Signal(int)
    propose_wanted = Signal(str)
    refused = Signal(str)

    def __init__(self, session: Session, desk: TrainingDesk) -> None:
        super().__init__()
        self._session, self._desk = session, desk
        self.compare = button("Compare", "ld_train_compare", "", desk.compare)
        self.use = button(
            "Use new", "ld_train_use", "Keep it among your encoders and use it from now on",
            lambda: desk.keep(use=True),
        )  # fmt: skip
        self.keep = button(
            "Keep both", "ld_train_keep", "Keep it among your encoders, and go on with the present one",
            lambda: desk.keep(use=False),
        )  # fmt: skip
        self.discard = ConfirmButton(
            "Discard",
            "Really?",
            "ld_train_discard",
            "Delete this run; what you kept or saved of it stays",
            desk.discard,
        )
        self.propose = button(
            "Propose with it", "ld_train_propose", "Let this model propose regions on all planes, for review",
            self._propose, primary=True,
        )  # fmt: skip
        self.save = button(
            "Save model …", "ld_train_save_model", "Write the model to a file, to be used elsewhere",
            self._ask_save,
        )  # fmt: skip
        self._text = text_line("ld_train_verdict")
        self.worse = QListWidget()
        self.worse.setObjectName("ld_train_worse")
        self.worse.setToolTip("Where the new encoder does worse than the one in use; a click shows the plane")
        self.worse.itemClicked.connect(self._go)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(4)
        row = QHBoxLayout()
        row.setSpacing(5)
        for widget in (self.compare, self.use, self.keep, self.propose, self.save, self.discard):
            row.addWidget(widget)
        row.addStretch(1)
        rows.addLayout(row)
        rows.addWidget(self._text)
        rows.addWidget(self.worse)
        self.forget()

    def forget(self) -> None:
        """Another run is shown: what was compared says nothing of it."""
        self._text.setText("")
        self._list_worse(Compared(()))
        self.discard.calm()

    def take(self, answer: Comparing | Compared) -> None:
        """Show how far the comparison is, or what it found."""
        if isinstance(answer, Comparing):
            self._text.setText(f"Looking at the image with the {'old' if answer.number == 1 else 'new'} encoder …")
            self._list_worse(Compared(()))
        else:
            self._text.setText(answer.text)
            self._list_worse(answer)

    def _list_worse(self, result: Compared) -> None:
        self.worse.clear()
        for judgement, one in result.worse:
            item = QListWidgetItem(
                f"worse: {one.name}, plane {one.plane}: {one.old:.2g} → {one.new:.2g} {judgement.unit}"
            )
            item.setData(Qt.ItemDataRole.UserRole, one.plane)
            self.worse.addItem(item)
        rows = min(self.worse.count(), _LISTED)
        self.worse.setFixedHeight(rows * (self.worse.fontMetrics().height() + 6) + 6)
        self.worse.setVisible(rows > 0)

    def _propose(self) -> None:
        run = self._desk.run
        if run is not None and run.model is not None:
            self.propose_wanted.emit(str(run.model))

    def _ask_save(self) -> None:
        run = self._desk.run
        model = None if run is None else run.model
        if model is None:
            return

        def save(path: str) -> None:
            try:
                copy_model(model, Path(path))
            except NapariLDError as error:
                self.refused.emit(str(error))
            else:
                self.refused.emit("")

        ask_where(self, "ld_train_save_dialog", "Save the model", {"safetensors": "Models (*.safetensors)"}, save)

    def _go(self, item: QListWidgetItem) -> None:
        self.plane_wanted.emit(int(item.data(Qt.ItemDataRole.UserRole)))

    def show_run(self, run: RunState) -> None:
        """Offer what can be done with this run."""
        ready = not run.held and run.encoder is not None
        for widget in (self.compare, self.use, self.keep):
            widget.setVisible(ready)
        model = not run.held and run.model is not None
        for widget in (self.propose, self.save):
            widget.setVisible(model)
        self.propose.setEnabled(self._session.image is not None)
        self.discard.setVisible(not run.held)
        self.compare.setEnabled(self._session.image is not None and not self._desk.comparing)
        own = bool(verified_points(self._session.state) or self._session.regions.book.classes)
        self.compare.setToolTip(
            "Old against new encoder on this image, "
            f"{'on your verified landmarks and accepted masks' if own else 'on known warps'}; "
            "and on the embedded samples, to see what was forgotten"
        )
        self._text.setVisible(ready and bool(self._text.text()))
        self.worse.setVisible(ready and self.worse.count() > 0)
