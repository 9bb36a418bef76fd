"""One process trains a run: the file ``lock`` holds its id, and one left by a dead process is recognised."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_ld.errors import ConfigError, StorageError
from napari_ld.process_lock import holder_of, process_record
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
    path, own = folder / LOCK_FILE, process_record(os.getpid())
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
    """Who trains the run now; None when nobody does, see :func:`napari_ld.process_lock.holder_of`."""
    return holder_of(folder / LOCK_FILE)
