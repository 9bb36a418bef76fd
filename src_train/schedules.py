"""How long, how fast: the schedule of a run, and learning rates by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from napari_ld.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes
    ----------
    steps : int
        How often the weights are changed; time grows with it.
    couples : int
        Couples of images a step, over all processes; every image gives two views. Fewer need less memory.
    first_phase : float
        Share of the steps in phase 1 (no region losses).
    optimizer : str
        Rule by which the weights are changed, a name of ``OPTIMIZERS``.
    learning_rate : float
        How far a step goes at most; lower it when the loss is not finite.
    weight_decay : float
        Pull of the weights towards 0; biases and normalisation do not decay.
    rate : str
        How the learning rate goes, a name of :data:`RATES`; ``cosine`` rises over ``warmup`` steps and then falls to
        2 %.
    warmup : int
        Steps over which the learning rate rises from 0.
    halve_every : int
        Steps between two halvings of the rate ``halving``, counted from the start of the phase.
    average : float
        Decay of the moving average of the weights, which is what is exported; 0: the weights themselves.
    clip : float
        Largest norm of the gradient; 0: not limited.
    save_every : int
        Steps between two checkpoints.
    save_seconds : float
        Seconds after which a checkpoint is written even if ``save_every`` steps have not passed.
    export_seconds : float
        Seconds between two writings of the encoder alone, for whoever looks on; 0: with checkpoints and measurements
        only.
    minutes : float
        The run stops with a checkpoint after this time and can be resumed; 0: no limit.
    """

    steps: int = 3000
    couples: int = 4
    first_phase: float = 0.3
    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    rate: str = "cosine"
    warmup: int = 100
    halve_every: int = 10000
    average: float = 0.998
    clip: float = 5.0
    save_every: int = 200
    save_seconds: float = 300.0
    export_seconds: float = 0.0
    minutes: float = 0.0

    @property
    def first_phase_steps(self) -> int:
        """Steps of phase 1."""
        return min(self.steps, math.ceil(self.first_phase * self.steps))


@dataclass(frozen=True)
class Rate:
    """A learning rate over time, relative to its maximum.

    Attributes
    ----------
    kind : str
        A name of :data:`RATES`.
    warmup : int
        Steps of linear rise (``cosine``).
    floor : float
        Share that is left at the end (``cosine``).
    every : int
        Steps between two halvings (``halving``).
    span : {"run", "phase"}
        What the steps are counted in.
    """

    kind: str = "constant"
    warmup: int = 0
    floor: float = 0.0
    every: int = 1
    span: str = "run"

    def __call__(self, step: int, steps: int) -> float:
        """Factor at a step of ``steps``."""
        if self.kind not in RATES:
            raise ConfigError(f"unknown rate {self.kind!r}: choose one of {', '.join(RATES)}")
        return RATES[self.kind](self, step, steps)


def cosine(rate: Rate, step: int, steps: int) -> float:
    """Linear rise, then half a cosine down to the floor."""
    if step < rate.warmup:
        return (step + 1) / rate.warmup
    share = (step - rate.warmup) / max(1, steps - rate.warmup)
    return rate.floor + (1 - rate.floor) * 0.5 * (1 + math.cos(math.pi * share))


def halving(rate: Rate, step: int, steps: int) -> float:
    """Half after every ``every`` steps (LD, authors' code: every 10 epochs of 1000)."""
    return float(0.5 ** (step // rate.every))


def constant(rate: Rate, step: int, steps: int) -> float:
    """Always 1."""
    return 1.0


RATES: dict[str, Callable[[Rate, int, int], float]] = {"cosine": cosine, "halving": halving, "constant": constant}


def model_rate(schedule: Schedule) -> Rate:
    """The rate of the main optimiser that a schedule asks for."""
    if schedule.rate == "halving":
        return Rate("halving", every=schedule.halve_every, span="phase")
    return Rate(schedule.rate, warmup=schedule.warmup, floor=0.02)
