"""Section Regions: propose, look at one after the other, accept or reject, save."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QGridLayout,
    QHeaderView,
    QPushButton,
    QSizePolicy,
    QSpinBox,
)

from napari_ld._gui.accepted import CLASS_COLOURS
from napari_ld._gui.files import mask_formats, mask_place
from napari_ld._gui.forms import Section, ask_where, button, caption, combo, text_line
from napari_ld._gui.histogram import ScoreHistogram
from napari_ld._gui.region_table import RegionModel, area_text
from napari_ld._gui.sections.proposing import KINDS, ProposeForm
from napari_ld._gui.tables import table
from napari_ld._gui.thumbnails import SIDE
from napari_ld.errors import NapariLDError, RegionError
from napari_ld.session import Session
from napari_ld.session.queue import Filter
from napari_ld.session.requests import Mark

SHOWN = {
    "to decide": "regions that nobody decided about",
    "accepted": "regions you accepted",
    "rejected": "regions you rejected",
    "all": "all regions",
}
VIEWS = {
    "": ("image only", "nothing over the image"),
    "embedding": ("encoder's view", "three main components of the features as colours, the same over the whole stack"),
    "clusters": (
        "clusters",
        "what looks alike to the encoder: the same colour means the same kind of structure",
    ),
    "similarity": ("like the mouse", "bright where the encoder sees the like of the point under the mouse"),
}


class RegionsSection(Section):
    """Proposals of the image and the decisions about them.

    Attributes
    ----------
    form : ProposeForm
    look_wanted : Signal()
        Bring the current region into view, and give its layer the keys.
    view_wanted, save_wanted : Signal(str)
        A key of :data:`VIEWS`; a path.
    """

    look_wanted = Signal()
    view_wanted = Signal(str)
    save_wanted = Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__("Regions", "regions")
        self._session = session
        self.visible_plane = 0
        self.saved = ""
        self.form = ProposeForm(session)
        self.form.failed.connect(self.show_error)
        self.rows.addWidget(self.form)
        self._build_scores()
        self._build_list()
        self._build_decisions()
        self._build_results()
        self.refresh()

    # --- what it is made of -------------------------------------------------------------------------------------------

    def _build_scores(self) -> None:
        self.histogram = ScoreHistogram(
            "ld_scores", "How many undecided regions have which score; drag the line to list only the better ones"
        )
        self.histogram.threshold_changed.connect(lambda threshold: self._filter())
        self.rows.addWidget(self.histogram)
        self.accept_all = button(
            "Accept all", "ld_accept_all",
            "Accept all listed regions at once, on pixels that nobody decided about or painted  (⇧A)",
            self.accept_listed,
        )  # fmt: skip
        self._score_text = text_line("ld_score_text")
        self.add_row(self._score_text, self.accept_all, stretch=0)

    def _build_list(self) -> None:
        self.shown = combo("ld_shown_regions", "Which regions to list")
        for name, meaning in SHOWN.items():
            self.shown.addItem(name)
            self.shown.setItemData(self.shown.count() - 1, meaning, Qt.ItemDataRole.ToolTipRole)
        self.shown.activated.connect(lambda row: self._filter())
        self.smallest = QSpinBox()
        self.smallest.setObjectName("ld_smallest_region")
        self.smallest.setRange(0, 10_000_000)
        self.smallest.setSingleStep(10)
        self.smallest.setSuffix(" px")
        self.smallest.setSpecialValueText("any size")
        self.smallest.setMinimumWidth(110)
        self.smallest.setToolTip("List only regions of at least this area")
        self.smallest.valueChanged.connect(lambda value: self._filter())
        self.this_plane = QCheckBox("this plane")
        self.this_plane.setObjectName("ld_this_plane")
        self.this_plane.setToolTip("List only regions on the plane that is shown")
        self.this_plane.toggled.connect(lambda on: self._filter())
        self.add_row(caption("list", self.shown), self.shown, self.this_plane, stretch=1)
        self.add_row(caption("area at least", self.smallest), self.smallest, stretch=1)
        self.regions = RegionModel(self._session)
        self.table = table("ld_regions", self.regions, "Regions, the best first; click one to look at it")
        self.table.setIconSize(QSize(SIDE, SIDE))
        header = self.table.verticalHeader()
        if header is not None:
            header.setDefaultSectionSize(SIDE + 3)
        self.table.setMinimumHeight(92)
        self.table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        columns = self.table.horizontalHeader()
        if columns is not None:
            columns.setStretchLastSection(False)
            columns.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            for column, width in ((1, 46), (2, 74), (3, 48), (4, 46)):
                columns.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
                self.table.setColumnWidth(column, width)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.clicked.connect(lambda index: self._row_chosen(index.row()))
        selection = self.table.selectionModel()
        if selection is not None:
            selection.currentRowChanged.connect(lambda now, before: self._row_moved(now.row()))
        self.rows.addWidget(self.table, 1)

    def _build_decisions(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(4)
        review = self._session.regions
        self.decisions: list[QPushButton] = []
        actions: dict[str, tuple[str, str, Callable[[], object]]] = {
            "ld_accept": ("Accept  A", "The region is right: its pixels get the class below", review.accept),
            "ld_reject": ("Reject  R", "The region is wrong; regions like it go down in the list", review.reject),
            "ld_merge": ("Merge  M", "Make one region of this one and the neighbour most like it", review.merge),
            "ld_split": ("Split  S", "Cut the region into its parts", review.split),
            "ld_grow": ("Grow  G", "Add the surroundings most like the region", partial(review.grow, 1)),
            "ld_shrink": ("Shrink  ⇧G", "Take away what is least like the region", partial(review.grow, -1)),
        }
        for place, (name, (text, tip, action)) in enumerate(actions.items()):
            widget = button(text, name, tip, partial(self.act, action))
            self.decisions.append(widget)
            grid.addWidget(widget, place // 2, place % 2)
        self.rows.addLayout(grid)

    def _build_results(self) -> None:
        self.classes = combo("ld_class", "Class of the region and of those you accept next; Alt+1 … Alt+9")
        for label, color in CLASS_COLOURS.items():
            self.classes.addItem(_swatch(color), f"class {label}", label)
        self.classes.activated.connect(lambda row: self.act(partial(self._session.regions.set_class, row + 1)))
        self.like = button(
            "More like this  L", "ld_like", "Look for regions like this one on all planes", self.more_like_this
        )
        self.like_accepted = button(
            "Like accepted  ⇧L",
            "ld_like_accepted",
            "Learn from all you accepted in this class, and look for its like where nothing is accepted yet",
            self.more_like_accepted,
        )
        self.add_row(self.classes, self.like, self.like_accepted, stretch=0)
        self.views = combo("ld_view", "What to show over the image")
        for kind, (title, tip) in VIEWS.items():
            self.views.addItem(title, kind)
            self.views.setItemData(self.views.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.views.activated.connect(lambda row: self.view_wanted.emit(str(self.views.itemData(row))))
        self.save = button(
            "Save masks …", "ld_save_masks", "Write the accepted masks in the geometry of the image, and a table",
            self._ask_save,
        )  # fmt: skip
        self.add_row(caption("show", self.views), self.views, self.save, stretch=1)
        self._about = text_line("ld_regions_about")
        self.rows.addWidget(self._about)

    # --- what a person does -------------------------------------------------------------------------------------------

    def more_like_this(self) -> None:
        """Take the current region as an example and look for its like."""
        region = self._session.regions.region
        kind = next((name for name, kind in KINDS.items() if kind.needs_examples), None)
        if region is None or kind is None:
            return
        self._session.clear_marks()
        for plane in region.planes[:1]:
            self._session.add_mark(Mark(plane, mask=region.mask.on_plane(plane)))
        self.form.choose(kind)
        self.form.run()

    def more_like_accepted(self) -> None:
        """Take all that is accepted as examples and look for its like on the other planes."""
        kind = next((name for name, kind in KINDS.items() if kind.needs_examples), None)
        if kind is None:
            return
        try:
            self._session.mark_accepted()
        except RegionError as error:
            self.show_error(str(error))
            return
        self.form.choose(kind)
        self.form.run_on_rest()

    def act(self, action: Callable[[], object]) -> None:
        """Do something to the current region, and look at what is current then."""
        self.saved = ""
        try:
            action()
            self.show_error("")
        except NapariLDError as error:
            self.show_error(str(error))
        self.look_wanted.emit()

    def accept_listed(self) -> None:
        """Accept all listed regions of at least the score on the slider."""
        self.act(partial(self._session.regions.accept_all, self.histogram.threshold))

    def _filter(self) -> None:
        shown = self.shown.currentText()
        decision = {"to decide": "undecided", "all": None}.get(shown, shown)
        self._session.regions.filter(
            Filter(
                decision=decision,  # type: ignore[arg-type]  # the words of the box are those of the decisions
                min_score=self.histogram.threshold,
                min_area=self.smallest.value() or None,
                plane=self.visible_plane if self.this_plane.isChecked() else None,
            )
        )

    def _row_chosen(self, row: int) -> None:
        self.act(partial(self._session.regions.select, self.regions.id(row)))

    def _row_moved(self, row: int) -> None:
        if self.table.hasFocus() and row >= 0:
            self._row_chosen(row)

    def _ask_save(self) -> None:
        image = self._session.image
        if image is not None:
            formats, place = mask_formats(image), str(mask_place(image))
            ask_where(self, "ld_save_masks_dialog", "Save masks", formats, self.save_wanted.emit, place)

    # --- what it shows ------------------------------------------------------------------------------------------------

    def show_plane(self, plane: int) -> None:
        """Take notice of the plane that the viewer shows."""
        if plane != self.visible_plane:
            self.visible_plane = plane
            if self.this_plane.isChecked():
                self._filter()

    def show_saved(self, text: str) -> None:
        """Say where masks were written."""
        self.saved = text
        self.refresh()

    def show_waiting(self, awaited: bool | None, view: str) -> None:
        """Show which click is awaited and which view is on."""
        self.form.show_waiting(awaited)
        self.views.setCurrentIndex(self.views.findData(view))

    def refresh(self) -> None:
        """Show the session as it is."""
        session, review = self._session, self._session.regions
        self.regions.refresh()
        place = review.queue.place(review.current)
        if place >= 0:
            if self.table.currentIndex().row() != place:
                self.table.selectRow(place)
        else:
            self.table.clearSelection()
        self.histogram.set_scores(review.queue.scores())
        self.histogram.color = QColor(CLASS_COLOURS[review.label])
        self.form.refresh()
        open_ = review.queue.count_above(self.histogram.threshold)
        self._score_text.setText(f"{len(review.queue)} listed, score ≥ {self.histogram.threshold:.2f}")
        self.accept_all.setText(f"Accept all {open_}" if open_ else "Accept all")
        self.accept_all.setEnabled(open_ > 0)
        self.classes.setCurrentIndex(review.label - 1)
        for widget in self.decisions:
            widget.setEnabled(review.region is not None)
        self.like.setEnabled(review.region is not None and any(kind.needs_examples for kind in KINDS.values()))
        self.like_accepted.setEnabled(bool(review.book.canvas.planes))
        self.views.setEnabled(session.image is not None and bool(session.encoder))
        self.this_plane.setEnabled(session.n_planes > 1)
        self.save.setEnabled(bool(review.book))
        self._about.setText(self._status())
        if session.proposing.error:
            self.show_error(session.proposing.error)

    def _status(self) -> str:
        review = self._session.regions
        if review.note or self.saved:
            return review.note or self.saved
        if not review.book.items:
            return ""  # what to do stands in the line at the bottom
        region = review.region
        about = f"#{region.id}, {area_text(region)}.  " if region is not None else ""
        return about + review.book.statistics.text


def _swatch(color: str) -> QIcon:
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor(color))
    return QIcon(pixmap)
