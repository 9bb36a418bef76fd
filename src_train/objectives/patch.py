"""Patch discrimination and hypersphere mixup of LD (arXiv 2108.09440), with the known geometry in place of undoing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from src_train.data.geometry import sample
from src_train.losses.mixup import mixup_target
from src_train.losses.patch import patch_discrimination, patch_pool, patch_window
from src_train.objectives.dense import Passed
from src_train.protocol import StepContext


@dataclass(frozen=True)
class PatchDiscrimination:
    """View 2 brought into the frame of view 1, patches of both compared; half-empty patches are left out."""

    grid: int
    temperature: float
    center_pool: str = "mean"
    needs: frozenset[str] = frozenset({"passed"})

    def __call__(self, context: StepContext) -> Tensor:
        """Loss over the patches of the global batch; 0 with fewer than two."""
        batch, passed = context.batch, context["passed"]
        # Halving the maps first costs a quarter and changes no patch mean of view 1.
        first, second = (F.avg_pool2d(view, 2) for view in passed.embedding)
        stride = batch.first.shape[-1] // first.shape[-1]
        partner = F.avg_pool2d(batch.partner.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        aligned = sample(second, partner, stride)
        overlap = F.avg_pool2d(batch.overlap[:, None].float(), 2)[:, 0]
        cell = overlap.shape[-1] // self.grid
        kept = F.avg_pool2d(overlap[:, None], cell).flatten(1) >= 0.5
        window = patch_window(first, self.grid, self.center_pool)
        if window is not None:
            overlap = overlap * window.repeat(self.grid, self.grid)
        vectors = [patch_pool(view, self.grid, overlap)[kept] for view in (first, aligned)]
        vectors = [context.world.gather(rows) for rows in vectors]
        if len(vectors[0]) < 2:
            return first.sum() * 0
        return patch_discrimination(torch.cat(vectors), self.temperature)


@dataclass(frozen=True)
class MixupConsistency:
    """Patches of the mixed image find the mixed patches."""

    grid: int
    temperature: float
    needs: frozenset[str] = frozenset({"passed"})

    def __call__(self, context: StepContext) -> Tensor:
        """Loss over the patches of the global batch."""
        passed: Passed = context["passed"]
        if passed.mixed is None or passed.share is None:
            return passed.embedding[0].sum() * 0
        patches = patch_pool(passed.embedding[0], self.grid)
        target = mixup_target(patches[::2], patches[1::2], passed.share)
        mixed = patch_pool(passed.mixed, self.grid)
        rows = [context.world.gather(vectors.flatten(0, 1)) for vectors in (mixed, target)]
        return patch_discrimination(torch.cat(rows), self.temperature)
