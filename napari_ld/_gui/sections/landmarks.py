"""Section Landmarks: add, click, look through, correct, save."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QDoubleSpinBox,
    QHeaderView,
    QLineEdit,
    QSizePolicy,
)

from napari_ld._gui.files import LOADED_LANDMARKS, SAVED_LANDMARKS, load_landmarks, save_landmarks
from napari_ld._gui.forms import Section, ask_file, ask_where, button, caption
from napari_ld._gui.tables import LandmarkModel, PointModel, table
from napari_ld.adaptation import ADAPTABLE_KINDS
from napari_ld.errors import NapariLDError
from napari_ld.io.schemes import read_scheme
from napari_ld.session import Session

ADAPT_TIP = (
    "Learn from your points what tells the landmarks from what surrounds them, and search the planes nobody verified "
    "again. Takes seconds, and the encoder stays as it is; most after a few corrections. Undo takes it back"
)


class LandmarksSection(Section):
    """Landmarks of the image and the answers for the current one.

    Attributes
    ----------
    click_wanted : Signal()
        The canvas should take the next click.
    plane_wanted : Signal(int)
        A plane should be shown.
    propagation_wanted : Signal()
    """

    click_wanted = Signal()
    plane_wanted = Signal(int)
    propagation_wanted = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__("Landmarks", "landmarks")
        self._session = session
        self.visible_plane = 0
        self._build_list()
        self._build_actions()
        self._build_review()
        self._build_points()
        self.refresh()

    def _build_list(self) -> None:
        self.name = QLineEdit()
        self.name.setObjectName("ld_landmark_name")
        self.name.setPlaceholderText("name, for example nasion")
        self.name.setToolTip("Name of the landmark to add; may stay empty")
        self.name.returnPressed.connect(self.add)
        self.add_button = button(
            "+ Add", "ld_add", "Add a landmark, then click it once on the image", self.add, primary=True
        )
        self.add_row(self.name, self.add_button, stretch=0)
        self.landmarks = LandmarkModel(self._session)
        self.list = table("ld_landmark_list", self.landmarks, "Landmarks of this image; click one to make it current")
        self.list.setFixedHeight(84)
        header = self.list.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            header.setStretchLastSection(False)
            for column, width in ((1, 32), (2, 32), (3, 44)):
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
                self.list.setColumnWidth(column, width)
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        self.list.clicked.connect(lambda index: self._session.select(self.landmarks.ids[index.row()]))
        self.rows.addWidget(self.list)

    def _build_actions(self) -> None:
        self.propagate = button(
            "Propagate",
            "ld_propagate",
            "Find the landmarks on all planes that nobody verified; starts by itself after a click",
            self.propagation_wanted.emit,
        )
        self.remove = button("Remove", "ld_remove", "Remove the current landmark from all planes", self._remove)
        self.load = button(
            "Load…", "ld_load", "Read landmarks from CSV, or from .mrk.json or .fcsv of 3D Slicer", self._ask_load
        )
        self.save = button(
            "Save…",
            "ld_save",
            "Write all landmarks of this image to CSV, or to .mrk.json for 3D Slicer",
            self._ask_save,
        )
        self.adapt = button("Adapt", "ld_adapt", ADAPT_TIP, self._session.adapt)
        self.add_row(self.propagate, self.adapt, self.remove, self.load, self.save)
        self.scheme = button(
            "Scheme…",
            "ld_scheme",
            "Read the names and colours of landmarks from CSV or .mrk.json, and click them one after the other",
            self._ask_scheme,
        )
        self.mirror = QCheckBox("mirrored copies too")
        self.mirror.setObjectName("ld_mirror")
        self.mirror.setChecked(self._session.mirror)
        self.mirror.setToolTip("Also look for mirrored copies, as left and right eyes or hands are; for kind images")
        self.mirror.toggled.connect(self._session.choose_mirror)

    def _build_review(self) -> None:
        self.next_button = button("Next  N", "ld_next_uncertain", "Go to the next uncertain point", self.next_uncertain)
        self.verify_button = button("Confirm  V", "ld_verify", "The point on the shown plane is right", self.verify)
        self.absent_button = button("Absent  X", "ld_absent", "Not on the shown plane", self.mark_absent)
        self.place = button(
            "Place  P", "ld_place", "Place the current landmark on the shown plane with the next click", self.place_here
        )
        self.add_row(self.next_button, self.verify_button, self.absent_button, self.place)
        self.threshold = QDoubleSpinBox()
        self.threshold.setObjectName("ld_threshold")
        self.threshold.setDecimals(3)
        self.threshold.setSingleStep(0.01)
        self.threshold.setRange(0.0, 100.0)
        self.threshold.setSpecialValueText("auto")
        self.threshold.setFixedWidth(90)
        self.threshold.valueChanged.connect(lambda value: self._session.set_threshold(value or None))
        self._threshold_caption = caption("uncertain below", self.threshold)
        self.add_row(self.scheme, self._threshold_caption, self.threshold)
        self.teach = QCheckBox("learn from corrections")
        self.teach.setObjectName("ld_corrections_teach")
        self.teach.setChecked(self._session.corrections_teach)
        self.teach.setToolTip(
            "A point you drag becomes a further example, and the planes nobody verified are searched again"
        )
        self.teach.toggled.connect(self._set_teach)
        self.add_row(self.mirror, self.teach)

    def _tip_of_adapt(self) -> str:
        session = self._session
        if session.can_adapt or not any(track.templates for track in session.state.values()):
            return ADAPT_TIP
        if session.stack_kind not in ADAPTABLE_KINDS:
            return f"Only for the kind {', '.join(ADAPTABLE_KINDS)}, for which it was measured that it helps"
        return "There is nothing new to learn: correct a few more points first" if session.n_planes > 1 else ADAPT_TIP

    def _build_points(self) -> None:
        self.points = PointModel(self._session)
        self.table = table("ld_points", self.points, "The current landmark plane by plane; click to go there")
        self.table.setMinimumHeight(76)
        # Its own wish of 192 pixels would make the panel scroll on a small screen; it takes what is left instead.
        self.table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        for column, width in ((0, 42), (1, 84), (2, 76)):
            self.table.setColumnWidth(column, width)
        selection = self.table.selectionModel()
        if selection is not None:
            selection.currentRowChanged.connect(self._row_chosen)
        self.table.clicked.connect(lambda index: self.plane_wanted.emit(self.points.plane(index.row())))
        self.rows.addWidget(self.table, 1)

    def add(self) -> None:
        """Add a landmark of the name that was typed and await its click."""
        self._try(lambda: self._session.add_landmark(self.name.text()))
        self.name.clear()
        self.click_wanted.emit()

    def place_here(self) -> None:
        """Await a click that places the current landmark on the shown plane."""
        self._session.await_click()
        self.click_wanted.emit()

    def next_uncertain(self) -> None:
        """Go to the next uncertain point."""
        found = self._session.next_uncertain(self.visible_plane)
        if found is not None:
            self._session.select(found[0])
            self.plane_wanted.emit(found[1])

    def verify(self) -> None:
        """Confirm the current landmark on the shown plane."""
        if self._session.current:
            self._session.verify(self._session.current, self.visible_plane)

    def mark_absent(self) -> None:
        """Say that the current landmark is not on the shown plane."""
        if self._session.current:
            self._session.mark_absent(self._session.current, self.visible_plane)

    def _remove(self) -> None:
        if self._session.current:
            self._session.remove_landmark(self._session.current)

    def _set_teach(self, teach: bool) -> None:
        self._session.corrections_teach = teach

    def _ask_save(self) -> None:
        ask_where(
            self, "ld_save_dialog", "Save landmarks", SAVED_LANDMARKS,
            lambda path: self._try(lambda: save_landmarks(path, self._session)),
        )  # fmt: skip

    def _ask_load(self) -> None:
        ask_file(
            self, "ld_load_dialog", "Load landmarks", LOADED_LANDMARKS,
            lambda path: self._try(lambda: load_landmarks(path, self._session)),
        )  # fmt: skip

    def _ask_scheme(self) -> None:
        ask_file(
            self, "ld_scheme_dialog", "Landmark scheme", "Schemes (*.csv *.json)",
            lambda path: self._try(lambda: self._use_scheme(path)),
        )  # fmt: skip

    def _use_scheme(self, path: str) -> None:
        self._session.use_scheme(read_scheme(path))
        self.click_wanted.emit()

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
            self.show_error("")
        except NapariLDError as error:
            self.show_error(str(error))

    def _row_chosen(self, current: object, previous: object) -> None:
        row = self.table.currentIndex().row()
        if self.table.hasFocus() and row >= 0:
            self.plane_wanted.emit(self.points.plane(row))

    def show_plane(self, plane: int) -> None:
        """Mark the row of the plane that the viewer shows."""
        self.visible_plane = plane
        row = self.points.row_of(plane)
        if row >= 0:
            self.table.selectRow(row)
        else:
            self.table.clearSelection()
        self._enable()

    def refresh(self) -> None:
        """Show the session as it is."""
        self.landmarks.refresh()
        self.points.refresh()
        session = self._session
        if session.current in self.landmarks.ids:
            self.list.selectRow(self.landmarks.ids.index(session.current))
        track = session.state.get(session.current or "")
        calibrated = track is not None and any(p.match.expected_error is not None for p in track.points.values())
        self._threshold_caption.setText("uncertain above" if calibrated else "uncertain below")
        self.threshold.setToolTip(
            "Largest expected error that counts as confident; auto: the encoder's own verdict"
            if calibrated
            else "Smallest margin to the next best place that counts as confident; auto: the encoder's own verdict"
        )
        self.show_plane(self.visible_plane)

    def _enable(self) -> None:
        session = self._session
        track = session.state.get(session.current or "")
        point = track.points.get(self.visible_plane) if track else None
        self.add_button.setEnabled(session.image is not None)
        self.name.setEnabled(session.image is not None)
        self.load.setEnabled(session.image is not None)
        self.scheme.setEnabled(session.image is not None)
        self.save.setEnabled(any(track.points for track in session.state.values()))
        self.propagate.setEnabled(bool(session.open_tracks()) and not session.work.running)
        self.adapt.setEnabled(session.can_adapt)
        self.adapt.setToolTip(self._tip_of_adapt())
        self.place.setEnabled(track is not None)
        self.remove.setEnabled(track is not None)
        self.next_button.setEnabled(session.next_uncertain(self.visible_plane) is not None)
        self.verify_button.setEnabled(point is not None and not point.verified)
        self.absent_button.setEnabled(track is not None and session.n_planes > 1)
