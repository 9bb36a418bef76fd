"""Objectives of tasks with labels: overlap and cross-entropy of pixels, cross-entropy of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from src_train.data.crops import LabelledBatch
from src_train.protocol import StepContext


@dataclass(frozen=True)
class OfPixels:
    """A loss of ``(logits, target)`` on the pixels of the global batch.

    Attributes
    ----------
    loss : callable
        ``((B, outputs, H, W), (B, H, W)) -> scalar``.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    needs: frozenset[str] = frozenset({"logits"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over the processes, by the number of their images."""
        target = labelled(context).target
        return context.world.mean(self.loss(context["logits"], target), len(target))


@dataclass(frozen=True)
class OfImages:
    """Cross-entropy of the classes of images."""

    smoothing: float
    needs: frozenset[str] = frozenset({"logits"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over the global batch, in nats."""
        target = labelled(context).target
        loss = F.cross_entropy(context["logits"].float(), target, label_smoothing=self.smoothing)
        return context.world.mean(loss, len(target))


def labelled(context: StepContext) -> LabelledBatch:
    """The batch of a task."""
    return cast(LabelledBatch, context.given)


def maps(context: StepContext) -> list[Tensor]:
    """Provider: the encoder's maps of the batch.

    An encoder that the present phase does not train is in evaluation mode: its statistics stay as they are too.
    """
    encoder = context.encoder
    trained = any(parameter.requires_grad for parameter in encoder.parameters())
    encoder.train(trained)
    with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
        return encoder.maps(context.given.first)
