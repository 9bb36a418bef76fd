"""What a run would be, without running it: its configuration, its size, and its time from a few timed steps."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from src_train.config import TrainConfig, to_toml
from src_train.distributed import World
from src_train.engine import Trainer
from src_train.run import Parts, assemble, training_device

_TIMED_STEPS = 3


@dataclass(frozen=True)
class PhaseTime:
    """Steps of a phase, and the seconds that one takes here."""

    name: str
    steps: int
    seconds: float


def describe(config: TrainConfig) -> Iterator[str]:
    """Lines for a person: TOML, parameter counts, seconds a step of each phase, and the whole.

    The first step of a phase is not timed. Nothing is written. Measurements and checkpoints during the run come on
    top; they take a few per cent.
    """
    yield to_toml(config)
    device = training_device(config.device)
    parts, state = assemble(config, device, World(), None, quiet=True)
    for name, network in parts.trainer.method.networks.items():
        yield f"{name:14} {sum(p.numel() for p in network.parameters()):>12,} parameters"
    yield f"{len(parts.dataset)} planes; {device}, {state.precision}; {2 * config.schedule.couples} images a step"
    total = 0.0
    for phase in _timed(parts, device):
        total += phase.seconds * phase.steps
        yield f"phase {phase.name:10} {phase.steps:>8,} steps of {phase.seconds:.2f} s"
    yield f"about {total / 60:.1f} minutes"


def estimate(config: TrainConfig) -> str:
    """The same for a program, as one line of JSON: ``phases`` (``name``, ``steps``, ``seconds`` a step), ``device``."""
    device = training_device(config.device)
    parts, _ = assemble(config, device, World(), None, quiet=True)
    phases = [dataclasses.asdict(phase) for phase in _timed(parts, device)]
    return json.dumps({"phases": phases, "device": str(device)})


def _timed(parts: Parts, device: torch.device) -> Iterator[PhaseTime]:
    """Time some steps of each phase, as a run of this phase alone, so that each is met at once."""
    trainer: Trainer = parts.trainer
    phases = trainer.method.phases
    for phase in phases:
        trainer.method.phases = (dataclasses.replace(phase, steps=1 + _TIMED_STEPS),)
        trainer.step = 0
        for step in range(1 + _TIMED_STEPS):
            if step == 1:
                began = _now(device)
            trainer.advance(parts.batches.at(step))
        yield PhaseTime(phase.name, phase.steps, (_now(device) - began) / _TIMED_STEPS)
    trainer.method.phases = phases


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
