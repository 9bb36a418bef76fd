"""Events of a run: one JSON object a line, appended, versioned. Whoever watches a run reads these."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_ld.errors import StorageError

EVENTS_VERSION = 2
EVENTS_FILE = "events.jsonl"


class EventLog:
    """Appends events; may be used from several threads.

    Parameters
    ----------
    folder : Path or None
        The run folder; None for a process that writes nothing (all but the first).
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / EVENTS_FILE
        self._lock = threading.Lock()
        self._whole = False

    def write(self, event: str, **values: Any) -> None:
        """Append one event.

        Raises
        ------
        StorageError
            When the system refuses; an event that was cut off is no event, and the next one starts a new line.
        """
        if self._path is None:
            return
        record = {"version": EVENTS_VERSION, "time": round(time.time(), 3), "event": event, **values}
        with self._lock:
            try:
                self._append(self._path, json.dumps(record).encode() + b"\n")
            except OSError as error:
                raise StorageError(
                    f"{self._path}: cannot write events ({error.strerror}); free some space, then resume the run"
                ) from error

    def _append(self, path: Path, line: bytes) -> None:
        whole, self._whole = self._whole or _ends_with_a_line(path), False
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            content = line if whole else b"\n" + line
            if os.write(handle, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)
        self._whole = True


def _ends_with_a_line(path: Path) -> bool:
    """Whether the file is empty or its last line is whole: a killed process may have left half of one."""
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except FileNotFoundError:
        return True


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """Events of a run in order; lines that a killed process left unfinished are skipped."""
    try:
        lines = (folder / EVENTS_FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event
