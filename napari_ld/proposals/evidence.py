"""What is known of the pixels of one plane: colours and gradients at full resolution, and the embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_ld._types import Embedding
from napari_ld.embedding import FeatureSource
from napari_ld.embedding.planes import Planes
from napari_ld.proposals.oversegmentation import channels_of

__all__ = ["PlaneEvidence", "plane_evidence", "principal", "region_centres", "region_means", "vectors_at"]

_SAMPLE = 2000  # cells that the principal components are found from


@dataclass(frozen=True, slots=True, eq=False)
class PlaneEvidence:
    """Pixels and features of one plane.

    Attributes
    ----------
    plane : int
        As the feature source numbers it.
    channels : (C, rows, columns) float32 array
        In [0, 1].
    embedding : Embedding
    """

    plane: int
    channels: npt.NDArray[np.float32]
    embedding: Embedding

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, columns)``."""
        return int(self.channels.shape[1]), int(self.channels.shape[2])


def plane_evidence(source: FeatureSource, plane: int, cancelled: Callable[[], bool] | None = None) -> PlaneEvidence:
    """Load and embed one plane."""
    planes = Planes(source.images)
    limits = None
    normalization = source.model.header.normalization
    if source.shared_limits:
        limits = normalization.limits(planes.sample(source.address(plane)[0]))
    embedding = source.plane(plane, cancelled)
    return PlaneEvidence(plane, channels_of(planes.load(plane), normalization, limits), embedding)


def vectors_at(
    embedding: Embedding, rows: npt.NDArray[np.floating], columns: npt.NDArray[np.floating]
) -> npt.NDArray[np.float32]:
    """Embedding at pixel positions, linear between cells, not normalised.

    Returns
    -------
    (N, D) float32 array
    """
    vectors = np.asarray(embedding.vectors)
    flat = np.ascontiguousarray(vectors.reshape(len(vectors), -1).T)  # one vector after the other: gathered quickly
    cells = []
    for axis, pixels in enumerate((rows, columns)):
        cell = (np.asarray(pixels, np.float64) - embedding.origin[axis]) / embedding.step[axis]
        cells.append(np.clip(cell, 0, vectors.shape[axis + 1] - 1))
    low = [np.floor(cell).astype(np.int64) for cell in cells]
    high = [np.minimum(first + 1, vectors.shape[axis + 1] - 1) for axis, first in enumerate(low)]
    down, right = (cell - first for cell, first in zip(cells, low, strict=True))
    found = np.zeros((len(down), vectors.shape[0]), np.float32)
    for row, row_weight in ((low[0], 1 - down), (high[0], down)):
        for column, column_weight in ((low[1], 1 - right), (high[1], right)):
            weight = (row_weight * column_weight).astype(np.float32)
            found += flat[row * vectors.shape[2] + column].astype(np.float32) * weight[:, None]
    return found


def region_means(
    labels: npt.NDArray[np.int32], channels: npt.NDArray[np.float32], count: int
) -> npt.NDArray[np.float64]:
    """Mean of each channel (C, rows, columns) in each region 0 to count-1, ``(count, C)``."""
    flat = labels.reshape(-1)
    size = np.maximum(np.bincount(flat, minlength=count), 1)
    return np.stack([np.bincount(flat, channel.reshape(-1), count) / size for channel in channels], axis=1)


def region_centres(labels: npt.NDArray[np.int32], count: int) -> tuple[npt.NDArray[np.float64], ...]:
    """Mean row and mean column of each region, ``(count,)`` each."""
    grid = np.indices(labels.shape, np.float32)
    rows, columns = region_means(labels, grid, count).T
    return rows, columns


def principal(embedding: Embedding, components: int) -> Embedding:
    """The embedding of a plane in its first principal components, ``(components, h, w)`` float32."""
    vectors = np.asarray(embedding.vectors, np.float32)
    rows = vectors.reshape(len(vectors), -1).T
    sample = rows[:: max(1, len(rows) // _SAMPLE)]
    mean = sample.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov((sample - mean).T.astype(np.float64)))
    # eigenvectors come in ascending order and with any sign; a fixed sign keeps results the same everywhere
    axes = axes[:, ::-1][:, :components]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    projected = (rows - mean) @ axes.astype(np.float32)
    return replace(embedding, vectors=projected.T.reshape(-1, *vectors.shape[1:]), clusters=None)
