"""Rows of the benchmark of retraining from errors that are known, and one tiny run of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.data import load_settings, phantom_set
from benchmarks.retraining import forgetting, row_of, table
from napari_ld.model.checkpoint import ModelHeader, save_model
from napari_ld.model.encoder import EncoderConfig, build_encoder
from napari_ld.model.zoo import DEFAULT_ENCODER, resolve


def test_ratios_are_of_means_with_an_interval_over_images() -> None:
    data = phantom_set("phantom", load_settings()["sets"]["phantom"], 0)
    before = np.array([[2.0, 4.0], [1.0, 1.0]])
    row = row_of(data, "0", (before, 2 * before), (before / 2, before))
    assert (row["before, mean"], row["after, mean"], row["ratio"], row["coarse ratio"]) == (2.0, 1.0, 0.5, 0.5)
    assert row["interval"] == [0.5, 0.5]
    row |= {"preset": "quick", "settings": "seed=1", "samples before": 0.5, "samples after": 0.6}
    head, _, line = table([row]).splitlines()
    assert head.count("|") == line.count("|")
    assert line.startswith("| phantom, 0 | quick seed=1 | 2.00 / 1.50 | 1.00 / 0.75 | 0.50 (0.50 to 0.50) | 0.50 |")
    assert line.endswith("0.50 → 0.60 % |")


def test_an_encoder_without_training_has_unlearned_the_samples(tmp_path: Path) -> None:
    config = EncoderConfig(working_size=64)
    blank = tmp_path / "blank.safetensors"
    save_model(blank, build_encoder(config, 0).eval(), ModelHeader("encoder", "blank", config))
    before, after = forgetting(resolve(DEFAULT_ENCODER), blank)
    assert before == pytest.approx(forgetting(blank, resolve(DEFAULT_ENCODER))[1])
    assert after > 2 * before > 0
