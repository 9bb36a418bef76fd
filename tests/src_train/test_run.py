"""A run as a folder: stopped, paused, killed, out of disk, out of its mind; and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from napari_ld.errors import ConfigError
from napari_ld.model.checkpoint import load_model, read_header
from src_train.__main__ import EXIT_LOSS, EXIT_STORAGE, main
from src_train.checkpoint import read_state
from src_train.control import write_command
from src_train.data.views import ViewBatch
from src_train.engine import Trainer
from src_train.events import EventLog
from src_train.folder import RunFolder
from src_train.lock import lock_holder
from tests.src_train.watching import events_of, wait_for

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    *("views.size=64", "views.working_size=72", "schedule.couples=1", "schedule.warmup=1", "losses.points=8"),
    *("precision=float32", "evaluation.couples=1", "evaluation.points=8"),
]


def _arguments(images: Path, out: Path, *settings: str) -> list[str]:
    return ["train", "--data", str(images), "--out", str(out), "--preset", "quick", "--set", *SMALL, *settings]


def _meanwhile(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "last.ckpt")


def test_stop_by_file_and_by_signal_then_resume_equals_an_uninterrupted_run(images: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main(_arguments(images, whole, "schedule.steps=30", "evaluation.every=7")) == 0  # measuring changes nothing

    def stop() -> None:
        wait_for(parts, "step")
        write_command(parts, "stop")

    thread = _meanwhile(stop)
    assert main(_arguments(images, parts, "schedule.steps=30", "evaluation.every=0")) == 0
    thread.join()
    kinds = [event["event"] for event in events_of(parts)]
    assert kinds[-1] == "stopped"
    assert kinds.index("stopping") < kinds.index("saved")
    assert lock_holder(parts) is None
    first = read_state(parts / "last.ckpt").step
    assert 0 < first < 30

    def kill() -> None:
        wait_for(parts, "resumed")
        wait_for(parts, "step", 1 + len(events_of(parts, "step")))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = _meanwhile(kill)
    assert main(["resume", str(parts)]) == 0
    thread.join()
    assert events_of(parts, "stopped")[-1]["reason"] == "signal SIGTERM"
    assert first < read_state(parts / "last.ckpt").step < 30
    assert load_model(parts / "encoder.safetensors").header.prototypes is None
    assert main(["resume", str(parts)]) == 0
    assert events_of(parts)[-1]["event"] == "finished"
    expected, found = _weights(whole), _weights(parts)
    assert expected.keys() == found.keys()
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, found[name])] == []
    mine, theirs = (load_model(run / "encoder.safetensors").header for run in (whole, parts))
    assert mine.prototypes == theirs.prototypes != None  # noqa: E711 - equal, and there


def test_pause_waits_and_goes_on(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def pause() -> None:
        wait_for(run, "step")
        write_command(run, "pause")
        wait_for(run, "paused")
        assert (run / "last.ckpt").is_file()
        assert lock_holder(run) is None  # this very process: a thread of it asks
        write_command(run, "run")
        wait_for(run, "continued")
        write_command(run, "stop")

    thread = _meanwhile(pause)
    assert main(_arguments(images, run, "schedule.steps=500", "evaluation.every=0")) == 0
    thread.join()
    kinds = [event["event"] for event in events_of(run) if event["event"] not in ("step", "saved")]
    assert kinds == ["loading", "started", "pausing", "paused", "continued", "stopping", "stopped"]


def test_a_killed_run_is_resumed_from_its_checkpoint(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = _arguments(images, run, "schedule.steps=5000", "schedule.save_every=2", "evaluation.every=0")
    process = subprocess.Popen([sys.executable, "-m", "src_train", *words], cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for(run, "saved", 2)
    assert lock_holder(run) == {"pid": process.pid, "host": os.uname().nodename}
    assert main(["resume", str(run)]) == 1
    assert f"is being trained by process {process.pid}" in capsys.readouterr().err
    process.kill()
    process.wait()
    (run / ".0123456789abcdef.tmp").write_bytes(b"half a checkpoint")
    with (run / "events.jsonl").open("ab") as file:
        file.write(b'{"version": 2, "half a li')
    step = read_state(run / "last.ckpt").step
    assert step >= 2
    assert load_model(run / "encoder.safetensors").header.training["steps"] >= step
    assert (run / "lock").exists()
    assert lock_holder(run) is None
    settings = [f"schedule.steps={step + 2}", "evaluation.every=1"]
    assert main(["resume", str(run), "--set", *settings]) == 0
    assert [event["step"] for event in events_of(run, "resumed")] == [step]
    assert events_of(run)[-1]["event"] == "finished"
    assert RunFolder.existing(run).config().schedule.steps == step + 2
    assert not (run / "lock").exists()
    assert list(run.glob(".*")) == []


def test_a_limit_in_minutes_and_runs_that_failed_early(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main([*_arguments(images, run, "schedule.steps=900"), "--minutes", "0.0001"]) == 0
    assert "0.0001 minutes are over" in events_of(run, "stopped")[0]["reason"]
    assert read_state(run / "last.ckpt").step == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    failed = tmp_path / "failed"
    assert main(_arguments(empty, failed)) == 1
    assert "holds no image" in events_of(failed, "failed")[0]["reason"]
    (empty / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert main(_arguments(empty, failed)) == 1  # a run that trained nothing may be begun again
    assert "broken.png" in events_of(failed, "failed")[0]["reason"]
    assert not (failed / "lock").exists()
    with pytest.raises(ConfigError, match="holds no training run"):
        RunFolder.existing(tmp_path)
    assert main(["train", "--data", str(images)]) == 1
    assert "no run folder" in capsys.readouterr().err


def test_a_loss_that_explodes_keeps_the_last_checkpoint(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ["schedule.steps=40", "schedule.learning_rate=1e30", "schedule.clip=0.0", "schedule.save_every=1"]
    assert main(_arguments(images, run, *settings, "evaluation.every=0")) == EXIT_LOSS
    failed = events_of(run, "failed")[0]
    assert failed["kind"] == "TrainingError"
    assert "not finite" in failed["reason"]
    state = read_state(run / "last.ckpt")
    assert all(bool(torch.isfinite(t).all()) for t in _weights(run).values() if t.is_floating_point())
    assert state.step >= 1


def test_full_memory_is_told(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr("src_train.engine.Trainer.advance", full)
    assert main(_arguments(images, tmp_path / "run", "schedule.steps=2")) == EXIT_LOSS
    assert "lower schedule.couples" in events_of(tmp_path / "run", "failed")[0]["reason"]


def test_a_full_memory_halves_the_batch_and_says_so(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, run = tmp_path / "small", tmp_path / "run"
    assert main(_arguments(images, small, "schedule.steps=4", "schedule.couples=1", "evaluation.every=0")) == 0
    advance, full = Trainer.advance, [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]

    def advance_if_it_fits(trainer: Trainer, batch: ViewBatch) -> dict[str, float]:
        if len(batch.first) > 2:
            raise full.pop()
        return advance(trainer, batch)

    monkeypatch.setattr(Trainer, "advance", advance_if_it_fits)
    settings = ["schedule.steps=4", "schedule.couples=5", "evaluation.every=0"]
    assert main([*_arguments(images, run), *settings]) == 0
    told = [(event["step"], event["before"], event["couples"]) for event in events_of(run, "smaller_batch")]
    assert told == [(0, 5, 2), (0, 2, 1)]
    assert events_of(run)[-1]["event"] == "finished"
    assert RunFolder.existing(run).config().schedule.couples == 1  # a resumed run goes on with it
    expected, found = _weights(small), _weights(run)
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, found[name])] == []


def test_other_errors_of_torch_are_no_full_memory(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(Trainer, "advance", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        main(_arguments(images, tmp_path / "run", "schedule.steps=2", "schedule.couples=2"))


def test_the_encoder_so_far_is_written_for_whoever_looks_on(images: Path, tmp_path: Path) -> None:
    often, scored, best = tmp_path / "often", tmp_path / "scored", tmp_path / "best"
    settings = ["schedule.steps=4", "schedule.save_every=3"]
    assert main([*_arguments(images, often, *settings), "schedule.export_seconds=0.0001", "evaluation.every=0"]) == 0
    assert [event["step"] for event in events_of(often, "exported")] == [1, 2]
    assert [event["step"] for event in events_of(often, "saved")] == [3, 4]
    assert main([*_arguments(images, scored, *settings), "evaluation.every=2"]) == 0
    assert [event["step"] for event in events_of(scored, "exported")] == [2, 4]
    assert main([*_arguments(images, best, *settings), "evaluation.every=2", "evaluation.select=correspondence"]) == 0
    assert events_of(best, "exported") == []  # the best one stands there


def test_a_full_disk_is_told_by_the_exit_code(images: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="the system has no file size limit to imitate a full disk with")
    run = tmp_path / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        code = main(_arguments(images, run, "schedule.steps=2", "evaluation.every=0"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == EXIT_STORAGE
    assert "last.ckpt" in events_of(run, "failed")[0]["reason"]
    assert sorted(entry.name for entry in run.iterdir()) == [
        *("config.toml", "control.json", "environment.json", "events.jsonl")
    ]
    assert main(["resume", str(run)]) == 0


def test_export_and_dry_run(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, copy = tmp_path / "run", tmp_path / "mine.safetensors"
    words = _arguments(images, run, "schedule.steps=2")
    assert main([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "[schedule]" in shown
    assert "2,365,504 parameters" in shown
    assert "minutes" in shown.splitlines()[-1]
    assert main([*words, "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(phase["name"], phase["steps"]) for phase in told["phases"]] == [("patches", 1), ("regions", 1)]
    assert all(phase["seconds"] > 0 for phase in told["phases"])
    assert told["device"] == "cpu"
    assert not run.exists()
    (run).mkdir()
    (run / "config.toml").write_text("")
    assert main(["export", str(run), "-o", str(copy)]) == 1
    assert "has not written an encoder yet" in capsys.readouterr().err
    assert main(words) == 0
    assert main(["export", str(run), "-o", str(copy)]) == 0
    assert read_header(copy).training["steps"] == 2
    assert main(["export", str(run)]) == 1
    assert "nothing to export" in capsys.readouterr().err


def test_curves_need_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text("")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert main(["export", str(tmp_path), "--tensorboard", str(tmp_path / "curves")]) == 1
    assert "TensorBoard is not installed" in capsys.readouterr().err


def test_curves_hold_losses_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the writer, which is optional and not installed everywhere."""
    written: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path / "curves")

        def __enter__(self) -> Writer:
            return self

        def __exit__(self, *error: object) -> None: ...

        def add_scalar(self, name: str, value: float, step: int, seconds: float) -> None:
            written.append((name, value, step))

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    (tmp_path / "config.toml").write_text("")
    log = EventLog(tmp_path)
    log.write("step", step=3, loss=2.5, terms={"patch": 2.5}, images_per_second=8.0)
    log.write("score", step=4, measured={"correspondence": 0.25})
    log.write("saved", step=4)
    assert main(["export", str(tmp_path), "--tensorboard", str(tmp_path / "curves")]) == 0
    assert written == [
        *(("loss", 2.5, 3), ("images_per_second", 8.0, 3), ("terms/patch", 2.5, 3)),
        ("score/correspondence", 0.25, 4),
    ]


def test_selection_and_early_stop(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    select = ["evaluation.every=1", "evaluation.select=correspondence", "evaluation.patience=2"]
    settings = ["schedule.steps=30", "schedule.learning_rate=0.0", "schedule.average=0.0", "schedule.first_phase=0.0"]
    assert main(_arguments(images, run, *settings, *select)) == 0
    scores = events_of(run, "score")
    best = max(range(len(scores)), key=lambda i: scores[i]["measured"]["correspondence"])
    finished = events_of(run, "finished")[0]
    assert finished["reason"] == "no better for a while"
    assert finished["step"] == best + 3 < 30
    assert finished["chosen_step"] == best + 1
    assert main(["resume", str(run)]) == 0
    assert events_of(run)[-1]["step"] == finished["step"]
    assert json.loads((run / "control.json").read_text()) == {"command": "run"}
