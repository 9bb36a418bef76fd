"""The run folder: what a run is made of on disk, so that it can be watched, stopped, resumed and understood.

``config.toml`` · ``environment.json`` · ``events.jsonl`` · ``control.json`` · ``lock`` · ``last.ckpt`` ·
``encoder.safetensors``, of a task ``segmenter.safetensors`` or ``classifier.safetensors``. Every file but the events
is replaced atomically; see docs/training.md.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

from napari_ld.errors import ConfigError, StorageError
from napari_ld.storage import atomic_write
from src_train.checkpoint import CHECKPOINT_FILE
from src_train.config import to_toml
from src_train.events import EVENTS_FILE
from src_train.lock import lock_holder
from src_train.task_config import RunConfig, load_run_config
from src_train.tasks import TASKS

CONFIG_FILE, ENVIRONMENT_FILE, ENCODER_FILE = "config.toml", "environment.json", "encoder.safetensors"


class RunFolder:
    """Paths and plain files of one run; make one with :meth:`create` or :meth:`existing`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoint(self) -> Path:
        """The training state."""
        return self.path / CHECKPOINT_FILE

    @property
    def encoder(self) -> Path:
        """The exported encoder."""
        return self.path / ENCODER_FILE

    def of_task(self, task: str) -> Path:
        """The exported model of a task."""
        return self.path / f"{TASKS[task].kind}.safetensors"

    @property
    def model(self) -> Path:
        """The model that the run has exported; the path of an encoder when it has not yet."""
        return next((path for path in map(self.of_task, TASKS) if path.exists()), self.encoder)

    @classmethod
    def create(cls, path: Path, config: RunConfig) -> RunFolder:
        """Make the folder of a new run.

        Raises
        ------
        ConfigError
            When it holds a run that has trained something, or that is being trained.
        StorageError
            When it cannot be made.
        """
        folder = cls(path)
        if folder.checkpoint.exists() or folder.model.exists() or lock_holder(path) is not None:
            raise ConfigError(f"{path}: already holds a training run; resume it, or choose another --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / EVENTS_FILE).unlink(missing_ok=True)  # of an attempt that failed before its first checkpoint
        except OSError as error:
            raise StorageError(
                f"{path}: the run folder cannot be made ({error.strerror}); choose another --out"
            ) from error
        folder.write_config(config)
        folder._write(ENVIRONMENT_FILE, json.dumps(environment(), indent=1))
        return folder

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """The folder of a run that was begun.

        Raises
        ------
        ConfigError
            When there is none.
        """
        if not (path / CONFIG_FILE).is_file():
            raise ConfigError(f"{path}: holds no training run ({CONFIG_FILE} is missing); give the folder of --out")
        return cls(path)

    def config(self, settings: list[str] | None = None, **given: Any) -> RunConfig:
        """The configuration of the run, with ``settings`` on top."""
        return load_run_config(self.path / CONFIG_FILE, settings, **given)

    def write_config(self, config: RunConfig) -> None:
        """Replace the configuration."""
        self._write(CONFIG_FILE, to_toml(config))

    def _write(self, name: str, text: str) -> None:
        with atomic_write(self.path / name, "w") as file:
            file.write(text)


def environment() -> dict[str, Any]:
    """Versions and machine, without names of people or paths."""
    packages = ("napari-ld", "torch", "numpy", "scikit-image")
    installed = {name: _version(name) for name in packages}
    return {"python": platform.python_version(), "system": platform.system(), "cores": os.cpu_count(), **installed}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
