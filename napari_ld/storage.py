"""Files that are whole or absent: atomic writing, and a store of arrays on disk that may vanish at any time.

The store is a cache. What it guarantees:

* an entry becomes visible in one step (temporary name, then rename), so two processes may share a store;
* a file that is truncated, foreign or from another format version is never returned: the header carries its own
  checksum and the exact file size, compared at each access;
* altered array bytes are detected (CRC-32) when an entry is first opened by a :class:`Store`; later changes to a
  file already opened by that store are not looked for, which keeps repeated access free of reading;
* arrays are read-only memory maps: their memory belongs to the file and the system may drop it at will;
* the store keeps to ``max_bytes`` by removing the entries used longest ago. Between two counts of the folder it may
  exceed the limit by what *other* processes wrote meanwhile.

Never stale: a key is made of the content it stands for (:func:`content_key`), so nothing has to be invalidated.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from napari_ld.errors import StorageError

__all__ = ["Store", "atomic_write", "content_key", "default_root", "user_folder"]

CACHE_VARIABLE = "NAPARI_LD_CACHE"
DEFAULT_MAX_BYTES = 4 * 2**30
_MAGIC = b"NAPARILD"
_VERSION = 1
_ALIGNMENT = 64
_PREFIX = len(_MAGIC) + 8 + 4  # magic, header length, CRC-32 of the header
_SUFFIX = ".arrays"
_TEMPORARY = ".tmp"
_ABANDONED_SECONDS = 3600.0
_KEY = re.compile(r"[0-9a-zA-Z_-]{8,128}")


def content_key(*parts: bytes | str | npt.NDArray[Any]) -> str:
    """Name content by its SHA-256.

    Parameters
    ----------
    *parts : bytes, str or array
        Arrays count with dtype, shape and values; the type and length of each part are hashed as well, so
        ``("ab", "c")`` and ``("a", "bc")`` differ, and so do ``"a"`` and ``b"a"``.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    TypeError
        For an array of Python objects, whose values cannot be hashed.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            if part.dtype.hasobject:
                raise TypeError(f"cannot hash an array of dtype {part.dtype}; convert it to numbers first")
            kind = f"array {part.dtype.str} {part.shape}"
            data: Any = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
        elif isinstance(part, str):
            kind, data = "str", part.encode("utf-8", "surrogatepass")
        else:
            kind, data = "bytes", part
        digest.update(f"{kind} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "wb", *, durable: bool = True) -> Iterator[IO[Any]]:
    """Open a file that appears under its name only when the block ends without an error.

    Parameters
    ----------
    path : str or Path
        Where the file shall stand; an existing file is replaced in one step and keeps its permissions.
        A symbolic link is followed.
    mode : {"wb", "w"}
        Text is written as UTF-8 without newline translation.
    durable : bool
        Force the bytes to the disk before the rename, so that a power cut leaves the old or the new file.

    Yields
    ------
    file object
        On a temporary name in the same folder, which is removed when anything goes wrong.

    Raises
    ------
    StorageError
        When the system refuses (no permission, disk full, no such folder …); names the file and the remedy.
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"mode is {mode!r}; expected 'w' or 'wb'")
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{secrets.token_hex(8)}{_TEMPORARY}")
    text: dict[str, Any] = {} if mode == "wb" else {"encoding": "utf-8", "newline": ""}
    try:
        if target.exists() and not target.is_file():
            raise StorageError(f"cannot write {path}: it is not a regular file; choose another name")
        with open(temporary, mode.replace("w", "x"), **text) as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):  # a new file, or another process has just removed the old one
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}; {_remedy(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_unfinished(folder: Path) -> None:
    """Remove what :func:`atomic_write` of killed processes left; only for a folder that nobody else writes to."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        with contextlib.suppress(OSError):
            path.unlink()


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "choose a folder that you may write to, and close programs that hold the file open"
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return "create the folder first or correct the path"
    if error.errno in (errno.ENOSPC, errno.EFBIG):
        return "free some space or choose another folder"
    return "choose another name or folder"


def default_root() -> Path:
    """Folder of the cache: the environment variable ``NAPARI_LD_CACHE``, else the user's cache folder."""
    from_environment = os.environ.get(CACHE_VARIABLE)
    if from_environment:
        return Path(from_environment)
    import platformdirs  # late: the variable makes it unnecessary

    return Path(platformdirs.user_cache_dir("napari-ld", appauthor=False))


def user_folder(variable: str, name: str) -> Path:
    """Folder of what a person keeps: that of the environment variable, else ``name`` in the user's data folder."""
    if configured := os.environ.get(variable):
        return Path(configured)
    import platformdirs  # late: the variable makes it unnecessary

    return Path(platformdirs.user_data_dir("napari-ld", appauthor=False)) / name


class Store:
    """Arrays on disk under content keys; see the module's text for what is guaranteed.

    Parameters
    ----------
    root : Path or None
        Folder, made at the first :meth:`put`; None means :func:`default_root`.
    max_bytes : int
        Upper bound of all files together; the entries used longest ago are removed first.
    """

    def __init__(self, root: str | Path | None = None, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        if max_bytes <= 0:
            raise ValueError(f"max_bytes is {max_bytes}; expected a positive number of bytes")
        self.root = Path(root) if root is not None else default_root()
        self.max_bytes = int(max_bytes)
        self._folder = self.root / f"v{_VERSION}"
        self._verified: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._counted: int | None = None
        self._written_since_count = 0

    def get(self, key: str) -> dict[str, npt.NDArray[Any]] | None:
        """Fetch an entry.

        Returns
        -------
        dict of str to read-only array, or None
            Memory-mapped. None when there is no entry, or a damaged one, which is then removed.
        """
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                arrays = self._open(key, file)
            os.utime(path)  # marks the entry as just used
        except FileNotFoundError:
            return None
        except _Damaged:
            self._remove(path)
            return None
        except OSError:
            # An unreadable cache (permissions, network drive gone) is an empty cache.
            return None
        return arrays

    def meta(self, key: str) -> dict[str, Any] | None:
        """The ``meta`` given to :meth:`put`, or None when there is no sound entry."""
        try:
            with open(self._path(key), "rb") as file:
                meta: dict[str, Any] = _read_header(file)[0]["meta"]
        except (OSError, _Damaged):
            return None
        return meta

    def contains(self, key: str) -> bool:
        """Whether there is an entry whose header and size are sound (array bytes are not read)."""
        return self.meta(key) is not None

    def put(self, key: str, arrays: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any] | None = None) -> None:
        """Write an entry; an entry that is already there and sound is kept.

        Parameters
        ----------
        key : str
            From :func:`content_key`.
        arrays : mapping of str to array
            Any shapes and numeric dtypes.
        meta : mapping, optional
            What JSON can hold.

        Raises
        ------
        StorageError
            When the disk is full, the folder not writable or the entry larger than the whole store. Callers can go
            on without the cache: nothing was changed.
        """
        if self.contains(key) and self.get(key) is not None:
            return
        path = self._path(key)
        header, payload, size = _layout(arrays, dict(meta or {}))
        if size > self.max_bytes:
            raise StorageError(
                f"cannot keep {size} bytes in {self.root}: the limit is {self.max_bytes} bytes; raise the limit"
            )
        self._make_room(size)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot make the cache folder {path.parent}: {error.strerror}; {_remedy(error)} "
                f"(environment variable {CACHE_VARIABLE})"
            ) from error
        with atomic_write(path, "wb", durable=False) as file:
            file.write(_MAGIC + len(header).to_bytes(8, "little") + zlib.crc32(header).to_bytes(4, "little"))
            file.write(header)
            for offset, array in payload:
                file.write(b"\0" * (offset - file.tell()))
                file.write(array.reshape(-1).view(np.uint8).data)
        with self._lock:
            self._counted = (self._counted or 0) + size
            self._written_since_count += size

    def size(self) -> int:
        """Bytes that all entries take now."""
        return sum(entry.st_size for _, entry in self._entries())

    def clear(self) -> None:
        """Remove all entries. Arrays already handed out stay valid."""
        for path, _ in self._entries():
            self._remove(path)
        with self._lock:
            self._counted = 0
            self._verified.clear()

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"key is {key!r}; expected 8 to 128 letters, digits, '-' or '_' (use content_key)")
        return self._folder / key[:2] / f"{key}{_SUFFIX}"

    def _open(self, key: str, file: IO[bytes]) -> dict[str, npt.NDArray[Any]]:
        """Map a file; raise _Damaged when it is not what was written."""
        header, start = _read_header(file)
        status = os.fstat(file.fileno())
        identity = (status.st_ino, status.st_size)
        raw = np.memmap(file, dtype=np.uint8, mode="r") if header["size"] > start else np.empty(0, np.uint8)
        if self._verified.get(key) != identity:
            if zlib.crc32(raw[start:].data) != header["checksum"]:
                raise _Damaged
            with self._lock:
                self._verified[key] = identity
        return {name: _view(raw, entry) for name, entry in header["arrays"].items()}

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        """All entries; on the way removes temporary files that a killed process left."""
        for path in self._folder.glob("*/*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                if path.name.endswith(_SUFFIX):
                    yield path, status
                elif path.name.endswith(_TEMPORARY) and time.time() - status.st_mtime > _ABANDONED_SECONDS:
                    path.unlink()

    def _make_room(self, size: int) -> None:
        """Remove the entries used longest ago until ``size`` more bytes fit."""
        with self._lock:
            recent = self._written_since_count <= self.max_bytes // 32
            if self._counted is not None and recent and self._counted + size <= self.max_bytes:
                return
            entries = sorted(self._entries(), key=lambda entry: entry[1].st_mtime_ns)
            total = sum(status.st_size for _, status in entries)
            # Down to nine tenths, so that a full store is not counted again at each put.
            goal = self.max_bytes if total + size <= self.max_bytes else self.max_bytes * 9 // 10
            for path, status in entries:
                if total + size <= goal:
                    break
                self._remove(path)
                total -= status.st_size
            self._counted = total
            self._written_since_count = 0

    @staticmethod
    def _remove(path: Path) -> None:
        # Another process may have been faster, or (on Windows) still map the file: both are harmless.
        with contextlib.suppress(OSError):
            path.unlink()


class _Damaged(Exception):
    """The file is not a whole entry of this format."""


def _layout(
    arrays: Mapping[str, npt.NDArray[Any]], meta: dict[str, Any]
) -> tuple[bytes, list[tuple[int, npt.NDArray[Any]]], int]:
    """Header bytes, each array with its offset in the file, and the size of the file.

    Offsets depend on the header's length, which depends on the digits of the offsets; the header is therefore padded
    with blanks to a multiple of the alignment that surely holds it.
    """
    contiguous = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()}
    for name, array in contiguous.items():
        if array.dtype.hasobject:
            raise TypeError(f"array {name!r} has dtype {array.dtype}; expected numbers")
    draft: dict[str, Any] = {"size": 10**18, "checksum": 2**32, "arrays": {}, "meta": meta}
    for name, array in contiguous.items():
        draft["arrays"][name] = {"dtype": array.dtype.str, "shape": array.shape, "offset": 10**18}
    start = _aligned(_PREFIX + len(json.dumps(draft)))
    end, checksum, payload = start, 0, []
    for name, array in contiguous.items():
        offset = _aligned(end)
        checksum = zlib.crc32(b"\0" * (offset - end), checksum)
        checksum = zlib.crc32(array.reshape(-1).view(np.uint8).data, checksum)
        draft["arrays"][name]["offset"] = offset
        payload.append((offset, array))
        end = offset + array.nbytes
    draft["size"], draft["checksum"] = end, checksum
    header = json.dumps(draft).encode().ljust(start - _PREFIX)
    return header, payload, end


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _read_header(file: IO[bytes]) -> tuple[dict[str, Any], int]:
    """Header, and where the arrays start; raises _Damaged unless header and file size are sound."""
    prefix = file.read(_PREFIX)
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(prefix[8:16], "little")
    if len(prefix) < _PREFIX or not prefix.startswith(_MAGIC) or length > size:
        raise _Damaged
    raw = file.read(length)
    if zlib.crc32(raw) != int.from_bytes(prefix[16:], "little"):
        raise _Damaged
    header: dict[str, Any] = json.loads(raw)
    if header["size"] != size:
        raise _Damaged
    return header, _PREFIX + length


def _view(raw: npt.NDArray[np.uint8], entry: dict[str, Any]) -> npt.NDArray[Any]:
    """One array inside the mapped file."""
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return np.empty(shape, dtype)
    values: npt.NDArray[Any] = raw[entry["offset"] : entry["offset"] + count * dtype.itemsize].view(dtype)
    return values.reshape(shape)
