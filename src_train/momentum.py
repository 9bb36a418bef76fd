"""What remembers: a slowly moving twin of a network, a queue of keys that it made, and the areas of clusters.

All are modules, so that a checkpoint of the method holds them. Inside :func:`frozen` none changes: validation
must leave no trace.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from napari_ld.model.encoder import unit


class MomentumTwin(nn.Module):
    """A copy of a network that follows it: ``ξ <- m ξ + (1 - m) θ``, without gradient.

    Only weights follow; batch normalisation keeps statistics of the twin's own batches. Early in training ``m`` is
    smaller, ``(1 + t) / (10 + t)`` after t steps: a short run's twin would otherwise stay at random weights.

    Parameters
    ----------
    network : Module
        Copied; the copy does not change it.
    momentum : float
        m; 0.999 in MoCo-v2.
    """

    steps: Tensor

    def __init__(self, network: nn.Module, momentum: float = 0.999) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.momentum = momentum
        self.frozen = False
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, *arguments: Any) -> Any:
        """Call the twin without recording a graph."""
        return self.network(*arguments)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards ``network``; nothing happens inside :func:`frozen`."""
        if self.frozen:
            return
        count = int(self.steps)
        momentum = min(self.momentum, (1 + count) / (10 + count))
        for mine, theirs in zip(self.network.parameters(), network.parameters(), strict=True):
            mine.lerp_(theirs.detach(), 1 - momentum)
        self.steps += 1


class KeyQueue(nn.Module):
    """The last ``size`` keys, as unit vectors; random ones until it has been filled once.

    The queue wraps around, so its size need not be a multiple of the batch.

    Parameters
    ----------
    dim : int
        Length of a key.
    size : int
        Keys kept; more than there are images would hold other keys of the same image as negatives.
    seed : int
        Of the random keys at the start.
    """

    keys: Tensor
    cursor: Tensor

    def __init__(self, dim: int, size: int, seed: int = 0) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"queue of {size} keys: expected at least one")
        start = torch.randn(size, dim, generator=torch.Generator().manual_seed(seed))
        self.frozen = False
        self.register_buffer("keys", unit(start, -1))
        self.register_buffer("cursor", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Replace the oldest keys by ``(n, dim)`` new ones; nothing happens inside :func:`frozen`."""
        if self.frozen:
            return
        size = len(self.keys)
        keys = keys.detach()[-size:].to(self.keys.dtype)
        places = (int(self.cursor) + torch.arange(len(keys), device=self.keys.device)) % size
        self.keys[places] = keys
        self.cursor.fill_((int(self.cursor) + len(keys)) % size)


class RunningAreas(nn.Module):
    """Mean share of the image that each cluster covers, over recent steps: a channel that dies is seen while it does.

    Parameters
    ----------
    clusters : int
        K.
    decay : float
        Of the moving mean.
    """

    areas: Tensor

    def __init__(self, clusters: int, decay: float = 0.98) -> None:
        super().__init__()
        self.decay = decay
        self.frozen = False
        self.register_buffer("areas", torch.full((clusters,), 1 / clusters))

    @torch.no_grad()
    def update(self, areas: Tensor) -> None:
        """Move towards the areas (K,) of a step; nothing happens inside :func:`frozen`."""
        if not self.frozen:
            self.areas.lerp_(areas.to(self.areas.dtype), 1 - self.decay)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Keep every twin, queue and mean inside ``module`` as it is: for validation."""
    memories = [part for part in module.modules() if isinstance(part, MomentumTwin | KeyQueue | RunningAreas)]
    before = [part.frozen for part in memories]
    for part in memories:
        part.frozen = True
    try:
        yield
    finally:
        for part, state in zip(memories, before, strict=True):
            part.frozen = state
