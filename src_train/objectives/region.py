"""Region discrimination of LD (arXiv 2108.09440) and its companions, on cells that show the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from src_train.losses.region import area_balance, cluster_entropy, region_contrast, region_vectors
from src_train.momentum import RunningAreas
from src_train.objectives.dense import Passed
from src_train.protocol import StepContext


@dataclass(frozen=True)
class RegionDiscrimination:
    """Region k of every view is nearest to prototype k of the global batch."""

    temperature: float
    needs: frozenset[str] = frozenset({"passed"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over regions and views."""
        passed, batch, regions = context["passed"], context.batch, []
        shown = batch.inside_first, batch.inside_second
        for clusters, embedding, inside in zip(_clusters(passed), passed.embedding, shown, strict=True):
            regions.append(context.world.gather(region_vectors(clusters * inside[:, None], embedding)))
        return region_contrast(torch.cat(regions), self.temperature)[0]


@dataclass(frozen=True)
class ClusterEntropy:
    """Binary entropy of the clusters."""

    needs: frozenset[str] = frozenset({"shown_clusters"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over pixels and channels, in bits."""
        shown: Tensor = context["shown_clusters"]
        return context.world.mean(cluster_entropy(shown), shown.shape[2])


@dataclass(frozen=True)
class ClusterBalance:
    """Equal areas of the channels over the global batch: no channel dies [reconstruction]."""

    needs: frozenset[str] = frozenset({"areas"})

    def __call__(self, context: StepContext) -> Tensor:
        """In nats; 0 for equal areas."""
        return area_balance(context["areas"])


def areas(context: StepContext) -> Tensor:
    """Provider: mean share of each cluster over the cells of the global batch, (K,)."""
    shown: Tensor = context["shown_clusters"]
    return context.world.mean(shown.float().mean((0, 2, 3)), shown.shape[2])


def remember_areas(context: StepContext) -> None:
    """Hook: the running areas follow those of the step."""
    running = context.networks["areas"]
    if isinstance(running, RunningAreas):
        running.update(context["areas"])


def shown_clusters(context: StepContext) -> Tensor:
    """Provider: clusters of all cells of both views that show the image, ``(1, K, cells, 1)``."""
    inside = torch.cat([context.batch.inside_first, context.batch.inside_second])
    clusters = torch.cat(_clusters(context["passed"]))
    return clusters.permute(0, 2, 3, 1)[inside].T[None, :, :, None]


def _clusters(passed: Passed) -> tuple[Tensor, Tensor]:
    if passed.clusters is None:
        raise ValueError("this encoder has no clustering head: region losses need one")
    return passed.clusters
