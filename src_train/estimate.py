"""What a run would be, without running it: its configuration, its size, and its time from a few timed steps."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import torch

from src_train.config import TrainConfig, to_toml
from src_train.distributed import World
from src_train.run import assemble, training_device

_TIMED_STEPS = 3


def describe(config: TrainConfig) -> Iterator[str]:
    """Lines for a person: TOML, parameter counts, seconds a step of each phase, and the whole.

    The first step of a phase is not timed. Nothing is written. Measurements and checkpoints during the run come on
    top; they take a few per cent.
    """
    yield to_toml(config)
    device = training_device(config.device)
    parts, state = assemble(config, device, World(), None, quiet=True)
    trainer = parts.trainer
    for name, network in trainer.method.networks.items():
        yield f"{name:14} {sum(p.numel() for p in network.parameters()):>12,} parameters"
    yield f"{len(parts.dataset)} planes; {device}, {state.precision}; {2 * config.schedule.couples} images a step"
    total = 0.0
    phases = trainer.method.phases
    for phase in phases:
        # A run of this phase alone, so that each is met at once.
        trainer.method.phases = (dataclasses.replace(phase, steps=1 + _TIMED_STEPS),)
        trainer.step = 0
        for step in range(1 + _TIMED_STEPS):
            if step == 1:
                began = _now(device)
            trainer.advance(parts.batches.at(step))
        seconds = (_now(device) - began) / _TIMED_STEPS
        total += seconds * phase.steps
        yield f"phase {phase.name:10} {phase.steps:>8,} steps of {seconds:.2f} s"
    trainer.method.phases = phases
    yield f"about {total / 60:.1f} minutes"


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
