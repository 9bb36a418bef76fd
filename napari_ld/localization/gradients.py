"""Gradient descriptors of templates and of windows of searched planes, at several zooms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_ld._types import Box
from napari_ld.embedding.gradient_grids import GridDescriptors
from napari_ld.embedding.gradients import REACH, descriptors, orientation_maps
from napari_ld.embedding.resampling import Window
from napari_ld.embedding.source import FeatureSource
from napari_ld.localization.query import Query

__all__ = ["GradientField", "grid_descriptors", "similarity", "template_vectors", "usable_zooms"]

Array = npt.NDArray[np.float64]
_ENLARGEMENT = 4.1  # planes are not enlarged by more than this: there is nothing new to be seen


class GradientField:
    """Orientation maps of one window of a plane, one per zoom.

    Parameters
    ----------
    source : FeatureSource
    plane : int
    places : (N, 2) array
        Stored pixels at which descriptors will be asked for, or at least the corners of their bounding box.
    zooms : sequence of float
        Multiples of the working scale.
    """

    def __init__(self, source: FeatureSource, plane: int, places: Array, zooms: Sequence[float]) -> None:
        scale = np.array(source.scale(plane))
        self._windows = [_window(source.shape(plane), scale * zoom, places) for zoom in zooms]
        self._maps = [orientation_maps(source.model_input(plane, window)[0].mean(0)) for window in self._windows]

    def vectors(self, places: Array) -> list[Tensor]:
        """Descriptors (N, 128) at stored pixels (N, 2), one tensor per zoom."""
        found = []
        for window, maps in zip(self._windows, self._maps, strict=True):
            origin, step = window.grid(1)
            found.append(descriptors(maps, (places - np.array(origin)) / np.array(step)))
        return found


def grid_descriptors(
    source: FeatureSource, plane: int, rows: Array, columns: Array, zooms: Sequence[float]
) -> list[GridDescriptors]:
    """What :class:`GradientField` says at all places of a grid of stored rows (h,) and columns (w,), zoom by zoom."""
    corners, found = np.array([[rows[0], columns[0]], [rows[-1], columns[-1]]]), []
    for zoom in zooms:
        window = _window(source.shape(plane), np.array(source.scale(plane)) * zoom, corners)
        (top, left), (down, right) = window.grid(1)
        grey = source.model_input(plane, window)[0].mean(0)
        found.append(GridDescriptors(grey, (rows - top) / down, (columns - left) / right))
    return found


def usable_zooms(query: Query, plane: int, zooms: Sequence[float]) -> tuple[float, ...]:
    """Those zooms at which both the plane and the templates still show something; at least the smallest."""
    planes = [(query.source, plane), *((template.source, template.plane) for template in query.templates)]
    limit = min(_ENLARGEMENT / max(source.scale(at)) for source, at in planes)
    return tuple(zoom for zoom in zooms if zoom <= limit) or (min(zooms),)


def template_vectors(query: Query, zoom: float) -> Tensor:
    """Descriptors (T, 128) of the templates at one zoom."""
    if zoom not in query.descriptors:
        rows = []
        for template in query.templates:
            place = np.array([template.position])
            rows.append(GradientField(template.source, template.plane, place, [zoom]).vectors(place)[0])
        query.descriptors[zoom] = torch.cat(rows)
    return query.descriptors[zoom]


def similarity(query: Query, seen: Sequence[GridDescriptors], zooms: Sequence[float], chosen: Sequence[int]) -> Tensor:
    """Square of the mean cosine (N, T), over the zooms, between places and templates; 0 below 0.

    The square lets a good match decide and a poor one, whose differences are noise, say little.

    Parameters
    ----------
    seen : sequence of GridDescriptors
        Of N places, one per zoom.
    chosen : sequence of int
        Numbers of the T templates that are asked for.
    """
    pairs = zip(seen, zooms, strict=True)
    cosines = torch.stack([places.products(template_vectors(query, zoom)[list(chosen)]) for places, zoom in pairs])
    return cosines.mean(0).clamp_min(0).square()


def _window(shape: tuple[int, int], scale: Array, places: Array) -> Window:
    """Model input of the bounding box of ``places``, with as much around it as a descriptor sees."""
    reach = REACH / scale
    low = np.clip(np.floor(places.min(0) - reach), 0, np.array(shape) - 1).astype(int)
    high = np.clip(np.ceil(places.max(0) + reach) + 1, low + 1, shape).astype(int)
    size = np.maximum(1, np.rint((high - low) * scale)).astype(int)
    return Window(Box(int(low[0]), int(low[1]), int(high[0]), int(high[1])), (int(size[0]), int(size[1])))
