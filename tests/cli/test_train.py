"""``napari-ld train`` hands everything on to the trainer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., tuple[int, str, str]]


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)


def test_help_is_that_of_the_trainer() -> None:
    passed_on, own = _run("napari_ld", "train", "--help"), _run("src_train", "train", "--help")
    assert passed_on.returncode == own.returncode == 0
    assert passed_on.stdout == own.stdout


def test_options_and_exit_code_pass() -> None:
    passed_on, own = _run("napari_ld", "train", "--no-such-option"), _run("src_train", "train", "--no-such-option")
    assert passed_on.returncode == own.returncode != 0
    assert passed_on.stderr == own.stderr


def test_other_commands_of_the_trainer_pass_as_they_are() -> None:
    passed_on, own = _run("napari_ld", "train", "presets"), _run("src_train", "presets")
    assert passed_on.returncode == own.returncode == 0
    assert passed_on.stdout == own.stdout != ""


def test_debug_reaches_the_trainer(tmp_path: Path) -> None:
    words = ("napari_ld", "train", "--data", str(tmp_path), "--out", str(tmp_path / "run"))
    plain, debug = _run(*words), _run(*words, "--debug")
    assert plain.returncode == debug.returncode == 1
    assert plain.stderr.count("\n") == 1
    assert "Traceback" in debug.stderr


def test_a_trained_encoder_is_read_by_its_file(run: Run, films: Path, clicks: Path, tmp_path: Path) -> None:
    settings = ["schedule.steps=2", "schedule.couples=2", "views.size=64"]
    done = _run(
        "napari_ld",
        "train",
        "--data",
        str(films),
        "--out",
        str(tmp_path / "run"),
        "--preset",
        "quick",
        "--set",
        *settings,
    )
    assert done.returncode == 0, done.stderr
    encoder = ["--encoder", tmp_path / "run" / "encoder.safetensors"]
    template = ["--template", films / "a.png", "--landmarks", clicks]
    assert run("locate", films / "b.png", *template, "-o", tmp_path / "found.csv", *encoder)[0] == 0
    assert len((tmp_path / "found.csv").read_text().splitlines()) == 3
