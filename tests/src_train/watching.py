"""What a test sees of a run from outside: its events."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from src_train.events import read_events


def events_of(run: Path, kind: str = "") -> list[dict[str, Any]]:
    """Events of a run so far; of one kind when it is given."""
    return [event for event in read_events(run) if kind in ("", event["event"])]


def wait_for(run: Path, kind: str, count: int = 1) -> None:
    """Wait until a run has told so many events of a kind."""
    end = time.monotonic() + 120
    while len(events_of(run, kind)) < count:
        assert time.monotonic() < end, [event["event"] for event in events_of(run)]
        time.sleep(0.02)
