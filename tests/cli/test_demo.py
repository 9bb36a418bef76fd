"""``napari-ld demo`` with and without a display, in the end the same table; and the picture drawn without Qt."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from napari_ld._sample_data import SAMPLES
from napari_ld._types import Match
from napari_ld.cli.demo import SAMPLE
from napari_ld.cli.windowless import contact_sheet
from napari_ld.io.landmarks import read_landmarks

N_PLANES = SAMPLES[SAMPLE]().image.n_planes


def _demo(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command with the display that ``variables`` give, in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "WAYLAND_DISPLAY"}}
    command = [sys.executable, "-m", "napari_ld", "demo", *map(str, words)]
    return subprocess.run(command, env={**kept, **variables}, capture_output=True, text=True)


def _check(done: subprocess.CompletedProcess[str], folder: Path) -> None:
    """Both files are there and the error against the truth is printed."""
    assert done.returncode == 0, done.stderr
    assert {row.plane for row in read_landmarks(folder / "landmarks.csv")} <= set(range(N_PLANES))
    with PIL.Image.open(folder / "screenshot.png") as picture:
        assert min(picture.size) >= 400
    mean = re.search(r"found on \d+ of the \d+ planes .* mean error ([\d.]+) px", done.stdout)
    assert mean is not None, done.stdout
    assert float(mean[1]) < 20


@pytest.mark.skipif(sys.platform != "linux", reason="Xvfb is made for Linux")
def test_headless_brings_its_own_display(tmp_path: Path) -> None:
    done = _demo("--headless", tmp_path / "new" / "folder")
    _check(done, tmp_path / "new" / "folder")
    assert "no window" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")
@pytest.mark.parametrize(
    ("variables", "reason"),
    [({"DISPLAY": ":9876"}, "display"), ({"PATH": ""}, "install xvfb")],
    ids=["display that is not there", "no Xvfb"],
)
def test_without_any_window_the_picture_is_drawn(tmp_path: Path, variables: dict[str, str], reason: str) -> None:
    done = _demo("--headless", tmp_path, **variables)
    _check(done, tmp_path)
    said = done.stderr.splitlines()[-1]
    assert said.startswith("napari-ld: no window could be made (")
    assert reason in said


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")
def test_no_display_and_not_headless() -> None:
    done = _demo()
    assert done.returncode == 1
    assert done.stderr == (
        "napari-ld: there is no display to open a window on; use --headless DIR, or xvfb-run napari-ld demo\n"
    )


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = _demo("--headless", tmp_path / "file" / "folder")
    assert done.returncode == 1
    assert "cannot make the folder" in done.stderr


def test_contact_sheet_marks_what_was_found() -> None:
    planes = [np.tile(np.arange(40, dtype=np.uint8), (30, 1))] * 3
    matches = [
        Match("sella", 0, (10.0, 12.0), 1.0, 1.0, "verified"),
        Match("sella", 1, (15.0, 20.0), 0.9, 0.1, "uncertain"),
        Match("sella", 2, None, 0.1, 0.0, "absent"),
    ]
    sheet = contact_sheet(planes, matches)
    assert sheet.shape == (60, 80, 3)
    coloured = np.ptp(sheet.astype(int), axis=2) > 0
    assert sheet[10, 12].tolist() == [230, 159, 0]  # the click is a disc
    assert not coloured[15, 40 + 20]  # what was found is a ring
    assert sheet[15, 40 + 20 + 5].tolist() == [0, 158, 115]
    assert not coloured[30:].any()  # nothing is drawn where it is absent
    assert sheet[30, 39, 0] == 255  # the full range is used
