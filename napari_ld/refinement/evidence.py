"""What the learnt refiner looks at: maps around each label that mean the same whatever the image is of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_ld.refinement.problem import Array, Problem
from napari_ld.refinement.prototype import PrototypeParams, sight
from napari_ld.refinement.shape import depth, scaled_distances
from napari_ld.refinement.watershed import gradient

__all__ = ["MAPS", "evidence"]

MAPS = (
    "distance",
    "snapped distance",
    "looks",
    "looks and shape",
    "brightness",
    "edge",
    "likeness to the core",
    "likeness to the surroundings",
    "edge of the embedding",
)
"""In their order. None holds a colour or an embedding as such: the looks of a skin lesion say nothing of a tumour."""

_EDGE = 0.15  # sigma of the gradient in depths


def evidence(problem: Problem, params: PrototypeParams) -> tuple[Array, Array]:
    """Maps of every label, and how much it leads by looks and shape.

    Returns
    -------
    maps : (K, planes, 9, rows, columns) float32 array
        :data:`MAPS`; distances in depths of the label, looks in log-odds divided by 3, the rest about 1 in size.
    leads : (K, planes, rows, columns) float32 array
        Log-odds of a label against the background and all others, by :func:`~napari_ld.refinement.prototype.sight`.
    """
    seen = sight(problem, params)
    rough = scaled_distances(problem)
    leads, looks = _against_the_rest(seen.total), _against_the_rest(seen.looks)
    embedded = problem.embedding(params.components)
    grey = problem.channels.mean(axis=1)
    edges = np.stack([_even(_steepness(one, problem.step)) for one in embedded])
    found = np.zeros((problem.count, len(grey), len(MAPS), *grey.shape[1:]), np.float32)
    for k in range(problem.count):
        size = depth(problem, k + 1)
        core, around = np.clip(rough[k], 0, 1), _ring(rough[k])
        for plane, maps in enumerate(found[k]):
            problem.check()
            maps[0] = np.clip(rough[k, plane], -4, 2)
            maps[1] = np.clip(seen.distances[k, plane], -4, 2)
            maps[2], maps[3] = looks[k, plane] / 3, leads[k, plane] / 3
            maps[4] = _brightness(grey[plane], core[plane], around[plane])
            maps[5] = _even(gradient(problem.channels[plane], max(0.7, _EDGE * size), problem.step))
            maps[6], maps[7] = (_alike(embedded[plane], part[plane]) for part in (core, around))
            maps[8] = edges[plane]
    return found, leads


def _against_the_rest(odds: Array) -> Array:
    """Log-odds (K, ...) of each label against all others, from log-weights (K + 1, ...); at most 6 either way."""
    top = odds.max(axis=0)
    total = np.exp(odds - top)
    rest = np.maximum(total.sum(axis=0) - total, 1e-9)
    return np.asarray(np.clip(odds - top - np.log(rest), -6, 6)[1:], np.float32)


def _ring(distance: Array) -> Array:
    """1 outside a label as far as it is deep, 0 elsewhere."""
    return np.asarray((distance < -0.3) & (distance > -2.5), np.float32)


def _brightness(grey: Array, core: Array, around: Array) -> Array:
    """Grey values around 0 with a spread of 1, turned over where the label is darker than its surroundings."""
    inside, outside = _mean(grey, core), _mean(grey, around)
    scaled = (grey - outside) / (grey.std() + 1e-6)
    return np.asarray(np.clip(scaled if inside >= outside else -scaled, -4, 4), np.float32)


def _alike(embedded: Array, weights: Array) -> Array:
    """Cosine (rows, columns) between the embedding (D, rows, columns) and its weighted mean; 0 without an embedding."""
    if not len(embedded) or not weights.any():
        return np.zeros(weights.shape, np.float32)
    middle = np.tensordot(embedded, weights, axes=2) / weights.sum()
    length = np.sqrt(np.square(embedded).sum(axis=0)) * np.linalg.norm(middle) + 1e-6
    return np.asarray(np.tensordot(middle, embedded, axes=1) / length, np.float32)


def _steepness(maps: Array, step: tuple[float, float, float]) -> Array:
    """Length (rows, columns) of the gradient over maps (D, rows, columns)."""
    if not len(maps):
        return np.zeros(maps.shape[1:], np.float32)
    squares = [np.square(ndimage.sobel(one, axis=axis) / step[1 + axis]) for one in maps for axis in (0, 1)]
    return np.asarray(np.sqrt(np.sum(squares, axis=0)), np.float32)


def _even(values: Array) -> Array:
    """Values whose 95th percentile is 1, at most 2."""
    return np.asarray(np.clip(values / (float(np.percentile(values, 95)) + 1e-6), 0, 2), np.float32)


def _mean(values: npt.NDArray[Any], weights: Array) -> float:
    return float((values * weights).sum() / max(float(weights.sum()), 1e-6))
