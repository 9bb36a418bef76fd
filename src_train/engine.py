"""The one training loop: draws couples, makes views in a thread ahead of the step, optimises, averages weights."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from napari_ld.errors import ConfigError
from napari_ld.model.encoder import DenseEncoder, unit
from src_train.data.dataset import Dataset
from src_train.data.views import ViewBatch, ViewMaker
from src_train.methods.ld import LocalDiscrimination


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes
    ----------
    steps : int
    couples : int
        Couples of images a step; every image gives two views.
    first_phase : float
        Share of the steps in phase 1 (no region losses).
    learning_rate, weight_decay : float
        AdamW; the rate rises over ``warmup`` steps and then falls as a cosine to 2 % of itself.
    average : float
        Decay of the moving average of the weights, which is what is exported.
    clip : float
        Largest norm of the gradient.
    save_every : int
        Steps between two writings of the encoder so far.
    """

    steps: int = 3000
    couples: int = 4
    first_phase: float = 0.3
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: int = 100
    average: float = 0.998
    clip: float = 5.0
    save_every: int = 200


@dataclass
class Progress:
    """What the loop reports after a step."""

    step: int
    phase: int
    loss: float
    terms: dict[str, float]
    images_per_second: float
    data_share: float


def train(
    encoder: DenseEncoder,
    dataset: Dataset,
    maker: ViewMaker,
    method: LocalDiscrimination,
    schedule: Schedule,
    *,
    seed: int = 0,
    low_precision: bool = True,
    on_step: Callable[[Progress, DenseEncoder], None] | None = None,
) -> DenseEncoder:
    """Train and return the averaged encoder, in evaluation mode.

    Parameters
    ----------
    encoder : DenseEncoder
        Trained in place.
    low_precision : bool
        bfloat16 for the network; the losses stay in float32.
    on_step : callable, optional
        Called with the progress and the averaged encoder after every step; may raise to stop.

    Raises
    ------
    ConfigError
        When the loss is no longer finite.
    """
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    encoder.train()
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    averaged = copy.deepcopy(encoder).eval()
    optimizer = torch.optim.AdamW(
        _parameter_groups(encoder, schedule.weight_decay), lr=schedule.learning_rate, fused=True
    )
    batches = _ahead(dataset, maker, schedule, rng)
    began = waited = 0.0
    for step in range(schedule.steps):
        began = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - began
        phase = 1 if step < schedule.first_phase * schedule.steps else 2
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * rate(step, schedule)
        with torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
            terms = method.terms(encoder, batch, phase, generator)
        loss = torch.stack(list(terms.values())).sum()
        _check_finite(loss, terms, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(encoder.parameters(), schedule.clip)
        optimizer.step()
        update_average(averaged, encoder, min(schedule.average, (1 + step) / (10 + step)))
        if on_step is not None:
            seconds = time.perf_counter() - began
            values = {name: float(value.detach()) for name, value in terms.items()}
            on_step(
                Progress(
                    step + 1, phase, float(loss.detach()), values, 2 * len(batch.first) / seconds, waited / seconds
                ),
                averaged,
            )
    return averaged


def rate(step: int, schedule: Schedule) -> float:
    """Learning rate of a step, relative to its maximum."""
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    share = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))


@torch.no_grad()
def update_average(averaged: nn.Module, current: nn.Module, decay: float) -> None:
    """Move the averaged weights and statistics towards the current ones."""
    for mean, value in zip(averaged.state_dict().values(), current.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value.detach(), 1 - decay)
        else:
            mean.copy_(value)


@torch.no_grad()
def prototypes_and_areas(
    encoder: DenseEncoder, dataset: Dataset, maker: ViewMaker, seed: int, batches: int = 40
) -> tuple[Tensor, Tensor]:
    """Cluster prototypes (K, D) and mean areas (K,) over views of the training set, in evaluation mode."""
    rng = np.random.default_rng(seed)
    regions, areas, weight = torch.zeros(()), torch.zeros(()), 0
    for _ in range(batches):
        batch = maker(dataset.draw_couples(4, rng), rng)
        dense = encoder(batch.second)
        if dense.clusters is None:
            raise ConfigError("this encoder has no clustering head: it has no prototypes")
        shown = dense.clusters.float() * batch.inside_second[:, None]
        regions = regions + unit(torch.einsum("nkhw,ndhw->nkd", shown, dense.embedding), -1).sum(0)
        areas = areas + shown.sum((0, 2, 3))
        weight += int(batch.inside_second.sum())
    return unit(regions, -1), areas / weight


def _ahead(dataset: Dataset, maker: ViewMaker, schedule: Schedule, rng: np.random.Generator) -> Iterator[ViewBatch]:
    """Make the next batch in a thread while the current one is used; the order of draws stays that of one thread."""

    def make() -> ViewBatch:
        return maker(dataset.draw_couples(schedule.couples, rng), rng)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(make)
        while True:
            batch = coming.result()
            coming = pool.submit(make)
            yield batch


def _parameter_groups(module: nn.Module, decay: float) -> list[dict[str, object]]:
    """No weight decay on biases and normalisation."""
    parameters = list(module.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _check_finite(loss: Tensor, terms: dict[str, Tensor], step: int) -> None:
    if not bool(torch.isfinite(loss)):
        bad = [name for name, value in terms.items() if not bool(torch.isfinite(value))]
        raise ConfigError(f"step {step}: the loss is not finite (terms: {', '.join(bad)}); lower the learning rate")
