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
from napari_ld.similarity import comparable_rows, cosine_rows, find_peaks

__all__ = ["Candidates", "CoarseMatch", "candidates", "coarse_map", "exclusion_radius", "reorder_by_cycle", "to_cell"]

_CHUNK_CELLS = 200_000


@dataclass(frozen=True, slots=True)
class CoarseMatch:
    """What a stack kind decides for one landmark (index into the query) on one plane.

    ``mirrored``: the plane was judged to be mirrored, the mirrored templates found the place. ``point``: plane, row and
    column in the stack, where the stack kind knows the place in space. ``spread``: how far from the place others score
    nearly as well, in pixels at the working scale; the second search tells.
    """

    landmark: int
    plane: int
    position: Position | None
    score: float
    margin: float
    status: Status
    mirrored: bool = False
    point: tuple[float, float, float] | None = None
    spread: float | None = None


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


def reorder_by_cycle(query: Query, found: list[Candidates]) -> list[Candidates]:
    """Let the way back decide: a candidate that leads back to the template's point beats one that does not.

    Scores are lowered by ``cycle_weight`` times the mean distance, as a share of the working size, between the points
    of the templates and the places that the candidate's vector finds in their planes; then sorted anew.

    Parameters
    ----------
    found : list of Candidates
        All landmarks of one plane.
    """
    vectors = comparable_rows(_vectors(query, found), query.levels)
    owner = np.repeat(np.arange(len(found)), [len(at.scores) for at in found])
    of_owner = np.array([at.landmark for at in found])[owner]
    errors = np.zeros(len(owner))
    ways: dict[tuple[int, int], npt.NDArray[np.float64]] = {}  # by plane of templates: one product for all landmarks
    for template in query.templates:
        home, landmark = (id(template.source), template.plane), query.landmarks.index(template.landmark)
        if home not in ways:
            ways[home] = _way_back(query, template.source, template.plane, vectors)
        mine = np.nonzero(of_owner == landmark)[0]
        distance = (ways[home][mine] - np.array(template.position)) * np.array(template.source.scale(template.plane))
        errors[mine] += np.hypot(*distance.T) / template.source.working_size / len(query.of(landmark))
    reordered = []
    for k, at in enumerate(found):
        scores = at.scores - query.params.cycle_weight * errors[owner == k]
        order = np.argsort(-scores, kind="stable")
        margin = float(scores[order[0]] - scores[order[1]]) if len(order) > 1 else at.margin
        reordered.append(replace(at, positions=at.positions[order], scores=at.scores[order], margin=margin))
    return reordered


def _vectors(query: Query, found: list[Candidates]) -> Tensor:
    """Pooled vectors (N, D) at all candidates of one plane, bilinear between cells."""
    source, plane = query.source, found[0].plane
    index = source.indexed(plane, query.params.coarse_sigma, query.cancelled)
    rows, (height, width) = index.rows(plane), index.grid(plane)
    cells = np.array([to_cell(source, plane, (p[0], p[1])) for at in found for p in at.positions])
    cells = np.clip(cells, 0, [height - 1, width - 1])
    corner = np.minimum(cells.astype(int), np.maximum([height - 2, width - 2], 0))
    share = torch.from_numpy(cells - corner).float()
    total = torch.zeros(len(cells), rows.shape[1])
    for down in (0, 1):
        for right in (0, 1):
            at_rows, at_columns = np.minimum(corner + np.array([down, right]), [height - 1, width - 1]).T
            weight = (share[:, 0] if down else 1 - share[:, 0]) * (share[:, 1] if right else 1 - share[:, 1])
            total += rows[torch.from_numpy(at_rows * width + at_columns)].float() * weight[:, None]
    return total


def _way_back(query: Query, source: FeatureSource, plane: int, vectors: Tensor) -> npt.NDArray[np.float64]:
    """Where comparable vectors (N, D) are most similar to in the plane of templates, in stored pixels (N, 2)."""
    best = (vectors @ query.rows(source, plane).T).argmax(dim=1).numpy()
    width = source.index(query.params.coarse_sigma).grid(plane)[1]
    return to_pixels(source, plane, np.stack(np.divmod(best, width), axis=1).astype(np.float64))


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
