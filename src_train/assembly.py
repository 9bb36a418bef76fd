"""What a run is assembled from: pre-training here, tasks with labels in :mod:`src_train.finetuning`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_ld.embedding import choose_device
from napari_ld.model.checkpoint import load_model
from napari_ld.model.encoder import CONFIGURATIONS, DenseEncoder, EncoderConfig, build_encoder
from napari_ld.model.preprocessing import IntensityNormalization
from napari_ld.model.zoo import resolve
from src_train.assessment import Assessor
from src_train.batches import Batches
from src_train.checkpoint import RunState, load_checkpoint, read_state
from src_train.config import TrainConfig, method_tables
from src_train.data.dataset import Dataset, load_dataset
from src_train.data.extras import ViewExtras
from src_train.data.published import view_maker
from src_train.data.views import ViewMaker
from src_train.distributed import World, agree
from src_train.engine import Trainer
from src_train.exporting import EncoderWriter, HeadWriter
from src_train.folder import RunFolder
from src_train.methods import build_method
from src_train.prototypes import cluster_summary
from src_train.supervision import Judge
from src_train.task_config import RunConfig


@dataclass(frozen=True)
class Work:
    """What a run of any kind does.

    Attributes
    ----------
    trainer : Trainer
    batches : Batches
    planes : int
        Learned from.
    groups : list of str
    judge : Judge or None
        In the first process, where something is to be measured.
    writer : EncoderWriter or HeadWriter
    chosen : callable
        The best network so far and its step, from its file.
    summary : callable
        What is measured of the network that is exported at last: fields of its header.
    """

    trainer: Trainer
    batches: Batches
    planes: int
    groups: list[str]
    judge: Judge | None
    writer: EncoderWriter | HeadWriter
    chosen: Callable[[], tuple[nn.Module, int]]
    summary: Callable[[Any], dict[str, Any]]


@dataclass(frozen=True)
class Parts:
    """What a run is assembled from.

    Attributes
    ----------
    trainer : Trainer
    batches : Batches
    dataset : Dataset
    maker : ViewMaker
        Of plain views, for measurements.
    normalization : IntensityNormalization
    """

    trainer: Trainer
    batches: Batches
    dataset: Dataset
    maker: ViewMaker
    normalization: IntensityNormalization


def pretraining(
    config: TrainConfig, folder: RunFolder, device: torch.device, world: World, quiet: bool
) -> tuple[Work, RunState]:
    """Training without labels, at the state of the folder's checkpoint if there is one."""
    checkpoint = folder.checkpoint if folder.checkpoint.is_file() else None
    parts, state = assemble(config, device, world, checkpoint, quiet)
    dataset, maker = parts.dataset, parts.maker
    judge = None
    if world.rank == 0 and config.evaluation.every > 0:
        judge = Assessor(config.evaluation, dataset, maker, parts.normalization, config.data, config.seed)

    def chosen() -> tuple[nn.Module, int]:
        model = load_model(folder.encoder)
        return model.encoder.to(device), int(model.header.training["steps"])

    return Work(
        parts.trainer,
        parts.batches,
        len(dataset),
        [group.name for group in dataset.groups],
        judge,
        EncoderWriter(folder.encoder, config, parts.trainer.method, dataset, parts.normalization),
        chosen,
        lambda encoder: cluster_summary(encoder, dataset, maker, config.seed),
    ), state


def assemble(
    config: TrainConfig, device: torch.device, world: World, checkpoint: Path | None, quiet: bool
) -> tuple[Parts, RunState]:
    """Data, network, method and optimisers as configured, at the state of a checkpoint if there is one."""
    state = None if checkpoint is None else read_state(checkpoint)
    encoder, normalization = starting_point(config, state)
    say: Callable[[str], None] = (lambda text: None) if quiet else print_to_stderr
    dataset = load_dataset(
        config.data,
        longest_side=config.longest_side,
        normalization=normalization,
        exclude=config.exclude,
        weights=config.data_weights or None,
        report=say,
    )
    if state is None:
        low = low_precision(encoder, config.precision, config.views.size, device)
        precision = "bfloat16" if agree(low, world, device) else "float32"
        state = RunState(precision, asdict(encoder.config), asdict(normalization))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # heads of the method start alike in all processes
        method = build_method(config.method, encoder, config.schedule, method_tables(config))
    trainer = Trainer(
        method,
        config.schedule,
        seed=config.seed,
        device=device,
        low_precision=state.precision == "bfloat16",
        world=world,
        kept=config.kept,
    )
    if checkpoint is not None:
        state = load_checkpoint(checkpoint, trainer)
    extras = ViewExtras(method.view_extras, config.corruption, config.superpixels)
    scale = normalization.mean, normalization.std
    batches = Batches(
        dataset, view_maker(config.views, *scale, device, extras), config.schedule.couples, config.seed, world
    )
    return Parts(trainer, batches, dataset, ViewMaker(config.views, *scale, device), normalization), state


def starting_point(config: RunConfig, state: RunState | None) -> tuple[DenseEncoder, IntensityNormalization]:
    """The encoder that a run begins with, and its normalisation; with a state only their shape counts."""
    if state is not None:
        shape = {**state.encoder, "level_dims": tuple(state.encoder["level_dims"])}
        return build_encoder(EncoderConfig(**shape), config.seed), IntensityNormalization(**state.normalization)
    if config.init:
        model = load_model(resolve(config.init))
        return model.encoder, model.header.normalization
    return build_encoder(
        replace(CONFIGURATIONS[config.encoder], norm=config.norm), config.seed
    ), IntensityNormalization()


def training_device(name: str) -> torch.device:
    """The device of this process; with several processes on one machine, each takes its own graphics card.

    ``auto`` takes CUDA or the CPU: Metal lacks operations that the views need, and is taken on request only.

    Raises
    ------
    ConfigError
        For an unknown or missing device.
    """
    kind, _, index = name.partition(":")
    chosen = choose_device(kind).name
    if kind == "auto" and chosen != "cuda":
        chosen = "cpu"
    if chosen == "cuda":
        device = torch.device("cuda", int(index or os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        return device
    return torch.device(chosen)


@torch.no_grad()
def low_precision(encoder: DenseEncoder, precision: str, size: int, device: torch.device) -> bool:
    """Whether networks run in bfloat16: as asked for; ``auto`` times images of ``size`` both ways on a CPU."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type != "cpu":
        return choose_device(device.type).dtype == "bfloat16"
    encoder.eval()
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    images = torch.zeros(2, encoder.config.in_channels, size, size)
    best = {True: float("inf"), False: float("inf")}
    for _ in range(4):
        for low in best:
            began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                encoder.levels(images)
            best[low] = min(best[low], time.perf_counter() - began)
    return best[True] < best[False]


def print_to_stderr(text: str) -> None:
    """Tell a person something that is no result."""
    import sys

    print(text, file=sys.stderr)
