"""The one undo stack of a session: landmark edits, decisions about regions and strokes of the brush, in their order."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from napari_ld.session.region_changes import Change
from napari_ld.session.repaint import LayerChange
from napari_ld.session.tracks import State, carried_over


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One level of undo or redo: the landmarks to go back to, or a change of regions or of a person's own layer."""

    label: str
    landmarks: State | None = None
    regions: Change | LayerChange | None = None

    @property
    def size(self) -> int:
        """Bytes, about."""
        return 100 + (self.regions.size if self.regions is not None else 0)


class History:
    """Levels of undo and redo.

    A level of landmarks is a reference to a frozen state, one of regions holds what changed and nothing else.

    Parameters
    ----------
    limit : int
        Levels that are kept.
    max_bytes : int
        Memory of all levels; the oldest are forgotten first, the newest never.
    """

    def __init__(self, limit: int = 500, max_bytes: int = 64 * 2**20) -> None:
        self._limit, self._max_bytes = limit, max_bytes
        self._undo: deque[Level] = deque()
        self._redo: list[Level] = []
        self._size = 0

    @property
    def undo_label(self) -> str | None:
        """What the next undo takes back, or None."""
        return self._undo[-1].label if self._undo else None

    @property
    def redo_label(self) -> str | None:
        """What the next redo brings back, or None."""
        return self._redo[-1].label if self._redo else None

    def record(self, label: str, before: State) -> None:
        """Remember the landmarks before an edit; what was undone before it can no longer be redone."""
        self._push(Level(label, landmarks=before))

    def record_regions(self, label: str, change: Change | LayerChange) -> None:
        """Remember a change of regions or pixels that was just made."""
        self._push(Level(label, regions=change))

    def _push(self, level: Level) -> None:
        self._redo.clear()
        self._keep(level)

    def _keep(self, level: Level) -> None:
        self._undo.append(level)
        self._size += level.size
        while len(self._undo) > self._limit or (self._size > self._max_bytes and len(self._undo) > 1):
            self._size -= self._undo.popleft().size

    def undo(self, current: State) -> tuple[State, Change | LayerChange | None]:
        """Landmarks after taking back the last edit, and the change to be made to the regions, if any.

        Automatic answers for landmarks that arrived since are kept. Without a level: ``(current, None)``.
        """
        if not self._undo:
            return current, None
        level = self._undo.pop()
        self._size -= level.size
        if level.regions is not None:
            self._redo.append(level)
            return current, level.regions.inverse
        self._redo.append(replace(level, landmarks=current))
        return carried_over(level.landmarks or {}, current), None

    def redo(self, current: State) -> tuple[State, Change | LayerChange | None]:
        """Landmarks and change of regions that bring back what was undone last; as :meth:`undo`."""
        if not self._redo:
            return current, None
        level = self._redo.pop()
        if level.regions is not None:
            self._keep(level)
            return current, level.regions
        self._keep(replace(level, landmarks=current))
        return carried_over(level.landmarks or {}, current), None
