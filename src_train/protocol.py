"""What a method is made of, so that one engine trains them all.

A :class:`Method` holds networks, says what a step computes from a batch (*providers*), which scalars that gives
(*objectives*) and how they are weighted and optimised over time (*phases* of *optimiser groups*). The engine asks only
for the terms of the current phase; a :class:`StepContext` computes each named value when it is first asked for, once.

Everything that a method remembers between steps (momentum twin, key queue, running statistics) is a parameter or
buffer of one of its networks: so it is saved, resumed and moved to a device with them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from napari_ld.errors import ConfigError
from napari_ld.model.encoder import DenseEncoder
from src_train.data.views import ViewBatch
from src_train.distributed import World
from src_train.schedules import Rate


class Batch(Protocol):
    """What a step is computed from: views without labels, or images with them."""

    @property
    def first(self) -> Tensor:
        """Model input, ``(B, 3, V, V)``."""
        ...

    @property
    def images(self) -> int:
        """How many images the networks see."""
        ...


Provider = Callable[["StepContext"], Any]
Hook = Callable[["StepContext"], None]


class Objective(Protocol):
    """One loss: a scalar from values of the context.

    The scalar is unweighted, float32 and *global*: equal on all processes. Use ``context.world.gather`` for vectors
    that are compared across the batch and ``context.world.mean`` for means over it.
    """

    @property
    def needs(self) -> frozenset[str]:
        """Names of the values that it asks the context for."""
        ...

    def __call__(self, context: StepContext) -> Tensor:
        """Compute the scalar."""
        ...


class StepContext:
    """One step: the batch, and everything computed from it by name, each once.

    Parameters
    ----------
    batch : Batch
        This process's share of the global batch, on the device.
    networks : mapping of str to module
        The method's.
    providers : mapping of str to Provider
        ``context[name]`` calls ``providers[name](context)`` and keeps the result for this step.
    seed, step : int
        All randomness of a step comes from these two, so that a resumed run goes on with the same numbers.
    world : World
    """

    def __init__(
        self,
        batch: Batch,
        networks: Mapping[str, nn.Module],
        providers: Mapping[str, Provider],
        *,
        seed: int = 0,
        step: int = 0,
        world: World | None = None,
    ) -> None:
        self.given = batch
        self.networks = networks
        self.seed = seed
        self.step = step
        self.world = world or World()
        self._providers = providers
        self._values: dict[str, Any] = {}

    @property
    def batch(self) -> ViewBatch:
        """The batch of a self-supervised method."""
        return cast(ViewBatch, self.given)

    @property
    def device(self) -> torch.device:
        """Where the batch is."""
        return self.given.first.device

    @property
    def encoder(self) -> DenseEncoder:
        """The network that is trained to be exported."""
        return cast(DenseEncoder, self.networks["encoder"])

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            if name not in self._providers:
                known = ", ".join(sorted(self._providers))
                raise ConfigError(f"no value {name!r} in this method: its providers give {known}")
            self._values[name] = self._providers[name](self)
        return self._values[name]

    def generator(self, name: str) -> torch.Generator:
        """A CPU generator that depends on seed, step and name only; equal on all processes."""
        entropy = [self.seed, self.step, zlib.crc32(name.encode())]
        (seed,) = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(seed) >> 1)

    def rand(self, name: str, rows: int, *shape: int) -> Tensor:
        """Uniform numbers for ``rows`` rows of this process, ``(rows, *shape)``, equal to those of one process.

        They are drawn for the global batch and cut, hence ``rows`` must be the same on all processes.
        """
        drawn = torch.rand(rows * self.world.size, *shape, generator=self.generator(name))
        return drawn[self.world.rank * rows : (self.world.rank + 1) * rows].to(self.device)


@dataclass(frozen=True)
class OptimizerParams:
    """An optimiser and its constants.

    Attributes
    ----------
    kind : str
        A name of ``OPTIMIZERS`` (engine): ``adamw``, ``adam`` or ``sgd``.
    learning_rate, weight_decay : float
        Biases and normalisation do not decay unless ``decay_all``.
    momentum : float
        Of ``sgd``.
    betas : pair of float
        Of ``adam`` and ``adamw``.
    """

    kind: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    decay_all: bool = False


@dataclass(frozen=True)
class OptimGroup:
    """Networks that one optimiser trains on a weighted sum of objectives.

    Attributes
    ----------
    name : str
        Optimisers of the same name go on over phases, unless the phase asks for fresh ones.
    networks : tuple of str
        Names of the method's networks whose parameters it trains; all others are frozen meanwhile.
    terms : mapping of str to float
        Objective to weight; an objective without weight is not computed. The weighted terms sum to the loss.
    optimizer : OptimizerParams
    rate : Rate
    clip : float
        Largest norm of the gradient; 0: not limited.
    slower : mapping of str to float
        Networks whose learning rate is this share of the optimiser's.
    """

    name: str
    networks: tuple[str, ...]
    terms: Mapping[str, float]
    optimizer: OptimizerParams = field(default_factory=OptimizerParams)
    rate: Rate = field(default_factory=Rate)
    clip: float = 0.0
    slower: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Phase:
    """A stretch of steps with the same groups, run one after the other in every step (generator, discriminator).

    Attributes
    ----------
    name : str
    steps : int
    groups : tuple of OptimGroup
    fresh_optimizers : bool
        Forget the optimisers' state at the start of the phase.
    """

    name: str
    steps: int
    groups: tuple[OptimGroup, ...]
    fresh_optimizers: bool = False


class Method(nn.Module):
    """A self-supervised method, or a task with labels: networks, providers, objectives, phases.

    Parameters
    ----------
    networks : mapping of str to module
        ``encoder`` (a :class:`DenseEncoder`) is what is averaged and exported unless ``exported`` says otherwise.
        Twins, queues, projectors and discriminators stand beside it.
    providers : mapping of str to Provider
    objectives : mapping of str to Objective
    phases : tuple of Phase
        Those without steps are dropped.
    after_step : tuple of Hook
        Called without gradient when all groups have stepped: move the twin, push the queue.
    view_extras : frozenset of str
        What the view maker adds to its batches, for example ``clean`` targets or ``labels``.
    exported : Module, optional
        What is averaged and exported, made of ``networks``.

    Raises
    ------
    ConfigError
        When a name is not known: an objective's need, a term, a network.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        providers: Mapping[str, Provider],
        objectives: Mapping[str, Objective],
        phases: tuple[Phase, ...],
        after_step: tuple[Hook, ...] = (),
        view_extras: frozenset[str] = frozenset(),
        exported: nn.Module | None = None,
    ) -> None:
        super().__init__()
        # In a tuple: as an attribute its weights would count twice.
        self._exported = (exported,)
        self.networks = nn.ModuleDict(dict(networks))
        self.providers = dict(providers)
        self.objectives = dict(objectives)
        self.phases = tuple(phase for phase in phases if phase.steps > 0)
        self.after_step = after_step
        self.view_extras = view_extras
        self._check()

    @property
    def encoder(self) -> DenseEncoder:
        """The encoder that is trained, or trained from."""
        return cast(DenseEncoder, self.networks["encoder"])

    @property
    def exported(self) -> nn.Module:
        """What is averaged and exported."""
        return self._exported[0] or self.encoder

    def context(self, batch: Batch, *, seed: int = 0, step: int = 0, world: World | None = None) -> StepContext:
        """The values of one step."""
        networks = dict(self.networks.items())
        return StepContext(batch, networks, self.providers, seed=seed, step=step, world=world)

    def terms(self, context: StepContext, group: OptimGroup) -> dict[str, Tensor]:
        """Weighted terms of a group; their sum is its loss."""
        return {name: weight * self.objectives[name](context) for name, weight in group.terms.items() if weight}

    def phase_at(self, step: int) -> tuple[int, int]:
        """Index of the phase of a step, and the number of steps before the phase."""
        before = 0
        for index, phase in enumerate(self.phases):
            if step < before + phase.steps:
                return index, before
            before += phase.steps
        raise ConfigError(f"step {step} lies beyond the {before} steps of the method's phases")

    def extended(
        self,
        *,
        networks: Mapping[str, nn.Module],
        providers: Mapping[str, Provider],
        objectives: Mapping[str, Objective],
        terms: Mapping[str, float],
        trained: tuple[str, ...] | None = None,
        after_step: tuple[Hook, ...] = (),
        view_extras: frozenset[str] = frozenset(),
    ) -> Method:
        """Return this method with an add-on: its networks and terms join the first group of every phase.

        ``trained`` names those of the added networks that the group trains (not twins); None: all.
        """
        added = tuple(networks) if trained is None else trained
        phases = []
        for phase in self.phases:
            first, *others = phase.groups
            joined = replace(first, networks=(*first.networks, *added), terms={**first.terms, **terms})
            phases.append(replace(phase, groups=(joined, *others)))
        return Method(
            {**dict(self.networks.items()), **networks},
            {**self.providers, **providers},
            {**self.objectives, **objectives},
            tuple(phases),
            (*self.after_step, *after_step),
            self.view_extras | view_extras,
        )

    def _check(self) -> None:
        problems = [] if "encoder" in self.networks else ["no network 'encoder'"]
        for name, objective in self.objectives.items():
            problems += [f"objective {name!r} needs {need!r}" for need in sorted(objective.needs - set(self.providers))]
        for phase in self.phases:
            for group in phase.groups:
                place = f"phase {phase.name!r}, group {group.name!r}"
                problems += [f"{place}: no objective {t!r}" for t in group.terms if t not in self.objectives]
                problems += [f"{place}: no network {n!r}" for n in group.networks if n not in self.networks]
        if problems:
            raise ConfigError(f"this method does not fit together: {'; '.join(problems)}")
