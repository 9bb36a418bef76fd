"""Locks that a user can give up waiting for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from napari_ld.embedding.tiling import check_cancelled

__all__ = ["acquired"]

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def acquired(lock: threading.RLock, cancelled: Callable[[], bool] | None) -> Iterator[None]:
    """Hold a lock; give up waiting for it when the user cancels.

    Raises
    ------
    Cancelled
        When ``cancelled()`` is true while another thread holds the lock.
    """
    while not lock.acquire(timeout=_POLL_SECONDS):
        check_cancelled(cancelled)
    try:
        yield
    finally:
        lock.release()
