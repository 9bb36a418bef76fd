"""Clusters of a stack: started from the encoder's own, fitted to the stack, and kept to the image's boundaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError
from napari_ld.proposals.components import regions_of_mask
from napari_ld.proposals.evidence import PlaneEvidence, plane_evidence
from napari_ld.proposals.grouping import joined_groups, k_means, nearest, spread_seeds
from napari_ld.proposals.job import Job
from napari_ld.proposals.merging import Edges
from napari_ld.proposals.pieces import Pieces, pieces_of
from napari_ld.proposals.regions import Region

__all__ = ["ClusterModel", "ClusterParams", "cluster_map", "cluster_model", "propose_clusters"]

Array = npt.NDArray[np.float64]

_PLANES = 16  # that the clusters of a stack are found from, spread evenly
_GROUPS = 64  # of pieces that look alike, before they are merged to clusters
_ITERATIONS = 20
_COMPONENTS = 24  # of the embedding
_SIZE_POWER = 0.05


@dataclass(frozen=True, slots=True)
class ClusterParams:
    """Settings of the clusters (all numbers are our own choice).

    Attributes
    ----------
    n_clusters : int
        Of the whole stack, 1 to 64.
    pieces : int
        Regions of the hierarchy, per plane, that a cluster takes or leaves as a whole.
    smallest : int
        Pixels of the smallest region.
    embedding, place : float
        Variance of the embedding, and of the position within the plane, where that of the colours is 1.
    edge : float
        What a boundary of mean strength between two groups adds to their squared distance.
    """

    n_clusters: int = 16
    pieces: int = 300
    smallest: int = 16
    embedding: float = 0.5
    place: float = 0.25
    edge: float = 3.0

    def __post_init__(self) -> None:
        if not 1 <= self.n_clusters <= _GROUPS:
            raise ConfigError(f"{self.n_clusters} clusters were asked for; expected 1 to {_GROUPS}")
        if self.pieces < 1 or self.smallest < 1:
            raise ConfigError(f"{self}: expected counts of at least 1")
        if min(self.embedding, self.place, self.edge) < 0:
            raise ConfigError(f"{self}: expected weights of at least 0")


@dataclass(frozen=True, slots=True, eq=False)
class ClusterModel:
    """Clusters of a stack, to which the pieces of any of its planes are assigned.

    Attributes
    ----------
    params : ClusterParams
    mean : (D,) float64 array
        Of the embedding.
    axes : (D, d) float64 array
        Its principal axes, scaled to the weight of the embedding.
    scales : (2,) float64 array
        Factors of colour and of place.
    centres : (M, F) float64 array
        Of groups that look alike.
    clusters : (M,) int64 array
        Cluster of every group, 0 for the largest.
    """

    params: ClusterParams
    mean: Array
    axes: Array
    scales: Array
    centres: Array
    clusters: npt.NDArray[np.int64]

    def assign(self, pieces: Pieces) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Cluster of each piece (N,), and how clearly it is that, in [0.5, 1]: 0.5 is midway to the next cluster."""
        points = _points(pieces, self.mean, self.axes, self.scales)
        _, squared = nearest(points, self.centres)
        away = np.full((len(points), int(self.clusters.max()) + 1), np.inf)
        for group, cluster in enumerate(self.clusters):
            away[:, cluster] = np.minimum(away[:, cluster], np.sqrt(squared[:, group]))
        best = away.argmin(axis=1)
        own = away[np.arange(len(away)), best]
        away[np.arange(len(away)), best] = np.inf
        other = away.min(axis=1)
        clear = np.where(np.isinf(other), 1.0, (other + 1e-9) / (own + np.where(np.isinf(other), 0, other) + 2e-9))
        return best.astype(np.int32), clear.astype(np.float32)


def cluster_model(
    source: FeatureSource, params: ClusterParams | None = None, cancelled: Callable[[], bool] | None = None
) -> ClusterModel:
    """Find the clusters of a stack from sixteen of its planes at most; found once and kept.

    The planes do not depend on which are asked for, so that a cluster has the same number on every plane.

    Raises
    ------
    ConfigError
        When the encoder has no clusters.
    Cancelled
        Soon after ``cancelled()`` turned true.
    """
    params = ClusterParams() if params is None else params
    key = ("clusters", params)
    if key not in source.kept:
        places = np.linspace(0, source.n_planes - 1, min(source.n_planes, _PLANES)).round().astype(int)
        planes = np.unique(places).tolist()
        parts = (_pieces(plane_evidence(source, plane, cancelled), params) for plane in planes)
        nowhere = np.zeros((0, 0), np.int32)  # label maps are not needed, and may be large
        source.kept[key] = _fit([replace(part, labels=nowhere) for part in parts], params)
    found: ClusterModel = source.kept[key]
    return found


