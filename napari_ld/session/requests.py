"""Frozen questions to the workers and their frozen answers.

A request holds all that its computation needs, a result says which request it answers: ``serial`` names the opened
image, ``context`` the encoder and stack kind, ``generation`` the templates. The session drops answers to old questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_ld._types import Image, Match, Position
from napari_ld.proposals.masks import Mask
from napari_ld.proposals.regions import Region
from napari_ld.session.repaint import Repaint

if TYPE_CHECKING:
    from napari_ld.refinement import Change

LabelPlanes = Callable[[int], npt.NDArray[np.integer]]
"""Reads the labels of a plane, (rows, columns)."""


@dataclass(frozen=True, slots=True)
class TrackQuestion:
    """Find one landmark on ``planes`` (nearest first) from its ``templates`` (plane, (row, column)).

    With ``lessons``, those of the templates from which the search shall learn, it is adapted to the stack.
    """

    landmark: str
    generation: int
    templates: tuple[tuple[int, Position], ...]
    planes: tuple[int, ...]
    lessons: tuple[tuple[int, Position], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class SourceRequest:
    """A question that needs the features of the image."""

    serial: int
    context: str
    image: Image
    encoder: str
    stack_kind: str
    device: str


@dataclass(frozen=True, slots=True, eq=False)
class LocateRequest(SourceRequest):
    """Embed ``planes`` in this order and answer ``tracks`` on the way; no tracks: embed only."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """Example (or counter-example) of what is looked for: an outline or a clicked (row, column) on a plane."""

    plane: int
    mask: Mask | None = None
    position: Position | None = None
    positive: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class ProposeRequest(SourceRequest):
    """Propose regions on ``planes`` in this order; ``only`` says that all other planes keep what they have.

    ``n_regions`` are those of a plane, or the clusters of the stack. ``model`` is the file of a model of the person's
    own, for the method that asks one. ``single``: of what the examples show, each plane holds one.
    """

    run: int
    method: str
    n_regions: int
    marks: tuple[Mark, ...]
    planes: tuple[int, ...]
    only: bool = False
    model: str = ""
    single: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Proposed:
    """Some proposals of a run; ``done`` of ``total`` planes were searched; ``encoder`` is the hash of its weights.

    ``provisional`` ones can be reviewed at once; the next batch replaces those that nobody decided about by then.
    """

    serial: int
    context: str
    run: int
    regions: tuple[Region, ...]
    done: int
    total: int
    encoder: str = ""
    provisional: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class OfferRequest(SourceRequest):
    """Which regions stand out at a clicked ``position`` (row, column) of a plane."""

    plane: int
    position: Position


@dataclass(frozen=True, slots=True, eq=False)
class Offered:
    """Nested regions at a clicked place, the one that stands out most first."""

    serial: int
    context: str
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SimilarityRequest(SourceRequest):
    """How alike the surroundings of a region are to it."""

    region: int
    mask: Mask
    vector: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class RegionSimilarity:
    """Similarity maps around a region, plane by plane: ``((top, left), (rows, columns) float32)``."""

    serial: int
    context: str
    region: int
    maps: Mapping[int, tuple[tuple[int, int], npt.NDArray[np.float32]]]


@dataclass(frozen=True, slots=True, eq=False)
class ViewRequest(SourceRequest):
    """Show what the encoder sees: ``kind`` is ``"embedding"``, ``"clusters"`` or ``"similarity"`` (to ``position``)."""

    kind: str
    planes: tuple[int, ...]
    position: Position | None = None
    n_clusters: int = 16


@dataclass(frozen=True, slots=True, eq=False)
class PlaneView:
    """One plane of a view, at the resolution of the features; ``origin`` and ``step`` as in :class:`Embedding`.

    ``pixels`` are (h, w, 3) uint8 colours, (rows, columns) uint8 clusters from 1, 0 in a black margin, which have the
    resolution of the image, or (h, w) float32 cosines.
    """

    serial: int
    context: str
    kind: str
    plane: int
    pixels: npt.NDArray[Any]
    origin: Position
    step: Position


@dataclass(frozen=True, slots=True, eq=False)
class RefineRequest(SourceRequest):
    """Refine the labels on ``planes``; ``solid``: all together, as slices of one body ``steps`` apart.

    A plane is read when it is its turn, so that no stack is copied; who changes it meanwhile tells the session.
    """

    run: int
    method: str
    labels: LabelPlanes
    scribbles: LabelPlanes | None
    planes: tuple[int, ...]
    solid: bool = False
    steps: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RefinedPlane:
    """Labels of one plane before and after: (rows, columns) around all of them, from ``corner`` (top, left) on."""

    plane: int
    corner: tuple[int, int]
    before: npt.NDArray[np.integer]
    after: npt.NDArray[np.integer]
    repaint: Repaint


@dataclass(frozen=True, slots=True, eq=False)
class LabelsRefined:
    """Some planes of a run; ``done`` of ``total`` steps are made.

    ``changes`` tells what became of each label, ``note`` why the labels on a plane were left as they were.
    """

    serial: int
    context: str
    run: int
    done: int
    total: int
    planes: tuple[RefinedPlane, ...] = ()
    changes: tuple[Change, ...] = ()
    note: str = ""


Request = (
    LocateRequest | IdentifyRequest | ProposeRequest | OfferRequest | SimilarityRequest | ViewRequest | RefineRequest
)
Result = (
    SourceReady
    | EmbeddingProgress
    | Located
    | Identified
    | Proposed
    | Offered
    | RegionSimilarity
    | PlaneView
    | LabelsRefined
)
