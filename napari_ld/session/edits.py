"""What a person can do to the landmarks: pure functions from a state to a named new one.

Each returns an :class:`Edit`, which becomes one level of undo.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType

from napari_ld._types import Image, Match, Position
from napari_ld.errors import LandmarkError
from napari_ld.session.tracks import Point, State, Track, free_color, free_name, placed, with_track, without_track


@dataclass(frozen=True, slots=True)
class Edit:
    """A new state, what led to it in words, and the landmark it is about."""

    label: str
    state: State
    landmark: str | None


class Editor:
    """Edits of landmarks on one image.

    Parameters
    ----------
    image : Image
        Positions outside it are refused.
    generations : iterator of int
        Numbers for new sets of templates, never the same twice.
    """

    def __init__(self, image: Image, generations: Iterator[int]) -> None:
        self._image = image
        self._generations = generations

    def add(self, state: State, name: str) -> Edit:
        """Landmark without points, named as wished or ``landmark 1``, …."""
        track = Track(uuid.uuid4().hex[:12], free_name(state, name), free_color(state))
        return Edit(f"add {track.name}", with_track(state, track), track.id)

    def rename(self, state: State, landmark: str, name: str) -> Edit:
        """Another name; identity and colour stay."""
        track = track_of(state, landmark)
        free = free_name(without_track(state, landmark), name)
        return Edit(f"rename {track.name}", with_track(state, replace(track, name=free)), landmark)

    def remove(self, state: State, landmark: str) -> Edit:
        """No such landmark any more."""
        return Edit(f"remove {track_of(state, landmark).name}", without_track(state, landmark), None)

    def place(self, state: State, landmark: str, plane: int, position: Position, *, teach: bool) -> Edit:
        """Verified point; a template when it is the first one, was one before, or shall ``teach``."""
        track = track_of(state, landmark)
        require_inside(self._image, plane, position)
        old = track.points.get(plane)
        template = teach or not track.templates or (old is not None and old.template)
        label = f"{'place' if old is None else 'move'} {self._where(track, plane)}"
        return self._decided(label, state, track, placed(landmark, plane, position, template=template))

    def mark_absent(self, state: State, landmark: str, plane: int) -> Edit:
        """Verified: not on this plane."""
        track = track_of(state, landmark)
        point = placed(landmark, plane, None, template=False)
        return self._decided(f"absent: {self._where(track, plane)}", state, track, point)

    def verify(self, state: State, landmark: str, plane: int) -> Edit | None:
        """Confirm the automatic answer; no template, since the encoder finds it already. None: nothing to confirm."""
        track = track_of(state, landmark)
        point = track.points.get(plane)
        if point is None or point.verified:
            return None
        verified = replace(point, match=replace(point.match, status="verified"), stamp=None)
        return self._decided(f"verify {self._where(track, plane)}", state, track, verified)

    def load(self, state: State, matches: Iterable[Match]) -> Edit | None:
        """Points from a file, by name of the landmark; what a person verified here stays. None: nothing new.

        The first verified point of a landmark without template becomes its template.
        """
        before, taken, last = state, 0, None
        for match in matches:
            if match.position is not None:
                require_inside(self._image, match.plane, match.position)
            track = next((track for track in state.values() if track.name == match.landmark), None)
            if track is None:
                track = Track(uuid.uuid4().hex[:12], free_name(state, match.landmark), free_color(state))
            old = track.points.get(match.plane)
            if old is None or not old.verified:
                teaches = match.status == "verified" and match.position is not None and not track.templates
                point = Point(replace(match, landmark=track.id), template=teaches)
                state, taken, last = self._with_point(state, track, point), taken + 1, track.id
        return None if state is before else Edit(f"load {taken} points", state, last)

    def adapt(self, state: State) -> Edit | None:
        """Learn from all templates there are now; unverified planes are searched anew. None: nothing new to learn."""
        taught = {
            key: replace(track, lessons=track.templates, generation=next(self._generations))
            for key, track in state.items()
            if track.templates and track.lessons != track.templates
        }
        return Edit("adapt to this stack", MappingProxyType({**state, **taught}), None) if taught else None

    def _where(self, track: Track, plane: int) -> str:
        return f"{track.name} on plane {plane}" if self._image.n_planes > 1 else track.name

    def _decided(self, label: str, state: State, track: Track, point: Point) -> Edit:
        return Edit(label, self._with_point(state, track, point), track.id)

    def _with_point(self, state: State, track: Track, point: Point) -> State:
        after = track.with_points([point])
        if after.templates != track.templates:
            after = replace(after, generation=next(self._generations))
        return with_track(state, after)


def track_of(state: State, landmark: str) -> Track:
    """Track with this identity.

    Raises
    ------
    LandmarkError
        When there is none.
    """
    if landmark not in state:
        names = ", ".join(track.name for track in state.values()) or "none"
        raise LandmarkError(f"Unknown landmark {landmark!r}; this image has: {names}.")
    return state[landmark]


def require_inside(image: Image, plane: int, position: Position) -> None:
    """Refuse what lies outside the image.

    Raises
    ------
    LandmarkError
        When the plane or the position is outside.
    """
    rows, columns = image.plane_shape
    row, column = position
    if not (0 <= plane < image.n_planes and -0.5 <= row <= rows - 0.5 and -0.5 <= column <= columns - 0.5):
        raise LandmarkError(
            f"Plane {plane}, row {row:.1f}, column {column:.1f} is outside the image of {image.n_planes} planes, "
            f"{rows} rows and {columns} columns; choose a point on the image."
        )
