"""Bring earlier work back from its log, with all levels of undo."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from napari_ld.errors import StorageError
from napari_ld.session.changes import applied
from napari_ld.session.history import History
from napari_ld.session.log import read_log
from napari_ld.session.requests import SavedWork
from napari_ld.session.tracks import EMPTY, State


def replay(entries: Iterable[dict[str, Any]], source: Path) -> tuple[State, History]:
    """Do again what a log says.

    Raises
    ------
    StorageError
        When an entry is not one that this version writes.
    """
    state, history = EMPTY, History()
    try:
        for entry in entries:
            match entry["op"]:
                case "step":
                    history.record(entry["label"], state)
                    state = applied(state, entry)
                case "amend":
                    state = applied(state, entry)
                case "undo":
                    state = history.undo(state)
                case "redo":
                    state = history.redo(state)
                case other:
                    raise StorageError(f"Saved work {source} has an unknown entry {other!r}; update napari-ld.")
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(
            f"Saved work {source} is damaged ({type(error).__name__}: {error}); delete the file to stop this message."
        ) from error
    return state, history


def newest_work(root: Path, key: str, *, apart_from: Iterable[Path] = ()) -> SavedWork | None:
    """Newest earlier session of the image that still holds landmarks, or None."""
    skipped = set(apart_from)
    files = [path for path in (root / key).glob("*.jsonl") if path not in skipped]
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            state, _ = replay(read_log(path), path)
        except StorageError:
            continue
        if state:
            verified = sum(point.verified for track in state.values() for point in track.points.values())
            return SavedWork(path, len(state), verified, path.stat().st_mtime)
    return None
