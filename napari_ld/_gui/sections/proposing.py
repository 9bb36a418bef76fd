"""What to look for: the kind of regions, how many, and examples of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QProgressBar,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_ld._gui.forms import ask_file, button, caption, combo, text_line
from napari_ld.errors import ModelFileError
from napari_ld.session import Session


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of proposal in words, and whether it needs examples or a model, or a number can be chosen.

    ``counted``: of the regions of a plane; ``grouped``: of the clusters of the stack.
    """

    title: str
    tip: str
    needs_examples: bool = False
    counted: bool = False
    grouped: bool = False
    needs_model: bool = False


# Kept here, since the table of proposers itself would load torch; a test compares them.
KINDS: dict[str, Kind] = {
    "clusters": Kind(
        "encoder's clusters", "what looks alike to the encoder: the same cluster on every image", grouped=True
    ),
    "hierarchy": Kind(
        "whole image", "divides the image along its boundaries into as many regions as you like", counted=True
    ),
    "like_examples": Kind("more like examples", "looks for the like of what you click or outline", needs_examples=True),
    "model": Kind(
        "model of mine",
        "what a segmenter or classifier finds that you trained with labels of your own",
        needs_model=True,
    ),
    "unusual": Kind("unusual places", "what is rare in this stack, as it may be a lesion"),
}
COUNTS = (5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1000, 1500, 2000)
CLUSTERS, MOST_CLUSTERS = 16, 64  # as ClusterParams has them; a test compares them
_SETTLE = 400  # ms after the last move of the slider, until all planes are cut anew


