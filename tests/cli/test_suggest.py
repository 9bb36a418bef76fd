"""``napari-ld suggest``: names on standard output, one line each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

Run = Callable[..., tuple[int, str, str]]


def test_images_are_named_best_first(run: Run, films: Path, encoder_file: Path) -> None:
    code, out, err = run("suggest", films, "-n", 3, "--encoder", encoder_file, "--device", "cpu")
    assert code == 0, err
    assert sorted(out.split()) == ["a.png", "b.png", "c.png"]
    again = run("suggest", films, "--encoder", encoder_file, "--device", "cpu")
    assert again[1].split() == out.split()[:1]


def test_planes_of_a_stack_follow_a_colon(run: Run, tmp_path: Path, encoder_file: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 64, 80), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", pixels, photometric="minisblack")
    code, out, err = run("suggest", tmp_path / "stack.tif", "--encoder", encoder_file, "--device", "cpu")
    assert code == 0, err
    assert out.strip() in {"stack.tif:0", "stack.tif:1", "stack.tif:2"}


def test_more_than_there_are_is_refused(run: Run, films: Path, encoder_file: Path) -> None:
    code, out, err = run("suggest", films, "-n", 4, "--encoder", encoder_file, "--device", "cpu")
    assert (code, out) == (1, "")
    assert "4 suggestions were asked for: expected 1 to 3" in err
