"""Runs of training and the person's own encoders, for one panel: what is started, followed, compared and kept.

Nothing is started or switched but on request. Files are read by a timer, only what is new; all that takes long is done
by workers.
"""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from napari_ld._gui.curve import can_plot
from napari_ld._gui.workers import Worker
from napari_ld.errors import NapariLDError
from napari_ld.model.own import add_own, free_name, own_encoders
from napari_ld.session import Session
from napari_ld.session.encoder_comparison import CompareRequest, compare, verified_points
from napari_ld.session.training import DeviceChoice, Launched, ResumeRequest, TrainRequest, begin, devices, estimate
from napari_ld.session.training_labels import accepted_masks
from napari_ld.session.training_runs import RunState, RunWatch, discard_run, runs_folder, runs_in, wish
from napari_ld.session.training_settings import ask_settings
from napari_ld.torch_loading import load_torch

_POLL = 200  # ms between two looks at the runs
_CATCH_UP = 2  # runs of earlier days that are read at one look
_MOST_RUNS = 30


@dataclass(frozen=True, slots=True)
class KeepRequest:
    """Take a model file among one's own under a name; ``use`` says what the person pressed."""

    file: Path
    name: str
    use: bool


class TrainingDesk(QObject):
    """Everything of training that is not a widget.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
    runs_changed : Signal()
        A run came, went or was chosen.
    progressed : Signal()
        The chosen run, or any that is alive, has news.
    answered : Signal(object)
        Progress of a start or a comparison, the comparison, an estimate, the list of devices, the settings, or whether
        there are plots.
    kept : Signal(str, bool)
        An encoder is among one's own now, and whether it shall be used.
    refused : Signal(str)
        What went wrong, in words; ``""`` when it is over.
    """

    runs_changed = Signal()
    progressed = Signal()
    answered = Signal(object)
    kept = Signal(str, bool)
    refused = Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.folder = runs_folder()
        self.chosen: Path | None = None
        self._watches: dict[Path, RunWatch] = {}
        self._stops: set[Path] = set()
        self._closed = False
        self._starter = Worker(begin)
        self._comparer = Worker(compare)
        self._keeper = Worker(_keep)
        self._asker = Worker(_devices)
        self._settings = Worker(ask_settings)
        self._timing = Worker(estimate)
        self._plots = Worker(_plots)
        self._plots_asked = False
        self._starter.result.connect(self._started)
        for worker in (self._comparer, self._asker, self._settings, self._timing, self._plots):
            worker.result.connect(self.answered.emit)
        self._keeper.result.connect(lambda kept: self.kept.emit(kept.name, kept.use))
        for worker in self._workers:
            worker.ended.connect(self._ended)
        self._timer = QTimer(self)
        self._timer.setInterval(_POLL)
        self._timer.timeout.connect(self._poll)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.close)
        self.look_for_runs()

    @property
    def _workers(self) -> tuple[Worker, ...]:
        return (
            self._starter, self._comparer, self._keeper, self._asker, self._settings, self._timing, self._plots,
        )  # fmt: skip

    def close(self) -> None:
        """Stop looking; runs go on. May be called twice."""
        self._closed = True
        self._timer.stop()
        for worker in self._workers:
            worker.shutdown()

    # --- what there is ------------------------------------------------------------------------------------------------

    @property
    def runs(self) -> list[RunState]:
        """All runs, the newest first."""
        return [watch.state for watch in self._watches.values()]

    @property
    def run(self) -> RunState | None:
        """The run that is shown."""
        watch = self._watches.get(self.chosen) if self.chosen else None
        return watch.state if watch else None

    @property
    def starting(self) -> bool:
        """Whether pixels are being handed over to a run."""
        return self._starter.running

    @property
    def estimating(self) -> bool:
        """Whether steps are being timed."""
        return self._timing.running

    @property
    def comparing(self) -> bool:
        """Whether two encoders are being compared."""
        return self._comparer.running

    def look_for_runs(self) -> None:
        """List the runs of the folder; those already followed are kept."""
        paths = runs_in(self.folder)[:_MOST_RUNS]
        self._watches = {path: self._watches.get(path) or RunWatch(path) for path in paths}
        if self.chosen not in self._watches:
            self.chosen = paths[0] if paths else None
        self.runs_changed.emit()
        if paths and not self._closed:
            self._timer.start()

    def choose(self, run: Path) -> None:
        """Show another run."""
        if run in self._watches and run != self.chosen:
            self.chosen = run
            self.runs_changed.emit()

    # --- start, pause, stop -------------------------------------------------------------------------------------------

    def start(self, request: TrainRequest) -> None:
        """Begin a run."""
        self.refused.emit("")
        self._timing.cancel()
        self._starter.submit(request)
        self.progressed.emit()

    def estimate(self, request: TrainRequest) -> None:
        """Time a few steps of a run that may be begun."""
        self.refused.emit("")
        self._timing.submit(request)
        self.progressed.emit()

    def cancel_start(self) -> None:
        """Do not begin after all, while pixels are being handed over."""
        self._starter.cancel()

    def resume(self) -> None:
        """Go on with the chosen run, which was paused or has ended."""
        run = self.run
        if run is None:
            return
        if run.alive:
            self.wish("run")
            return
        self.refused.emit("")
        self._stops.discard(run.path)
        self._starter.submit(ResumeRequest(run.path))

    def wish(self, command: str) -> None:
        """Ask the chosen run to ``run``, ``pause`` or ``stop``."""
        if self.chosen is None:
            return
        if command == "stop":
            self._stops.add(self.chosen)
        if self._try(partial(wish, self.chosen, command)):
            self._watches[self.chosen].wished(command)
            self.runs_changed.emit()

    def discard(self) -> None:
        """Delete the chosen run."""
        if self.chosen is not None and self._try(partial(discard_run, self.chosen)):
            self.look_for_runs()

    # --- the encoder --------------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Compare the encoder in use with that of the chosen run, on the image of the session."""
        session, run = self.session, self.run
        if session.image is None or run is None or run.encoder is None:
            return
        self.refused.emit("")
        self._comparer.submit(
            CompareRequest(
                session.image, session.encoder, str(run.encoder), verified_points(session.state), session.stack_kind,
                session.device, session.mirror, accepted_masks(session.regions.book),
            )
        )  # fmt: skip
        self.progressed.emit()

    def keep(self, *, use: bool) -> None:
        """Take the encoder of the chosen run among one's own, and have it used if ``use``."""
        run = self.run
        if run is None or run.encoder is None:
            return
        self.bring(run.encoder, run.path.name, use=use)

    def bring(self, file: Path, wanted: str, *, use: bool = False) -> None:
        """Check a model file and take it among one's own under a name like ``wanted``."""
        self.refused.emit("")
        self._keeper.submit(KeepRequest(file, wanted, use))

    def ask_details(self) -> None:
        """Ask which devices and settings there are; the answers come by ``answered``."""
        self._asker.submit(None)
        self._settings.submit(None)

    def ask_plots(self) -> None:
        """Load what draws curves, if it is installed; the answer comes by ``answered``, once."""
        if not self._plots_asked:
            self._plots_asked = True
            self._plots.submit(None)

    # --- under way ----------------------------------------------------------------------------------------------------

    def _started(self, result: object) -> None:
        if isinstance(result, Launched):
            if result.run in self._watches:
                self._watches[result.run].began_again()
            self.chosen = result.run
            self.look_for_runs()
        else:
            self.answered.emit(result)

    def _ended(self, error: str) -> None:
        if error:
            self.refused.emit(error)
        self.progressed.emit()

    def _poll(self) -> None:
        alive = [watch for watch in self._watches.values() if watch.state.alive or watch.state.held]
        behind = [watch for watch in self._watches.values() if watch not in alive and watch.behind][:_CATCH_UP]
        before = self.runs
        for watch in (*alive, *behind):
            if watch.look().phase in ("starting", "running") and watch.state.path in self._stops:
                # A trainer that is just beginning forgets wishes that are older than itself.
                self._try(partial(wish, watch.state.path, "stop"))
        if not alive and not behind:
            self._timer.stop()
        if [(run.phase, run.held) for run in before] != [(run.phase, run.held) for run in self.runs]:
            self.runs_changed.emit()
        elif before != self.runs:
            self.progressed.emit()

    def _try(self, action: Callable[[], Any]) -> bool:
        try:
            action()
        except NapariLDError as error:
            self.refused.emit(str(error))
            return False
        return True


def _keep(request: KeepRequest, cancelled: Callable[[], bool]) -> Iterator[KeepRequest]:
    load_torch()
    known, name = own_encoders().get(request.name), request.name
    if known is None or not filecmp.cmp(request.file, known, shallow=False):
        name = free_name(request.name)
        add_own(request.file, name)
    yield KeepRequest(request.file, name, request.use)


def _plots(request: None, cancelled: Callable[[], bool]) -> Iterator[bool]:
    yield can_plot()


def _devices(request: None, cancelled: Callable[[], bool]) -> Iterator[list[DeviceChoice]]:
    yield devices()
