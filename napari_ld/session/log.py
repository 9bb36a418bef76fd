"""Autosave: every change is appended, at once, to a file of JSON lines, from which work and history are restored.

A folder holds the sessions of one image; its name is a hash of the file's stem and of pixels, so no name, path or
patient identifier is written. Each session writes a file of its own, so two windows never mix their lines. A line cut
short by a crash is left out when reading.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_ld._types import Image
from napari_ld.errors import StorageError
from napari_ld.storage import user_folder

FORMAT_VERSION = 1


def sessions_folder() -> Path:
    """Folder of all sessions: ``NAPARI_LD_SESSIONS``, or a folder in the user's data directory."""
    return user_folder("NAPARI_LD_SESSIONS", "sessions")


def image_key(image: Image, stem: str) -> str:
    """Hash by which the same image is known again: stem of its name, shape, and its first, middle and last plane."""
    digest = hashlib.sha256()
    digest.update(f"{stem}|{tuple(image.array.shape)}|{image.array.dtype}|{image.has_channels}".encode())
    for plane in sorted({0, image.n_planes // 2, image.n_planes - 1}):
        digest.update(np.ascontiguousarray(image.plane(plane)).tobytes())
    return digest.hexdigest()[:32]


def geometry(image: Image) -> dict[str, Any]:
    """What is kept of an image, so that masks can be written without it: no name, no pixels."""
    return {
        "shape": [int(side) for side in image.array.shape],
        "axes": image.axes,
        "affine": image.affine.tolist() if image.affine is not None else None,
        "spacing": list(image.spacing) if image.spacing is not None else None,
    }


def image_like(entry: dict[str, Any]) -> Image:
    """Image of the kept geometry; all its pixels are 0."""
    affine = np.array(entry["affine"], np.float64) if entry["affine"] is not None else None
    spacing = tuple(entry["spacing"]) if entry["spacing"] is not None else None
    return Image(np.broadcast_to(np.uint8(0), tuple(entry["shape"])), entry["axes"], affine, spacing)


class SessionLog:
    """Append-only file of one session on one image.

    Lines that come before :meth:`attach` are kept until the image is recognised.

    Parameters
    ----------
    root : Path
        Folder of all sessions.
    image : dict
        :func:`geometry` of the image, for the first line.
    """

    def __init__(self, root: Path, image: dict[str, Any] | None = None) -> None:
        self._root = root
        self._image = image or {}
        self._name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}.jsonl"
        self._waiting: list[dict[str, Any]] = []
        self.path: Path | None = None

    def attach(self, key: str) -> None:
        """Start writing into the folder of the image ``key``.

        Raises
        ------
        StorageError
            When the folder cannot be written.
        """
        self.path = self._root / key / self._name
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._write(waiting)

    def append(self, *entries: dict[str, Any]) -> None:
        """Write changes, each with the time of its making.

        Raises
        ------
        StorageError
            When the disk is full or the folder cannot be written; the change stays in memory and is written with the
            next one that succeeds.
        """
        now = round(time.time(), 2)
        self._waiting += [entry if "t" in entry else {**entry, "t": now} for entry in entries]
        if self.path is not None:
            waiting, self._waiting = self._waiting, []
            self._write(waiting)

    def _write(self, entries: list[dict[str, Any]]) -> None:
        path = self.path
        if path is None:
            raise StorageError("The session log was written before its image was recognised; open the image again.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not path.exists()
            head = [{"op": "session", "version": FORMAT_VERSION, "image": self._image}] if fresh else []
            text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in [*head, *entries])
            _append_whole(path, text.encode())
        except OSError as error:
            self._waiting = entries
            raise StorageError(
                f"Autosave cannot write {path}: {error.strerror or error}. Free space or set NAPARI_LD_SESSIONS to a "
                "folder that can be written; your work is kept in memory until then."
            ) from error


def _append_whole(path: Path, data: bytes) -> None:
    """Append all of ``data`` or nothing: on a full disk what was written of it is cut off again."""
    with path.open("ab") as file:
        size = file.tell()
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, size)
            raise


def read_image(path: Path) -> Image | None:
    """Geometry of the image that a log is about; None where it was not kept.

    Raises
    ------
    StorageError
        As :func:`read_log`.
    """
    with_head = next(_checked(path), None)
    image = with_head.get("image") if with_head is not None else None
    return image_like(image) if image else None


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """Entries of a log, up to the first line that is not whole.

    Raises
    ------
    StorageError
        When the file cannot be read, is not a session log, or was written by a newer version.
    """
    yield from itertools.islice(_checked(path), 1, None)


def _checked(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines of a log, the first of which says that it is one."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise StorageError(f"Saved work {path} cannot be read: {error.strerror or error}.") from error
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            return
        if number == 0 and (not isinstance(entry, dict) or entry.get("op") != "session"):
            raise StorageError(f"{path} is not a session of napari-ld: its first line does not say so.")
        if number == 0 and entry.get("version") != FORMAT_VERSION:
            raise StorageError(
                f"{path} has format version {entry.get('version')}, this napari-ld reads version {FORMAT_VERSION}; "
                "update napari-ld to open it."
            )
        yield entry
