"""One process trains a run: the file ``lock`` holds its id, and one left by a dead process is recognised."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_ld.errors import ConfigError, StorageError
from napari_ld.storage import atomic_write

LOCK_FILE = "lock"


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the run while the block runs.

    Raises
    ------
    ConfigError
        When a living process holds it.
    StorageError
        When the lock cannot be written.
    """
    path, own = folder / LOCK_FILE, {"pid": os.getpid(), "host": platform.node(), "started": _started(os.getpid())}
    holder = lock_holder(folder)
    if holder is not None:
        raise ConfigError(
            f"{folder}: is being trained by process {holder['pid']} on {holder['host']}; stop it first "
            f"(or remove {path} when that machine is gone)"
        )
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError as error:
        raise ConfigError(f"{folder}: another process has just begun to train it; stop it first") from error
    except OSError as error:
        raise StorageError(f"{folder}: the lock cannot be written ({error.strerror}); free some space") from error
    os.close(handle)
    try:
        with atomic_write(path, "w") as file:  # whole at once for whoever reads it
            json.dump(own, file)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def lock_holder(folder: Path) -> dict[str, Any] | None:
    """Who trains the run now; None when nobody does, also when the process that did is dead.

    A process on another machine cannot be asked: it counts as alive.
    """
    try:
        holder = json.loads((folder / LOCK_FILE).read_bytes())
        pid, host = int(holder["pid"]), str(holder["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent, or cut off by a crash
    if host != platform.node():
        return {"pid": pid, "host": host}
    if pid == os.getpid() or not _alive(pid) or _started(pid) != holder.get("started"):
        return None
    return {"pid": pid, "host": host}


def _alive(pid: int) -> bool:
    if sys.platform == "win32":
        import ctypes  # os.kill would end the process there

        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, pid)
        return bool(handle) and bool(ctypes.windll.kernel32.CloseHandle(handle))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> int | None:
    """When a process began, in ticks since boot, where the system tells it: ids are used again."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])
