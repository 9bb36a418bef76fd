"""The frame of the command: help, exit codes, errors in one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_ld.cli import build_app

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_help_lists_the_commands(run: Run, words: list[str]) -> None:
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert [name for name in ("demo", "locate", "embed", "encoders", "train", "--debug") if name not in out] == []


@pytest.mark.parametrize("command", ["demo", "locate", "embed", "encoders"])
def test_each_command_explains_itself(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert out.startswith(f"Usage: napari-ld {command}")


def test_version(run: Run) -> None:
    from importlib.metadata import version

    assert run("--version") == (0, f"napari-ld {version('napari-ld')}\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lokate"], "No such command 'lokate'"),
        (["locate"], "Missing"),
        (["embed", "x.png"], "Missing option"),
        (["embed", "x.png", "-o", "out", "--device", "tpu"], "Invalid value for '--device': 'tpu' is not one of"),
        (["encoders", "--yaml"], "No such option"),
    ],
)
def test_misunderstood_commands_exit_with_2_and_one_line(run: Run, words: list[str], message: str) -> None:
    code, out, err = run(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert err.startswith("napari-ld: ")
    assert err.endswith(" --help'.\n")
    assert ". See '" in err


@pytest.mark.parametrize("words", [["--debug", "embed"], ["embed", "--debug"]])
def test_debug_adds_the_traceback(run: Run, tmp_path: Path, encoder_file: Path, words: list[str]) -> None:
    missing = [tmp_path / "missing.png", "-o", tmp_path / "out", "--encoder", encoder_file]
    code, _, plain = run("embed", *missing)
    assert (code, plain.count("\n")) == (1, 1)
    code, _, err = run(*words, *missing)
    assert code == 1
    assert err.startswith("Traceback (most recent call last)")
    assert err.endswith(plain)


def test_interrupting_exits_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        """Stand in for a command during which Ctrl-C is pressed."""
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_ld.model.zoo.list_models", interrupted)
    assert run("encoders")[0] == 130


def test_errors_reach_the_shell_as_exit_code(tmp_path: Path, encoder_file: Path) -> None:
    words = ["embed", tmp_path / "missing.png", "-o", tmp_path, "--encoder", encoder_file]
    done = subprocess.run([sys.executable, "-m", "napari_ld", *map(str, words)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "missing.png" in done.stderr


def test_out_of_memory_is_said_in_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large() -> None:
        """Stand in for a command that asks for more memory than there is."""
        raise MemoryError

    monkeypatch.setattr("napari_ld.model.zoo.list_models", too_large)
    assert run("encoders") == (1, "", "napari-ld: out of memory: close other programs or use smaller images\n")


def test_build_app_holds_every_command_once() -> None:
    app = build_app()
    assert [command.callback.__name__ for command in app.registered_commands if command.callback] == [
        "demo",
        "suggest",
        "locate",
        "propose",
        "segment",
        "refine",
        "embed",
        "encoders",
        "train",
    ]
