"""``napari-ld train`` hands everything on to the trainer."""

from __future__ import annotations

import subprocess
import sys


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)


def test_help_is_that_of_the_trainer() -> None:
    passed_on, own = _run("napari_ld", "train", "--help"), _run("src_train", "--help")
    assert passed_on.returncode == own.returncode == 0
    assert passed_on.stdout == own.stdout


def test_options_and_exit_code_pass() -> None:
    passed_on, own = _run("napari_ld", "train", "--no-such-option"), _run("src_train", "--no-such-option")
    assert passed_on.returncode == own.returncode != 0
    assert passed_on.stderr == own.stderr
