"""Commands run in this process, and small images as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from napari_ld.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process: exit code, standard output, standard error."""

    def _run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return _run


@pytest.fixture(scope="session")
def write_scene() -> Callable[..., Path]:
    """``write_scene(path, shift=(0, 0), shape=(96, 128))`` saves smooth structures, shifted by whole pixels, as PNG."""
    from scipy.ndimage import gaussian_filter

    field = np.random.default_rng(7).normal(size=(256, 256))
    smooth = gaussian_filter(field, 3) * 12 + gaussian_filter(field, 9) * 20
    pixels = np.clip(128 + 60 * smooth, 0, 255).astype(np.uint8)

    def _write(path: Path, shift: tuple[int, int] = (0, 0), shape: tuple[int, int] = (96, 128)) -> Path:
        top, left = 64 - shift[0], 64 - shift[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(pixels[top : top + shape[0], left : left + shape[1]]).save(path)
        return path

    return _write


@pytest.fixture
def films(tmp_path: Path, write_scene: Callable[..., Path]) -> Path:
    """Folder with a template ``a.png`` and shifted copies: ``b.png`` by (4, 8), the smaller ``c.png`` by (-4, 4)."""
    write_scene(tmp_path / "films" / "a.png")
    write_scene(tmp_path / "films" / "b.png", (4, 8))
    write_scene(tmp_path / "films" / "c.png", (-4, 4), (80, 112))
    return tmp_path / "films"


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    """Two landmarks on ``a.png``."""
    path = tmp_path / "clicks.csv"
    path.write_text("image,landmark,plane,row,column\na.png,sella,,40,60\na.png,nasion,,52,36\n", encoding="utf-8")
    return path
