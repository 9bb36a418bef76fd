"""Frozen, typed configuration of a training run, from a preset, a TOML file and ``key=value`` settings."""

from __future__ import annotations

import dataclasses
import difflib
import json
import operator
import re
import tomllib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from napari_ld.errors import ConfigError
from napari_ld.model.backbones.fast import NORMS
from napari_ld.model.encoder import CONFIGURATIONS
from src_train.assessment import SELECTIONS, Evaluation
from src_train.data.corruption import FILLS, CorruptionParams
from src_train.data.superpixels import SuperpixelParams
from src_train.data.views import ViewParams
from src_train.losses.patch import WINDOWS
from src_train.methods import parts_of
from src_train.methods.dira import DiRAParams, problems_of
from src_train.methods.ld import LDParams, Weights
from src_train.objectives.discrimination import ContrastParams
from src_train.objectives.localized import LocalizedParams
from src_train.objectives.shapes import ShapeParams
from src_train.optimizers import OPTIMIZERS
from src_train.schedules import RATES, Schedule

C = TypeVar("C")


@dataclass(frozen=True)
class TrainConfig:
    """All that a run depends on, apart from the pixels.

    Attributes
    ----------
    method : str
        A name of ``METHODS``, with any ``ADD_ONS`` after ``+``.
    encoder : str
        A name of ``CONFIGURATIONS``: ``fast`` or ``ld-paper``.
    norm : str
        Normalisation of the ``fast`` encoder: ``batch``, or ``group`` for batches over several processes.
    name : str
        Name written into the encoder's header.
    licence : str
        Of the weights, written into the header.
    data : tuple of str
        Folders of unlabelled images, one group each.
    data_weights : tuple of float
        How often each group is drawn; empty: the square root of its number of planes.
    exclude : tuple of str
        File names that must not be seen.
    init : str
        Encoder to start from; empty: random weights.
    kept : float
        Share of the weights of the encoder in ``init`` in the one that the run gives, the rest being learned: so it
        keeps what that one knew of other images.
    longest_side : int
        Images larger than this are reduced to it when they are read.
    seed : int
        Of all that is drawn at random; the same seed gives the same run.
    precision : {"auto", "float32", "bfloat16"}
        Of the network; ``auto`` takes the one that is faster on this machine. Losses are always float32.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` …, ``mps``.
    """

    method: str = "ld"
    encoder: str = "fast"
    norm: str = "batch"
    name: str = "my-encoder"
    licence: str = "not stated"
    data: tuple[str, ...] = ()
    data_weights: tuple[float, ...] = ()
    exclude: tuple[str, ...] = ()
    init: str = ""
    kept: float = 0.0
    longest_side: int = 1200
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    schedule: Schedule = field(default_factory=Schedule)
    views: ViewParams = field(default_factory=ViewParams)
    weights: Weights = field(default_factory=Weights)
    losses: LDParams = field(default_factory=LDParams)
    contrast: ContrastParams = field(default_factory=ContrastParams)
    dira: DiRAParams = field(default_factory=DiRAParams)
    corruption: CorruptionParams = field(default_factory=CorruptionParams)
    lrc: LocalizedParams = field(default_factory=LocalizedParams)
    superpixels: SuperpixelParams = field(default_factory=SuperpixelParams)
    shapes: ShapeParams = field(default_factory=ShapeParams)
    evaluation: Evaluation = field(default_factory=Evaluation)


PRESETS: dict[str, dict[str, Any]] = {
    # Wall-clock on two idle cores of a 2024 server CPU; the estimate printed at the start is measured.
    "quick": {"schedule": {"steps": 100, "warmup": 20, "average": 0.98}},  # about 2 minutes
    "standard": {"schedule": {"steps": 1100}},  # about 20 minutes
    "thorough": {"schedule": {"steps": 6600}},  # about 2 hours
    # The published configuration (authors' code): 20 epochs of patch discrimination with mixup, 80 of LD, of 1000
    # steps each, four couples; Adam afresh in phase 2, halved every 10 epochs; no decay, clipping, averaging, AMP.
    "paper": {
        "method": "ld-paper",
        "encoder": "ld-paper",
        "precision": "float32",
        "schedule": {
            "steps": 100_000,
            "couples": 4,
            "first_phase": 0.2,
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "rate": "halving",
            "halve_every": 10_000,
            "warmup": 0,
            "average": 0.0,
            "clip": 0.0,
            "save_every": 1000,
        },
        "views": {"size": 448, "working_size": 448},
        "weights": {
            "pixel": 0.0,
            "level": 0.0,
            "patch": 1.0,
            "mixup": 1.0,
            "region": 10.0,
            "entropy": 0.1,
            "balance": 0.0,
            "mutual": 0.0,
        },
        "losses": {"fresh_optimizer": True},
        "evaluation": {"every": 1000},
    },
}


