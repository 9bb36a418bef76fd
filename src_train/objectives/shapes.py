"""The game for a shape: the first cluster shall look like masks of another modality (LD; authors' code)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src_train.data.shapes import draw_shapes
from src_train.losses.adversarial import discriminate, fool
from src_train.protocol import Provider, StepContext


@dataclass(frozen=True)
class ShapeParams:
    """Settings of the shape prior; published values unless marked.

    Attributes
    ----------
    masks : tuple of str
        Files and folders of masks of another modality.
    weight : float
        Of the term that makes the first cluster look like them.
    rate : float
        Learning rate of the discriminator as a share of the network's.
    leaky_slope : float
        Of the discriminator; 0.2 [reconstruction], 1.0 in the authors' code.
    """

    masks: tuple[str, ...] = ()
    weight: float = 1.0
    rate: float = 0.05
    leaky_slope: float = 0.2


@dataclass(frozen=True)
class LookLikeShapes:
    """Cross-entropy of the first cluster's maps against "mask"; the discriminator is frozen meanwhile."""

    needs: frozenset[str] = frozenset({"shape_fakes"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over the views of the global batch; 0.693147 for an undecided discriminator."""
        fakes: Tensor = context["shape_fakes"]
        return context.world.mean(fool(context.networks["shape_discriminator"](fakes), "bce"), len(fakes))


@dataclass(frozen=True)
class TellShapes:
    """The discriminator's side, on masks and the (detached) maps of the same step."""

    needs: frozenset[str] = frozenset({"shape_fakes", "shape_masks"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean of both cross-entropies over the global batch."""
        network, masks = context.networks["shape_discriminator"], context["shape_masks"]
        loss = discriminate(network(masks), network(context["shape_fakes"].detach()), "bce")
        return context.world.mean(loss, len(masks))


def fakes_of_views(context: StepContext) -> Tensor:
    """Provider for LD on views with known geometry: the first cluster of both views, ``(2B, 1, h, w)``."""
    return torch.cat([clusters[:, :1] for clusters in context["passed"].clusters]).float()


def fakes_of_full_maps(context: StepContext) -> Tensor:
    """Provider for LD as published: the same at full resolution."""
    maps: Tensor = context["full_maps"].clusters[:, :1]
    return maps.float()


def masks_like(shapes: Sequence[Tensor]) -> Provider:
    """Provider of as many random masks as there are views, of their size."""

    def masks(context: StepContext) -> Tensor:
        count, size = len(context["shape_fakes"]), context["shape_fakes"].shape[-1]
        drawn = draw_shapes(shapes, count * context.world.size, size, context.generator("shapes"))
        return drawn[context.world.rank * count : (context.world.rank + 1) * count].to(context.device)

    return masks
