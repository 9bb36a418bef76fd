"""Agreement between the two images of a couple: smoothed mutual matches become targets [reconstruction]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ld.model.encoder import unit
from src_train.losses.mutual import mutual_matches
from src_train.losses.pixel import pixel_contrast
from src_train.objectives.dense import Passed
from src_train.protocol import StepContext


@dataclass(frozen=True)
class MutualAgreement:
    """Second views of each couple, at twice the output stride.

    Attributes
    ----------
    temperature : float
    least_agreement : float
        Couples whose mutual matches agree less than this share teach nothing.
    """

    temperature: float
    least_agreement: float
    needs: frozenset[str] = frozenset({"passed"})

    def __call__(self, context: StepContext) -> Tensor:
        """Sum over the couples that agree, divided by the number of all couples."""
        passed: Passed = context["passed"]
        maps = unit(F.avg_pool2d(passed.embedding[1], 2))
        inside = F.avg_pool2d(context.batch.inside_second[:, None].float(), 2)[:, 0] > 0.99
        losses = [maps.sum() * 0]
        for i in range(0, len(maps), 2):
            found = mutual_matches(maps[i], maps[i + 1], inside[i], inside[i + 1])
            if found.agreement >= self.least_agreement:
                queries = maps[i].flatten(1)[:, found.cells].T[None]
                ones = torch.ones(1, len(found.cells), device=maps.device)
                losses.append(
                    pixel_contrast(queries, maps[i + 1 : i + 2], found.target[None], ones, self.temperature, spread=1)
                )
        return context.world.mean(torch.stack(losses).sum() / (len(maps) / 2), len(maps))
