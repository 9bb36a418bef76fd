"""Pixel contrast on the joined embedding and on every coarser level by itself [reconstruction]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_ld.model.encoder import unit
from src_train.data.geometry import sample
from src_train.losses.pixel import pixel_contrast
from src_train.objectives.dense import Passed, Queries
from src_train.protocol import StepContext


@dataclass(frozen=True)
class PixelContrast:
    """Points of view 1 find their partners among all cells of view 2."""

    temperature: float
    needs: frozenset[str] = frozenset({"passed", "queries"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over the points of the global batch."""
        passed: Passed = context["passed"]
        queries: Queries = context["queries"]
        first, second = passed.embedding
        stride = context.batch.first.shape[-1] // second.shape[-1]
        vectors = first.flatten(2).gather(2, queries.cells[:, None].expand(-1, first.shape[1], -1)).transpose(1, 2)
        goal = (queries.target - (stride - 1) / 2) / stride
        loss = pixel_contrast(vectors, second, goal, queries.weight, self.temperature)
        return context.world.mean(loss, queries.weight.sum())


@dataclass(frozen=True)
class LevelContrast:
    """The same on each level but the finest, so that coarse levels are not left to the fine ones."""

    temperature: float
    needs: frozenset[str] = frozenset({"passed", "queries"})

    def __call__(self, context: StepContext) -> Tensor:
        """Sum over the levels."""
        passed: Passed = context["passed"]
        queries: Queries = context["queries"]
        size, parts = context.batch.first.shape[-1], []
        for first, second in zip(passed.levels[0][1:], passed.levels[1][1:], strict=True):
            step = size // first.shape[-1]
            vectors = unit(sample(first.float(), queries.place[:, None], step)[:, :, 0]).transpose(1, 2)
            goal = (queries.target - (step - 1) / 2) / step
            parts.append(pixel_contrast(vectors, unit(second), goal, queries.weight, self.temperature))
        return context.world.mean(torch.stack(parts).sum(), queries.weight.sum())
