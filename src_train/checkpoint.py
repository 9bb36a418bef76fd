"""The state of a training in one file: safetensors with JSON in its header, nothing pickled, replaced atomically.

No random state is kept, because there is none: batches, draws and dropout follow from seed and step.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from napari_ld.errors import ConfigError
from napari_ld.storage import atomic_write
from src_train.engine import Trainer
from src_train.optimizers import all_parameters, load_optimizer_tensors, optimizer_tensors

FORMAT_VERSION = 1
CHECKPOINT_FILE = "last.ckpt"
_HEADER_KEY = "napari_ld_training"


@dataclass
class RunState:
    """What a run knows besides its tensors.

    Attributes
    ----------
    precision : str
        Resolved once, so that a resumed run computes the same.
    encoder, normalization : dict
        To rebuild the network without the file that the run was started from.
    seconds : float
        Spent so far.
    best : float or None
        Best score so far; higher is better.
    since_best : int
        Evaluations since then.
    """

    precision: str
    encoder: dict[str, Any]
    normalization: dict[str, Any]
    seconds: float = 0.0
    best: float | None = None
    since_best: int = 0
    step: int = 0
    format_version: int = field(default=FORMAT_VERSION)


def save_checkpoint(path: Path, trainer: Trainer, state: RunState) -> None:
    """Write the whole state; the file before stays until the new one is complete.

    Raises
    ------
    StorageError
        When it cannot be written, for instance on a full disk.
    """
    state.step = trainer.step
    tensors = {f"method/{name}": tensor for name, tensor in trainer.method.state_dict().items()}
    tensors |= {f"averaged/{name}": tensor for name, tensor in trainer.averaged.state_dict().items()}
    if trainer.start is not None:
        tensors |= {f"start/{name}": tensor for name, tensor in trainer.start.state_dict().items()}
    parameters = all_parameters(trainer.method)
    for name, optimizer in trainer.optimizers.items():
        for key, tensor in optimizer_tensors(optimizer, parameters).items():
            tensors[f"optimizer/{name}/{key}"] = tensor
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    content = save(plain, metadata={_HEADER_KEY: json.dumps(asdict(state))})
    with atomic_write(path, "wb") as file:
        file.write(content)


def read_state(path: Path) -> RunState:
    """Read what a checkpoint says of itself.

    Raises
    ------
    ConfigError
        When the file is damaged, foreign or of a newer format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            document = json.loads((file.metadata() or {})[_HEADER_KEY])
        if document["format_version"] > FORMAT_VERSION:
            raise ConfigError(f"{path}: written by a newer version; update napari-ld")
        return RunState(**document)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a readable checkpoint ({error}); start the run anew") from error


def load_checkpoint(path: Path, trainer: Trainer) -> RunState:
    """Put a state back; the trainer then goes on as if it had never stopped.

    Raises
    ------
    ConfigError
        When the file cannot be read, or does not fit the method (another network or other objectives).
    """
    state = read_state(path)
    with safe_open(path, framework="pt") as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        _load(trainer.method, _under(tensors, "method/"))
        _load(trainer.averaged, _under(tensors, "averaged/"))
        start = _under(tensors, "start/")
        if trainer.start is not None and start:
            _load(trainer.start, start)
        else:
            trainer.start = None  # begun when nothing was kept: it ends as it was begun
        trainer.step = state.step
        trainer.remake_optimizers()
        for name, optimizer in trainer.optimizers.items():
            load_optimizer_tensors(optimizer, all_parameters(trainer.method), _under(tensors, f"optimizer/{name}/"))
    except (KeyError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(
            f"{path}: does not fit this configuration ({first}); method and encoder of a run cannot change"
        ) from error
    return state


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _load(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    with torch.no_grad():
        module.load_state_dict(tensors)
