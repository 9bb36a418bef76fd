"""My encoders: a folder of model files that a person trained or was given, each known by its name.

Nothing here loads torch but the check of a file that comes from outside.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from napari_ld.errors import ModelFileError, StorageError
from napari_ld.storage import atomic_write, user_folder

__all__ = [
    "Card",
    "add_own",
    "card_of",
    "copy_model",
    "delete_own",
    "export_own",
    "free_name",
    "own_encoders",
    "own_folder",
    "rename_own",
]

OWN_VARIABLE = "NAPARI_LD_ENCODERS"
_SUFFIX = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,59}")
_MAX_HEADER_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Card:
    """What a person wants to know of an encoder of theirs.

    Attributes
    ----------
    name : str
    date : float
        When the file was written, in seconds since 1970.
    method, origin : str
        How it was trained, and from what it started; ``""`` when the file does not say.
    steps : int or None
    minutes : float or None
    """

    name: str
    date: float
    method: str = ""
    origin: str = ""
    steps: int | None = None
    minutes: float | None = None

    @property
    def text(self) -> str:
        """The card in two short lines."""
        parts = [self.method or "method not stated"]
        if self.steps is not None:
            parts.append(f"{self.steps:,} steps")
        if self.minutes is not None:
            parts.append(f"{self.minutes:g} min")
        began = f"started from {self.origin}" if self.origin else "origin not stated"
        return f"{' · '.join(parts)}\n{began} · {time.strftime('%d %b %Y, %H:%M', time.localtime(self.date))}"


def own_folder() -> Path:
    """Folder of the person's encoders: ``NAPARI_LD_ENCODERS``, or a folder in the user's data directory."""
    return user_folder(OWN_VARIABLE, "encoders")


def own_encoders() -> dict[str, Path]:
    """Files of the person's encoders by name, in the order of names."""
    folder = own_folder()
    try:
        files = [path for path in folder.iterdir() if path.suffix == _SUFFIX and not path.name.startswith(".")]
    except OSError:
        return {}
    return {path.stem: path for path in sorted(files)}


def card_of(path: Path) -> Card:
    """Read the card of a model file from its header; nothing but the header is read, and what is missing is left out.

    Raises
    ------
    ModelFileError
        When it is no model file.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MAX_HEADER_BYTES:
                raise ValueError("header too long")
            header = json.loads(json.loads(file.read(length))["__metadata__"]["napari_ld"])
        training = dict(header.get("training") or {})
        date = path.stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{path}: not a model of napari-ld, or damaged; import or train it again") from error
    steps, minutes = training.get("steps"), training.get("minutes")
    return Card(
        path.stem,
        date,
        str(training.get("method", "")),
        str(training.get("started_from", "")),
        steps if isinstance(steps, int) else None,
        float(minutes) if isinstance(minutes, int | float) else None,
    )


def add_own(file: Path, name: str) -> Path:
    """Check a model file and copy it to the person's encoders; returns the copy.

    Raises
    ------
    ModelFileError
        When the file cannot be used, or the name cannot or is taken.
    StorageError
        When it cannot be written.
    """
    from napari_ld.model.checkpoint import load_model

    target = _free(name)
    load_model(file)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {target.parent}: {error.strerror}; set {OWN_VARIABLE}") from error
    copy_model(file, target)
    return target


def free_name(wanted: str) -> str:
    """A name like ``wanted`` that can be a name and that no encoder has."""
    from napari_ld.model.zoo import MODELS  # late: that module asks this one for names

    plain = re.sub(r"[^A-Za-z0-9 ._+-]", "-", wanted).lstrip(" ._+-")[:50].rstrip(" .")
    plain = plain.removesuffix(_SUFFIX).rstrip(" .") or "encoder"
    taken = {known.casefold() for known in (*MODELS, *own_encoders())}
    names = (plain, *(f"{plain}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name.casefold() not in taken)


def rename_own(name: str, new: str) -> Path:
    """Give one of the person's encoders another name; returns its file.

    Raises
    ------
    ModelFileError
        When there is none of this name, or the new name cannot be used or is taken.
    StorageError
        When the file cannot be renamed.
    """
    source, target = _known(name), _free(new)
    try:
        source.rename(target)
    except OSError as error:
        raise StorageError(f"cannot rename {source}: {error.strerror}; close programs that hold it open") from error
    return target


def delete_own(name: str) -> None:
    """Delete one of the person's encoders.

    Raises
    ------
    ModelFileError
        When there is none of this name.
    StorageError
        When the file cannot be deleted.
    """
    path = _known(name)
    try:
        path.unlink()
    except OSError as error:
        raise StorageError(f"cannot delete {path}: {error.strerror}; close programs that hold it open") from error


def export_own(name: str, file: Path) -> None:
    """Write one of the person's encoders as a file to be given away.

    Raises
    ------
    ModelFileError
        When there is none of this name.
    StorageError
        When the file cannot be written.
    """
    copy_model(_known(name), file)


def _known(name: str) -> Path:
    own = own_encoders()
    if name not in own:
        raise ModelFileError(f"no encoder of yours is called {name!r}; there are: {', '.join(own) or 'none yet'}")
    return own[name]


def _free(name: str) -> Path:
    """Path of an encoder to be, which no other has."""
    from napari_ld.model.zoo import MODELS  # late: that module asks this one for names

    if not _NAME.fullmatch(name) or name.endswith((".", " ", _SUFFIX)):
        raise ModelFileError(f"{name!r} cannot be a name: take up to 60 letters, digits, spaces and - _ . +")
    taken = {known.casefold() for known in (*MODELS, *own_encoders())}
    if name.casefold() in taken:
        raise ModelFileError(f"an encoder is called {name!r} already; choose another name")
    return own_folder() / f"{name}{_SUFFIX}"


def copy_model(source: Path, target: Path) -> None:
    """Write a model file under another name, whole or not at all.

    Raises
    ------
    StorageError
        When it cannot be read or written.
    """
    try:
        with source.open("rb") as content, atomic_write(target, "wb") as file:
            shutil.copyfileobj(content, file)
    except OSError as error:
        raise StorageError(f"cannot read {source}: {error.strerror or error}") from error
