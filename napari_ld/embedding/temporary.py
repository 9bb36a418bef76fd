"""A store in a folder that goes with its owner."""

from __future__ import annotations

import tempfile
import weakref

from napari_ld.storage import Store

__all__ = ["temporary_store"]


def temporary_store(owner: object) -> Store | None:
    """Make a store that is removed with ``owner``; None where no folder can be made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="napari-ld-", ignore_cleanup_errors=True)
    except OSError:
        return None
    weakref.finalize(owner, folder.cleanup)
    return Store(folder.name, max_bytes=2**40)
