"""What the encoder sees, as pictures: what it gets, its embedding in colours, its clusters, and the like of a point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_ld._types import Embedding
from napari_ld.errors import ConfigError
from napari_ld.session.compute import IsCancelled, Sources
from napari_ld.session.requests import PlaneView, Result, ViewRequest

if TYPE_CHECKING:
    from napari_ld.embedding import FeatureSource
    from napari_ld.proposals.explain import EmbeddingView

VIEWS = ("embedding", "clusters", "similarity", "input")


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
    colours: EmbeddingView | None = None
    pixels: npt.NDArray[np.generic]
    for plane in request.planes:
        if request.kind == "input":
            yield _input(request, source, plane)
            continue
        if request.kind == "clusters":
            pixels = _clusters(source, plane, name, cancelled, request.n_clusters)
            yield PlaneView(request.serial, request.context, request.kind, plane, pixels, (0.0, 0.0), (1.0, 1.0))
            continue
        embedding = source.plane(plane, cancelled)
        if request.kind == "embedding":
            colours = colours or _colours(source, cancelled)
            pixels = colours.colours(embedding)
        else:
            pixels = _alike(embedding, request.position or (0.0, 0.0))
        yield PlaneView(request.serial, request.context, request.kind, plane, pixels, embedding.origin, embedding.step)


def _input(request: ViewRequest, source: FeatureSource, plane: int) -> PlaneView:
    """What goes into the encoder, in its own size: (rows, columns[, 3]), 0 darkest and 1 brightest."""
    from napari_ld.embedding.resampling import plane_window

    window, scaling = plane_window(source.shape(plane), source.scale(plane)), source.model.header.normalization
    seen = source.model_input(plane, window)[0].numpy() * scaling.std + scaling.mean
    pixels = np.moveaxis(seen, 0, -1) if len(seen) > 1 else seen[0]
    origin, step = window.grid(1)
    return PlaneView(request.serial, request.context, request.kind, plane, pixels, origin, step)


def _colours(source: FeatureSource, cancelled: IsCancelled) -> EmbeddingView:
    from napari_ld.proposals.explain import embedding_view

    # Of a stack that is not embedded yet, those planes serve that are: the picture need not wait for others.
    ready = [plane for plane in range(source.n_planes) if source.is_ready(plane)]
    return embedding_view(source, ready, cancelled)


def _clusters(
    source: FeatureSource, plane: int, encoder: str, cancelled: IsCancelled, count: int
) -> npt.NDArray[np.uint8]:
    """The same clusters that are proposed, from 1, for every pixel: (rows, columns)."""
    from napari_ld.proposals.clusters import ClusterParams, cluster_map

    if source.plane(plane, cancelled).clusters is None:
        raise ConfigError(f"the encoder {encoder} has no clusters; choose another encoder or another view")
    return np.asarray(cluster_map(source, plane, ClusterParams(count), cancelled)[0] + 1, np.uint8)


def _alike(embedding: Embedding, position: tuple[float, float]) -> npt.NDArray[np.float32]:
    vectors = embedding.vectors
    row, column = (
        int(np.clip(round(cell), 0, size - 1))
        for cell, size in zip(embedding.to_cell(position), vectors.shape[1:], strict=True)
    )
    return np.tensordot(np.asarray(vectors[:, row, column], np.float32), np.asarray(vectors, np.float32), 1)
