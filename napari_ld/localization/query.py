"""What is looked for: templates turned into pooled vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_ld._types import Embedding, Position
from napari_ld.embedding.source import FeatureSource
from napari_ld.errors import ConfigError, LandmarkError
from napari_ld.localization.params import FineStage, LocateParams
from napari_ld.similarity import LevelWeights, comparable_rows, pooled_vector, window_size

__all__ = ["Query", "Template"]

Cancelled = Callable[[], bool] | None


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """One example of a landmark.

    Attributes
    ----------
    landmark : str
        Name.
    source : FeatureSource
        Features of the image that the example lies in; may be the one that is searched.
    plane : int
    position : (row, column)
        Stored pixels.
    depth : float, optional
        ``volumes``: the plane within its image with its fraction, where the point lies between two.
    lesson : bool
        With adaptation: whether detectors learn from it too.
    """

    landmark: str
    source: FeatureSource
    plane: int
    position: Position
    depth: float | None = None
    lesson: bool = True


class Query:
    """All templates of one search and their pooled vectors.

    Parameters
    ----------
    source : FeatureSource
        What is searched.
    templates : sequence of Template
        Several may share a landmark.
    params : LocateParams

    Raises
    ------
    LandmarkError
        Without templates, or for a position outside its image.
    ConfigError
        When a template was embedded by another encoder.
    """

    def __init__(
        self, source: FeatureSource, templates: Sequence[Template], params: LocateParams, cancelled: Cancelled = None
    ) -> None:
        if not templates:
            raise LandmarkError("no template was given: mark the landmark on at least one image")
        for template in templates:
            _check(source, template)
        self.source = source
        self.templates = tuple(templates)
        self.params = params
        self.cancelled = cancelled
        self._lessons = tuple(template for template in self.templates if template.lesson)
        self._straight: Query | None = None
        self.landmarks = tuple(dict.fromkeys(template.landmark for template in templates))
        dims = source.model.header.config.level_dims
        equal = LevelWeights.equal(dims).weights
        self.levels = LevelWeights(dims, params.level_weights or equal, params.separate_levels)
        self.descriptors: dict[float, Tensor] = {}  # (T, 128) by zoom, see napari_ld.localization.gradients
        self.backgrounds: dict[int, float] = {}  # by landmark, see napari_ld.localization.confidence
        self.detectors: dict[Any, Any] = {}  # see napari_ld.localization.detectors
        self._fine: dict[FineStage, Tensor] = {}
        self._rows: dict[tuple[int, int], Tensor] = {}

    @cached_property
    def mirrored(self) -> Query:
        """The same search with the templates' planes mirrored left-right."""
        query = Query(self.source, [_twin(template) for template in self.templates], self.params, self.cancelled)
        query._straight = self
        return query

    @property
    def lessons(self) -> tuple[Template, ...]:
        """Templates from which detectors learn, see :mod:`napari_ld.localization.lessons`."""
        return self._lessons if self._straight is None else tuple(_twin(lesson) for lesson in self._straight.lessons)

    def learn_from(self, lessons: Sequence[Template]) -> None:
        """Let detectors learn from these, and from their mirrored twins where planes are mirrored."""
        self._lessons = tuple(lessons)

    @cached_property
    def coarse(self) -> Tensor:
        """Pooled vectors of the templates at the working scale, (T, D)."""
        return torch.stack([self._coarse(template) for template in self.templates])

    def fine(self, stage: FineStage) -> Tensor:
        """Pooled vectors at the scale of one refinement step, (T, D)."""
        if stage not in self._fine:
            self._fine[stage] = torch.stack([self._crop_vector(template, stage) for template in self.templates])
        return self._fine[stage]

    def of(self, landmark: int) -> list[Template]:
        """Templates of the landmark with this index."""
        return [template for template in self.templates if template.landmark == self.landmarks[landmark]]

    def numbers(self, landmark: int) -> list[int]:
        """Places, among all templates, of those of a landmark."""
        return [k for k, template in enumerate(self.templates) if template.landmark == self.landmarks[landmark]]

    def combine(self, maps: Tensor, landmark: int) -> Tensor:
        """Similarity (...) with a landmark from that with all templates (..., T)."""
        return self.combined(maps[..., self.numbers(landmark)])

    def combined(self, maps: Tensor) -> Tensor:
        """Similarity (...) with a landmark from that with its own templates (..., T)."""
        return maps.amax(dim=-1) if self.params.combine == "max" else maps.mean(dim=-1)

    def click(self, landmark: int, plane: int) -> Position | None:
        """Where the user has marked the landmark on this very plane of the searched source."""
        for template in self.of(landmark):
            if template.source is self.source and template.plane == plane:
                return template.position
        return None

    def zoom(self, source: FeatureSource, plane: int, stage: FineStage) -> float:
        """Multiple of the working scale at which a plane is looked at."""
        if stage.zoom == 0:
            return source.model.header.config.fine_zoom
        return max(1.0, 1.0 / max(source.scale(plane))) if math.isinf(stage.zoom) else stage.zoom

    def rows(self, source: FeatureSource, plane: int) -> Tensor:
        """Comparable pooled vectors (N, D) of a template's plane, kept for the way back."""
        key = (id(source), plane)
        if key not in self._rows:
            index = source.indexed(plane, self.params.coarse_sigma, self.cancelled)
            self._rows[key] = comparable_rows(index.rows(plane), self.levels)
        return self._rows[key]

    def _coarse(self, template: Template) -> Tensor:
        embedding = template.source.plane(template.plane, self.cancelled)
        return _pool(embedding, template, self.params.coarse_sigma)

    def _crop_vector(self, template: Template, stage: FineStage) -> Tensor:
        zoom = self.zoom(template.source, template.plane, stage)
        crops = template.source.crops(template.plane, [template.position], stage.size, zoom, cancelled=self.cancelled)
        return _pool(crops[0], template, stage.sigma)


def _twin(template: Template) -> Template:
    """The template on its plane mirrored left-right."""
    row, column = template.position
    last = template.source.shape(template.plane)[1] - 1
    twin = template.source.mirrored(template.plane)
    return replace(template, source=twin, plane=0, position=(row, last - column), depth=None)


def _pool(embedding: Embedding, template: Template, sigma: float) -> Tensor:
    sigma = sigma / template.source.model.header.config.output_stride
    size = window_size(sigma)
    row, column = embedding.to_cell(template.position)
    # Only the window is read from the memory map.
    top, left = max(0, math.floor(row) - size), max(0, math.floor(column) - size)
    window = embedding.vectors[:, top : top + 2 * size + 1, left : left + 2 * size + 1]
    return pooled_vector(torch.from_numpy(np.array(window, np.float32)), (row - top, column - left), size, sigma)


def _check(source: FeatureSource, template: Template) -> None:
    rows, columns = template.source.shape(template.plane)
    row, column = template.position
    if not (-0.5 <= row < rows - 0.5 and -0.5 <= column < columns - 0.5):
        raise LandmarkError(
            f"landmark {template.landmark!r} at row {row:g}, column {column:g} lies outside its image of "
            f"{rows} x {columns} pixels: correct the position"
        )
    if template.source.model.sha256 != source.model.sha256:
        raise ConfigError(
            f"the template of {template.landmark!r} was embedded with {template.source.model.header.name!r}, the stack "
            f"with {source.model.header.name!r}: use one encoder for both"
        )
