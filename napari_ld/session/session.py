"""The state of one panel: image, encoder, landmarks, regions, selection and work under way.

Free of Qt and napari. Views listen to the signals and call the methods; workers get frozen requests and their results
come back through :meth:`Session.accept`.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from napari_ld._types import Image
from napari_ld.errors import StorageError
from napari_ld.io.windows import with_window
from napari_ld.session import tracks as t
from napari_ld.session.image_work import Work
from napari_ld.session.log import read_log
from napari_ld.session.refine_work import RefineWork
from napari_ld.session.region_changes import Change
from napari_ld.session.repaint import LayerChange
from napari_ld.session.replay import Past, replay
from napari_ld.session.requests import (
    EmbeddingProgress,
    Identified,
    IdentifyRequest,
    LabelsRefined,
    Located,
    Offered,
    Proposed,
    RegionSimilarity,
    Result,
    SavedWork,
    SourceReady,
)


class Session(RefineWork):
    """All mutable state of one panel; one per viewer, never global.

    Parameters
    ----------
    sessions : Path or None
        Folder of the autosave logs; None: ``NAPARI_LD_SESSIONS`` or the user's data directory.
    """

    def __init__(self, sessions: Path | None = None) -> None:
        self._own_logs: set[Path] = set()
        self._plane_axis = "p"
        super().__init__(sessions)

    def _take(self, image: Image | None, stem: str) -> None:
        super()._take(image, stem)
        self.found: SavedWork | None = None

    def open_image(self, image: Image | None, stem: str = "") -> None:
        """Work on another image, or on none; the work on the last one is on disk and offered when it returns.

        Parameters
        ----------
        image : Image or None
        stem : str
            Name without folder and suffix; only its hash is stored.
        """
        self.regions.flush()
        self._take(image, stem)
        if image and image.is_stack and image.axes[0] != self._plane_axis:
            self._plane_axis = image.axes[0]
            self.stack_kind = {"z": "volume", "t": "timelapse"}.get(self._plane_axis, "images")  # until chosen
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

    def choose_mirror(self, mirror: bool) -> None:
        """Look for mirrored copies too, or not; automatic answers turn stale."""
        if mirror != self.mirror:
            self.mirror = mirror
            self._context_changed()

    def choose_window(self, window: str | None) -> None:
        """Let the encoder see other intensities of this image; automatic answers turn stale.

        Parameters
        ----------
        window : str or None
            Name of a CT window or ``LOW,HIGH``, see :func:`napari_ld.io.windows.parse_window`; None: robust limits.

        Raises
        ------
        ImageError
            Unknown window, or a CT window on what is no CT.
        """
        if self.image is not None and window != self.window:
            [self.image] = with_window([replace(self.image, window=None)], window)
            self.window = window
            self._context_changed()

    def _context_changed(self) -> None:
        self._asked = set()
        self.regions.similarity.clear()
        self.work = Work(total=self.work.total)
        self.points_changed.emit()
        self.work_changed.emit()
        self._want_work()

    # --- one undo stack -----------------------------------------------------------------------------------------------

    def undo(self) -> None:
        """Take back the last edit of landmarks, decision about regions, stroke of the brush or refinement."""
        if self.history.undo_label is not None:
            self._go_to("undo", *self.history.undo(self.state))

    def redo(self) -> None:
        """Bring back the last edit that was taken back."""
        if self.history.redo_label is not None:
            self._go_to("redo", *self.history.redo(self.state))

    def _go_to(self, op: str, landmarks: t.State, change: Change | LayerChange | None) -> None:
        if isinstance(change, LayerChange):
            self.labels_touched(change.key, {part.plane for part in change.planes})
            self.layer_changed.emit(change)  # the layer is the person's own: the log knows nothing of it
            self.points_changed.emit()
            return
        self.regions.flush()
        self.save({"op": op})
        if change is not None:
            self._change_regions(change)
            self.regions.changed.emit()
        self.state = landmarks
        self.awaiting_click = False
        self._settle()

    def request_identity(self) -> IdentifyRequest | None:
        """Question whether there is earlier work on this image; None without an image."""
        return IdentifyRequest(self.serial, self.image, self.stem, self.sessions) if self.image else None

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
            case Proposed():
                self._proposed(result)
            case Offered():
                self._offered(result)
            case RegionSimilarity():
                self._alike(result)
            case LabelsRefined():
                self._refined(result)
            case SourceReady() if result.context == self.context:
                self.work = replace(self.work, encoder=result.encoder, device=result.device, reason=result.reason)
                self.work_changed.emit()
            case EmbeddingProgress() if result.context == self.context:
                self.work = replace(self.work, embedded=result.done, total=result.total)
                self.work_changed.emit()

    def _recognised(self, result: Identified) -> None:
        try:
            self._log.attach(result.key)
        except StorageError as error:
            self.autosave_error = str(error)
        self.found = result.saved
        if self.found and self.found.path in self._own_logs and not self.state and not self.regions.book:
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
        past = replay(entries, found.path)
        newest = max((track.generation for track in past.landmarks.values()), default=0)
        self._generations = itertools.count(max(newest + 1, next(self._generations)))
        if self.state or self.regions.book:
            self._add_past(past)
            return
        self.state, self.history = past.landmarks, past.history
        self.save(*entries)
        self.regions.load(past.regions, past.current)
        self._settle()

    def _add_past(self, past: Past) -> None:
        """Earlier work beside what was begun: landmarks of other names, and regions where there are none yet."""
        known = {track.name for track in self.state.values()}
        added = {k: track for k, track in past.landmarks.items() if track.name not in known and k not in self.state}
        if added:
            self._edit("restore earlier work", MappingProxyType({**self.state, **added}))
        if past.regions and not self.regions.book:
            self._commit_regions("restore earlier regions", past.regions.as_change())
            self.regions.changed.emit()

    def dismiss_found(self) -> None:
        """Start afresh; the earlier work stays on disk."""
        self.found = None
        self.work_changed.emit()
