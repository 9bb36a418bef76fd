"""Stop and pause on request: by ``control.json`` in the run folder, SIGTERM or SIGINT.

``{"command": "stop"}`` writes a checkpoint and ends the process; ``{"command": "pause"}`` writes a checkpoint and
waits, the process keeping its memory; ``{"command": "run"}`` goes on. The request is answered at once by an event
(``stopping``, ``pausing``), the checkpoint follows after the current step.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from napari_ld.errors import StorageError
from napari_ld.storage import atomic_write
from src_train.events import EventLog

CONTROL_FILE = "control.json"
COMMANDS = ("run", "pause", "stop")
_POLL_SECONDS = 0.1


def write_command(folder: Path, command: str) -> None:
    """Ask the process that trains a run to ``run``, ``pause`` or ``stop``."""
    if command not in COMMANDS:
        raise ValueError(f"command {command!r}: expected one of {', '.join(COMMANDS)}")
    with atomic_write(folder / CONTROL_FILE, "w") as file:
        json.dump({"command": command}, file)


class Control:
    """What is wished for now; watched by a thread, so that the answer does not wait for the step.

    Parameters
    ----------
    folder : Path
    log : EventLog
    alone : bool
        Whether this is the only process. ``torchrun`` hands signals on, so that of several processes each may get two
        for one: then only the first counts and the others are ignored.
    """

    def __init__(self, folder: Path, log: EventLog, *, alone: bool = True) -> None:
        self._alone = alone
        self._path = folder / CONTROL_FILE
        self._log = log
        self._signal = ""
        self._told = "run"
        self._closed = threading.Event()
        self._changed = threading.Condition()
        self.wish = "run"

    @contextlib.contextmanager
    def watching(self) -> Iterator[Control]:
        """Watch file and signals while the block runs; a wish of an earlier process is forgotten."""
        write_command(self._path.parent, "run")
        thread = threading.Thread(target=self._watch, name="control", daemon=True)
        with self._signals():
            thread.start()
            try:
                yield self
            finally:
                self._closed.set()
                thread.join()

    def wait_while_paused(self) -> None:
        """Return when the wish is no longer to pause."""
        with self._changed:
            self._changed.wait_for(lambda: self.wish != "pause")

    def reason(self) -> str:
        """Who asked."""
        return f"signal {self._signal}" if self._signal else CONTROL_FILE

    def _watch(self) -> None:
        while True:
            self._look()
            if self._closed.wait(_POLL_SECONDS):
                return

    def _look(self) -> None:
        wish = "stop" if self._signal else _read_command(self._path)
        if wish == "" or self.wish == "stop":  # unreadable: written just now, or by hand; a stop is final
            return
        with self._changed:
            self.wish = wish
            self._changed.notify_all()
        if wish != self._told:
            self._told = wish
            if wish in ("stop", "pause"):
                with contextlib.suppress(StorageError):  # the loop meets the full disk itself and says so
                    self._log.write("stopping" if wish == "stop" else "pausing", reason=self.reason())

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Take the first SIGTERM or SIGINT as a wish to stop; the second does what it always does."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = [signal.SIGTERM, signal.SIGINT]
        before = {name: signal.getsignal(name) for name in names}

        def take(number: int, frame: FrameType | None) -> None:
            self._signal = self._signal or signal.Signals(number).name
            for name in names if self._alone else []:
                signal.signal(name, before[name])

        for name in names:
            signal.signal(name, take)
        try:
            yield
        finally:
            for name in names:
                signal.signal(name, before[name])


@contextlib.contextmanager
def deaf_to_signals() -> Iterator[None]:
    """Ignore SIGTERM and SIGINT while the block runs: the first process hears them and tells the others."""
    before = {name: signal.signal(name, signal.SIG_IGN) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _read_command(path: Path) -> str:
    """The command in the file; ``run`` without a file, empty when it cannot be understood."""
    try:
        command = json.loads(path.read_bytes())["command"]
    except FileNotFoundError:
        return "run"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return command if command in COMMANDS else ""
