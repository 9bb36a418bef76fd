"""Restoring the clean view, and the game against a discriminator (DiRA, arXiv 2204.10437)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from src_train.losses.adversarial import discriminate, fool
from src_train.losses.restoration import restoration
from src_train.protocol import StepContext


@dataclass(frozen=True)
class Restoration:
    """Distance of the restored view 1 from its clean self, under the same geometry."""

    distance: str
    needs: frozenset[str] = frozenset({"restored", "clean"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over pixels and the global batch."""
        restored: Tensor = context["restored"]
        return context.world.mean(restoration(restored, context["clean"], self.distance), len(restored))


@dataclass(frozen=True)
class FoolDiscriminator:
    """The restorer's side of the game; the gradient goes through the discriminator, which is frozen meanwhile."""

    game: str
    needs: frozenset[str] = frozenset({"restored"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over patches and the global batch."""
        restored: Tensor = context["restored"]
        return context.world.mean(fool(context.networks["discriminator"](restored), self.game), len(restored))


@dataclass(frozen=True)
class TellApart:
    """The discriminator's side of the game, on the clean and the (detached) restored views of the step."""

    game: str
    needs: frozenset[str] = frozenset({"restored", "clean"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over patches and the global batch."""
        network, clean = context.networks["discriminator"], context["clean"]
        loss = discriminate(network(clean), network(context["restored"].detach()), self.game)
        return context.world.mean(loss, len(clean))


def restored(context: StepContext) -> Tensor:
    """Provider: view 1 as the decoder restores it from the levels of the discriminative pass, ``(B, 1, V, V)``."""
    image: Tensor = context.networks["restorer"](context["query_levels"])
    return image


def clean(context: StepContext) -> Tensor:
    """Provider: view 1 before intensity changes and corruption as one grey channel in [0, 1], ``(B, 1, V, V)``."""
    if context.batch.clean is None:
        raise ValueError("the batch has no clean views: the method must ask the view maker for 'clean'")
    grey: Tensor = context.batch.clean.mean(1, keepdim=True)
    return grey
