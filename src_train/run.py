"""One training run, new or resumed: from a configuration to a run folder that holds all it needs to be understood."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from napari_ld.embedding import choose_device
from napari_ld.errors import NapariLDError, StorageError, TrainingError
from napari_ld.model.checkpoint import load_model
from napari_ld.model.encoder import CONFIGURATIONS, DenseEncoder, EncoderConfig, build_encoder
from napari_ld.model.preprocessing import IntensityNormalization
from napari_ld.model.zoo import resolve
from napari_ld.storage import remove_unfinished
from src_train.assessment import Assessor
from src_train.batches import Batches
from src_train.checkpoint import RunState, load_checkpoint, read_state
from src_train.config import TrainConfig, method_tables
from src_train.console import Console
from src_train.control import Control, deaf_to_signals
from src_train.data.dataset import Dataset, load_dataset
from src_train.data.extras import ViewExtras
from src_train.data.published import view_maker
from src_train.data.views import ViewMaker
from src_train.distributed import World, agree, process_group
from src_train.engine import Trainer, is_memory_error, train
from src_train.events import EventLog
from src_train.exporting import EncoderWriter
from src_train.folder import RunFolder, environment
from src_train.lock import run_lock
from src_train.methods import build_method
from src_train.prototypes import cluster_summary
from src_train.supervision import Supervisor


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


def run_training(config: TrainConfig, out: Path, *, quiet: bool = False) -> Path:
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


def _train(folder: RunFolder, config: TrainConfig, device: torch.device, world: World, quiet: bool) -> Path:
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
    config: TrainConfig,
    device: torch.device,
    world: World,
    log: EventLog,
    control: Control | None,
    quiet: bool,
) -> Path:
    began = time.perf_counter()
    resumed = folder.checkpoint.is_file()
    log.write("loading", resumed=resumed)
    parts, state = assemble(config, device, world, folder.checkpoint if resumed else None, quiet)
    trainer = parts.trainer
    assessor = None
    if world.rank == 0 and config.evaluation.every > 0:
        assessor = Assessor(
            config.evaluation, parts.dataset, parts.maker, parts.normalization, config.data, config.seed
        )
    log.write(
        "resumed" if resumed else "started",
        step=trainer.step,
        steps=trainer.steps,
        phases=[{"name": phase.name, "steps": phase.steps} for phase in trainer.method.phases],
        planes=len(parts.dataset),
        groups=[group.name for group in parts.dataset.groups],
        device=str(device),
        precision=state.precision,
        processes=world.size,
        environment=environment(),
    )
    console = Console(trainer.step, trainer.steps, quiet)
    writer = EncoderWriter(folder.encoder, config, trainer.method, parts.dataset, parts.normalization)
    supervisor = Supervisor(trainer, config, state, folder, writer, log, control, console, assessor, began=began)
    try:
        complete = supervisor.early or train(trainer, parts.batches, supervisor, supervisor.on_full_memory)
    finally:
        console.close()
    if world.rank == 0 and (complete or supervisor.early):
        finish(supervisor, parts, folder, log)
    return folder.encoder


def finish(supervisor: Supervisor, parts: Parts, folder: RunFolder, log: EventLog) -> None:
    """Write the chosen encoder with its prototypes."""
    encoder, step = parts.trainer.averaged, parts.trainer.step
    config = supervisor.config
    if config.evaluation.select != "last" and folder.encoder.is_file():
        chosen = load_model(folder.encoder)
        encoder, step = chosen.encoder.to(parts.trainer.device), int(chosen.header.training["steps"])
    measured = cluster_summary(encoder, parts.dataset, parts.maker, config.seed)
    supervisor.writer.write(encoder, step, supervisor.minutes(), **measured)
    reason = "no better for a while" if supervisor.early else "all steps done"
    log.write(
        "finished",
        step=parts.trainer.step,
        chosen_step=step,
        minutes=round(supervisor.minutes(), 2),
        areas=measured.get("areas"),
        reason=reason,
    )


def assemble(
    config: TrainConfig, device: torch.device, world: World, checkpoint: Path | None, quiet: bool
) -> tuple[Parts, RunState]:
    """Data, network, method and optimisers as configured, at the state of a checkpoint if there is one."""
    state = None if checkpoint is None else read_state(checkpoint)
    encoder, normalization = _starting_point(config, state)
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
        precision = "bfloat16" if agree(low_precision(encoder, config, device), world, device) else "float32"
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
    )
    if checkpoint is not None:
        state = load_checkpoint(checkpoint, trainer)
    extras = ViewExtras(method.view_extras, config.corruption, config.superpixels)
    scale = normalization.mean, normalization.std
    batches = Batches(
        dataset, view_maker(config.views, *scale, device, extras), config.schedule.couples, config.seed, world
    )
    return Parts(trainer, batches, dataset, ViewMaker(config.views, *scale, device), normalization), state


def _starting_point(config: TrainConfig, state: RunState | None) -> tuple[DenseEncoder, IntensityNormalization]:
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
def low_precision(encoder: DenseEncoder, config: TrainConfig, device: torch.device) -> bool:
    """Whether networks run in bfloat16: as configured; ``auto`` times a forward pass both ways on a CPU."""
    if config.precision != "auto":
        return config.precision == "bfloat16"
    if device.type != "cpu":
        return choose_device(device.type).dtype == "bfloat16"
    encoder.eval()
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    images = torch.zeros(2, encoder.config.in_channels, config.views.size, config.views.size)
    best = {True: float("inf"), False: float("inf")}
    for _ in range(4):
        for low in best:
            began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                encoder.levels(images)
            best[low] = min(best[low], time.perf_counter() - began)
    return best[True] < best[False]


def set_threads(threads: int) -> None:
    """Use this many threads; 0 leaves torch's choice."""
    if threads > 0:
        torch.set_num_threads(threads)


def print_to_stderr(text: str) -> None:
    """Tell a person something that is no result."""
    import sys

    print(text, file=sys.stderr)
