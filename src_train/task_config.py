"""Frozen, typed configuration of a task with labels, from a preset, a TOML file and ``key=value`` settings."""

from __future__ import annotations

import operator
import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_ld.errors import ConfigError
from napari_ld.model.backbones.fast import NORMS
from napari_ld.model.encoder import CONFIGURATIONS
from napari_ld.segmentation.shapes import VIEWS
from src_train.config import TrainConfig, combined, from_settings, load_config, read_toml
from src_train.data.crops import CropParams
from src_train.data.drawn import CONTRASTS
from src_train.optimizers import OPTIMIZERS
from src_train.schedules import RATES, Schedule
from src_train.tasks import TASKS
from src_train.tasks.classification import ClassificationParams
from src_train.tasks.segmentation import SegmentationParams
from src_train.tasks.shapes import ShapeTaskParams


@dataclass(frozen=True)
class Validation:
    """What is held back, and what it decides.

    Attributes
    ----------
    share : float
        Of the labelled images, one at least; 0: nothing is held back and nothing measured.
    first : bool
        Hold the first images by name back instead of random ones.
    every : int
        Steps between two measurements.
    select : {"best", "last"}
        Which model is exported.
    patience : int
        Stop after so many measurements without a better one; 0: never.
    """

    share: float = 0.2
    first: bool = False
    every: int = 25
    select: str = "best"
    patience: int = 0


@dataclass(frozen=True)
class TaskConfig:
    """All that a run of a task depends on, apart from the pixels.

    Attributes
    ----------
    task : str
        A name of ``TASKS``.
    encoder, norm : str
        Of a network with random weights: a name of ``CONFIGURATIONS`` and its normalisation.
    name, licence : str
        Written into the header of the model.
    data : tuple of str
        Files and folders of images; volumes count slice by slice.
    labels : tuple of str
        Files and folders of label maps, or one table of classes.
    init : str
        Encoder to start from; empty: random weights.
    working_size : int
        Longest side, in pixels, at which the model sees a plane.
    square : bool
        Planes are squeezed to ``working_size`` x ``working_size`` pixels.
    epochs : int
        How often all training planes are seen; 0: as ``schedule.steps`` says.
    seed : int
    precision, device : str
        As of :class:`src_train.config.TrainConfig`.
    """

    task: str = "segmentation"
    encoder: str = "fast"
    norm: str = "batch"
    name: str = "my-model"
    licence: str = "not stated"
    data: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    init: str = ""
    working_size: int = 512
    square: bool = False
    epochs: int = 0
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    schedule: Schedule = field(default_factory=Schedule)
    crops: CropParams = field(default_factory=CropParams)
    validation: Validation = field(default_factory=Validation)
    segmentation: SegmentationParams = field(default_factory=SegmentationParams)
    classification: ClassificationParams = field(default_factory=ClassificationParams)
    shapes: ShapeTaskParams = field(default_factory=ShapeTaskParams)

    @property
    def held_back(self) -> float:
        """Share of the images that is held back: none without labels to measure by."""
        return self.validation.share if TASKS[self.task].judge else 0.0

    @property
    def evaluation(self) -> Validation:
        """What is measured on the way; nothing when nothing is held back."""
        given = self.validation
        return given if self.held_back > 0 else replace(given, every=0, select="last", patience=0)


RunConfig = TrainConfig | TaskConfig

_COMMON: dict[str, Any] = {
    "schedule": {
        "steps": 400,
        "couples": 2,
        "first_phase": 0.25,
        "learning_rate": 2e-3,
        "warmup": 20,
        "average": 0.98,
        "save_every": 100,
        "save_seconds": 60.0,
    },
}
TASK_PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"schedule": {"steps": 120, "warmup": 10}},  # a minute or two on two idle cores
    "standard": {},
    "thorough": {"schedule": {"steps": 3000}, "validation": {"every": 100}},
    # Transfer protocol of LD (authors' code): its encoder and a new decoder, planes squeezed to 512 x 512, batches of
    # two, Adam 1e-3, 100 epochs with a frozen encoder and 100 with both, the first 20 % for validation, the best by
    # that. Not taken over: the crop to the field of view; phase 2 goes on from the last weights, not from the best;
    # the validation measures Dice, not the loss.
    "ld-protocol": {
        "encoder": "ld-paper",
        "precision": "float32",
        "working_size": 512,
        "square": True,
        "epochs": 200,
        "schedule": {
            "couples": 1,
            "first_phase": 0.5,
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "rate": "constant",
            "warmup": 0,
            "average": 0.0,
            "clip": 0.0,
            "save_every": 200,
        },
        "crops": {
            "size": 512,
            "whole": True,
            "rotation": 180.0,
            "scale": 0.0,
            "mirror": 0.5,
            "upside_down": 0.5,
            "intensity": 0.0,
        },
        "validation": {"first": True},
        "segmentation": {"dice": 0.0, "cross_entropy": 0.0, "published": 1.0, "encoder_rate": 1.0},
    },
}

