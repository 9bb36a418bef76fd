"""The four losses of Local Discrimination exactly as published: full-resolution maps, quarter turns undone by index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_ld.model.encoder import join_levels
from src_train.data.published import unturned
from src_train.losses.mixup import mixup_target
from src_train.losses.patch import patch_discrimination, patch_pool, patch_window
from src_train.losses.region import area_balance, cluster_entropy, region_contrast, region_vectors
from src_train.protocol import Provider, StepContext


@dataclass(frozen=True)
class FullMaps:
    """One pass over both views of B images and the B/2 mixed ones.

    Attributes
    ----------
    embedding : (2B, D, n, n) tensor
        Unit vectors: view 1 of all images, then view 2 of all, turned back.
    clusters : (2B, K, n, n) tensor
        In the same frame.
    mixed : (B/2, D, n, n) tensor
    share : (B/2,) tensor
        λ, the share of the first image of each couple.
    """

    embedding: Tensor
    clusters: Tensor
    mixed: Tensor
    share: Tensor


def full_maps(context: StepContext) -> FullMaps:
    """Provider: encode views and mixed images in one pass (5 images for each couple)."""
    batch = context.batch
    if batch.turns is None:
        raise ValueError("the batch has no quarter turns: the method must ask the view maker for 'turns'")
    count = len(batch.first)
    share = context.rand("mixup", count // 2) * 0.6 + 0.2
    weight = share[:, None, None, None]
    mixed = weight * batch.first[::2] + (1 - weight) * batch.first[1::2]
    levels, clusters = context.encoder.levels(torch.cat([batch.first, batch.second, mixed]))
    if clusters is None:
        raise ValueError("this encoder has no clustering head: the published LD needs one")
    joined = join_levels(levels)
    upright = [torch.cat([maps[:count], unturned(maps[count : 2 * count], batch.turns)]) for maps in (joined, clusters)]
    return FullMaps(upright[0], upright[1], joined[2 * count :], share)


@dataclass(frozen=True)
class PublishedPatches:
    """Patch discrimination of all cells of the global batch, blank ones included.

    Attributes
    ----------
    grid, temperature
        S and τ.
    center_pool : {"mean", "gauss"}
        Of the pixels of a cell.
    """

    grid: int
    temperature: float
    center_pool: str
    needs: frozenset[str] = frozenset({"full_maps"})

    def __call__(self, context: StepContext) -> Tensor:
        """Loss over N = 2 B S² vectors."""
        maps: FullMaps = context["full_maps"]
        patches = patch_pool(maps.embedding, self.grid, patch_window(maps.embedding, self.grid, self.center_pool))
        halves = [context.world.gather(half).flatten(0, 1) for half in patches.chunk(2)]
        return patch_discrimination(torch.cat(halves), self.temperature)


@dataclass(frozen=True)
class PublishedMixup:
    """Hypersphere mixup of the view-1 patches of each couple."""

    grid: int
    temperature: float
    center_pool: str
    needs: frozenset[str] = frozenset({"full_maps"})

    def __call__(self, context: StepContext) -> Tensor:
        """Loss over N = B S² vectors, half of them targets without gradient."""
        maps: FullMaps = context["full_maps"]
        window = patch_window(maps.mixed, self.grid, self.center_pool)
        first = patch_pool(maps.embedding[: len(maps.embedding) // 2], self.grid, window)
        target = mixup_target(first[::2], first[1::2], maps.share)
        mixed = patch_pool(maps.mixed, self.grid, window)
        rows = [context.world.gather(vectors).flatten(0, 1) for vectors in (mixed, target)]
        return patch_discrimination(torch.cat(rows), self.temperature)


@dataclass(frozen=True)
class PublishedRegions:
    """Region discrimination over all pixels of the views; mixed images take no part."""

    temperature: float
    needs: frozenset[str] = frozenset({"full_maps"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over views and regions."""
        maps: FullMaps = context["full_maps"]
        regions = context.world.gather(region_vectors(maps.clusters, maps.embedding))
        return region_contrast(regions, self.temperature)[0]


@dataclass(frozen=True)
class PublishedEntropy:
    """Binary entropy of the clusters of the views, in bits."""

    needs: frozenset[str] = frozenset({"full_maps"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over views, channels and pixels."""
        clusters: Tensor = context["full_maps"].clusters
        return context.world.mean(cluster_entropy(clusters), len(clusters))


@dataclass(frozen=True)
class PublishedBalance:
    """Equal areas of the channels [reconstruction]: not published, hence off in the preset ``paper``."""

    needs: frozenset[str] = frozenset({"areas"})

    def __call__(self, context: StepContext) -> Tensor:
        """In nats; 0 for equal areas."""
        return area_balance(context["areas"])


def _areas(context: StepContext) -> Tensor:
    clusters: Tensor = context["full_maps"].clusters
    return context.world.mean(clusters.mean((0, 2, 3)), len(clusters))


PUBLISHED: Mapping[str, Provider] = {"full_maps": full_maps, "areas": _areas}
