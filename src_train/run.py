"""One training run: from a configuration to a run folder that holds all it needs to be understood.

The folder is the protocol: ``config.toml``, ``environment.json``, ``events.jsonl`` (appended, one JSON object a
line, versioned) and ``encoder.safetensors``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

from napari_ld.errors import ConfigError, StorageError, TrainingError
from napari_ld.model.checkpoint import ModelHeader, load_model, save_model
from napari_ld.model.encoder import CONFIGURATIONS, DenseEncoder, EncoderConfig, build_encoder
from napari_ld.model.preprocessing import IntensityNormalization
from napari_ld.model.zoo import resolve
from napari_ld.storage import atomic_write
from src_train.batches import Batches
from src_train.config import TrainConfig, to_toml
from src_train.data.dataset import Dataset, load_dataset
from src_train.data.extras import ViewExtras
from src_train.data.views import ViewMaker
from src_train.engine import Progress, Trainer, train
from src_train.methods import build_method, parts_of
from src_train.protocol import Method
from src_train.prototypes import cluster_summary
from src_train.schedules import Schedule

EVENTS_VERSION = 1
_CITATION = "Chen et al., Unsupervised Local Discrimination for Medical Images, arXiv 2108.09440 (method); napari-ld"


class RunFolder:
    """Writes the run's files; an existing run is never overwritten.

    Raises
    ------
    ConfigError
        When the folder already holds a run.
    StorageError
        When it cannot be made.
    """

    def __init__(self, path: Path, config: TrainConfig) -> None:
        if (path / "config.toml").exists():
            raise ConfigError(f"{path}: already holds a training run; choose another --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{path}: the run folder cannot be made ({error.strerror}); choose another --out"
            ) from error
        self.path = path
        self._write("config.toml", to_toml(config))
        self._write("environment.json", json.dumps(environment(), indent=1))

    def _write(self, name: str, text: str) -> None:
        with atomic_write(self.path / name, "w") as file:
            file.write(text)

    def event(self, kind: str, **values: Any) -> None:
        """Append one event."""
        line = json.dumps({"version": EVENTS_VERSION, "time": round(time.time(), 3), "event": kind, **values})
        try:
            with (self.path / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise StorageError(f"{self.path}: cannot write events ({error.strerror}); free some space") from error


def environment() -> dict[str, Any]:
    """Versions and machine, without names of people or paths."""
    packages = ("napari-ld", "torch", "numpy", "scikit-image")
    installed = {name: _version(name) for name in packages}
    return {"python": platform.python_version(), "system": platform.system(), "cores": os.cpu_count(), **installed}


def run_training(config: TrainConfig, out: Path, *, quiet: bool = False) -> Path:
    """Train as configured and return the path of the encoder written.

    Raises
    ------
    ConfigError, ImageError, ModelFileError, StorageError
    """
    encoder, normalization = _starting_point(config)
    dataset = load_dataset(
        config.data,
        longest_side=config.longest_side,
        normalization=normalization,
        exclude=config.exclude,
        weights=config.data_weights or None,
    )
    folder = RunFolder(out, config)
    low = config.precision == "bfloat16" or (config.precision == "auto" and bfloat16_is_faster(encoder, config))
    groups = [group.name for group in dataset.groups]
    folder.event("started", planes=len(dataset), groups=groups, precision="bfloat16" if low else "float32")
    names = {name for part in parts_of(config.method) for name in part.tables}
    tables = {name: getattr(config, name) for name in names}
    method = build_method(config.method, encoder, config.schedule, tables)
    extras = ViewExtras(method.view_extras, config.corruption, config.superpixels)
    maker = ViewMaker(config.views, normalization.mean, normalization.std, extras=extras)
    trainer = Trainer(method, config.schedule, seed=config.seed, low_precision=low)
    writer = _Writer(out / "encoder.safetensors", config, method, dataset, normalization)
    reporter = _Reporter(folder, writer, config.schedule, quiet, trainer)
    averaged = trainer.averaged
    try:
        train(trainer, Batches(dataset, maker, config.schedule.couples, config.seed), reporter)
    except TrainingError as error:
        folder.event("failed", reason=str(error))
        raise
    measured = cluster_summary(averaged, dataset, maker, config.seed)
    writer.write(averaged, config.schedule.steps, **measured)
    folder.event("finished", minutes=writer.minutes(), areas=measured.get("areas"))
    return writer.path


class _Writer:
    """Writes the averaged encoder; during the run without prototypes, which need a pass over the data."""

    def __init__(
        self,
        path: Path,
        config: TrainConfig,
        method: Method,
        dataset: Dataset,
        normalization: IntensityNormalization,
    ) -> None:
        self.path, self.config, self.normalization = path, config, normalization
        self.terms = sorted({term for phase in method.phases for group in phase.groups for term in group.terms})
        self.groups = {group.name: len(group.planes) for group in dataset.groups}
        self.began = time.perf_counter()

    def minutes(self) -> float:
        return round((time.perf_counter() - self.began) / 60, 1)

    def write(self, encoder: DenseEncoder, step: int, **measured: Any) -> None:
        config = self.config
        summary = {
            "method": config.method,
            "losses": self.terms,
            "steps": step,
            "views_per_step": 4 * config.schedule.couples,
            "minutes": self.minutes(),
            "groups": self.groups,
            "excluded_images": len(config.exclude),
            "started_from": Path(config.init).name if config.init else "random weights",
            "seed": config.seed,
        }
        header = ModelHeader(
            kind="encoder",
            name=config.name,
            config=encoder.config,
            normalization=self.normalization,
            training=summary,
            licence=config.licence,
            citation=_CITATION,
            **measured,
        )
        save_model(self.path, encoder, header)


def _starting_point(config: TrainConfig) -> tuple[DenseEncoder, IntensityNormalization]:
    if config.init:
        model = load_model(resolve(config.init))
        return model.encoder, model.header.normalization
    wanted: EncoderConfig = CONFIGURATIONS[config.encoder]
    return build_encoder(wanted, config.seed), IntensityNormalization()


class _Reporter:
    """Console line, events and the encoder so far; the time left is measured, not assumed."""

    def __init__(self, folder: RunFolder, writer: _Writer, schedule: Schedule, quiet: bool, trainer: Trainer) -> None:
        self.trainer = trainer
        self.folder, self.writer, self.schedule, self.quiet = folder, writer, schedule, quiet
        self.began = time.perf_counter()
        self.every = max(1, min(25, schedule.steps // 10))

    def __call__(self, progress: Progress) -> bool:
        if progress.step % self.schedule.save_every == 0:
            self.writer.write(self.trainer.averaged, progress.step)
        if progress.step % self.every == 0 or progress.step == self.schedule.steps:
            self._tell(progress)
        return False

    def _tell(self, progress: Progress) -> None:
        steps = self.schedule.steps
        left = (time.perf_counter() - self.began) / progress.step * (steps - progress.step)
        terms = {name: round(value, 4) for name, value in progress.terms.items()}
        self.folder.event("step", step=progress.step, phase=progress.phase, loss=round(progress.loss, 4), terms=terms)
        if not self.quiet:
            print(
                f"step {progress.step}/{steps}  phase {progress.phase}  loss {progress.loss:.3f}  "
                f"{progress.images / progress.seconds:.1f} images/s  {left / 60:.1f} min left",
                file=sys.stderr,
            )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@torch.no_grad()
def bfloat16_is_faster(encoder: DenseEncoder, config: TrainConfig) -> bool:
    """Time a forward pass of a small batch both ways; the answer stands in the ``started`` event."""
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
