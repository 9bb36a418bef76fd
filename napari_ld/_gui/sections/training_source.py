"""What to learn from: the image of the panel, several layers of the viewer, or a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_ld._gui.forms import ask_folder, caption, combo
from napari_ld._types import Image
from napari_ld.session import Session
from napari_ld.session.compute import with_axes

THIS_LAYER, LAYERS, CHOOSE = "this layer", "several layers", "choose a folder …"
_LISTED = 4  # layers that are seen at once


class TrainingSource(QWidget):
    """Choice of images.

    Attributes
    ----------
    changed : Signal()
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._read: Callable[[int], Image] | None = None
        self._row = 0
        self.choice = combo(
            "ld_train_source",
            "Images to learn from; labels are not needed. This layer: all planes of the image that the panel works on",
        )
        for words, kind in ((THIS_LAYER, ""), (LAYERS, LAYERS), (CHOOSE, CHOOSE)):
            self.choice.addItem(words, kind)
        self.choice.activated.connect(self._chosen)
        self.layers = QListWidget()
        self.layers.setObjectName("ld_train_layers")
        self.layers.setToolTip("Layers to learn from: all planes of those that are ticked")
        self.layers.itemChanged.connect(lambda item: self.changed.emit())
        self.layers.hide()
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(4)
        row = QHBoxLayout()
        row.addWidget(caption("learn from", self.choice))
        row.addWidget(self.choice, 1)
        rows.addLayout(row)
        rows.addWidget(self.layers)

    @property
    def ready(self) -> bool:
        """Whether there is something to learn from."""
        source = self.choice.currentData()
        return {"": self._session.image is not None, LAYERS: bool(self._ticked)}.get(source, True)

    @property
    def folder(self) -> str:
        """The chosen folder; ``""`` when layers are chosen."""
        source = str(self.choice.currentData())
        return "" if source in ("", LAYERS) else source

    def images(self) -> tuple[Image, ...]:
        """The chosen layers; none when a folder is chosen.

        Raises
        ------
        ImageError
            When a layer cannot be learned from.
        """
        source = self.choice.currentData()
        if source == "":
            return self.this_layer()
        if source == LAYERS and self._read is not None:
            return tuple(self._read(row) for row in self._ticked)
        return ()

    def this_layer(self) -> tuple[Image, ...]:
        """The image that the panel works on, if there is one."""
        session = self._session
        return () if session.image is None else (with_axes(session.image, session.stack_kind),)

    def list_layers(self, names: Sequence[str], read: Callable[[int], Image]) -> None:
        """Offer the image layers of the viewer, all ticked at first; ``read`` gives the image of one."""
        known = {self._item(row).text() for row in range(self.layers.count())}
        ticked = {self._item(row).text() for row in self._ticked}
        self._read = read
        self.layers.clear()
        for name in names:
            item = QListWidgetItem(name)
            item.setFlags(Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled)
            left_out = name in known and name not in ticked
            item.setCheckState(Qt.CheckState.Unchecked if left_out else Qt.CheckState.Checked)
            self.layers.addItem(item)
        rows = min(max(len(names), 1), _LISTED)
        self.layers.setFixedHeight(rows * (self.layers.fontMetrics().height() + 6) + 6)
        self.changed.emit()

    def _item(self, row: int) -> QListWidgetItem:
        item = self.layers.item(row)
        assert item is not None  # rows are counted by the list itself
        return item

    @property
    def _ticked(self) -> list[int]:
        rows = range(self.layers.count())
        return [row for row in rows if self._item(row).checkState() == Qt.CheckState.Checked]

    def _chosen(self, row: int) -> None:
        if self.choice.itemData(row) == CHOOSE:
            self.choice.setCurrentIndex(self._row)  # until a folder is chosen
            ask_folder(self, "ld_train_folder_dialog", "Images to learn from", self._use_folder)
        self._show()

    def _use_folder(self, path: str) -> None:
        row = self.choice.findData(path)
        if row < 0:
            row = self.choice.count() - 1
            self.choice.insertItem(row, f"folder {Path(path).name}", path)
            self.choice.setItemData(row, path, Qt.ItemDataRole.ToolTipRole)
        self.choice.setCurrentIndex(row)
        self._show()

    def _show(self) -> None:
        self._row = self.choice.currentIndex()
        self.layers.setVisible(self.choice.currentData() == LAYERS)
        self.changed.emit()
