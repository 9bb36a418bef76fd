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
    for k in open_ones:
        refined[k] = _sharpen(query, refined[k], whole, maps[k])
    for stage in query.params.fine:
        zoom = query.zoom(query.source, plane, stage)
        centres = [_position(refined[k]) for k in open_ones]
        crops = query.source.crops(plane, centres, stage.size, zoom, cancelled=query.cancelled)
        for k, crop in zip(open_ones, crops, strict=True):
            refined[k] = _refine_one(query, refined[k], stage, crop, (whole, maps[k]))
    return refined


def _similarity(query: Query, embedding: Embedding, templates: Tensor, sigma: float) -> Tensor:
    """Similarity of every cell with every template, (h, w, T); ``sigma`` in pixels of the model input."""
    cells = sigma / query.source.model.header.config.output_stride
    vectors = torch.from_numpy(np.asarray(embedding.vectors, np.float32))
    rows = blur(vectors, window_size(cells), cells).flatten(1).T
    return cosine_rows(rows, templates, query.levels).view(*embedding.vectors.shape[1:], -1)


def _sharpen(query: Query, match: CoarseMatch, whole: Embedding, similarity: Array) -> CoarseMatch:
    """Find the place again on every cell of the plane: the coarse index holds every second one only."""
    reach = _SHARPEN_REACH * query.source.model.header.config.output_stride
    return _moved(match, whole, similarity, _prior(query, match, reach, whole))


def _refine_one(
    query: Query, match: CoarseMatch, stage: FineStage, crop: Embedding, coarse: tuple[Embedding, Array]
) -> CoarseMatch:
    fine = query.combine(_similarity(query, crop, query.fine(stage), stage.sigma), match.landmark).double().numpy()
    score = (fine + stage.coarse_weight * _at_cells(*coarse, crop)) / (1 + stage.coarse_weight)
    return _moved(match, crop, score, _prior(query, match, stage.prior_sigma, crop))


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
