"""What an encoder in training sees of the plane that a person looks at: colours that keep their meaning, and likeness.

Principal axes of an encoder that changes turn and flip from one look to the next. Here each look is turned back onto
the one before by the orthogonal Procrustes rotation of the same cells of one plane (Schönemann 1966), so that colours
change only where the encoder did. [reconstruction: ours]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_ld._types import Embedding, Image, Position
from napari_ld.errors import ModelFileError
from napari_ld.torch_loading import load_torch

__all__ = ["Anchor", "Preview", "PreviewRequest", "preview", "turned_back"]

_REACH = 2.5  # standard deviations that the colours span to either side
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Anchor:
    """Where the cells of one plane lay on the three axes at the last look; ``scores`` is (3, cells)."""

    plane: int
    scores: Floats


@dataclass(frozen=True, slots=True, eq=False)
class PreviewRequest:
    """Look at a plane with the encoder of a run.

    Attributes
    ----------
    serial : int
        Of the opened image.
    run : Path
    step : int
        Of the encoder on disk.
    encoder : Path
    image : Image
    plane : int
    landmark : str
        Name of the landmark whose likeness is asked for; ``""``: none.
    clicked : (plane, (row, column)) or None
        Where that landmark was clicked.
    device : str
    anchor : Anchor or None
        Of the last look.
    """

    serial: int
    run: Path
    step: int
    encoder: Path
    image: Image
    plane: int
    landmark: str = ""
    clicked: tuple[int, Position] | None = None
    device: str = "auto"
    anchor: Anchor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """The answer: ``colours`` (h, w, 3) uint8, ``likeness`` (h, w) float32 cosines or None, and the next anchor."""

    request: PreviewRequest
    colours: npt.NDArray[np.uint8]
    likeness: Floats | None
    anchor: Anchor


def preview(request: PreviewRequest, cancelled: Callable[[], bool]) -> Iterator[Preview]:
    """Embed the plane, the anchor's and that of the click, and colour the first; nothing when the encoder is gone.

    Raises
    ------
    Cancelled
        Soon after ``cancelled`` turned true.
    NapariLDError
        When the encoder or the image cannot be used.
    """
    load_torch()
    from napari_ld.embedding import FeatureSource
    from napari_ld.model.checkpoint import load_model
    from napari_ld.proposals.appearance import common_basis

    anchored = request.anchor.plane if request.anchor else request.plane
    clicked = request.clicked[0] if request.clicked else request.plane
    planes = sorted({request.plane, anchored, clicked})
    try:
        model = load_model(request.encoder)
    except (ModelFileError, OSError):
        if not request.encoder.exists():
            return  # the run was discarded meanwhile
        raise
    source = FeatureSource(_only(request.image, planes), model, device=request.device)
    seen = {plane: source.plane(number, cancelled) for number, plane in enumerate(planes)}
    basis = common_basis([seen[anchored]], 3)
    scores = basis.project(seen[anchored]).reshape(3, -1)
    spread = np.maximum(scores.std(axis=1, keepdims=True), 1e-6)
    turn = turned_back(scores / spread, request.anchor.scores if request.anchor else None)
    flat = basis.project(seen[request.plane])
    shown = (turn @ (flat.reshape(3, -1) / spread)).reshape(flat.shape)
    colours = np.asarray(np.moveaxis(np.clip(0.5 + shown / (2 * _REACH), 0, 1) * 255, 0, -1).round(), np.uint8)
    likeness = _likeness(seen[clicked], request.clicked[1], seen[request.plane]) if request.clicked else None
    yield Preview(request, colours, likeness, Anchor(anchored, np.asarray(turn @ (scores / spread), np.float32)))


def turned_back(scores: Floats, before: Floats | None) -> Floats:
    """The (3, 3) rotation or reflection that brings ``scores`` (3, n) closest to those ``before``; else none."""
    if before is None or before.shape != scores.shape:
        return np.eye(3, dtype=np.float32)
    left, _, right = np.linalg.svd(before.astype(np.float64) @ scores.T.astype(np.float64))
    return np.asarray(left @ right, np.float32)


def _only(image: Image, planes: list[int]) -> Image:
    """These planes, read; each with intensity limits of its own, since a whole volume would take long to look at."""
    pixels = np.stack([image.plane(plane) for plane in planes])
    return Image(pixels, "pyxc" if image.has_channels else "pyx", window=image.window)


def _likeness(clicked: Embedding, position: Position, shown: Embedding) -> Floats:
    from napari_ld.proposals.evidence import vectors_at

    point = vectors_at(clicked, np.array([position[0]]), np.array([position[1]]))[0].astype(np.float32)
    vectors = np.asarray(shown.vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=0) * max(float(np.linalg.norm(point)), 1e-10)
    return np.asarray(np.einsum("dhw,d->hw", vectors, point) / np.maximum(lengths, 1e-10), np.float32)
