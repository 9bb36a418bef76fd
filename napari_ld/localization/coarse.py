"""The coarse search: every landmark on every plane at the working scale, from the index of the stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld._types import Position, Status
from napari_ld.embedding.source import FeatureSource
from napari_ld.embedding.tiling import check_cancelled
from napari_ld.localization.query import Query
from napari_ld.similarity import cosine_rows, find_peaks, sample

__all__ = ["Candidates", "CoarseMatch", "candidates", "coarse_map", "exclusion_radius", "reorder_by_cycle", "to_cell"]

_CHUNK_CELLS = 200_000


@dataclass(frozen=True, slots=True)
class CoarseMatch:
    """What a stack kind decides for one landmark (index into the query) on one plane."""

    landmark: int
    plane: int
    position: Position | None
    score: float
    margin: float
    status: Status


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The best places of one landmark on one plane.

    Attributes
    ----------
    landmark, plane : int
    positions : (K, 2) array
        Stored pixels, best first; at least one.
    scores : (K,) array
    margin : float
        Lead of the best over the best other peak.
    """

    landmark: int
    plane: int
    positions: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    margin: float


def coarse_map(source: FeatureSource, plane: int, query: Query) -> Tensor:
    """Similarity of one plane with every template, (rows, columns, T), on the grid of the coarse index."""
    index = source.indexed(plane, query.params.coarse_sigma, query.cancelled)
    maps = cosine_rows(index.rows(plane), query.coarse, query.levels, index.norms(plane))
    return maps.view(*index.grid(plane), -1)


def candidates(source: FeatureSource, query: Query, planes: Sequence[int], count: int) -> Iterator[list[Candidates]]:
    """The ``count`` best peaks on each of ``planes``: one list per plane, one entry per landmark.

    Planes that are embedded already are searched together; others come as soon as they are ready.
    """
    for chunk in _chunks(source, query, planes):
        check_cancelled(query.cancelled)
        maps = [coarse_map(source, plane, query) for plane in chunk]
        found: list[list[Candidates]] = [[] for _ in chunk]
        for landmark in range(len(query.landmarks)):
            stack = torch.stack([query.combine(m, landmark) for m in maps])
            peaks = find_peaks(stack, exclusion_radius(source, query), count)
            for k, plane in enumerate(chunk):
                known = np.isfinite(peaks.scores[k])
                positions = to_pixels(source, plane, peaks.cells[k][known])
                scores, margin = peaks.scores[k][known], float(peaks.margins[k])
                found[k].append(Candidates(landmark, plane, positions, scores, margin))
        yield from found


def to_pixels(source: FeatureSource, plane: int, cells: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Cells (K, 2) of the coarse index to stored pixels, kept inside the image."""
    origin, step = source.index_geometry(plane)
    last = np.array(source.shape(plane)) - 1.0
    return np.asarray(np.clip(np.array(origin) + cells * np.array(step), 0.0, last), np.float64)


def to_cell(source: FeatureSource, plane: int, position: Position) -> Position:
    """Stored pixels to a cell of the coarse index."""
    origin, step = source.index_geometry(plane)
    return (position[0] - origin[0]) / step[0], (position[1] - origin[1]) / step[1]


def reorder_by_cycle(source: FeatureSource, query: Query, found: Candidates) -> Candidates:
    """Let the way back decide: a candidate that leads back to the template's point beats one that does not.

    Scores are lowered by ``cycle_weight`` times the mean distance, as a share of the working size, between the points
    of the templates and the places that the candidate's vector finds in their planes; then sorted anew.
    """
    index = source.indexed(found.plane, query.params.coarse_sigma, query.cancelled)
    grid = index.rows(found.plane).T.reshape(-1, *index.grid(found.plane))
    vectors = torch.stack([sample(grid, to_cell(source, found.plane, (p[0], p[1]))) for p in found.positions])
    errors = np.zeros(len(found.scores))
    templates = query.of(found.landmark)
    for template in templates:
        back = template.source.indexed(template.plane, query.params.coarse_sigma, query.cancelled)
        maps = cosine_rows(back.rows(template.plane), vectors, query.levels, back.norms(template.plane))
        peaks = find_peaks(maps.T.reshape(-1, *back.grid(template.plane)), exclusion_radius(template.source, query))
        places = to_pixels(template.source, template.plane, peaks.cells[:, 0])
        distance = (places - np.array(template.position)) * np.array(template.source.scale(template.plane))
        errors += np.hypot(distance[:, 0], distance[:, 1]) / template.source.working_size / len(templates)
    scores = found.scores - query.params.cycle_weight * errors
    order = np.argsort(-scores, kind="stable")
    margin = float(scores[order[0]] - scores[order[1]]) if len(order) > 1 else found.margin
    return replace(found, positions=found.positions[order], scores=found.scores[order], margin=margin)


def exclusion_radius(source: FeatureSource, query: Query) -> float:
    """Exclusion radius in cells of the coarse index."""
    stride = source.model.header.config.output_stride * source.index_stride
    return query.params.exclusion * source.working_size / stride


def _chunks(source: FeatureSource, query: Query, planes: Sequence[int]) -> Iterator[list[int]]:
    """Runs of planes of one size that are in the index already; a plane that is not stands alone."""
    index = source.index(query.params.coarse_sigma)
    chunk: list[int] = []
    for plane in planes:
        rows, columns = index.grid(plane)
        fits = chunk and index.grid(chunk[0]) == (rows, columns) and len(chunk) * rows * columns < _CHUNK_CELLS
        if chunk and not (fits and plane in index):
            yield chunk
            chunk = []
        chunk.append(plane)
    if chunk:
        yield chunk
