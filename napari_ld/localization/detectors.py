"""Detectors of the searched landmarks, learnt from the lessons of a query: see :mod:`napari_ld.adaptation`.

A place is described by the pooled vector of its cell and by its gradient descriptors, weighted as in the search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from napari_ld.adaptation import AdaptParams, Lessons, Surroundings
from napari_ld.embedding.gradients import LENGTH
from napari_ld.embedding.source import FeatureSource
from napari_ld.embedding.tiling import check_cancelled
from napari_ld.localization.gradients import GradientField
from napari_ld.localization.params import FineStage
from napari_ld.localization.query import Query, Template
from napari_ld.similarity import comparable_rows

__all__ = ["Detectors", "comparable_cells", "fine_detectors", "search_detectors"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Detectors:
    """One detector per landmark of a query, in two parts that are seen on different grids.

    Attributes
    ----------
    weight : float
        Of their answers, against 1 for the similarity of gradient descriptors.
    cells : (D, L) float32 tensor
        Weights of the comparable vectors of cells.
    gradients : (Z * 128, L) float32 tensor
        Weights of the gradient descriptors, zoom by zoom.
    offsets : (L,) float32 tensor
    """

    weight: float
    cells: Tensor
    gradients: Tensor
    offsets: Tensor


def search_detectors(query: Query, zooms: tuple[float, ...]) -> Detectors | None:
    """What the search of a plane asks for; None without adaptation."""
    adapt = query.params.adapt
    return (
        None if adapt is None else _learnt(query, adapt, adapt.search, _Look(1.0, query.params.gradient_weight, zooms))
    )


def fine_detectors(query: Query, stage: FineStage, zooms: tuple[float, ...]) -> Detectors | None:
    """What a step of the refinement asks for; None without adaptation."""
    adapt, look = query.params.adapt, _Look(stage.coarse_weight, stage.gradient_weight, zooms)
    return None if adapt is None else _learnt(query, adapt, adapt.fine, look)


def comparable_cells(query: Query, source: FeatureSource, plane: int) -> Tensor:
    """Comparable pooled vectors of all cells of the coarse index of a plane, (h * w, D)."""
    index = source.indexed(plane, query.params.coarse_sigma, query.cancelled)
    return comparable_rows(index.rows(plane), query.levels)


@dataclass(frozen=True, slots=True)
class _Look:
    """How a place is described: weights of its cell's vector and of its gradients, and their zooms."""

    cell_weight: float
    gradient_weight: float
    zooms: tuple[float, ...]

    @property
    def scales(self) -> tuple[float, float]:
        """By these the two parts are multiplied, so that products of descriptors are the scores of the search."""
        return math.sqrt(self.cell_weight), math.sqrt(self.gradient_weight / len(self.zooms))

    def describe(self, template: Template, cells: Tensor, places: Array) -> Tensor:
        """Descriptors (N, F) of stored pixels (N, 2) in the plane of a template, of comparable cells (1, D, h, w)."""
        origin, step = template.source.index_geometry(template.plane)
        inside = (places - np.array(origin)) / np.array(step)
        shares = 2 * (inside[:, ::-1] + 0.5) / np.array(cells.shape[:1:-1]) - 1
        grid = torch.from_numpy(shares).float()[None, None]
        found = functional.grid_sample(cells, grid, padding_mode="border", align_corners=False)[0, :, 0].T
        seen = GradientField(template.source, template.plane, places, self.zooms).vectors(places)
        return torch.cat([found * self.scales[0], torch.cat(seen, dim=1) * self.scales[1]], dim=1)


def _learnt(query: Query, adapt: AdaptParams, around: Surroundings, look: _Look) -> Detectors:
    """Detectors of all landmarks, learnt on first use and kept."""
    if (around, look) not in query.detectors:
        query.detectors[around, look] = _learn(query, adapt, around, look)
    found: Detectors = query.detectors[around, look]
    return found


def _learn(query: Query, adapt: AdaptParams, around: Surroundings, look: _Look) -> Detectors:
    length = query.coarse.shape[1]
    lessons = {name: Lessons(length + LENGTH * len(look.zooms)) for name in query.landmarks}
    for source, plane in dict.fromkeys((template.source, template.plane) for template in query.lessons):
        grid = source.index(query.params.coarse_sigma).grid(plane)
        cells = comparable_cells(query, source, plane).T.view(1, length, *grid)
        for template in query.lessons:
            if template.source is source and template.plane == plane:
                check_cancelled(query.cancelled)
                places, bell = _places(template, around)
                found = look.describe(template, cells, places)
                lessons[template.landmark].add(found[1:], bell, found[0])
    learnt = [lessons[name].detector(adapt.ridge) for name in query.landmarks]
    weights = torch.stack([detector.weights for detector in learnt], dim=1)
    offsets = torch.tensor([detector.offset for detector in learnt])
    return Detectors(adapt.weight, weights[:length] * look.scales[0], weights[length:] * look.scales[1], offsets)


def _places(template: Template, around: Surroundings) -> tuple[Array, Tensor]:
    """The template's point and the places around it that lie in the image, (1 + N, 2); what is wanted there, (N,)."""
    centre, last = np.array([template.position]), np.array(template.source.shape(template.plane)) - 1
    places = centre + around.offsets / np.array(template.source.scale(template.plane))
    inside = ((places >= 0) & (places <= last)).all(axis=1)
    return np.concatenate([centre, places[inside]]), torch.from_numpy(around.bell[inside]).float()
