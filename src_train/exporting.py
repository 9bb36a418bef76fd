"""What a run gives: the averaged encoder as a model file, and its curves for TensorBoard."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import nn

from napari_ld.errors import ConfigError
from napari_ld.model.checkpoint import ModelHeader, read_header, save_model
from napari_ld.model.encoder import DenseEncoder
from napari_ld.model.heads import KINDS, HeadConfig
from napari_ld.model.preprocessing import IntensityNormalization
from napari_ld.storage import atomic_write
from src_train.config import TrainConfig
from src_train.data.dataset import Dataset
from src_train.events import read_events
from src_train.folder import RunFolder
from src_train.methods import parts_of
from src_train.protocol import Method
from src_train.task_config import TaskConfig
from src_train.tasks import TASKS


class EncoderWriter:
    """Writes the averaged encoder; during the run without prototypes, which need a pass over the data.

    Parameters
    ----------
    path : Path
    config : TrainConfig
    method : Method
    dataset : Dataset
    normalization : IntensityNormalization
    """

    first = 0  # steps after which there is something to be written

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

    def write(self, encoder: DenseEncoder, step: int, minutes: float, **measured: Any) -> None:
        """Replace the file; ``measured``: further fields of :class:`ModelHeader`."""
        config = self.config
        summary = {
            "method": config.method,
            "losses": self.terms,
            "steps": step,
            "views_per_step": 4 * config.schedule.couples,
            "minutes": round(minutes, 1),
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
            citation="; ".join([*(part.citation for part in parts_of(config.method)), "napari-ld"]),
            **measured,
        )
        save_model(self.path, encoder, header)


class HeadWriter:
    """Writes a segmenter or classifier.

    Parameters
    ----------
    path : Path
    config : TaskConfig
    head : HeadConfig
    normalization : IntensityNormalization
    planes : int
        Learned from.
    first : int
        Steps after which there is something to be written.
    """

    def __init__(
        self,
        path: Path,
        config: TaskConfig,
        head: HeadConfig,
        normalization: IntensityNormalization,
        planes: int,
        first: int = 0,
    ) -> None:
        self.path, self.config, self.head, self.normalization = path, config, head, normalization
        self.planes, self.first = planes, first

    def write(self, network: nn.Module, step: int, minutes: float) -> None:
        """Replace the file."""
        config = self.config
        summary = {
            "method": config.task,
            "steps": step,
            "minutes": round(minutes, 1),
            "planes": self.planes,
            "started_from": Path(config.init).name if config.init else "random weights",
            "seed": config.seed,
        }
        header = ModelHeader(
            kind=TASKS[config.task].kind,
            name=config.name,
            config=cast(DenseEncoder, network.encoder).config,
            normalization=self.normalization,
            training=summary,
            licence=config.licence,
            citation="napari-ld",
            head=self.head,
        )
        save_model(self.path, network, header)


def export_encoder(run: Path, output: Path) -> Path:
    """Copy the encoder of a run, or the model that a task gave, to a file of its own.

    Raises
    ------
    ConfigError
        When the run has written none yet.
    StorageError
        When the file cannot be written.
    """
    folder = RunFolder.existing(run)
    encoder = folder.model
    if not encoder.is_file():
        raise ConfigError(f"{run}: has not written an encoder yet; resume it first")
    read_header(encoder, ("encoder", *KINDS))
    with encoder.open("rb") as source, atomic_write(output, "wb") as target:
        shutil.copyfileobj(source, target)
    return output


def export_tensorboard(run: Path, output: Path) -> Path:
    """Write the curves of a run as TensorBoard events.

    Raises
    ------
    ConfigError
        When TensorBoard is not installed.
    """
    folder = RunFolder.existing(run)
    try:
        from torch.utils.tensorboard import SummaryWriter  # late: optional
    except ImportError as error:
        raise ConfigError("TensorBoard is not installed: pip install tensorboard, or read events.jsonl") from error
    with SummaryWriter(str(output)) as writer:
        for event in read_events(folder.path):
            for name, value in _scalars(event).items():
                writer.add_scalar(name, value, event["step"], event["time"])
    return output


def _scalars(event: Mapping[str, Any]) -> dict[str, float]:
    if event["event"] == "step":
        terms = {f"terms/{name}": value for name, value in event["terms"].items()}
        return {"loss": event["loss"], "images_per_second": event["images_per_second"], **terms}
    if event["event"] == "score":
        return {f"score/{name}": value for name, value in event["measured"].items()}
    return {}
