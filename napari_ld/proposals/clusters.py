"""The encoder's own clusters, sharpened to the image's boundaries; a cluster is the same structure on every image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_ld.embedding.resampling import resampled
from napari_ld.errors import ConfigError
from napari_ld.proposals.components import regions_of_mask
from napari_ld.proposals.evidence import PlaneEvidence, plane_evidence, region_means
from napari_ld.proposals.hierarchy import tree_of
from napari_ld.proposals.job import Job
from napari_ld.proposals.regions import Region

__all__ = ["ClusterParams", "cluster_map", "propose_clusters"]


@dataclass(frozen=True, slots=True)
class ClusterParams:
    """Settings of the clusters.

    Attributes
    ----------
    pieces : int
        Regions of the hierarchy, per plane, that a cluster takes or leaves as a whole.
    smallest : int
        Pixels of the smallest region.
    """

    pieces: int = 1500
    smallest: int = 16

    def __post_init__(self) -> None:
        if self.pieces < 1 or self.smallest < 1:
            raise ConfigError(f"{self}: expected counts of at least 1")


def cluster_map(
    evidence: PlaneEvidence, params: ClusterParams | None = None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Cluster of every pixel, and its share there.

    Returns
    -------
    clusters : (rows, columns) int32 array
        0 to K-1; the same number on every image.
    share : (rows, columns) float32 array in [0, 1]

    Raises
    ------
    ConfigError
        When the encoder has no clusters.
    """
    params = ClusterParams() if params is None else params
    soft = evidence.embedding.clusters
    if soft is None:
        raise ConfigError("this encoder has no clusters; choose another encoder or another way to propose regions")
    maps = resampled(np.asarray(soft, np.float32), evidence.embedding, evidence.shape)
    pieces = tree_of(evidence).cut(params.pieces) - 1
    means = region_means(pieces, maps, int(pieces.max()) + 1)
    best = means.argmax(axis=1)
    return best.astype(np.int32)[pieces], means.max(axis=1).astype(np.float32)[pieces]


def propose_clusters(job: Job) -> Iterator[list[Region]]:
    """Connected parts of every cluster, by their mean share."""
    params: ClusterParams = job.params
    for plane in job.planes:
        evidence = plane_evidence(job.source, plane, job.cancelled)
        clusters, share = cluster_map(evidence, params)
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
