"""A scheme at work: its landmarks are added together and clicked one after the other."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from napari_ld.io.schemes import Scheme
from napari_ld.session.edits import Edit
from napari_ld.session.tracks import State, Track, free_color, with_track

__all__ = ["next_unplaced", "place_in_scheme", "with_scheme"]


def with_scheme(state: State, scheme: Scheme) -> tuple[Edit | None, tuple[str, ...]]:
    """Add the landmarks of a scheme that are not there yet, by name; those that are keep their points and colours.

    Returns
    -------
    Edit or None
        None where every landmark is there already.
    tuple of str
        Identities of the scheme's landmarks in its order.
    """
    after, ids = state, []
    for entry in scheme.entries:
        track = next((track for track in after.values() if track.name == entry.name), None)
        if track is None:
            track = Track(uuid.uuid4().hex[:12], entry.name, entry.color or free_color(after))
            after = with_track(after, track)
        ids.append(track.id)
    first = next_unplaced(after, ids) or ids[0]
    return (None if after is state else Edit(f"scheme {scheme.name}", after, first)), tuple(ids)


def next_unplaced(state: State, scheme: Sequence[str]) -> str | None:
    """The first landmark of a scheme that has no template yet; None when all have."""
    return next((key for key in scheme if key in state and not state[key].templates), None)


def place_in_scheme(state: State, scheme: Sequence[str], landmark: str) -> tuple[int, int] | None:
    """``(k, n)``: the landmark is the k-th, from 1, of n that the scheme still has; None if it is not of the scheme."""
    left = [key for key in scheme if key in state]
    return (left.index(landmark) + 1, len(left)) if landmark in left else None
