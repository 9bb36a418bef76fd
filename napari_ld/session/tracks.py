"""What a session remembers of landmarks: frozen values and the pure functions on them.

A :class:`Track` is one landmark over all planes of one image. All edits make new values, so a level of undo is a
reference to an old :data:`State`, and a worker may hold one without a lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from napari_ld._types import Match, Position, Status

Stamp = tuple[str, int]
"""``(context, generation)``: which encoder and stack kind, and which set of templates, an answer comes from."""

# Okabe & Ito (2008), the colour-blind-safe eight without black, then lighter tones of Tol's "muted" scheme.
PALETTE = (
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#0072B2",
    "#DDDDDD", "#44AA99", "#AA4499", "#88CCEE", "#999933", "#CC6677", "#DDCC77",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """One landmark on one plane.

    Attributes
    ----------
    match : Match
        Where it is; ``match.landmark`` is the identity of the track, ``"verified"`` means that a person decided.
    template : bool
        Whether the encoder searches the other planes for what is seen here.
    stamp : Stamp or None
        Where an automatic answer comes from; None for what a person made or a file held.
    """

    match: Match
    template: bool = False
    stamp: Stamp | None = None

    @property
    def verified(self) -> bool:
        """Whether a person placed or confirmed it; automation never replaces such a point."""
        return self.match.status == "verified"


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One landmark over all planes; identity and colour stay for its life.

    Attributes
    ----------
    id, name, color
        Hidden identity, name given by the person, ``#RRGGBB``.
    points : mapping of plane to Point
    generation : int
        Changes with every change of the templates; numbers are never used twice in a session.
    finished : Stamp or None
        Stamp of the last propagation that ran to its end.
    lessons : tuple of (plane, (row, column))
        Templates from which the search learnt when the person last had it adapted; none: it only compares.
    """

    id: str
    name: str
    color: str
    points: Mapping[int, Point] = field(default_factory=lambda: MappingProxyType({}))
    generation: int = 0
    finished: Stamp | None = None
    lessons: tuple[tuple[int, Position], ...] = ()

    @property
    def templates(self) -> tuple[tuple[int, Position], ...]:
        """``(plane, (row, column))`` of each point that the others are searched with, by plane."""
        return tuple(
            (plane, point.match.position)
            for plane, point in sorted(self.points.items())
            if point.template and point.match.position is not None
        )

    def is_stale(self, point: Point, context: str) -> bool:
        """Whether an automatic answer comes from other templates or another encoder than the present ones."""
        return point.stamp is not None and point.stamp != (context, self.generation)

    def open_planes(self, n_planes: int, context: str) -> tuple[int, ...]:
        """Planes that still wait for the encoder: neither verified nor answered by a finished propagation."""
        if not self.templates or self.finished == (context, self.generation):
            return ()
        return tuple(p for p in range(n_planes) if p not in self.points or not self.points[p].verified)

    def with_points(self, points: Iterable[Point]) -> Track:
        """Copy in which the given points replace those on the same planes."""
        return replace(self, points=MappingProxyType({**self.points, **{p.match.plane: p for p in points}}))


State = Mapping[str, Track]
"""All tracks of one image by id, in the order they were added."""

EMPTY: State = MappingProxyType({})


def with_track(state: State, track: Track) -> State:
    """Copy of ``state`` in which ``track`` is added or replaced in place."""
    return MappingProxyType({**state, track.id: track})


def without_track(state: State, landmark: str) -> State:
    """Copy of ``state`` without one track."""
    return MappingProxyType({key: track for key, track in state.items() if key != landmark})


def free_color(state: State) -> str:
    """First colour of the palette that the fewest landmarks have."""
    taken = [track.color for track in state.values()]
    return min(PALETTE, key=lambda color: (taken.count(color), PALETTE.index(color)))


def free_name(state: State, wished: str = "") -> str:
    """``wished``, or ``landmark 1``, …; with a number behind when another landmark has that name."""
    taken = {track.name for track in state.values()}
    wished = " ".join(wished.split())
    if wished and wished not in taken:
        return wished
    stem, number = (wished, 2) if wished else ("landmark", 1)
    while f"{stem} {number}" in taken:
        number += 1
    return f"{stem} {number}"


def placed(landmark: str, plane: int, position: Position | None, *, template: bool) -> Point:
    """Point made by a person; ``position`` None says that the landmark is absent from the plane."""
    match = Match(landmark, plane, position, score=1.0, margin=1.0, status="verified")
    return Point(match, template=template and position is not None)


def answered(track: Track, matches: Iterable[Match], stamp: Stamp, *, finished: bool) -> Track:
    """Track with the encoder's answers, except where a verified point or a finer answer of the same stamp stands."""

    def outranked(match: Match) -> bool:
        old = track.points.get(match.plane)
        if old is None:
            return False
        return old.verified or (old.stamp == stamp and old.match.stage == "fine" and match.stage == "coarse")

    after = track.with_points(Point(match, stamp=stamp) for match in matches if not outranked(match))
    return replace(after, finished=stamp) if finished else after


def shown_status(point: Point, threshold: float | None) -> Status:
    """Status with the person's threshold applied.

    Parameters
    ----------
    point : Point
    threshold : float or None
        Where errors are calibrated, the largest expected error (mm or px) that counts as confident; elsewhere the
        smallest margin to the runner-up. None leaves the encoder's own verdict.
    """
    match = point.match
    if threshold is None or match.status in ("verified", "absent"):
        return match.status
    if match.expected_error is not None:
        return "uncertain" if match.expected_error > threshold else "confident"
    return "uncertain" if match.margin < threshold else "confident"


def next_uncertain(state: State, current: str | None, after: int, threshold: float | None) -> tuple[str, int] | None:
    """``(landmark, plane)`` of the next uncertain point: behind ``after``, in other landmarks, then from the start."""
    keys = list(state)
    start = keys.index(current) if current in keys else 0
    uncertain = [
        (key, plane)
        for key in keys[start:] + keys[:start]
        for plane, point in sorted(state[key].points.items())
        if shown_status(point, threshold) == "uncertain"
    ]
    behind = [(key, plane) for key, plane in uncertain if key != current or plane > after]
    return next(iter([*behind, *uncertain]), None)


def nearest(planes: Iterable[int], visible: int) -> tuple[int, ...]:
    """Planes ordered by their distance from the visible one; of two as near, the lower first."""
    return tuple(sorted(planes, key=lambda plane: (abs(plane - visible), plane)))


def carried_over(target: State, current: State) -> State:
    """``target`` plus the automatic answers that arrived since it was recorded and still belong to it.

    Undo must take back what the person did, not what the encoder found for the landmarks that remain.
    """
    tracks = dict(target)
    for key, track in target.items():
        now = current.get(key)
        if now is None or now.generation != track.generation:
            continue
        arrived = [
            point
            for plane, point in now.points.items()
            if not point.verified and (plane not in track.points or not track.points[plane].verified)
        ]
        tracks[key] = replace(track.with_points(arrived), finished=now.finished)
    return MappingProxyType(tracks)


def as_matches(state: State, threshold: float | None) -> list[Match]:
    """Every point as a :class:`Match` that carries the landmark's name, by track and plane; no position: absent."""
    return [
        replace(
            point.match,
            landmark=track.name,
            status=shown_status(point, threshold) if point.match.position is not None else "absent",
        )
        for track in state.values()
        for _, point in sorted(track.points.items())
    ]
