"""One training run, new or resumed: from a configuration to a run folder that holds all it needs to be understood."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from napari_ld.errors import NapariLDError, StorageError, TrainingError
from napari_ld.storage import remove_unfinished
from src_train.assembly import Parts as Parts
from src_train.assembly import Work, pretraining
from src_train.assembly import assemble as assemble
from src_train.assembly import training_device as training_device
from src_train.checkpoint import RunState
from src_train.console import Console
from src_train.control import Control, deaf_to_signals
from src_train.distributed import World, process_group
from src_train.engine import is_memory_error, train
from src_train.events import EventLog
from src_train.finetuning import finetuning
from src_train.folder import RunFolder, environment
from src_train.lock import run_lock
from src_train.supervision import Supervisor
from src_train.task_config import RunConfig, TaskConfig


def run_training(config: RunConfig, out: Path, *, quiet: bool = False) -> Path:
    """Train as configured and return the path of the encoder written.

    A run that was stopped on request ends here too; :func:`resume_training` goes on with it.

    Raises
    ------
    ConfigError, ImageError, ModelFileError, StorageError, TrainingError
    """
    device = training_device(config.device)
    with process_group(device) as world:
        folder = RunFolder.create(out, config) if world.rank == 0 else RunFolder(out)
        return _train(folder, config, device, world, quiet)


def resume_training(run: Path, *, settings: list[str] | None = None, device: str = "", quiet: bool = False) -> Path:
    """Go on with a run that was stopped or killed; nothing but ``settings`` changes.

    The number of processes may differ from before. A finished run only writes its encoder again.

    Raises
    ------
    ConfigError, ImageError, ModelFileError, StorageError, TrainingError
    """
    folder = RunFolder.existing(run)
    config = folder.config(settings, **({"device": device} if device else {}))
    chosen = training_device(config.device)
    with process_group(chosen) as world:
        return _train(folder, config, chosen, world, quiet)


def _train(folder: RunFolder, config: RunConfig, device: torch.device, world: World, quiet: bool) -> Path:
    if world.rank > 0:
        with deaf_to_signals():
            return _session(folder, config, device, world, EventLog(None), None, quiet=True)
    with run_lock(folder.path):
        remove_unfinished(folder.path)
        folder.write_config(config)
        log = EventLog(folder.path)
        with Control(folder.path, log, alone=world.size == 1).watching() as control:
            try:
                return _session(folder, config, device, world, log, control, quiet)
            except NapariLDError as error:
                _tell_failure(log, error)
                raise
            except (MemoryError, RuntimeError) as error:
                if not is_memory_error(error):
                    raise
                full = TrainingError("out of memory: lower schedule.couples, views.size or longest_side, then resume")
                _tell_failure(log, full)
                raise full from error


def _tell_failure(log: EventLog, error: NapariLDError) -> None:
    try:
        log.write("failed", kind=type(error).__name__, reason=str(error))
    except StorageError:
        return  # the disk that is full for the checkpoint is full for the event; the exit code tells it too


def _session(
    folder: RunFolder,
    config: RunConfig,
    device: torch.device,
    world: World,
    log: EventLog,
    control: Control | None,
    quiet: bool,
) -> Path:
    began = time.perf_counter()
    resumed = folder.checkpoint.is_file()
    log.write("loading", resumed=resumed)
    work, state = _work(config, folder, device, world, quiet)
    trainer = work.trainer
    log.write(
        "resumed" if resumed else "started",
        step=trainer.step,
        steps=trainer.steps,
        phases=[{"name": phase.name, "steps": phase.steps} for phase in trainer.method.phases],
        planes=work.planes,
        groups=work.groups,
        device=str(device),
        precision=state.precision,
        processes=world.size,
        environment=environment(),
    )
    console = Console(trainer.step, trainer.steps, quiet)
    supervisor = Supervisor(trainer, config, state, folder, work.writer, log, control, console, work.judge, began=began)
    try:
        complete = supervisor.early or train(trainer, work.batches, supervisor, supervisor.on_full_memory)
    finally:
        console.close()
    if world.rank == 0 and (complete or supervisor.early):
        finish(supervisor, work, log)
    return work.writer.path


def _work(
    config: RunConfig, folder: RunFolder, device: torch.device, world: World, quiet: bool
) -> tuple[Work, RunState]:
    if isinstance(config, TaskConfig):
        return finetuning(config, folder, device, world)
    return pretraining(config, folder, device, world, quiet)


def finish(supervisor: Supervisor, work: Work, log: EventLog) -> None:
    """Write the chosen network; an encoder with its prototypes."""
    network: Any = work.trainer.result
    step = work.trainer.step
    if supervisor.config.evaluation.select != "last" and work.writer.path.is_file():
        network, step = work.chosen()
    measured = work.summary(network)
    supervisor.writer.write(network, step, supervisor.minutes(), **measured)
    reason = "no better for a while" if supervisor.early else "all steps done"
    log.write(
        "finished",
        step=work.trainer.step,
        chosen_step=step,
        minutes=round(supervisor.minutes(), 2),
        areas=measured.get("areas"),
        reason=reason,
    )


def set_threads(threads: int) -> None:
    """Use this many threads; 0 leaves torch's choice."""
    if threads > 0:
        torch.set_num_threads(threads)
