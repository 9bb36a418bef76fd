"""Regions of the image's own making: the finest basins of its gradient, merged by boundary, colour and embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError
from napari_ld.proposals.evidence import (
    PlaneEvidence,
    plane_evidence,
    principal,
    region_centres,
    region_means,
    vectors_at,
)
from napari_ld.proposals.job import Job
from napari_ld.proposals.margins import margin_of
from napari_ld.proposals.merging import MergeParams, boundaries, merge_tree
from napari_ld.proposals.oversegmentation import balanced, basins, gradient_of
from napari_ld.proposals.regions import Region
from napari_ld.proposals.tree import RegionTree
from napari_ld.proposals.volumes import PlaneGraph, masks_of_labels, regions_of_volume, volume_tree

__all__ = ["STRUCTURES", "HierarchyParams", "propose_hierarchy", "region_tree", "tree_of"]


@dataclass(frozen=True, slots=True)
class HierarchyParams:
    """Settings of the hierarchy.

    Attributes
    ----------
    n_regions : int
        Regions per plane, or per volume.
    sigma : float
        Of the gradient whose basins are the finest regions, in pixels.
    components : int
        Principal components of the plane's embedding that are compared.
    per_plane : int
        Of a volume: regions of each slice before slices are merged with each other.
    merging : MergeParams
    """

    n_regions: int = 100
    sigma: float = 0.8
    components: int = 12
    per_plane: int = 1000
    merging: MergeParams = field(default_factory=MergeParams)

    def __post_init__(self) -> None:
        if min(self.n_regions, self.components, self.per_plane) < 1 or not self.sigma > 0:
            raise ConfigError(f"{self}: expected counts of at least 1 and a sigma above 0")


STRUCTURES = HierarchyParams(merging=MergeParams(embedding=0.004, boundary=0.1, length_power=0.5))
"""For finding single structures: long boundaries go first, so that an outline is whole before its surroundings are."""


def region_tree(
    source: FeatureSource,
    plane: int,
    params: HierarchyParams | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> RegionTree:
    """The tree of one plane; cutting it anew takes milliseconds."""
    return tree_of(plane_evidence(source, plane, cancelled), HierarchyParams() if params is None else params)


def tree_of(evidence: PlaneEvidence, params: HierarchyParams) -> RegionTree:
    """The tree of a plane whose pixels and features are at hand."""
    channels = balanced(evidence.channels)
    gradient = gradient_of(channels, params.sigma)
    labels = basins(gradient)
    count = int(labels.max()) + 1
    colour = region_means(labels, channels, count)
    reduced = principal(evidence.embedding, params.components)
    vectors = vectors_at(reduced, *region_centres(labels, count))
    tree = merge_tree(labels, colour, vectors, boundaries(labels, gradient), params.merging)
    margin = margin_of(evidence.channels)
    return replace(tree, outside=np.bincount(labels[margin], minlength=count)) if margin.any() else tree


def plane_graph(
    source: FeatureSource, plane: int, params: HierarchyParams, cancelled: Callable[[], bool] | None
) -> PlaneGraph:
    """One slice of a volume, merged to ``per_plane`` regions, with what they look like."""
    evidence = plane_evidence(source, plane, cancelled)
    labels = tree_of(evidence, params).cut(params.per_plane) - 1
    count = int(labels.max()) + 1
    channels = balanced(evidence.channels)
    vectors = vectors_at(evidence.embedding, *region_centres(labels, count))
    edges = boundaries(labels, gradient_of(channels, params.sigma))
    return PlaneGraph(labels, region_means(labels, channels, count), vectors, edges)


def propose_hierarchy(job: Job) -> Iterator[list[Region]]:
    """``n_regions`` regions of every plane, by the contrast at which they would be merged with a neighbour."""
    params = job.params
    if not isinstance(params, HierarchyParams):
        raise ConfigError(f"got {type(params).__name__}; expected HierarchyParams")
    if job.stack_kind == "volume":
        yield from propose_in_volumes(job, params)
        return
    for plane in job.planes:
        evidence = plane_evidence(job.source, plane, job.cancelled)
        tree = tree_of(evidence, params)
        yield regions_of_cut(job.source, evidence, tree, params.n_regions)


def propose_in_volumes(job: Job, params: HierarchyParams) -> Iterator[list[Region]]:
    """``n_regions`` regions of every volume; they come with its last plane."""
    for image in dict.fromkeys(job.source.address(plane)[0] for plane in job.planes):
        own = sorted(plane for plane in job.planes if job.source.address(plane)[0] == image)
        parts: list[PlaneGraph] = []
        for plane in own:
            parts.append(plane_graph(job.source, plane, params, job.cancelled))
            if plane != own[-1]:
                yield []
        tree = volume_tree(parts, params.merging)
        yield regions_of_volume(tree, params.n_regions, own, image, parts)


def regions_of_cut(source: FeatureSource, evidence: PlaneEvidence, tree: RegionTree, n_regions: int) -> list[Region]:
    """Regions of one cut of a tree, numbered from 1; the score is the rank of the contrast with their neighbours.

    The black margin around a round field of view is no region.
    """
    nodes = tree.nodes_inside(n_regions)
    inside = np.flatnonzero(nodes >= 0)
    present, first, number_of = np.unique(nodes[inside], return_index=True, return_inverse=True)
    persistence = tree.merge_heights[present]
    rank = persistence.argsort(kind="stable").argsort(kind="stable")
    order = np.argsort(first, kind="stable")  # regions are numbered in the order of their first pixels
    number = np.zeros(tree.n_leaves, np.int32)
    number[inside] = order.argsort()[number_of] + 1
    labels = number[tree.labels]
    vectors = _mean_vectors(evidence, labels, len(present))
    image = source.address(evidence.plane)[0]
    masks = masks_of_labels(labels[np.newaxis], [evidence.plane])
    return [
        Region(
            id=number,
            image=image,
            mask=masks[number],
            score=float((rank[order[number - 1]] + 1) / len(present)),
            embedding=vectors[number - 1],
            kind="hierarchy",
        )
        for number in range(1, len(present) + 1)
    ]


def _mean_vectors(evidence: PlaneEvidence, labels: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.float32]:
    """Mean embedding of regions 1 to count, of unit length."""
    rows, columns = (centres[1:] for centres in region_centres(labels, count + 1))
    vectors = vectors_at(evidence.embedding, rows, columns)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-10), np.float32)
