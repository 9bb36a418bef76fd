"""Training by mouse and keys, with the real trainer on a tiny setting."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_ld.model.checkpoint import read_header
from napari_ld.model.own import own_encoders
from napari_ld.session.training_runs import RunState
from tests.gui.hand import Hand

Open = Callable[..., Hand]
SETTING = """
precision = "float32"
longest_side = 96
[schedule]
steps = {steps}
couples = 1
warmup = 1
save_every = 1000
[views]
size = 64
working_size = 72
[losses]
points = 8
[evaluation]
couples = 1
points = 8
"""
PATIENT = 120_000  # ms: how fast the trainer begins on a busy machine belongs to no test


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_LD_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("NAPARI_LD_ENCODERS", str(tmp_path / "mine"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set how long the next run is."""

    def set_steps(number: int) -> None:
        (tmp_path / "tiny.toml").write_text(SETTING.format(steps=number))
        monkeypatch.setenv("NAPARI_LD_TRAIN_CONFIG", str(tmp_path / "tiny.toml"))

    return set_steps


@pytest.fixture
def hand(open_panel: Open, stack: np.ndarray[Any, Any], random_encoder: Path) -> Hand:
    hand = open_panel(lambda viewer: viewer.add_image(stack, name="films"), random_encoder)
    hand.press("ld_train_header")
    hand.rest()
    return hand


def run(hand: Hand) -> RunState:
    state = hand.panel._training.run
    assert state is not None
    return state


def shown(hand: Hand, name: str) -> bool:
    return bool(hand.control(name).isVisible())


def await_phase(hand: Hand, *phases: str) -> None:
    def there() -> bool:
        state = hand.panel._training.run
        assert state is None or state.phase not in {"failed", "lost"} - {*phases}, state and state.error
        return state is not None and state.phase in phases

    hand.wait(there, PATIENT)
    hand.rest()


def start(hand: Hand, init: str = "scratch (random weights)") -> None:
    hand.press("ld_train_details")
    hand.rest()
    hand.choose("ld_train_init", init)
    hand.press("ld_train_start")


def test_start_pause_resume_stop_and_discard(hand: Hand, steps: Callable[[int], None]) -> None:
    steps(5000)
    assert not shown(hand, "ld_runs")
    start(hand)
    await_phase(hand, "running")
    hand.wait(lambda: len(run(hand).curve) > 1 and shown(hand, "ld_train_curve"), PATIENT)
    assert "images/s" in hand.text("ld_train_numbers")
    assert "left" in hand.text("ld_train_numbers")
    assert hand.text("ld_train_header").startswith("Train · ")
    assert not shown(hand, "ld_train_discard")

    hand.press("ld_train_pause")
    await_phase(hand, "paused")
    paused_at = run(hand).step
    hand.press("ld_train_resume")
    await_phase(hand, "running")
    hand.wait(lambda: run(hand).step > paused_at, PATIENT)

    hand.press("ld_train_stop")
    await_phase(hand, "stopped")
    hand.wait(lambda: shown(hand, "ld_train_discard"), PATIENT)
    assert run(hand).resumable
    assert shown(hand, "ld_train_use")  # what it has learned so far
    assert "stopped" in hand.control("ld_runs").currentText()

    hand.press("ld_train_discard")
    hand.rest()
    assert run(hand).path.is_dir()  # one press only asks
    hand.press("ld_train_discard")
    hand.rest()
    assert not shown(hand, "ld_runs")
    assert list(Path(os.environ["NAPARI_LD_RUNS"]).iterdir()) == []


def test_a_finished_run_is_compared_used_renamed_and_given_away(
    hand: Hand, steps: Callable[[int], None], tmp_path: Path
) -> None:
    steps(3)
    before = hand.panel.session.encoder
    start(hand)
    await_phase(hand, "finished")
    hand.wait(lambda: shown(hand, "ld_train_compare"), PATIENT)
    path = run(hand).path
    assert hand.panel.session.encoder == before  # nothing is switched by itself
    assert own_encoders() == {}

    hand.press("ld_train_compare")
    hand.wait(lambda: "%" in hand.text("ld_train_verdict"), PATIENT)
    assert "no clear difference" in hand.text("ld_train_verdict") or "points)" in hand.text("ld_train_verdict")
    hand.press("ld_train_use")
    hand.wait(lambda: hand.panel.session.encoder == path.name, PATIENT)
    hand.rest()
    assert hand.control("ld_encoder").currentText() == path.name
    header = read_header(own_encoders()[path.name])
    assert (header.training["steps"], header.training["started_from"]) == (3, "random weights")

    hand.press("ld_own_fold")
    hand.rest()
    assert "3 steps" in hand.text("ld_own_card")
    assert "in use" in hand.text("ld_own_card")
    assert not hand.control("ld_own_delete").isEnabled()
    hand.press("ld_encoder_header")
    hand.rest()
    hand.choose("ld_encoder", "ld-general")
    hand.rest()
    hand.press("ld_own_rename")
    hand.rest()
    hand.type("ld_own_new_name", "knees")
    QTest.keyClick(hand.control("ld_own_new_name"), Qt.Key.Key_Return)
    hand.rest()
    assert list(own_encoders()) == ["knees"]
    assert hand.control("ld_encoder").findText("knees") >= 0 > hand.control("ld_encoder").findText(path.name)
    hand.press("ld_own_export")
    hand.answer_file_dialog("ld_own_export_dialog", tmp_path / "given")
    assert (tmp_path / "given.safetensors").read_bytes() == own_encoders()["knees"].read_bytes()
    for _ in range(2):
        hand.press("ld_own_delete")
        hand.rest()
    assert own_encoders() == {}
    hand.press("ld_own_import")
    hand.answer_file_dialog("ld_own_import_dialog", tmp_path / "given.safetensors")
    hand.wait(lambda: list(own_encoders()) == ["given"], PATIENT)


def test_what_the_trainer_refuses_is_shown_in_its_words(hand: Hand, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    hand.choose("ld_train_source", "choose a folder …")
    hand.answer_file_dialog("ld_train_folder_dialog", tmp_path / "empty")
    hand.rest()
    assert hand.control("ld_train_source").currentText() == "folder empty"
    hand.press("ld_train_start")
    await_phase(hand, "failed", "lost")
    assert "empty" in hand.text("ld_train_failure")
    assert not shown(hand, "ld_train_resume")
    assert "broke off" in hand.text("ld_status")


def test_a_run_goes_on_without_the_window_and_a_killed_one_is_told_and_resumed(
    open_panel: Open, hand: Hand, steps: Callable[[int], None]
) -> None:
    steps(5000)
    start(hand)
    await_phase(hand, "running")
    hand.press("ld_train_pause")  # writes a checkpoint
    path = run(hand).path
    hand.panel._shut()
    hand.viewer.close()

    again = open_panel()
    again.press("ld_train_header")
    await_phase(again, "paused")
    assert run(again).path == path
    os.kill(json.loads((path / "lock").read_text())["pid"], signal.SIGKILL)
    await_phase(again, "lost")
    assert hand_text_is_shown(again, "ld_train_failure")
    assert "broke off" in again.text("ld_status")
    at = run(again).step
    again.wait(lambda: shown(again, "ld_train_resume"))
    again.press("ld_train_resume")
    await_phase(again, "running")
    again.wait(lambda: run(again).step > at, PATIENT)
    assert not shown(again, "ld_train_failure")
    again.press("ld_train_stop")
    await_phase(again, "stopped")


def hand_text_is_shown(hand: Hand, name: str) -> bool:
    return shown(hand, name) and bool(hand.text(name))