class ProposeForm(QWidget):
    """Upper part of the Regions section.

    Attributes
    ----------
    propose_wanted, cut_wanted : Signal(str, int)
        Kind of proposal, and how many regions a plane, or clusters the stack, shall have; ``cut`` is for the visible
        plane only.
    rest_wanted : Signal(str, int)
        The same, for the planes on which nothing is accepted.
    cancel_wanted : Signal()
    clusters_wanted : Signal()
        Show that many clusters, if they are shown.
    example_wanted : Signal(object)
        Take the next click as an example (True), as a counter-example (False), or no longer (None).
    outlines_wanted : Signal(bool)
        Take the outlines of the selected layer as examples (True) or counter-examples.
    failed : Signal(str)
        What cannot be used, in words; ``""`` after something that can.
    """

    propose_wanted = Signal(str, int)
    cut_wanted = Signal(str, int)
    rest_wanted = Signal(str, int)
    clusters_wanted = Signal()
    cancel_wanted = Signal()
    example_wanted = Signal(object)
    outlines_wanted = Signal(bool)
    failed = Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._on_rest = False  # whether the last search was for the planes on which nothing is accepted
        self.rows = QVBoxLayout(self)
        self.rows.setContentsMargins(0, 0, 0, 0)
        self.rows.setSpacing(5)
        self._build_proposing()
        self._build_examples()
        self._build_model()
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE)
        self._settle.timeout.connect(self.run)
        self._show_settled = QTimer(self)
        self._show_settled.setSingleShot(True)
        self._show_settled.setInterval(_SETTLE)
        self._show_settled.timeout.connect(self.clusters_wanted.emit)

    def _add_row(self, *widgets: QWidget, stretch: int) -> None:
        row = QHBoxLayout()
        row.setSpacing(5)
        for index, widget in enumerate(widgets):
            row.addWidget(widget, 1 if index == stretch else 0)
        self.rows.addLayout(row)

    def _build_proposing(self) -> None:
        self.kinds = combo("ld_kind_of_regions", "What kind of regions to propose")
        for name, kind in KINDS.items():
            self.kinds.addItem(kind.title, name)
            self.kinds.setItemData(self.kinds.count() - 1, kind.tip, Qt.ItemDataRole.ToolTipRole)
        self.kinds.setCurrentIndex(self.kinds.findData("hierarchy"))
        self.kinds.activated.connect(lambda row: self.refresh())
        self.propose = button(
            "Propose", "ld_propose", "Propose regions on all planes; you can begin to review at once", self.run,
            primary=True,
        )  # fmt: skip
        self.cancel = button(
            "Cancel", "ld_cancel_regions", "Stop proposing; what was found stays", self.cancel_wanted.emit
        )
        self._add_row(caption("find", self.kinds), self.kinds, self.propose, self.cancel, stretch=1)
        self.counts = QSlider(Qt.Orientation.Horizontal)
        self.counts.setObjectName("ld_region_count")
        self.counts.setRange(0, len(COUNTS) - 1)
        self.counts.setValue(COUNTS.index(100))
        self.counts.setToolTip("Fewer and larger, or more and smaller regions; decided regions stay as they are")
        self.counts.valueChanged.connect(self._count_chosen)
        self._count_text = text_line("ld_region_count_text")
        self._count_text.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        self._count_text.setFixedWidth(96)
        self._count_caption = caption("size", self.counts)
        self._add_row(self._count_caption, self.counts, self._count_text, stretch=1)
        self.clusters = QSpinBox()
        self.clusters.setObjectName("ld_cluster_count")
        self.clusters.setRange(2, MOST_CLUSTERS)
        self.clusters.setValue(CLUSTERS)
        self.clusters.setToolTip(
            "How many clusters the whole stack gets: fewer join what looks alike, more tell finer differences apart"
        )
        self.clusters.valueChanged.connect(self._clusters_chosen)
        self._clusters_caption = caption("clusters", self.clusters)
        self._add_row(self._clusters_caption, self.clusters, stretch=1)
        self.progress = QProgressBar()
        self.progress.setObjectName("ld_regions_progress")
        self.progress.setFixedHeight(14)
        self.progress.setToolTip("Planes on which regions were looked for")
        self.rows.addWidget(self.progress)

    def _build_examples(self) -> None:
        self.examples = QWidget()
        grid = QGridLayout(self.examples)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        self._examples_text = text_line("ld_examples_text")
        self.example = button("+ Click", "ld_example", "Click an example on the image", partial(self._await, True))
        self.counter = button(
            "− Click",
            "ld_counter_example",
            "Click a place that is not wanted on the image",
            partial(self._await, False),
        )
        for toggle in (self.example, self.counter):
            toggle.setCheckable(True)
        outlines = button(
            "+ Outlines", "ld_example_outlines", "Take the outlines of the selected Shapes or Labels layer as examples",
            partial(self.outlines_wanted.emit, True),
        )  # fmt: skip
        self.clear = button("Clear", "ld_clear_examples", "Forget all examples", self._session.clear_marks)
        grid.addWidget(self._examples_text, 0, 0, 1, 4)
        for column, widget in enumerate((self.example, self.counter, outlines, self.clear)):
            grid.addWidget(widget, 1, column)
        self.single = QCheckBox("one on each plane")
        self.single.setObjectName("ld_single")
        self.single.setToolTip(
            "Each plane holds one of what the examples show, in one piece: propose the likeliest, whatever its score"
        )
        self.single.toggled.connect(self._single_chosen)
        self.single.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        grid.addWidget(self.single, 2, 0, 1, 4)
        self.rows.addWidget(self.examples)

    def _build_model(self) -> None:
        self.model = button(
            "Model …", "ld_region_model", "Choose the file of a segmenter or classifier of yours", self._ask_model
        )
        self._model_text = text_line("ld_region_model_text")
        self._add_row(self.model, self._model_text, stretch=1)

    def _ask_model(self) -> None:
        ask_file(self, "ld_region_model_dialog", "Choose a model", "Models (*.safetensors)", self.choose_model)

    def choose_model(self, file: str) -> None:
        """Take a file as the model that proposes, or say why it cannot be."""
        try:
            self._session.choose_model(file)
            self.failed.emit("")
        except ModelFileError as error:
            self.failed.emit(str(error))

    @property
    def kind(self) -> str:
        """Chosen kind of proposal."""
        return str(self.kinds.currentData())

    @property
    def count(self) -> int:
        """Chosen number of regions on a plane, or of clusters."""
        return self.clusters.value() if KINDS[self.kind].grouped else COUNTS[self.counts.value()]

    def choose(self, kind: str) -> None:
        """Choose a kind of proposal."""
        self.kinds.setCurrentIndex(self.kinds.findData(kind))
        self.refresh()

    def run(self) -> None:
        """Ask for proposals on all planes."""
        self._settle.stop()
        self._on_rest = False
        self.propose_wanted.emit(self.kind, self.count)

    def run_on_rest(self) -> None:
        """Ask for proposals on the planes on which nothing is accepted."""
        self._settle.stop()
        self._on_rest = True
        self.rest_wanted.emit(self.kind, self.count)

    def _single_chosen(self, single: bool) -> None:
        """Search again at once, where the last search left off."""
        self._session.choose_single(single)
        if self._session.marks:
            (self.rest_wanted if self._on_rest else self.propose_wanted).emit(self.kind, self.count)

    def _clusters_chosen(self, value: int) -> None:
        self._session.choose_cluster_count(value)
        self._show_settled.start()

    def _count_chosen(self, value: int) -> None:
        self._show_count()
        if self._session.regions.book.items and self.kind == "hierarchy":
            if self._session.stack_kind != "volume":
                self.cut_wanted.emit(self.kind, self.count)
            if self._session.n_planes > 1:
                self._settle.start()

    def _await(self, positive: bool) -> None:
        pressed = self.example if positive else self.counter
        self.example_wanted.emit(positive if pressed.isChecked() else None)

    def show_waiting(self, awaited: bool | None) -> None:
        """Show which click is awaited."""
        self.example.setChecked(awaited is True)
        self.counter.setChecked(awaited is False)

    def refresh(self) -> None:
        """Show the session as it is."""
        self._show_count()
        self._show_progress()
        self._show_examples()
        needs_model = KINDS[self.kind].needs_model
        for widget in (self.model, self._model_text):
            widget.setVisible(needs_model)
        self._model_text.setText(Path(self._session.model).name or "Choose a segmenter or classifier of yours.")
        ready = self._session.image is not None and bool(self._session.encoder)
        self.propose.setEnabled(ready and (bool(self._session.model) or not needs_model))

    def _show_count(self) -> None:
        for widget in (self._count_caption, self.counts, self._count_text):
            widget.setVisible(KINDS[self.kind].counted)
        for field in (self._clusters_caption, self.clusters):
            field.setVisible(KINDS[self.kind].grouped)
        whole = self._session.n_planes == 1 or self._session.stack_kind == "volume"
        self._count_text.setText(f"{self.count} regions" if whole else f"{self.count} a plane")

    def _show_progress(self) -> None:
        proposing = self._session.proposing
        self.progress.setVisible(proposing.running)
        self.cancel.setVisible(proposing.running)
        self.propose.setVisible(not proposing.running)
        self.progress.setRange(0, proposing.total if proposing.done else 0)
        self.progress.setValue(proposing.done)
        self.progress.setFormat(f"{proposing.done} / {proposing.total} planes")

    def _show_examples(self) -> None:
        marks = self._session.marks
        wanted = KINDS[self.kind].needs_examples
        self.examples.setVisible(wanted)
        good = sum(mark.positive for mark in marks)
        self._examples_text.setText(
            f"Examples: {good} wanted, {len(marks) - good} not wanted." if marks
            else "Give an example: click it, or outline it in a Shapes or Labels layer."
        )  # fmt: skip
        self.clear.setEnabled(bool(marks))