def cluster_map(
    source: FeatureSource,
    plane: int,
    params: ClusterParams | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Cluster of every pixel of a plane, and how clearly it is that; parameters and errors as :func:`cluster_model`.

    Returns
    -------
    clusters : (rows, columns) int32 array
        0 to ``n_clusters`` - 1, the largest of the stack first; the same number on every plane of the source.
    share : (rows, columns) float32 array in [0.5, 1]
        0.5 where another cluster would do as well.
    """
    model = cluster_model(source, params, cancelled)
    return _drawn(model, plane_evidence(source, plane, cancelled))


def propose_clusters(job: Job) -> Iterator[list[Region]]:
    """Connected parts of every cluster, by how clearly they are of it."""
    params: ClusterParams = job.params
    model = cluster_model(job.source, params, job.cancelled)
    for plane in job.planes:
        evidence = plane_evidence(job.source, plane, job.cancelled)
        clusters, share = _drawn(model, evidence)
        found: list[Region] = []
        for cluster in np.unique(clusters).tolist():
            found += regions_of_mask(
                job.source,
                evidence,
                clusters == cluster,
                share,
                kind="clusters",
                smallest=params.smallest,
                cluster=int(cluster),
                first=len(found) + 1,
            )
        yield found


def _pieces(evidence: PlaneEvidence, params: ClusterParams) -> Pieces:
    if evidence.embedding.clusters is None:
        raise ConfigError("this encoder has no clusters; choose another encoder or another way to propose regions")
    return pieces_of(evidence, params.pieces)


def _drawn(model: ClusterModel, evidence: PlaneEvidence) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    pieces = _pieces(evidence, model.params)
    clusters, share = model.assign(pieces)
    return clusters[pieces.labels], share[pieces.labels]


def _fit(parts: Sequence[Pieces], params: ClusterParams) -> ClusterModel:
    area = np.concatenate([part.area for part in parts])
    vectors = np.concatenate([part.vectors for part in parts]).astype(np.float64)
    mean = np.average(vectors, axis=0, weights=area)
    centred = vectors - mean
    variance, axes = np.linalg.eigh((centred * area[:, None]).T @ centred / area.sum())
    kept = slice(None, -_COMPONENTS - 1, -1)  # eigenvalues come in ascending order
    axes = axes[:, kept] * np.sqrt(params.embedding / max(float(variance[kept].sum()), 1e-12))
    blocks = [np.concatenate([getattr(part, name) for part in parts]) for name in ("colour", "place")]
    scales = np.array(
        [np.sqrt(weight / _variance(block, area)) for weight, block in zip((1.0, params.place), blocks, strict=True)]
    )
    points = np.concatenate([_points(part, mean, axes, scales) for part in parts])
    # by the root of the area, so that small pieces that differ can become groups of their own
    weights = np.sqrt(area / area.mean())
    seeds = spread_seeds(points, weights, _started(points, weights, parts), _GROUPS)
    labels, centres = k_means(points, weights, seeds, _ITERATIONS)
    clusters = joined_groups(
        points, area, labels, _all_edges(parts), params.n_clusters, edge=params.edge, size_power=_SIZE_POWER
    )
    return ClusterModel(params, mean, axes, scales, centres, clusters)


def _points(pieces: Pieces, mean: Array, axes: Array, scales: Array) -> Array:
    meaning = (pieces.vectors - mean) @ axes
    return np.concatenate([pieces.colour * scales[0], meaning, pieces.place * scales[1]], axis=1)


def _variance(rows: Array, weights: Array) -> float:
    middle = np.average(rows, axis=0, weights=weights)
    return max(float(np.average((rows - middle) ** 2, axis=0, weights=weights).sum()), 1e-12)


def _started(points: Array, weights: Array, parts: Sequence[Pieces]) -> Array:
    """Where the encoder's clusters lie: the mean of the pieces that each has most of."""
    shares = np.concatenate([part.shares for part in parts])
    best = shares.argmax(axis=1)
    found = []
    for cluster in np.unique(best):
        own = best == cluster
        found.append(np.average(points[own], axis=0, weights=weights[own] * shares[own, cluster]))
    return np.stack(found)


def _all_edges(parts: Sequence[Pieces]) -> Edges:
    starts = np.cumsum([0, *(len(part.area) for part in parts)])
    pairs = [part.edges.pairs + start for part, start in zip(parts, starts, strict=False)]
    length, strength = (
        np.concatenate([getattr(part.edges, name) for part in parts]) for name in ("length", "strength")
    )
    return Edges(np.concatenate(pairs), length, strength)
