"""Runs seen from outside: started as processes of their own, followed by what they append, steered, discarded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_ld._types import Image
from napari_ld.errors import Cancelled, ConfigError, StorageError
from napari_ld.io.images import read_images
from napari_ld.process_lock import process_record
from napari_ld.session import training
from napari_ld.session.compute import with_axes
from napari_ld.session.training import METHODS, PRESETS, Launched, Preparing, TrainRequest, estimate, launch
from napari_ld.session.training_labels import Labels, write_labels
from napari_ld.session.training_runs import CURVE_POINTS, RunWatch, discard_run, runs_in, wish
from src_train import config, methods

Event = dict[str, Any]


def _append(run: Path, *events: Event) -> None:
    with (run / "events.jsonl").open("a") as file:
        file.writelines(json.dumps({"version": 2, "time": 0.0, **event}) + "\n" for event in events)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that a living process holds: the one that runs this test's parent."""
    folder = tmp_path / "runs" / "20260101-120000-quick"
    folder.mkdir(parents=True)
    launch = {"created": 1.0, "preset": "quick", "images": "6 planes", **process_record(os.getppid())}
    (folder / "launch.json").write_text(json.dumps(launch))
    return folder


def test_tables_are_those_of_training() -> None:
    assert set(METHODS) <= set(methods.METHODS)
    assert set(PRESETS) <= set(config.PRESETS)
    for name, preset in PRESETS.items():
        assert preset.title.lower().startswith(name)


def test_a_run_is_followed_by_what_it_appends(run: Path) -> None:
    watch = RunWatch(run)
    assert watch.look().title.endswith("quick · starting")
    _append(run, {"event": "loading"}, {"event": "started", "step": 0, "steps": 4, "device": "cpu"})
    assert watch.look().phase == "running"
    step = {"event": "step", "step": 1, "steps": 4, "loss": 2.5, "images_per_second": 8.0, "seconds_left": 3}
    line = json.dumps({**step}).encode()
    with (run / "events.jsonl").open("ab") as file:
        file.write(line[:20])
        file.flush()
        assert watch.look().step == 0  # half a line is no event yet
        file.write(line[20:] + b"\nnot json\n[1]\n")
    state = watch.look()
    assert (state.step, state.steps, state.speed, state.seconds_left) == (1, 4, 8.0, 3)
    assert state.curve == ((1, 2.5),)
    _append(run, {"event": "score", "step": 2, "measured": {"correspondence": 0.5}}, {"event": "unheard of"})
    assert watch.look().correspondence == ((2, 0.5),)
    assert watch.state.exported == 0
    _append(run, {"event": "score", "step": 2, "measured": {"landmarks": 3.5, "masks": 0.25}})
    _append(run, {"event": "exported", "step": 2}, {"event": "smaller_batch", "step": 2, "before": 4, "couples": 2})
    state = watch.look()
    assert (state.landmarks, state.masks, state.exported) == (((2, 3.5),), ((2, 0.25),), 2)
    assert state.notice == "Memory was full: 2 instead of 4 image pairs a step from step 2 on."
    for event, phase in (
        ("pausing", "pausing"),
        ("paused", "paused"),
        ("continued", "running"),
        ("stopped", "stopped"),
    ):
        _append(run, {"event": event, "step": 2})
        assert watch.look().phase == phase
    assert not watch.state.alive
    watch.wished("stop")
    assert watch.state.phase == "stopped"  # nobody is there who could be asked
    assert RunWatch(run).look() == watch.state  # who comes later sees the same


