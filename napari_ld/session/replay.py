"""Bring earlier work back from its log, with all levels of undo."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_ld.errors import RegionError, StorageError
from napari_ld.session.changes import applied
from napari_ld.session.history import History
from napari_ld.session.log import read_image, read_log
from napari_ld.session.region_changes import Change, from_json, item_from_json
from napari_ld.session.regions import RegionBook
from napari_ld.session.repaint import LayerChange
from napari_ld.session.requests import SavedWork
from napari_ld.session.tracks import EMPTY, State


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Work as it was when its log ended.

    Attributes
    ----------
    landmarks : State
    regions : RegionBook
    history : History
    current : int or None
        Region that was looked at last.
    """

    landmarks: State
    regions: RegionBook
    history: History
    current: int | None


def replay(entries: Iterable[dict[str, Any]], source: Path) -> Past:
    """Do again what a log says; needs neither encoder nor pixels.

    Raises
    ------
    StorageError
        When an entry is not one that this version writes.
    """
    image = read_image(source)
    player = _Player(RegionBook(image.plane_shape if image is not None else (0, 0)))
    try:
        for entry in entries:
            player.play(entry, source)
    except (KeyError, IndexError, TypeError, ValueError, RegionError) as error:
        raise StorageError(
            f"Saved work {source} is damaged ({type(error).__name__}: {error}); delete the file to stop this message."
        ) from error
    return Past(player.landmarks, player.book, player.history, player.current)


class _Player:
    def __init__(self, book: RegionBook) -> None:
        self.landmarks, self.history, self.book = EMPTY, History(), book
        self.current: int | None = None

    def play(self, entry: dict[str, Any], source: Path) -> None:
        match entry["op"]:
            case "step":
                self.history.record(entry["label"], self.landmarks)
                self.landmarks = applied(self.landmarks, entry)
            case "amend":
                self.landmarks = applied(self.landmarks, entry)
            case "proposals":
                self.book.drop(entry["drop"])
                self.book.add(item_from_json(item) for item in entry["add"])
            case "regions":
                change = from_json(entry, self.book.items)
                self.history.record_regions(entry["label"], change)
                self.change(change)
            case "undo":
                self.go_to(*self.history.undo(self.landmarks))
            case "redo":
                self.go_to(*self.history.redo(self.landmarks))
            case other:
                raise StorageError(f"Saved work {source} has an unknown entry {other!r}; update napari-ld.")

    def go_to(self, landmarks: State, change: Change | LayerChange | None) -> None:
        self.landmarks = landmarks
        if isinstance(change, Change):  # what was done to a person's own layer is not in the log
            self.change(change)

    def change(self, change: Change) -> None:
        self.book.apply(change)
        self.current = change.current[1]


def newest_work(root: Path, key: str, *, apart_from: Iterable[Path] = ()) -> SavedWork | None:
    """Newest earlier session of the image that still holds landmarks or regions, or None."""
    skipped = set(apart_from)
    files = [path for path in (root / key).glob("*.jsonl") if path not in skipped]
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            past = replay(read_log(path), path)
        except StorageError:
            continue
        if past.landmarks or past.regions:
            verified = sum(point.verified for track in past.landmarks.values() for point in track.points.values())
            counts = past.regions.statistics
            decided = counts.accepted + counts.rejected
            return SavedWork(path, len(past.landmarks), verified, path.stat().st_mtime, decided)
    return None
