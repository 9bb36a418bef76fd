"""The benchmark of weakly supervised localisation: folds, and what counts as pointing at a lesion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imsave

from benchmarks.pointing import answers, folds_of, main, peak_of, table
from napari_ld.model.checkpoint import ModelHeader, save_model
from napari_ld.model.encoder import build_encoder
from napari_ld.model.heads import HeadConfig, build_classifier
from napari_ld.segmentation import Predictor
from tests.model.bright import CONFIG


def test_folds_share_no_image_and_have_all_classes() -> None:
    rows = [{"image": f"{name}{i}.png", "note": name} for name in ("benign", "normal") for i in range(7)]
    first, second = folds_of(rows)
    assert {row["image"] for row in first} | {row["image"] for row in second} == {row["image"] for row in rows}
    assert len(first) + len(second) == len(rows)
    for part in (first, second):
        counts = [sum(row["note"] == name for row in part) for name in ("benign", "normal")]
        assert min(counts) >= 3


def test_pointing_is_the_highest_place_of_the_map(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head = HeadConfig(((1, "benign"), (2, "normal")), working_size=64, background="normal")
    network = build_classifier(build_encoder(CONFIG, 0), head).eval()
    torch.nn.init.normal_(network.head.get_parameter("out.weight"))
    model = tmp_path / "c.safetensors"
    save_model(model, network, ModelHeader("classifier", "c", CONFIG, head=head))
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    pixels = rng.integers(0, 255, (64, 64), np.uint8)
    imsave(tmp_path / "images" / "a.png", pixels, check_contrast=False)
    predictor = Predictor(pixels, model, device="cpu", kinds=("classifier",))
    row, column = peak_of(predictor, 0)
    mask = np.zeros((64, 64), np.uint8)
    mask[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = 255
    imsave(tmp_path / "masks" / "a.png", mask, check_contrast=False)
    imsave(tmp_path / "masks" / "b.png", mask * 0, check_contrast=False)
    held = [
        {"image": "a.png", "mask": "masks/a.png", "note": "benign"},
        {"image": "a.png", "mask": "masks/b.png", "note": "normal"},  # without a lesion nothing can be pointed at
    ]
    found = answers(tmp_path, held, model)
    assert found["pointing"] == [1.0]
    assert found["chance"] == [pytest.approx((mask > 0).mean())]
    assert sum(found["class"]) == 1
    shown = table({"ours, fold 0, seed 0": found})
    assert "| ours | 0.500 | 1.000 | 1 |" in shown
    assert "a random place" in shown


def test_without_data_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NAPARI_LD_DATA", raising=False)
    assert main(["--work", str(tmp_path), "--output", str(tmp_path / "r.json")]) == 2
    assert "NAPARI_LD_DATA" in capsys.readouterr().err
