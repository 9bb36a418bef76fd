"""The one training step and loop: phases, alternating optimisers, mixed precision, averaged weights."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_ld.errors import TrainingError
from src_train.batches import Batches
from src_train.distributed import World, add_gradients, agree, tell_full_memory
from src_train.optimizers import build_optimizer, cover, named_parameters
from src_train.protocol import Batch, Method, OptimGroup, Phase, StepContext
from src_train.schedules import Schedule


@dataclass(frozen=True)
class Progress:
    """What the loop reports after a step.

    Attributes
    ----------
    step : int
        Steps done.
    phase : str
    loss : float
        Sum of the terms of all groups.
    terms : mapping of str to float
        Weighted.
    seconds, waited : float
        Of the step, and of it for the batch.
    images : int
        Views, or labelled images, of this process.
    """

    step: int
    phase: str
    loss: float
    terms: Mapping[str, float]
    seconds: float
    waited: float
    images: int


class Trainer:
    """All that changes while a method is trained: its weights, their average, the optimisers, the step.

    Parameters
    ----------
    method : Method
        Moved to the device, in training mode.
    schedule : Schedule
    seed : int
    device : torch.device
    low_precision : bool
        Networks in bfloat16; losses are always float32.
    world : World
    kept : float
        Share of the weights that the method comes with in :attr:`result`.
    """

    def __init__(
        self,
        method: Method,
        schedule: Schedule,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        low_precision: bool = False,
        world: World | None = None,
        kept: float = 0.0,
    ) -> None:
        self.device = torch.device(device)
        self.method = method.to(self.device).train()
        self.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
        self.schedule = schedule
        self.seed = seed
        self.low_precision = low_precision
        self.world = world or World()
        # An encoder, or what a task makes of one.
        self.averaged: Any = copy.deepcopy(method.exported).eval().requires_grad_(False)
        self.kept = kept
        self.start: Any = copy.deepcopy(self.averaged) if kept else None
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.step = 0
        self._changing = False

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return sum(phase.steps for phase in self.method.phases)

    @property
    def result(self) -> Any:
        """What the training gives so far: the averaged weights, and of the first ones the share that is kept.

        Weights on the straight line between a network and what it became on other images are good at both (Wortsman et
        al., Robust fine-tuning of zero-shot models, CVPR 2022, arXiv 2109.01903).
        """
        if self.start is None:
            return self.averaged
        mixed = copy.deepcopy(self.averaged)
        average(mixed, self.start, 1 - self.kept)
        return mixed

    def phase(self) -> tuple[Phase, int]:
        """The phase of the next step (of the last one when all are done), and the steps before it."""
        index, before = self.method.phase_at(min(self.step, self.steps - 1))
        return self.method.phases[index], before

    def advance(self, batch: Batch) -> dict[str, float]:
        """Do one step; returns the weighted terms.

        Raises
        ------
        TrainingError
            When a loss or gradient is not finite; the weights are still those of the step before.
        """
        phase, before = self.phase()
        if self.step == before and phase.fresh_optimizers:
            self.optimizers.clear()
        # What a network draws for itself (dropout) follows from the step too.
        torch.manual_seed(int(np.random.SeedSequence([self.seed, self.step, self.world.rank]).generate_state(1)[0]))
        context = self.method.context(batch, seed=self.seed, step=self.step, world=self.world)
        self._changing = False
        terms: dict[str, float] = {}
        for group in phase.groups:
            terms |= self._advance_group(group, context, phase, before)
        with torch.no_grad():
            for hook in self.method.after_step:
                hook(context)
        average(self.averaged, self.method.exported, min(self.schedule.average, (1 + self.step) / (10 + self.step)))
        self.step += 1
        self._changing = False
        return terms

    def at_rest(self) -> bool:
        """Whether all processes stand before the same step, none in the middle of a change; one process always does."""
        if self.world.size == 1:
            return True
        steps = self.world.gather(torch.tensor([self.step], device=self.device))
        return not agree(self._changing or bool((steps != self.step).any()), self.world, self.device)

    def _advance_group(self, group: OptimGroup, context: StepContext, phase: Phase, before: int) -> dict[str, float]:
        parameters = self._train_only(group)
        optimizer = self.optimizer(group)
        at, of = (self.step - before, phase.steps) if group.rate.span == "phase" else (self.step, self.steps)
        for options in optimizer.param_groups:
            options["lr"] = group.optimizer.learning_rate * group.rate(at, of) * options["share"]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.low_precision):
            terms = self.method.terms(context, group)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        add_gradients(parameters.values(), self.world)
        norm = nn.utils.clip_grad_norm_(parameters.values(), group.clip or math.inf)
        *values, size = torch.stack([*(term.detach() for term in terms.values()), norm]).tolist()
        _check_finite(dict(zip(terms, values, strict=True)), size, self.step)
        self._changing = True
        optimizer.step()
        return dict(zip(terms, values, strict=True))

    def optimizer(self, group: OptimGroup) -> torch.optim.Optimizer:
        """The optimiser of a group, made when it is first needed."""
        parameters = named_parameters(self.method, group)
        if group.name not in self.optimizers:
            self.optimizers[group.name] = build_optimizer(parameters, group.optimizer, group.slower)
        cover(self.optimizers[group.name], parameters, group.optimizer, group.slower)
        return self.optimizers[group.name]

    def remake_optimizers(self) -> None:
        """Make the optimisers, without state, that the steps so far would have made."""
        self.optimizers.clear()
        for phase in self.method.phases[: self.method.phase_at(min(self.step, self.steps - 1))[0] + 1]:
            if phase.fresh_optimizers:
                self.optimizers.clear()
            for group in phase.groups:
                self.optimizer(group)

    def _train_only(self, group: OptimGroup) -> dict[str, nn.Parameter]:
        """Freeze all parameters but those of the group; returns these."""
        for name, network in self.method.networks.items():
            network.requires_grad_(name in group.networks)
        return named_parameters(self.method, group)


def train(
    trainer: Trainer,
    batches: Batches,
    on_step: Callable[[Progress], bool] | None = None,
    on_full_memory: Callable[[int, int], None] | None = None,
) -> bool:
    """Go on to the last step, or until ``on_step`` returns True; returns whether all steps are done.

    A step that does not fit into memory, of any process, is done again with half as many couples, and so are those
    after it, once ``on_full_memory(before, now)`` was told. The error is passed on when each process has one couple, or
    when memory became full while the weights were changed, so that those of several processes may differ.

    Raises
    ------
    TrainingError
        See :meth:`Trainer.advance`.
    MemoryError, torch.cuda.OutOfMemoryError, RuntimeError
        When even the smallest batch does not fit.
    """
    while True:
        try:
            return _train(trainer, batches, on_step)
        except (MemoryError, RuntimeError) as error:
            if not is_memory_error(error):
                raise
            tell_full_memory(error, trainer.world, trainer.device)
            smaller = batches.halved()
            if on_full_memory is None or smaller.couples == batches.couples or not trainer.at_rest():
                raise
        # Here, not above: while an error is handled its traceback holds what shall be freed.
        before, batches = batches.couples, smaller
        for optimizer in trainer.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        if trainer.device.type == "cuda":
            torch.cuda.empty_cache()
        on_full_memory(before, batches.couples)


def is_memory_error(error: BaseException) -> bool:
    """Whether an error says that memory is full; of a CPU torch tells it in words only."""
    full = MemoryError, torch.cuda.OutOfMemoryError
    return isinstance(error, full) or "can't allocate memory" in str(error) or "out of memory" in str(error)


def _train(trainer: Trainer, batches: Batches, on_step: Callable[[Progress], bool] | None) -> bool:
    # Closed here whatever happens: one left to the collector may be collected in the very thread that it waits for.
    with contextlib.closing(batches.ahead(trainer.step, trainer.steps)) as coming:
        while trainer.step < trainer.steps:
            began = time.perf_counter()
            batch = next(coming)
            waited = time.perf_counter() - began
            phase = trainer.phase()[0].name
            terms = trainer.advance(batch)
            if on_step is not None:
                seconds = time.perf_counter() - began
                loss = math.fsum(terms.values())
                if on_step(Progress(trainer.step, phase, loss, terms, seconds, waited, batch.images)):
                    break
    return trainer.step == trainer.steps


@torch.no_grad()
def average(averaged: nn.Module, current: nn.Module, decay: float) -> None:
    """Move the averaged weights and statistics towards the current ones."""
    for mean, value in zip(averaged.state_dict().values(), current.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value.detach(), 1 - decay)
        else:
            mean.copy_(value)


def _check_finite(terms: Mapping[str, float], norm: float, step: int) -> None:
    bad = [name for name, value in terms.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(f"step {step}: the loss is not finite (terms: {', '.join(bad)}); lower the learning rate")
    if not math.isfinite(norm):
        raise TrainingError(f"step {step}: the gradient is not finite; lower the learning rate or use float32")