# On top of a preset, by task: without labels more steps are needed, and structures lie in all directions.
_OF_TASK: dict[str, dict[str, dict[str, Any]]] = {
    "shapes": {
        name: {
            "schedule": {"steps": steps, "first_phase": 0.4, "learning_rate": 2e-3},
            "crops": {"rotation": 180.0, "scale": 0.25, "on_labels": 0.5},
        }
        for name, steps in (("quick", 300), ("standard", 1200), ("thorough", 6000))
    }
}

_CHOICES: dict[str, Collection[str]] = {
    "task": TASKS,
    "encoder": CONFIGURATIONS,
    "norm": NORMS,
    "precision": ("auto", "float32", "bfloat16"),
    "schedule.optimizer": OPTIMIZERS,
    "schedule.rate": RATES,
    "validation.select": ("best", "last"),
    "shapes.contrast": CONTRASTS,
}


def load_task_config(
    preset: str = "standard", file: Path | None = None, settings: list[str] | None = None, **given: Any
) -> TaskConfig:
    """Combine preset, TOML file, ``key=value`` settings and keyword arguments; later ones win.

    Raises
    ------
    ConfigError
        Naming all that is wrong at once.
    """
    if preset not in TASK_PRESETS:
        raise ConfigError(f"unknown preset {preset!r}: choose one of {', '.join(TASK_PRESETS)}")
    own = read_toml(file), from_settings(settings or []), given
    task = next((layer["task"] for layer in reversed(own) if "task" in layer), "")
    if task == "shapes" and preset == "ld-protocol":
        raise ConfigError("the preset 'ld-protocol' needs labels: choose quick, standard or thorough for shapes")
    of_task = _OF_TASK.get(str(task), {}).get(preset, {})
    return combined(TaskConfig, (_COMMON, TASK_PRESETS[preset], of_task, *own), _check)


def load_run_config(file: Path, settings: list[str] | None = None, **given: Any) -> RunConfig:
    """The configuration of a run of either kind, with ``settings`` on top."""
    load = load_task_config if "task" in read_toml(file) else load_config
    return load("standard", file, settings, **given)


def _check(config: TaskConfig) -> list[str]:
    problems = []
    for key, known in _CHOICES.items():
        value = operator.attrgetter(key)(config)
        if value not in known:
            problems.append(f"{key} = {value!r}: choose one of {', '.join(known)}")
    if not config.data:
        problems.append("no images: give files or folders with --images")
    schedule, crops, validation = config.schedule, config.crops, config.validation
    if crops.size < 32 or crops.size % 32:
        problems.append(f"crops.size = {crops.size}: must be divisible by 32")
    if not 32 <= config.working_size <= 8192:
        problems.append(f"working_size = {config.working_size}: expected 32 to 8192")
    if crops.whole and not (config.square and crops.size == config.working_size):
        problems.append("crops.whole needs square=true and crops.size equal to working_size")
    if min(schedule.steps, schedule.couples, schedule.save_every, schedule.halve_every) < 1 or config.epochs < 0:
        problems.append("schedule.steps, couples, save_every and halve_every must be at least 1, epochs at least 0")
    if not 0 <= schedule.average < 1 or not 0 <= schedule.first_phase <= 1:
        problems.append("schedule.average must lie in [0, 1), schedule.first_phase in [0, 1]")
    if not 0 <= validation.share < 1 or validation.every < 1 or validation.patience < 0:
        problems.append("validation.share must lie in [0, 1), every be at least 1, patience at least 0")
    if config.task == "segmentation":
        problems += _check_segmentation(config.segmentation)
    if config.task == "shapes":
        problems += _check_shapes(config.shapes)
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        problems.append(f"device = {config.device!r}: choose auto, cpu, cuda, cuda:1 … or mps")
    return problems


def _check_segmentation(params: SegmentationParams) -> list[str]:
    problems = []
    weights = params.dice, params.cross_entropy, params.published
    if min(weights) < 0 or sum(weights) <= 0:
        problems.append("segmentation.dice, cross_entropy and published must not be negative, and one above 0")
    if any(value < 1 for value in params.values):
        problems.append(f"segmentation.values = {list(params.values)}: labels count from 1")
    return problems


def _check_shapes(params: ShapeTaskParams) -> list[str]:
    problems = []
    if not params.span > 0 or not 0 <= params.spread <= 2 or not 0 <= params.field < 1:
        problems.append("shapes.span must be above 0, spread lie in [0, 2], field in [0, 1)")
    if not 0 <= params.game <= 1 or not 0 <= params.second < 1 or not 1 <= params.views <= VIEWS:
        problems.append(f"shapes.game must lie in [0, 1], second in [0, 1), views in 1 to {VIEWS}")
    weights = params.drawn, params.shape, params.region, params.entropy
    if min(weights) < 0 or params.drawn + params.shape <= 0:
        problems.append("shapes.drawn, shape, region and entropy must not be negative, and drawn or shape above 0")
    if min(params.game_rate, params.critic_rate, params.encoder_rate) < 0 or min(params.clusters, params.dim) < 2:
        problems.append(
            "shapes.game_rate, critic_rate, encoder_rate must not be negative, clusters and dim be at least 2"
        )
    return problems
