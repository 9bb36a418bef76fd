"""Refinement: look again, more closely, around what the coarse search found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from napari_ld._types import Embedding, Position
from napari_ld.localization.coarse import CoarseMatch, coarse_map
from napari_ld.localization.params import FineStage
from napari_ld.localization.query import Query
from napari_ld.similarity import blur, cosine_rows, find_peaks, window_size

__all__ = ["refine_plane"]

Array = npt.NDArray[np.float64]


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
    coarse = coarse_map(query.source, plane, query)
    maps = {}
    for k in open_ones:
        maps[k] = query.combine(coarse, refined[k].landmark).double().numpy()
    for stage in query.params.fine:
        zoom = query.zoom(query.source, plane, stage)
        centres = [_position(refined[k]) for k in open_ones]
        crops = query.source.crops(plane, centres, stage.size, zoom, cancelled=query.cancelled)
        for k, crop in zip(open_ones, crops, strict=True):
            refined[k] = _refine_one(query, refined[k], stage, crop, maps[k])
    return refined


def _refine_one(query: Query, match: CoarseMatch, stage: FineStage, crop: Embedding, coarse: Array) -> CoarseMatch:
    sigma = stage.sigma / query.source.model.header.config.output_stride
    rows = blur(torch.from_numpy(crop.vectors), window_size(sigma), sigma).flatten(1).T
    similarity = query.combine(cosine_rows(rows, query.fine(stage), query.levels), match.landmark).double().numpy()
    fine = similarity.reshape(crop.vectors.shape[1:])
    score = (fine + stage.coarse_weight * _at_cells(query, match.plane, coarse, crop)) / (1 + stage.coarse_weight)
    weighted = np.clip(score, 0.0, None) * _prior(query, match, stage, crop)
    peaks = find_peaks(torch.from_numpy(weighted)[None], radius=0.0)
    place = crop.to_pixel((float(peaks.cells[0, 0, 0]), float(peaks.cells[0, 0, 1])))
    inside = tuple(min(max(value, 0.0), side - 1.0) for value, side in zip(place, crop.shape, strict=True))
    best = np.unravel_index(int(weighted.argmax()), weighted.shape)
    return replace(match, position=(inside[0], inside[1]), score=float(np.clip(score[best], -1.0, 1.0)))


def _prior(query: Query, match: CoarseMatch, stage: FineStage, crop: Embedding) -> Array:
    """Bell around the position found so far, (h, w)."""
    rows, columns = _pixels(crop)
    scale, centre = query.source.scale(match.plane), _position(match)
    distance = ((rows - centre[0]) * scale[0])[:, None] ** 2 + ((columns - centre[1]) * scale[1])[None] ** 2
    return np.asarray(np.exp(-distance / (2 * stage.prior_sigma**2)), np.float64)


def _at_cells(query: Query, plane: int, coarse: Array, crop: Embedding) -> Array:
    """Coarse map interpolated at the cells of a crop, (h, w)."""
    origin, step = query.source.index_geometry(plane)
    axes = [(pixels - start) / size for pixels, start, size in zip(_pixels(crop), origin, step, strict=True)]
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
