"""The curve of a training from errors that are known, and which encoders are kept."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from benchmarks.curve import kept_encoders, row_of, table
from benchmarks.data import load_settings, phantom_set
from benchmarks.outcomes import Outcome
from napari_ld.model.checkpoint import ModelHeader, load_model, save_model
from napari_ld.model.encoder import EncoderConfig, build_encoder


def test_the_training_is_ahead_from_where_it_stays_ahead() -> None:
    data = phantom_set("phantom", load_settings()["sets"]["phantom"], 0)

    def row(method: str, error: float, steps: int = 0) -> dict[str, object]:
        outcome = Outcome(method, data.name, "0", {"1": np.array([error])})
        return row_of(outcome, data, "quick", steps=steps, minutes=steps / 100)

    start = [row("sift", 3.0), row("correlation", 5.0), row("untrained", 1.0)]
    curve = [row("encoder", error, 100 * i) for i, error in enumerate((9.0, 2.5, 3.5, 2.0, 1.0), start=1)]
    text = table([*start, *curve])
    assert text.endswith("ahead of 3.00 from minute 4.0 on")
    assert "| encoder | 200 | 2.0 | 2.50 / 2.50 | – |" in text
    assert table([*start, *curve[:3]]).endswith("not ahead")


def test_every_state_of_the_encoder_is_kept_under_its_steps(tmp_path: Path) -> None:
    config = EncoderConfig(working_size=64)
    encoder, folder = tmp_path / "encoder.safetensors", tmp_path / "kept"
    with kept_encoders(encoder, folder):
        for steps in (10, 20):
            header = ModelHeader("encoder", "tiny", config, training={"steps": steps})
            save_model(encoder, build_encoder(config, steps).eval(), header)
            until = time.monotonic() + 60
            while not (folder / f"{steps:06}.safetensors").is_file() and time.monotonic() < until:
                time.sleep(0.05)
    assert [file.name for file in sorted(folder.iterdir())] == ["000010.safetensors", "000020.safetensors"]
    assert load_model(folder / "000010.safetensors").header.training["steps"] == 10
