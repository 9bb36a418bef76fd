"""All settings as plain data: what a form in another process needs to offer them with words and known values."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any, get_type_hints

from src_train.config import CHOICES, CONTINUED, PRESETS, TrainConfig
from src_train.losses.adversarial import GAMES
from src_train.losses.restoration import DISTANCES
from src_train.methods import ADD_ONS, METHODS, Entry
from src_train.objectives.discrimination import BASES

# Of a run's surroundings rather than of how it learns: given by whoever starts it.
_GIVEN = {
    "": ("method", "name", "licence", "data", "data_weights", "exclude", "init", "device", "norm"),
    "evaluation": ("landmarks", "masks", "images"),
    "shapes": ("masks",),
}
_COMMON = ("schedule", "views", "evaluation")
# Those of a method that checks them itself.
_CHOICES = {**CHOICES, "dira.base": BASES, "dira.distance": DISTANCES, "dira.game": GAMES}


def described_settings() -> dict[str, Any]:
    """Tables of settings, which of them each method has, and what each preset changes.

    Returns
    -------
    dict
        ``tables``: name (``""`` for the top level) to a list of ``key``, ``kind`` (``int``, ``float``, ``bool``,
        ``str``, ``floats``), ``default``, ``help``, ``choices``; ``methods`` and ``add_ons``: name to ``summary`` and
        ``tables``; ``presets``: name to values by ``table.key``; ``continued``: the same, for runs from an encoder.
    """
    hints = get_type_hints(TrainConfig)
    tables = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    return {
        "tables": {"": _rows("", TrainConfig), **{name: _rows(name, kind) for name, kind in tables.items()}},
        "methods": {name: _described(entry, ("", *_COMMON)) for name, entry in METHODS.items()},
        "add_ons": {name: _described(entry) for name, entry in ADD_ONS.items()},
        "presets": {name: dict(_flat(preset)) for name, preset in PRESETS.items()},
        "continued": {name: dict(_flat(preset)) for name, preset in CONTINUED.items()},
    }


def _described(entry: Entry, common: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"summary": entry.summary, "tables": [*common, *entry.tables, *entry.view_tables]}


def _rows(table: str, kind: Any) -> list[dict[str, Any]]:
    words, hints = documented(kind), get_type_hints(kind)
    rows = []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint) or field.name in _GIVEN.get(table, ()):
            continue
        key = f"{table}.{field.name}" if table else field.name
        rows.append(
            {
                "key": field.name,
                "kind": "floats" if hint == tuple[float, ...] else hint.__name__,
                "default": field.default,
                "help": words.get(field.name, ""),
                "choices": list(_CHOICES.get(key, ())),
            }
        )
    return rows


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def documented(kind: type) -> dict[str, str]:
    """Words on each field of a dataclass, from the section *Attributes* of its docstring; markup is left out."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes\n----------\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line.startswith(" "):
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
        else:
            names = [name.strip() for name in line.partition(" : ")[0].split(",")]
    return {name: re.sub(r":\w+:|`|\s*\[reconstruction\]", "", text) for name, text in found.items()}
