"""Whether the process that a small JSON file names is still alive: ``{"pid", "host", "started"}``."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

__all__ = ["holder_of", "process_record"]


def process_record(pid: int) -> dict[str, Any]:
    """What names a process of this machine so that it is not mistaken for a later one of the same id."""
    return {"pid": pid, "host": platform.node(), "started": _started(pid)}


def holder_of(path: Path) -> dict[str, Any] | None:
    """The process that a file names; None when there is none, it is dead, or it is this one.

    A process on another machine cannot be asked: it counts as alive.

    Returns
    -------
    dict or None
        ``pid`` and ``host``.
    """
    try:
        holder = json.loads(path.read_bytes())
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
