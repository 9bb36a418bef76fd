"""The dock widget: stacks the sections, and the line below them that says what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.theme import get_theme
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QCloseEvent, QColor
from qtpy.QtWidgets import QHBoxLayout, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from napari_ld._gui import keys
from napari_ld._gui.desk import Desk
from napari_ld._gui.forms import STYLE, button, text_line
from napari_ld._gui.samples import add_sample, sample_names
from napari_ld._gui.sections.encoder import EncoderSection
from napari_ld._gui.sections.landmarks import LandmarksSection
from napari_ld.session import Session

if TYPE_CHECKING:
    from napari import Viewer


class LDPanel(QWidget):
    """Panel of napari-ld.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer, or napari's public proxy of it.
    sessions : Path or None
        Folder of the autosave logs; None: the person's own.

    Attributes
    ----------
    session : Session
        All that the panel remembers.
    """

    def __init__(self, napari_viewer: Viewer, sessions: Path | None = None) -> None:
        super().__init__()
        self.setObjectName("ld_panel")
        self._viewer = napari_viewer
        self.session = Session(sessions)
        self._desk = Desk(napari_viewer, self.session)
        self._encoder = EncoderSection(self.session, sample_names())
        self._landmarks = LandmarksSection(self.session)
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(15)  # answers that come together are drawn once
        self._lay_out()
        self._connect()
        actions = {
            "next_uncertain": self._landmarks.next_uncertain,
            "verify": self._landmarks.verify,
            "absent": self._landmarks.mark_absent,
            "place": self._landmarks.place_here,
            "undo": self.session.undo,
            "redo": self.session.redo,
            "stop": lambda: self.session.await_click(False),
        }
        keys.bind_widget(self, actions)
        self._desk.start(actions)
        self._dress()
        self._refresh()

    def _lay_out(self) -> None:
        content = QWidget()
        stack = QVBoxLayout(content)
        stack.setContentsMargins(4, 0, 6, 0)
        stack.setSpacing(2)
        stack.addWidget(self._encoder)
        stack.addWidget(self._landmarks, 1)
        scroll = QScrollArea()
        scroll.setObjectName("ld_scroll")
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(content)
        self._status = text_line("ld_status")
        self._status.setToolTip("What is going on, and what to do next")
        self._undo = button("Undo", "ld_undo", "", self.session.undo)
        self._redo = button("Redo", "ld_redo", "", self.session.redo)
        self._keys = button("?", "ld_keys", keys.overview(), self._list_keys)
        self._keys.setFixedWidth(26)
        foot = QHBoxLayout()
        for widget in (self._undo, self._redo):
            foot.addWidget(widget)
        foot.addStretch(1)
        foot.addWidget(self._keys)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 4)
        layout.setSpacing(3)
        layout.addWidget(scroll, 1)
        layout.addWidget(self._status)
        layout.addLayout(foot)
        self.setMinimumWidth(340)
        self.setMaximumWidth(420)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def _connect(self) -> None:
        session, desk = self.session, self._desk
        for signal in (session.image_changed, session.points_changed, session.current_changed, session.work_changed):
            signal.connect(self._redraw_soon)
        self._redraw.timeout.connect(self._refresh)
        self._encoder.image_chosen.connect(desk.choose_image)
        self._encoder.embed_wanted.connect(desk.propagate)
        self._encoder.cancel_wanted.connect(desk.cancel)
        self._encoder.sample_wanted.connect(lambda name: add_sample(self._viewer, name))
        self._landmarks.click_wanted.connect(desk.take_click)
        self._landmarks.plane_wanted.connect(desk.show_plane)
        self._landmarks.propagation_wanted.connect(desk.propagate)
        desk.images_changed.connect(self._list_images)
        desk.plane_changed.connect(self._show_plane)
        desk.theme_changed.connect(self._dress)
        desk.refused.connect(self._landmarks.show_error)
        self.destroyed.connect(desk.close)

    def use_encoder(self, name_or_path: str) -> None:
        """Choose an encoder by name or file."""
        self._encoder.use_file(name_or_path)

    def show_plane(self, plane: int) -> None:
        """Show a plane of the image."""
        self._desk.show_plane(plane)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Stop the work before the widget goes."""
        self._shut()
        super().closeEvent(event)

    def _shut(self) -> None:
        self._redraw.stop()
        self._desk.close()

    def _redraw_soon(self) -> None:
        if not self._desk.closed and not self._redraw.isActive():
            self._redraw.start()

    def _refresh(self) -> None:
        self._encoder.refresh()
        self._landmarks.refresh()
        self._status.setText(self._desk.status)
        for widget, word, label, key in (
            (self._undo, "Undo", self.session.history.undo_label, keys.KEYS["undo"]),
            (self._redo, "Redo", self.session.history.redo_label, keys.KEYS["redo"]),
        ):
            widget.setEnabled(label is not None)
            widget.setToolTip(f"{word} {label or '– nothing yet'}  ({key.qt})")
        self._desk.draw()

    def _list_images(self) -> None:
        layers, chosen = self._desk.image_layers, self._desk.image_layer
        self._encoder.set_images([layer.name for layer in layers], layers.index(chosen) if chosen in layers else -1)

    def _show_plane(self) -> None:
        self._landmarks.show_plane(self._desk.visible_plane)

    def _list_keys(self) -> None:
        self._status.setText(keys.overview())

    def _dress(self) -> None:
        theme = get_theme(self._viewer.theme)
        names = ("foreground", "primary", "highlight", "text", "error", "current")
        colors = {name: getattr(theme, name).as_hex() for name in names}
        bright = QColor(colors["current"]).lightnessF() > 0.55
        self.setStyleSheet(STYLE.format(**colors, on_current="black" if bright else "white"))
