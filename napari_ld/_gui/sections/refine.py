"""Section Refine: make rough labels fit the image, looking first and taking back at will."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QGridLayout, QProgressBar

from napari_ld._gui.forms import Section, button, caption, combo, text_line
from napari_ld._gui.refine_desk import RefineDesk
from napari_ld.session import Session


@dataclass(frozen=True, slots=True)
class Method:
    """A refiner in words."""

    title: str
    tip: str


# Kept here, since the table of refiners itself would load torch; a test compares them.
METHODS: dict[str, Method] = {
    "prototype": Method(
        "What looks like its core",
        "Learns from the sure core of each label and from its surroundings what it looks like, and follows the edges "
        "of the image. The best one on the images it was measured on.",
    ),
    "learnt": Method(
        "What a network learned",
        "As the first one; then a small network, which learned from labels that had been made worse, corrects it",
    ),
    "embedding_walker": Method(
        "Random walker on the embedding",
        "Begins as the first one; then walkers that cross neither edges of the image nor of what the encoder sees",
    ),
    "boundary_snap": Method(
        "Snap to the nearest edge", "Moves each contour to the steepest edge near it; quick, needs no encoder"
    ),
    "watershed": Method(
        "Watershed of the gradient", "Floods a band around each contour up to the edges; quick, needs no encoder"
    ),
}
ACCEPTED = "accepted masks"
NO_SCRIBBLES = "none"


class RefineSection(Section):
    """Choices, preview and application."""

    def __init__(self, session: Session) -> None:
        super().__init__("Refine", "refine")
        self._session = session
        self._desk: RefineDesk | None = None
        self._refused = ""
        self._build_choices()
        self._build_actions()
        self._report = text_line("ld_refine_report")
        self.rows.addWidget(self._report)
        self.opened.connect(lambda: self.preview.setFocus())

    def _build_choices(self) -> None:
        self.labels = combo("ld_refine_labels", "Labels to refine: the accepted masks, or a Labels layer of yours")
        self.method = combo("ld_refine_method", "How the labels are refined")
        for name, method in METHODS.items():
            self.method.addItem(method.title, name)
            self.method.setItemData(self.method.count() - 1, method.tip, Qt.ItemDataRole.ToolTipRole)
        self.scribbles = combo(
            "ld_refine_scribbles",
            "A Labels layer in which you scribbled what you are sure of: the number of a label where it is, any other "
            "number where there is none",
        )
        grid = QGridLayout()
        grid.setSpacing(4)
        grid.setColumnStretch(1, 1)
        boxes = {"labels": self.labels, "method": self.method, "scribbles": self.scribbles}
        for row, (word, box) in enumerate(boxes.items()):
            grid.addWidget(caption(word, box), row, 0)
            grid.addWidget(box, row, 1)
            box.activated.connect(lambda chosen: self._choose())
        self.rows.addLayout(grid)

    def _build_actions(self) -> None:
        self.preview = button(
            "Preview  P",
            "ld_refine_preview",
            "Show as a yellow contour what refining would change on the shown plane, and keep up with the plane, the "
            "method and your edits; the labels stay as they are",
            lambda: self.toggle_preview(),
        )
        self.preview.setCheckable(True)
        self.before = button(
            "Before  B",
            "ld_refine_before",
            "Show as a white contour how the labels are without refining, or were before it was applied",
            lambda: self.toggle_before(),
        )
        self.before.setCheckable(True)
        self.add_row(self.preview, self.before)
        self.plane = button(
            "Apply to plane", "ld_refine_plane", "Refine the labels on the shown plane; undo takes it back",
            lambda: self._apply(stack=False), primary=True,
        )  # fmt: skip
        self.stack = button("Apply to stack", "ld_refine_stack", "", lambda: self._apply(stack=True))
        self.progress = QProgressBar()
        self.progress.setObjectName("ld_refine_progress")
        self.progress.setToolTip("How much is refined; it is applied when all of it is")
        self.cancel = button("Cancel", "ld_refine_cancel", "Stop; nothing is applied", self._cancel)
        self.add_row(self.plane, self.stack)
        self.add_row(self.progress, self.cancel, stretch=0)

    def attach(self, desk: RefineDesk) -> None:
        """Work with a desk."""
        self._desk = desk
        desk.changed.connect(self.refresh)
        desk.refused.connect(self._on_refused)
        self._session.refining_changed.connect(self.refresh)

    # --- what a person does -------------------------------------------------------------------------------------------

    def toggle_preview(self) -> None:
        """Turn the preview on or off."""
        if self._desk is not None:
            self._desk.toggle_preview()

    def toggle_before(self) -> None:
        """Show the labels before or after."""
        if self._desk is not None:
            self._desk.toggle_before()

    def _choose(self) -> None:
        if self._desk is not None:
            self._desk.choose(self.labels.currentData(), self.scribbles.currentData(), str(self.method.currentData()))

    def _apply(self, *, stack: bool) -> None:
        if self._desk is not None:
            self._desk.apply(stack=stack)

    def _cancel(self) -> None:
        if self._desk is not None:
            self._desk.cancel()

    def _on_refused(self, text: str) -> None:
        self._refused = text
        self.refresh()

    # --- what it shows ------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the session and the desk as they are."""
        desk, session, refining = self._desk, self._session, self._session.refining
        if desk is None or not self.is_open:
            return
        names = desk.choice.own.names()
        _list(self.labels, {None: ACCEPTED, **names}, desk.choice.labels)
        others = {key: name for key, name in names.items() if key != desk.choice.labels}
        _list(self.scribbles, {None: NO_SCRIBBLES, **others}, desk.choice.scribbles)
        self.method.setCurrentIndex(self.method.findData(desk.method))
        ready = session.image is not None and bool(session.encoder)
        there = desk.choice.there
        self.preview.setChecked(desk.previewing)
        self.preview.setText("Preview …" if desk.busy else "Preview  P")
        self.before.setChecked(desk.before)
        self.before.setEnabled(desk.previewing or desk.before or bool(session.applied))
        for widget in (self.preview, self.plane, self.stack):
            widget.setEnabled(ready and there and not refining.running)
        for widget in (self.plane, self.stack):
            widget.setVisible(not refining.running)
        self.stack.setVisible(session.n_planes > 1 and not refining.running)
        self._name_stack()
        self._show_progress()
        self.show_error(refining.error or self._refused)
        self._report.setText("\n".join([refining.heading, *refining.report]).strip())
        self._report.setVisible(bool(self._report.text()))

    def _name_stack(self) -> None:
        volume = self._session.stack_kind == "volume"
        self.plane.setText("Apply" if self._session.n_planes == 1 else "Apply to plane")
        self.stack.setText("Apply to volume" if volume else "Apply to stack")
        self.stack.setToolTip(
            "Refine all slices together, in three dimensions and with the distance between slices; one step of undo"
            if volume
            else "Refine the labels plane by plane; one step of undo"
        )

    def _show_progress(self) -> None:
        refining = self._session.refining
        self.progress.setVisible(refining.running)
        self.cancel.setVisible(refining.running)
        together = refining.solid and refining.done + 1 >= refining.total
        self.progress.setRange(0, 0 if together or not refining.done else refining.total)
        self.progress.setValue(refining.done)
        unit = "slices embedded" if refining.solid else "planes"
        self.progress.setFormat(f"{refining.done} / {refining.total - refining.solid} {unit}")

    @property
    def guidance(self) -> str:
        """What is going on, and what to do next."""
        session, desk = self._session, self._desk
        refining = session.refining
        if session.image is None:
            return "Open an image, or start with one of the samples above."
        if desk is None or not desk.choice.there:
            return "There are no labels yet. Accept regions, or add a Labels layer and outline the structure roughly."
        if refining.running and refining.solid and refining.done + 1 >= refining.total:
            return f"Refining {max(1, refining.total - 1)} slices together …"
        if refining.running:
            return "Refining. You can go on working; it is applied when all of it is done."
        if desk.busy:
            return "Computing the preview …"
        if desk.previewing:
            return "Yellow: refined. B shows the labels before. Apply takes it over; P ends the preview."
        if session.applied:
            return "Applied. B shows the labels before; Undo takes it back."
        return "Press P to see what refining would change, then Apply."


def _list(box: QComboBox, names: dict[int | None, str], chosen: int | None) -> None:
    """Fill a box, but only when its entries are others now: an open list would close."""
    present = {box.itemData(row): box.itemText(row) for row in range(box.count())}
    if present != names or list(present) != list(names):
        box.clear()
        for key, name in names.items():
            box.addItem(name, key)
    box.setCurrentIndex(list(names).index(chosen) if chosen in names else 0)
