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
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget

from napari_ld.model.checkpoint import read_header
from napari_ld.model.own import own_encoders
from napari_ld.session.encoder_comparison import Compared, Judgement, Score, Worse
from napari_ld.session.training import TrainRequest
from napari_ld.session.training_runs import RunState
from src_train.events import EventLog
from tests.gui.hand import LEFT, NONE, Hand

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


def replace(hand: Hand, name: str, text: str) -> None:
    """Type another text into a field."""
    field = hand.control(name)
    field.setFocus()
    field.selectAll()
    QTest.keyClicks(field, text)


def place_points(hand: Hand) -> None:
    """Three verified points, as a person's clicks in the section Landmarks would leave them."""
    session = hand.panel.session
    landmark = session.add_landmark("knee")
    for plane in range(3):
        session.place(landmark, plane, (40.0 + 2 * plane, 60.0))
    session.await_click(False)
    hand.wait_until_answered()


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
    hand.wait(lambda: hand.control("ld_preview_embedding").filled, PATIENT)  # a pause writes the encoder so far
    assert hand.control("ld_preview_embedding").caption == f"embedding · plane {hand.panel._desk.visible_plane}"
    hand.panel.show_plane(3)
    hand.wait(lambda: hand.control("ld_preview_embedding").caption == "embedding · plane 3", PATIENT)
    assert not shown(hand, "ld_preview_likeness")  # no landmark was clicked
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
    steps(5000)
    before = hand.panel.session.encoder
    place_points(hand)
    assert hand.text("ld_train_measure") == "measure on your 3 verified points"
    hand.press("ld_train_details")
    hand.wait(lambda: shown(hand, "ld_settings_schedule"), PATIENT)
    hand.press("ld_settings_schedule")
    hand.rest()
    replace(hand, "ld_setting_schedule_steps", "3")
    assert hand.text("ld_settings_note") == "yours: steps 3"
    hand.choose("ld_train_init", "scratch (random weights)")
    hand.press("ld_train_estimate")
    hand.wait(lambda: hand.text("ld_train_time").startswith("about"), PATIENT)
    hand.press("ld_train_start")
    await_phase(hand, "finished")
    hand.wait(lambda: shown(hand, "ld_train_compare"), PATIENT)
    path = run(hand).path
    assert len(run(hand).landmarks) == 1  # measured on the points that were verified
    assert hand.panel.session.encoder == before  # nothing is switched by itself
    assert own_encoders() == {}

    hand.press("ld_train_compare")
    hand.wait(lambda: "Not forgotten?" in hand.text("ld_train_verdict"), PATIENT)
    assert hand.text("ld_train_verdict").startswith("Error on your verified points: ")
    assert "6 answers" in hand.text("ld_train_verdict")
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


def test_planes_that_became_worse_are_listed_and_shown(hand: Hand) -> None:
    score = Score(1.0, 0.5, 1.5, 4)
    worse = (Worse("knee", 4, 1.0, 2.5), Worse("knee", 2, 1.0, 1.25))
    verdict = hand.panel._train.verdict
    verdict.setVisible(True)
    verdict.take(Compared((Judgement("landmarks", score, score, score, "mm", worse),)))
    hand.rest()
    items = hand.control("ld_train_worse")
    assert [items.item(row).text() for row in range(2)] == [
        "worse: knee, plane 4: 1 → 2.5 mm",
        "worse: knee, plane 2: 1 → 1.2 mm",
    ]
    for row, plane in ((1, 2), (0, 4)):
        QTest.mouseClick(items.viewport(), LEFT, NONE, items.visualItemRect(items.item(row)).center())
        hand.rest()
        assert hand.panel._desk.visible_plane == plane


def test_layers_are_ticked_and_settings_taken_back(hand: Hand, stack: np.ndarray[Any, Any]) -> None:
    asked: list[TrainRequest] = []
    hand.panel._train.form.start_wanted.disconnect()  # what would be started is looked at, not started
    hand.panel._train.form.start_wanted.connect(asked.append)
    hand.viewer.add_image(stack[:2], name="more")
    hand.viewer.add_image(stack[0], name="one")
    hand.rest()
    hand.choose("ld_train_source", "several layers")
    hand.rest()
    layers = hand.control("ld_train_layers")
    assert [layers.item(row).text() for row in range(layers.count())] == ["films", "more", "one"]
    place = layers.visualItemRect(layers.item(1))
    QTest.mouseClick(layers.viewport(), LEFT, NONE, QPoint(place.left() + 10, place.center().y()))
    hand.press("ld_train_start")
    assert [image.array.shape for image in asked[-1].images] == [(6, 96, 128), (96, 128)]
    assert asked[-1].settings == {}
    hand.press("ld_train_details")
    hand.wait(lambda: shown(hand, "ld_settings_weights"), PATIENT)
    hand.press("ld_settings_weights")
    hand.rest()
    replace(hand, "ld_setting_weights_pixel", "0.5")
    replace(hand, "ld_setting_weights_patch", "nothing")  # no number, and not taken
    hand.control("ld_setting_weights_pixel").setFocus()
    assert hand.control("ld_setting_weights_patch").text() == "0.2"
    hand.press("ld_preset_standard")
    hand.press("ld_train_lrc")
    hand.rest()
    hand.press("ld_train_start")
    assert asked[-1].settings == {"weights.pixel": 0.5}
    assert (asked[-1].preset, asked[-1].method) == ("standard", "ld+lrc")
    hand.choose("ld_train_method", "MoCo-v2")
    hand.rest()
    assert hand.panel.findChild(QWidget, "ld_settings_weights") is None
    hand.press("ld_train_start")
    assert asked[-1].settings == {}  # of another method
    hand.choose("ld_train_method", "Local Discrimination")
    hand.press("ld_settings_weights")
    hand.rest()
    assert hand.control("ld_setting_weights_pixel").text() == "0.5"  # what was entered is kept
    hand.press("ld_settings_restore")
    hand.rest()
    assert hand.control("ld_setting_weights_pixel").text() == "1"


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
    EventLog(path).write("smaller_batch", step=1, before=4, couples=2)
    again.wait(lambda: again.text("ld_train_warning").startswith("Memory was full: 2 instead of 4 image pairs"))
    again.press("ld_train_resume")
    await_phase(again, "running")
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
