"""Viewers, panels and a small random encoder for the tests of the window."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from tests.gui.hand import Hand


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without a display Qt would end the whole process."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        pytest.skip("no display: run under xvfb-run")


@pytest.fixture(autouse=True)
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty folder for the autosave logs of one test."""
    monkeypatch.setenv("NAPARI_LD_SESSIONS", str(tmp_path / "sessions"))
    return tmp_path / "sessions"


@pytest.fixture(scope="session")
def random_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person's own weights file: an untrained encoder, small and quick."""
    import torch
    from scipy.ndimage import gaussian_filter

    from napari_ld.model.checkpoint import ModelHeader, save_model
    from napari_ld.model.encoder import EncoderConfig, build_encoder

    torch.manual_seed(0)
    config = EncoderConfig(working_size=128)
    encoder = build_encoder(config).train()
    # Statistics of batch normalisation as after training: with the initial ones all places look alike.
    with torch.no_grad():
        for seed in range(20):
            smooth = gaussian_filter(np.random.default_rng(seed).normal(size=(2, 1, 96, 128)), (0, 0, 5, 5))
            encoder(torch.as_tensor(smooth / smooth.std(), dtype=torch.float32))
    path = tmp_path_factory.mktemp("encoder") / "own.safetensors"
    save_model(path, encoder.eval(), ModelHeader("encoder", "own", config))
    return path


@pytest.fixture(scope="session")
def stack() -> np.ndarray[Any, Any]:
    """Six planes of one smooth pattern that moves by two rows a plane, (6, 96, 128) uint8."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    pattern = ndimage.gaussian_filter(rng.normal(size=(96, 128)), 5, mode="wrap")
    pattern = (255 * (pattern - pattern.min()) / np.ptp(pattern)).astype(np.uint8)
    return np.stack([np.roll(pattern, 2 * plane, axis=0) for plane in range(6)])


@pytest.fixture
def open_panel(make_napari_viewer_proxy: Callable[..., Any], qtbot: QtBot) -> Callable[..., Hand]:
    """Open a shown viewer with the panel docked, after ``prepare(viewer)``."""
    from napari_ld._gui.panel import LDPanel

    def opened(prepare: Callable[[Any], object] | None = None, encoder: Path | None = None) -> Hand:
        viewer = make_napari_viewer_proxy(show=True)
        if prepare is not None:
            prepare(viewer)
        panel = LDPanel(viewer)
        viewer.window.add_dock_widget(panel, name="napari-ld", area="right")
        viewer.window.resize(1000, 640)  # software drawing is slow
        if encoder is not None:
            panel.use_encoder(str(encoder))
        hand = Hand(qtbot, viewer, panel)
        hand.take_focus()
        hand.rest(150)
        return hand

    return opened
