"""Regions that are rare within the stack: candidates for lesions, from a few pixels on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld.embedding import FeatureSource
from napari_ld.errors import ConfigError
from napari_ld.proposals.components import mean_vector
from napari_ld.proposals.evidence import PlaneEvidence, plane_evidence
from napari_ld.proposals.hierarchy import STRUCTURES, tree_of
from napari_ld.proposals.job import Job
from napari_ld.proposals.masks import Mask
from napari_ld.proposals.regions import Region
from napari_ld.proposals.tree import RegionTree

__all__ = ["UnusualParams", "propose_unusual"]

_SAMPLE = 4000  # pixels of a plane, and cells of its embedding, that say what is usual
_RIDGE = 0.05
_SIGMAS = (0.7, 1.4, 2.8, 5.6, 11.2, 22.4)  # pixels of the stored image


@dataclass(frozen=True, slots=True)
class UnusualParams:
    """Settings of the search for rare regions.

    Attributes
    ----------
    per_plane : int
        Regions of each plane at most.
    smallest : int
        Pixels.
    largest : float
        Part of the plane.
    reference_planes : int
        Planes, spread evenly over the stack, that say what is usual.
    """

    per_plane: int = 100
    smallest: int = 4
    largest: float = 0.2
    reference_planes: int = 8

    def __post_init__(self) -> None:
        if min(self.per_plane, self.smallest, self.reference_planes) < 1 or not 0 < self.largest <= 1:
            raise ConfigError(f"{self}: expected counts of at least 1 and a largest part between 0 and 1")


@dataclass(frozen=True, slots=True, eq=False)
class _Usual:
    """Mean and inverse covariance of what a stack looks like."""

    mean: npt.NDArray[np.float64]
    inverse: npt.NDArray[np.float64]

    def distance(self, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Mahalanobis distance (N,) of rows (N, F), per feature."""
        away = rows - self.mean
        return np.asarray(np.sqrt(np.einsum("ij,jk,ik->i", away, self.inverse, away) / away.shape[1]))


def propose_unusual(job: Job) -> Iterator[list[Region]]:
    """Regions of the hierarchy that stand out from their surroundings and from the stack, best first."""
    params: UnusualParams = job.params
    usual = _usual(job.source, job.planes, params, job.cancelled)
    for plane in job.planes:
        evidence = plane_evidence(job.source, plane, job.cancelled)
        yield _of_plane(job.source, evidence, usual, params)


def _usual(
    source: FeatureSource,
    planes: tuple[int, ...],
    params: UnusualParams,
    cancelled: Callable[[], bool] | None,
) -> tuple[_Usual, _Usual]:
    """What pixels and what embeddings usually look like."""
    places = np.unique(np.linspace(0, len(planes) - 1, params.reference_planes).round().astype(int))
    pixels, cells = [], []
    for place in places:
        evidence = plane_evidence(source, planes[int(place)], cancelled)
        looks = contrasts(evidence).reshape(-1, contrasts_width(evidence))
        pixels.append(looks[:: max(1, len(looks) // _SAMPLE)])
        vectors = np.asarray(evidence.embedding.vectors, np.float32)
        rows = vectors.reshape(len(vectors), -1).T
        cells.append(rows[:: max(1, len(rows) // _SAMPLE)])
    return _fitted(np.concatenate(pixels)), _fitted(np.concatenate(cells))


def contrasts(evidence: PlaneEvidence) -> npt.NDArray[np.float32]:
    """Differences of Gaussians of five sizes and the colour itself, ``(rows, columns, F)``."""
    blurred = [
        np.stack([ndimage.gaussian_filter(channel, sigma, truncate=3.0) for channel in evidence.channels])
        for sigma in _SIGMAS
    ]
    parts = [fine - coarse for fine, coarse in itertools.pairwise(blurred)]
    return np.ascontiguousarray(np.moveaxis(np.concatenate([*parts, blurred[1]]), 0, -1), np.float32)


def contrasts_width(evidence: PlaneEvidence) -> int:
    """Number of features that :func:`contrasts` gives for a plane."""
    return 6 * len(evidence.channels)


def _fitted(rows: npt.NDArray[np.float32]) -> _Usual:
    known = rows.astype(np.float64)
    covariance = np.asarray(np.cov(known.T), np.float64).reshape(known.shape[1], known.shape[1])
    level = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    inverse = np.linalg.inv(covariance + _RIDGE * level * np.eye(len(covariance)))
    return _Usual(known.mean(axis=0), np.asarray(inverse, np.float64))


def _of_plane(
    source: FeatureSource, evidence: PlaneEvidence, usual: tuple[_Usual, _Usual], params: UnusualParams
) -> list[Region]:
    tree = tree_of(evidence, STRUCTURES)
    size, looks, contrast = _nodes(tree, contrasts(evidence))
    fits = (size >= params.smallest) & (size <= params.largest * evidence.channels[0].size) & (contrast > 0)
    nodes = np.flatnonzero(fits)
    value = np.zeros(len(size))
    value[nodes] = usual[0].distance(looks[nodes]) * contrast[nodes]
    order = nodes[np.argsort(-value[nodes], kind="stable")]
    chosen: list[int] = []
    parents = tree.parents
    blocked = np.zeros(len(size), bool)
    for node in order.tolist():
        if len(chosen) == params.per_plane:
            break
        if not blocked[node]:
            chosen.append(node)
            _block(node, blocked, size, parents, tree)
    image = source.address(evidence.plane)[0]
    found = []
    for number, node in enumerate(chosen, start=1):
        mask = Mask.from_array(tree.mask(node), evidence.plane)
        vector = mean_vector(evidence, mask.pixels(evidence.plane))
        rare = float(usual[1].distance(vector[None].astype(np.float64))[0])
        strength = float(value[node]) * rare
        found.append(Region(number, image, mask, strength / (1 + strength), vector, kind="unusual"))
    return found


def _nodes(
    tree: RegionTree, features: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Size (N,), mean contrasts (N, F) of all nodes, and how much dearer it is to merge each away than its parts."""
    flat, leaves = tree.labels.reshape(-1), tree.n_leaves
    size = np.bincount(flat, minlength=leaves).astype(np.float64)
    columns = features.reshape(-1, features.shape[-1]).T
    sums = np.stack([np.bincount(flat, column, leaves) for column in columns], axis=1)
    total, count = np.zeros((leaves + len(tree.merges), sums.shape[1])), np.zeros(leaves + len(tree.merges))
    total[:leaves], count[:leaves] = sums, size
    for made, (one, other) in enumerate(tree.merges.tolist(), start=leaves):
        total[made] = total[one] + total[other]
        count[made] = count[one] + count[other]
    own = np.concatenate([np.zeros(leaves), tree.heights])
    away = np.where(np.isfinite(tree.merge_heights), tree.merge_heights, 0.0)
    with np.errstate(divide="ignore"):
        contrast = np.where(away > own, np.log((away + 1e-3) / (own + 1e-3)), 0.0)
    return count, total / np.maximum(count, 1)[:, None], contrast


def _block(
    node: int,
    blocked: npt.NDArray[np.bool_],
    size: npt.NDArray[np.float64],
    parents: npt.NDArray[np.int32],
    tree: RegionTree,
) -> None:
    """Leave out nodes above and below that cover nearly the same pixels: between half and twice as many."""
    above = node
    while size[above] < 2 * size[node] and not blocked[above] | (above == parents[above]):
        blocked[above] = True
        above = int(parents[above])
    below = [node]
    while below:
        one = below.pop()
        blocked[one] = True
        below.extend(part for part in tree.children(one) or () if size[part] > size[node] / 2)
