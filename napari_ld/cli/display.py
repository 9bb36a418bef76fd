"""A display for windows: the one that is there, else an Xvfb of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def has_display() -> bool:
    """Whether windows can be expected to open."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextmanager
def a_display() -> Iterator[dict[str, str] | None]:
    """Provide a display for a child process as long as the context lasts.

    Yields
    ------
    dict or None
        Variables to add to the child's environment (none where there is a display already), or None where there is
        neither a display nor an Xvfb that starts.
    """
    if has_display():
        yield {}
        return
    xvfb = shutil.which("Xvfb")
    if xvfb is None:
        yield None
        return
    read, write = os.pipe()
    command = [xvfb, "-displayfd", str(write), "-screen", "0", "1920x1080x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        os.close(write)
        try:
            with os.fdopen(read) as announced:
                number = announced.readline().strip()  # empty when the server ended instead
            yield {"DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb"} if number else None
        finally:
            server.terminate()
