"""Refinement: look again, more closely, around what the coarse search found.

First the plane is searched again with gradient descriptors of large surroundings beside the embedding; then a window
around the place so found, with descriptors down to the resolution of the stored image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from napari_ld._types import Embedding, Position
from napari_ld.embedding.gradient_grids import GridDescriptors
from napari_ld.embedding.resampling import crop_window
from napari_ld.localization.coarse import CoarseMatch, coarse_map
from napari_ld.localization.detectors import Detectors, comparable_cells, fine_detectors, search_detectors
from napari_ld.localization.gradients import grid_descriptors, similarity, usable_zooms
from napari_ld.localization.params import FineStage
from napari_ld.localization.query import Query
from napari_ld.similarity import blur, cosine_rows, highest_peak, window_size

__all__ = ["refine_plane"]

Array = npt.NDArray[np.float64]
_NEARLY = 0.02  # scores that differ by this are nearly the same
_SEEN = 2.5  # a bell is seen up to this many sigmas
_SPLINE_PAD = 12  # cells for which the values at the ends are held, as scipy does
_KEPT = 32  # matrices of the last sizes


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Cells of one window of a plane: their stored rows (h,) and columns (w,)."""

    rows: Array
    columns: Array

    @property
    def places(self) -> Array:
        """Stored pixels of all cells, (h * w, 2)."""
        return np.stack(np.meshgrid(self.rows, self.columns, indexing="ij"), axis=-1).reshape(-1, 2)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.columns)


def _reading(own: _Grid, wanted: _Grid) -> Callable[[Array], Array]:
    """Cubic interpolation of values on one grid at the cells of another, held at the border."""
    down, right = _between_cells(own.rows, wanted.rows), _between_cells(own.columns, wanted.columns).T
    return lambda values: np.asarray(down @ values @ right, np.float64)


def _between_cells(own: Array, wanted: Array) -> Array:
    """Matrix that reads regular values between their places by cubic splines, (len(wanted), len(own))."""
    step = own[1] - own[0] if len(own) > 1 else 1.0
    at = (wanted - own[0]) / step + _SPLINE_PAD
    knots = len(own) + 2 * _SPLINE_PAD
    first = np.floor(at).astype(int) - 1
    basis = np.zeros((len(wanted), knots))
    for k in range(4):
        distance = np.abs(at - (first + k))
        inner, outer = 2 / 3 - distance**2 * (2 - distance) / 2, (2 - distance) ** 3 / 6
        basis[np.arange(len(wanted)), np.clip(first + k, 0, knots - 1)] += np.where(distance < 1, inner, outer)
    return basis @ _spline_matrix(len(own))