@given(st.lists(st.integers(1, 40), max_size=6))
def test_however_the_file_grows_the_same_is_read(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    folder = tmp_path_factory.mktemp("run")
    events = [{"event": "step", "step": step, "loss": 1 / step} for step in range(1, 9)]
    content = "".join(json.dumps(event) + "\n" for event in events).encode()
    watch = RunWatch(folder)
    for end in [*np.cumsum(cuts).tolist(), len(content)]:
        (folder / "events.jsonl").write_bytes(content[: max(end, watch._offset)])
        watch.look()
    assert watch.state.curve == tuple((event["step"], event["loss"]) for event in events)


def test_a_long_curve_is_thinned_and_keeps_its_end(run: Path) -> None:
    _append(run, *({"event": "step", "step": step, "loss": float(step)} for step in range(5 * CURVE_POINTS)))
    curve = RunWatch(run).look().curve
    assert len(curve) <= CURVE_POINTS
    assert curve[-1] == (5 * CURVE_POINTS - 1, float(5 * CURVE_POINTS - 1))
    assert list(curve) == sorted(set(curve))


def test_a_killed_run_is_recognised_with_its_last_words(run: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (run / "launch.json").write_text(json.dumps(process_record(process.pid)))
    (run / "lock").write_text(json.dumps(process_record(process.pid)))
    watch = RunWatch(run)
    assert watch.look().alive
    assert watch.look().alive
    with pytest.raises(StorageError, match="is being trained; stop it first"):
        discard_run(run)
    process.kill()
    process.communicate()
    (run / "log.txt").write_text("one\n\ntwo\rthree\nfour\nerror: it broke\n")
    watch.look()
    state = watch.look()
    assert (state.phase, state.error) == ("lost", "two\nthree\nfour\nerror: it broke")
    assert not state.resumable
    (run / "last.ckpt").write_bytes(b"")
    assert watch.look().resumable
    (run / "log.txt").unlink()
    silent = RunWatch(run)
    silent.look()
    assert "without a word" in silent.look().error
    discard_run(run)
    discard_run(run)
    assert runs_in(run.parent) == []


def test_a_failure_is_told_in_its_own_words(run: Path) -> None:
    _append(
        run, {"event": "started", "step": 0, "steps": 4}, {"event": "failed", "kind": "TrainingError", "reason": "x"}
    )
    assert (RunWatch(run).look().phase, RunWatch(run).look().error) == ("failed", "x")
    watch = RunWatch(run)
    watch.look()
    watch.began_again()
    assert (watch.state.phase, watch.state.error) == ("starting", "")


def test_an_attempt_that_is_begun_anew_is_read_from_its_start(run: Path) -> None:
    _append(run, *({"event": "step", "step": step, "loss": 1.0} for step in range(5)))
    watch = RunWatch(run)
    watch.look()
    (run / "events.jsonl").unlink()
    assert watch.look().step == 4
    _append(run, {"event": "loading"})
    assert watch.look().phase == "starting"


def test_a_wish_is_shown_before_it_is_answered(run: Path) -> None:
    _append(run, {"event": "started", "step": 0, "steps": 4})
    watch = RunWatch(run)
    watch.look()
    for command, phase in (("pause", "pausing"), ("run", "pausing"), ("stop", "stopping")):
        watch.wished(command)
        assert watch.state.phase == phase
    _append(run, {"event": "step", "step": 1, "steps": 4, "loss": 1.0})
    assert watch.look().phase == "stopping"  # a step that was under way ends
    _append(run, {"event": "stopped", "step": 1})
    assert watch.look().phase == "stopped"


def test_wishes_are_what_training_reads(run: Path) -> None:
    from src_train.control import COMMANDS, _read_command

    for command in COMMANDS:
        wish(run, command)
        assert _read_command(run / "control.json") == command
    with pytest.raises(StorageError, match=r"control\.json"):
        wish(run / "absent", "stop")


class _Process:
    """Stands for a started process: remembers its words."""

    words: ClassVar[list[str]] = []
    pid = os.getppid()

    def __init__(self, words: list[str], **options: object) -> None:
        assert options.get("start_new_session") or options.get("creationflags")
        type(self).words = words

    def wait(self) -> int:
        return 0


@pytest.fixture
def request_(tmp_path: Path) -> TrainRequest:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 20, 30), np.uint8)
    image = Image(pixels, "pyx", spacing=(1.0, 0.5, 0.5), source="/home/DOE_JANE.tif")
    return TrainRequest(tmp_path / "runs", (image,))


@pytest.mark.parametrize(("kind", "axes"), [("images", "pyx"), ("volume", "zyx"), ("timelapse", "tyx")])
def test_a_layer_is_handed_over_without_a_name(
    request_: TrainRequest, monkeypatch: pytest.MonkeyPatch, kind: str, axes: str
) -> None:
    monkeypatch.setattr(subprocess, "Popen", _Process)
    (given,) = request_.images
    request = replace(request_, images=(with_axes(given, kind),), init="ld-general", settings={"schedule.steps": 7})
    *progress, launched = launch(request, lambda: False)
    assert progress == [Preparing(0, 3), Preparing(3, 3)]
    assert isinstance(launched, Launched)
    assert runs_in(request_.runs) == [launched.run]
    (image,) = read_images([launched.run / "data"])
    assert (image.axes, image.spacing) == (axes, given.spacing)
    assert np.array_equal(image.array, given.array)
    assert not [path for path in launched.run.rglob("*") if path.is_file() and b"DOE" in path.read_bytes()]
    assert RunWatch(launched.run).state.images == "3 planes"
    words = _Process.words[_Process.words.index("src_train") + 1 :]
    assert words[:3] == ["train", "--data", str(launched.run / "data")]
    assert words[words.index("--init") + 1] == "ld-general"
    given_settings = words[words.index("--set") + 1 : words.index("--out")]
    assert {"schedule.steps=7", "schedule.export_seconds=10.0"} <= set(given_settings)
    config.load_config("quick", settings=given_settings, data=("x",))


