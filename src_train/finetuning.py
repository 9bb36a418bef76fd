"""Runs of tasks with labels: the same loop, folder and checkpoints as pre-training."""

from __future__ import annotations

from dataclasses import asdict, replace

import torch
from torch import nn

from napari_ld.model.checkpoint import load_head
from napari_ld.model.encoder import DenseEncoder
from napari_ld.model.heads import HeadConfig
from src_train.assembly import Work, low_precision, starting_point
from src_train.batches import Batches
from src_train.checkpoint import RunState, load_checkpoint, read_state
from src_train.data.crops import CropMaker
from src_train.data.labelled import split
from src_train.distributed import World, agree
from src_train.engine import Trainer
from src_train.exporting import HeadWriter
from src_train.folder import RunFolder
from src_train.protocol import Method
from src_train.schedules import Schedule
from src_train.task_config import TaskConfig
from src_train.tasks import TASKS


def finetuning(config: TaskConfig, folder: RunFolder, device: torch.device, world: World) -> tuple[Work, RunState]:
    """A task, at the state of the folder's checkpoint if there is one.

    Raises
    ------
    ConfigError, ImageError, ModelFileError
    """
    resumed = folder.checkpoint.is_file()
    state = read_state(folder.checkpoint) if resumed else None
    encoder, normalization = starting_point(config, state)
    task, params = TASKS[config.task], getattr(config, config.task)
    head = _head(config)
    data, classes = task.read(config.data, config.labels, head, normalization, params)
    head = replace(head, classes=classes)
    training, held = split(data, config.held_back, config.seed, first=config.validation.first)
    if state is None:
        state = RunState(_precision(encoder, config, world, device), asdict(encoder.config), asdict(normalization))
    schedule = _schedule(config, len(training))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # the head starts alike in all processes
        method = task.build(encoder, head, schedule, params)
    low = state.precision == "bfloat16"
    trainer = Trainer(method, schedule, seed=config.seed, device=device, low_precision=low, world=world)
    if resumed:
        state = load_checkpoint(folder.checkpoint, trainer)
    crops = CropMaker(config.crops, normalization.mean, normalization.std, device)
    path = folder.of_task(config.task)

    def chosen() -> tuple[nn.Module, int]:
        best = load_head(path, (task.kind,))
        return best.network.to(device), int(best.header.training["steps"])

    return Work(
        trainer,
        Batches(training, task.maker(crops, data, params), schedule.couples, config.seed, world),
        len(training),
        [name for _, name in classes],
        task.judge(held, head, normalization) if task.judge and held.planes and world.rank == 0 else None,
        HeadWriter(path, config, head, normalization, len(training), _untrained(method)),
        chosen,
        lambda network: {},
    ), state


def _untrained(method: Method) -> int:
    """Steps after which the head is no longer as it began; 0 when it is trained from the start."""
    before = 0
    for phase in method.phases:
        if any("head" in group.networks for group in phase.groups):
            break
        before += phase.steps
    return before + 1 if before else 0


def _head(config: TaskConfig) -> HeadConfig:
    """What the head is, but for its classes."""
    given = config.classification
    pooling = {"sharpness": given.sharpness, "background": given.background} if config.task == "classification" else {}
    tile = config.working_size if config.square else max(512, config.crops.size)
    return HeadConfig((), config.working_size, config.square, tile, **pooling)  # type: ignore[arg-type]  # of two types


def _schedule(config: TaskConfig, planes: int) -> Schedule:
    """The schedule, as long as the epochs say."""
    if not config.epochs:
        return config.schedule
    return replace(config.schedule, steps=config.epochs * max(1, round(planes / (2 * config.schedule.couples))))


def _precision(encoder: DenseEncoder, config: TaskConfig, world: World, device: torch.device) -> str:
    low = low_precision(encoder, config.precision, config.crops.size, device)
    return "bfloat16" if agree(low, world, device) else "float32"
