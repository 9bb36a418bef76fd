"""Pictures of what the encoder sees: colours of the embedding, and how alike one point is to all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_ld._types import Embedding, Position
from napari_ld.embedding import FeatureSource
from napari_ld.embedding.resampling import resampled
from napari_ld.proposals.appearance import Basis, common_basis
from napari_ld.proposals.evidence import vectors_at

__all__ = ["EmbeddingView", "embedding_view", "point_similarity"]

_PLANES = 12
_REACH = 2.5  # standard deviations that the colours span to either side


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingView:
    """Colours for the embedding of a stack: the same vector has the same colour on every plane.

    Attributes
    ----------
    basis : Basis
        First three principal axes.
    spread : (3,) float32 array
        Standard deviation along each.
    """

    basis: Basis
    spread: npt.NDArray[np.float32]

    def picture(self, source: FeatureSource, plane: int) -> npt.NDArray[np.uint8]:
        """``(rows, columns, 3)`` colours of a plane, at the size of the stored image."""
        embedding = source.plane(plane)
        return self._shaded(resampled(self.basis.project(embedding), embedding, source.shape(plane)))

    def colours(self, embedding: Embedding) -> npt.NDArray[np.uint8]:
        """``(h, w, 3)`` colours of the cells of a plane's features."""
        return self._shaded(self.basis.project(embedding))

    def _shaded(self, maps: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        scaled = 0.5 + maps / (2 * _REACH * self.spread[:, None, None])
        return np.asarray(np.moveaxis(np.clip(scaled, 0, 1) * 255, 0, -1).round(), np.uint8)


def embedding_view(
    source: FeatureSource,
    planes: Sequence[int] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> EmbeddingView:
    """Find the colours of a stack from at most twelve of its planes, spread evenly.

    Parameters
    ----------
    source : FeatureSource
    planes : sequence of int, optional
        Planes to choose from; all by default.
    cancelled : callable, optional
    """
    known = list(range(source.n_planes) if planes is None else planes)
    places = np.unique(np.linspace(0, len(known) - 1, min(len(known), _PLANES)).round().astype(int))
    embeddings = [source.plane(known[int(place)], cancelled) for place in places]
    basis = common_basis(embeddings, 3)
    rows = np.concatenate([basis.project(one).reshape(3, -1) for one in embeddings], axis=1)
    return EmbeddingView(basis, np.maximum(rows.std(axis=1), 1e-6).astype(np.float32))


def point_similarity(
    source: FeatureSource, plane: int, position: Position, on_plane: int | None = None
) -> npt.NDArray[np.float32]:
    """Cosine of the embedding at a point with that of every pixel.

    Parameters
    ----------
    source : FeatureSource
    plane : int
        Plane of the point.
    position : (row, column)
        In pixels.
    on_plane : int, optional
        Plane of the map; that of the point by default.

    Returns
    -------
    (rows, columns) float32 array in [-1, 1]
    """
    point = vectors_at(source.plane(plane), np.array([position[0]]), np.array([position[1]]))[0]
    shown = plane if on_plane is None else on_plane
    embedding = source.plane(shown)
    vectors = np.asarray(embedding.vectors, np.float32)
    cosine = np.einsum("dhw,d->hw", vectors, point / max(float(np.linalg.norm(point)), 1e-10))
    full = resampled(np.asarray(cosine, np.float32)[None], embedding, source.shape(shown))[0]
    return np.asarray(np.clip(full, -1, 1), np.float32)