CONTINUED: dict[str, dict[str, Any]] = {
    name: {"kept": 0.3, "schedule": {"first_phase": 0.0, "learning_rate": 1e-3}} for name in PRESETS if name != "paper"
}
"""What a preset changes for a run that starts from an encoder: it has clusters already, and at the pace for random
weights a short run teaches no more and unlearns more. With a share of the start it unlearns nearly nothing
(``benchmarks.retraining``)."""


CHOICES: dict[str, Collection[str]] = {
    "encoder": CONFIGURATIONS,
    "norm": NORMS,
    "precision": ("auto", "float32", "bfloat16"),
    "schedule.optimizer": OPTIMIZERS,
    "schedule.rate": RATES,
    "evaluation.select": SELECTIONS,
    "losses.center_pool": WINDOWS,
    "corruption.fill": FILLS,
}
"""Settings with few known values."""


def method_tables(config: TrainConfig) -> dict[str, Any]:
    """The tables of a configuration by name, for :func:`src_train.methods.build_method`."""
    return {entry.name: getattr(config, entry.name) for entry in dataclasses.fields(config)}


def load_config(
    preset: str = "standard", file: Path | None = None, settings: list[str] | None = None, **given: Any
) -> TrainConfig:
    """Combine preset, TOML file, ``key=value`` settings and keyword arguments; later ones win.

    A run from an encoder (``init``) has the preset as :data:`CONTINUED` changes it.

    Raises
    ------
    ConfigError
        Naming every unknown key with its nearest known one, and every value of the wrong type, at once.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    later = read_toml(file), from_settings(settings or []), given
    init = next((layer["init"] for layer in reversed(later) if "init" in layer), "")
    continued = CONTINUED.get(preset, {}) if init else {}
    return combined(TrainConfig, (PRESETS[preset], continued, *later), _check)


def combined(kind: type[C], layers: Iterable[dict[str, Any]], check: Callable[[C], list[str]]) -> C:
    """A configuration of some kind from layers of values; later ones win; ``check`` names what does not go together.

    Raises
    ------
    ConfigError
        As :func:`load_config`.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer)
    problems: list[str] = []
    config: C = _build(kind, merged, "", problems)
    if not problems:
        problems += check(config)
    if problems:
        raise ConfigError("; ".join(problems))
    return config


def to_toml(config: Any) -> str:
    """Write a configuration so that :func:`load_config` reads the same one back."""
    values = dataclasses.asdict(config)
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items() if name not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def read_toml(file: Path | None) -> dict[str, Any]:
    """Values of a TOML file; nothing without one."""
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read as TOML ({error})") from error


def from_settings(settings: list[str]) -> dict[str, Any]:
    """Values of ``key=value`` settings."""
    result: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"setting {setting!r}: expected key=value, for example schedule.steps=500")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text  # a bare word is a string
        *tables, last = key.strip().split(".")
        target = result
        for table in tables:
            target = target.setdefault(table, {})
        target[last] = value
    return result