@functools.lru_cache(_KEPT)
def _spline_matrix(count: int) -> Array:
    """From values (count,) to the coefficients of their spline, the ends held for a while: (count + 2 * pad, count)."""
    held = np.pad(np.eye(count), ((_SPLINE_PAD, _SPLINE_PAD), (0, 0)), mode="edge")
    return np.asarray(ndimage.spline_filter1d(held, 3, axis=0, mode="nearest"), np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Whole:
    """A plane at the working scale: similarity (h, w) with each landmark, comparable cells (h * w, D) for detectors."""

    grid: _Grid
    similar: dict[int, Array]
    cells: Tensor | None


def refine_plane(query: Query, matches: Sequence[CoarseMatch], search_sigma: float) -> list[CoarseMatch]:
    """Refine all matches of one plane, step by step; absent and verified ones stay as they are.

    The score becomes the weighted mean of all evidence at the refined place; margin and status stay those of the search
    of the whole plane.

    Parameters
    ----------
    search_sigma : float
        Of the bell around the coarse position within which the plane is searched again, in pixels at the working
        scale.
    """
    refined = list(matches)
    open_ones = [k for k, match in enumerate(refined) if match.position is not None and match.status != "verified"]
    if not open_ones:
        return refined
    if refined[open_ones[0]].mirrored:
        query = query.mirrored
    found = [refined[k] for k in open_ones]
    whole = _look_at(query, found)
    found = _search_again(query, found, whole, search_sigma)
    for stage in query.params.fine:
        embeddings = _embeddings(query, found, stage)
        found = [
            _refine_one(query, match, stage, embedding, whole)
            for match, embedding in zip(found, embeddings, strict=True)
        ]
    for k, match in zip(open_ones, found, strict=True):
        refined[k] = match
    return refined


def _look_at(query: Query, matches: list[CoarseMatch]) -> _Whole:
    plane = matches[0].plane
    similar = coarse_map(query.source, plane, query)
    grid = _regular(*query.source.index_geometry(plane), (similar.shape[0], similar.shape[1]))
    maps = {m.landmark: query.combine(similar, m.landmark).double().numpy() for m in matches}
    cells = None if query.params.adapt is None else comparable_cells(query, query.source, plane)
    return _Whole(grid, maps, cells)


def _search_again(query: Query, matches: list[CoarseMatch], whole: _Whole, search_sigma: float) -> list[CoarseMatch]:
    """Find the places again, with gradients beside the embedding."""
    weight, plane = query.params.gradient_weight, matches[0].plane
    grid = _around(query, matches, whole.grid, search_sigma)
    finer = _Grid(_halved(grid.rows), _halved(grid.columns))
    of_cells, of_gradients = _reading(whole.grid, finer), _reading(grid, finer)
    gradients = _gradients_on(query, plane, grid, query.params.gradient_zooms) if weight > 0 else None
    similar = None if gradients is None else gradients.similarity(query, range(len(query.templates)))
    detectors = search_detectors(query, gradients.zooms) if gradients is not None else None
    found = []
    for match in matches:
        score, total = of_cells(whole.similar[match.landmark]), 1.0
        if gradients is not None and similar is not None:
            own = query.combine(similar, match.landmark).double().numpy()
            values, kinds = _evidence(match.landmark, own, whole, gradients, detectors)
            score, total = score + weight * of_gradients(values), total + weight * kinds
        score, bell = score / total, _prior(query, match, search_sigma, finer)
        moved = _moved(query, match, finer, score, bell)
        found.append(replace(moved, spread=_spread(query, moved, finer, score * bell)))
    return found


def _around(query: Query, matches: list[CoarseMatch], cells: _Grid, search_sigma: float) -> _Grid:
    """The part of the plane that the bells around all matches show."""
    reach = _SEEN * search_sigma / np.array(query.source.scale(matches[0].plane))
    places = np.array([_position(match) for match in matches])
    low, high = places.min(0) - reach, places.max(0) + reach
    rows, columns = (_between(every, low[axis], high[axis]) for axis, every in enumerate((cells.rows, cells.columns)))
    return _Grid(rows, columns)


def _halved(values: Array) -> Array:
    """Regular values with one more between each two."""
    return np.linspace(values[0], values[-1], 2 * len(values) - 1)


@dataclass(frozen=True, slots=True, eq=False)
class _Gradients:
    """Gradient descriptors on a grid, one set per zoom."""

    grid: _Grid
    zooms: tuple[float, ...]
    seen: list[GridDescriptors]

    def similarity(self, query: Query, chosen: Sequence[int]) -> Tensor:
        """With some of the templates, (h, w, len(chosen))."""
        return similarity(query, self.seen, self.zooms, chosen).view(*self.grid.shape, -1)

    def answers(self, detectors: Detectors, landmark: int) -> Array:
        """What these descriptors add to the answer of a landmark's detector, (h, w)."""
        parts = detectors.gradients[:, landmark].view(len(self.zooms), 1, -1)
        found = [places.products(part) for places, part in zip(self.seen, parts, strict=True)]
        return np.asarray(torch.stack(found).sum(0).double().numpy().reshape(self.grid.shape), np.float64)


def _gradients_on(query: Query, plane: int, grid: _Grid, zooms: Sequence[float]) -> _Gradients:
    usable = usable_zooms(query, plane, zooms)
    return _Gradients(grid, usable, grid_descriptors(query.source, plane, grid.rows, grid.columns, usable))


def _evidence(
    landmark: int, similar: Array, whole: _Whole, gradients: _Gradients, detectors: Detectors | None
) -> tuple[Array, float]:
    """What gradients and, if there are any, detectors say on a grid, (h, w), and the weight of both together."""
    if detectors is None or whole.cells is None:
        return similar, 1.0
    by_cell = (whole.cells @ detectors.cells[:, landmark]).double().numpy().reshape(whole.grid.shape)
    answer = _reading(whole.grid, gradients.grid)(by_cell) + gradients.answers(detectors, landmark)
    answer += float(detectors.offsets[landmark])
    return similar + detectors.weight * answer.clip(min=0), 1.0 + detectors.weight


def _between(values: Array, low: float, high: float) -> Array:
    """Values from low to high; the nearest one where there is none."""
    inside = values[(values >= low) & (values <= high)]
    return inside if len(inside) else values[[int(np.abs(values - (low + high) / 2).argmin())]]


def _embeddings(query: Query, matches: list[CoarseMatch], stage: FineStage) -> list[Embedding | None]:
    """The embedded windows of a step, if it uses any."""
    if stage.encoder_weight == 0:
        return [None] * len(matches)
    plane = matches[0].plane
    centres = [_position(match) for match in matches]
    zoom = query.zoom(query.source, plane, stage)
    return [*query.source.crops(plane, centres, stage.size, zoom, cancelled=query.cancelled)]


def _refine_one(
    query: Query, match: CoarseMatch, stage: FineStage, embedding: Embedding | None, whole: _Whole
) -> CoarseMatch:
    grid = _window_grid(query, match, stage) if embedding is None else _grid_of(embedding)
    score = stage.coarse_weight * _reading(whole.grid, grid)(whole.similar[match.landmark])
    total = stage.coarse_weight
    if embedding is not None:
        similar = _similarity(query, embedding, query.fine(stage), stage.sigma)
        score = score + stage.encoder_weight * query.combine(similar, match.landmark).double().numpy()
        total += stage.encoder_weight
    if stage.gradient_weight > 0:
        gradients = _gradients_on(query, match.plane, grid, stage.gradient_zooms)
        detectors = fine_detectors(query, stage, gradients.zooms)
        own = query.combined(gradients.similarity(query, query.numbers(match.landmark))).double().numpy()
        values, kinds = _evidence(match.landmark, own, whole, gradients, detectors)
        score, total = score + stage.gradient_weight * values, total + stage.gradient_weight * kinds
    return _moved(query, match, grid, score / total, _prior(query, match, stage.prior_sigma, grid))


def _similarity(query: Query, embedding: Embedding, templates: Tensor, sigma: float) -> Tensor:
    """Similarity of every cell with every template, (h, w, T); ``sigma`` in pixels of the model input."""
    cells = sigma / query.source.model.header.config.output_stride
    vectors = torch.from_numpy(np.asarray(embedding.vectors, np.float32))
    rows = blur(vectors, window_size(cells), cells).flatten(1).T
    return cosine_rows(rows, templates, query.levels).view(*embedding.vectors.shape[1:], -1)


def _moved(query: Query, match: CoarseMatch, grid: _Grid, score: Array, bell: Array) -> CoarseMatch:
    """The match at the sub-cell peak of score times the bell around its present place, inside the image."""
    weighted = np.clip(score, 0.0, None) * bell
    peak = highest_peak(weighted)
    shape = query.source.shape(match.plane)
    place = []
    for axis, (every, side) in enumerate(zip((grid.rows, grid.columns), shape, strict=True)):
        step = every[1] - every[0] if len(every) > 1 else 0.0
        place.append(float(np.clip(every[0] + peak[axis] * step, 0.0, side - 1.0)))
    best = np.unravel_index(int(weighted.argmax()), weighted.shape)
    return replace(match, position=(place[0], place[1]), score=float(np.clip(score[best], -1.0, 1.0)))


def _spread(query: Query, match: CoarseMatch, grid: _Grid, weighted: Array) -> float:
    """How far from the match places score nearly as well, root mean square in pixels at the working scale."""
    near = np.exp((weighted - weighted.max()) / _NEARLY)
    scale, centre = query.source.scale(match.plane), _position(match)
    down, right = (grid.rows - centre[0]) * scale[0], (grid.columns - centre[1]) * scale[1]
    return float(np.sqrt((near * (down[:, None] ** 2 + right[None] ** 2)).sum() / near.sum()))


def _prior(query: Query, match: CoarseMatch, sigma: float, grid: _Grid) -> Array:
    """Bell around the position found so far, (h, w); ``sigma`` in pixels at the working scale."""
    scale, centre = query.source.scale(match.plane), _position(match)
    down, right = (grid.rows - centre[0]) * scale[0], (grid.columns - centre[1]) * scale[1]
    return np.outer(np.exp(-(down**2) / (2 * sigma**2)), np.exp(-(right**2) / (2 * sigma**2)))


def _grid_of(embedding: Embedding) -> _Grid:
    rows, columns = embedding.vectors.shape[1:]
    return _regular(embedding.origin, embedding.step, (rows, columns))


def _regular(origin: Position, step: tuple[float, float], shape: tuple[int, int]) -> _Grid:
    rows, columns = (start + np.arange(count) * width for start, width, count in zip(origin, step, shape, strict=True))
    return _Grid(np.asarray(rows, np.float64), np.asarray(columns, np.float64))


def _window_grid(query: Query, match: CoarseMatch, stage: FineStage) -> _Grid:
    """The cells that the embedding of the window would have."""
    source, stride = query.source, query.source.model.header.config.output_stride
    zoom, scale = query.zoom(source, match.plane, stage), source.scale(match.plane)
    scaled = scale[0] * zoom, scale[1] * zoom
    window = crop_window(source.shape(match.plane), scaled, _position(match), stage.size)
    origin, step = window.grid(stride)
    return _regular(origin, step, (-(-window.size[0] // stride), -(-window.size[1] // stride)))


def _position(match: CoarseMatch) -> Position:
    if match.position is None:
        raise ValueError("an absent landmark has no position to refine")
    return match.position
