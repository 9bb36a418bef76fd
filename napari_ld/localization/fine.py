"""Refinement: look again, more closely, around what the coarse search found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from napari_ld._types import Embedding, Position
from napari_ld.localization.coarse import CoarseMatch
from napari_ld.localization.gradients import GradientField, similarity, usable_zooms
from napari_ld.localization.params import FineStage
from napari_ld.localization.query import Query
from napari_ld.similarity import blur, cosine_rows, find_peaks, window_size

__all__ = ["refine_plane"]

Array = npt.NDArray[np.float64]
_SHARPEN_REACH = 4.0  # cells of the embedding


def refine_plane(query: Query, matches: Sequence[CoarseMatch]) -> list[CoarseMatch]:
    """Refine all matches of one plane, step by step; absent and verified ones stay as they are.

    The score becomes the mean of fine and coarse cosine at the refined place, weighted as the step says; margin and
    status stay those of the search of the whole plane.
    """
    refined = list(matches)
    open_ones = [k for k, match in enumerate(refined) if match.position is not None and match.status != "verified"]
    if not open_ones:
        return refined
    plane = refined[0].plane
    if refined[open_ones[0]].mirrored:
        query = query.mirrored
    whole = query.source.plane(plane, query.cancelled)
    similarity = _similarity(query, whole, query.coarse, query.params.coarse_sigma)
    maps = {k: query.combine(similarity, refined[k].landmark).double().numpy() for k in open_ones}
    _sharpen(query, refined, open_ones, whole, maps)
    for stage in query.params.fine:
        zoom = query.zoom(query.source, plane, stage)
        centres = [_position(refined[k]) for k in open_ones]
        crops = query.source.crops(plane, centres, stage.size, zoom, cancelled=query.cancelled) if stage.encoder_weight else [_empty(query, plane, c, stage.size, zoom) for c in centres]
        for k, crop in zip(open_ones, crops, strict=True):
            refined[k] = _refine_one(query, refined[k], stage, crop, (whole, maps[k]))
    return refined


def _similarity(query: Query, embedding: Embedding, templates: Tensor, sigma: float) -> Tensor:
    """Similarity of every cell with every template, (h, w, T); ``sigma`` in pixels of the model input."""
    cells = sigma / query.source.model.header.config.output_stride
    vectors = torch.from_numpy(np.asarray(embedding.vectors, np.float32))
    rows = blur(vectors, window_size(cells), cells).flatten(1).T
    return cosine_rows(rows, templates, query.levels).view(*embedding.vectors.shape[1:], -1)


def _sharpen(query, refined, open_ones, whole, maps) -> None:
    """Find the places again on every cell of the plane: the coarse index holds every second one only."""
    p = query.params
    plane = refined[0].plane
    if p.sharpen_weight:
        zooms = usable_zooms(query, plane, p.sharpen_zooms)
        rows, columns = _pixels(whole)
        rows, columns = rows[::2], columns[::2]
        at = np.array([_position(refined[k]) for k in open_ones])
        reach = 2.5 * p.sharpen_sigma / np.array(query.source.scale(plane))
        rows = rows[(rows >= at[:, 0].min() - reach[0]) & (rows <= at[:, 0].max() + reach[0])]
        columns = columns[(columns >= at[:, 1].min() - reach[1]) & (columns <= at[:, 1].max() + reach[1])]
        places = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
        flat = places.reshape(-1, 2)
        found = similarity(query, GradientField(query.source, plane, flat, zooms), flat, zooms).view(*places.shape[:2], -1)
        origin = (float(rows[0]), float(columns[0])); step = (whole.step[0] * 2, whole.step[1] * 2)
        grid = Embedding(np.empty((1, *places.shape[:2]), np.float32), None, origin, step, whole.shape)
    for k in open_ones:
        score = maps[k]
        if p.sharpen_weight:
            g = query.combine(found, refined[k].landmark).double().numpy()
            score = (score + p.sharpen_weight * _at_cells(grid, g, whole)) / (1 + p.sharpen_weight)
        refined[k] = _moved(refined[k], whole, score, _prior(query, refined[k], p.sharpen_sigma, whole))


def _refine_one(
    query: Query, match: CoarseMatch, stage: FineStage, crop: Embedding, coarse: tuple[Embedding, Array]
) -> CoarseMatch:
    score, weight = stage.coarse_weight * _at_cells(*coarse, crop), stage.coarse_weight
    if stage.encoder_weight:
        fine = query.combine(_similarity(query, crop, query.fine(stage), stage.sigma), match.landmark).double().numpy()
        score, weight = score + stage.encoder_weight * fine, weight + stage.encoder_weight
    if stage.gradient_weight:
        zooms = usable_zooms(query, match.plane, stage.gradient_zooms)
        places = np.stack(np.meshgrid(*_pixels(crop), indexing="ij"), axis=-1).reshape(-1, 2)
        field = GradientField(query.source, match.plane, places, zooms)
        g = query.combine(similarity(query, field, places, zooms), match.landmark).double().numpy()
        score = score + stage.gradient_weight * g.reshape(score.shape)
        weight += stage.gradient_weight
    return _moved(match, crop, score / weight, _prior(query, match, stage.prior_sigma, crop))


def _moved(match: CoarseMatch, embedding: Embedding, score: Array, prior: Array) -> CoarseMatch:
    """The match at the sub-cell peak of score times prior, inside the image."""
    weighted = np.clip(score, 0.0, None) * prior
    peaks = find_peaks(torch.from_numpy(weighted)[None], radius=0.0)
    place = embedding.to_pixel((float(peaks.cells[0, 0, 0]), float(peaks.cells[0, 0, 1])))
    inside = tuple(min(max(value, 0.0), side - 1.0) for value, side in zip(place, embedding.shape, strict=True))
    best = np.unravel_index(int(weighted.argmax()), weighted.shape)
    return replace(match, position=(inside[0], inside[1]), score=float(np.clip(score[best], -1.0, 1.0)))


def _prior(query: Query, match: CoarseMatch, sigma: float, crop: Embedding) -> Array:
    """Bell around the position found so far, (h, w); ``sigma`` in pixels at the working scale."""
    rows, columns = _pixels(crop)
    scale, centre = query.source.scale(match.plane), _position(match)
    distance = ((rows - centre[0]) * scale[0])[:, None] ** 2 + ((columns - centre[1]) * scale[1])[None] ** 2
    return np.asarray(np.exp(-distance / (2 * sigma**2)), np.float64)


def _at_cells(whole: Embedding, coarse: Array, crop: Embedding) -> Array:
    """Map of the whole plane interpolated at the cells of a crop, (h, w)."""
    axes = [
        (pixels - start) / size for pixels, start, size in zip(_pixels(crop), whole.origin, whole.step, strict=True)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    return np.asarray(ndimage.map_coordinates(coarse, grid, order=1, mode="nearest"), np.float64)


def _pixels(crop: Embedding) -> tuple[Array, Array]:
    """Stored rows and columns of the cells of a crop."""
    height, width = crop.vectors.shape[1:]
    rows = crop.origin[0] + np.arange(height) * crop.step[0]
    return rows.astype(np.float64), (crop.origin[1] + np.arange(width) * crop.step[1]).astype(np.float64)


def _position(match: CoarseMatch) -> Position:
    if match.position is None:
        raise ValueError("an absent landmark has no position to refine")
    return match.position


def _empty(query, plane, centre, size, zoom):
    from napari_ld.embedding.resampling import crop_window
    s = query.source; scale = s.scale(plane)
    w = crop_window(s.shape(plane), (scale[0] * zoom, scale[1] * zoom), centre, size)
    o, st = w.grid(4)
    return Embedding(np.empty((1, -(-w.size[0] // 4), -(-w.size[1] // 4)), np.float32), None, o, st, s.shape(plane))
