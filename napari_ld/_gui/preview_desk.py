"""Asks a worker what the encoder of a run sees now, as it trains, and drops answers that came too late."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from qtpy.QtCore import QObject, QTimer, Signal

from napari_ld._gui.workers import Worker
from napari_ld.session import Session
from napari_ld.session.training_preview import Anchor, Preview, PreviewRequest, preview
from napari_ld.session.training_runs import RunState

_SETTLE = 120  # ms that a plane is looked at before it is asked for
_SHARE = 9  # times as long as a look took, the next encoder waits: the training shall have the processor


class _View(NamedTuple):
    """What is looked at: two looks at one view differ by the encoder only."""

    serial: int
    run: Path
    plane: int
    landmark: str
    generation: int


class PreviewDesk(QObject):
    """Keeps one preview up to date.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
    changed : Signal()
        There is another preview, none any more, or a reason why there is none.
    preview : Preview or None
    error : str
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.preview: Preview | None = None
        self.error = ""
        self._plane = 0
        self._run: RunState | None = None
        self._shown = False
        self._asked: tuple[_View, int] | None = None
        self._began = self._rested = 0.0
        self._worker = Worker(preview)
        self._worker.result.connect(self._take)
        self._worker.ended.connect(self._ended)
        self._settled = QTimer(self)
        self._settled.setSingleShot(True)
        self._settled.setInterval(_SETTLE)
        self._settled.timeout.connect(self._ask)

    def close(self) -> None:
        """Stop looking; may be called twice."""
        self._settled.stop()
        self._worker.shutdown()

    def look(self, run: RunState | None, *, shown: bool) -> None:
        """Follow a run; ``shown``: whether a person can see the preview."""
        self._run, self._shown = run, shown
        self._look_again()

    def show_plane(self, plane: int) -> None:
        """Look at another plane."""
        self._plane = plane
        self._look_again()

    def _look_again(self) -> None:
        if self.preview is not None and not self._same_work(self.preview):
            self.preview = None  # of another run or image; that of another plane stays until the next one comes
            self.changed.emit()
        if self._wanted is not None and not self._settled.isActive():
            self._settled.start()

    @property
    def _view(self) -> _View | None:
        session, run = self._session, self._run
        if session.image is None or run is None:
            return None
        track = session.state.get(session.current) if session.current else None
        plane = min(self._plane, session.n_planes - 1)
        generation = track.generation if track else 0
        return _View(session.serial, run.path, plane, track.name if track else "", generation)

    @property
    def _wanted(self) -> tuple[_View, int] | None:
        """View and step that should be asked for now; None: nothing new, or not yet."""
        view = self._view
        if not self._shown or view is None or self._run is None or not self._run.exported:
            return None
        if self._asked == (view, self._run.exported):
            return None
        same_view = self._asked is not None and self._asked[0] == view
        # A newer encoder can wait, a person who turns to another plane cannot.
        waits = self._worker.running or time.monotonic() < self._rested
        return None if same_view and waits else (view, self._run.exported)

    def _ask(self) -> None:
        wanted, session, run = self._wanted, self._session, self._run
        if wanted is None or run is None or run.encoder is None or session.image is None:
            return
        view, step = wanted
        track = session.state.get(session.current) if session.current else None
        clicked = min(track.templates, key=lambda one: abs(one[0] - view.plane)) if track and track.templates else None
        self._asked, self._began = wanted, time.monotonic()
        self._worker.submit(
            PreviewRequest(
                view.serial, view.run, step, run.encoder, session.image, view.plane, view.landmark, clicked,
                session.device, self._anchor,
            )
        )  # fmt: skip

    @property
    def _anchor(self) -> Anchor | None:
        """That of the last look, if it was at the same image with the same run."""
        return self.preview.anchor if self.preview and self._same_work(self.preview) else None

    def _same_work(self, found: Preview) -> bool:
        view, request = self._view, found.request
        return view is not None and (request.serial, request.run) == (view.serial, view.run)

    def _take(self, found: Preview) -> None:
        self._rested = time.monotonic() + _SHARE * (time.monotonic() - self._began)
        view, request = self._view, found.request
        if view is None or (request.serial, request.run, request.plane, request.landmark) != view[:4]:
            return  # the person looks at something else by now
        self.preview = found
        self.changed.emit()

    def _ended(self, error: str) -> None:
        if error != self.error:
            self.error = error
            self.changed.emit()
        self._look_again()
