"""The dock widget: stacks the sections, and the line below them that says what to do next."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.theme import get_theme
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QCloseEvent, QColor
from qtpy.QtWidgets import QHBoxLayout, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from napari_ld._gui import keys
from napari_ld._gui.desk import Desk
from napari_ld._gui.forms import STYLE, Section, button, text_line
from napari_ld._gui.layers import image_of
from napari_ld._gui.samples import add_sample, sample_names
from napari_ld._gui.sections.encoder import EncoderSection
from napari_ld._gui.sections.landmarks import LandmarksSection
from napari_ld._gui.sections.refine import RefineSection
from napari_ld._gui.sections.regions import RegionsSection
from napari_ld._gui.sections.train import TrainSection
from napari_ld._gui.training_desk import TrainingDesk
from napari_ld.session import Session, review_guidance

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
        self._regions = RegionsSection(self.session)
        self._refine = RefineSection(self.session)
        self._training = TrainingDesk(self.session)
        self._train = TrainSection(self.session, self._training)
        self._drawing = False
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.setInterval(15)  # answers that come together are drawn once
        self._lay_out()
        self._connect()
        actions = self._actions()
        keys.bind_widget(self, actions)
        review_actions = self._review_actions()
        keys.bind_widget(
            self._regions, {k: a for k, a in review_actions.items() if k not in keys.CANVAS_ONLY | keys.SHARED}
        )
        refine_actions = self._refine_actions()
        keys.bind_widget(self._refine, {"before": refine_actions["before"]})
        self._desk.start(actions, review_actions, refine_actions)
        self._connect_regions()
        self._connect_refine()
        self._connect_training()
        self._dress()
        for section in (self._regions, self._refine, self._train):
            section.unfold(False)
        self._share_room()
        self._refresh()

    def _actions(self) -> dict[str, Callable[[], object]]:
        return {
            "next_uncertain": self._landmarks.next_uncertain,
            "verify": self._landmarks.verify,
            "absent": self._landmarks.mark_absent,
            "place": self._place_or_preview,
            "undo": partial(self._go, self.session.undo),
            "redo": partial(self._go, self.session.redo),
            "stop": self._stop,
        }

    def _review_actions(self) -> dict[str, Callable[[], object]]:
        review, act = self.session.regions, self._regions.act
        decisions: dict[str, Callable[[], object]] = {
            "accept": review.accept,
            "reject": review.reject,
            "next_region": review.next,
            "previous_region": review.previous,
            "merge": review.merge,
            "split": review.split,
            "grow": partial(review.grow, 1),
            "shrink": partial(review.grow, -1),
            **{f"class_{label}": partial(review.set_class, label) for label in range(1, 10)},
        }
        own = {name: partial(act, action) for name, action in decisions.items()}
        shared = {name: action for name, action in self._actions().items() if name in keys.SHARED}
        for_many = {"like_accepted": self._regions.more_like_accepted, "accept_all": self._regions.accept_listed}
        return {**own, **shared, "like": self._regions.more_like_this, **for_many}

    def _refine_actions(self) -> dict[str, Callable[[], object]]:
        shared = {name: action for name, action in self._actions().items() if name in keys.SHARED}
        return {**shared, "preview": self._refine.toggle_preview, "before": self._refine.toggle_before}

    def _place_or_preview(self) -> None:
        """One key, for the section that is open."""
        if self._refine.is_open:
            self._refine.toggle_preview()
        else:
            self._landmarks.place_here()

    def _go(self, step: Callable[[], None]) -> None:
        """Undo or redo, and look at the region that it was about."""
        item, current = self.session.regions.item, self.session.regions.current
        step()
        if self.session.regions.current != current or self.session.regions.item is not item:
            self._look()

    def _stop(self) -> None:
        self.session.await_click(False)
        if self._desk.review is not None:
            self._desk.review.await_example(None)

    def _look(self) -> None:
        if self._desk.review is not None:
            self._desk.review.look()
        self._redraw_soon()

    def _lay_out(self) -> None:
        content = QWidget()
        stack = QVBoxLayout(content)
        stack.setContentsMargins(4, 0, 6, 0)
        stack.setSpacing(0)
        stack.addWidget(self._encoder)
        stack.addWidget(self._landmarks, 1)
        stack.addWidget(self._regions, 1)
        stack.addWidget(self._refine)
        stack.addWidget(self._train)
        self._spare = QWidget()
        stack.addWidget(self._spare, 1)
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
        self._undo = button("Undo", "ld_undo", "", partial(self._go, self.session.undo))
        self._redo = button("Redo", "ld_redo", "", partial(self._go, self.session.redo))
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
        self._encoder.window_wanted.connect(desk.choose_window)
        self._encoder.input_wanted.connect(desk.input.switch)
        desk.input.switched.connect(self._encoder.show_input)
        desk.input.refused.connect(self._encoder.show_input_error)
        self._landmarks.click_wanted.connect(desk.take_click)
        self._landmarks.plane_wanted.connect(desk.show_plane)
        self._landmarks.propagation_wanted.connect(desk.propagate)
        self._landmarks.opened.connect(partial(self._fold_others, self._landmarks))
        self._regions.opened.connect(partial(self._fold_others, self._regions))
        desk.images_changed.connect(self._list_images)
        desk.plane_changed.connect(self._show_plane)
        desk.theme_changed.connect(self._dress)
        desk.refused.connect(self._landmarks.show_error)
        self.destroyed.connect(desk.close)
        self.destroyed.connect(self._training.close)
        self.destroyed.connect(self._train.previews.close)

    def _connect_regions(self) -> None:
        session, section, review = self.session, self._regions, self._desk.review
        if review is None:
            return
        session.regions.changed.connect(self._redraw_soon)
        session.regions.current_changed.connect(self._redraw_soon)
        session.proposing_changed.connect(self._redraw_soon)
        section.look_wanted.connect(self._look)
        section.view_wanted.connect(review.show_view)
        section.save_wanted.connect(review.save)
        form = section.form
        form.propose_wanted.connect(review.propose)
        form.cut_wanted.connect(review.cut)
        form.rest_wanted.connect(review.propose_rest)
        form.clusters_wanted.connect(review.show_clusters_again)
        form.cancel_wanted.connect(review.cancel)
        form.example_wanted.connect(review.await_example)
        form.outlines_wanted.connect(review.take_layer)
        review.refused.connect(section.show_error)
        review.saved.connect(section.show_saved)

    def _connect_refine(self) -> None:
        section, desk = self._refine, self._desk.refine
        if desk is None:
            return
        section.attach(desk)
        section.opened.connect(partial(self._fold_others, section))
        section.header.toggled.connect(lambda open_: None if open_ else desk.fold())
        for signal in (desk.changed, self.session.refining_changed):
            signal.connect(self._show_refining)

    def _show_refining(self) -> None:
        if self._refine.is_open:
            self._redraw_soon()

    def _connect_training(self) -> None:
        section, desk = self._train, self._training
        section.opened.connect(partial(self._fold_others, section))
        section.encoder_wanted.connect(self._encoder.use_file)
        section.encoders_changed.connect(self._encoder.list_own)
        section.plane_wanted.connect(self._desk.show_plane)
        section.propose_wanted.connect(self._propose_with)
        if self._desk.refine is not None:
            section.form.task.attach(self._desk.refine.choice.own)
        for signal in (desk.runs_changed, desk.progressed, desk.answered, section.form.task.changed):
            signal.connect(self._show_training)

    def _propose_with(self, model: str) -> None:
        """Let a model that was trained here fill the review queue."""
        self._regions.unfold(True)
        form = self._regions.form
        form.choose_model(model)
        form.choose("model")
        if form.propose.isEnabled():
            form.run()

    def _show_training(self) -> None:
        if self._train.is_open:
            self._status.setText(self._guidance)

    @property
    def _guidance(self) -> str:
        if self._train.is_open:
            return self._train.guidance
        if self._refine.is_open:
            return self._refine.guidance
        return review_guidance(self.session) if self._regions.is_open else self._desk.status

    def _fold_others(self, opened: Section) -> None:
        """Landmarks, Regions, Refine and Train have one place on a small screen: opening one folds the others.

        The encoder is chosen by the time of the latter three, so it folds as well; it can be opened again.
        """
        for section in (self._landmarks, self._regions, self._refine, self._train):
            section.unfold(section is opened)
        self._encoder.unfold(opened is self._landmarks)
        self._share_room()
        self._redraw_soon()
        if opened is self._regions and self._desk.review is not None and self.session.regions.book.items:
            self._desk.review.activate()

    def _share_room(self) -> None:
        """Give the room that folded sections leave to an empty space below them."""
        self._spare.setVisible(not (self._landmarks.is_open or self._regions.is_open))

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
        self._training.close()
        self._train.previews.close()
        self._desk.close()

    def _redraw_soon(self) -> None:
        if not self._desk.closed and not self._redraw.isActive():
            self._redraw.start()

    def _refresh(self) -> None:
        self._encoder.refresh()
        if self._landmarks.is_open:
            self._landmarks.refresh()
        if self._regions.is_open:
            self._regions.refresh()
        if self._refine.is_open:
            self._refine.refresh()
        if self._train.is_open:
            self._train.refresh()
        if self._desk.review is not None:
            self._regions.show_waiting(self._desk.review.awaited, self._desk.review.view)
        self._status.setText(self._guidance)
        for widget, word, label, key in (
            (self._undo, "Undo", self.session.history.undo_label, keys.KEYS["undo"]),
            (self._redo, "Redo", self.session.history.redo_label, keys.KEYS["redo"]),
        ):
            widget.setEnabled(label is not None)
            widget.setToolTip(f"{word} {label or '– nothing yet'}  ({key.qt})")
        self._drawing = True  # going to the plane of a region is part of it
        self._desk.draw()
        self._drawing = False

    def _list_images(self) -> None:
        layers, chosen = self._desk.image_layers, self._desk.image_layer
        self._encoder.set_images([layer.name for layer in layers], layers.index(chosen) if chosen in layers else -1)
        self._train.form.source.list_layers([layer.name for layer in layers], lambda row: image_of(layers[row]))

    def _show_plane(self) -> None:
        plane = self._desk.visible_plane
        self._landmarks.show_plane(plane)
        self._regions.show_plane(plane)
        self._train.previews.show_plane(plane)
        if self.session.regions.book.items and not self._drawing:
            self._redraw_soon()

    def _list_keys(self) -> None:
        self._status.setText(keys.overview())

    def _dress(self) -> None:
        theme = get_theme(self._viewer.theme)
        names = ("foreground", "primary", "highlight", "text", "error", "current")
        colors = {name: getattr(theme, name).as_hex() for name in names}
        bright = QColor(colors["current"]).lightnessF() > 0.55
        self.setStyleSheet(STYLE.format(**colors, on_current="black" if bright else "white"))
