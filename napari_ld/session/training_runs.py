"""Runs of training as their folders tell it: how far they are, how they ended, and what is wished of them.

The folder is the whole protocol (docs/training.md); training itself is never imported. Only what was appended to the
events since the last look is read.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_ld.errors import StorageError
from napari_ld.process_lock import holder_of
from napari_ld.storage import atomic_write, user_folder

__all__ = ["RunState", "RunWatch", "discard_run", "runs_folder", "runs_in", "wish"]

RUNS_VARIABLE = "NAPARI_LD_RUNS"
LAUNCH_FILE, LOG_FILE, ENCODER_FILE = "launch.json", "log.txt", "encoder.safetensors"
MODEL_FILE = "segmenter.safetensors"
CURVE_POINTS = 600  # of a curve that is kept; older points are thinned out
_CHUNK = 2**18  # bytes read at one look: parsed within a few milliseconds
_LOG_LINES = 4

PHASES: dict[str, str] = {
    "starting": "starting",
    "running": "training",
    "pausing": "pausing",
    "paused": "paused",
    "stopping": "stopping",
    "stopped": "stopped",
    "failed": "failed",
    "lost": "broke off",
    "finished": "finished",
}
"""How a run stands, and the word for it."""
ALIVE = frozenset({"starting", "running", "pausing", "paused", "stopping"})
_PHASE_OF_EVENT = {
    "loading": "starting",
    "started": "running",
    "resumed": "running",
    "pausing": "pausing",
    "paused": "paused",
    "continued": "running",
    "stopping": "stopping",
    "stopped": "stopped",
    "failed": "failed",
    "finished": "finished",
}
_WRITES_ENCODER = frozenset({"saved", "exported", "finished"})


@dataclass(frozen=True, slots=True)
class RunState:
    """One run as last seen.

    Attributes
    ----------
    path : Path
    created : float
        Seconds since 1970.
    preset, images : str
        What it was started with, in words; ``images`` holds no name.
    phase : str
        A key of :data:`PHASES`.
    step, steps : int
    speed : float
        Images a second.
    seconds_left : float or None
        As the trainer reckons it; None before it has measured a step.
    device : str
    curve : tuple of (step, loss)
        At most :data:`CURVE_POINTS`.
    correspondence : tuple of (step, share)
        Share of points found again on images that were turned and scaled by known amounts.
    landmarks, masks : tuple of (step, error)
        On what the person had verified and accepted when it began: mean error in % of the longest side, and 1 - Dice.
    exported : int
        Step of the encoder on disk; 0: none yet.
    notice : str
        What the person should know of, though the run goes on.
    error : str
        What went wrong, in words.
    held : bool
        Whether a process has the run; one that has stopped needs a moment to leave.
    task : str
        What a model is trained for; ``""``: the run trains an encoder.
    """

    path: Path
    created: float = 0.0
    preset: str = ""
    images: str = ""
    phase: str = "starting"
    step: int = 0
    steps: int = 0
    speed: float = 0.0
    seconds_left: float | None = None
    device: str = ""
    curve: tuple[tuple[int, float], ...] = ()
    correspondence: tuple[tuple[int, float], ...] = ()
    landmarks: tuple[tuple[int, float], ...] = ()
    masks: tuple[tuple[int, float], ...] = ()
    exported: int = 0
    notice: str = ""
    error: str = ""
    held: bool = True
    task: str = ""

    @property
    def alive(self) -> bool:
        """Whether a process works on it, or waits."""
        return self.phase in ALIVE

    @property
    def encoder(self) -> Path | None:
        """The encoder so far; None before the first was written."""
        path = self.path / ENCODER_FILE
        return path if path.is_file() else None

    @property
    def model(self) -> Path | None:
        """The segmenter so far; None before it has begun to learn."""
        path = self.path / MODEL_FILE
        return path if path.is_file() else None

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint to go on from, reason to do so, and nobody who does."""
        return not self.held and self.phase in ("stopped", "failed", "lost") and (self.path / "last.ckpt").is_file()

    @property
    def title(self) -> str:
        """Date, preset and how it stands."""
        when = time.strftime("%d %b %H:%M", time.localtime(self.created))
        return f"{when} · {self.preset or 'run'} · {PHASES[self.phase]}"


def runs_folder() -> Path:
    """Folder of the runs started from the panel: ``NAPARI_LD_RUNS``, or a folder in the user's data directory."""
    return user_folder(RUNS_VARIABLE, "runs")


def runs_in(folder: Path) -> list[Path]:
    """Folders of runs, the newest first."""
    try:
        found = [path for path in folder.iterdir() if (path / LAUNCH_FILE).is_file()]
    except OSError:
        return []
    return sorted(found, key=lambda path: path.name, reverse=True)


