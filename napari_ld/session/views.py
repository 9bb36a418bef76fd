"""What the encoder sees, as pictures: its embedding in colours, its clusters, and where it sees the like of a point."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_ld._types import Embedding
from napari_ld.errors import ConfigError
from napari_ld.session.compute import IsCancelled, Sources
from napari_ld.session.requests import PlaneView, Result, ViewRequest

if TYPE_CHECKING:
    from napari_ld.embedding import FeatureSource

VIEWS = ("embedding", "clusters", "similarity")
_SAMPLED_PLANES = 9
_SAMPLED_CELLS = 2000  # of each sampled plane
_RANGE = (1.0, 99.0)  # percentiles that become black and full colour


@dataclass(frozen=True, slots=True, eq=False)
class Palette:
    """Three principal components and their range, the same for all planes of a stack.

    Attributes
    ----------
    mean : (D,) array
    axes : (D, 3) array
    low, high : (3,) arrays
    """

    mean: npt.NDArray[np.float32]
    axes: npt.NDArray[np.float32]
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]

    @classmethod
    def fit(cls, cells: npt.NDArray[np.float32]) -> Palette:
        """Components of (N, D) embeddings; signs are chosen so that equal cells give equal colours."""
        mean = cells.mean(axis=0)
        _, vectors = np.linalg.eigh(np.cov((cells - mean).T))
        axes = vectors[:, ::-1][:, :3]
        signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        axes = (axes * np.where(signs == 0, 1, signs)).astype(np.float32)
        low, high = np.percentile((cells - mean) @ axes, _RANGE, axis=0)
        return cls(mean, axes, low.astype(np.float32), high.astype(np.float32))

    def colours(self, vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
        """``(h, w, 3)`` colours of ``(D, h, w)`` embeddings."""
        flat = np.asarray(vectors, np.float32).reshape(vectors.shape[0], -1).T
        parts = ((flat - self.mean) @ self.axes - self.low) / np.maximum(self.high - self.low, 1e-6)
        return np.asarray(np.clip(parts, 0, 1) * 255, np.uint8).reshape(*vectors.shape[1:], 3)


def show(request: ViewRequest, sources: Sources, cancelled: IsCancelled) -> Iterator[Result]:
    """The planes of a view, one after the other.

    Raises
    ------
    ConfigError
        For an unknown view, or clusters of an encoder that has none.
    Cancelled
        Soon after ``cancelled`` turned true.
    """
    if request.kind not in VIEWS:
        raise ConfigError(f"unknown view {request.kind!r}; there are {', '.join(VIEWS)}")
    source, name = sources.get(request)
    palette = None
    for plane in request.planes:
        embedding = source.plane(plane, cancelled)
        pixels: npt.NDArray[np.generic]
        if request.kind == "embedding":
            palette = palette or _palette(source, cancelled)
            pixels = palette.colours(embedding.vectors)
        elif request.kind == "clusters":
            pixels = _clusters(embedding, name)
        else:
            pixels = _alike(embedding, request.position or (0.0, 0.0))
        yield PlaneView(request.serial, request.context, request.kind, plane, pixels, embedding.origin, embedding.step)


def _palette(source: FeatureSource, cancelled: IsCancelled) -> Palette:
    rng = np.random.default_rng(0)
    spread = np.linspace(0, source.n_planes - 1, min(source.n_planes, _SAMPLED_PLANES)).round().astype(int)
    # Planes that are embedded already come first: on a long stack the picture need not wait for others.
    ready = [plane for plane in range(source.n_planes) if source.is_ready(plane)]
    planes = sorted(set(spread.tolist())) if len(ready) == source.n_planes else ready[:_SAMPLED_PLANES]
    cells = []
    for plane in planes:
        vectors = np.asarray(source.plane(plane, cancelled).vectors)
        flat = vectors.reshape(vectors.shape[0], -1)
        chosen = np.sort(rng.choice(flat.shape[1], min(flat.shape[1], _SAMPLED_CELLS), replace=False))
        cells.append(flat[:, chosen].T.astype(np.float32))
    return Palette.fit(np.concatenate(cells))


def _clusters(embedding: Embedding, encoder: str) -> npt.NDArray[np.uint8]:
    if embedding.clusters is None:
        raise ConfigError(f"the encoder {encoder} has no clusters; choose another encoder or another view")
    return np.asarray(np.asarray(embedding.clusters).argmax(axis=0) + 1, np.uint8)


def _alike(embedding: Embedding, position: tuple[float, float]) -> npt.NDArray[np.float32]:
    vectors = embedding.vectors
    row, column = (
        int(np.clip(round(cell), 0, size - 1))
        for cell, size in zip(embedding.to_cell(position), vectors.shape[1:], strict=True)
    )
    return np.tensordot(np.asarray(vectors[:, row, column], np.float32), np.asarray(vectors, np.float32), 1)