def _merge(base: dict[str, Any], layer: dict[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = dict(value) if isinstance(value, dict) else value


def _build(kind: Any, values: dict[str, Any], prefix: str, problems: list[str]) -> Any:
    hints = get_type_hints(kind)
    built: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, 1)
            problems.append(f"unknown key {prefix + key!r}" + (f": did you mean {prefix + near[0]!r}?" if near else ""))
        elif dataclasses.is_dataclass(hints[key]):
            built[key] = _build(
                hints[key], value if isinstance(value, dict) else {"": value}, f"{prefix}{key}.", problems
            )
        else:
            built[key] = _convert(value, hints[key], prefix + key, problems)
    return kind(**built)


_TUPLES: dict[Any, tuple[type, Any]] = {
    tuple[str, ...]: (str, str | Path),
    tuple[float, ...]: (float, int | float),
    tuple[int, ...]: (int, int),
}


def _convert(value: Any, hint: Any, key: str, problems: list[str]) -> Any:
    if hint in _TUPLES:
        if isinstance(value, list | tuple) and all(isinstance(item, _TUPLES[hint][1]) for item in value):
            return tuple(_TUPLES[hint][0](item) for item in value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif type(value) is hint:
        return value
    problems.append(f"{key} = {value!r}: expected {getattr(hint, '__name__', hint)}")
    return value


def _check(config: TrainConfig) -> list[str]:
    problems = []
    try:
        parts_of(config.method)
    except ConfigError as error:
        problems.append(str(error))
    for key, known in CHOICES.items():
        value = operator.attrgetter(key)(config)
        if value not in known:
            problems.append(f"{key} = {value!r}: choose one of {', '.join(known)}")
    if config.encoder != "fast" and config.norm != "batch":
        problems.append(f"norm = {config.norm!r}: the encoder {config.encoder!r} has batch normalisation only")
    problems += [*_check_evaluation(config.evaluation), *problems_of(config.dira), *_check_contrast(config)]
    if not 0 <= config.kept < 1:
        problems.append(f"kept = {config.kept}: must lie in [0, 1)")
    elif config.kept and not config.init:
        problems.append(f"kept = {config.kept}: nothing can be kept of random weights; give init, or set kept to 0")
    if not config.data:
        problems.append("no data: give at least one folder of images with --data")
    if config.views.size % 64:
        problems.append(f"views.size = {config.views.size}: must be divisible by 64")
    schedule = config.schedule
    if min(schedule.steps, schedule.couples, schedule.save_every, schedule.halve_every) < 1:
        problems.append("schedule.steps, couples, save_every and halve_every must be at least 1")
    if not 0 <= schedule.average < 1 or not 0 <= schedule.first_phase <= 1:
        problems.append("schedule.average must lie in [0, 1), schedule.first_phase in [0, 1]")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", config.device):
        problems.append(f"device = {config.device!r}: choose auto, cpu, cuda, cuda:1 … or mps")
    return problems


def _check_contrast(config: TrainConfig) -> list[str]:
    contrast, lrc, regions, size = config.contrast, config.lrc, config.superpixels, config.views.size
    problems = []
    sizes = (contrast.queue, contrast.splits, contrast.hidden, contrast.dim, contrast.width, contrast.bottleneck)
    if min(sizes) < 1:
        problems.append("contrast.queue, splits, hidden, dim, width and bottleneck must be at least 1")
    for key, stride in (("contrast.dense_stride", contrast.dense_stride), ("lrc.stride", lrc.stride)):
        if stride < 1 or size % stride:
            problems.append(f"{key} = {stride}: must divide views.size = {size}")
    if lrc.regions < 2 or min(lrc.cells, lrc.dim, lrc.least_cells) < 1:
        problems.append("lrc.regions must be at least 2; lrc.cells, dim and least_cells at least 1")
    if regions.scale <= 0 or min(regions.min_size, regions.longest_side) < 1:
        problems.append("superpixels.scale must be above 0; superpixels.min_size and longest_side at least 1")
    return problems


def _check_evaluation(evaluation: Evaluation) -> list[str]:
    problems = []
    if evaluation.select in ("landmarks", "masks") and not getattr(evaluation, evaluation.select):
        problems.append(f"evaluation.select = {evaluation.select!r}: also give evaluation.{evaluation.select}")
    if evaluation.every < 1 and (evaluation.select != "last" or evaluation.patience > 0):
        problems.append("evaluation.every = 0: nothing is measured, so nothing can be selected by it; give a number")
    if evaluation.every > 0 and (evaluation.couples < 1 or evaluation.points < 1 or evaluation.most < 2):
        problems.append("evaluation.couples and evaluation.points must be at least 1, evaluation.most at least 2")
    return problems