class RunWatch:
    """Follows one run; :meth:`look` is cheap and never waits.

    Parameters
    ----------
    path : Path
        Run folder with a ``launch.json``.
    """

    def __init__(self, path: Path) -> None:
        launch = _read_json(path / LAUNCH_FILE)
        self.state = RunState(
            path,
            float(launch.get("created", 0.0)),
            str(launch.get("preset", "")),
            str(launch.get("images", "")),
            task=str(launch.get("task", "")),
        )
        self._offset = 0
        self._rest = b""
        self._gone_before = False

    def look(self) -> RunState:
        """Read what is new, ask whether the process lives, and return how the run stands."""
        # Whether it lives is asked first: what it wrote before its end is then read for certain.
        gone = not self._lives()
        for event in self._new_events():
            self._take(event)
        # A process that has just been started has neither lock nor record for a moment: it is gone when twice not seen.
        if gone and self._gone_before and self.state.alive and not self.behind:
            self.state = replace(self.state, phase="lost", error=self._last_words())
        self._gone_before = gone
        self.state = replace(self.state, held=not gone)
        return self.state

    @property
    def behind(self) -> bool:
        """Whether events were written that :meth:`look` has not come to yet."""
        try:
            return (self.state.path / "events.jsonl").stat().st_size > self._offset
        except OSError:
            return False

    def began_again(self) -> None:
        """The run is being resumed by a new process."""
        self._gone_before = False
        self.state = replace(self.state, phase="starting", error="", seconds_left=None, held=True)

    def wished(self, command: str) -> None:
        """The process was asked to ``pause`` or ``stop``: shown at once, before it answers."""
        phase = {"pause": "pausing", "stop": "stopping"}.get(command)
        if phase and self.state.alive:
            self.state = replace(self.state, phase=phase)

    def _lives(self) -> bool:
        return any(holder_of(self.state.path / name) is not None for name in ("lock", LAUNCH_FILE))

    def _new_events(self) -> list[dict[str, Any]]:
        path = self.state.path / "events.jsonl"
        try:
            if path.stat().st_size < self._offset:  # begun anew after an attempt that failed
                self._offset, self._rest = 0, b""
            with path.open("rb") as file:
                file.seek(self._offset)
                content = file.read(_CHUNK)
        except OSError:
            return []
        self._offset += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        return [event for line in lines if (event := _parsed(line))]

    def _take(self, event: Mapping[str, Any]) -> None:
        name, state = event["event"], self.state
        phase = _PHASE_OF_EVENT.get(name, state.phase)
        step = event.get("step")
        state = replace(state, phase=phase, step=step if isinstance(step, int) else state.step)
        if phase != "failed":
            state = replace(state, error="")
        if name in ("started", "resumed"):
            state = replace(state, steps=int(event.get("steps", 0)), device=str(event.get("device", "")))
        elif name == "step":
            curve = _thinned((*state.curve, (state.step, float(event.get("loss", 0.0)))))
            speed, left = float(event.get("images_per_second", 0.0)), event.get("seconds_left")
            steps = int(event.get("steps", state.steps))
            state = replace(state, curve=curve, speed=speed, seconds_left=left, steps=steps)
        elif name == "score":
            state = _measured(state, dict(event.get("measured", {})))
        elif name in _WRITES_ENCODER and not state.task:
            state = replace(state, exported=state.step)
        elif name == "smaller_batch":
            words = f"Memory was full: {event.get('couples')} instead of {event.get('before')} image pairs a step"
            state = replace(state, notice=f"{words} from step {state.step:,} on.")
        elif name == "failed":
            state = replace(state, error=str(event.get("reason", "")) or self._last_words())
        self.state = state

    def _last_words(self) -> str:
        """Last lines of what the process printed."""
        try:
            with (self.state.path / LOG_FILE).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 4000))
                lines = file.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
        except OSError:
            lines = []
        said = "\n".join([line for line in lines if line.strip()][-_LOG_LINES:])
        return said or "The process ended without a word; it may have been ended from outside."


def _measured(state: RunState, measured: Mapping[str, Any]) -> RunState:
    found = {name: float(measured[name]) for name in ("correspondence", "landmarks", "masks") if name in measured}
    if "dice" in measured:
        found["masks"] = 1 - float(measured["dice"])
    for name, value in found.items():
        state = replace(state, **{name: (*getattr(state, name), (state.step, value))})  # type: ignore[arg-type]
    return state


def wish(run: Path, command: str) -> None:
    """Ask the process of a run to ``run``, ``pause`` or ``stop``.

    Raises
    ------
    StorageError
        When the request cannot be written.
    """
    with atomic_write(run / "control.json", "w", durable=False) as file:
        json.dump({"command": command}, file)


def discard_run(run: Path) -> None:
    """Delete a run with its pixels, checkpoint and encoder.

    Raises
    ------
    StorageError
        While it is being trained, or when the system refuses.
    """
    if any(holder_of(run / name) is not None for name in ("lock", LAUNCH_FILE)):
        raise StorageError(f"{run.name}: is being trained; stop it first")
    try:
        shutil.rmtree(run)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot delete {run}: {error.strerror}; close programs that hold its files") from error


def _thinned(curve: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
    """Every second point of a curve that has become too long; the last one stays."""
    return curve if len(curve) <= CURVE_POINTS else (*curve[:-1:2], curve[-1])


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
