"""Objectives of segmentation by shapes: drawn pictures, regions, and the student of a soft label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ld.model.encoder import Dense
from napari_ld.segmentation.shapes import SoftLabel
from src_train.data.shaped import ShapedBatch
from src_train.losses.region import cluster_entropy, region_contrast, region_vectors
from src_train.losses.unsure import sure_cross_entropy, sure_dice
from src_train.protocol import StepContext


def shaped(context: StepContext) -> ShapedBatch:
    """The batch of the task."""
    return cast(ShapedBatch, context.given)


@dataclass(frozen=True)
class FindDrawn:
    """Both outputs find what was drawn: soft Dice and cross-entropy, inside the field of view."""

    needs: frozenset[str] = frozenset({"drawn_outputs"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean of the two outputs over the global batch."""
        batch = shaped(context)
        truth = batch.masks[:, 0] * batch.inside[:, 0]
        losses = [_of_probabilities(output, truth) for output in context["drawn_outputs"]]
        return context.world.mean(torch.stack(losses).mean(), len(truth))


@dataclass(frozen=True)
class ShapeRegions:
    """Region discrimination of LD on the crops."""

    temperature: float = 0.2
    needs: frozenset[str] = frozenset({"real"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over regions and crops of the global batch."""
        dense: Dense = context["real"]
        assert dense.clusters is not None
        regions = region_vectors(dense.clusters * shaped(context).inside, dense.embedding)
        return region_contrast(context.world.gather(regions), self.temperature)[0]


@dataclass(frozen=True)
class ShapeEntropy:
    """Entropy of the clusters, see :func:`src_train.losses.region.cluster_entropy`."""

    needs: frozenset[str] = frozenset({"real"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over pixels, channels and the global batch, in bits."""
        dense: Dense = context["real"]
        assert dense.clusters is not None
        return context.world.mean(cluster_entropy(dense.clusters), len(dense.clusters))


@dataclass(frozen=True)
class LearnSoftLabel:
    """The student learns a teacher's soft label where it is sure."""

    label: str = "soft_label"
    needs: frozenset[str] = frozenset({"student", "soft_label"})

    def __call__(self, context: StepContext) -> Tensor:
        """Weighted cross-entropy and soft Dice, by the number of crops over the processes."""
        soft: SoftLabel = context[self.label]
        logits: Tensor = context["student"][:, 0]
        loss = sure_cross_entropy(logits, soft.label, soft.unsure) + sure_dice(logits, soft.label, soft.unsure)
        return context.world.mean(loss, len(logits))


def _of_probabilities(found: Tensor, truth: Tensor) -> Tensor:
    found = found.float().clamp(1e-6, 1 - 1e-6)
    dice = 1 - (2 * (found * truth).sum() + 1) / (found.sum() + truth.sum() + 1)
    return dice + F.binary_cross_entropy(found, truth)
