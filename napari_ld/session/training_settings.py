"""Settings of training as the trainer describes them, for a form.

The trainer is asked in a process of its own: training itself is never imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from napari_ld.errors import Cancelled, TrainingError

__all__ = ["Setting", "Settings", "Value", "as_words", "ask_settings", "ask_trainer"]

IsCancelled = Callable[[], bool]
Value = int | float | bool | str | tuple[float, ...]
_POLL_SECONDS = 0.1
_SHORT = 2000  # characters of what the trainer says in vain


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes
    ----------
    key : str
        ``table.name``, or the name alone.
    kind : {"int", "float", "bool", "str", "floats"}
    default : Value
    help : str
        What it means.
    choices : tuple of str
        All known values; empty: any.
    """

    key: str
    kind: str
    default: Value
    help: str = ""
    choices: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        """The table that it stands in; ``""``: none."""
        return self.key.rpartition(".")[0]

    @property
    def words(self) -> str:
        """Its name in plain words."""
        return WORDS.get(self.key, self.key.rpartition(".")[2].replace("_", " "))


WORDS: dict[str, str] = {
    "longest_side": "longest side of an image, px",
    "schedule.couples": "image pairs a step",
    "schedule.average": "memory of the average",
    "schedule.rate": "course of the learning rate",
    "schedule.minutes": "stop after, minutes",
    "schedule.save_every": "checkpoint every, steps",
    "schedule.save_seconds": "checkpoint every, seconds",
    "schedule.export_seconds": "preview every, seconds",
    "views.size": "size of a view, px",
    "views.working_size": "size of an image, px",
    "evaluation.every": "measure every, steps",
    "evaluation.select": "keep the encoder that is",
    "evaluation.patience": "give up after, measurements",
}
TABLES: dict[str, str] = {
    "": "in general",
    "schedule": "how long, how fast",
    "views": "random views of an image",
    "evaluation": "measured on the way",
    "weights": "what counts how much",
    "losses": "constants of the losses",
    "contrast": "contrast of whole images",
    "dira": "parts of DiRA",
    "corruption": "what is hidden in a view",
    "lrc": "contrast of regions",
    "superpixels": "regions",
    "shapes": "shapes that the first cluster shall have",
}
"""Tables in plain words; the trainer's own name where there are none."""


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """What can be set.

    Attributes
    ----------
    tables : mapping of table to settings
    methods, add_ons : mapping of name to tables
    presets, continued : mapping of preset to values by key
        ``continued`` is what a run from an encoder has besides.
    """

    tables: Mapping[str, tuple[Setting, ...]]
    methods: Mapping[str, tuple[str, ...]]
    add_ons: Mapping[str, tuple[str, ...]]
    presets: Mapping[str, Mapping[str, Value]]
    continued: Mapping[str, Mapping[str, Value]]

    def offered(self, method: str, preset: str, init: str = "") -> dict[str, tuple[tuple[Setting, Value], ...]]:
        """Settings that a method has, by table, each with its value under a preset, for a run from ``init``."""
        base, *others = method.split("+")
        tables = [*self.methods.get(base, ()), *(table for other in others for table in self.add_ons.get(other, ()))]
        given = {**self.presets.get(preset, {}), **(self.continued.get(preset, {}) if init else {})}
        return {
            table: tuple((setting, given.get(setting.key, setting.default)) for setting in self.tables[table])
            for table in tables
        }


def as_words(values: Mapping[str, Value]) -> tuple[str, ...]:
    """Settings as the trainer's ``--set`` takes them."""
    return tuple(f"{key}={json.dumps(value)}" for key, value in values.items())


def ask_settings(request: None, cancelled: IsCancelled) -> Iterator[Settings]:
    """Ask the trainer for its settings; takes seconds, since it loads its libraries.

    Raises
    ------
    TrainingError
        When it does not answer as expected.
    Cancelled
        Soon after ``cancelled`` turned true.
    """
    told = ask_trainer(["settings", "--json"], cancelled)
    try:
        tables = {table: tuple(_setting(table, row) for row in rows) for table, rows in dict(told["tables"]).items()}
        methods, add_ons = (
            {name: tuple(entry["tables"]) for name, entry in dict(told[kind]).items()}
            for kind in ("methods", "add_ons")
        )
        presets, continued = (
            {name: {key: _value(value) for key, value in given.items()} for name, given in dict(told[kind]).items()}
            for kind in ("presets", "continued")
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TrainingError(f"the trainer describes its settings in an unknown way ({error}); reinstall it") from error
    yield Settings(tables, methods, add_ons, presets, continued)


def _setting(table: str, row: Mapping[str, Any]) -> Setting:
    key = f"{table}.{row['key']}" if table else str(row["key"])
    return Setting(key, str(row["kind"]), _value(row["default"]), str(row["help"]), tuple(row["choices"]))


def _value(value: Any) -> Value:
    return tuple(value) if isinstance(value, list) else value


def ask_trainer(words: list[str], cancelled: IsCancelled) -> Any:
    """Run one command of the trainer that answers with a line of JSON.

    Raises
    ------
    TrainingError
        When it fails: its own last words.
    Cancelled
        Soon after ``cancelled`` turned true; the process is ended.
    """
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        command = [sys.executable, "-m", "src_train", *words]
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=complained)
        except OSError as error:
            raise TrainingError(f"the trainer cannot be started: {error.strerror or error}") from error
        try:
            while process.poll() is None:
                if cancelled():
                    raise Cancelled("The question to the trainer was cancelled.")
                time.sleep(_POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        for file in (said, complained):
            file.seek(0)
        answer = said.read().decode("utf-8", "replace").strip()
        if process.returncode == 0 and answer:
            return _parsed(answer.splitlines()[-1])
        lines = complained.read()[-_SHORT:].decode("utf-8", "replace").strip().splitlines()
    raise TrainingError((lines[-1] if lines else "the trainer ended without a word").removeprefix("error: "))


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise TrainingError(f"the trainer answered {line[:80]!r}, not JSON; reinstall it") from error
