"""The one undo stack of a session."""

from __future__ import annotations

from napari_ld.session.tracks import State, carried_over


class History:
    """Levels of undo and redo over frozen states.

    Parameters
    ----------
    limit : int
        Levels that are kept; a level costs one reference per landmark.
    """

    def __init__(self, limit: int = 500) -> None:
        self._limit = limit
        self._undo: list[tuple[str, State]] = []
        self._redo: list[tuple[str, State]] = []

    @property
    def undo_label(self) -> str | None:
        """What the next undo takes back, or None."""
        return self._undo[-1][0] if self._undo else None

    @property
    def redo_label(self) -> str | None:
        """What the next redo brings back, or None."""
        return self._redo[-1][0] if self._redo else None

    def record(self, label: str, before: State) -> None:
        """Remember the state before an edit; what was undone before it can no longer be redone."""
        self._undo.append((label, before))
        del self._undo[: -self._limit]
        self._redo.clear()

    def undo(self, current: State) -> State:
        """State before the last edit, with the automatic answers that arrived since; ``current`` if there is none."""
        if not self._undo:
            return current
        label, before = self._undo.pop()
        self._redo.append((label, current))
        return carried_over(before, current)

    def redo(self, current: State) -> State:
        """State before the last undo, with the automatic answers that arrived since; ``current`` if there is none."""
        if not self._redo:
            return current
        label, after = self._redo.pop()
        self._undo.append((label, current))
        return carried_over(after, current)

    def clear(self) -> None:
        """Forget all levels (another image)."""
        self._undo.clear()
        self._redo.clear()
