"""Load torch on a worker's thread without holding up the others.

``import torch`` loads a library of some hundred megabytes while it holds Python's global lock, and meanwhile Python
looks through all objects of the process for garbage several times: on two busy cores a window stood still for 0.5 to
1.4 s. Loaded beforehand through a foreign call, which lets go of the lock, and without collections, for 0.06 s at most.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import os
import sys
import threading
from pathlib import Path

__all__ = ["load_torch"]

_LARGE = {"linux": ("libc10.so", "libtorch_cpu.so"), "darwin": ("libc10.dylib", "libtorch_cpu.dylib")}
_lock = threading.Lock()


def load_torch() -> None:
    """Import torch; at once when it is there already. May be called on any thread, by several at a time."""
    if "torch" in sys.modules and not _lock.locked():
        return
    with _lock:
        collecting = gc.isenabled()
        gc.disable()
        try:
            for path in _libraries():
                _load_freely(path)
            importlib.import_module("torch")
        finally:
            if collecting:
                gc.enable()


def _libraries() -> list[Path]:
    """The large libraries of torch, where they are known."""
    found = importlib.util.find_spec("torch")
    folders = [Path(place) / "lib" for place in (found.submodule_search_locations or ())] if found else []
    paths = [folder / name for folder in folders for name in _LARGE.get(sys.platform, ())]
    return [path for path in paths if path.is_file()]


def _load_freely(path: Path) -> None:
    """Load a library by a foreign call: ``ctypes.CDLL`` itself would keep the lock."""
    with contextlib.suppress(AttributeError, OSError):  # torch loads it all the same
        load = ctypes.CDLL(None).dlopen
        load.restype, load.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
        load(os.fsencode(path), os.RTLD_NOW)
