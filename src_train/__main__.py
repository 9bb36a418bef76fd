"""``python -m src_train train | finetune | resume | export | methods | presets | settings``: headless training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from napari_ld.errors import NapariLDError, StorageError, TrainingError

# Exit codes beside 0 (done, or stopped on request), 1 (other errors), 2 (usage) and 130 (interrupted).
EXIT_LOSS, EXIT_STORAGE = 4, 5


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code.

    0: done, or stopped on request with a checkpoint; 1: an error, told in one line; 2: usage; 4: the training
    cannot go on (loss not finite, memory full); 5: the run cannot be written (disk full); 130:
    interrupted for the second time.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except NapariLDError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        codes = {TrainingError: EXIT_LOSS, StorageError: EXIT_STORAGE}
        return codes.get(type(error), 1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m src_train", description="Train dense encoders without labels.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train an encoder on folders of unlabelled images")
    train.add_argument("--data", nargs="+", default=None, metavar="DIR", help="folders of images, one group each")
    train.add_argument("--out", type=Path, default=None, metavar="RUN", help="run folder to make")
    train.add_argument("--method", default=None, help="see the command 'methods' (default: ld)")
    train.add_argument("--preset", default="standard", help="see the command 'presets' (default: standard)")
    train.add_argument("--config", type=Path, default=None, metavar="FILE", help="TOML file on top of the preset")
    train.add_argument("--init", default=None, metavar="ENCODER", help="bundled name or file to start from")
    train.add_argument("--exclude", nargs="+", default=None, metavar="FILE", help="image file names to leave out")
    train.add_argument("--dry-run", action="store_true", help="show configuration, size and estimated time only")
    train.add_argument("--json", action="store_true", help="with --dry-run: the timed phases, as JSON")
    train.set_defaults(run=_train)
    finetune = commands.add_parser("finetune", help="train a segmenter or classifier from an encoder")
    finetune.add_argument("--task", default=None, help="segmentation (default), classification or shapes")
    finetune.add_argument("--images", nargs="+", default=None, metavar="PATH", help="images, or folders of images")
    labels = finetune.add_mutually_exclusive_group()
    labels.add_argument(
        "--masks", nargs="+", default=None, metavar="PATH", help="label maps called as their images, or shapes"
    )
    labels.add_argument("--labels", nargs=1, default=None, metavar="FILE.csv", help="table with columns image, label")
    finetune.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder to make")
    finetune.add_argument("--init", default=None, metavar="ENCODER", help="name or file of the encoder to start from")
    finetune.add_argument("--preset", default="standard", help="quick, standard, thorough or ld-protocol")
    finetune.add_argument("--config", type=Path, default=None, metavar="FILE", help="TOML file on top of the preset")
    finetune.set_defaults(run=_finetune)
    resume = commands.add_parser("resume", help="go on with a run that was stopped or killed")
    resume.add_argument("folder", type=Path, metavar="RUN")
    resume.set_defaults(run=_resume)
    for command in (train, finetune, resume):
        command.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="for example schedule.steps=500")
        command.add_argument("--device", default=None, help="auto, cpu, cuda, cuda:1, mps (default: auto)")
        command.add_argument("--minutes", type=float, default=None, help="stop with a checkpoint after this time")
        command.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's choice)")
    export = commands.add_parser("export", help="write the encoder of a run, or its curves")
    export.add_argument("folder", type=Path, metavar="RUN")
    export.add_argument("-o", "--output", type=Path, default=None, metavar="FILE", help="encoder (.safetensors)")
    export.add_argument("--tensorboard", type=Path, default=None, metavar="DIR", help="curves for TensorBoard")
    export.set_defaults(run=_export)
    for name, run, text in (("methods", _methods, "list the methods"), ("presets", _presets, "list the presets")):
        commands.add_parser(name, help=text).set_defaults(run=run)
    settings = commands.add_parser("settings", help="list all settings with their defaults and meanings")
    settings.add_argument("--json", action="store_true", help="as JSON, with methods and presets")
    settings.set_defaults(run=_describe_settings)
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show the traceback of errors")
    return parser


def _train(options: argparse.Namespace) -> int:
    from napari_ld.errors import ConfigError
    from src_train.config import load_config
    from src_train.estimate import describe, estimate
    from src_train.run import run_training

    given = {"data": options.data, "method": options.method, "init": options.init, "exclude": options.exclude}
    config = load_config(
        options.preset,
        options.config,
        _settings(options),
        **{name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if v is not None},
    )
    if options.out is None and not options.dry_run:
        raise ConfigError("no run folder: give one with --out")
    _prepare(options)
    if options.dry_run:
        for line in [estimate(config)] if options.json else describe(config):
            print(line, flush=True)
        return 0
    print(run_training(config, options.out))
    return 0


def _finetune(options: argparse.Namespace) -> int:
    from src_train.run import run_training
    from src_train.task_config import load_task_config

    given = {
        "task": options.task,
        "data": options.images,
        "labels": options.masks or options.labels,
        "init": options.init,
    }
    config = load_task_config(
        options.preset,
        options.config,
        _settings(options),
        **{name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if v is not None},
    )
    _prepare(options)
    print(run_training(config, options.out))
    return 0


def _resume(options: argparse.Namespace) -> int:
    from src_train.run import resume_training

    _prepare(options)
    settings = [*_settings(options)]
    if options.minutes is None:
        settings = ["schedule.minutes=0", *settings]  # the limit of an earlier session is not one of this
    print(resume_training(options.folder, settings=settings))
    return 0


def _settings(options: argparse.Namespace) -> list[str]:
    """``--set`` with the options that stand for settings."""
    settings = list(options.set)
    if options.device is not None:
        settings.append(f"device={options.device}")
    if options.minutes is not None:
        settings.append(f"schedule.minutes={options.minutes}")
    return settings


def _prepare(options: argparse.Namespace) -> None:
    from src_train.memory import keep_freed_memory
    from src_train.run import set_threads

    set_threads(options.threads)
    keep_freed_memory()


def _export(options: argparse.Namespace) -> int:
    from napari_ld.errors import ConfigError
    from src_train.exporting import export_encoder, export_tensorboard

    if options.output is None and options.tensorboard is None:
        raise ConfigError("nothing to export: give -o FILE for the encoder, or --tensorboard DIR for the curves")
    if options.output is not None:
        print(export_encoder(options.folder, options.output))
    if options.tensorboard is not None:
        print(export_tensorboard(options.folder, options.tensorboard))
    return 0


def _methods(options: argparse.Namespace) -> int:
    from src_train.methods import ADD_ONS, METHODS

    for name, method in METHODS.items():
        print(f"{name:10} {method.summary}")
    for name, add_on in ADD_ONS.items():
        print(f"+{name:9} {add_on.summary}")
    return 0


def _presets(options: argparse.Namespace) -> int:
    from src_train.config import PRESETS

    for name, preset in PRESETS.items():
        print(f"{name:10} {preset}")
    return 0


def _describe_settings(options: argparse.Namespace) -> int:
    import json

    from src_train.settings import described_settings

    described = described_settings()
    if options.json:
        print(json.dumps(described))
        return 0
    for table, rows in described["tables"].items():
        for row in rows:
            name = f"{table}.{row['key']}" if table else row["key"]
            print(f"{name} = {json.dumps(row['default'])}\n    {row['help']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
