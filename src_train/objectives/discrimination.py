"""Instance discrimination as building blocks: what MoCo-v2, DenseCL, SimSiam and Barlow Twins add to an encoder.

DiRA stands on any of the first three, so they are here, below the methods. All are our re-implementations from the
equations, on the features that the encoder exports: where the published networks project the last map of a ResNet,
here the global averages of all levels are projected, so that no exported feature stays untrained [reconstruction].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_ld.model.encoder import DenseEncoder, unit
from src_train.losses.barlow import barlow_twins
from src_train.losses.dense import dense_contrast
from src_train.losses.queue import queue_contrast
from src_train.losses.simsiam import simsiam
from src_train.momentum import KeyQueue, MomentumTwin
from src_train.networks.projectors import DenseProjector, GlobalProjector, predictor
from src_train.protocol import Hook, Objective, Provider, StepContext


@dataclass(frozen=True)
class ContrastParams:
    """Constants of the discriminative methods; published values unless marked.

    Attributes
    ----------
    temperature : float
        τ of MoCo-v2 and DenseCL.
    momentum : float
        Of the twin.
    splits : int
        Random groups in which the twin encodes a batch, so that shared batch statistics do not give the positive
        away; in place of the shuffling over processes of the published code [reconstruction].
    queue : int
        Keys kept. MoCo-v2 keeps 65,536; no more than there are training images, or a queue holds other keys of the
        same image [reconstruction].
    hidden, dim : int
        Projector of MoCo-v2 and DenseCL.
    width : int
        Of the projectors of SimSiam and Barlow Twins (whose authors use 8192).
    bottleneck : int
        Of SimSiam's predictor.
    off_diagonal : float
        λ of Barlow Twins.
    dense_share : float
        λ of DenseCL, the weight of its dense term; the global one has 1 - λ.
    dense_stride : int
        Pixels per cell of the dense term. DenseCL's is 32; 16 gives small views cells enough [reconstruction].
    """

    temperature: float = 0.2
    momentum: float = 0.999
    splits: int = 2
    queue: int = 1024
    hidden: int = 2048
    dim: int = 128
    width: int = 2048
    bottleneck: int = 512
    off_diagonal: float = 0.0051
    dense_share: float = 0.5
    dense_stride: int = 16


@dataclass(frozen=True)
class Discrimination:
    """Parts of a method: see :class:`src_train.protocol.Method`; ``trained`` names the networks with gradient."""

    networks: Mapping[str, nn.Module]
    trained: tuple[str, ...]
    providers: Mapping[str, Provider]
    objectives: Mapping[str, Objective]
    terms: Mapping[str, float]
    after_step: tuple[Hook, ...] = ()


def drop_clusters(encoder: DenseEncoder) -> DenseEncoder:
    """Remove the clustering head, in place: a method that does not train it must not export it."""
    if encoder.config.clusters:
        encoder.config = replace(encoder.config, clusters=0)
        encoder.network.register_module("clustering", None)
    return encoder


def level_dims(encoder: DenseEncoder) -> tuple[int, ...]:
    """Channels of the levels of one octave."""
    config = encoder.config
    return config.level_dims[: len(config.level_dims) // config.octaves]


def joined_at(levels: list[Tensor], size: int) -> Tensor:
    """All levels on a grid of ``size`` x ``size`` cells, side by side, not normalised: ``(B, sum of d, size, size)``.

    Finer levels are averaged, coarser ones interpolated.
    """
    parts = []
    for level in levels:
        if level.shape[-1] >= size:
            parts.append(F.adaptive_avg_pool2d(level.float(), size))
        else:
            parts.append(F.interpolate(level.float(), size=(size, size), mode="bilinear", align_corners=False))
    return torch.cat(parts, 1)


@dataclass(frozen=True)
class QueueContrast:
    """MoCo-v2: the projection of view 1 finds the twin's projection of view 2 among earlier keys."""

    temperature: float
    needs: frozenset[str] = frozenset({"queries_global", "keys_global"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over the images of the global batch."""
        queries: Tensor = context["queries_global"]
        queue = context.networks["queue"].get_buffer("keys")
        loss = queue_contrast(queries, context["keys_global"], queue, self.temperature)
        return context.world.mean(loss, len(queries))


@dataclass(frozen=True)
class DenseContrast:
    """DenseCL: cells of view 1 find their most similar cells of view 2 among earlier pooled keys."""

    temperature: float
    stride: int
    needs: frozenset[str] = frozenset({"query_levels", "key_levels", "dense_keys"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over the cells of the global batch."""
        size = context.batch.first.shape[-1] // self.stride
        features = [joined_at(context[name], size) for name in ("query_levels", "key_levels")]
        queries = context.networks["dense_projector"](features[0])
        queue = context.networks["dense_queue"].get_buffer("keys")
        loss = dense_contrast(features[0], features[1], queries, context["dense_keys"], queue, self.temperature)
        return context.world.mean(loss, len(queries))


@dataclass(frozen=True)
class Similarity:
    """SimSiam: the prediction from each view points to the other's projection."""

    needs: frozenset[str] = frozenset({"projected"})

    def __call__(self, context: StepContext) -> Tensor:
        """Mean over the images of the global batch."""
        first, second = context["projected"]
        both = context.networks["predictor"](torch.cat([first, second]))
        loss = simsiam((both[: len(first)], both[len(first) :]), (first, second))
        return context.world.mean(loss, len(first))


@dataclass(frozen=True)
class Redundancy:
    """Barlow Twins: dimensions agree between the views of the global batch and are not redundant."""

    off_diagonal: float
    needs: frozenset[str] = frozenset({"projected"})

    def __call__(self, context: StepContext) -> Tensor:
        """Sum over the entries of the correlation matrix."""
        first, second = (context.world.gather(projected.float()) for projected in context["projected"])
        return barlow_twins(first, second, self.off_diagonal)


def moco(encoder: DenseEncoder, params: ContrastParams) -> Discrimination:
    """MoCo-v2 (He et al. 2020, Chen et al. 2020): momentum twin, queue, fully connected projector."""
    projector = GlobalProjector(level_dims(encoder), (params.hidden, params.dim), normalised=False)
    networks = {
        "projector": projector,
        "twin": MomentumTwin(nn.ModuleDict({"encoder": encoder, "projector": projector}), params.momentum),
        "queue": KeyQueue(params.dim, params.queue),
    }
    providers: dict[str, Provider] = {
        "query_levels": _query_levels,
        "key_levels": lambda context: _key_levels(context, params.splits),
        "queries_global": lambda context: unit(context.networks["projector"](context["query_levels"])),
        "keys_global": _keys_global,
    }
    objectives: dict[str, Objective] = {"instance": QueueContrast(params.temperature)}
    return Discrimination(networks, ("projector",), providers, objectives, {"instance": 1.0}, (_follow_and_remember,))


def densecl(encoder: DenseEncoder, params: ContrastParams) -> Discrimination:
    """DenseCL (Wang et al. 2021): MoCo-v2 with a dense branch."""
    base = moco(encoder, params)
    projector = DenseProjector(sum(level_dims(encoder)), params.hidden, params.dim)
    stride = params.dense_stride

    def dense_keys(context: StepContext) -> Tensor:
        maps = joined_at(context["key_levels"], context.batch.second.shape[-1] // stride)
        keys: Tensor = context.networks["dense_twin"](maps)
        return keys

    def remember(context: StepContext) -> None:
        pooled = unit(context["dense_keys"].mean((2, 3)))
        _queue(context, "dense_queue").push(context.world.gather(pooled))
        _twin(context, "dense_twin").update(context.networks["dense_projector"])

    return Discrimination(
        {
            **base.networks,
            "dense_projector": projector,
            "dense_twin": MomentumTwin(projector, params.momentum),
            "dense_queue": KeyQueue(params.dim, params.queue, seed=1),
        },
        (*base.trained, "dense_projector"),
        {**base.providers, "dense_keys": dense_keys},
        {**base.objectives, "dense": DenseContrast(params.temperature, stride)},
        {"instance": 1 - params.dense_share, "dense": params.dense_share},
        (*base.after_step, remember),
    )


def siamese(encoder: DenseEncoder, params: ContrastParams) -> Discrimination:
    """SimSiam (Chen and He 2021): projector with three layers, predictor, no negatives."""
    widths = (params.width,) * 3
    networks = {
        "projector": GlobalProjector(level_dims(encoder), widths, normalised=True, last_normalised=True),
        "predictor": predictor(params.width, params.bottleneck),
    }
    return Discrimination(
        networks, ("projector", "predictor"), _BOTH_VIEWS, {"instance": Similarity()}, {"instance": 1.0}
    )


def barlow(encoder: DenseEncoder, params: ContrastParams) -> Discrimination:
    """Barlow Twins (Zbontar et al. 2021): projector with three layers, correlation over the batch."""
    networks = {"projector": GlobalProjector(level_dims(encoder), (params.width,) * 3, normalised=True)}
    objectives: dict[str, Objective] = {"instance": Redundancy(params.off_diagonal)}
    return Discrimination(networks, ("projector",), _BOTH_VIEWS, objectives, {"instance": 1.0})


def _query_levels(context: StepContext) -> list[Tensor]:
    return context.encoder.levels(context.batch.first)[0]


@torch.no_grad()
def _key_levels(context: StepContext, splits: int) -> list[Tensor]:
    """The twin's levels of view 2, encoded in random groups of at least two images."""
    encoder = cast(DenseEncoder, _twin(context, "twin").network.get_submodule("encoder"))
    images = context.batch.second
    order = torch.randperm(len(images), generator=context.generator("splits")).to(images.device)
    groups = order.chunk(max(1, min(splits, len(images) // 2)))
    encoded = [encoder.levels(images[group])[0] for group in groups]
    back = order.argsort()
    return [torch.cat(parts)[back] for parts in zip(*encoded, strict=True)]


@torch.no_grad()
def _keys_global(context: StepContext) -> Tensor:
    projector = _twin(context, "twin").network.get_submodule("projector")
    return unit(projector(context["key_levels"]))


def _follow_and_remember(context: StepContext) -> None:
    _queue(context, "queue").push(context.world.gather(context["keys_global"]))
    online = nn.ModuleDict({"encoder": context.encoder, "projector": context.networks["projector"]})
    _twin(context, "twin").update(online)


def _both_levels(context: StepContext) -> tuple[list[Tensor], list[Tensor]]:
    count = len(context.batch.first)
    levels = context.encoder.levels(torch.cat([context.batch.first, context.batch.second]))[0]
    return [level[:count] for level in levels], [level[count:] for level in levels]


def _projected(context: StepContext) -> tuple[Tensor, Tensor]:
    first, second = context["both_levels"]
    both = context.networks["projector"]([torch.cat(pair) for pair in zip(first, second, strict=True)])
    return both[: len(context.batch.first)], both[len(context.batch.first) :]


def _twin(context: StepContext, name: str) -> MomentumTwin:
    return cast(MomentumTwin, context.networks[name])


def _queue(context: StepContext, name: str) -> KeyQueue:
    return cast(KeyQueue, context.networks[name])


_BOTH_VIEWS: Mapping[str, Provider] = {
    "both_levels": _both_levels,
    "query_levels": lambda context: context["both_levels"][0],
    "key_levels": lambda context: [level.detach() for level in context["both_levels"][1]],
    "projected": _projected,
}

BASES: dict[str, Callable[[DenseEncoder, ContrastParams], Discrimination]] = {
    "moco": moco,
    "simsiam": siamese,
    "barlow": barlow,
}
