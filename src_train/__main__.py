"""``python -m src_train train | methods | presets``: headless training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from napari_ld.errors import NapariLDError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 (an error, told in one line), 2 (usage), 130 (interrupted)."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except NapariLDError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m src_train", description="Train dense encoders without labels.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train an encoder on folders of unlabelled images")
    train.add_argument("--data", nargs="+", default=None, metavar="DIR", help="folders of images, one group each")
    train.add_argument("--out", required=True, type=Path, metavar="RUN", help="run folder to make")
    train.add_argument("--method", default=None, help="see the command 'methods' (default: ld)")
    train.add_argument("--preset", default="standard", help="see the command 'presets' (default: standard)")
    train.add_argument("--config", type=Path, default=None, metavar="FILE", help="TOML file on top of the preset")
    train.add_argument("--init", default=None, metavar="ENCODER", help="bundled name or file to start from")
    train.add_argument("--exclude", nargs="+", default=None, metavar="FILE", help="image file names to leave out")
    train.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="for example schedule.steps=500")
    train.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's choice)")
    train.add_argument("--debug", action="store_true", help="show the traceback of errors")
    train.set_defaults(run=_train)
    for name, run, text in (("methods", _methods, "list the methods"), ("presets", _presets, "list the presets")):
        command = commands.add_parser(name, help=text)
        command.set_defaults(run=run, debug=False)
    return parser


def _train(options: argparse.Namespace) -> int:
    from src_train.config import load_config
    from src_train.memory import keep_freed_memory
    from src_train.run import run_training, set_threads

    given = {"data": options.data, "method": options.method, "init": options.init, "exclude": options.exclude}
    config = load_config(
        options.preset,
        options.config,
        options.set,
        **{name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if v is not None},
    )
    set_threads(options.threads)
    keep_freed_memory()
    print(run_training(config, options.out))
    return 0


def _methods(options: argparse.Namespace) -> int:
    from src_train.methods import METHODS

    for name, method in METHODS.items():
        print(f"{name:10} {method.summary}")
    return 0


def _presets(options: argparse.Namespace) -> int:
    from src_train.config import PRESETS

    for name, preset in PRESETS.items():
        print(f"{name:10} {preset}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