def test_several_layers_are_handed_over_together(request_: TrainRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", _Process)
    first, colour = request_.images[0], np.zeros((8, 9, 3), np.uint8)
    *progress, launched = launch(replace(request_, images=(first, Image(colour, "yxc"))), lambda: False)
    assert progress == [Preparing(0, 4), Preparing(3, 4), Preparing(4, 4)]
    assert isinstance(launched, Launched)
    images = read_images([launched.run / "data"], several="all")
    assert [image.axes for image in images] == ["pyx", "yxc"]
    assert RunWatch(launched.run).state.images == "4 planes"


def test_what_is_verified_and_accepted_becomes_a_measure(
    request_: TrainRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src_train.labelled import load_landmarks, load_masks

    monkeypatch.setattr(subprocess, "Popen", _Process)
    (image,) = request_.images
    points = {"sella": {1: (3.0, 4.5), 2: (5.0, 6.0)}, "nasion": {0: (1.0, 1.0), 1: (2.0, 2.0)}}
    mask = np.zeros((20, 30), np.uint8)
    mask[4:12, 5:20] = 2
    speck = np.zeros((20, 30), np.uint8)
    speck[0, 0] = 1
    labels = Labels(image, points, {0: mask, 1: speck, 2: mask[::-1]})
    *_, launched = launch(replace(request_, labels=labels), lambda: False)
    assert isinstance(launched, Launched)
    settings = config.load_config(
        "quick", settings=_Process.words[_Process.words.index("--set") + 1 : _Process.words.index("--out")], data=("x",)
    ).evaluation
    found = load_landmarks(Path(settings.landmarks), [Path(settings.images)], settings.most)
    assert [[(row.name, row.position) for row in rows] for rows in found.landmarks] == [
        [("sella", (3.0, 4.5)), ("nasion", (2.0, 2.0))],  # the plane with most landmarks comes first
        [("nasion", (1.0, 1.0))],
        [("sella", (5.0, 6.0))],
    ]
    assert np.array_equal(found.images[0].plane(0), image.plane(1))
    masks = load_masks(Path(settings.masks), [Path(settings.images)], settings.most)
    assert [np.array_equal(a, b) for a, b in zip(masks.masks, (mask, mask[::-1]), strict=True)] == [True, True]
    assert write_labels(Labels(image, {}, {1: speck}), launched.run / "none") == {}


def test_time_is_told_before_a_start(request_: TrainRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def answer(words: list[str], cancelled: object) -> object:
        asked.append(words)
        (image,) = read_images([words[words.index("--data") + 1]])
        assert image.n_planes == 3
        phases = [{"name": "a", "steps": 30, "seconds": 1.0}, {"name": "b", "steps": 70, "seconds": 2.0}]
        return {"phases": phases, "device": "cpu"}

    monkeypatch.setattr(training, "ask_trainer", answer)
    (estimated,) = estimate(request_, lambda: False)
    assert (estimated.steps, estimated.device) == (100, "cpu")
    assert estimated.minutes() == pytest.approx(170 / 60)
    assert estimated.minutes(200) == pytest.approx(340 / 60)
    assert asked[0][-2:] == ["--dry-run", "--json"]
    assert not Path(asked[0][asked[0].index("--data") + 1]).exists()
    assert not request_.runs.exists()
    with pytest.raises(ConfigError, match="not a folder"):
        list(estimate(TrainRequest(request_.runs, folder="absent"), lambda: False))


def test_what_cannot_begin_leaves_nothing(
    request_: TrainRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="absent: not a folder; choose a folder of images"):
        list(launch(TrainRequest(request_.runs, folder="absent"), lambda: False))
    with pytest.raises(Cancelled, match="start of the training was cancelled"):
        list(launch(request_, lambda: True))
    assert list(request_.runs.iterdir()) == []

    def refuse(*words: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(StorageError, match="training cannot be started: Permission denied"):
        list(launch(request_, lambda: False))
    assert list(request_.runs.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="the run folder cannot be made"):
        list(launch(replace(request_, runs=tmp_path / "file"), lambda: False))


def test_devices_say_why() -> None:
    found = {choice.name: choice.reason for choice in training.devices()}
    assert list(found)[:2] == ["auto", "cpu"]
    assert "CPU" in found["auto"] or "graphics" in found["auto"]
    assert all(found.values())


def test_a_folder_made_in_the_same_second_has_another_name(
    request_: TrainRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", _Process)
    monkeypatch.setattr(time, "strftime", lambda *arguments: "20260101-120000")
    for _ in range(2):
        list(launch(request_, lambda: False))
    assert [path.name for path in runs_in(request_.runs)] == ["20260101-120000-quick-1", "20260101-120000-quick"]
