"""Events, control, lock: the parts of the run folder that others read and write."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_ld.errors import ConfigError, StorageError
from src_train.config import load_config
from src_train.control import Control, deaf_to_signals, write_command
from src_train.events import EVENTS_VERSION, EventLog, read_events
from src_train.folder import RunFolder
from src_train.lock import lock_holder, run_lock


@pytest.fixture
def _hears_interrupts() -> Iterator[None]:
    """Python's own handler, which a process started in the background by a shell does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_events_are_lines_and_half_a_line_is_no_event(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.write("started", step=0)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"event": "step", "st')  # what a killed process leaves
    EventLog(tmp_path).write("resumed", step=3)
    log.write("finished")
    events = list(read_events(tmp_path))
    assert [event["event"] for event in events] == ["started", "resumed", "finished"]
    assert all(event["version"] == EVENTS_VERSION and event["time"] > 1e9 for event in events)
    EventLog(None).write("silent")
    assert list(read_events(tmp_path / "absent")) == []


def test_events_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write events"):
        EventLog(tmp_path / "absent").write("started")


def _answer(control: Control, wish: str) -> None:
    end = time.monotonic() + 20
    while control.wish != wish:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_commands_are_answered_by_events_and_nonsense_is_not(tmp_path: Path) -> None:
    write_command(tmp_path, "stop")  # of an earlier session
    control = Control(tmp_path, EventLog(tmp_path))
    with control.watching():
        assert control.wish == "run"
        for nonsense in ("", "[]", '{"command": "dance"}', "{"):
            (tmp_path / "control.json").write_text(nonsense)
            time.sleep(0.15)
            assert control.wish == "run"
        write_command(tmp_path, "pause")
        _answer(control, "pause")
        write_command(tmp_path, "run")
        _answer(control, "run")
        control.wait_while_paused()
        write_command(tmp_path, "stop")
        _answer(control, "stop")
        write_command(tmp_path, "run")
        time.sleep(0.3)
        assert control.wish == "stop"
    told = [(event["event"], event["reason"]) for event in read_events(tmp_path)]
    assert told == [("pausing", "control.json"), ("stopping", "control.json")]
    with pytest.raises(ValueError, match="expected one of run, pause, stop"):
        write_command(tmp_path, "dance")


@pytest.mark.usefixtures("_hears_interrupts")
def test_the_first_signal_is_a_wish_and_the_second_interrupts(tmp_path: Path) -> None:
    control = Control(tmp_path, EventLog(tmp_path))
    before = signal.getsignal(signal.SIGINT)
    with control.watching():
        os.kill(os.getpid(), signal.SIGINT)
        _answer(control, "stop")
        assert control.reason() == "signal SIGINT"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_locks_of_the_living_hold_and_those_of_the_dead_do_not(tmp_path: Path) -> None:
    assert lock_holder(tmp_path) is None
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    lock = tmp_path / "lock"
    own = {"pid": sleeper.pid, "host": platform.node()}
    stat = Path(f"/proc/{sleeper.pid}/stat")
    if stat.exists():
        own["started"] = int(stat.read_text().rpartition(")")[2].split()[19])
    lock.write_text(json.dumps(own))
    with pytest.raises(ConfigError, match=f"process {sleeper.pid}"), run_lock(tmp_path):
        pass
    if stat.exists():  # the id has been given to another process since
        lock.write_text(json.dumps({**own, "started": 1}))
        assert lock_holder(tmp_path) is None
        lock.write_text(json.dumps(own))
    sleeper.kill()
    sleeper.wait()
    assert lock_holder(tmp_path) is None
    with run_lock(tmp_path):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not lock.exists()
    lock.write_text('{"pid": 1, "host": "elsewhere.example", "started": 5}')
    assert lock_holder(tmp_path) == {"pid": 1, "host": "elsewhere.example"}
    lock.write_text("{")
    assert lock_holder(tmp_path) is None
    lock.unlink()
    with pytest.raises(StorageError, match="the lock cannot be written"), run_lock(tmp_path / "absent"):
        pass


def test_two_that_begin_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*arguments: object) -> int:
        raise FileExistsError

    monkeypatch.setattr("os.open", taken)
    with pytest.raises(ConfigError, match="another process has just begun"), run_lock(tmp_path):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        RunFolder.create(tmp_path / "file" / "run", load_config("quick", data=("x",)))


@pytest.mark.usefixtures("_hears_interrupts")
def test_of_several_processes_one_hears_signals_and_only_once(tmp_path: Path) -> None:
    control = Control(tmp_path, EventLog(tmp_path), alone=False)
    with control.watching():
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        _answer(control, "stop")
    with deaf_to_signals():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
