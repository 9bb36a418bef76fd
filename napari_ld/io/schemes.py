"""Schemes: the names and colours of the landmarks that belong together, in the order in which they are clicked.

A scheme is a CSV with a column ``landmark`` (or ``name``) and, if wished, ``color``; any table of landmarks will do,
its names are taken in their order. Or it is a ``.mrk.json`` of 3D Slicer, whose labels are taken; positions are left.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_ld.errors import LandmarkError

__all__ = ["SCHEME_ENDINGS", "Scheme", "SchemeEntry", "read_scheme"]

SCHEME_ENDINGS = (".csv", ".json")
_MAX_BYTES = 16 * 2**20
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_NAMES = ("landmark", "name", "label")
_COLOURS = ("color", "colour")


@dataclass(frozen=True, slots=True)
class SchemeEntry:
    """One landmark of a scheme; ``color`` as ``#rrggbb``, ``""`` to leave the choice to the program."""

    name: str
    color: str = ""


@dataclass(frozen=True, slots=True)
class Scheme:
    """Landmarks in the order in which they are clicked.

    Attributes
    ----------
    name : str
        That of the file, without its ending.
    entries : tuple of SchemeEntry
        At least one; all names differ.
    """

    name: str
    entries: tuple[SchemeEntry, ...]


def read_scheme(path: str | Path) -> Scheme:
    """Read a scheme from CSV or ``.mrk.json``.

    Raises
    ------
    LandmarkError
        Unreadable file, no names, a colour that is none, the same name with two colours; names file and remedy.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise LandmarkError(f"{path} is larger than {_MAX_BYTES} bytes; expected a list of names")
        text = path.read_text(encoding="utf-8-sig")
        if path.name.lower().endswith(".json"):
            found = _from_markups(json.loads(text))
        else:
            found = _from_table(path, list(csv.reader(text.splitlines(), strict=True)))
    except OSError as error:
        raise LandmarkError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise LandmarkError(f"{path} is not UTF-8 text; save the scheme as CSV in UTF-8") from error
    except (csv.Error, json.JSONDecodeError, RecursionError) as error:
        raise LandmarkError(f"{path} is damaged: {error}; save the scheme again") from error
    return Scheme(path.name.split(".")[0], _checked(path, found))


def _from_table(path: Path, lines: list[list[str]]) -> list[tuple[str, str]]:
    lines = [line for line in lines if any(cell.strip() for cell in line)]
    header = [cell.strip().lower() for cell in lines[0]] if lines else []
    names = [header.index(name) for name in _NAMES if name in header]
    if not names:
        found = ",".join(header) if header else "an empty file"
        raise LandmarkError(
            f"{path}: no column 'landmark'; expected landmark,color (color may be missing), found {found}"
        )
    colours = [header.index(name) for name in _COLOURS if name in header]

    def cell(line: list[str], column: int) -> str:
        return line[column].strip() if column < len(line) else ""

    return [(cell(line, names[0]), cell(line, colours[0]) if colours else "") for line in lines[1:]]


def _from_markups(content: Any) -> list[tuple[str, str]]:
    """Labels of all point lists; the colour is that of the list where it has one."""
    found = []
    for markup in _list(content, "markups"):
        display = markup.get("display") if isinstance(markup, dict) else None
        colour = _hexadecimal(display.get("color")) if isinstance(display, dict) else ""
        several = len(_list(content, "markups")) > 1
        for point in _list(markup, "controlPoints"):
            label = point.get("label") if isinstance(point, dict) else None
            # one colour for all points of the only list would make them hard to tell apart
            found.append((str(label or "").strip(), colour if several else ""))
    return found


def _list(content: Any, key: str) -> list[Any]:
    value = content.get(key) if isinstance(content, dict) else None
    return value if isinstance(value, list) else []


def _hexadecimal(color: Any) -> str:
    """``[red, green, blue]`` from 0 to 1 as ``#rrggbb``; nothing where it is something else."""
    if not isinstance(color, list) or len(color) != 3:
        return ""
    if not all(isinstance(part, int | float) and 0 <= part <= 1 for part in color):
        return ""
    return "#" + "".join(f"{round(float(part) * 255):02x}" for part in color)


def _checked(path: Path, found: list[tuple[str, str]]) -> tuple[SchemeEntry, ...]:
    colours: dict[str, str] = {}
    for name, colour in found:
        name = " ".join(name.split())
        if not name:
            raise LandmarkError(f"{path}: a landmark has no name; fill the column 'landmark', or take its row out")
        if colour and not _COLOUR.fullmatch(colour):
            raise LandmarkError(f"{path}: the colour of {name!r} is {colour!r}; expected one as in #ff8800, or nothing")
        if colour and colours.get(name) and colours[name] != colour.lower():
            raise LandmarkError(f"{path}: {name!r} has the colours {colours[name]} and {colour}; keep one of them")
        colours[name] = colour.lower() or colours.get(name, "")
    if not colours:
        raise LandmarkError(f"{path}: holds no landmark; expected one name a row below the heading 'landmark'")
    return tuple(SchemeEntry(name, colour) for name, colour in colours.items())
