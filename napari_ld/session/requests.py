"""Frozen questions to the workers and their frozen answers.

A request holds all that its computation needs, a result says which request it answers: ``serial`` names the opened
image, ``context`` the encoder and stack kind, ``generation`` the templates. The session drops answers to old questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_ld._types import Image, Match, Position


@dataclass(frozen=True, slots=True)
class TrackQuestion:
    """Find one landmark on ``planes`` (nearest first) from its ``templates`` (plane, (row, column))."""

    landmark: str
    generation: int
    templates: tuple[tuple[int, Position], ...]
    planes: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LocateRequest:
    """Embed ``planes`` in this order and answer ``tracks`` on the way; no tracks: embed only."""

    serial: int
    context: str
    image: Image
    encoder: str
    stack_kind: str
    device: str
    planes: tuple[int, ...]
    tracks: tuple[TrackQuestion, ...]
    mirror: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class IdentifyRequest:
    """Recognise an image, so that earlier work on it can be offered; ``stem`` is hashed, never stored."""

    serial: int
    image: Image
    stem: str
    sessions: Path


@dataclass(frozen=True, slots=True)
class SourceReady:
    """The encoder is loaded: its name, where it runs and why there."""

    serial: int
    context: str
    encoder: str
    device: str
    reason: str


@dataclass(frozen=True, slots=True)
class EmbeddingProgress:
    """``done`` of ``total`` planes are embedded."""

    serial: int
    context: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Located:
    """Some answers for one landmark; ``finished`` with the last of them."""

    serial: int
    context: str
    landmark: str
    generation: int
    matches: tuple[Match, ...]
    finished: bool = False


@dataclass(frozen=True, slots=True)
class SavedWork:
    """Earlier work on the same image, found on disk: how much, and when it was saved (seconds since 1970).

    ``decided`` counts the regions that were accepted or rejected.
    """

    path: Path
    landmarks: int
    verified: int
    saved: float
    decided: int = 0


@dataclass(frozen=True, slots=True)
class Identified:
    """The image's key in the folder of sessions, and the newest earlier work."""

    serial: int
    key: str
    saved: SavedWork | None


Request = LocateRequest | IdentifyRequest
Result = SourceReady | EmbeddingProgress | Located | Identified
