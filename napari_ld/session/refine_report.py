"""What refining did, in words: per label the change and how sure the refiner was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_ld.refinement import Change

_LINES = 5  # labels that are told of one by one


class Report:
    """Collects what became of the labels of one or several planes."""

    def __init__(self) -> None:
        self._changes: dict[int, list[Change]] = {}
        self._notes: list[str] = []

    def add(self, changes: Iterable[Change], note: str = "") -> None:
        """Take in what became of the labels of a plane, or why nothing did."""
        for change in changes:
            self._changes.setdefault(change.label, []).append(change)
        if note:
            self._notes.append(note)

    def lines(self) -> Iterator[str]:
        """A line for each label, but for very many of them, and one for each kind of trouble."""
        labels = sorted(self._changes)
        for label in labels[:_LINES]:
            yield f"label {label}: {_summed(self._changes[label])}"
        rest = [change for label in labels[_LINES:] for change in self._changes[label]]
        if rest:
            yield f"and {len(labels) - _LINES} more labels: {sum(change.changed for change in rest):,} px changed"
        if self._notes:
            more = f", and {len(self._notes) - 1} more planes" if len(self._notes) > 1 else ""
            yield f"left as it was on {self._notes[0]}{more}"


def _summed(changes: list[Change]) -> str:
    """What became of one label on one or several planes."""
    if len(changes) == 1:
        return changes[0].text
    made = [change for change in changes if change.changed]
    kept = sum(change.kept for change in changes)
    pixels = sum(change.changed for change in made)
    if not made:
        return f"left as it was on all {kept} planes, not sure enough" if kept else "nothing to change"
    confidence = sum(change.confidence * change.changed for change in made) / pixels
    text = f"{pixels:,} px changed on {len(made)} of {len(changes)} planes, confidence {confidence:.2f}"
    return f"{text}; left as it was on {kept}, not sure enough" if kept else text
