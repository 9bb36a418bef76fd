"""The plain loop that we are compared with is right, and the comparison runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.io import imsave

from benchmarks.plain_training import PictureViews, collate, plain_batches, resample
from benchmarks.throughput import main, matmul_peak
from src_train.data.geometry import affine, pixel_grid, transform
from src_train.data.views import ViewParams


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two textured images."""
    path = tmp_path_factory.mktemp("images")
    for index in range(2):
        texture = np.random.default_rng(index).integers(0, 255, (24, 24)).repeat(4, 0).repeat(4, 1)
        imsave(path / f"{index}.png", texture.astype(np.uint8), check_contrast=False)
    return path


def test_plain_views_know_where_they_are(images: Path) -> None:
    y, x = np.mgrid[:400, :400]
    place = Image.fromarray(np.stack([x // 2, y // 2, 0 * x], -1).astype(np.uint8))
    _, _, matrix, other, size = PictureViews([images / "0.png"], ViewParams(size=64), 1)[0]
    assert size.tolist() == [96, 96]
    assert not torch.equal(matrix, other)
    matrix = affine(torch.tensor([[180.0, 210.0]]), torch.tensor([1.7]), torch.tensor([0.4]), 64)[0]
    seen = np.asarray(resample(place, matrix, 64), dtype=float)[..., :2] * 2
    expected = transform(matrix[None], pixel_grid(64, 1))[0].numpy()
    assert np.abs(seen - expected).max() < 3  # its 8 bits hold about 2


def test_plain_batches_know_their_partners(images: Path) -> None:
    items = [PictureViews([images / "0.png"], ViewParams(size=64), 4)[index] for index in range(4)]
    batch = collate(items, 0.5, 0.25)
    places = transform(torch.stack([item[2] for item in items]), pixel_grid(16, 4))
    again = transform(torch.stack([item[3] for item in items]), batch.partner)
    torch.testing.assert_close(again, places, atol=1e-2, rtol=0)
    shown = ((places >= 0) & (places <= 95)).all(-1)
    assert torch.equal(batch.inside_first, shown)


def test_plain_batches_come_in_order(images: Path) -> None:
    pictures = PictureViews(sorted(images.iterdir()), ViewParams(size=64), 5)
    batches = list(plain_batches(pictures, 2, 0, 0.5, 0.25))
    assert [len(batch.first) for batch in batches] == [2, 2, 1]


def test_the_comparison_runs(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "throughput.json"
    settings = ["views.size=64", "schedule.couples=1", "losses.points=8", "precision=float32"]
    words = ["--data", str(images), "--blocks", "1", "--steps", "1", "--threads", "1", "--output", str(out)]
    assert main([*words, "--set", *settings]) == 0
    result = json.loads(out.read_text())
    assert result["ratio"] > 0
    assert result["gflop_per_step"] > 0.1
    assert 0 <= result["share_waiting_for_data"]["ours"] < 1
    assert matmul_peak(torch.device("cpu"), torch.float32, 64) > 1e6
