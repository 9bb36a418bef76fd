"""What shall be trained: an encoder, or a model that segments, with the masks that it learns from."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QGridLayout, QVBoxLayout, QWidget

from napari_ld._gui.forms import ask_folder, caption, combo, text_line
from napari_ld._gui.label_layers import LabelLayers, plane_count, reader
from napari_ld.session import Session
from napari_ld.session.refine_work import accepted_reader
from napari_ld.session.training_tasks import CONTRASTS, TASKS, WORKING_SIZES, Lesson

ENCODER, NONE, CHOOSE = "an encoder", "none yet", "choose a folder …"


class TaskForm(QWidget):
    """Choice of what is trained, and of its masks.

    Attributes
    ----------
    changed : Signal()
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._layers: LabelLayers | None = None
        self._row = 0
        self.task = combo(
            "ld_train_task",
            "An encoder learns from images alone. A model that segments learns from masks as well; what it finds can\n"
            "then be proposed under Regions.",
        )
        self.task.addItem(ENCODER, "")
        for name, task in TASKS.items():
            self.task.addItem(task.title, name)
            self.task.setItemData(self.task.count() - 1, task.tip, Qt.ItemDataRole.ToolTipRole)
        self.masks = combo(
            "ld_train_masks",
            "Masks of the structure in another modality, of other people: a folder, or a Labels layer. They need not\n"
            "belong to these images. Ten are enough.",
        )
        self.masks.addItem(NONE, "")
        self.masks.addItem(CHOOSE, CHOOSE)
        self.contrast = combo("ld_train_contrast", "How the structure stands out on your images")
        for name, title in CONTRASTS.items():
            self.contrast.addItem(title, name)
        self.seen = combo(
            "ld_train_size", "Longest side, in pixels, at which the model sees an image: larger for thin structures"
        )
        for side in WORKING_SIZES:
            self.seen.addItem(f"{side} px", side)
        self.seen.setCurrentIndex(WORKING_SIZES.index(512))
        self._about = text_line("ld_train_task_about")
        self._lay_out()
        self.task.activated.connect(lambda row: self._show())
        self.masks.activated.connect(self._masks_chosen)
        for box in (self.contrast, self.seen):
            box.activated.connect(lambda row: self.changed.emit())
        self._show()

    def _lay_out(self) -> None:
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(4)
        grid = QGridLayout()
        grid.setSpacing(4)
        grid.setColumnStretch(1, 1)
        self._lines: dict[QComboBox, QWidget] = {}
        boxes: dict[str, QComboBox] = {
            "train": self.task,
            "masks": self.masks,
            "contrast": self.contrast,
            "seen at": self.seen,
        }
        for row, (words, box) in enumerate(boxes.items()):
            self._lines[box] = caption(words, box)
            grid.addWidget(self._lines[box], row, 0)
            grid.addWidget(box, row, 1)
        rows.addLayout(grid)
        rows.addWidget(self._about)

    def attach(self, layers: LabelLayers) -> None:
        """Offer the person's Labels layers as masks."""
        self._layers = layers
        layers.changed.connect(self._list_layers)
        self._list_layers()

    @property
    def name(self) -> str:
        """The chosen task; ``""``: an encoder."""
        return str(self.task.currentData())

    @property
    def missing(self) -> str:
        """What has to be chosen or done before a model can be trained; ``""``: nothing."""
        if self.name == "segmentation" and not self._session.regions.book.canvas.planes:
            return "Accept regions on a plane or two first: all that belongs to a class there."
        if self.name == "shapes" and self.masks.currentData() == "":
            return "Choose masks that show the shape: a folder, or a Labels layer."
        return ""

    def lesson(self) -> Lesson | None:
        """What a model shall be trained with; None: an encoder is trained."""
        if not self.name:
            return None
        size, contrast = int(self.seen.currentData()), str(self.contrast.currentData())
        if self.name == "segmentation":
            book = self._session.regions.book
            return Lesson(self.name, "", accepted_reader(book), tuple(sorted(book.canvas.planes)), size)
        chosen = self.masks.currentData()
        if isinstance(chosen, str):
            return Lesson(self.name, chosen, working_size=size, contrast=contrast)
        layer = self._layers.get(chosen) if self._layers is not None else None
        if layer is None:
            return Lesson(self.name, working_size=size, contrast=contrast)
        return Lesson(self.name, "", reader(layer), tuple(range(plane_count(layer))), size, contrast)

    def _list_layers(self) -> None:
        """Offer the Labels layers there are now; the choice stays."""
        chosen = self.masks.currentData()
        folders = [(self.masks.itemText(row), self.masks.itemData(row)) for row in range(self.masks.count())]
        self.masks.clear()
        self.masks.addItem(*folders[0])
        for key, name in (self._layers.names() if self._layers is not None else {}).items():
            self.masks.addItem(f"layer {name}", key)
        for text, data in folders[1:]:
            if isinstance(data, str):
                self.masks.addItem(text, data)
        self.masks.setCurrentIndex(max(self.masks.findData(chosen), 0))
        self._row = self.masks.currentIndex()
        self.changed.emit()

    def _masks_chosen(self, row: int) -> None:
        if self.masks.itemData(row) == CHOOSE:
            self.masks.setCurrentIndex(self._row)  # until a folder is chosen
            ask_folder(self, "ld_train_masks_dialog", "Masks that show the shape", self._use_folder)
        self._row = self.masks.currentIndex()
        self._show()

    def _use_folder(self, path: str) -> None:
        row = self.masks.findData(path)
        if row < 0:
            row = self.masks.count() - 1
            self.masks.insertItem(row, f"folder {Path(path).name}", path)
            self.masks.setItemData(row, path, Qt.ItemDataRole.ToolTipRole)
        self.masks.setCurrentIndex(row)
        self._row = row
        self._show()

    def refresh(self) -> None:
        """Show what there is to learn from now."""
        shown = {self.masks: "shapes", self.contrast: "shapes", self.seen: "shapes segmentation"}
        for box, tasks in shown.items():
            for widget in (box, self._lines[box]):
                widget.setVisible(bool(self.name) and self.name in tasks)
        self._about.setText(self._words())
        self._about.setVisible(bool(self._about.text()))

    def _words(self) -> str:
        count = len(self._session.regions.book.canvas.planes)
        if self.name != "segmentation" or not count:
            return ""
        return f"Learns from {count} plane{'' if count == 1 else 's'} with accepted masks."

    def _show(self) -> None:
        self.refresh()
        self.changed.emit()
