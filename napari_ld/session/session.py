"""The state of one panel: image, encoder, landmarks, selection and work under way.

Free of Qt and napari. Views listen to the signals and call the methods; workers get frozen requests and their results
come back through :meth:`Session.accept`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from psygnal import Signal

from napari_ld._types import Image, Match, Position, Status
from napari_ld.errors import LandmarkError, StorageError
from napari_ld.session import tracks as t
from napari_ld.session.changes import difference
from napari_ld.session.edits import Edit, Editor, track_of
from napari_ld.session.history import History
from napari_ld.session.log import SessionLog, read_log, sessions_folder
from napari_ld.session.replay import replay
from napari_ld.session.requests import (
    EmbeddingProgress,
    Identified,
    IdentifyRequest,
    Located,
    LocateRequest,
    Result,
    SavedWork,
    SourceReady,
    TrackQuestion,
)


@dataclass(frozen=True, slots=True)
class Work:
    """What the workers are doing, for the progress bar and the status line."""

    running: bool = False
    embedded: int = 0
    total: int = 0
    encoder: str = ""
    device: str = ""
    reason: str = ""
    error: str = ""


class Session:
    """All mutable state of one panel; one per viewer, never global.

    Parameters
    ----------
    sessions : Path or None
        Folder of the autosave logs; None: ``NAPARI_LD_SESSIONS`` or the user's data directory.
    """

    image_changed: ClassVar[Signal] = Signal()
    """Another image, or none."""
    points_changed: ClassVar[Signal] = Signal()
    """Landmarks, their points, or how they are shown."""
    current_changed: ClassVar[Signal] = Signal()
    """Another landmark is current, or a click is awaited or no longer so."""
    work_changed: ClassVar[Signal] = Signal()
    """Progress, device, errors, or the offer to restore."""
    work_wanted: ClassVar[Signal] = Signal()
    """Templates changed: there is something for the encoder to do."""

    def __init__(self, sessions: Path | None = None) -> None:
        self._sessions = sessions or sessions_folder()
        self._generations = itertools.count(1)
        self._serials = itertools.count(1)
        self._own_logs: set[Path] = set()
        self.encoder = ""
        self.device = "auto"
        self.stack_kind = "images"
        self._plane_axis = "p"
        self.threshold: float | None = None
        self.corrections_teach = True
        self.obstacle = ""
        self.hidden: frozenset[str] = frozenset()
        self._reset(None, "")

    def _reset(self, image: Image | None, stem: str) -> None:
        self.serial = next(self._serials)
        self.image = image
        self.stem = stem
        self.state: t.State = t.EMPTY
        self.history = History()
        self.current: str | None = None
        self.awaiting_click = False
        self.found: SavedWork | None = None
        self.autosave_error = ""
        self._asked: set[tuple[str, int]] = set()
        self.work = Work(total=image.n_planes if image else 0)
        self._log = SessionLog(self._sessions)

    def open_image(self, image: Image | None, stem: str = "") -> None:
        """Work on another image, or on none; the work on the last one is on disk and offered when it returns.

        Parameters
        ----------
        image : Image or None
        stem : str
            Name without folder and suffix; only its hash is stored.
        """
        self._reset(image, stem)
        if image and image.is_stack and image.axes[0] != self._plane_axis:
            self._plane_axis = image.axes[0]
            self.stack_kind = "volume" if self._plane_axis == "z" else "images"  # until the person chooses
        for signal in (self.image_changed, self.current_changed, self.points_changed, self.work_changed):
            signal.emit()

    def choose_encoder(self, encoder: str) -> None:
        """Use another encoder (name or path); automatic answers of the last one turn stale."""
        if encoder != self.encoder:
            self.encoder = encoder
            self._context_changed()

    def choose_stack_kind(self, kind: str) -> None:
        """Read the planes another way; automatic answers turn stale."""
        if kind != self.stack_kind:
            self.stack_kind = kind
            self._context_changed()

    def _context_changed(self) -> None:
        self._asked = set()
        self.work = Work(total=self.work.total)
        self.points_changed.emit()
        self.work_changed.emit()
        self._want_work()

    @property
    def context(self) -> str:
        """Hash of encoder and stack kind; tells present answers from older ones and holds no path."""
        return hashlib.sha256(f"{self.encoder}|{self.stack_kind}".encode()).hexdigest()[:12]

    @property
    def n_planes(self) -> int:
        """Planes of the image; 0 without one."""
        return self.image.n_planes if self.image else 0

    def _edit(self, label: str, after: t.State) -> None:
        before, self.state = self.state, after
        self.history.record(label, before)
        self._save({"op": "step", "label": label, **difference(before, after)})
        self._settle()

    def _settle(self) -> None:
        if self.current not in self.state:
            self.current = next(reversed(list(self.state)), None)
        track = self.state.get(self.current) if self.current else None
        # After the undo of a first click the landmark waits for that click again.
        self.awaiting_click = track is not None and (self.awaiting_click or not track.points)
        self.current_changed.emit()
        self.points_changed.emit()
        self._want_work()

    def _want_work(self) -> None:
        if not {(track.id, track.generation) for track in self.open_tracks()} <= self._asked:
            self.work_wanted.emit()

    def _save(self, entry: dict[str, object]) -> None:
        try:
            self._log.append(entry)
            self.autosave_error = ""
        except StorageError as error:
            self.autosave_error = str(error)
            self.work_changed.emit()

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

    def undo(self) -> None:
        """Take back the last edit."""
        self._step_history("undo", self.history.undo)

    def redo(self) -> None:
        """Bring back the last edit that was taken back."""
        self._step_history("redo", self.history.redo)

    def _step_history(self, op: str, step: Callable[[t.State], t.State]) -> None:
        if (self.history.undo_label if op == "undo" else self.history.redo_label) is None:
            return
        self.state = step(self.state)
        self.awaiting_click = False
        self._save({"op": op})
        self._settle()

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

    def set_obstacle(self, text: str) -> None:
        """Say why clicks cannot be taken just now (``""``: they can)."""
        if text != self.obstacle:
            self.obstacle = text
            self.work_changed.emit()

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

    def request_identity(self) -> IdentifyRequest | None:
        """Question whether there is earlier work on this image; None without an image."""
        return IdentifyRequest(self.serial, self.image, self.stem, self._sessions) if self.image else None

    def request_location(self, visible_plane: int) -> LocateRequest | None:
        """Snapshot of everything the encoder has to do, nearest to the visible plane first; None without an image."""
        if self.image is None:
            return None
        context, planes = self.context, t.nearest(range(self.n_planes), visible_plane)
        questions = tuple(
            TrackQuestion(track.id, track.generation, track.templates, t.nearest(waiting, visible_plane))
            for track in self.open_tracks()
            if (waiting := track.open_planes(self.n_planes, context))
        )
        self._asked = {(question.landmark, question.generation) for question in questions}
        return LocateRequest(
            self.serial, context, self.image, self.encoder, self.stack_kind, self.device, planes, questions
        )

    def work_started(self) -> None:
        """A worker took a request."""
        self.work = replace(self.work, running=True, error="")
        self.work_changed.emit()

    def work_ended(self, error: str = "") -> None:
        """The worker stopped: done, cancelled, or with an error in words."""
        self.work = replace(self.work, running=False, error=error)
        self.work_changed.emit()

    def accept(self, result: Result) -> None:
        """Take an answer in, unless its question is old."""
        if result.serial != self.serial:
            return
        match result:
            case Identified():
                self._recognised(result)
            case Located():
                self._located(result)
            case SourceReady() if result.context == self.context:
                self.work = replace(self.work, encoder=result.encoder, device=result.device, reason=result.reason)
                self.work_changed.emit()
            case EmbeddingProgress() if result.context == self.context:
                self.work = replace(self.work, embedded=result.done, total=result.total)
                self.work_changed.emit()

    def _located(self, result: Located) -> None:
        track = self.state.get(result.landmark)
        if track is None or track.generation != result.generation or result.context != self.context:
            return
        after = t.answered(track, result.matches, (result.context, result.generation), finished=result.finished)
        before, self.state = self.state, t.with_track(self.state, after)
        self._save({"op": "amend", **difference(before, self.state)})
        self.points_changed.emit()

    def _recognised(self, result: Identified) -> None:
        try:
            self._log.attach(result.key)
        except StorageError as error:
            self.autosave_error = str(error)
        self.found = result.saved
        if self.found and self.found.path in self._own_logs and not self.state:
            # The image was open a moment ago in this very session: nothing to ask.
            self.restore()
        if self._log.path:
            self._own_logs.add(self._log.path)
        self.work_changed.emit()

    def restore(self) -> None:
        """Bring the found work back: with its history into an empty session, else as one more level of undo.

        Raises
        ------
        StorageError
            When the file cannot be read.
        """
        found, self.found = self.found, None
        if found is None:
            return
        self.work_changed.emit()
        entries = list(read_log(found.path))
        state, history = replay(entries, found.path)
        newest = max((track.generation for track in state.values()), default=0)
        self._generations = itertools.count(max(newest + 1, next(self._generations)))
        if self.state:
            known = {track.name for track in self.state.values()}
            added = {key: track for key, track in state.items() if track.name not in known and key not in self.state}
            self._edit("restore earlier work", MappingProxyType({**self.state, **added}))
            return
        self.state, self.history = state, history
        for entry in entries:
            self._save(entry)
        self._settle()

    def dismiss_found(self) -> None:
        """Start afresh; the earlier work stays on disk."""
        self.found = None
        self.work_changed.emit()
