"""Pieces of a plane, such as clusters take or leave as a whole, and what each of them looks like."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from napari_ld._types import Embedding
from napari_ld.proposals.evidence import PlaneEvidence, region_centres, region_means, vectors_at
from napari_ld.proposals.hierarchy import STRUCTURES, tree_of
from napari_ld.proposals.merging import Edges, boundaries
from napari_ld.proposals.oversegmentation import balanced, gradient_of

__all__ = ["Pieces", "pieces_of"]

Array = npt.NDArray[np.float64]

_REFERENCE = 512  # pixels of the longest side of an image whose edges are looked for with a sigma of 1


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Regions of one cut of a plane's tree.

    Attributes
    ----------
    labels : (rows, columns) int32 array
        0 to N-1.
    area : (N,) float64 array
        Pixels.
    colour : (N, 3) float64 array
        Relative to the mean and the spread of the plane, so that exposure counts little.
    vectors : (N, D) float32 array
        Mean embedding.
    shares : (N, K) float32 array
        Mean share of each of the encoder's clusters; K is 0 for an encoder without.
    place : (N, 2) float64 array
        Centre along rows and columns, -1 and 1 at the borders of the plane.
    edges : Edges
        Between them; the strength is relative to the spread of the plane's colours.
    """

    labels: npt.NDArray[np.int32]
    area: Array
    colour: Array
    vectors: npt.NDArray[np.float32]
    shares: npt.NDArray[np.float32]
    place: Array
    edges: Edges


def pieces_of(evidence: PlaneEvidence, count: int) -> Pieces:
    """Cut the tree of a plane in ``count`` pieces and describe them."""
    labels = tree_of(evidence, STRUCTURES).cut(count) - 1
    n = int(labels.max()) + 1
    channels = balanced(evidence.channels)
    area = np.bincount(labels.reshape(-1), minlength=n).astype(np.float64)
    colour = region_means(labels, channels, n)
    middle = np.average(colour, axis=0, weights=area)
    variance = np.average((colour - middle) ** 2, axis=0, weights=area)
    relative = (colour - middle) / (np.sqrt(variance) + 1e-3)
    if relative.shape[1] == 1:
        relative = np.repeat(relative, 3, axis=1)  # grey images and coloured ones can stand in one stack
    gradient = gradient_of(channels, max(evidence.shape) / _REFERENCE)
    edges = boundaries(labels, gradient)
    edges = replace(edges, strength=edges.strength / (float(np.sqrt(variance.sum())) + 1e-3))
    centres = region_centres(labels, n)
    sides = zip(centres, evidence.shape, strict=True)
    place = np.stack([2 * centre / max(side - 1, 1) - 1 for centre, side in sides], axis=1)
    embedding = evidence.embedding
    vectors = np.asarray(embedding.vectors, np.float32)
    soft = np.zeros((0, *vectors.shape[1:])) if embedding.clusters is None else embedding.clusters
    maps = np.concatenate([vectors, np.asarray(soft, np.float32)])
    means = _cell_means(replace(embedding, vectors=maps, clusters=None), labels, centres)
    return Pieces(labels, area, relative, means[:, : len(vectors)], means[:, len(vectors) :], place, edges)


def _cell_means(maps: Embedding, labels: npt.NDArray[np.int32], centres: tuple[Array, ...]) -> npt.NDArray[np.float32]:
    """Mean (N, D) over the cells whose centres lie in each region; a region without takes what is at its middle."""
    cells = np.asarray(maps.vectors)
    places = []
    for axis, side in enumerate(labels.shape):
        place = np.round(maps.origin[axis] + maps.step[axis] * np.arange(cells.shape[axis + 1]))
        places.append(np.clip(place, 0, side - 1).astype(np.int64))
    holder = labels[np.ix_(*places)].reshape(-1)
    ones = np.ones(len(holder), np.float32)
    shape = len(centres[0]), len(holder)
    of_region = sparse.csr_matrix((ones, (holder, np.arange(len(holder)))), shape=shape)
    size = np.bincount(holder, minlength=shape[0])
    means = np.asarray(of_region @ cells.reshape(len(cells), -1).T, np.float32) / np.maximum(size, 1)[:, None]
    bare = size == 0
    if bare.any():
        means[bare] = vectors_at(maps, *(centre[bare] for centre in centres))
    return np.asarray(means, np.float32)
