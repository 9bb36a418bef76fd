"""Several processes, one batch: every loss is that of the global batch, whatever the number of processes.

Each process makes and encodes its share of the batch. What a loss needs of the other shares is gathered; every
process then computes *the same* global loss, and the gradient flows into its own share only. So the gradients of the
processes are added (not averaged) and equal those of one process with the whole batch, apart from batch
normalisation, whose statistics stay those of each process (GroupNorm has none).

A process whose memory is full cannot take part in the next exchange. So before each one all say whether they are well,
and the one that is not says so instead: all leave the step at the same place and can do it again with less.

One process needs no group: all functions then return their argument.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from napari_ld.errors import ConfigError


class PeerOutOfMemory(MemoryError):
    """Memory is full in another process of the run."""


@dataclass(frozen=True)
class World:
    """Which process this is, and of how many."""

    rank: int = 0
    size: int = 1

    def share(self, count: int) -> slice:
        """The rows of a global batch of ``count`` that are this process's.

        Raises
        ------
        ConfigError
            When the rows cannot be shared equally.
        """
        if count % self.size:
            raise ConfigError(
                f"{count} couples a step cannot be shared by {self.size} processes: "
                f"set schedule.couples to a multiple of {self.size}"
            )
        own = count // self.size
        return slice(self.rank * own, (self.rank + 1) * own)

    def gather(self, rows: Tensor) -> Tensor:
        """Rows of all processes in their order, ``(n, …)`` to ``(sum of n, …)``; gradient flows to the own rows."""
        return rows if self.size == 1 else _gather(rows, self)

    def total(self, value: Tensor) -> Tensor:
        """Sum over the processes; gradient flows to the own value."""
        if self.size == 1:
            return value
        total = value.detach().clone()
        _all_well(value.device)
        dist.all_reduce(total)
        return total + (value - value.detach())

    def mean(self, value: Tensor, weight: Tensor | float) -> Tensor:
        """Mean of ``value`` over the processes, weighted; the weight carries no gradient; 0 without any weight."""
        if self.size == 1:
            return value
        weight = torch.as_tensor(weight, dtype=torch.float32, device=value.device).detach()
        return self.total(value * weight) / self.total(weight).clamp_min(1e-12)


def _gather(rows: Tensor, world: World) -> Tensor:
    """Shares may differ in length: they are filled up to the longest, exchanged and cut again."""
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world.size)]
    _all_well(rows.device)
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    lengths = [int(count) for count in counts]
    filled = rows.detach().new_zeros(max(lengths), *rows.shape[1:])
    filled[: len(rows)] = rows.detach()
    shares = [torch.empty_like(filled) for _ in lengths]
    _all_well(rows.device)  # behind what takes memory
    dist.all_gather(shares, filled)
    parts = [share[:length] for share, length in zip(shares, lengths, strict=True)]
    parts[world.rank] = rows
    return torch.cat(parts)


def add_gradients(parameters: Iterable[nn.Parameter], world: World) -> None:
    """Add the gradients of all processes, in place.

    A parameter that got none anywhere keeps none, so that an optimiser leaves it alone as it does in one process.
    """
    if world.size == 1:
        return
    chosen = list(parameters)
    used = torch.tensor([p.grad is not None for p in chosen], dtype=torch.uint8, device=chosen[0].device)
    _all_well(used.device)
    dist.all_reduce(used, dist.ReduceOp.MAX)
    chosen = [p for p, any_gradient in zip(chosen, used.tolist(), strict=True) if any_gradient]
    if not chosen:
        return
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1).float() for p in chosen])
    _all_well(flat.device)
    dist.all_reduce(flat)
    start = 0
    for p in chosen:
        p.grad = torch.empty_like(p).copy_(flat[start : start + p.numel()].view(p.shape))
        start += p.numel()


def agree(value: bool, world: World, device: torch.device) -> bool:
    """Whether any process says yes."""
    if world.size == 1:
        return value
    _all_well(device)
    return _any(value, device)


def tell_full_memory(error: BaseException, world: World, device: torch.device) -> None:
    """Have the other processes raise :class:`PeerOutOfMemory`, unless the error is one of theirs."""
    if world.size > 1 and not isinstance(error, PeerOutOfMemory):
        _any(True, device)


def _all_well(device: torch.device) -> None:
    if _any(False, device):
        raise PeerOutOfMemory("out of memory in another process of this run")


def _any(value: bool, device: torch.device) -> bool:
    flag = torch.tensor([value], dtype=torch.uint8, device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag.item())


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """The processes that ``torchrun`` started (NCCL on CUDA, else Gloo), or this one alone.

    Raises
    ------
    ConfigError
        When this torch was built without distribution.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    if not dist.is_available():
        raise ConfigError("this torch cannot run several processes: start one, or install torch with distribution")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
