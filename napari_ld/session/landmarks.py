"""The landmarks of one image: what a person does to them, what the encoder answers, and what is asked next.

Free of Qt and napari; the part of a :class:`napari_ld.session.session.Session` that knows of points.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from psygnal import Signal

from napari_ld._types import Image, Match, Position, Status
from napari_ld.adaptation import ADAPTABLE_KINDS
from napari_ld.errors import LandmarkError
from napari_ld.io.schemes import Scheme
from napari_ld.session import tracks as t
from napari_ld.session.changes import difference
from napari_ld.session.edits import Edit, Editor, track_of
from napari_ld.session.image_work import ImageWork
from napari_ld.session.requests import Located, LocateRequest, TrackQuestion
from napari_ld.session.scheme import next_unplaced, with_scheme


class LandmarkWork(ImageWork):
    """Landmarks, the current one, and the questions to the encoder; parameters as :class:`ImageWork`."""

    points_changed: ClassVar[Signal] = Signal()
    """Landmarks, their points, or how they are shown."""
    current_changed: ClassVar[Signal] = Signal()
    """Another landmark is current, or a click is awaited or no longer so."""
    work_wanted: ClassVar[Signal] = Signal()
    """Templates changed: there is something for the encoder to do."""

    def __init__(self, sessions: Path | None = None) -> None:
        self._generations = itertools.count(1)
        self.threshold: float | None = None
        self.corrections_teach = True
        self.hidden: frozenset[str] = frozenset()
        super().__init__(sessions)

    def _take(self, image: Image | None, stem: str) -> None:
        super()._take(image, stem)
        self.state: t.State = t.EMPTY
        self.current: str | None = None
        self.awaiting_click = False
        self._asked: set[tuple[str, int]] = set()
        self.scheme: tuple[str, ...] = ()

    def _edit(self, label: str, after: t.State) -> None:
        before, self.state = self.state, after
        self.history.record(label, before)
        self.save({"op": "step", "label": label, **difference(before, after)})
        self._settle()

    def _settle(self) -> None:
        self.current = next_unplaced(self.state, self.scheme) or self.current
        if self.current not in self.state:
            self.current = next(reversed(list(self.state)), None)
        track = self.state.get(self.current) if self.current else None
        # After the undo of a first click the landmark waits for that click again.
        self.awaiting_click = track is not None and (self.awaiting_click or not track.points)
        self.current_changed.emit()
        self.points_changed.emit()
        self._want_work()

    def _want_work(self) -> None:
        if next_unplaced(self.state, self.scheme):
            return  # all landmarks of a scheme are searched together, after the last click
        if not {(track.id, track.generation) for track in self.open_tracks()} <= self._asked:
            self.work_wanted.emit()

    def _make(self, edit: Edit | None) -> None:
        if edit is not None:
            self.current = edit.landmark or self.current
            self._edit(edit.label, edit.state)

    @property
    def _editor(self) -> Editor:
        if self.image is None:
            raise LandmarkError("There is no image to put a landmark on; open an image or a sample first.")
        return Editor(self.image, self._generations)

    def add_landmark(self, name: str = "") -> str:
        """Add a landmark, make it current and await its click; returns its identity.

        Raises
        ------
        LandmarkError
            When no image is open.
        """
        self._make(self._editor.add(self.state, name))
        return str(self.current)

    def rename(self, landmark: str, name: str) -> None:
        """Give a landmark another name; its identity and colour stay."""
        if name and name != track_of(self.state, landmark).name:
            self._make(self._editor.rename(self.state, landmark, name))

    def remove_landmark(self, landmark: str) -> None:
        """Remove a landmark with all its points."""
        self.awaiting_click = False
        self._make(self._editor.remove(self.state, landmark))

    def place(self, landmark: str, plane: int, position: Position) -> None:
        """Put a landmark where the person clicked or dragged it; the first click of a landmark is its template.

        ``position`` is (row, column) in pixels.

        Raises
        ------
        LandmarkError
            When the plane or position is outside the image.
        """
        edit = self._editor.place(self.state, landmark, plane, position, teach=self.corrections_teach)
        self.awaiting_click = False
        self._make(edit)

    @property
    def can_adapt(self) -> bool:
        """Whether there are points from which the search has not learnt yet, and other planes to apply it to."""
        new = any(track.templates and track.lessons != track.templates for track in self.state.values())
        return new and self.n_planes > 1 and self.stack_kind in ADAPTABLE_KINDS

    def adapt(self) -> None:
        """Learn from the points of all landmarks and search what nobody verified anew, in one level of undo.

        Learning happens in the worker with the next propagation; points that are placed later teach with the next call.
        """
        if self.can_adapt:
            self._make(self._editor.adapt(self.state))

    def mark_absent(self, landmark: str, plane: int) -> None:
        """Say that the landmark is not on this plane."""
        self._make(self._editor.mark_absent(self.state, landmark, plane))

    def verify(self, landmark: str, plane: int) -> None:
        """Confirm the encoder's answer as it is."""
        self._make(self._editor.verify(self.state, landmark, plane))

    def load(self, matches: Iterable[Match]) -> None:
        """Take points from a file, in one level of undo; points a person verified here stay.

        Parameters
        ----------
        matches : iterable of Match
            ``landmark`` is a name; status ``"verified"`` for what a person knows.

        Raises
        ------
        LandmarkError
            When a point lies outside the image; nothing is taken then.
        """
        self._make(self._editor.load(self.state, matches))

    def use_scheme(self, scheme: Scheme) -> None:
        """Add the landmarks of a scheme and await their clicks one after the other, in one level of undo.

        Raises
        ------
        LandmarkError
            When no image is open.
        """
        if self.image is None:
            raise LandmarkError("There is no image to click the scheme on; open an image or a sample first.")
        edit, self.scheme = with_scheme(self.state, scheme)
        if edit is None:
            self._settle()
        self._make(edit)

    def select(self, landmark: str) -> None:
        """Make a landmark current; one that has no point yet awaits its click."""
        track = track_of(self.state, landmark)
        if landmark != self.current:
            self.current, self.awaiting_click = landmark, not track.points
            self.current_changed.emit()
            self.points_changed.emit()

    def await_click(self, wanted: bool = True) -> None:
        """Await a click that places the current landmark, or stop doing so."""
        if self.awaiting_click != (wanted and self.current is not None):
            self.awaiting_click = wanted and self.current is not None
            self.current_changed.emit()

    def show(self, landmark: str, visible: bool) -> None:
        """Show or hide the points of one landmark."""
        self.hidden = self.hidden - {landmark} if visible else self.hidden | {landmark}
        self.points_changed.emit()

    def set_threshold(self, threshold: float | None) -> None:
        """Count points as uncertain beyond this value; see :func:`napari_ld.session.tracks.shown_status`."""
        self.threshold = threshold
        self.points_changed.emit()

    def status(self, point: t.Point) -> Status:
        """Status of a point under the present threshold."""
        return t.shown_status(point, self.threshold)

    def next_uncertain(self, after: int) -> tuple[str, int] | None:
        """``(landmark, plane)`` of the next uncertain point behind a plane, current landmark first; None if none."""
        return t.next_uncertain(self.state, self.current, after, self.threshold)

    def open_tracks(self) -> list[t.Track]:
        """Landmarks for which the encoder has something to do, the current one first."""
        context = self.context
        waiting = [track for track in self.state.values() if track.open_planes(self.n_planes, context)]
        return sorted(waiting, key=lambda track: track.id != self.current)

    def request_location(self, visible_plane: int) -> LocateRequest | None:
        """Snapshot of everything the encoder has to do, nearest to the visible plane first; None without an image."""
        if self.image is None:
            return None
        context, planes = self.context, t.nearest(range(self.n_planes), visible_plane)
        questions = tuple(
            TrackQuestion(track.id, track.generation, track.templates, t.nearest(waiting, visible_plane), track.lessons)
            for track in self.open_tracks()
            if (waiting := track.open_planes(self.n_planes, context))
        )
        self._asked = {(question.landmark, question.generation) for question in questions}
        return LocateRequest(
            self.serial, context, self.image, self.encoder, self.stack_kind, self.device, planes, questions, self.mirror
        )

    def _located(self, result: Located) -> None:
        track = self.state.get(result.landmark)
        if track is None or track.generation != result.generation or result.context != self.context:
            return
        after = t.answered(track, result.matches, (result.context, result.generation), finished=result.finished)
        before, self.state = self.state, t.with_track(self.state, after)
        self.save({"op": "amend", **difference(before, self.state)})
        self.points_changed.emit()
